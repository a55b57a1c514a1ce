"""The Conditioning page says what it measured, and proposes fair rates."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from support.measuring import LAYER, asked, words
from support.queued import wait
from support.waiting import wait_until

from olora_viz.background.measurement import BackgroundMeasurement, start_config
from olora_viz.initializers import label_of
from olora_viz.lanes.lane import Lane
from olora_viz.learn.gallery.start import recorded_start
from olora_viz.machine.wording import compact
from olora_viz.measures.conditioning import KERNEL_BATCHES, Conditioning
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import race
from olora_viz.views.conditioning import numbers, rates, story_of
from olora_viz.web import conditioning as fair_rates
from olora_viz.web.conditioning import cut, measure, view
from olora_viz.web.guard.limits import Limits
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts.setup import SetUp

SETUP = SetUp.first(Limits())


MEASURED = SetUp.of(asked())


QUEUE = Limits(keep_races=2, max_waiting=2)


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> Iterator[tuple[Jobs, BackgroundMeasurement]]:
    jobs = Jobs(folder=tmp_path_factory.mktemp("jobs"))
    yield jobs, wait(measure(jobs, asked()))
    jobs.close()


def test_each_start_is_measured_once_whatever_the_rates_of_its_lanes(measured) -> None:
    _, job = measured
    assert (job.state, job.note) == ("finished", "")
    assert [lane.init for lane in job.config.lanes] == ["olora", "lora", "olora"]
    assert job.rates == ((1e-3,), (1e-3, 3e-3), (1e-3,))
    assert [style.label for style in job.styles] == ["OLoRA α/r 1", "LoRA α/r 1", "OLoRA α/r 2"]
    assert len(job.result.grad_norm) == 3
    said = words(view(job, 0, last=True).status)
    assert re.findall(r"\d+", said)[:2] == ["3", "4"]
    assert "CPU" in said


def test_what_a_race_replays_or_may_forget_is_no_part_of_its_start() -> None:
    plain = RaceConfig(lanes=(Lane("lora"), Lane("olora")))
    lanes = Lane("lora", replay=0.05, replay_from="base"), Lane("olora", keep_kl=1.0)
    assert start_config(plain.replace(lanes=lanes)) == start_config(plain)
    assert start_config(plain.replace(keep_best=True, forget=0.3)) == start_config(plain.replace(keep_best=True))


def test_what_is_measured_is_the_start_of_the_very_race(measured) -> None:
    _, job = measured
    first = next(race(replace(asked(), lanes=job.config.lanes)))
    np.testing.assert_allclose(job.result.grad_norm, first.grad_norm, rtol=1e-4)
    np.testing.assert_allclose(job.result.loss, first.loss, rtol=1e-4)


def test_the_table_and_the_rates_hold_the_measured_numbers(measured) -> None:
    _, job = measured
    found = job.result
    table = words(numbers(job.styles, found))
    conditions = found.conditions
    assert conditions.shape == (3, KERNEL_BATCHES)
    for values in (
        found.hessian.lambda_max, found.hessian.lambda_min, np.median(conditions, axis=1),
        conditions.min(1), conditions.max(1),
    ):  # fmt: skip
        for value in values:
            assert compact(float(f"{value:.3g}")) in table
    assert f"median and range over {KERNEL_BATCHES} batches" in table
    for products in found.hessian.iterations:
        assert re.search(rf"\b{products} [✓✗]", table)
    shown = words(rates(job.styles, found, job.rates))
    for k, used in enumerate(job.rates):
        limit = 2 / found.hessian.lambda_max[k]
        assert compact(float(f"{limit:.3g}")) in shown
        for rate in used:
            assert compact(rate) in shown
            share = rate / limit
            assert (f"{share:.1%}" if share < 0.1 else f"{share:.0%}") in shown
    # A lane at its fair rate has no rate before its race finds it.
    assert words(rates(job.styles, found, [(), *job.rates[1:]])).count("–") == 2


def turned(found: Conditioning, curved: float, steep: float, even: float = 1.0) -> Conditioning:
    """Give lane 0 these multiples of lane 1's numbers."""

    def scaled(values: np.ndarray, factor: float) -> np.ndarray:
        return np.array([factor * values[1], *values[1:]])

    return replace(
        found,
        grad_norm=scaled(found.grad_norm, steep),
        hessian=replace(found.hessian, lambda_max=scaled(found.hessian.lambda_max, curved)),
        kernel=replace(found.kernel, condition=scaled(found.kernel.condition, even)),
        more_conditions=scaled(found.more_conditions, even),
    )


@pytest.mark.parametrize(("factors", "direction"), [((8.2, 4.7, 2.0), 2), ((0.5, 0.4, 0.3), 0), ((1.0, 1.0, 1.0), 1)])
def test_the_sentences_say_what_was_measured_in_either_direction(
    measured, factors: tuple[float, float, float], direction: int
) -> None:
    """Each of the three ratios by the words of its direction, and of no other."""
    _, job = measured
    curved, steep, even = factors
    name = job.styles[0].label
    said = [str(s) for s in story_of(job.styles, turned(job.result, curved, steep, even))]
    scale = next(one for one in said if name in one and "eigenvalue" in one)
    assert {f"{curved:.2g}", f"{steep:.2g}"} <= set(re.findall(r"\d+\.?\d*", scale))
    condition = next(one for one in said if name in one and "conditioned" in one)
    for sentence, *directions in (
        (scale, "flatter", "as steep", "steeper"),
        (scale, "less curved", "as curved", "more curved"),
        (condition, "better", "as well", "worse"),
    ):
        assert [word in sentence for word in directions] == [i == direction for i in range(3)]


def test_two_slices_come_from_the_measured_starts(measured) -> None:
    jobs, job = measured
    cutting = wait(cut(jobs, job, [1, 0]))
    assert (cutting.state, [one.lane for one in cutting.slices]) == ("finished", [1, 0])
    for one in cutting.slices:
        middle = one.loss[len(one.along) // 2, len(one.across) // 2]
        assert middle == pytest.approx(job.result.loss[one.lane], rel=1e-4)
    shown = view(cutting, 0, last=True)
    assert json.loads(shown.left_slice["layout"]["meta"])["title"].startswith("LoRA")
    assert json.loads(shown.right_slice["layout"]["meta"])["title"].startswith("OLoRA α/r 1")
    assert all(job.styles[k].label in words(shown.status) for k in (0, 1))


@pytest.mark.parametrize("chosen", [[3, 0], [-1, 0], [None, 0], ["0", 1], [True, 0], [{}, 0], [1.0, 0]])
def test_a_slice_of_no_lane_is_refused_with_the_rule(measured, chosen: list) -> None:
    jobs, job = measured
    with pytest.raises(ValueError, match="a lane must be from 0 to 2, not"):
        cut(jobs, job, chosen)


def test_one_layer_alone_can_be_measured_and_not_sliced(jobs: Jobs) -> None:
    job = wait(measure(jobs, asked(), f" {LAYER} "))
    assert job.state == "finished"
    assert job.result.hessian.top.shape == (3, 4 * (128 + 341))
    shown = view(job, 0, last=True)
    assert LAYER in shown.story
    assert shown.slice["interactive"] is False
    with pytest.raises(ValueError, match=f"only the layer '{LAYER}' was measured"):
        cut(jobs, job, [0, 1])
    wrong = wait(measure(jobs, asked(), "no.such.layer"))
    assert wrong.state == "failed"
    assert "no.such.layer" in words(view(wrong, 0, last=True).status)
    for bad in (3, ["x"], "x" * 201):
        with pytest.raises(ValueError, match="the layer must be a name"):
            measure(jobs, asked(), bad)


def test_stop_ends_a_measurement_and_a_slicing_within_a_product(
    jobs: Jobs, measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = measure(jobs, asked())
    wait_until(lambda: "product 3" in job.note)
    assert 0 < job.part < 1
    assert 'role="progressbar"' in view(job, 0, last=False).status
    jobs.stop(job)
    wait(job)
    assert (job.state, job.result) == ("stopped", None)
    shown = view(job, 0, last=True)
    assert (shown.measure["interactive"], shown.stop["interactive"]) == (True, False)
    assert "stopped" in shown.status

    _, source = measured
    cutting = cut(jobs, source, [0, 1])
    wait_until(lambda: "loss 3 of" in cutting.note)
    jobs.stop(cutting)
    wait(cutting)
    assert (cutting.state, cutting.slices) == ("stopped", [])


def test_fair_rates_set_every_start_up_twice_at_the_reference_s_rate_and_at_its_own(measured):
    _, work = measured
    before = replace(MEASURED, steps=7)
    setup, said = fair_rates.proposed(before, work, Limits())
    assert replace(setup, lanes=before.lanes) == before
    lanes = setup.lanes
    starts, found = work.config.lanes, work.result.hessian.lambda_max
    plain = next(k for k, lane in enumerate(starts) if lane.init == "lora")
    assert lanes[0].init == "lora"
    others = [k for k in range(len(starts)) if k != plain]
    assert len(lanes) == 1 + 2 * len(others)
    for same, fair, k in zip(lanes[1::2], lanes[2::2], others, strict=True):
        expected = starts[plain].lr * (found[plain] / found[k]) ** (1 / 3)
        assert (same.init, fair.init) == (starts[k].init,) * 2
        assert same.lr == starts[plain].lr
        assert fair.lr == pytest.approx(expected, rel=0.05)
        assert label_of(starts[k].init) in said


def test_fair_rates_without_a_measurement_or_plain_lora_are_refused(measured):
    _, work = measured
    with pytest.raises(ValueError, match="measure the start first, over all parameters"):
        fair_rates.proposed(SETUP, None, Limits())
    with pytest.raises(ValueError, match="measure the start first, over all parameters"):
        fair_rates.proposed(SETUP, replace(work, layer="model.layers.0.mlp.up_proj"), Limits())
    others = tuple(lane for lane in work.config.lanes if lane.init != "lora")
    with pytest.raises(ValueError, match="need a plain LoRA lane and at least one"):
        fair_rates.proposed(SETUP, replace(work, config=replace(work.config, lanes=others)), Limits())
    with pytest.raises(ValueError, match="a race takes at most 2"):
        fair_rates.proposed(MEASURED, work, Limits(max_lanes=2))


def test_fair_rates_scale_the_rate_that_the_set_up_has_now(measured):
    _, work = measured
    tuned = [replace(one, lr=7e-3) if one.init == "lora" else one for one in MEASURED.lanes]
    tuned[0] = replace(tuned[0], fair=True)
    setup, said = fair_rates.proposed(replace(MEASURED, lanes=tuple(tuned)), work, Limits())
    assert (setup.lanes[0].init, setup.lanes[0].lr) == ("lora", 7e-3)
    assert {lane.lr for lane in setup.lanes[1::2]} == {7e-3}
    assert not any(lane.fair for lane in setup.lanes)
    assert "7e-3 / ∛" in said


@pytest.mark.parametrize(
    "change",
    [
        {"task": "roman"}, {"batch": 4}, {"seed": 1}, {"lanes": SETUP.lanes},
        {"lanes": (replace(MEASURED.lanes[0], r=8), *MEASURED.lanes[1:])},
    ],
)  # fmt: skip
def test_fair_rates_of_a_set_up_that_was_not_measured_are_refused(measured, change: dict) -> None:
    _, work = measured
    with pytest.raises(ValueError, match="changed since the measurement: measure the start again"):
        fair_rates.proposed(replace(MEASURED, **change), work, Limits())


def test_fair_rates_of_the_first_set_up_come_from_the_recorded_measurement_and_those_of_no_other():
    setup, _ = fair_rates.proposed(SETUP, recorded_start(), Limits())
    rates = {lane.init: lane.lr for lane in setup.lanes if lane.lr != SETUP.lanes[0].lr}
    assert rates.keys() == {"olora", "pissa"}
    assert all(rate < SETUP.lanes[0].lr for rate in rates.values())
    with pytest.raises(ValueError, match="measure the start again"):
        fair_rates.proposed(replace(SETUP, batch=4), recorded_start(), Limits())

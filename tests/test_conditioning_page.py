"""The Conditioning page measures in the queue, stops soon, and says what it measured."""

import html
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from queued import wait, wait_until

from olora_viz.initializers import label_of
from olora_viz.machine.numbers import compact
from olora_viz.measures import conditioning as conditioning_module
from olora_viz.measures import products as memory_of_products
from olora_viz.measures.conditioning import BATCHES, Conditioning
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import race
from olora_viz.views.conditioning import numbers, rates, tell
from olora_viz.web.conditioning import fair_rates, measurement
from olora_viz.web.conditioning import view as conditioning_view
from olora_viz.web.conditioning.measurement import Measurement, Slicing, cut, measure
from olora_viz.web.conditioning.view import view
from olora_viz.web.export.take import adapter_zip
from olora_viz.web.guard.config import checked_config
from olora_viz.web.guard.limits import Limits
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.setup import SetUp

ROWS = [
    {"init": init, "r": 4, "alpha": alpha, "lr": lr, "seed": 0}
    for init, alpha, lr in [
        ("olora", "", "1e-3"), ("lora", "", "1e-3"), ("lora", "4", "3e-3"), ("olora", "8", "1e-3"),
    ]
]  # fmt: skip
LAYER = "model.layers.3.mlp.down_proj"
SETUP = SetUp.first(Limits())


def asked(**changes: object) -> RaceConfig:
    values = {"model": "glassllm", "task": "addition", "steps": 300, "batch": 3, "lanes": ROWS}
    return checked_config(Limits(), **(values | changes))


MEASURED = SetUp.of(asked())


def words(markup: str) -> str:
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", markup)))


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    made = Jobs(Limits(keep_races=2, max_waiting=2), folder=tmp_path / "jobs")
    yield made
    made.close()


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> Iterator[tuple[Jobs, Measurement]]:
    jobs = Jobs(folder=tmp_path_factory.mktemp("jobs"))
    yield jobs, wait(measure(jobs, asked()))
    jobs.close()


def test_each_start_is_measured_once_whatever_the_rates_of_its_lanes(measured) -> None:
    _, job = measured
    assert (job.state, job.note) == ("finished", "")
    assert [lane.init for lane in job.config.lanes] == ["olora", "lora", "olora"]
    assert job.rates == ((1e-3,), (1e-3, 3e-3), (1e-3,))
    assert [style.label for style in job.styles] == ["OLoRA α/r 1", "LoRA α/r 1", "OLoRA α/r 2"]
    assert len(job.found.grad_norm) == 3
    said = words(view(job, 0, last=True).status)
    assert re.findall(r"\d+", said)[:2] == ["3", "4"]
    assert "CPU" in said


def test_what_is_measured_is_the_start_of_the_very_race(measured) -> None:
    _, job = measured
    first = next(race(replace(asked(), lanes=job.config.lanes)))
    np.testing.assert_allclose(job.found.grad_norm, first.grad_norm, rtol=1e-4)
    np.testing.assert_allclose(job.found.loss, first.loss, rtol=1e-4)


def test_the_table_and_the_rates_hold_the_measured_numbers(measured) -> None:
    _, job = measured
    found = job.found
    table = words(numbers(job.styles, found))
    conditions = found.conditions
    assert conditions.shape == (3, BATCHES)
    for values in (
        found.hessian.lambda_max, found.hessian.lambda_min, np.median(conditions, axis=1),
        conditions.min(1), conditions.max(1),
    ):  # fmt: skip
        for value in values:
            assert compact(float(f"{value:.3g}")) in table
    assert f"median and range over {BATCHES} batches" in table
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


@pytest.mark.parametrize(
    ("factors", "direction"), [((8.2, 4.7, 2.0), 2), ((0.5, 0.4, 0.3), 0), ((1.0, 1.0, 1.0), 1)]
)
def test_the_sentences_say_what_was_measured_in_either_direction(
    measured, factors: tuple[float, float, float], direction: int
) -> None:
    """Each of the three ratios by the words of its direction, and of no other."""
    _, job = measured
    curved, steep, even = factors
    name = job.styles[0].label
    said = [str(s) for s in tell(job.styles, turned(job.found, curved, steep, even))]
    scale = next(one for one in said if name in one and "eigenvalue" in one)
    assert {f"{curved:.2g}", f"{steep:.2g}"} <= set(re.findall(r"\d+\.?\d*", scale))
    condition = next(one for one in said if name in one and "conditioned" in one)
    for sentence, *words in (
        (scale, "flatter", "as steep", "steeper"),
        (scale, "less curved", "as curved", "more curved"),
        (condition, "better", "as well", "worse"),
    ):
        assert [word in sentence for word in words] == [i == direction for i in range(3)]


def test_a_lane_that_is_not_finite_has_no_eigenvalues_and_the_page_says_so(jobs: Jobs) -> None:
    rows = [*ROWS[1:2], ROWS[0] | {"alpha": "1e38"}]
    job = wait(measure(jobs, asked(lanes=rows)))
    assert job.state == "finished"
    assert not np.isfinite(job.found.hessian.lambda_max[1])
    shown = view(job, 0, last=True)
    for said in (shown.story, shown.numbers):
        assert re.search(rf"{re.escape(job.styles[1].label)}.* no eigenvalues", words(said))
    assert "nan" not in (shown.story + shown.numbers + shown.rates).lower()
    cutting = wait(cut(jobs, job, [0, 1]))
    assert cutting.state == "failed"
    assert "is not finite: nothing to slice" in words(view(cutting, 0, last=True).status)


def test_two_slices_come_from_the_measured_starts(measured) -> None:
    jobs, job = measured
    cutting = wait(cut(jobs, job, [1, 0]), 120)
    assert (cutting.state, [one.lane for one in cutting.slices]) == ("finished", [1, 0])
    for one in cutting.slices:
        middle = one.loss[len(one.along) // 2, len(one.across) // 2]
        assert middle == pytest.approx(job.found.loss[one.lane], rel=1e-4)
    shown = view(cutting, 0, last=True)
    assert json.loads(shown.left_slice["layout"]["meta"])["title"].startswith("LoRA")
    assert json.loads(shown.right_slice["layout"]["meta"])["title"].startswith("OLoRA α/r 1")
    assert all(job.styles[k].label in words(shown.status) for k in (0, 1))


@pytest.mark.parametrize(
    "chosen", [[3, 0], [-1, 0], [None, 0], ["0", 1], [True, 0], [{}, 0], [1.0, 0]]
)
def test_a_slice_of_no_lane_is_refused_with_the_rule(measured, chosen: list) -> None:
    jobs, job = measured
    with pytest.raises(ValueError, match="a lane must be from 0 to 2, not"):
        cut(jobs, job, chosen)


def test_one_layer_alone_can_be_measured_and_not_sliced(jobs: Jobs) -> None:
    job = wait(measure(jobs, asked(), f" {LAYER} "))
    assert job.state == "finished"
    assert job.found.hessian.top.shape == (3, 4 * (128 + 341))
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


def test_too_large_for_memory_says_how_much_and_offers_a_layer(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(needed: int, device: object, what: str) -> None:
        raise ValueError(f"{what} needs {needed / 2**30:.1f} GB, and 0.1 GB is free")

    monkeypatch.setattr(memory_of_products, "check_memory", full)
    job = wait(measure(jobs, asked()))
    assert job.state == "failed"
    said = words(view(job, 0, last=True).status)
    assert re.search(r"the curvature of 3 lanes .* needs [\d.]+ GB, and 0.1 GB is free", said)
    assert f"or one layer, such as '{LAYER}'" in said
    assert view(job, 0, last=True).measure["interactive"]


def test_stop_ends_a_measurement_and_a_slicing_within_a_product(
    jobs: Jobs, measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = measure(jobs, asked())
    wait_until(lambda: "product 3" in job.note)
    assert 0 < job.part < 1
    assert 'role="progressbar"' in view(job, 0, last=False).status
    jobs.stop(job)
    wait(job, 5)
    assert (job.state, job.found) == ("stopped", None)
    shown = view(job, 0, last=True)
    assert (shown.measure["interactive"], shown.stop["interactive"]) == (True, False)
    assert "stopped" in shown.status

    _, source = measured
    cutting = cut(jobs, source, [0, 1])
    wait_until(lambda: "loss 3 of" in cutting.note)
    jobs.stop(cutting)
    wait(cutting, 5)
    assert (cutting.state, cutting.slices) == ("stopped", [])


def test_races_and_measurements_wait_for_each_other_in_one_queue(jobs: Jobs) -> None:
    first = jobs.start(asked())
    wait_until(lambda: first.steps)
    waiting = measure(jobs, asked())
    later = jobs.start(asked(steps=1))
    assert (waiting.state, jobs.before(waiting), jobs.before(later)) == ("waiting", 1, 2)
    assert re.search(r"\b1\b", words(view(waiting, 1, last=False).status))
    with pytest.raises(ValueError, match="already waiting"):
        measure(jobs, asked())
    jobs.stop(waiting)
    assert (waiting.state, waiting.complete) == ("stopped", True)
    jobs.stop(first)
    assert wait(later).state == "finished"
    assert jobs.get(waiting.id) is None
    assert jobs.find(waiting.id, Measurement) is waiting
    assert jobs.find(waiting.id, Slicing) is None
    assert jobs.find(first.id, Measurement) is None


def test_many_measurements_take_no_race_s_place(jobs: Jobs, monkeypatch) -> None:
    monkeypatch.setattr(Measurement, "run", lambda self: None)
    raced = wait(jobs.start(asked(steps=1)))
    made = [wait(measure(jobs, asked())) for _ in range(5)]
    assert jobs.get(raced.id) is raced
    assert adapter_zip(raced, 0).exists()
    assert [jobs.find(job.id, Measurement) is not None for job in made[:2]] == [False] * 2


def test_stop_during_a_race_s_look_at_the_curvature_does_not_wait_for_its_end(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking, told, products = threading.Event(), conditioning_module.track, []

    def slow(lanes, batch, progress):
        def tell(*what):
            products.append(what)
            looking.set()
            time.sleep(0.3)
            progress(*what)

        return told(lanes, batch, tell)

    monkeypatch.setattr(conditioning_module, "track", slow)
    job = jobs.start(asked(curvature="1"))
    assert looking.wait(60)
    jobs.stop(job)
    wait(job, 10)
    assert (job.state, len(job.steps)) == ("stopped", 1)
    assert job.steps[0].curvature is None
    assert len(products) <= 3
    assert adapter_zip(job, 0).exists()


@pytest.mark.parametrize("value", [-1, 2001, 1.5, "often", None, True])
def test_how_often_to_look_is_checked_on_the_server(value: object) -> None:
    with pytest.raises(ValueError, match="steps between curvature measurements must be a whole"):
        asked(curvature=value)


def test_a_race_looks_as_often_as_it_was_told_and_never_by_itself() -> None:
    assert asked(curvature=" 7").curvature_every == 7
    assert asked().curvature_every == 0


def test_text_from_elsewhere_is_escaped() -> None:
    evil = "<img src=x onerror=alert(1)>"
    job = Measurement("id", asked(), Path(), (), state="failed", note=evil)
    assert "<img" not in conditioning_view.view(job, 0, last=True).status
    job.state = "measuring"
    assert "<img" not in conditioning_view.view(job, 0, last=True).status
    assert measurement.MAX_NAME < 1000


def test_fair_rates_set_every_start_up_twice_at_the_reference_s_rate_and_at_its_own(measured):
    _, work = measured
    before = replace(MEASURED, steps=7)
    setup, said = fair_rates.proposed(before, work, Limits())
    assert replace(setup, lanes=before.lanes) == before
    lanes = setup.lanes
    starts, found = work.config.lanes, work.found.hessian.lambda_max
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
        fair_rates.proposed(
            SETUP, replace(work, config=replace(work.config, lanes=others)), Limits()
        )
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

"""How long races take: told from one race for all others."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.races import PAIR, raced, small

from olora_viz.background import pace
from olora_viz.background.measurement import BackgroundMeasurement
from olora_viz.background.pace import RECENT, SLOWEST, USUAL, Reading, Speeds, relative, trained, watched
from olora_viz.background.race import BackgroundRace
from olora_viz.background.record import Forecast
from olora_viz.background.work import BackgroundWork
from olora_viz.figures.theme import lane_styles
from olora_viz.lanes.lane import Lane
from olora_viz.machine.process import cores
from olora_viz.models import MODELS
from olora_viz.races.config import RaceConfig
from olora_viz.races.data import ModelCache
from olora_viz.races.step import FINISHED

BESIDE = 0.75
"""Seconds that a race takes beside its steps, in these tests."""


def learnt() -> tuple[Speeds, RaceConfig, float]:
    """Return the speeds of a server after a race, with it and its seconds."""
    config = small()
    steps = raced(config)[1]
    speeds = Speeds()
    speeds.learn_race(config, steps, steps[-1].seconds + BESIDE)
    return speeds, config, steps[-1].seconds + BESIDE


def seconds(speeds: Speeds, config: RaceConfig, kind: type[BackgroundWork] = BackgroundRace) -> float:
    forecast = speeds.forecast(config, kind)
    assert forecast is not None
    return forecast.seconds


counts = st.integers(1, 40)


@given(counts, counts, counts, counts, st.integers(0, 7), st.integers(0, 9), st.booleans())
def test_more_lanes_steps_or_tokens_never_take_less_time(
    lanes: int, steps: int, batch: int, tokens: int, every: int, curvature: int, keeps: bool
) -> None:
    def config(lanes: int, steps: int, batch: int) -> RaceConfig:
        many = tuple(Lane("lora", seed=seed) for seed in range(lanes))
        keep = "auto" if keeps else "none"
        return RaceConfig(
            lanes=many, steps=steps, batch_size=batch, eval_every=every, curvature_every=curvature, keep=keep
        )

    reading = Reading(tokens, 64, 64)
    least = trained(config(lanes, steps, batch), reading)
    assert trained(config(lanes + 1, steps, batch), reading) > least
    assert trained(config(lanes, steps + 1, batch), reading) > least
    assert trained(config(lanes, steps, batch + 1), reading) > least
    for more in (Reading(tokens + 1, 64, 64), Reading(tokens, 65, 64), Reading(tokens, 64, 65)):
        assert trained(config(lanes, steps, batch), more) > least
    assert trained(config(lanes, steps + 1, batch), reading, steps) <= least, "the test is read at the end"


def test_a_repeat_of_the_latest_race_takes_as_long_as_it_did() -> None:
    speeds, config, took = learnt()
    usual = tuple(pytest.approx(factor * took) for factor in USUAL)
    assert speeds.forecast(config) == Forecast(pytest.approx(took, rel=1e-12), between=usual)
    steps = raced(config)[1]
    speeds.learn_race(config, steps, 2 * took)
    assert seconds(speeds, config) == pytest.approx(2 * took, rel=1e-12)


@given(st.lists(st.floats(0.2, 5.0), min_size=1, max_size=2 * RECENT))
def test_an_estimate_is_a_range_that_holds_how_far_the_latest_ones_were_off(factors: list[float]) -> None:
    _, config, took = learnt()
    config, steps, speeds = replace(config, device="auto"), raced(config)[1], Speeds()
    for factor in (1.0, *factors):
        took *= factor
        shown = [replace(step, seconds=step.seconds / steps[-1].seconds * took / 2) for step in steps]
        work = BackgroundRace("", config, None, lane_styles(config.lanes), steps=shown, state=FINISHED, spent=took)
        speeds.learn(work)
    told = speeds.forecast(config)
    assert told is not None
    assert told.between is not None
    latest = (*USUAL, *factors[-RECENT:])
    assert told.between == pytest.approx((min(latest) * told.seconds, max(latest) * told.seconds))


def test_of_a_model_that_never_raced_more_weights_take_longer_and_it_is_said_that_nobody_is_sure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As on a machine that has no tokenizer of theirs: with one, a larger model may read fewer tokens of a text.
    monkeypatch.setattr(pace, "tokenizer_here", lambda _: None)
    pace._sample.cache_clear()
    speeds, config, took = learnt()
    assert Speeds().forecast(config) is None
    of_models = {name: speeds.forecast(replace(config, model=name)) for name in MODELS}
    assert [name for name, forecast in of_models.items() if forecast and forecast.sure] == [config.model]
    absent = {name for name, forecast in of_models.items() if forecast and forecast.absent}
    assert absent == {*MODELS} - {config.model}, "those are to be downloaded first"
    same = [name for name in MODELS if MODELS[name].parameters == MODELS[config.model].parameters]
    large = sorted(set(MODELS) - set(same), key=lambda name: MODELS[name].parameters)
    each = [seconds(speeds, replace(config, model=name)) for name in (config.model, *large)]
    assert each == sorted(each)
    assert each[0] == pytest.approx(took)
    assert relative(large[0], large[-1]) * relative(large[-1], large[0]) >= 1, "neither estimate is too short"
    pace._sample.cache_clear()
    monkeypatch.undo()
    twin = speeds.forecast(replace(config, model="glassllm-pt"))
    assert twin is not None
    assert not twin.absent, "it comes with the package"


def test_what_another_machine_computed_or_what_has_not_ended_teaches_nothing() -> None:
    _, config, took = learnt()
    config = replace(config, device="auto")
    steps = list(raced(config)[1])
    styles = lane_styles(config.lanes)
    for changes in ({"spent": 0.0}, {"spent": steps[-1].seconds / 2}, {"spent": took, "state": "stopped"}):
        speeds = Speeds()
        work = BackgroundRace("", config, None, styles, steps=steps, **{"state": FINISHED, **changes})
        speeds.learn(work)
        assert speeds.forecast(config) is None
        speeds.learn(replace(work, state=FINISHED, spent=took))
        assert seconds(speeds, config) == pytest.approx(took)


def test_what_is_left_of_a_race_shrinks_to_nothing_and_a_pause_at_a_goal_counts_as_its_end() -> None:
    _, config, took = learnt()
    steps = list(raced(config)[1])
    styles = lane_styles(config.lanes)

    def left(done: int, goal: float = math.inf) -> float:
        value = BackgroundRace("", config, None, styles, steps=steps[:done], goal=goal).remaining(took)
        assert value is not None
        return value

    assert left(0) == took
    assert left(0, goal=1) == pytest.approx(took / config.steps)
    told, seen = took / config.steps, steps[1].seconds / 2
    assert min(told, seen) <= left(2, goal=3) <= max(told, seen)
    assert left(2) == pytest.approx(2 * left(2, goal=3))
    assert left(len(steps)) == left(2, goal=2) == 0
    alone = BackgroundRace("", config, None, styles)
    assert alone.remaining(None) is None
    assert replace(alone, left=took / 2).remaining(took) == took / 2, "it is stopped then"
    assert replace(alone, steps=steps[:2]).remaining(None) == pytest.approx(2 * seen)


def test_the_latest_measurement_tells_how_long_the_next_one_takes() -> None:
    speeds, config, _ = learnt()
    work = BackgroundMeasurement("", config, None, lane_styles(config.lanes), state=FINISHED, spent=3.0)
    before = speeds.forecast(config, BackgroundMeasurement)
    assert before is not None, "told from a race at first"
    speeds.learn(work)
    assert seconds(speeds, config, BackgroundMeasurement) == pytest.approx(3.0)
    more = speeds.forecast(replace(config, lanes=(*PAIR, Lane("pissa", r=2))), BackgroundMeasurement)
    assert more is not None
    assert more.seconds > 3.0
    assert replace(work, part=0.75).remaining(3.0) == pytest.approx(0.75)


def test_a_few_steps_are_timed_and_the_race_after_them_has_the_same_bits() -> None:
    config, cache, speeds = replace(small(), eval_every=1), ModelCache(), Speeds()
    speeds.time(config, cache, lambda: True)
    assert speeds.forecast(config) is None, "somebody waits"
    speeds.time(config, cache)
    timed = speeds._speeds[BackgroundRace, config.model]
    first, alone = speeds.forecast(config), timed.of(trained(config, speeds.reading(config)))
    assert first is not None
    assert first.seconds == pytest.approx(alone * watched(cores())), "a browser will watch it"
    assert first.between == pytest.approx((alone, SLOWEST * first.seconds))
    work = BackgroundRace("", replace(config, device="auto"), None, lane_styles(config.lanes))
    work.compute()
    assert work.steps == list(raced(config)[1])
    speeds.learn(work)
    assert seconds(speeds, config) == pytest.approx(work.spent)


def test_an_estimate_for_a_data_set_of_the_hub_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "load_task", lambda *_: pytest.fail("nothing may be asked of the hub"))
    asked = [Speeds().reading(small(task=task)) for task in ("hf:owner/name", "arc-easy")]
    assert asked[0] == asked[1]

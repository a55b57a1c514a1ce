"""Lanes that differ in their seed alone are drawn and ranked as one; others stay as they are."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace

import gradio as gr
import numpy as np
import pytest
from support.drawn import labels, trace
from support.steps import run
from support.sweeps import NAN, steps_of

from olora_viz.background.record import ready_race
from olora_viz.figures import race as figures
from olora_viz.figures import theme
from olora_viz.figures.theme import LaneStyle
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.lane_spec import parse_lanes
from olora_viz.races.config import RaceConfig, Settings
from olora_viz.races.fields import REINFORCE
from olora_viz.races.step import Step
from olora_viz.studies import story
from olora_viz.studies.contest import seed_groups
from olora_viz.studies.ranking import Place, group_places
from olora_viz.views.race import group_styles
from olora_viz.views.results import Ranked, higher, repeated, results
from olora_viz.web.guard.config import checked_config
from olora_viz.web.guard.limits import Limits
from olora_viz.web.race.presets import PRESETS, filled
from olora_viz.web.race.presets import offered as presets_of

LANES = (
    Lane("lora"),
    Lane("olora"),
    Lane("lora", seed=1),
    Lane("olora", seed=1),
    Lane("lora", seed=2),
    Lane("pissa", seed=2),
)
GROUPS = seed_groups(LANES)
SEEDS = [group.lanes for group in GROUPS]
LOOKS = group_styles(GROUPS, theme.lane_styles(LANES))
DRAW = {"loss": figures.loss_figure, "gradient": figures.gradient_figure, "accuracy": figures.accuracy_figure}


def table_of(steps: Sequence[Step], places: Sequence[Place], styles: Sequence[LaneStyle] = LOOKS) -> str:
    """Return the table of the results of a race with these steps."""
    return results(Ranked(replace(ready_race(RaceConfig()), steps=tuple(steps)), styles, places))


def test_lanes_that_differ_in_their_seed_alone_are_a_group_called_without_it() -> None:
    assert SEEDS == [(0, 2, 4), (1, 3), (5,)]
    assert [style.label for style in LOOKS] == ["LoRA", "OLoRA", "PiSSA"]


def test_a_lane_that_is_there_twice_is_no_repetition() -> None:
    lanes = (Lane("lora"), Lane("lora"), Lane("lora", lr=2e-3, seed=1))
    shown = theme.lane_styles(lanes)
    assert group_styles(seed_groups(lanes), shown) == shown


@pytest.mark.parametrize("name", DRAW)
def test_without_repetitions_a_figure_is_what_it_was(name: str) -> None:
    lanes = (Lane("lora"), Lane("olora"), Lane("olora", lr=3e-3, seed=7))
    shown = theme.lane_styles(lanes)
    groups = seed_groups(lanes)
    assert group_styles(groups, shown) == shown
    plain = DRAW[name](figures.RaceCurves(shown, run(30)))
    assert DRAW[name](figures.RaceCurves(shown, run(30), seeds=[group.lanes for group in groups])) == plain


@pytest.mark.parametrize("name", DRAW)
def test_a_repeated_lane_is_one_mean_curve_with_a_band_from_lowest_to_highest(name: str) -> None:
    steps = run(30, lanes=6)
    figure = DRAW[name](figures.RaceCurves(LOOKS, steps, seeds=SEEDS))
    assert json.loads(json.dumps(figure, allow_nan=False)) == figure
    of_lora = [t for t in figure["data"] if t["legendgroup"] == "LoRA"]
    low, high, curve = [t for t in of_lora if t.get("meta") != "raw"][:3]
    assert high["fill"] == "tonexty"
    plain = {t["legendgroup"]: t["y"] for t in DRAW[name](figures.RaceCurves(theme.lane_styles(LANES), steps))["data"]
             if "lines" in t["mode"]}  # fmt: skip
    each = np.array([plain[f"LoRA seed {seed}"] for seed in range(3)])
    np.testing.assert_allclose(low["y"], each.min(0), rtol=2e-3)
    np.testing.assert_allclose(high["y"], each.max(0), rtol=2e-3)
    np.testing.assert_allclose(curve["y"], each.mean(0), rtol=2e-3)
    assert not any("fill" in t for t in figure["data"] if t["legendgroup"] == "PiSSA")
    assert {t["legendgroup"] for t in figure["data"]} == {"LoRA", "OLoRA", "PiSSA"}


def test_where_a_seed_diverges_the_mean_ends_and_the_band_goes_on_with_the_others() -> None:
    figure = figures.loss_figure(figures.RaceCurves(LOOKS, run(30, lanes=6, out_at={2: 12}), seeds=SEEDS))
    low, high = [t for t in figure["data"] if t["legendgroup"] == "LoRA"][:2]
    curve = trace(figure, "LoRA", meta="smooth")
    assert curve["y"][10] is not None
    assert curve["y"][11:] == [None] * 19
    assert None not in low["y"] + high["y"]


def test_ranking_and_charts_name_the_same_steps_at_which_the_seeds_of_a_lane_diverged() -> None:
    steps = run(30, lanes=6, out_at={0: 14, 2: 12, 4: 17})
    places = group_places(story.standings(steps, 6), GROUPS)
    assert ">DNF at steps 12 to 17<" in table_of(steps, places)
    for draw in (figures.loss_figure, figures.accuracy_figure):
        figure = draw(figures.RaceCurves(LOOKS, steps, seeds=SEEDS))
        assert "LoRA: DNF at steps 12 to 17" in labels(figure)
        assert trace(figure, meta="out")["x"] == [12]


def test_the_standing_of_a_group_is_its_mean_with_its_standard_deviation() -> None:
    steps = steps_of([[3.0, 1.0, 4.0, 2.0, 8.0, NAN]])
    rows = story.standings(steps, 6)
    olora, lora, pissa = group_places(rows, GROUPS)
    assert (lora.loss, lora.seeds, lora.left) == (5.0, 3, (0, 0, 0))
    assert lora.spread == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert (olora.loss, olora.lane) == (1.5, 1)
    assert pissa.left == (10,)
    table = table_of(steps, [olora, lora, pissa])
    assert "1.50 <span" in table
    assert "± 2.65" in table
    assert "DNF at step 10" in table


def test_without_repetitions_the_standings_are_what_they_were() -> None:
    lanes = (Lane("lora"), Lane("olora"))
    shown = theme.lane_styles(lanes)
    steps = steps_of([[2.0, 1.0]])
    rows = story.standings(steps, 2)
    grouped = group_places(rows, seed_groups(lanes))
    assert table_of(steps, grouped, shown) == table_of(steps, rows, shown)


def test_repeating_gives_every_lane_five_seeds_once() -> None:
    lanes = repeated([Lane("olora", seed=3), Lane("olora", seed=1), Lane("lora")])
    assert [(lane.init, lane.seed) for lane in lanes] == [
        (init, seed) for init in ("olora", "lora") for seed in range(5)
    ]
    assert repeated(lanes) == lanes


def test_more_repetitions_than_a_race_takes_are_refused_in_one_sentence() -> None:
    with pytest.raises(ValueError, match="13 lanes with 5 seeds each are 65; a race takes at most"):
        repeated([Lane("olora", r=r) for r in range(1, 14)])


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.title)
def test_every_preset_is_a_set_up_that_the_server_takes(preset) -> None:
    model, task, steps, batch, seed, rows, curvature, settings = filled(Limits(), preset, "addition")
    assert seed == curvature == gr.skip()  # they stay as they are
    asked = {"model": model, "task": task, "steps": steps, "batch": batch, "lanes": rows, "settings": settings}
    config = checked_config(Limits(), **asked)
    assert list(config.lanes) == preset.lanes
    assert config.batches == "by-seed"
    if preset.name == "rewards":
        assert (config.model, config.objective, config.batch_size) == ("glassllm-sentiment", REINFORCE, 8)
        assert {(lane.init, lane.lr) for lane in config.lanes} == {
            (init, lr) for init in ("lora", "olora", "pissa") for lr in (3e-4, 1e-3, 3e-3)
        }
    else:
        assert (config.model, settings) == ("glassllm", Settings().values())


def test_a_server_of_other_models_has_the_presets_with_its_first_one_but_for_that_which_needs_its_base() -> None:
    only = replace(Limits(), models=("smollm2-135m",))
    kept = presets_of(only)
    assert [preset.name for preset in PRESETS if preset not in kept] == ["rewards"]
    assert {filled(only, preset, "addition").model for preset in kept} == {"smollm2-135m"}


@pytest.mark.parametrize("rate", [1e3, 1e308])
def test_no_higher_rate_is_suggested_where_there_is_none(rate: float) -> None:
    with pytest.raises(ValueError, match="is high enough"):
        higher([Lane("lora"), Lane("olora", lr=rate)])


@pytest.mark.parametrize("text", ["/".join(["0-999"] * 10**5), "5-2", "0-1000"])
def test_a_list_of_seeds_that_is_too_long_is_refused_before_it_is_made(text: str) -> None:
    with pytest.raises(ValueError, match="seeds"):
        parse_lanes(f"lora:seed={text}")

"""A spike does not flatten a chart, and an arrow says where it was cut."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.steps import a_step, measuring

from olora_viz.figures import race as figures
from olora_viz.figures import theme
from olora_viz.figures.layout import MOST_ARROWS, log_range, off_range, robust_log_range
from olora_viz.lanes.lane import Lane
from olora_viz.races.step import Step

LOOKS = theme.lane_styles([Lane("lora"), Lane("olora")])


def run(norms: np.ndarray) -> list[Step]:
    return [a_step(n + 1, row, row, seconds=n, tokens=n) for n, row in enumerate(norms)]


def arrows(figure: dict) -> list[dict]:
    return [t for t in figure["data"] if t["name"].endswith("beyond the axis")]


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=60))
def test_the_robust_range_lies_in_the_whole_one_and_holds_the_middle(values: list[float]) -> None:
    numbers = np.array(values)
    low, high = robust_log_range([numbers])
    whole = log_range([numbers])
    assert whole[0] - 1e-9 <= low < high <= whole[1] + 1e-9
    assert low <= math.log10(np.median(numbers)) <= high


def test_a_spike_is_cut_with_an_arrow_at_its_height_of_all_and_an_ordinary_run_is_not() -> None:
    norms = np.exp(np.random.default_rng(0).normal(0, 0.5, (50, 2)))
    tame = figures.gradient_figure(figures.RaceCurves(LOOKS, run(norms), total=50))
    assert arrows(tame) == []
    assert "beyond" not in tame["layout"]["meta"]["unit"]
    assert tuple(tame["layout"]["yaxis"]["range"]) == log_range([norms])
    norms[20, 1], norms[21, 1], norms[40, 0] = 1e9, 1e12, 1e-9
    wild = figures.gradient_figure(figures.RaceCurves(LOOKS, run(norms), total=50))
    low, high = wild["layout"]["yaxis"]["range"]
    assert high - low < 5
    down, up = arrows(wild)
    assert (up["x"], up["marker"]["symbol"], up["legendgroup"]) == ([22], "triangle-up", "OLoRA")
    assert (down["x"], down["marker"]["symbol"]) == ([41], "triangle-down")
    assert math.log10(up["y"][0]) == pytest.approx(high, abs=1e-3)
    assert "▲▼ beyond the axis" in wild["layout"]["meta"]["unit"]


def test_a_lane_that_leaves_the_loss_s_axis_is_marked_too() -> None:
    steps = run(np.full((20, 2), 3.0))
    wild = [measuring(s, loss=s.loss * [1, 10.0 ** max(0, s.step - 10)]) for s in steps]
    assert len(arrows(figures.loss_figure(figures.RaceCurves(LOOKS, wild, total=20)))) == 1
    assert arrows(figures.loss_figure(figures.RaceCurves(LOOKS, steps, total=20))) == []


def test_arrows_are_few_and_what_is_no_number_has_none() -> None:
    curves = np.ones((1000, 2))
    curves[::2, 0] = 1e6
    curves[::3, 1] = np.nan
    (marks,) = off_range(LOOKS, range(1, 1001), curves, (-1.0, 2.0))
    assert len(marks["x"]) <= MOST_ARROWS
    assert marks["legendgroup"] == LOOKS[0].label

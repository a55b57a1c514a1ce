"""Figures say what they draw, in plain JSON, and hold the numbers of the run."""

import json
import math
from itertools import pairwise

import numpy as np
import plotly.graph_objects as go
import pytest
from support.drawn import labels, trace, traces
from support.steps import a_step, judged, measuring, run

from olora_viz.figures import layout as figure_parts
from olora_viz.figures import race as figures
from olora_viz.figures import theme
from olora_viz.figures.layout import LABEL_GAP, MOST_NAMED, CurveEnd, end_labels, log_ticks, spread
from olora_viz.figures.race import MAX_POINTS, RaceCurves, measure_figure, smoothed
from olora_viz.lanes.lane import Lane
from olora_viz.machine.tables import plain
from olora_viz.measures.catalogue import MEASURES

LANES = (Lane("lora", lr=1e-3), Lane("olora", lr=1e-3), Lane("olora", lr=3e-3))
LOOKS = theme.lane_styles(LANES)


FIGURES = {"loss": figures.loss_figure, "gradient": figures.gradient_figure, "accuracy": figures.accuracy_figure}


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("count", [0, 1, 25])
def test_a_figure_is_json_and_names_what_it_draws_and_its_axes(name: str, count: int) -> None:
    figure = FIGURES[name](RaceCurves(LOOKS, run(count), total=25))
    assert json.loads(json.dumps(figure, allow_nan=False)) == figure
    layout = figure["layout"]
    assert layout["meta"]["title"]
    assert layout["meta"]["unit"]
    assert layout["xaxis"]["title"]["text"] == "step"
    assert layout["yaxis"]["title"]["text"]
    assert bool(layout["meta"]["message"]) == (count == 0 and name in ("loss", "accuracy"))


@pytest.mark.parametrize("name", FIGURES)
def test_colours_are_tokens_that_both_palettes_know(name: str) -> None:
    text = json.dumps(FIGURES[name](RaceCurves(LOOKS, run(25), total=25)))
    tokens = {part.split('"')[0] for part in text.split('"@')[1:]}
    assert tokens
    for palette in (theme.palette("light"), theme.palette("dark")):
        assert tokens <= set(palette)


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("palette", theme.THEMES)
def test_a_notebook_gets_the_same_curves_in_a_plotly_figure(name: str, palette: str) -> None:
    figure = FIGURES[name](RaceCurves(LOOKS, run(25), total=25))
    shown = figure_parts.to_plotly(figure, palette)
    assert isinstance(shown, go.Figure)
    drawn = shown.to_plotly_json()
    assert [list(t["y"]) for t in drawn["data"]] == [t["y"] for t in figure["data"]]
    assert figure["layout"]["meta"]["title"] in drawn["layout"]["title"]["text"]
    colors = {t["line"]["color"] for t in drawn["data"] if "line" in t}
    assert colors == {theme.resolve(style.color, palette) for style in LOOKS}


def test_the_loss_of_every_lane_is_there_raw_and_smoothed_and_held_out() -> None:
    steps = run(40)
    figure = figures.loss_figure(RaceCurves(LOOKS, steps, total=40), start_loss=6.0)
    loss = np.array([step.loss for step in steps])
    for k, style in enumerate(LOOKS):
        raw, line = (trace(figure, style.label, meta=kind) for kind in ("raw", "smooth"))
        marks = trace(figure, f"{style.label}, held out")
        np.testing.assert_allclose(raw["y"], loss[:, k], rtol=5e-4)
        np.testing.assert_allclose(line["y"], smoothed(loss, figures.SHORT_SMOOTHING)[:, k], rtol=5e-4)
        assert marks["x"] == [0, 10, 20, 30, 40]
        assert marks["y"][0] == 6.0
        np.testing.assert_allclose(marks["y"][1:], 1.1 * loss[9::10, k], rtol=5e-4)
        assert line["line"]["color"] == style.color
        assert line["line"]["dash"] == style.dash


def test_beside_the_pointer_a_group_has_one_row_without_the_edges_of_its_band() -> None:
    # Plotly shows a trace that has a template even where it is to be skipped.
    figure = figures.loss_figure(
        RaceCurves(LOOKS[:1], [a_step(n, [2.0, 1.0]) for n in range(1, 9)], total=8, seeds=[(0, 1)])
    )
    shown = [each for each in figure["data"] if each.get("hoverinfo") != "skip"]
    assert [each["meta"] for each in shown] == ["smooth"]
    assert not any("hovertemplate" in each for each in figure["data"] if each not in shown)


def test_smoothing_is_the_exponential_average_of_each_lane_alone() -> None:
    values = np.random.default_rng(0).random((30, 4))
    for n in range(1, 31):
        weights = 0.7 ** np.arange(n)[::-1]
        np.testing.assert_allclose(smoothed(values, 0.7)[n - 1], np.average(values[:n], axis=0, weights=weights))
    np.testing.assert_array_equal(smoothed(values[:, :1], 0.7), smoothed(values, 0.7)[:, :1])


@pytest.mark.parametrize("total", [60, figures.SMOOTHED_FROM - 1, figures.SMOOTHED_FROM, 2000])
def test_a_falling_loss_is_drawn_late_by_a_small_part_of_the_axis(total: int) -> None:
    steps = [a_step(n, [total + 1.0 - n]) for n in range(1, total + 1)]
    curve = trace(figures.loss_figure(RaceCurves(LOOKS[:1], steps, total=total)), meta="smooth")["y"]
    assert 0 < curve[-1] - steps[-1].loss[0] <= 0.03 * total


def test_numbers_keep_four_digits_and_what_is_not_finite_becomes_none() -> None:
    values = np.array([1234.567, 0.000123456, -2.71828, 0.0, np.nan, np.inf])
    assert plain(values) == [1235.0, 0.0001235, -2.718, 0.0, None, None]


def test_a_lane_that_diverges_has_a_cross_at_that_step_at_the_height_of_its_last_value() -> None:
    figure = figures.loss_figure(RaceCurves(LOOKS, run(30, out_at={1: 12}), total=100))
    cross = trace(figure, meta="out")
    assert cross["legendgroup"] == LOOKS[1].label
    assert cross["marker"]["symbol"].startswith("x")
    assert cross["x"] == [12]
    assert "last value at step 11" in cross["hovertemplate"]
    curve = trace(figure, LOOKS[1].label, meta="smooth")
    assert curve["y"][10] == pytest.approx(cross["y"][0], rel=1e-3)
    assert curve["y"][11:] == [None] * 19
    texts = labels(figure)
    assert f"{LOOKS[1].label}: DNF at step 12" in texts
    assert LOOKS[1].label not in texts
    assert {LOOKS[0].label, LOOKS[2].label} <= set(texts)


def test_a_curve_that_a_log_axis_cannot_show_to_its_end_is_no_lane_that_diverged() -> None:
    steps = [measuring(s, grad_norm=s.grad_norm * [1, s.step < 12, 1]) for s in run(30)]
    figure = measure_figure(MEASURES["grad_norm"], RaceCurves(LOOKS, steps, total=30))
    assert set(labels(figure)) == {look.label for look in LOOKS}
    assert not traces(figure, meta="out")


def test_a_diverging_lane_does_not_flatten_the_others() -> None:
    steps = run(20)
    wild = [measuring(s, loss=s.loss * [1, 1, 10.0**s.step]) for s in steps]
    low, high = figures.loss_figure(RaceCurves(LOOKS, wild, total=20))["layout"]["yaxis"]["range"]
    assert high < 2.5
    assert low < math.log10(steps[-1].loss[1])


def test_labels_at_the_curves_ends_keep_their_distance_and_stay_inside() -> None:
    lanes = [Lane("olora", lr=1e-3 * (k + 1)) for k in range(MOST_NAMED)]
    styles = theme.lane_styles(lanes)
    steps = [
        a_step(n, np.full(MOST_NAMED, 1.0) + np.arange(MOST_NAMED) * 1e-3, seconds=n, tokens=n) for n in range(1, 9)
    ]
    layout = figures.loss_figure(RaceCurves(styles, steps, total=8))["layout"]
    low, high = layout["yaxis"]["range"]
    height = figures.PLOT_HEIGHT["loss"]
    ends = layout["annotations"]
    places = sorted((a["y"] - low) / (high - low) * height + a["yshift"] for a in ends)
    assert len(ends) == MOST_NAMED
    assert min(np.diff(places)) >= LABEL_GAP - 0.2
    assert places[0] >= -0.2
    assert places[-1] <= height + 0.2


@pytest.mark.parametrize("name", ["loss", "accuracy"])
def test_of_many_curves_only_the_best_of_each_start_is_named(name: str) -> None:
    rates = np.arange(1, MOST_NAMED + 1) * 1e-3
    lanes = [Lane(init, lr=float(lr)) for init in ("lora", "olora") for lr in rates]
    value = np.linspace(0.2, 0.9, len(lanes))
    steps = [judged(a_step(n, value), value[:, None], value[:, None]) for n in (1, 2)]
    layout = FIGURES[name](RaceCurves(theme.lane_styles(lanes), steps, total=2))["layout"]
    places = {i: [k for k, lane in enumerate(lanes) if lane.init == i] for i in ("lora", "olora")}
    best = min if name == "loss" else max
    wanted = {best(its, key=value.__getitem__) for its in places.values()}
    names = [style.label for style in theme.lane_styles(lanes)]
    assert {label["text"] for label in layout["annotations"]} == {names[k] for k in wanted}


def test_spreading_leaves_free_labels_where_they_are_and_keeps_their_order() -> None:
    assert spread([0.0, 50.0, 100.0], 10, 0, 100) == [0.0, 50.0, 100.0]
    rng = np.random.default_rng(1)
    for _ in range(50):
        wanted = list(rng.uniform(0, 300, 12))
        placed = spread(wanted, 14, 0, 300)
        assert np.all(np.diff(np.array(placed)[np.argsort(wanted)]) >= 14 - 1e-9)
        assert min(placed) >= 0
        assert max(placed) <= 300


@pytest.mark.parametrize(("low", "high"), [(-0.7, 0.8), (-4, 3), (0.0, 0.1), (-30, 12)])
def test_a_log_axis_has_a_few_round_ticks_inside_its_range(low: float, high: float) -> None:
    ticks = log_ticks(low, high)
    assert len(ticks) <= 7
    assert all(low <= math.log10(tick) <= high for tick in ticks)
    if high - low > 0.3:
        assert len(ticks) >= 3


def test_in_a_plain_text_tokens_are_judged_and_not_answers() -> None:
    for draw in (figures.loss_figure, figures.accuracy_figure):
        assert "answer" in draw(RaceCurves(LOOKS, run(20), total=20))["layout"]["meta"]["unit"]
        assert "answer" not in json.dumps(draw(RaceCurves(LOOKS, run(20), total=20), plain_text=True)["layout"])


def test_a_sweep_of_64_lanes_names_the_best_lane_of_each_start_and_stays_small() -> None:
    lanes = [Lane(init, lr=1e-4 * (k + 1)) for init in ("lora", "olora") for k in range(32)]
    styles = theme.lane_styles(lanes)
    steps = run(1200, lanes=64)
    figure = figures.loss_figure(RaceCurves(styles, steps, total=1200))
    assert labels(figure) == [styles[31].label, styles[63].label]
    raw = traces(figure, meta="raw")
    assert len(raw) == 64
    assert sum(len(t["y"]) for t in raw) <= MAX_POINTS
    assert "every 2 steps" in figure["layout"]["meta"]["unit"]


def test_zoom_is_kept_within_a_run_and_dropped_with_the_next() -> None:
    def revision(count: int, name: str) -> str:
        return figures.loss_figure(RaceCurves(LOOKS, run(count), total=9, run=name))["layout"]["uirevision"]

    assert revision(3, "a") == revision(9, "a") != revision(9, "b")


def test_growth_is_sent_as_growth() -> None:
    from gradio.utils import diff

    from olora_viz.figures.live.serving import pack

    before = pack(figures.gradient_figure(RaceCurves(LOOKS, run(200), total=400, run="a")))
    after = pack(figures.gradient_figure(RaceCurves(LOOKS, run(201), total=400, run="a")))
    edits = diff(before, after)
    points = [edit for edit in edits if edit[1][0] == "data"]
    assert len(points) == 3
    assert all(edit[0] == "append" and len(edit[2]) < 10 for edit in points)
    assert len(json.dumps(edits)) < 600


def test_names_at_the_ends_of_curves_are_kept_apart_inside_the_plot():
    ends = [CurveEnd(f"curve {i}", f"group {i % 3}", "@ink", 5, 0.5, ": out") for i in range(6)]
    height = 200
    found = end_labels(ends, bounds=(0.0, 1.0), height=height)
    places = sorted(label["y"] * height + label["yshift"] for label in found)
    assert len(found) == 6
    assert min(b - a for a, b in pairwise(places)) == pytest.approx(LABEL_GAP, abs=0.2)
    assert places[0] >= 0
    assert places[-1] <= height
    assert {label["text"] for label in found} == {f"curve {i}: out" for i in range(6)}
    few = end_labels(ends, bounds=(0.0, 1.0), height=4 * LABEL_GAP)
    assert len(few) == 3  # one of each group, where there is no room for all

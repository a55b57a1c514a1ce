"""Figures of conditioning hold what was measured, lane against lane, in plain JSON."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from support.drawn import labels, trace
from support.races import small
from support.steps import measuring

from olora_viz.figures import start as shown
from olora_viz.figures import theme
from olora_viz.figures.png import png_bytes
from olora_viz.figures.race import RaceCurves
from olora_viz.figures.start import empty_slice, sharpness_figure, slice_figures, stability_figure
from olora_viz.lanes.lane import Lane
from olora_viz.measures.conditioning import Conditioning, LossSlice, conditioning, slices
from olora_viz.races.race import race
from olora_viz.races.step import DIVERGED, Step
from olora_viz.studies.story import compare_conditions

LANES = (Lane("olora", r=2, lr=1e-2), Lane("lora", r=2, lr=1e-2), Lane("olora", r=2, lr=1e-2, alpha=4))
LOOKS = theme.lane_styles(LANES)


@pytest.fixture(scope="module")
def measured() -> tuple[Conditioning, list[LossSlice], list[Step]]:
    """A real measurement, two slices, and a short race that looks at its curvature twice."""
    racing = race(small(LANES, batch_size=3, curvature_every=2, targets=("v_proj",)))
    found = conditioning(racing.lanes, racing.batch(1))
    cut = slices(racing.lanes, racing.batch(1), found, [1, 0], side=5)
    return found, cut, list(racing)


def figures(measured) -> dict[str, dict]:
    found, cut, steps = measured
    left, right = slice_figures(LOOKS, cut)
    return {
        "comparison": shown.comparison_figure(LOOKS, found),
        "ntk": shown.ntk_figure(LOOKS, found),
        "sharpness": sharpness_figure(RaceCurves(LOOKS, steps, total=4)),
        "stability": stability_figure(RaceCurves(LOOKS, steps, total=4)),
        "left": left,
        "right": right,
    }


EMPTY = {
    "comparison": shown.comparison_figure(LOOKS, None),
    "ntk": shown.ntk_figure(LOOKS, None),
    "sharpness": sharpness_figure(RaceCurves(LOOKS, [], total=4)),
    "stability": stability_figure(RaceCurves(LOOKS, [], total=4)),
    "slice": empty_slice(),
}


def test_a_figure_is_json_with_a_title_named_axes_and_colours_of_both_palettes(measured) -> None:
    for name, figure in figures(measured).items():
        assert json.loads(json.dumps(figure, allow_nan=False)) == figure
        layout = figure["layout"]
        assert layout["meta"]["title"]
        assert layout["meta"]["unit"]
        assert layout["meta"]["message"] == ""
        assert layout["xaxis"]["title"]["text"]
        assert layout["yaxis"]["title"]["text"] or len(layout["yaxis"]["ticktext"]) == 6, name
        tokens = {part.split('"')[0] for part in json.dumps(figure).split('"@')[1:]}
        for palette in theme.THEMES:
            assert tokens <= set(theme.palette(palette))


def test_before_anything_is_measured_a_figure_says_what_to_do() -> None:
    for figure in EMPTY.values():
        assert figure["layout"]["meta"]["message"]
        assert figure["layout"]["xaxis"]["title"]["text"]
        assert not any(drawn.get("y") for drawn in figure["data"])


def test_every_quantity_is_a_multiple_of_plain_lora_wherever_that_stands(measured) -> None:
    found, _, _ = measured
    figure = shown.comparison_figure(LOOKS, found)
    assert "plain LoRA = 1" in figure["layout"]["meta"]["unit"]
    by_hand = np.stack(
        [
            found.grad_norm, found.hessian.lambda_max, np.abs(found.hessian.lambda_min),
            found.gauss_newton.trace, found.kernel.eigenvalues[:, 0], found.kernel.condition,
        ],
        axis=1,
    )  # fmt: skip
    for style, values in zip(LOOKS, by_hand, strict=True):
        marks = trace(figure, style.label)
        assert marks["marker"]["color"] == style.color
        np.testing.assert_allclose(marks["x"], values / by_hand[1], rtol=6e-4)
    assert trace(figure, LOOKS[1].label)["x"] == [1.0] * 6
    (one,) = figure["layout"]["shapes"]
    assert (one["x0"], one["x1"]) == (1, 1)
    rows = figure["layout"]["yaxis"]["tickvals"]
    for marks in figure["data"]:
        assert [round(y) for y in marks["y"]] == rows


def test_the_condition_drawn_is_the_ratio_that_the_sentences_give(measured) -> None:
    more = np.random.default_rng(0).lognormal(3.0, 1.0, (len(LANES), 4))
    found = replace(measured[0], more_conditions=more)
    drawn = trace(shown.comparison_figure(LOOKS, found), LOOKS[0].label)["x"][-1]
    told = compare_conditions(found.conditions)[0, 1]
    assert drawn == pytest.approx(math.exp(told.difference), rel=6e-4)


def test_without_plain_lora_the_first_lane_is_one_and_the_words_say_which(measured) -> None:
    found, _, _ = measured
    styles = theme.lane_styles([replace(lane, init="olora", alpha=4.0 * k + 2) for k, lane in enumerate(LANES)])
    figure = shown.comparison_figure(styles, found)
    assert f"{styles[0].label} = 1" in figure["layout"]["meta"]["unit"]
    assert styles[0].label in figure["layout"]["xaxis"]["title"]["text"]
    assert trace(figure, styles[0].label)["x"] == [1.0] * 6


def test_names_beside_the_marks_stand_where_the_marks_are_and_say_the_multiple(measured) -> None:
    found, _, _ = measured
    figure = shown.comparison_figure(LOOKS, found)
    beside = figure["layout"]["annotations"]
    marks = {
        (round(math.log10(x), 2), round(y, 2)): lane["name"]
        for lane in figure["data"]
        for x, y in zip(lane["x"], lane["y"], strict=True)
    }
    assert len(beside) == len(marks) == 18
    for label in beside:
        x, y = label["x"], label["y"]
        near = [name for (mx, my), name in marks.items() if abs(mx - x) < 0.02 and abs(my - y) < 0.02]
        assert any(label["text"].startswith(name) for name in near)
    ratio = float(found.hessian.lambda_max[0] / found.hessian.lambda_max[1])
    assert f"{LOOKS[0].label}: {ratio:.2g} ×" in labels(figure)


def test_a_lane_that_is_not_finite_has_no_marks_and_is_said_to_have_none(measured) -> None:
    found, _, _ = measured
    broken = replace(
        found,
        loss=np.array([np.nan, *found.loss[1:]]),
        grad_norm=np.array([np.nan, *found.grad_norm[1:]]),
        hessian=replace(found.hessian, lambda_max=np.array([np.nan, *found.hessian.lambda_max[1:]])),
        kernel=replace(found.kernel, condition=np.array([np.inf, *found.kernel.condition[1:]])),
    )
    figure = shown.comparison_figure(LOOKS, broken)
    x = trace(figure, LOOKS[0].label)["x"]
    assert (x[0], x[1], x[5]) == (None, None, None)
    assert x[3] is not None
    texts = labels(figure)
    assert texts.count(f"{LOOKS[0].label}: not finite") == 2
    assert f"{LOOKS[0].label}: ∞" in texts
    json.dumps(figure, allow_nan=False)


def test_where_plain_lora_is_not_finite_nothing_pretends_to_be_a_multiple(measured) -> None:
    found, _, _ = measured
    nothing = np.full(3, np.nan)
    nothing[0] = 2.0
    figure = shown.comparison_figure(LOOKS, replace(found, grad_norm=nothing))
    assert [trace(figure, style.label)["x"][0] for style in LOOKS] == [None] * 3
    texts = labels(figure)
    assert f"{LOOKS[0].label}: 2, no ratio" in texts


def test_the_tangent_kernels_fall_from_the_largest_eigenvalue_on(measured) -> None:
    found, _, _ = measured
    figure = shown.ntk_figure(LOOKS, found)
    for k, style in enumerate(LOOKS):
        curve = trace(figure, style.label)
        drawn = [np.nan if v is None else v for v in curve["y"]]
        known = found.kernel.eigenvalues[k] > 0
        np.testing.assert_allclose(np.array(drawn)[known], found.kernel.eigenvalues[k][known], rtol=6e-4)
        assert curve["y"] == sorted(curve["y"], key=lambda v: -(v or 0))
    assert labels(figure) == [style.label for style in LOOKS]


def test_sharpness_and_its_limit_are_of_the_steps_that_were_looked_at(measured) -> None:
    _, _, steps = measured
    sharp = sharpness_figure(RaceCurves(LOOKS, steps, total=4))
    stable = stability_figure(RaceCurves(LOOKS, steps, total=4))
    for k, style in enumerate(LOOKS):
        curve = trace(sharp, style.label)
        assert curve["x"] == [2, 4]
        wanted = [steps[n - 1].curvature.lambda_max[k] for n in (2, 4)]
        np.testing.assert_allclose(curve["y"], wanted, rtol=6e-4)
        limit, rate = (trace(stable, f"{style.label}: {what}") for what in ("2/λ", "rate"))
        np.testing.assert_allclose(np.multiply(limit["y"], curve["y"]), 2, rtol=2e-3)
        assert rate["y"] == [LANES[k].lr] * 2
        assert rate["line"]["dash"] == "dot"
        assert limit["line"]["color"] == rate["line"]["color"] == LOOKS[k].color
    assert "gradient descent" in stable["layout"]["meta"]["unit"]
    assert "Adam" in stable["layout"]["meta"]["unit"]


def test_a_lane_that_went_out_ends_where_it_was_last_seen(measured) -> None:
    _, _, steps = measured
    lost = replace(steps[-1].curvature, lambda_max=np.array([np.nan, *steps[-1].curvature.lambda_max[1:]]))
    last = measuring(steps[-1], curvature=lost)
    out = replace(last, status=(DIVERGED, *last.status[1:]))
    for end, words in ((out, ": out"), (last, "")):  # not finite alone is not out
        figure = sharpness_figure(RaceCurves(LOOKS, [*steps[:-1], end]))
        assert trace(figure, LOOKS[0].label)["y"][-1] is None
        ends = {label["text"]: label["x"] for label in figure["layout"]["annotations"]}
        assert ends[f"{LOOKS[0].label}{words}"] == 2
        assert ends[LOOKS[1].label] == 4


def test_two_slices_share_one_scale_of_colours_and_contours(measured) -> None:
    _, cut, _ = measured
    left, right = slice_figures(LOOKS, cut)
    every = np.concatenate([one.loss.ravel() for one in cut])
    maps = [trace(figure, type="contour") for figure in (left, right)]
    for key in ("zmin", "zmax", "contours", "colorscale", "x", "y"):
        assert maps[0][key] == maps[1][key]
    assert maps[0]["zmin"] == pytest.approx(every.min(), abs=1e-4)
    assert maps[0]["zmax"] == pytest.approx(every.max(), abs=1e-4)
    for one, figure in zip(cut, (left, right), strict=True):
        np.testing.assert_allclose(trace(figure, type="contour")["z"], one.loss, rtol=6e-4)
        assert LOOKS[one.lane].label in figure["layout"]["meta"]["title"]
        here = trace(figure, "the start")
        assert (here["x"], here["y"]) == ([0.0], [0.0])
        assert here["marker"]["color"] == LOOKS[one.lane].color
    assert left["layout"]["meta"]["title"] != right["layout"]["meta"]["title"]


@pytest.mark.parametrize("palette", theme.THEMES)
def test_all_of_them_can_be_drawn_as_one_picture(measured, palette: str) -> None:
    every = [*figures(measured).values(), *EMPTY.values()]
    assert png_bytes(every, theme_name=palette, width=500).startswith(b"\x89PNG")

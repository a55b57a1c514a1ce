"""The figures of gradients draw the numbers, in every theme, and leave out what is none."""

import json
import math
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from support.drawn import labels, trace

from olora_viz.figures import theme
from olora_viz.figures.layers import MOST_CELLS, MOST_LOOKS, MOST_POINTS, depth_figure, layer_figure, layer_map
from olora_viz.figures.layout import log_ticks, to_plotly
from olora_viz.figures.live.serving import pack
from olora_viz.figures.png import png_bytes
from olora_viz.lanes.lane import Lane
from olora_viz.measures.gradients import GRADIENTS, Gradients

LANES = (Lane("lora", lr=1e-3), Lane("olora", lr=1e-3), Lane("olora", lr=3e-3))
LOOKS = theme.lane_styles(LANES)
MODULES = ("self_attn.q_proj", "self_attn.k_proj", "mlp.down_proj")
LAYERS = tuple(f"model.layers.{block}.{module}" for block in range(4) for module in MODULES)


def found(steps=5, lanes=3, layers=LAYERS) -> list[Gradients]:
    """Make norms over three decades; lane 0's B begins at zero, as plain LoRA's does."""
    noise = np.random.default_rng(0)
    made = []
    for n in range(steps):
        norms = 10 ** noise.uniform(-2, 1, (3, lanes, len(layers), 2))
        norms[:, 0, :, 1] *= n > 0
        given = 10 ** noise.uniform(-2, 1, (lanes, len(layers)))
        given[:, :2] = math.nan
        made.append(Gradients(tuple(layers), *norms, given))
    return made


MEASURES = GRADIENTS.parts
STEPS = [1, 2, 3, 4, 5]
LAYER = LAYERS[-1]


def gradient_map(steps, found, style, k, measure):
    return layer_map(GRADIENTS, measure, steps, found, style, k)


def drawn():
    styles = found()
    return {
        **{f"map {m}": gradient_map(STEPS, styles, LOOKS[1], 1, m) for m in MEASURES},
        **{f"layer {m}": layer_figure(STEPS, styles, LOOKS, LAYER, m, total=9) for m in MEASURES},
        **{f"depth {m}": depth_figure(3, styles[2], LOOKS, m, "down_proj") for m in MEASURES},
        "all": depth_figure(3, styles[2], LOOKS, "input"),
    }


def test_every_figure_says_what_to_see_and_names_its_axes():
    for name, figure in drawn().items():
        meta = figure["layout"]["meta"]
        assert meta["title"], name
        assert meta["badge"] == "log"
        measure = name.partition(" ")[2] or "input"
        assert MEASURES[measure].symbol in meta["unit"]
        for axis in ("xaxis", "yaxis"):
            shown = figure["layout"][axis]
            assert shown["title"]["text"] or shown["ticktext"], (name, axis)


def test_every_kind_of_figure_works_in_both_themes_and_as_a_png():
    kinds = ("map input", "map ratio_B", "layer gradient_B", "depth gradient_A", "all")
    figures = {name: figure for name, figure in drawn().items() if name in kinds}
    assert len(figures) == len(kinds)
    for palette in theme.THEMES:
        for name, figure in figures.items():
            assert "'@" not in str(to_plotly(figure, palette).to_plotly_json()), name
        with Image.open(BytesIO(png_bytes(list(figures.values()), theme_name=palette))) as image:
            assert len(image.convert("RGB").getcolors(2**24)) > 50


@pytest.mark.parametrize("measure", MEASURES)
def test_the_map_is_the_logarithm_of_the_numbers_and_says_them(measure):
    styles = found()
    cells = trace(gradient_map(STEPS, styles, LOOKS[1], 1, measure), type="heatmap")
    values = np.array([MEASURES[measure].of(one)[1] for one in styles]).T
    z = np.array(cells["z"], dtype=float)
    np.testing.assert_allclose(z, np.log10(values), atol=0.011)
    np.testing.assert_allclose(np.array(cells["customdata"], dtype=float), values, rtol=1e-3)
    assert (cells["zmin"], cells["zmax"]) == (np.nanmin(z), np.nanmax(z))
    bar = cells["colorbar"]
    for at, text in zip(bar["tickvals"], bar["ticktext"], strict=True):
        assert 10**at == pytest.approx(float(text), rel=1e-3)


def test_what_is_zero_or_no_number_is_blank_on_the_map_and_said_so():
    figure = gradient_map(STEPS, found(), LOOKS[0], 0, "ratio_B")
    z = np.array(trace(figure, type="heatmap")["z"], dtype=float)
    assert np.isnan(z[:, 0]).all()
    assert np.isfinite(z[:, 1:]).all()
    assert "blank" in figure["layout"]["meta"]["unit"]
    assert "blank" not in gradient_map(STEPS, found(), LOOKS[1], 1, "ratio_B")["layout"]["meta"]["unit"]


def test_a_row_of_a_map_is_the_layer_of_its_name():
    figure = gradient_map(STEPS, found(), LOOKS[1], 1, "input")
    rows = figure["layout"]["meta"]["rows"]
    words = trace(figure, type="heatmap")["y"]
    assert [rows[word] for word in words] == list(LAYERS)
    (packed,) = pack(figure)["data"]
    assert json.loads(packed["trace"])["y"] == words
    assert packed["x"] == "0,1,2,3,4"


def test_a_long_run_is_thinned_out_and_says_so():
    steps = list(range(1, 3001))
    figure = gradient_map(steps, found(steps=3000), LOOKS[1], 1, "gradient_A")
    cells = np.array(trace(figure, type="heatmap")["z"])
    assert cells.size <= MOST_CELLS
    assert figure["layout"]["meta"]["unit"].endswith("; every 36 measurements")
    assert figure["layout"]["meta"]["steps"] == steps[2999 % 36 :: 36]
    styles = found(steps=250)
    curves = layer_figure(steps[:250], styles, LOOKS, LAYER, "gradient_A")
    assert all(len(trace(curves, look.label)["y"]) <= MOST_LOOKS for look in LOOKS)


def test_the_curves_over_the_run_are_the_numbers_of_that_layer_and_factor():
    styles = found()
    figure = layer_figure(STEPS, styles, LOOKS, LAYER, "ratio_A", total=9)
    for k, look in enumerate(LOOKS):
        curve = trace(figure, look.label)
        wanted = [one.update[k, -1, 0] / one.parameter[k, -1, 0] for one in styles]
        np.testing.assert_allclose(curve["y"], wanted, rtol=1e-3)
        assert curve["x"] == STEPS
        assert curve["line"]["dash"] == look.dash
    named = {label["text"]: label["font"]["color"] for label in figure["layout"]["annotations"]}
    assert named == {style.label: style.text for style in LOOKS}
    of_B = trace(layer_figure(STEPS, styles, LOOKS, LAYER, "gradient_B"), LOOKS[0].label)
    assert of_B["y"][0] is None
    assert None not in of_B["y"][1:]


def test_a_lane_that_went_out_of_the_race_ends_in_a_cross():
    styles = found()
    out = np.array([False, True, False])
    styles[3], styles[4] = styles[3].without(out), styles[4].without(out)
    figure = layer_figure(STEPS, styles, LOOKS, LAYER, "gradient_A", total=9, left=(0, 4, 0))
    cross = trace(figure, meta="out")
    assert cross["legendgroup"] == LOOKS[1].label
    assert cross["name"].endswith("step 4")
    # Against depth it is not there at all, and nothing else is said of it.
    depth = depth_figure(5, styles[4], LOOKS, "gradient_A", "down_proj")
    assert set(labels(depth)) == {LOOKS[0].label, LOOKS[2].label}


def test_the_depth_chart_joins_one_kind_of_layer_before_all_others():
    styles = found()
    figure = depth_figure(3, styles[2], LOOKS, "gradient_A", "down_proj")
    for k, look in enumerate(LOOKS):
        points = trace(figure, look.label, mode="markers")
        curve = trace(figure, look.label, mode="lines+markers")
        np.testing.assert_allclose(points["y"], styles[2].gradient[k, :, 0], rtol=1e-3)
        assert curve["x"] == [2, 5, 8, 11]
        np.testing.assert_allclose(curve["y"], styles[2].gradient[k, 2::3, 0], rtol=1e-3)
    assert figure["layout"]["xaxis"]["ticktext"] == ["0", "1", "2", "3"]
    assert "step 3" in figure["layout"]["meta"]["title"]
    whole = trace(depth_figure(3, styles[2], LOOKS, "input"), LOOKS[0].label)
    assert whole["y"][:2] == [None, None]
    assert whole["x"] == list(range(12))


def test_many_lanes_and_layers_are_drawn_without_the_points_behind():
    layers = [f"model.layers.{block}.{module}" for block in range(30) for module in MODULES]
    lanes = MOST_POINTS // len(layers) + 1
    styles = theme.lane_styles([Lane("olora", seed=seed) for seed in range(lanes)])
    figure = depth_figure(1, found(1, lanes, layers)[0], styles, "gradient_A", "q_proj")
    assert len(figure["data"]) == lanes
    assert "points" not in figure["layout"]["meta"]["unit"]


def test_nothing_to_draw_is_said():
    styles = found()
    figure = depth_figure(1, styles[0].without(np.ones(3, dtype=bool)), LOOKS, "input", "q_proj")
    assert figure["layout"]["meta"]["message"]


def test_small_ticks_are_short():
    assert all(len(f"{tick:g}") <= 6 for tick in log_ticks(-2.4, -0.3))

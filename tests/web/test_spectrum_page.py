"""The Spectrum page's parts: what it computes, says and refuses, without a browser."""

import re
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image
from support.drawn import trace
from support.tiny import tiny_folder

from olora_viz.figures import layers as trace_figures
from olora_viz.figures import spectrum as spectrum_figures
from olora_viz.figures import theme
from olora_viz.figures.layers import layer_grid, layer_map
from olora_viz.figures.layout import to_plotly
from olora_viz.figures.png import png_bytes
from olora_viz.figures.theme import lane_styles
from olora_viz.initializers import Start
from olora_viz.lanes.adapters import attach
from olora_viz.lanes.lane import Lane
from olora_viz.measures.truncation import Weight, layers_like, truncation
from olora_viz.measures.update_spectra import UPDATE_SPECTRA, update_spectra
from olora_viz.models import load_model
from olora_viz.views import spectrum as spectrum_view
from olora_viz.views.spectrum import Lab, ResultCache
from olora_viz.web.guard.limits import Limits
from olora_viz.web.spectrum import (
    A_LAYER,
    A_MATRIX,
    EXAMPLE_MATRICES,
    Choices,
    SpectrumView,
    as_text,
    compared,
    lab_of,
    read,
    read_matrix,
    refused,
    settled,
    shown,
)
from olora_viz.web.spectrum import layer_map as map_of_layers

LAYER = "model.layers.2.mlp.down_proj"


@pytest.fixture(scope="module")
def lab():
    return Lab()


# The lab ---------------------------------------------------------------------------------------


def test_the_page_offers_what_starts_from_the_weight_alone_and_takes_something_of_it(lab):
    weight = lab.weight("glassllm", LAYER)
    assert {"olora", "pissa", "milora"} < set(compared())
    for init in compared():
        assert lab.truncation(LAYER, weight, 7, init).energy > 0
    assert not {"lora_one", "eva", "corda", "mica"} & set(compared())


@pytest.mark.parametrize("init", ["olora", "olora_pivoted", "sketch", "pissa", "milora"])
@pytest.mark.parametrize("rank", [1, 7, 128])
def test_the_lab_says_what_a_truncation_says(lab, init, rank):
    weight = lab.weight("glassllm", LAYER)
    ours = lab.truncation(LAYER, weight, rank, init)
    theirs = truncation(layers_like(load_model("glassllm")[0])[LAYER], rank, init)
    torch.testing.assert_close(ours.sigma_BA, theirs.sigma_BA, atol=1e-9, rtol=1e-9)
    assert ours.energy == pytest.approx(theirs.energy, abs=1e-9)
    assert (ours.bounded, ours.subset) == (theirs.bounded, theirs.subset)


@pytest.mark.parametrize("init", ["olora", "random_orthonormal", "pissa_fast"])
def test_the_map_has_the_energy_of_every_layer_that_can_hold_the_rank(lab, init):
    weights = layers_like(load_model("glassllm")[0])
    for rank in (100, 65, 64):  # the first two come from one start where a start's ranks nest
        found = lab.energy_map("glassllm", rank, init)
        assert found.keys() == {name for name, W in weights.items() if min(W.shape) >= rank}
        expected = truncation(weights[LAYER], rank, init)
        assert found[LAYER] == pytest.approx(expected.energy, abs=1e-9)


def test_what_is_kept_is_made_once_and_the_oldest_goes_first():
    kept, made = ResultCache(2 * spectrum_view.LEAST_BYTES), []

    def make(name):
        return lambda: made.append(name) or name

    for name in ("a", "b", "a", "c", "a", "b"):
        assert kept.get(name, make(name)) == name
    assert made == ["a", "b", "c", "b"]


def test_what_is_kept_has_a_bound_in_bytes():
    W = torch.zeros(300, 300, dtype=torch.float64)  # 0.72 MB
    for result in (W, Weight(W), Start(A=W[:150], B=W[:, :150]), {"W": W}, (W, 1.0)):
        kept = ResultCache(2 * 10**6)
        for name in (1, 2, 3, 2):
            kept.get(name, lambda result=result: result)
        assert kept.get(3, lambda: None) is result  # two of them fit
        assert kept.get(1, lambda: None) is None
    large = torch.zeros(10**6)
    assert kept.get("large", lambda: large) is kept.get("large", lambda: None)  # the latest one stays
    assert kept.get(3, lambda: None) is None


def test_the_owner_s_folders_are_offered_by_their_last_part_alone(tmp_path, monkeypatch):
    folder = tiny_folder("gpt2", tmp_path / "mine")
    lab, limits = lab_of([folder]), Limits()
    view = shown(lab, limits, OPENED._replace(model="mine", layer=None), Choices())
    assert read(view.drawn).layer == "transformer.h.0.attn.c_attn"
    assert view.of_map["visible"]
    assert str(tmp_path) not in str(view)
    for path in (str(folder), "../mine", "mine/", "./mine"):
        with pytest.raises(ValueError, match="unknown model"):
            shown(lab, limits, OPENED._replace(model=path), Choices())
    monkeypatch.setattr(spectrum_view, "MOST_MAPPED", 1000)
    assert not shown(lab, limits, OPENED._replace(model="mine"), Choices()).of_map["visible"]
    assert map_of_layers(lab, limits, read(view.drawn)) == gr.skip()
    with pytest.raises(ValueError, match=r"two models are named 'mine', of which .* rename its folder"):
        lab_of([folder, tiny_folder("gpt2", tmp_path / "other" / "mine")])
    assert list(lab_of([folder, folder, tmp_path / "other" / ".." / "mine"]).folders) == ["mine"]  # one folder, twice
    with pytest.raises(ValueError, match="two models are named 'gpt2'"):
        lab_of([tiny_folder("gpt2", tmp_path / "gpt2")])
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "file").touch()
    for nowhere in (
        *(tmp_path / name for name in ("none", "circle", "file", "n" * 300)),
        Path("~nobody-of-this-name/x"),
    ):
        with pytest.raises(ValueError, match=f"^'.*{nowhere.name}' is not a folder on this machine$"):
            lab_of([nowhere])


def test_the_lab_refuses_a_zero_matrix_in_the_words_of_a_truncation(lab):
    zero = lab.decomposed("zero", torch.zeros(3, 3))
    with pytest.raises(ValueError, match="the matrix is zero"):
        lab.truncation("zero", zero, 1, "olora")


# Choices ---------------------------------------------------------------------------------------

OPENED = Choices(A_LAYER, "glassllm", None, as_text("counterexample"), 8, ["olora", "pissa"], 0)
"""What the controls say when the page is opened."""


@pytest.fixture(scope="module")
def first(lab) -> Choices:
    """What the charts show when the page is opened."""
    return settled(lab, Limits(), OPENED, Choices())


def test_charts_that_show_what_the_controls_say_are_not_drawn_again(lab, first):
    assert first == OPENED._replace(layer=next(iter(lab.layers("glassllm"))))
    view = shown(lab, Limits(), OPENED, Choices())
    assert read(view.drawn) == first
    assert shown(lab, Limits(), first, read(view.drawn)) == SpectrumView()
    later = shown(lab, Limits(), first._replace(rank=9), first)
    assert later.drawn != view.drawn
    # A reader may have moved on meanwhile: the answer sets no control to the value that it came from.
    assert "value" not in later.rank
    assert "value" not in later.permutation


def test_a_rank_and_an_order_stay_with_a_model_s_layers_and_are_chosen_anew_for_another_matrix(lab, first):
    before = first._replace(rank=40, permutation=3)
    of_layer = settled(lab, Limits(), before._replace(layer=LAYER), before)
    assert of_layer == before._replace(layer=LAYER)
    mine = settled(lab, Limits(), before._replace(source=A_MATRIX), before)
    assert (mine.rank, mine.permutation, mine.layer) == (1, 0, first.layer)
    typed = settled(lab, Limits(), mine._replace(text="3 0 0\n0 2 0\n0 0 1", rank=2, permutation=5), mine)
    assert (typed.rank, typed.permutation) == (2, 0)  # an own text keeps the rank
    assert settled(lab, Limits(), typed._replace(permutation=6), typed).permutation == 6
    example = settled(lab, Limits(), typed._replace(text=as_text("gaussian"), permutation=6), typed)
    assert (example.rank, example.permutation) == (6, 0)
    back = settled(lab, Limits(), example._replace(source=A_LAYER), example)
    assert (back.rank, back.permutation, back.layer) == (8, 0, first.layer)


def test_after_a_refusal_the_matrix_of_before_is_drawn_again_and_its_controls_stay_in_reach(lab, first):
    nonsense = first._replace(source=A_MATRIX, text="1 x")
    with pytest.raises(ValueError, match="row 1 of the matrix holds 'x'"):
        shown(lab, Limits(), nonsense, first)
    view = refused("row 1 …", nonsense, first)
    assert view.own["visible"]
    assert not view.of_model["visible"]
    assert shown(lab, Limits(), first, read(view.drawn)).verdict == shown(lab, Limits(), first, Choices()).verdict


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "[1]", '["a", {}, [], "x", 7]', "[[], [[]], 1e999, -3]"])
def test_what_a_page_sends_as_its_charts_is_no_more_than_a_text(lab, first, text):
    drawn = read(text)
    assert settled(lab, Limits(), first, drawn)._replace(layer=first.layer) == first
    for rank in (0, -1, 1e999, "x", [], 10**9):
        forged = drawn._replace(source=A_LAYER, model="glassllm", rank=rank)
        assert map_of_layers(lab, Limits(), forged) != gr.skip()
    assert map_of_layers(lab, Limits(), drawn._replace(source=A_LAYER, model="/etc/passwd", rank=8)) == gr.skip()


# Matrices that a visitor brings ----------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "1 1\n0 1",
        "1,1;0,1",
        "[[1, 1],\n [0, 1]]",
        "[[1,1],[0,1]]",
        "(1 1)(0 1)",
        " 1\t1 \n\n 0 1 ;",
        "1e0 +1\r\n0 1.0",
    ],
)
def test_a_matrix_can_be_pasted_in_many_ways(text):
    assert read_matrix(text).tolist() == [[1.0, 1.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no matrix yet"),
        ("1 2\n3", "row 2 of the matrix has 1 number, the first one 2"),
        ("1 x", "row 1 of the matrix holds 'x', not a finite number"),
        ("1 nan", "holds 'nan', not a finite number"),
        ("1 1e999", "holds '1e999', not a finite number"),
        ("1 " * 65, "the matrix is 1 × 65, larger than 64 × 64"),
        ("1\n" * 65, "the matrix is 65 × 1, larger than 64 × 64"),
        ("9" * 100_001, "100001 characters"),
        ("__import__('os')", "not a finite number"),
    ],
)
def test_what_is_no_matrix_is_said_in_one_sentence(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read_matrix(text)


@pytest.mark.parametrize(
    ("name", "rank", "subset"),
    [("counterexample", 1, False), ("diagonal", 3, True), ("gaussian", 6, False),
     ("power_law", 6, False), ("projector", 6, True)],
)  # fmt: skip
def test_the_examples_show_the_claim_hold_and_fail(name, rank, subset):
    found = truncation(EXAMPLE_MATRICES[name][1](), rank)
    assert found.bounded
    assert found.subset is subset
    words = spectrum_view.verdict(found)
    assert words.count("holds") == 1 + subset
    assert words.count("fails") == 1 - subset


# Words -----------------------------------------------------------------------------------------


def test_the_verdict_on_the_counterexample_has_its_numbers():
    words = spectrum_view.verdict(truncation(torch.tensor([[1.0, 1.0], [0.0, 1.0]]), 1))
    for number in ("1.414", "1.618", "0.618", "0.2 away"):
        assert number in words


@pytest.mark.parametrize("rank", [1, 5, 24])
@pytest.mark.parametrize("permuted", [False, True])
def test_table_and_sentences_speak_of_what_was_measured(rank, permuted):
    weight = Weight(EXAMPLE_MATRICES["gaussian"][1]())
    inits = ("olora", "olora_pivoted", "sketch", "random_orthonormal", "pissa")
    found = {init: truncation(weight, rank, init) for init in inits}
    before = found["olora"] if permuted else None
    table = spectrum_view.energy_table(list(found.values()), before)
    assert table.count("<tr") == 1 + 5 + permuted + 1
    for one in found.values():
        assert f"{one.energy:.1%}" in table
    said = spectrum_view.seeing(found, permuted)
    assert f"{found['olora'].energy / found['olora'].energy_optimal:.0%} of what" in said
    assert ("The columns are permuted" in said) is permuted
    conditioning = spectrum_view.factors(list(found.values()))
    assert conditioning.count("<tr") == 6
    assert f"<td>{np.linalg.cond(found['olora'].start.A.numpy()):.3g}</td>" in conditioning
    assert "nan" not in table + said + conditioning


# Figures ---------------------------------------------------------------------------------------


def figures():
    weight = Weight(layers_like(load_model("glassllm")[0])[LAYER])
    found = [truncation(weight, 8, init) for init in ("pissa", "olora", "sketch")]
    names = list(layers_like(load_model("glassllm")[0]))
    lanes = attach(load_model("glassllm")[0], [Lane("lora", r=4), Lane("olora", r=4)])
    with torch.no_grad():
        lanes.theta.add_(0.01 * torch.randn_like(lanes.theta))
    traces = [update_spectra(lanes)] * 3
    lane = lane_styles(lanes.lanes)[1]
    return {
        "singular": spectrum_figures.singular_values_figure(found),
        "energy": spectrum_figures.energy_figure([1, 2, 4], {"olora": [0.1, 0.2, 0.3]}, [0.2, 0.3, 0.4], 128, 2),
        "angles": spectrum_figures.angles_figure(found),
        "map": layer_grid(dict.fromkeys(names, 0.1) | {LAYER: 0.5}, 8, "olora", chosen=LAYER),
        **{
            measure: layer_map(UPDATE_SPECTRA, measure, [5, 10, 15], traces, lane, 1)
            for measure in UPDATE_SPECTRA.parts
        },
        "growth": trace_figures.growth_figure([5, 10, 15], traces, lane, 1, LAYER, total=20),
    }


@pytest.fixture(scope="module")
def drawn():
    return figures()


def test_every_figure_says_what_to_see_and_names_its_axes(drawn):
    for name, figure in drawn.items():
        meta = figure["layout"]["meta"]
        assert meta["title"], name
        assert meta["unit"], name
        for axis in ("xaxis", "yaxis"):
            shown = figure["layout"][axis]
            assert shown["title"]["text"] or shown["ticktext"], (name, axis)


def test_every_figure_works_in_both_themes_and_as_a_png(drawn, tmp_path):
    for name, figure in drawn.items():
        for palette in theme.THEMES:
            text = str(to_plotly(figure, palette).to_plotly_json())
            assert "'@" not in text, name
            path = tmp_path / f"{name}-{palette}.png"
            path.write_bytes(png_bytes([figure], theme_name=palette, width=400))
            with Image.open(path) as image:
                corner = image.convert("RGB").getpixel((2, 2))
            card = theme.palette(palette)["card"]
            assert corner == tuple(int(card[i : i + 2], 16) for i in (1, 3, 5)), name


def test_a_cell_of_the_map_is_the_layer_of_its_name(drawn):
    figure = drawn["map"]
    z, names = trace(figure, type="heatmap")["z"], figure["layout"]["meta"]["names"]
    ((row, column),) = np.argwhere(np.array(z) == 0.5)
    assert names[row][column] == LAYER
    frame = figure["layout"]["shapes"][0]
    assert (frame["x0"] + 0.5, frame["y0"] + 0.5) == (column, row)


def test_the_curves_are_the_numbers(drawn):
    W = layers_like(load_model("glassllm")[0])[LAYER].double()
    sigma = np.linalg.svd(W.numpy(), compute_uv=False)
    of_W, of_pissa = (trace(drawn["singular"], name) for name in ("W", "PiSSA"))
    np.testing.assert_allclose(of_W["y"], sigma[: len(of_W["y"])], rtol=1e-3)
    np.testing.assert_allclose(of_pissa["y"], sigma[:8], rtol=1e-3)
    assert of_W["x"][:3] == [1, 2, 3]

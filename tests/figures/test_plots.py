"""Plain Plotly figures and tables of a race: what they hold is what was measured."""

import re
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from support.races import raced, small
from support.steps import measuring, without

import olora_viz as ov
from olora_viz.figures import theme
from olora_viz.figures.layout import axis, layout, stacked
from olora_viz.races import run as runs

CONFIG = small(
    (ov.Lane("lora", r=2), ov.Lane("olora", r=2), ov.Lane("olora", lr=3e-3, r=2)), eval_every=2, gradients_every=2
)


@pytest.fixture(scope="module")
def racing() -> tuple[ov.Race, list[ov.Step]]:
    return raced(CONFIG)


def with_curvature(steps: list[ov.Step]) -> list[ov.Step]:
    """The same steps, with figures of a curvature at the last one."""
    values = {field.name: np.array([1.0, 10.0, 30.0]) for field in fields(ov.Curvature)}
    return [*steps[:-1], measuring(steps[-1], curvature=ov.Curvature(**values | {"top": None}))]


def curves(figure: go.Figure, name: str) -> list[list[float]]:
    return [list(t.y) for t in figure.data if t.name == name and "lines" in t.mode]


def test_a_race_its_steps_and_its_folder_draw_the_same_curves(racing, tmp_path) -> None:
    race, steps = racing
    run = runs.start(CONFIG, tmp_path / "run")
    list(run)
    drawn = [
        ov.plot_race(steps, race),
        ov.plot_race(ov.race(CONFIG)),
        ov.plot_race(tmp_path / "run"),
        ov.plot_race(str(tmp_path / "run")),
    ]
    one = drawn[0].to_plotly_json()
    assert all(figure.to_plotly_json() == one for figure in drawn)
    raw = next(line for line in curves(drawn[0], "OLoRA 3e-3"))
    np.testing.assert_allclose(raw, [step.loss[2] for step in steps], rtol=1e-3)


def test_a_sweep_draws_the_same_curves_from_a_race_its_steps_and_its_folder(racing, tmp_path):
    race, steps = racing
    list(runs.start(CONFIG, tmp_path / "run"))
    start = float(race.baseline.loss[0])
    one, *others = (
        figure.to_plotly_json()
        for figure in (
            ov.plot_rates(steps, race),
            ov.plot_rates(steps, CONFIG, start_loss=start),
            ov.plot_rates(ov.race(CONFIG)),
            ov.plot_rates(tmp_path / "run"),
        )
    )
    assert all(other == one for other in others)
    (olora,) = (c for c in ov.rate_curves(CONFIG.lanes, steps) if c.lane.init == "olora")
    drawn = [t for t in one["data"] if t.get("mode", "").startswith("lines") and len(t["x"]) == 2]
    assert any(np.allclose(t["y"], [p.mean for p in olora.points], rtol=1e-3) for t in drawn)
    with pytest.raises(ValueError, match="steps do not contain their learning rates"):
        ov.plot_rates(steps)


def test_without_a_set_up_the_lanes_are_called_by_their_numbers(racing) -> None:
    figure = ov.plot_race(racing[1], what="loss")
    assert {t.legendgroup for t in figure.data} == {"lane 1", "lane 2", "lane 3"}
    assert ov.steps_frame(racing[1])["lane"].cat.categories.tolist() == ["lane 1", "lane 2", "lane 3"]


def test_figures_below_each_other_keep_their_curves_their_axes_and_their_distance(racing) -> None:
    race, steps = racing[0], with_curvature(racing[1])
    names = ("loss", "gradient", "accuracy", "sharpness", "stability")
    whole = ov.plot_race(steps, race, what=names)
    alone = [ov.plot_race(steps, race, what=name) for name in names]
    assert [list(t.y) for t in whole.data] == [list(t.y) for one in alone for t in one.data]
    drawn = whole.layout
    domains = [drawn[f"yaxis{i or ''}"].domain for i in ("", 2, 3, 4, 5)]
    assert all(0 <= low < high <= 1 for low, high in domains)
    assert all(above[0] > below[1] for above, below in pairwise(domains))
    assert drawn.height == sum(one.layout.height for one in alone)
    for i, (suffix, one) in enumerate(zip(("", "2", "3", "4", "5"), alone, strict=True)):
        assert drawn[f"yaxis{suffix}"].title.text == one.layout.yaxis.title.text
        assert drawn[f"xaxis{suffix}"].anchor == f"y{suffix}"
        height = (domains[i][1] - domains[i][0]) * drawn.height
        margin = one.layout.margin
        assert height == pytest.approx(one.layout.height - margin.t - margin.b)


def test_a_line_across_a_figure_stays_inside_it_when_others_stand_below() -> None:
    axes = {"x": axis("x", range=[0, 1]), "y": axis("y", range=[0, 1])}
    made = {"data": [], "layout": layout("One", "unit", height=100, **axes)}
    upright = {"type": "line", "x0": 0.5, "x1": 0.5, "yref": "paper", "y0": 0, "y1": 1}
    made["layout"]["shapes"] = [upright]
    shapes = stacked([made, made]).layout.shapes
    assert [(s.xref, s.yref) for s in shapes] == [("x", "y domain"), ("x2", "y2 domain")]


@pytest.mark.parametrize("palette", theme.THEMES)
def test_no_colour_token_is_left_in_any_figure(racing, palette: str) -> None:
    race, steps = racing
    for figure in (
        ov.plot_race(steps, race, theme=palette),
        ov.plot_gradients(steps, race, theme=palette),
        ov.plot_spectrum(torch.randn(6, 9), r=2, theme=palette),
    ):
        assert "'@" not in str(figure.to_plotly_json())
        assert figure.layout.paper_bgcolor == theme.SURFACES[palette]["card"]


def test_gradients_are_drawn_at_the_step_that_was_asked_for(racing) -> None:
    race, steps = racing
    first = ov.plot_gradients(steps, race, measure="gradient_B", step=1)
    assert "step 1" in first.layout.title.text
    np.testing.assert_allclose(curves(first, "LoRA 1e-3")[0], steps[0].gradients.gradient[0, :, 1], rtol=1e-3)
    assert "step 4" in ov.plot_gradients(steps, race).layout.title.text
    with pytest.raises(ValueError, match="step 3 was not measured, only 1, 2, 4"):
        ov.plot_gradients(steps, race, step=3)


def test_the_spectrum_of_a_small_matrix_is_the_one_of_hand_algebra() -> None:
    figure = ov.plot_spectrum(torch.tensor([[1.0, 1.0], [0.0, 1.0]]), r=1, inits=["olora"], what="singular")
    assert curves(figure, "W")[0] == pytest.approx([1.618, 0.618], abs=1e-3)
    assert curves(figure, "OLoRA")[0] == pytest.approx([2**0.5], abs=1e-3)


def test_a_model_and_its_name_and_its_weight_draw_the_same_spectrum() -> None:
    model, _ = ov.load_model("glassllm")
    layer = "model.layers.1.self_attn.k_proj"
    weight = model.get_submodule(layer).weight
    by_name = ov.plot_spectrum("glassllm", layer, r=3)
    assert any(layer in a.text for a in by_name.layout.annotations)
    for other in (ov.plot_spectrum(model, "layers.1.*.k_proj", r=3), ov.plot_spectrum(weight, r=3)):
        assert [list(t.y) for t in other.data] == [list(t.y) for t in by_name.data]


def test_the_start_of_a_set_up_and_its_measurement_draw_the_same_comparison() -> None:
    config = replace(CONFIG, batch_size=1)
    race = ov.race(replace(config, lanes=config.lanes[:2]))
    found = ov.conditioning(race.lanes, race.batch(1), with_kernel=False)
    one = ov.plot_conditioning(found, race, what="comparison")
    assert one.to_plotly_json() == ov.plot_conditioning(config, what="comparison").to_plotly_json()
    with pytest.raises(ValueError, match="pass the config of the 2 lanes"):
        ov.plot_conditioning(found)


def test_the_table_has_a_row_for_every_step_and_lane_and_holds_what_was_measured(racing) -> None:
    race, steps = racing
    steps = with_curvature(steps)
    frame = ov.steps_frame(steps, race)
    assert len(frame) == 12
    assert frame["lane"].cat.categories.tolist() == list(CONFIG.labels)
    loss = frame.pivot(index="step", columns="lane", values="loss")
    np.testing.assert_array_equal(loss.to_numpy(), [step.loss for step in steps])
    held = frame.dropna(subset="eval_loss")
    assert sorted(set(held["step"])) == [2, 4]
    curved = frame.dropna(subset="lambda_max")
    np.testing.assert_array_equal(curved["lambda_max"], [1.0, 10.0, 30.0])


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda race, steps: ov.plot_race(steps, what="los"), "unknown figure 'los'"),
        (lambda race, steps: ov.plot_race(steps, theme="drak"), "unknown theme 'drak'"),
        (lambda race, steps: ov.plot_race(steps, what=[]), "choose what to draw: loss, gradient"),
        (lambda race, steps: ov.plot_race("nowhere"), "'nowhere' is not a run folder"),
        (lambda race, steps: ov.plot_race(steps, ov.RaceConfig()), "the steps are of 3 lanes and the set-up has 9"),
        (lambda race, steps: ov.plot_race(steps, what="sharpness"), "these steps have no curvature"),
        (lambda race, steps: ov.plot_gradients([without(steps[0], "gradients")]), "these steps have no gradients"),
        (lambda race, steps: ov.plot_spectrum("glassllm", "q_proj"), "matches 4 layers"),
        (lambda race, steps: ov.plot_spectrum("glasllm"), "did you mean 'glassllm'"),
        (lambda race, steps: ov.plot_spectrum(torch.ones(2, 2), inits=["eva"]), "eva"),
        (lambda race, steps: ov.plot_spectrum(torch.full((2, 2), torch.nan)), "must be a matrix .* of finite numbers"),
        (lambda race, steps: ov.plot_spectrum(torch.ones(2, 2), r=3), "rank 3 exceeds"),
    ],
)
def test_what_cannot_be_drawn_gets_a_sentence(racing, call, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        call(*racing)


@pytest.mark.parametrize("suffix", [".pdf", ".svg", ".png"])
def test_a_figure_for_print_has_its_column_s_width_and_text_that_stays_text(suffix: str, tmp_path) -> None:
    rates = ov.plot_rates(ov.load_recording("fair-rates"))
    file = tmp_path / f"rates{suffix}"
    rates._figures[-1]["layout"]["xaxis"] |= {
        "tickvals": [1e-3, 1.1e-3, 1e-2],
        "ticktext": ["a rate", "hidden", "last"],
    }
    caption = ov.figure_style("paper").write(rates, file)
    assert caption.startswith("Final held-out loss against learning rate: nats per answer token, 64 held-out examples")
    data = file.read_bytes()
    if suffix == ".pdf":
        (box,) = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ", data)
        assert float(box) == pytest.approx(3.35 * 72)
        assert b"/Type3" not in data, "fonts are embedded as fonts"
    elif suffix == ".svg":
        for word, shown in (("OLoRA", True), ("a rate", True), ("last", True), ("hidden", False)):
            assert (f">{word}</text>" in data.decode()) is shown
    else:
        assert int.from_bytes(data[16:20], "big") == 3.35 * 600


def test_what_is_no_figure_for_print_gets_a_sentence(tmp_path) -> None:
    with pytest.raises(ValueError, match="did you mean 'paper'"):
        ov.figure_style("papr")
    rates = ov.plot_rates(ov.load_recording("fair-rates"))
    with pytest.raises(ValueError, match=r"written as \.pdf, \.svg, \.png, not 'a\.eps'"):
        ov.figure_style().write(rates, tmp_path / "a.eps")
    with pytest.raises(ValueError, match=r"write takes a figure of ov\.plot_race and its like, not 3"):
        ov.figure_style().write(3, tmp_path / "a.pdf")
    assert not list(tmp_path.iterdir())

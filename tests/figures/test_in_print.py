"""Every figure for print: nothing is cut and no words meet, at the width of one column and of two."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.text import Text
from support.simulated_studies import METHODS, World

import olora_viz as ov
from olora_viz.figures.in_print import WIDTHS
from olora_viz.figures.plots import PICTURES
from olora_viz.studies.method import method_name
from olora_viz.studies.verdicts import Verdicts

both = pytest.mark.parametrize("style", WIDTHS)
NEED_MORE = {"forgotten", "interaction"}
"""A text to keep, and methods with two values of a setting."""
OF_STUDY = [name for name in PICTURES if name not in NEED_MORE]


def study(*methods: str, **across: Any) -> Verdicts:
    plan = ov.Study(compare=methods, across=across, tune={"lr": (1e-3, 1.73e-3, 4e-3)}, seeds=2)
    return World(np.random.default_rng(5), len(methods), 30, 30, curvature=0.3, names=methods).study(plan)


@pytest.fixture(scope="module")
def studies() -> dict[str, Verdicts]:
    """Return studies with many long names, with two methods, with one, and with methods that are more than starts."""
    many = study(*METHODS, task=("number-words", "sentiment"), model=("glassllm", "smollm2-135m"))
    q_and_v = ("lora:targets=q_proj+v_proj", "olora:targets=q_proj+v_proj")
    several = study("lora", "olora", *q_and_v, "lora:rslora=1", "lora:r=2", "lora:targets=attention")
    return {"several": several, "many": many, "two": study(*METHODS[:3]), "one": study(*METHODS[:2], r=(2, 16))}


def words(canvas: Any) -> list[Text]:
    """Return the words that are seen."""
    beyond = {
        tick.label1
        for axes in canvas.axes
        for axis, (low, high) in ((axes.xaxis, sorted(axes.get_xlim())), (axes.yaxis, sorted(axes.get_ylim())))
        for tick in axis.get_major_ticks()
        if not low <= tick.get_loc() <= high
    }
    return [text for text in canvas.findobj(Text) if text.get_text() and text.get_visible() and text not in beyond]


def check(canvas: Any, least: int = 6) -> None:
    """Check that no words are cut and no two meet; those that are turned by half an angle only for the former.

    Args:
        least: texts that the figure has.
    """
    canvas.draw_without_rendering()
    wide, high = canvas.bbox.width, canvas.bbox.height
    seen = words(canvas)
    assert len(seen) >= least
    boxes = [text.get_window_extent() for text in seen]
    for text, box in zip(seen, boxes, strict=True):
        cut = (box.x0, box.y0, wide - box.x1, high - box.y1)
        assert min(cut) > -1, (text.get_text(), cut)
        assert text.get_fontsize() >= 7
    for (a, one), (b, other) in combinations(zip(seen, boxes, strict=True), 2):
        if {a.get_rotation(), b.get_rotation()} <= {0, 90}:
            across = min(one.x1, other.x1) - max(one.x0, other.x0)
            along = min(one.y1, other.y1) - max(one.y0, other.y0)
            assert min(across, along) < 2, (a.get_text(), b.get_text(), across, along)


@both
@pytest.mark.parametrize("what", OF_STUDY)
@pytest.mark.parametrize("name", ["several", "many", "two", "one"])
def test_a_figure_of_a_study(studies: dict[str, Verdicts], name: str, what: str, style: str) -> None:
    canvas, caption = ov.figure_style(style).drawn(ov.plot_study(studies[name], what=what))
    check(canvas)
    said = " ".join(text.get_text().replace("\n", " ") for text in words(canvas))
    if what == "wins":
        for init in studies[name].study.compare[1:]:
            assert said.count(method_name(init)) >= 2
        for sign, word in {"✓": "better", "✗": "worse", "=": "level", "?": "undecided"}.items():
            assert f" {sign} " not in f" {said} " or f"{sign} {word}" in caption
    if len(canvas.axes) > 1:
        for cell in studies[name].study.cells():
            assert f"{cell.model}, {cell.task}, rank {cell.r}" in said


@both
@pytest.mark.parametrize("name", ["several", "many"])
def test_the_interactions_of_a_study(studies: dict[str, Verdicts], name: str, style: str) -> None:
    canvas, caption = ov.figure_style(style).drawn(ov.plot_study(studies[name], what="interaction"))
    check(canvas, least=4)  # one tile has its number, its row, its column and the axis
    assert "minus that with" in caption


@both
def test_a_figure_of_anything_else(style: str) -> None:
    one, fair = ov.load_recording("one-rate"), ov.load_recording("fair-rates")
    weight = torch.randn(24, 16, generator=torch.Generator().manual_seed(0))
    subset = ov.recorded_claims().of("subset")[0].finding
    for figure in (
        ov.plot_race(one), ov.plot_race(fair), ov.plot_race({"a": one, "another": fair}), ov.plot_rates(fair),
        ov.plot_gradients(one), ov.plot_spectrum(weight, r=4), ov.plot_claim("subset", subset),
    ):  # fmt: skip
        check(ov.figure_style(style).drawn(figure)[0])

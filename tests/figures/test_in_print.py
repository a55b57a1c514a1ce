"""Every figure for print: nothing is cut and no words meet, at the width of one column and of two."""

from typing import Any

import numpy as np
import pytest
import torch
from support.in_print import check_print, words_in
from support.nightly import at_night
from support.planted_claims import planted_objectives
from support.simulated_studies import METHODS, World

import olora_viz as ov
from olora_viz.figures.in_print import WIDTHS
from olora_viz.figures.plots import PICTURES
from olora_viz.studies.method import method_name
from olora_viz.studies.verdicts import Verdicts

both = pytest.mark.parametrize("style", WIDTHS)
NEED_MORE = {"reward", "forgotten", "kept", "kl", "interaction"}
"""Rewards, a text to keep, a chain, several objectives, and methods with two values of a setting."""
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


@pytest.mark.parametrize("what", OF_STUDY)
@pytest.mark.parametrize(
    ("name", "style"),
    [
        *(("many", style) for style in WIDTHS), ("several", "paper"), ("two", "wide"), ("one", "paper"),
        *at_night(("several", "wide"), ("two", "paper"), ("one", "wide")),
    ],
)  # fmt: skip
def test_a_figure_of_a_study(studies: dict[str, Verdicts], name: str, what: str, style: str) -> None:
    canvas, caption = ov.figure_style(style).drawn(ov.plot_study(studies[name], what=what))
    check_print(canvas)
    said = " ".join(text.get_text().replace("\n", " ") for text in words_in(canvas))
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
    check_print(canvas, least=4)  # one tile has its number, its row, its column and the axis
    assert "minus that with" in caption


@both
@pytest.mark.parametrize("what", ["reward", "forgotten", "kl"])
def test_a_figure_of_a_study_of_objectives(what: str, style: str) -> None:
    check_print(ov.figure_style(style).drawn(ov.plot_study(planted_objectives(), what=what))[0])


@both
def test_a_figure_of_anything_else(style: str) -> None:
    one, fair = ov.load_recording("one-rate"), ov.load_recording("fair-rates")
    weight = torch.randn(24, 16, generator=torch.Generator().manual_seed(0))
    subset = ov.recorded_claims().of("subset")[0].finding
    for figure in (
        ov.plot_race(one), ov.plot_race(fair), ov.plot_race({"a": one, "another": fair}), ov.plot_rates(fair),
        ov.plot_gradients(one), ov.plot_spectrum(weight, r=4), ov.plot_claim("subset", subset),
    ):  # fmt: skip
        check_print(ov.figure_style(style).drawn(figure)[0])

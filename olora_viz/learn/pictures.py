"""The pictures of the lessons, as Plotly figures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from olora_viz.figures import race as figures
from olora_viz.figures.forgotten import forgotten_figure
from olora_viz.figures.layout import Figure, layout
from olora_viz.figures.rates import rate_figure
from olora_viz.figures.spectrum import singular_values_figure
from olora_viz.figures.start import sharpness_figure
from olora_viz.figures.theme import lane_styles
from olora_viz.initializers.olora import olora
from olora_viz.learn.gallery import load_recording
from olora_viz.learn.lessons import Lesson, singular_values
from olora_viz.learn.lessons.lesson import example_matrix
from olora_viz.machine.text import percent
from olora_viz.measures.truncation import truncation
from olora_viz.races.step import held_out_count
from olora_viz.studies.contest import seed_groups
from olora_viz.studies.story import rate_curves

HEIGHT = 230
"""Height of the plot area in pixels."""

GAP = 1.2
"""Gap between two matrices, in cells."""


def picture(lesson: Lesson, r: int = 2) -> Figure:
    """Draw the picture of a lesson; that of a QR has rank r."""
    if lesson.picture == "qr":
        return qr_figure(example_matrix(), r)
    if lesson.picture == "spectrum":
        return singular_values_figure([truncation(singular_values.W, 1)], run=lesson.name)
    if lesson.recording is None:
        raise ValueError(f"the lesson {lesson.name!r} has no recorded race to draw")
    race = load_recording(lesson.recording)
    lanes, styles, steps, total = race.config.lanes, race.styles, race.steps, race.config.steps
    start = float(race.baseline.loss[0])
    if lesson.picture == "rates":
        figure = rate_figure(
            rate_curves(lanes, steps), start_loss=start, examples=held_out_count(steps), run=lesson.name
        )
    elif lesson.picture == "forgotten":
        groups = seed_groups(lanes)
        figure = forgotten_figure(
            lane_styles([replace(group.lane, seed=0) for group in groups]), steps, total=total, start_loss=start,
            text=race.text, run=lesson.name, seeds=[group.lanes for group in groups],
        )  # fmt: skip
    elif lesson.picture == "curvature":
        figure = sharpness_figure(styles, steps, total=total, run=lesson.name)
    else:
        figure = figures.loss_figure(styles, steps, total=total, start_loss=start, run=lesson.name)
    figure["layout"]["meta"]["unit"] += " · recorded"
    return figure


def qr_figure(W: Float[Tensor, "out in"], r: int) -> Figure:
    """Draw W (out, in), its thin QR of rank r and the residual; ValueError if r exceeds min(out, in)."""
    start = olora(W, r)
    product = start.B @ start.A
    panels = (("W", W, ""), ("Q_r", start.B, "="), ("R_r", start.A, "·"), ("rest", W - product, "+"))
    largest = max(float(matrix.abs().max()) for _, matrix, _ in panels)
    energy = float(product.square().sum() / W.square().sum())
    figure = layout(
        f"W and its rank-{r} QR approximation",
        f"orange above zero, blue below; Qᵣ·Rᵣ captures {percent(energy)} of ‖W‖²",
        x={"visible": False}, y={"visible": False}, height=HEIGHT, revision="qr",
    )  # fmt: skip
    figure["hovermode"] = "closest"
    figure["margin"] |= {"l": 8, "r": 8, "t": 8, "b": 8}
    figure["annotations"], data, at = [], [], 0.0
    rows, columns = W.shape
    for name, matrix, sign in panels:
        if sign:
            figure["annotations"].append(_words(sign, at + GAP / 2 - 0.5, rows / 2 - 0.5))
            at += GAP
        data.append(_cells(name, matrix, largest, at))
        figure["annotations"].append(_words(name, at + matrix.shape[1] / 2 - 0.5, -0.95))
        at += matrix.shape[1]
    # The frame fits every rank, so that cells keep their size when the rank changes.
    total = at + min(rows, columns) - r
    figure["xaxis"] |= {"range": [-0.7, total - 0.3], "fixedrange": True}
    figure["yaxis"] |= {"range": [rows - 0.3, -1.3], "fixedrange": True}
    return {"data": data, "layout": figure}


def _cells(name: str, matrix: Tensor, largest: float, left: float) -> dict[str, Any]:
    values = [[round(x, 4) + 0.0 for x in row] for row in matrix.tolist()]
    rows, columns = matrix.shape
    return {
        "type": "heatmap", "name": name, "z": values, "x": [left + j for j in range(columns)], "y": list(range(rows)),
        "zmin": -largest, "zmax": largest, "colorscale": [[0, "@pissa"], [0.5, "@soft"], [1, "@olora"]],
        "showscale": False, "xgap": 2, "ygap": 2, "hovertemplate": f"{name}: %{{z:.3f}}<extra></extra>",
    }  # fmt: skip


def _words(text: str, x: float, y: float) -> dict[str, Any]:
    return {
        "text": text.replace("_r", "<sub>r</sub>"), "x": x, "y": y, "xref": "x", "yref": "y", "showarrow": False,
        "font": {"size": 13, "color": "@ink"},
    }  # fmt: skip

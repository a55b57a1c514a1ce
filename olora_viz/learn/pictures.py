"""What stands beside a lesson's text: its picture, and numbers that its reader changes by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from olora_viz.figures import race as figures
from olora_viz.figures.chain import matrix_figure
from olora_viz.figures.forgotten import forgotten_figure
from olora_viz.figures.layout import Figure, layout
from olora_viz.figures.race import RaceCurves
from olora_viz.figures.rates import rate_figure, reward_by_rate_figure
from olora_viz.figures.spectrum import singular_values_figure
from olora_viz.figures.start import sharpness_figure
from olora_viz.figures.theme import lane_styles
from olora_viz.initializers import label_of
from olora_viz.initializers.olora import olora
from olora_viz.lanes.lane import Lane
from olora_viz.learn.gallery import load_recording
from olora_viz.learn.gallery.chain import recorded_chain
from olora_viz.learn.lessons import Lesson, qr, singular_values
from olora_viz.learn.lessons.lesson import RaceNumbers, example_matrix
from olora_viz.machine.wording import compact, percent
from olora_viz.measures.truncation import truncation
from olora_viz.races.config import RaceConfig
from olora_viz.races.step import held_out_count
from olora_viz.studies.contest import seed_groups
from olora_viz.studies.story import rate_curves

PLOT_HEIGHT = 230
"""Height of the plot area in pixels."""

GAP = 1.2
"""Gap between two matrices, in cells."""


def picture(lesson: Lesson, r: int = 2) -> Figure:
    """Draw the picture of a lesson; that of a QR has rank r."""
    if lesson.picture == "qr":
        return qr_figure(example_matrix(), r)
    if lesson.picture == "spectrum":
        return singular_values_figure([truncation(singular_values.W, 1)], run=lesson.name)
    if lesson.picture == "chain":
        figure = matrix_figure(recorded_chain())
        figure["layout"]["meta"]["unit"] += " · recorded"
        return figure
    if lesson.recording is None:
        raise ValueError(f"the lesson {lesson.name!r} has no recorded race to draw")
    race = load_recording(lesson.recording)
    lanes, styles, steps, total = race.config.lanes, race.styles, race.steps, race.config.steps
    start = float(race.baseline.loss[0])
    if lesson.picture == "rates":
        figure = rate_figure(
            rate_curves(lanes, steps), start_loss=start, examples=held_out_count(steps), run=lesson.name
        )
    elif lesson.picture == "reward":
        figure = reward_by_rate_figure(lanes, steps, lesson.name)
    elif lesson.picture == "forgotten":
        groups = seed_groups(lanes)
        seeds, shown = [group.lanes for group in groups], lane_styles([replace(each.lane, seed=0) for each in groups])
        curves = RaceCurves(shown, steps, total, lesson.name, seeds)
        figure = forgotten_figure(curves, start_loss=start, text=race.text)
    elif lesson.picture == "curvature":
        figure = sharpness_figure(RaceCurves(styles, steps, total, lesson.name))
    else:
        figure = figures.loss_figure(RaceCurves(styles, steps, total, lesson.name), start_loss=start)
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
        x={"visible": False}, y={"visible": False}, height=PLOT_HEIGHT, revision="qr",
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


@dataclass(frozen=True)
class Hand:
    """What a script in `olora_viz/web/hands` is given."""

    kind: str
    """Names the script."""
    given: dict[str, Any]
    races: tuple[RaceConfig, ...] = ()
    """Set-ups that the reader may race live, in the order of what is changed."""


def hand(lesson: Lesson) -> Hand | None:
    """Return what a lesson lets its reader change; None if nothing."""
    return HANDS[lesson.name](lesson) if lesson.name in HANDS else None


def _plane(_: Lesson) -> Hand:
    return Hand("plane", {"columns": qr.BY_HAND.T.tolist()})


SCALINGS = (1.0, 0.5, 0.25, 0.125, 0.0625)
"""The scalings s = α / r of the lesson on one rate."""


def _alpha(lesson: Lesson) -> Hand:
    """Return OLoRA's first gradient at several α: it is proportional to s, since s does not change the model."""
    race = RaceNumbers(load_recording(lesson.recording or ""))
    config = race.recording.config
    (r,) = {lane.r for lane in config.lanes}
    norms = {label_of(init): race.first_gradient(init) for init in ("lora", "olora")}
    lora, olora = (config.lanes[race.lanes(init)[0]] for init in ("lora", "olora"))
    smaller = ([replace(olora, alpha=s * r)] * (s < 1) for s in SCALINGS)
    races = tuple(_with(config, [lora, olora, *shrunk]) for shrunk in smaller)
    return Hand("alpha", {"rank": r, "shares": SCALINGS, "norms": norms}, races)


MORE_SEEDS, STEPS = 6, 60
"""Of the live race with more seeds: as many as let chance alone be rarer than one in twenty, and done within 40 s."""


def _luck(lesson: Lesson) -> Hand:
    """Return the differences of OLoRA and LoRA by seed, at every rate."""
    race = RaceNumbers(load_recording(lesson.recording or ""))
    config, final = race.recording.config, race.recording.steps[-1].eval_loss
    assert final is not None
    pairs, races = [], []
    for lr in race.rates("lora"):
        ours, theirs = (race.lanes(init, lr) for init in ("olora", "lora"))
        gaps = [round(float(final[i] - final[j]), 4) for i, j in zip(ours, theirs, strict=True)]
        pairs.append({"rate": compact(lr), "differences": gaps})
        lanes = [
            Lane(init, lr=lr, r=config.lanes[0].r, seed=s) for init in ("lora", "olora") for s in range(MORE_SEEDS)
        ]
        races.append(replace(_with(config, lanes), steps=STEPS))
    names = [label_of(init) for init in ("olora", "lora")]
    return Hand("luck", {"names": names, "pairs": pairs}, tuple(races))


def _with(config: RaceConfig, lanes: Sequence[Lane]) -> RaceConfig:
    return replace(config, lanes=tuple(lanes))


HANDS: dict[str, Callable[[Lesson], Hand]] = {"qr": _plane, "one-rate": _alpha, "fair-rates": _luck}
"""By the name of the lesson."""

"""Several runs beside each other: their held-out curves on one chart, and what differs in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from olora_viz.figures.labels import curve_ends, room_for
from olora_viz.figures.layout import Figure, axis, layout, line, log_axis, log_range
from olora_viz.figures.theme import DASHES, SHAPES, LaneStyle
from olora_viz.lanes.lane import write_lane
from olora_viz.races.config import RaceConfig
from olora_viz.races.step import Step

HEIGHT = 230
"""Nominal height of the plot's area in pixels."""

FIELDS = {
    "model": "model", "task": "task", "steps": "steps", "batch_size": "prompts per step",
    "seed": "seed", "batches": "batches", "max_length": "longest example",
}  # fmt: skip
"""Fields that may differ besides the lanes, and their display names."""


@dataclass(frozen=True)
class Run:
    """A run with the name that its owner gave it."""

    name: str
    config: RaceConfig
    styles: tuple[LaneStyle, ...]
    steps: Sequence[Step]


def overlay_figure(runs: Sequence[Run], *, revision: str = "overlay") -> Figure:
    """Draw the held-out loss of all lanes of some runs; a run is a dash, a start is a colour."""
    drawn = [_evaluations(run) for run in runs]
    values = [losses for _, losses in drawn]
    low, high = log_range(values)
    total = max((run.config.steps for run in runs), default=1)
    data: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []
    for i, (run, (at, losses)) in enumerate(zip(runs, drawn, strict=True)):
        if not at:
            continue
        dash, shape = DASHES[i % len(DASHES)], SHAPES[i % len(SHAPES)]
        own = [
            replace(style, label=f"{run.name}: {style.label}", dash=dash, symbol=shape)
            for style in run.styles
        ]
        for k, style in enumerate(own):
            more = {
                "x": at,
                "name": style.label,
                "legendgroup": style.label,
                "mode": "lines+markers",
            }
            mark = {"marker": {"color": style.color, "size": 5, "symbol": style.symbol}}
            data.append(line(style, losses[:, k], 1.8, **more) | mark)
        ends, crosses = curve_ends(own, at, losses, bounds=(low, high), height=HEIGHT, total=total)
        # One name per run, at its best lane: colour and dash identify the others.
        best = own[int(np.nanargmin(np.where(np.isfinite(losses[-1]), losses[-1], np.inf)))].label
        labels += [label for label in ends if label["name"] in (f"end {best}", f"out {best}")]
        data += crosses
    made = layout(
        "Runs side by side",
        "held-out loss, nats; dash: run, colour: initialization",
        x=axis("step", range=[0, round(total * 1.008 + 0.5, 2)]),
        y=log_axis("held-out loss, nats", low, high),
        height=HEIGHT,
        badge="log",
        message="" if data else "Nothing was evaluated in these runs yet.",
        revision=revision,
    )
    made["annotations"] = labels
    made["margin"]["r"] = room_for(
        [label["text"] for label in labels if label["name"].startswith("end ")]
    )
    return {"data": data, "layout": made}


def differing(configs: Sequence[RaceConfig]) -> list[tuple[str, list[str]]]:
    """Return what differs in some set-ups: a name, and its value in each of them.

    >>> from olora_viz.lanes.lane import Lane
    >>> one = RaceConfig(lanes=(Lane("lora"),), steps=10)
    >>> differing([one, RaceConfig(lanes=(Lane("lora"), Lane("olora")), steps=20)])
    [('steps', ['10', '20']), ('lanes', ['', '+ olora:lr=1e-3,r=8'])]
    """
    rows = []
    for field, words in FIELDS.items():
        values = [str(getattr(config, field, "")) for config in configs]
        if len(set(values)) > 1:
            rows.append((words, values))
    lanes = [[write_lane(lane) for lane in config.lanes] for config in configs]
    shared = set(lanes[0]).intersection(*lanes[1:]) if lanes else set()
    own = [", ".join(f"+ {lane}" for lane in its if lane not in shared) for its in lanes]
    if any(own):
        rows.append(("lanes", own))
    return rows


def _evaluations(run: Run) -> tuple[list[int], np.ndarray]:
    """Return the steps at which a run was evaluated, (E,), and the losses, (E, K)."""
    found = [step for step in run.steps if step.eval_loss is not None]
    losses = np.array([step.eval_loss for step in found], dtype=float)
    return [step.step for step in found], losses.reshape(len(found), len(run.styles))

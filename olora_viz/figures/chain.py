"""What a chain of races learns and keeps: a figure for each task; pure functions, see `figures.layout`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from olora_viz.figures.layout import Figure, axis, curve_ends, layout, line, log_axis, log_range
from olora_viz.figures.race import seed_band
from olora_viz.figures.studies import note, room_for
from olora_viz.figures.theme import lane_styles
from olora_viz.machine.tables import finite_or_none, number_or_nan
from olora_viz.machine.wording import counted, nats
from olora_viz.races.chain import learned_from

if TYPE_CHECKING:
    from olora_viz.lanes.lane import Lane
    from olora_viz.races.chain import Chain

HEIGHT = 240
"""Height of the plot area in pixels."""

BESIDE = 2
"""Matrices in a row."""

ROW = 26
"""Height of a row of a matrix in pixels."""


def chain_figures(chain: Chain) -> list[Figure]:
    """Draw for each task the held-out loss of every method after each link, and the matrix of all in the end.

    Lanes that differ in their seed are one. A task is learned in its own link; a line that rises later is what was
    forgotten.
    """
    tasks, T = list(dict.fromkeys(chain.tasks)), len(chain.links)
    lanes = [lane.replace(seed=0) for lane in chain.config.lanes]
    methods = list(dict.fromkeys(lanes))
    styles = lane_styles(methods)
    groups = [[k for k, lane in enumerate(lanes) if lane == method] for method in methods]
    left = [[_left_in(chain, chain.labels[k]) for k in group] for group in groups]
    figures = []
    for task in tasks:
        losses = np.full((T + 1, len(lanes)), np.nan)
        losses[0] = chain.base[task]["loss"]
        for i, link in enumerate(chain.links, 1):
            for k, label in enumerate(chain.labels):
                if lane := link["lanes"].get(label):
                    losses[i, k] = lane["results"][task]["loss"]
        means = np.stack([losses[:, group].mean(1) for group in groups], axis=1)
        bounds, at = log_range([losses]), list(range(T + 1))
        data = [
            trace
            for style, group in zip(styles, groups, strict=True)
            if len(group) > 1
            for trace in seed_band(style, losses[:, group], x=at)
        ]
        data += [line(style, mean, 2.4, marks=6, x=at) for style, mean in zip(styles, means.T, strict=True)]
        labels, crosses = curve_ends(styles, at, means, bounds=bounds, height=HEIGHT, total=T, left=left)
        own = ", ".join(str(i) for i, each in enumerate(chain.tasks, 1) if each == task)
        drawn = layout(
            f"Held-out loss on {task}",
            f"nats per token of right answers after each link; the task's own link: {own}{learned_from(chain)}",
            x=axis("after link", tickvals=at, ticktext=["base", *map(str, at[1:])], range=[-0.1, T + 0.1]),
            y=log_axis("loss", *bounds),
            height=HEIGHT,
            how="A line falls where right answers are learned. Where it rises on other tasks, so much was forgotten.",
            labels=labels,
        )
        figures.append({"data": data + crosses, "layout": drawn})
    return [*figures, matrix_figure(chain)]


def matrix_figure(chain: Chain) -> Figure:
    """Draw a matrix for each method: the held-out loss on every task, after every link; means over seeds.

    A method has no cells after the link in which one of its seeds diverged.
    """
    tasks, T = list(dict.fromkeys(chain.tasks)), len(chain.links)
    groups: dict[Lane, list[str]] = {}
    for lane, label in zip(chain.config.lanes, chain.labels, strict=True):
        groups.setdefault(lane.replace(seed=0), []).append(label)
    styles = lane_styles(list(groups))
    width, height = len(tasks) + 1, T + 3  # of a matrix, with the room beside it and its names
    columns, rows = BESIDE * width - 1, math.ceil(len(groups) / BESIDE) * height - 2
    z: list[list[float | None]] = [[None] * columns for _ in range(rows)]
    hover, named, notes = [[""] * columns for _ in range(rows)], {}, []
    for i, (style, labels) in enumerate(zip(styles, groups.values(), strict=True)):
        left, top = (i % BESIDE) * width, (i // BESIDE) * height
        named[top - 0.85] = "task"
        notes.append(note(style.label, left + (len(tasks) - 1) / 2, top - 1.6, style.text, "center"))
        for x, task in enumerate(tasks):
            notes.append(note(f"{x + 1}", left + x, top - 0.85, "@mute", "center"))
            losses = [number_or_nan(chain.base[task]["loss"])]
            for link in chain.links:
                known = [link["lanes"][label]["results"][task]["loss"] for label in labels if label in link["lanes"]]
                losses.append(float(np.mean(known)) if len(known) == len(labels) else math.nan)
            for y, loss in enumerate(losses):
                named[top + y] = f"after {y}" if y else "before"
                z[top + y][left + x] = finite_or_none(loss)
                hover[top + y][left + x] = f"{style.label}, {named[top + y]}, {task}: {loss:.3g} nats"
                notes.append(note(nats(loss), left + x, top + y, "@ink", "center"))
    seeds = max(map(len, groups.values()))
    numbered = ", ".join(f"{n} {task}" for n, task in enumerate(tasks, 1))
    drawn = layout(
        "What each method knows of each task, after each link",
        f"held-out loss, nats per token, mean of {counted(seeds, 'seed')}; tasks: {numbered}{learned_from(chain)}",
        x=axis("", range=[-0.6, columns - 0.4], tickvals=[], showgrid=False),
        y=axis("", range=[rows - 0.4, -2.1], tickvals=list(named), ticktext=list(named.values()), showgrid=False),
        height=round(ROW * (rows + 1.7)),
        how="Read a column from top to bottom: its loss falls where its right answers are learned, and rises again "
        "after links on other tasks where they are forgotten.",
        revision="chain",
        closest=True,
        labels=notes,
        margin={"l": room_for(named.values()), "r": 8},
    )
    cells = {
        "type": "heatmap", "name": "loss", "z": z, "x": list(range(columns)), "y": list(range(rows)), "text": hover,
        "colorscale": [[0, "@line"], [1, "@card"]], "showscale": False, "xgap": 2, "ygap": 2,
        "hoverongaps": False, "hovertemplate": "%{text}<extra></extra>",
    }  # fmt: skip
    return {"data": [cells], "layout": drawn}


def _left_in(chain: Chain, label: str) -> int:
    """Return the link in which a lane diverged, 0 for none."""
    return next((i for i, link in enumerate(chain.links, 1) if label not in link["lanes"]), 0)

"""What a chain of races learns and keeps: a figure for each task; pure functions, see `figures.layout`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from olora_viz.figures.layout import Figure, axis, curve_ends, layout, line, log_axis, log_range
from olora_viz.figures.race import seed_band
from olora_viz.figures.theme import lane_styles

if TYPE_CHECKING:
    from olora_viz.races.chain import Chain

HEIGHT = 240
"""Height of the plot area in pixels."""


def chain_figures(chain: Chain) -> list[Figure]:
    """Draw for each task the held-out loss of every method after each link; lanes that differ in their seed are one.

    A task is learned in its own link; a line that rises later is what was forgotten.
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
        names = ["base model", *(f"{i} {each}" for i, each in enumerate(chain.tasks[:T], 1))]
        own = ", ".join(str(i) for i, each in enumerate(chain.tasks, 1) if each == task)
        drawn = layout(
            f"Held-out loss on {task}",
            f"nats per token after each link; the task's own link: {own}",
            x=axis("after link", tickvals=at, ticktext=names, range=[-0.1, T + 0.1]),
            y=log_axis("loss", *bounds),
            height=HEIGHT,
            how="A line falls where the task is trained on. Where it rises afterwards, that much was forgotten.",
            labels=labels,
        )
        figures.append({"data": data + crosses, "layout": drawn})
    return figures


def _left_in(chain: Chain, label: str) -> int:
    """Return the link in which a lane diverged, 0 for none."""
    return next((i for i, link in enumerate(chain.links, 1) if label not in link["lanes"]), 0)

"""What pages show of a chain: in words and a table, with its figures."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from markupsafe import Markup

from olora_viz.figures.chain import chain_figures
from olora_viz.figures.layout import Figure
from olora_viz.figures.theme import lane_styles
from olora_viz.machine.tables import number_or_nan
from olora_viz.machine.wording import and_, nats, number, percent
from olora_viz.races.chain import Chain, Results, kept, learned_from, sentences
from olora_viz.views import html

if TYPE_CHECKING:
    from olora_viz.lanes.lane import Lane


class Column(NamedTuple):
    """A column that a table has where its numbers are known."""

    key: str
    """Of a link and lane of `Chain.links`."""
    write: Callable[[float], str]
    meaning: str


MORE = {
    "moved": Column("all_updates", percent, "Moved: the sum of all updates as a share of ‖W‖."),
    "intruders": Column(
        "intruders", partial(number, form=".1f"),
        "Intruders: how many of the ten leading singular vectors of a layer's weight resemble none of W's.",
    ),
    "drift": Column("drift", nats, "Drift: KL(base‖lane) on the text to keep, nats a token."),
    "right": Column("accuracy", percent, "Right: the share of right held-out answers at the end, mean over tasks."),
}  # fmt: skip


def chain_words(chain: Chain) -> Markup:
    """Return with which method a chain has kept most, and a row for each; empty before the end."""
    methods = kept(chain)
    if not methods:
        return Markup("")
    styles = lane_styles([method.lane for method in methods])
    at_end = [_at_end(chain, method.lane) for method in methods]
    more = [name for name in MORE if all(name in values for values in at_end)]
    rows = [
        (
            html.lane(style),
            *(nats(float(np.mean(each))) for each in (method.at_end, method.learned, method.forgotten)),
            *(MORE[name].write(values[name]) for name in more),
        )
        for style, method, values in zip(styles, methods, at_end, strict=True)
    ]
    words = sentences([replace(method, method=style.label) for style, method in zip(styles, methods, strict=True)])
    if left := [label for label in chain.labels if label not in chain.links[-1]["lanes"]]:
        words.append(f"Diverged, and left the chain: {and_(left)}.")
    return Markup('<p class="say">{}</p>{}<p class="hint">{}{}</p>').format(
        " ".join(words),
        html.table(("method", "at the end", "learned", "lost since", *more), rows, scrolls=True),
        "Held-out loss in nats a token, means over tasks and seeds: over all tasks after the last link, of each task "
        f"right after its own link, and by how much that on the earlier tasks has risen since{learned_from(chain)}. ",
        " ".join(MORE[name].meaning for name in more),
    )


def _at_end(chain: Chain, method: Lane) -> dict[str, float]:
    """Return what is known of a method after the last link beside its results, by column, means over its seeds."""
    lanes = [
        values["moved"] | {"drift": values.get("drift"), "accuracy": _accuracy(values["results"])}
        for lane, label in zip(chain.config.lanes, chain.labels, strict=True)
        if lane.replace(seed=0) == method.replace(seed=0) and (values := chain.links[-1]["lanes"].get(label))
    ]
    known = {name: [number_or_nan(values.get(column.key)) for values in lanes] for name, column in MORE.items()}
    return {name: mean for name, values in known.items() if math.isfinite(mean := float(np.mean(values)))}


def _accuracy(results: Results) -> float:
    """Return the mean over tasks, NaN where that of one is not known."""
    return float(np.mean([number_or_nan(of_task["accuracy"]) for of_task in results.values()]))


def charts_of_chain(chain: Chain) -> dict[str, Figure]:
    """Return the figures by name, that of all methods and tasks first; none before a link has ended."""
    if not chain.links:
        return {}
    *by_task, matrix = chain_figures(chain)
    return {"chain": matrix} | {f"chain-{i}": figure for i, figure in enumerate(by_task)}

"""What pages show of a chain: in words and a table, with its figures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from markupsafe import Markup

from olora_viz.figures.chain import chain_figures
from olora_viz.figures.layout import Figure
from olora_viz.figures.theme import lane_styles
from olora_viz.machine.wording import and_, nats
from olora_viz.races.chain import Chain, kept, sentences
from olora_viz.views import html


def chain_words(chain: Chain) -> Markup:
    """Return with which method a chain has kept most, and a row for each; empty before the end."""
    found = kept(chain)
    styles = lane_styles([method.lane for method in found])
    rows = [
        (html.lane(style), *(nats(float(np.mean(each))) for each in (method.at_end, method.learned, method.forgotten)))
        for style, method in zip(styles, found, strict=True)
    ]
    if not rows:
        return Markup("")
    words = sentences([replace(method, method=style.label) for style, method in zip(styles, found, strict=True)])
    if left := [label for label in chain.labels if label not in chain.links[-1]["lanes"]]:
        words.append(f"Diverged, and left the chain: {and_(left)}.")
    return Markup('<p class="say">{}</p>{}<p class="hint">{}</p>').format(
        " ".join(words),
        html.table(("method", "at the end", "learned", "lost since"), rows, scrolls=True),
        "Held-out loss in nats a token, means over tasks and seeds: over all tasks after the last link, of each task "
        "right after its own link, and by how much the loss on the earlier tasks has risen since.",
    )


def charts_of_chain(chain: Chain) -> dict[str, Figure]:
    """Return the figures by name, that of all methods and tasks first; none before a link has ended."""
    if not chain.links:
        return {}
    *by_task, matrix = chain_figures(chain)
    return {"chain": matrix} | {f"chain-{i}": figure for i, figure in enumerate(by_task)}

"""The changes of the adapters during training as figures; pure functions, see `layout`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from olora_viz.figures.layer_grid import block_and_module
from olora_viz.figures.layout import Figure, axis, layout
from olora_viz.figures.theme import LaneStyle
from olora_viz.machine.numbers import plain
from olora_viz.measures.update_spectra import UpdateSpectra

MOST_LINES = 32


def growth_figure(
    steps: Sequence[int],
    spectra: Sequence[UpdateSpectra],
    style: LaneStyle,
    k: int,
    layer: str,
    *,
    total: int | None = None,
    run: str = "",
) -> Figure:
    """Draw the singular values of one layer's ΔW against the step, for lane k."""
    i = spectra[0].layers.index(layer)
    sigma = np.array([one.sigma[k, i] for one in spectra])
    left_out = np.isnan(sigma).all()
    still = "No adapter on this layer." if left_out else "Nothing has changed yet."
    shown = [j for j in range(min(sigma.shape[1], MOST_LINES)) if (sigma[:, j] > 0).any()]
    data: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": f"σ{j + 1}",
            "x": [0, *steps],
            "y": [0.0, *plain(sigma[:, j])],
            "line": {"color": style.color, "width": 2.2 if j == 0 else 1.3, "dash": style.dash},
            "marker": {"color": style.color, "size": 3.5},
            "opacity": round(1.0 - 0.75 * place / max(1, len(shown) - 1), 3),
            "hovertemplate": "%{y:.3g}",
        }
        for place, j in enumerate(shown)
    ]
    top = float(np.fmax.reduce(sigma, axis=None, initial=0.0)) or 1.0
    ends = {} if total is None else {"range": [0, round(total * 1.008 + 0.5, 2)]}
    where = " · ".join(part for part in block_and_module(layer) if part)
    made = layout(
        f"Singular values of ΔW in {where}",
        f"{style.label}, during training; the darkest is the largest",
        x=axis("step", **ends),
        y=axis("σᵢ(ΔW)", range=[-0.02 * top, 1.06 * top]),
        height=210,
        message="" if shown else still,
        how=(
            "How strongly training changes the layer, direction by direction. A few large values "
            "mean that the update uses few of its r directions."
        ),
        revision=run or "growth",
    )
    return {"data": data, "layout": made}

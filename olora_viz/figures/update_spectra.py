"""What training makes of the adapters as figures; pure functions, see `figure_parts`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from olora_viz.figures.layout import Figure, axis, layout
from olora_viz.figures.maps import step_map
from olora_viz.figures.spectrum import block_and_module
from olora_viz.figures.theme import Look
from olora_viz.machine.numbers import plain
from olora_viz.measures.update_spectra import Trace

MEASURES = {
    "norm": ("‖ΔW‖", "how far the weight has moved, Frobenius norm"),
    "effective_rank": ("effective rank of ΔW", "exp of the entropy of its singular values"),
    "turned": ("turned", "largest angle between the columns of B and where they started, degrees"),
    "defect": ("‖BᵀB − I‖", "how far the columns of B are from orthonormal"),
    "condition_A": ("cond(A)", "largest over smallest singular value of A"),
    "condition_B": ("cond(B)", "largest over smallest singular value of B"),
}
"""What each measure is called, and what it says."""

MOST_LINES = 32


def trace_map(
    steps: Sequence[int],
    traces: Sequence[Trace],
    look: Look,
    k: int,
    measure: str,
    *,
    run: str = "",
) -> Figure:
    """Draw one measure of lane k as a map, steps across and layers down.

    Parameters
    ----------
    steps : the number of each trace's step.
    traces : at least one.
    look : of the lane.
    measure : a key of `MEASURES`.
    """
    name, unit = MEASURES[measure]
    return step_map(
        f"{look.label}: {name}",
        f"{unit}; layers from the input (top) to the output",
        steps,
        traces[0].layers,
        np.array([getattr(trace, measure)[k] for trace in traces]),
        look.color,
        revision=run or "trace",
    )


def growth_figure(
    steps: Sequence[int],
    traces: Sequence[Trace],
    look: Look,
    k: int,
    layer: str,
    *,
    total: int | None = None,
    run: str = "",
) -> Figure:
    """Draw the singular values of one layer's ΔW against the step, for lane k."""
    i = traces[0].layers.index(layer)
    sigma = np.array([trace.sigma[k, i] for trace in traces])
    shown = [j for j in range(min(sigma.shape[1], MOST_LINES)) if (sigma[:, j] > 0).any()]
    data: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": f"σ{j + 1}",
            "x": [0, *steps],
            "y": [0.0, *plain(sigma[:, j])],
            "line": {"color": look.color, "width": 2.2 if j == 0 else 1.3, "dash": look.dash},
            "marker": {"color": look.color, "size": 3.5},
            "opacity": round(1.0 - 0.75 * place / max(1, len(shown) - 1), 3),
            "hovertemplate": "%{y:.3g}",
        }
        for place, j in enumerate(shown)
    ]
    top = float(sigma.max(initial=0.0)) or 1.0
    ends = {} if total is None else {"range": [0, round(total * 1.008 + 0.5, 2)]}
    where = " · ".join(part for part in block_and_module(layer) if part)
    made = layout(
        f"Singular values of ΔW in {where}",
        f"{look.label}, as training goes on; the darkest is the largest",
        x=axis("step", **ends),
        y=axis("σᵢ(ΔW)", range=[-0.02 * top, 1.06 * top]),
        height=210,
        message="" if shown else "Nothing has moved yet.",
        revision=run or "growth",
    )
    return {"data": data, "layout": made}

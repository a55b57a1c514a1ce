"""A slice of the loss: its values on a grid along two directions through a lane's parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from olora_viz.lanes.adapters import Lanes
from olora_viz.machine.progress import Progress
from olora_viz.measures.record import Record

SIDE = 15
"""Points along each side of a slice."""


@dataclass(frozen=True, eq=False, repr=False)
class LossSlice(Record):
    """The loss of one lane on a plane through its parameters."""

    lane: int
    """Its number."""
    across: np.ndarray
    """(n,) distance from the lane's parameters along the top eigenvector, ‖Δθ‖."""
    along: np.ndarray
    """(n,) distance along the gradient's component orthogonal to the eigenvector, positive
    uphill."""
    loss: np.ndarray
    """(n, n) nats per supervised token; loss[i, j] is at along[i], across[j]; NaN where it is not
    finite."""


def directions(
    gradient: Float[Tensor, " P"], top: Float[Tensor, " P"]
) -> tuple[Float[Tensor, " P"], Float[Tensor, " P"]]:
    """Return the top eigenvector and the gradient's orthogonal component, both normalized.

    Raises
    ------
    ValueError : the gradient is zero or parallel to the eigenvector, or one is not finite.
    """
    across = top / torch.linalg.vector_norm(top)
    along = gradient - (gradient @ across) * across
    norm = torch.linalg.vector_norm(along)
    if not (norm.isfinite() and across.isfinite().all() and norm > 0):
        raise ValueError("a slice needs a finite gradient and eigenvector that are not parallel")
    return across, along / norm


def radius(loss: float, curvature: float, slope: float) -> float:
    """Return the extent of a slice on which the loss changes visibly but stays in range.

    At this distance, the curvature or the slope alone would raise the loss by about its own value.

    Parameters
    ----------
    loss : nats, > 0.
    curvature : the largest eigenvalue.
    slope : norm of the gradient.
    """
    bounds = [math.sqrt(2 * loss / curvature)] if curvature > 0 else []
    bounds += [loss / slope] if slope > 0 else []
    if not bounds or not all(map(math.isfinite, bounds)):
        raise ValueError(f"a curvature of {curvature:g} and a slope of {slope:g} give no extent")
    return min(bounds)


@torch.no_grad()
def loss_slice(
    lanes: Lanes,
    k: int,
    loss: Callable[[], Tensor],
    across: Float[Tensor, " P"],
    along: Float[Tensor, " P"],
    reach: float,
    *,
    side: int = SIDE,
    progress: Progress | None = None,
) -> LossSlice:
    """Compute the loss of lane k on a square grid around its parameters.

    Parameters
    ----------
    loss : computes the loss (1,) while lane k alone runs.
    across, along : unit vectors in the space of the lane's row of theta.
    reach : half the side of the square, ‖Δθ‖.
    side : points along each side, odd, so that the center is a grid point.
    progress : called after every point; raises to stop.

    Raises
    ------
    ValueError : `side` is even or below 3.

    References
    ----------
    Li, Xu, Taylor, Studer, Goldstein 2018, arXiv 1712.09913 (slices of a loss, and their scale).
    """
    lanes.check_lane(k)
    if side < 3 or side % 2 == 0:
        raise ValueError(f"side must be an odd number from 3, not {side}")
    places = np.linspace(-reach, reach, side)
    found = np.full((side, side), math.nan)
    with lanes.only(k), _put_back(lanes, k) as (row, here):
        for i, v in enumerate(places):
            for j, u in enumerate(places):
                row.copy_(here + u * across + v * along)
                value = float(loss()[0])
                found[i, j] = value if math.isfinite(value) else math.nan
                if progress:
                    done = i * side + j + 1
                    progress(done / side**2, f"loss {done} of {side**2}")
    return LossSlice(k, places, places, found)


@contextmanager
def _put_back(lanes: Lanes, k: int) -> Generator[tuple[Tensor, Tensor]]:
    row = lanes.theta.detach()[k]
    here = row.clone()
    try:
        yield row, here
    finally:
        row.copy_(here)

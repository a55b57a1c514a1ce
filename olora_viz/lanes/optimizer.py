"""AdamW on the rows of theta, with a learning rate and clipping per lane, and finite updates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from olora_viz.lanes.lane import Lane

MOMENTS = ("exp_avg", "exp_avg_sq")

LARGEST_RATIO = 10.0
"""An upper bound of |m̂| / √v̂ in Adam for any gradients: with β = (0.9, 0.999) it is at most
(1 − β₁) / √((1 − β₂)(1 − β₁² / β₂)) = 7.3, by the Cauchy–Schwarz inequality."""


@dataclass(frozen=True)
class _Kept:
    """A row and its moments from before an update."""

    row: Tensor
    moments: dict[str, Tensor]


class LaneOptimizer:
    """The optimizer of K lanes; it moves `theta` in place.

    Parameters
    ----------
    theta : (K, P), with its gradient at every step.
    lanes : K, with their weight decay and clipping.
    frozen : (K, P), mask of frozen parameters, with zero gradient and no weight decay. None if all
        are trained.
    """

    def __init__(self, theta: Tensor, lanes: Sequence[Lane], frozen: Tensor | None = None) -> None:
        self._theta, self._frozen = theta, {}
        if frozen is not None:
            # Without a gradient Adam itself moves nothing; only decay would.
            decaying = [k for k, lane in enumerate(lanes) if lane.weight_decay and frozen[k].any()]
            self._frozen = {k: frozen[k] for k in decaying}
        # Each row of theta is a parameter of its own, so that it has its own learning rate.
        self._rows = [nn.Parameter(row) for row in theta.detach()]
        self._adamw = torch.optim.AdamW(
            [
                {"params": [row], "lr": lane.lr, "weight_decay": lane.weight_decay}
                for row, lane in zip(self._rows, lanes, strict=True)
            ],
            fused=True,
        )
        self._clip = torch.tensor([lane.clip or math.inf for lane in lanes], device=theta.device)
        # Not the largest number itself: factorizations of A and B have to be finite too.
        self._limit = torch.finfo(theta.dtype).max / 1e4
        self._reach = self._largest()

    def step(self, rates: np.ndarray, norms: Tensor, out: np.ndarray) -> np.ndarray:
        """Update the lanes that have not diverged.

        Parameters
        ----------
        rates : (K,) learning rates of this step.
        norms : (K,) norms of the gradients.
        out : (K,) the lanes that are not updated.

        Returns
        -------
        (K,) the lanes whose update was not finite, or about as large as numbers get: their rows and
        moments are those from before it.
        """
        assert self._theta.grad is not None
        self._clip_gradient(self._theta.grad, norms)
        for k, row in enumerate(self._rows):
            self._adamw.param_groups[k]["lr"] = float(rates[k])
            row.grad = None if out[k] else self._theta.grad[k]
        kept = {k: self._keep(k) for k in self._may_overflow(rates, out)}
        held = {k: self._rows[k][frozen].detach() for k, frozen in self._frozen.items()}
        self._adamw.step()
        for k, values in held.items():
            self._rows[k].detach()[self._frozen[k]] = values
        failed = np.zeros(len(self._rows), dtype=bool)
        for k, before in kept.items():
            if not self._rows[k].abs().max() <= self._limit:
                self._put_back(k, before)
                failed[k] = True
        return failed

    def state(self) -> dict[str, Tensor]:
        """Return the moments (K, P) and the number of updates (K), on the CPU."""
        found: dict[str, list[Tensor]] = {"step": [], **{name: [] for name in MOMENTS}}
        for row in self._rows:
            known = self._adamw.state.get(row, {})
            for name, rows in found.items():
                empty = torch.zeros(()) if name == "step" else torch.zeros_like(row)
                rows.append(known.get(name, empty).detach().cpu())
        return {name: torch.stack(rows) for name, rows in found.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Restore a `state`; theta itself is already set."""
        for k, row in enumerate(self._rows):
            self._adamw.state[row] = {
                name: state[name][k].clone().to(row.device) for name in ("step", *MOMENTS)
            }
        self._reach = self._largest()

    def _clip_gradient(self, gradient: Tensor, norms: Tensor) -> None:
        """Scale the gradients of the lanes that clip, as `clip_grad_norm_` does."""
        if torch.isinf(self._clip).all():
            return
        factor = (self._clip / (norms + 1e-6)).clamp(max=1.0)
        gradient.mul_(factor[:, None])

    def _may_overflow(self, rates: np.ndarray, out: np.ndarray) -> list[int]:
        """Find the lanes whose next update could overflow.

        A bound on the largest entry of each row, kept from step to step, decides this without
        reading theta. At reasonable learning rates there is no such lane, and nothing is copied.
        """
        decay = np.array([group["weight_decay"] for group in self._adamw.param_groups])

        def ahead(largest: np.ndarray) -> np.ndarray:
            with np.errstate(over="ignore", invalid="ignore"):
                grown = largest * np.maximum(1.0, np.abs(1.0 - rates * decay))
                return np.where(out, 0.0, grown + LARGEST_RATIO * rates)

        if not (ahead(self._reach) <= self._limit).all():
            self._reach = self._largest()
        self._reach = ahead(self._reach)
        return [int(k) for k in np.flatnonzero(~(self._reach <= self._limit))]

    def _largest(self) -> np.ndarray:
        """Return the largest magnitude in each row."""
        largest = torch.linalg.vector_norm(self._theta.detach(), ord=math.inf, dim=1)
        return largest.double().cpu().numpy()

    def _keep(self, k: int) -> _Kept:
        row = self._rows[k]
        return _Kept(
            row.detach().clone(), {n: t.clone() for n, t in self._adamw.state.get(row, {}).items()}
        )

    @torch.no_grad()
    def _put_back(self, k: int, before: _Kept) -> None:
        row = self._rows[k]
        row.copy_(before.row)
        self._adamw.state[row] = dict(before.moments)

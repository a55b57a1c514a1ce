"""The lanes' optimizers on the rows of theta, with the settings of each lane, finite updates, and the best rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from olora_viz.lanes.lane import Lane
from olora_viz.lanes.optimizers import OPTIMIZERS, Turn
from olora_viz.lanes.plan import Layout
from olora_viz.lanes.subspace import Subspace

MOMENTS = ("exp_avg", "exp_avg_sq")

ALONG = "along"
"""Among the tensors of a `LaneOptimizer`: the v of all lanes with `Lane.dim`, one after the other."""


def largest_ratio(beta1: float, beta2: float) -> float:
    """Return an upper bound of |m̂| / √v̂ in Adam for any gradients, by Cauchy–Schwarz.

    >>> round(largest_ratio(0.9, 0.999), 1)
    72.7
    """
    return 1.0 / math.sqrt((1.0 - beta2) * (1.0 - beta1**2 / beta2))


@dataclass(frozen=True)
class _Part:
    """Parameters with one learning rate: a lane's whole row, with LoRA+ every A or every B, or v of `Subspace`."""

    lane: int
    ratio: float
    """Learning rate as a multiple of the lane's."""
    pieces: tuple[tuple[slice, nn.Parameter], ...]
    """The parameters, each with its columns of theta, for v those of the moments."""


@dataclass(frozen=True)
class BeforeUpdate:
    """Copies of what an update changes, on the device of theta."""

    theta: Tensor
    """(K, P)"""
    moments: dict[str, Tensor]
    """(K, P) each"""
    v: dict[int, Tensor]
    """Of the lanes with `Lane.dim`."""
    clocks: list[list[Tensor]]
    """The numbers of updates, of the parts of each lane."""
    reach: np.ndarray


class LaneOptimizer:
    """The optimizer of K lanes; it moves `theta` in place.

    Args:
        theta: (K, P), with its gradient at every step.
        lanes: K, with their betas, weight decay, clipping and LoRA+ ratio.
        layout: where theta holds A and B.
        frozen: (K, P), mask of frozen parameters, with zero gradient and no weight decay. None if all are trained.
        spaces: of the lanes with `Lane.dim`. Such a lane has AdamW on v, whose moments are the first d columns of its
            row; every update writes θ⁰ + P v into its row of theta. Clipping is by the norm of Pᵀ g, weight decay
            shrinks v.
    """

    def __init__(
        self,
        theta: Tensor,
        lanes: Sequence[Lane],
        layout: Layout,
        frozen: Tensor | None = None,
        spaces: Mapping[int, Subspace] | None = None,
    ) -> None:
        self._spaces = spaces or {}
        dims = [len(space.weights) for space in self._spaces.values()]
        self._along = theta.new_zeros(sum(dims))
        self._v = dict(zip(self._spaces, self._along.split(dims), strict=True))
        self._theta, self._rows, self._frozen = theta, theta.detach(), {}
        if frozen is not None:
            # Without a gradient, Adam itself changes nothing; only weight decay would.
            decaying = [k for k, lane in enumerate(lanes) if lane.weight_decay and frozen[k].any()]
            decaying = [k for k in decaying if k not in self._spaces]
            self._frozen = {k: frozen[k] for k in decaying}
        # Parts of theta are separate parameters, so that each has its own learning rate.
        self._parts = [
            _Part(k, ratio, tuple((at, nn.Parameter(self._v.get(k, self._rows[k])[at])) for at in columns))
            for k, lane in enumerate(lanes)
            for ratio, columns in _rates(lane, layout)
        ]
        self._adamw = torch.optim.AdamW([_group(part, lanes[part.lane]) for part in self._parts], fused=True)
        # Of the lanes that do not move as AdamW moves them along their gradients.
        self._lanes, self._layout, self._together = lanes, layout, _together(lanes, layout)
        self._own = [k for k, lane in enumerate(lanes) if OPTIMIZERS[lane.opt].momentum is not None]
        self._momentum, self._damping, self._scale = theta.new_tensor(
            [[lane.momentum_used for lane in lanes], [lane.damping for lane in lanes], [lane.scale for lane in lanes]]
        )
        # AdamW's state is created here, not in its first step, so that its moments are views too.
        self._moments = {name: torch.zeros_like(self._rows) for name in MOMENTS}
        self._clocks: list[list[Tensor]] = [[] for _ in lanes]
        for part in self._parts:
            for at, piece in part.pieces:
                clock = torch.zeros((), device=theta.device)
                self._clocks[part.lane].append(clock)
                moments = {name: moment[part.lane, at] for name, moment in self._moments.items()}
                self._adamw.state[piece] = {"step": clock, **moments}
        clips = [lane.clip or math.inf for lane in lanes]
        self._clip = None if min(clips) == math.inf else torch.tensor(clips, device=theta.device)
        self._decay = np.array([lane.weight_decay for lane in lanes])
        self._fastest = np.array([max(1.0, lane.lora_plus) for lane in lanes])
        self._ratio = np.array(
            [largest_ratio(lane.beta1, lane.beta2) if lane.opt == Lane.opt else math.inf for lane in lanes]
        )
        # Not the largest number itself: factorizations of A and B have to be finite too.
        self._limit = torch.finfo(theta.dtype).max / 1e4
        self._reach = self._largest()

    def before_update(self) -> BeforeUpdate:
        """Copy theta, the moments, v and the clocks: 3 K P numbers."""
        moments = {name: moment.clone() for name, moment in self._moments.items()}
        clocks = [[clock.clone() for clock in of_lane] for of_lane in self._clocks]
        return BeforeUpdate(
            self._rows.clone(), moments, {k: v.clone() for k, v in self._v.items()}, clocks, self._reach
        )

    def norms(self) -> Float[Tensor, " K"]:
        """Return the norm of the gradient that each lane trains by: that of theta, or with `Lane.dim` of v."""
        assert self._theta.grad is not None
        norms = torch.linalg.vector_norm(self._theta.grad, dim=1)
        for k, space in self._spaces.items():
            norms[k] = torch.linalg.vector_norm(space.project(self._theta.grad[k]))
        return norms

    def step(self, rates: np.ndarray, norms: Tensor, out: np.ndarray, before: BeforeUpdate) -> np.ndarray:
        """Update the lanes that have not diverged.

        Args:
            rates: (K,) learning rates of this step; with LoRA+ those of A.
            norms: (K,) of the gradients, see `norms`.
            out: (K,) the lanes that are not updated.
            before: what lanes get back whose update overflows.

        Returns:
            (K,) the lanes whose update was not finite or close to overflow; their rows and moments are restored.
        """
        near = self.may_overflow(rates, out)
        for part, group in zip(self._parts, self._adamw.param_groups, strict=True):
            group["lr"] = float(rates[part.lane]) * part.ratio
        self._move(norms, out)
        return self.overflown(near, before)

    def _move(self, norms: Tensor, out: np.ndarray) -> None:
        assert self._theta.grad is not None
        gradient = self._theta.grad
        if self._clip is not None:  # as `clip_grad_norm_` does
            gradient.mul_((self._clip / (norms + 1e-6)).clamp(max=1.0)[:, None])
        gradient = self._turned(gradient, out)
        for part in self._parts:
            space, row = self._spaces.get(part.lane), gradient[part.lane]
            row = space.project(row) if space else row
            for at, piece in part.pieces:
                piece.grad = None if out[part.lane] or part.lane in self._own else row[at]
        held = {k: self._rows[k].clone() for k in self._frozen}
        self._adamw.step()
        for part, group in zip(self._parts, self._adamw.param_groups, strict=True):
            if part.lane in self._own and not out[part.lane]:
                for at, piece in part.pieces:
                    piece.data.mul_(1.0 - group["lr"] * group["weight_decay"])
                    piece.data.sub_(group["lr"] * gradient[part.lane, at])
        for k, row in held.items():
            self._rows[k] = torch.where(self._frozen[k], row, self._rows[k])
        for k, space in self._spaces.items():
            if not out[k]:
                space.put(self._v[k], self._rows[k])

    def _turned(self, gradient: Tensor, out: np.ndarray) -> Tensor:
        """Return the gradients (K, P), and of lanes with another optimizer than AdamW the directions."""
        if not self._own and not self._together:
            return gradient
        moment, turned = self._moments[MOMENTS[0]], gradient.clone()
        for k in self._own:
            if not out[k]:
                moment[k].mul_(self._momentum[k]).add_(gradient[k])
                if OPTIMIZERS[self._lanes[k].opt].direction is None:
                    turned[k] = moment[k]
        for those in self._together:
            its = [k for k in those.lanes if not out[k]]
            if not its:
                continue

            def of(M: Tensor, its: list[int] = its, those: _Together = those) -> Iterator[Tensor]:
                views = [self._layout.factors(M, layer) for layer in those.layers]
                yield torch.stack([A[its, : those.rank] for A, _ in views])
                yield torch.stack([B[its, :, : those.rank_of_B] for _, B in views])

            keys = (values[its, None, None] for values in (self._momentum, self._damping, self._scale))
            directed = those.direction(Turn(*of(self._rows), *of(gradient), *of(moment), *keys))
            for layer, of_A, of_B in zip(those.layers, *directed, strict=True):
                A, B = self._layout.factors(turned, layer)
                A[its, : those.rank], B[its, :, : those.rank_of_B] = of_A, of_B
        return turned

    def overflown(self, near: Sequence[int], before: BeforeUpdate) -> np.ndarray:
        """Put back the lanes of `may_overflow` whose update was not finite or close to overflow.

        Returns:
            (K,) which lanes these are.
        """
        failed = np.zeros(len(self._rows), dtype=bool)
        for k in near:
            if not self._rows[k].abs().max() <= self._limit:
                self.put_back(k, before)
                failed[k] = True
        return failed

    @torch.no_grad()
    def undo(self, before: BeforeUpdate) -> None:
        """Put back what an update has changed, or was about to; it may be called again if it was cut short."""
        for k in range(len(self._rows)):
            self.put_back(k, before)
        self._reach = before.reach

    def state(self) -> dict[str, Tensor]:
        """Return the moments (K, P), the number of updates (K), and v of the lanes with `Lane.dim`, on the CPU."""
        counts = torch.stack([clocks[0] for clocks in self._clocks])
        tensors = {"step": counts, **self._moments, **({ALONG: self._along} if self._spaces else {})}
        return {name: tensor.detach().clone().cpu() for name, tensor in tensors.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Restore a `state`; theta itself is already set."""
        for name, moment in self._moments.items():
            moment.copy_(state[name])
        if self._spaces:
            self._along.copy_(state[ALONG])
        for clocks, count in zip(self._clocks, state["step"], strict=True):
            for clock in clocks:
                clock.copy_(count)
        self._reach = self._largest()

    def may_overflow(self, rates: np.ndarray, out: np.ndarray) -> list[int]:
        """Find the lanes whose next update could overflow.

        A bound on the largest entry of each row, updated from step to step, decides this without reading theta. At
        reasonable learning rates there is no such lane, and nothing is copied.
        """

        def ahead(largest: np.ndarray) -> np.ndarray:
            with np.errstate(over="ignore", invalid="ignore"):
                fastest = rates * self._fastest
                grown = largest * np.maximum(1.0, np.abs(1.0 - fastest * self._decay))
                return np.where(out, 0.0, grown + self._ratio * fastest)

        if not (ahead(self._reach) <= self._limit).all():
            self._reach = self._largest()
        self._reach = ahead(self._reach)
        return [int(k) for k in np.flatnonzero(~(self._reach <= self._limit))]

    def _largest(self) -> np.ndarray:
        """Return the largest magnitude in each row; of θ⁰ + P v a bound, max |θ⁰| + max |v|."""
        largest = torch.linalg.vector_norm(self._theta.detach(), ord=math.inf, dim=1)
        for k, space in self._spaces.items():
            largest[k] = space.start.abs().max() + self._v[k].abs().max()
        return largest.cpu().double().numpy()

    def put_back(self, k: int, before: BeforeUpdate) -> None:
        """Put back what an update has changed of a lane."""
        self._rows[k] = before.theta[k]
        if k in self._v:
            self._v[k].copy_(before.v[k])
        for name, values in before.moments.items():
            self._moments[name][k] = values[k]
        for clock, count in zip(self._clocks[k], before.clocks[k], strict=True):
            clock.copy_(count)


def _rates(lane: Lane, layout: Layout) -> list[tuple[float, list[slice]]]:
    """Return the columns of theta, or of v, by their learning rate, as a multiple of the lane's.

    With LoRA+ m of DoRA has the rate of B, as in PEFT.
    """
    if lane.dim is not None:
        return [(1.0, [slice(0, lane.dim)])]
    if lane.lora_plus == 1.0:
        return [(1.0, [slice(0, layout.width)])]
    columns = [slice(*ends) for ends in pairwise([0, *accumulate(layout.sizes), layout.width])]
    return [(1.0, columns[:-1:2]), (lane.lora_plus, columns[1::2] + columns[-1:] * bool(layout.dora))]


@dataclass(frozen=True)
class _Together:
    """Lanes with one optimizer other than AdamW, in layers of one shape, where they have one rank."""

    direction: Callable[[Turn], tuple[Tensor, Tensor]]
    lanes: tuple[int, ...]
    layers: list[str]
    rank: int
    rank_of_B: int
    """0 of full fine-tuning, else the rank."""


def _together(lanes: Sequence[Lane], layout: Layout) -> list[_Together]:
    """Return the lanes and layers that an optimizer treats at once."""
    layers: dict[tuple[Any, ...], list[str]] = {}
    for layer, ranks in layout.ranks.items():
        those: dict[tuple[str, int, bool], list[int]] = {}
        for k, (lane, rank) in enumerate(zip(lanes, ranks, strict=True)):
            if OPTIMIZERS[lane.opt].direction and rank:
                those.setdefault((lane.opt, rank, lane.is_dense), []).append(k)
        for (opt, rank, dense), its in those.items():
            layers.setdefault((opt, rank, dense, tuple(its), layout.shapes(layer)), []).append(layer)
    together = []
    for (opt, rank, dense, its, _), names in layers.items():
        direction = OPTIMIZERS[opt].direction
        assert direction
        together.append(_Together(direction, its, names, rank, 0 if dense else rank))
    return together


def _group(part: _Part, lane: Lane) -> dict[str, Any]:
    return {
        "params": [piece for _, piece in part.pieces],
        "lr": lane.lr * part.ratio,
        "betas": (lane.beta1, lane.beta2),
        "weight_decay": lane.weight_decay,
    }


BEST = "best_theta"
"""The parameters at the best evaluations, among the tensors of a checkpoint."""


class BestAdapters:
    """Rows of `theta` (K, P) at the lanes' best evaluations; it is changed in place.

    At the end of a race, `show` puts them there in place of those of the last step; `hide` undoes it. Either may be
    cut short and called again. The best evaluation of a lane may be that of the last step, whose rows need not be
    kept.
    """

    def __init__(self, theta: Tensor) -> None:
        self._theta, self._best = theta.detach(), theta.detach().clone()
        self._last: tuple[Tensor, Tensor] | None = None
        """While best rows are shown: which ones, and those of the last step."""
        self._is_shown = False

    def keep(self, lanes: np.ndarray) -> None:
        """Keep the present rows of some lanes, (K,) bool."""
        rows = self._mask(lanes)
        self._best[rows] = self._theta[rows]

    def show(self, lanes: np.ndarray) -> None:
        """Put the kept rows of some lanes, (K,) bool, into `theta`."""
        if self._last is None:
            rows = self._mask(lanes)
            self._last = rows, self._theta[rows]
        if not self._is_shown:
            rows, _ = self._last
            self._theta[rows] = self._best[rows]
            self._is_shown = True

    def hide(self) -> None:
        """Put the rows of the last step back."""
        self._is_shown = False
        if self._last is not None:
            rows, of_last = self._last
            self._theta[rows] = of_last
            self._last = None

    def snapshot(self) -> dict[str, Tensor]:
        """Return the rows of the last step and the kept ones, on the CPU."""
        theta, best = self._theta.cpu().clone(), self._best.cpu().clone()
        if self._last is not None:
            rows, of_last = self._last
            theta[rows.cpu()] = of_last.cpu()
        return {"theta": theta, BEST: best}

    def restore(self, best: Tensor) -> None:
        """Restore the kept rows; `theta` has those of the last step."""
        self._best.copy_(best)
        self._last, self._is_shown = None, False

    def _mask(self, lanes: np.ndarray) -> Tensor:
        return torch.from_numpy(lanes).to(self._theta.device)

"""Norms of gradients, parameters and updates: every lane, layer and factor of a step at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from olora_viz.lanes.adapters import Lanes
from olora_viz.measures.measure import Measure
from olora_viz.measures.record import SHARED, Record, by_lane

QUANTITIES = ("gradient", "parameter", "update")
"""What is measured of each factor; their ratio follows."""

FACTORS = ("A", "B")


@dataclass(frozen=True, eq=False)
class Gradients(Record):
    """Euclidean norms of K lanes in L layers, in one step; a lane that has diverged holds NaN.

    The last index of the factors' norms is 0 for A and 1 for B.
    """

    JSON_DIGITS = 4

    layers: tuple[str, ...] = field(metadata=SHARED)
    """(L) names, in the model's order."""
    gradient: np.ndarray = field(metadata=by_lane(last_axis=FACTORS))
    """(K, L, 2) of ∂L/∂A and ∂L/∂B, before clipping."""
    parameter: np.ndarray = field(metadata=by_lane(last_axis=FACTORS))
    """(K, L, 2) of A and B before the update, those that the gradient belongs to."""
    update: np.ndarray = field(metadata=by_lane(last_axis=FACTORS))
    """(K, L, 2) of what the update added to A and B."""
    input: np.ndarray = field(metadata=by_lane())
    """(K, L) of ∂L/∂X, all that reaches the layer's input X, also through layers that share X; NaN
    where none flows, as into layers that read nothing but the frozen embedding."""

    @property
    def ratio(self) -> np.ndarray:
        """(K, L, 2) update / parameter; infinite or NaN if the parameter is zero, like B⁰."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.update / self.parameter


class GradientRecorder:
    """Measures the steps of a race, and changes no number of it.

    In a step, `inputs` goes around each forward and backward pass, and the update comes between
    `before_update` and `after_update`.

    Parameters
    ----------
    lanes : what is trained.
    """

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._before: Tensor | None = None
        self._inputs: list[tuple[slice, dict[int, Tensor]]] = []
        self._norms: Tensor | None = None

    @contextmanager
    def inputs(self, rows: slice) -> Iterator[None]:
        """Note the gradients that reach the layers' inputs in a backward pass of some lanes.

        Parameters
        ----------
        rows : the lanes that run, as in `Lanes.some`; forward and backward belong inside.
        """
        K = rows.stop - rows.start
        shared: dict[int, tuple[Tensor, list[int]]] = {}
        found: dict[int, Tensor] = {}

        def note(of: list[int], G: Tensor) -> None:
            shared.clear()  # the backward pass frees the inputs as it goes
            norms = lane_norms(G, K)
            found.update((i, norms) for i in of)

        def watch(i: int, _: nn.Module, given: tuple[Tensor, ...]) -> None:
            X = given[0]
            if not X.requires_grad:
                return
            # The tensor is kept beside the list, so that no other gets its id meanwhile.
            if id(X) not in shared:
                shared[id(X)] = X, []
                X.register_hook(partial(note, shared[id(X)][1]))
            shared[id(X)][1].append(i)

        hooks = [
            layer.register_forward_pre_hook(partial(watch, i))
            for i, layer in enumerate(self._lanes.plan.layers.values())
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
        self._inputs.append((rows, found))

    @torch.no_grad()
    def before_update(self) -> None:
        """Measure the gradients, not clipped yet, and keep the parameters."""
        theta = self._lanes.theta
        assert theta.grad is not None
        if self._before is None:  # kept from step to step: to allocate it takes longer than to copy
            self._before = torch.empty_like(theta)
        self._before.copy_(theta)
        self._norms = segment_norms(theta.grad, self._lanes.sizes)

    @torch.no_grad()
    def after_update(self) -> Gradients:
        """Measure the update, and bring all numbers of the step to the host in one transfer."""
        lanes, before, norms = self._lanes, self._before, self._norms
        assert before is not None
        assert norms is not None
        K, L = lanes.count, len(lanes.layers)
        moved = [segment_norms(before, lanes.sizes), self._update_norms(torch.float32)]
        inputs = norms.new_full((K, L), math.nan)
        for rows, found in self._inputs:
            if found:
                at = torch.tensor(list(found), device=inputs.device)
                part = torch.stack(list(found.values()), dim=1).to(inputs.dtype)
                # Of several passes, each over a part of the batch: their squares add up.
                known = inputs[rows, at]
                inputs[rows, at] = torch.where(known.isnan(), part, torch.hypot(known, part))
        self._inputs, self._norms = [], None
        whole = torch.cat([norms, *moved, inputs], dim=1).double().cpu().numpy()
        gradient, parameter, update, given = np.split(whole, [2 * L, 4 * L, 6 * L], axis=1)
        if not np.isfinite([parameter, update]).all():
            # Squares overflow in float32 long before the parameters themselves do.
            parameter = segment_norms(before, lanes.sizes, torch.float64).cpu().numpy()
            update = self._update_norms(torch.float64).cpu().numpy()
        by_factor = (K, L, len(FACTORS))
        return Gradients(
            lanes.layers,
            gradient.reshape(by_factor),
            parameter.reshape(by_factor),
            update.reshape(by_factor),
            given,
        )

    def _update_norms(self, dtype: torch.dtype) -> Tensor:
        assert self._before is not None
        return segment_norms(self._lanes.theta, self._lanes.sizes, dtype, minus=self._before)


def segment_norms(
    X: Float[Tensor, "K P"],
    sizes: Sequence[int],
    dtype: torch.dtype = torch.float32,
    *,
    minus: Float[Tensor, "K P"] | None = None,
) -> Float[Tensor, "K S"]:
    """Return the Euclidean norms of consecutive pieces of every row.

    A model's blocks are alike, so the rows are cut into blocks first: one call then measures a
    piece in all blocks and lanes, in place.

    Parameters
    ----------
    X : like `Lanes.theta`.
    sizes : S numbers of columns, such as `Lanes.sizes`; together P.
    dtype : the least to sum the squares in.
    minus : taken off X first.
    """
    repeats = _repeats(sizes)
    pieces = list(sizes[: len(sizes) // repeats])
    dtype = torch.promote_types(X.dtype, dtype)

    def cut(matrix: Tensor) -> tuple[Tensor, ...]:
        return matrix.unflatten(1, (repeats, -1)).split(pieces, dim=-1)

    parts = cut(X)
    if minus is not None:
        parts = (part - other for part, other in zip(parts, cut(minus), strict=True))
    norms = [torch.linalg.vector_norm(part, dim=-1, dtype=dtype) for part in parts]
    return torch.stack(norms, dim=-1).flatten(1)


def without_gradient(lanes: Lanes) -> list[str]:
    """Name the layers whose A and B got no gradient in any lane, in the last backward pass."""
    assert lanes.theta.grad is not None
    norms = segment_norms(lanes.theta.grad, lanes.sizes).unflatten(1, (-1, len(FACTORS)))
    silent = (norms == 0).all(dim=2).all(dim=0).tolist()
    return [layer for layer, has_none in zip(lanes.layers, silent, strict=True) if has_none]


def lane_norms(G: Float[Tensor, "rows ..."], K: int) -> Float[Tensor, " K"]:
    """Return each lane's Euclidean norm over its share of the rows, lane after lane."""
    dtype = torch.promote_types(G.dtype, torch.float32)
    return torch.linalg.vector_norm(G.reshape(K, -1), dim=1, dtype=dtype)


def _repeats(sizes: Sequence[int]) -> int:
    """Count how often the shortest pattern of the sizes repeats.

    >>> _repeats([4, 2, 4, 2, 4, 2]), _repeats([4, 2, 4])
    (3, 1)
    """
    count = len(sizes)
    whole = list(sizes)
    lengths = (n for n in range(1, count + 1) if count % n == 0)
    return next(count // n for n in lengths if whole == whole[:n] * (count // n))


GRADIENTS = Measure(
    key="gradients",
    title="Gradients by layer",
    unit="norms of gradients, parameters and updates",
    symbol="‖·‖",
    scale="log",
    compute=attrgetter("trained.gradients"),
    shape="(K, layers)",
    record=Gradients,
    every="gradients_every",
    at_first=True,
    cost="Hooks on the layers' inputs, and the norms of all parts of the parameters.",
)

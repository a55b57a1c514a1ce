"""Norms of gradients, parameters and updates in one step, for all lanes, layers and factors."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from olora_viz.lanes.adapters import Lanes
from olora_viz.machine.devices import in_float64
from olora_viz.machine.threads import before_forward
from olora_viz.measures.measure import SHARED, Measure, Part, Record, by_lane

QUANTITIES = ("gradient", "parameter", "update")
"""The norms of each factor; update / parameter follows from them."""

FACTORS = ("A", "B")


@dataclass(frozen=True, eq=False, repr=False)
class Gradients(Record):
    """Euclidean norms of K lanes in L layers, in one step; NaN for diverged lanes.

    The last axis of the factors' norms is 0 for A and 1 for B. They are NaN in the layers that a lane leaves out.

    Examples:
        >>> import olora_viz as ov
        >>> gradients = ov.load_recording("one-rate").steps[0].gradients
        >>> gradients.layers[0], gradients.gradient.shape  # lanes, layers, A and B
        ('model.layers.0.self_attn.q_proj', (4, 28, 2))
        >>> of_A, of_B = gradients.gradient[0, 0]  # of plain LoRA, whose B is zero at first
        >>> float(of_A), bool(of_B > 0)
        (0.0, True)
    """

    JSON_DIGITS = 4

    layers: tuple[str, ...] = field(metadata=SHARED)
    """(L) names, in the model's order."""
    gradient: np.ndarray = field(metadata=by_lane(last_axis=FACTORS))
    """(K, L, 2) of ∂L/∂A and ∂L/∂B, before clipping."""
    parameter: np.ndarray = field(metadata=by_lane(last_axis=FACTORS))
    """(K, L, 2) of A and B before the update, where the gradient was computed."""
    update: np.ndarray = field(metadata=by_lane(last_axis=FACTORS))
    """(K, L, 2) of the update of A and B."""
    input: np.ndarray = field(metadata=by_lane())
    """(K, L) of ∂L/∂X, the whole gradient at the layer's input X, including what comes through other layers with the
    same input; NaN where there is none, as when X is the frozen embedding."""

    @property
    def ratio(self) -> np.ndarray:
        """(K, L, 2) update / parameter; infinite or NaN if the parameter is zero, like B⁰."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.update / self.parameter


class GradientRecorder:
    """Measures the steps of a race without changing its results.

    A step starts with `begin`; `inputs` wraps every forward and backward pass, and the update runs between
    `before_update` and `after_update`.
    """

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._before: Tensor | None = None
        self._inputs: list[tuple[slice, dict[int, Tensor]]] = []
        self._norms: Tensor | None = None

    def begin(self) -> None:
        """Begin a step: forget what one that was cut short has left."""
        self._inputs = []

    @contextmanager
    def inputs(self, rows: slice) -> Generator[None]:
        """Record the gradients at the layers' inputs while some lanes run forward and backward in this context."""
        K = rows.stop - rows.start
        shared: dict[int, tuple[Tensor, list[int]]] = {}
        norms: dict[int, Tensor] = {}

        def note(of: list[int], G: Tensor) -> None:
            shared.clear()  # the backward pass frees the inputs as it goes
            norms.update(dict.fromkeys(of, lane_norms(G, K)))

        def watch(i: int, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            X = inputs[0]
            if not X.requires_grad:
                return
            # The tensor is kept with the list, so that no other tensor can get its id meanwhile.
            if id(X) not in shared:
                shared[id(X)] = X, []
                X.register_hook(partial(note, shared[id(X)][1]))
            shared[id(X)][1].append(i)

        layers = self._lanes.plan.layers.values()
        with before_forward((layer, partial(watch, i)) for i, layer in enumerate(layers)):
            yield
        self._inputs.append((rows, norms))

    @torch.no_grad()
    def before_update(self) -> None:
        """Measure the gradients before clipping, and copy the parameters."""
        theta = self._lanes.theta
        assert theta.grad is not None
        if self._before is None:  # reused in every step: allocating takes longer than copying
            self._before = torch.empty_like(theta)
        self._before.copy_(theta)
        self._norms = segment_norms(theta.grad, self._lanes.sizes)

    @torch.no_grad()
    def after_update(self) -> Gradients:
        """Measure the update, and move all results of the step to the CPU in one transfer."""
        lanes, before, norms = self._lanes, self._before, self._norms
        assert before is not None
        assert norms is not None
        K, L = lanes.count, len(lanes.layers)
        moved = [segment_norms(before, lanes.sizes), segment_norms(lanes.theta, lanes.sizes, minus=before)]
        inputs = norms.new_full((K, L), math.nan)
        for rows, by_layer in self._inputs:
            if by_layer:
                at = torch.tensor(list(by_layer), device=inputs.device)
                part = torch.stack(list(by_layer.values()), dim=1).to(inputs.dtype)
                # Over several passes, one per part of the batch, the squares add up.
                known = inputs[rows, at]
                inputs[rows, at] = torch.where(known.isnan(), part, torch.hypot(known, part))
        self._norms = None
        whole = torch.cat([norms, *moved, inputs], dim=1).cpu().double().numpy()
        gradient, parameter, update, at_input = np.split(whole, [2 * L, 4 * L, 6 * L], axis=1)
        if not np.isfinite([parameter, update]).all():
            # Squares overflow in float32 long before the parameters themselves do.
            parameter = segment_norms(in_float64(before), lanes.sizes).cpu().numpy()
            theta = in_float64(lanes.theta)
            update = segment_norms(theta, lanes.sizes, minus=in_float64(before)).cpu().numpy()
        left_out = lanes.plan.left_out[..., None]

        def by_factor(norms: np.ndarray) -> np.ndarray:
            return np.where(left_out, math.nan, norms.reshape(K, L, len(FACTORS)))

        return Gradients(lanes.layers, by_factor(gradient), by_factor(parameter), by_factor(update), at_input)


def segment_norms(
    X: Float[Tensor, "K P"], sizes: Sequence[int], *, minus: Float[Tensor, "K P"] | None = None
) -> Float[Tensor, "K S"]:
    """Return the Euclidean norms of consecutive pieces of every row.

    A model's blocks are alike, so the rows are split into blocks first. One call then measures a piece in all blocks
    and lanes, without copying.

    Args:
        X: (K, P), such as `Lanes.theta`.
        sizes: S numbers of columns that add up to P, or fewer, such as `Lanes.sizes`.
        minus: subtracted from X first.
    """
    repeats = _repeats(sizes)
    pieces = list(sizes[: len(sizes) // repeats])
    dtype = torch.promote_types(X.dtype, torch.float32)  # in which the squares are summed

    def cut(matrix: Tensor) -> tuple[Tensor, ...]:
        return matrix[:, : sum(sizes)].unflatten(1, (repeats, -1)).split(pieces, dim=-1)

    parts = cut(X)
    if minus is not None:
        parts = (part - other for part, other in zip(parts, cut(minus), strict=True))
    norms = [torch.linalg.vector_norm(part, dim=-1, dtype=dtype) for part in parts]
    return torch.stack(norms, dim=-1).flatten(1)


def without_gradient(lanes: Lanes) -> list[str]:
    """Name the layers whose A and B received no gradient in any lane in the last backward pass."""
    assert lanes.theta.grad is not None
    norms = segment_norms(lanes.theta.grad, lanes.sizes).unflatten(1, (-1, len(FACTORS)))
    silent = (norms == 0).all(dim=2).all(dim=0).tolist()
    return [layer for layer, has_none in zip(lanes.layers, silent, strict=True) if has_none]


def lane_norms(G: Float[Tensor, "rows ..."], K: int) -> Float[Tensor, " K"]:
    """Return each lane's Euclidean norm over its rows, which come lane after lane."""
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


def _of_factor(quantity: str, i: int, gradients: Gradients) -> Float[np.ndarray, "K L"]:
    return getattr(gradients, quantity)[..., i]


BY_LAYER = {
    "input": Part("gradient at the input", "backpropagated to the layer's input", attrgetter("input"), "‖∂L/∂X‖"),
    **{
        f"{quantity}_{factor}": Part(
            words.format(factor), unit, partial(_of_factor, quantity, i), symbol.format(factor)
        )
        for quantity, words, symbol, unit in (
            ("gradient", "gradient of {}", "‖∂L/∂{}‖", "before clipping"),
            ("ratio", "update / parameter of {}", "‖Δ{0}‖ / ‖{0}‖", "relative change in one step"),
            ("update", "update of {}", "‖Δ{}‖", "change in one step"),
            ("parameter", "norm of {}", "‖{}‖", "before the update"),
        )
        for i, factor in enumerate(FACTORS)
    },
}
"""The quantities that are drawn by layer; update / parameter follows from the recorded ones."""

GRADIENTS = Measure(
    key="gradients",
    title="Gradients by layer",
    unit="norms of gradients, parameters and updates",
    symbol="‖·‖",
    scale="log",
    compute=attrgetter("trained.gradients"),
    shape="(K, layers)",
    record=Gradients,
    parts=BY_LAYER,
    every="gradients_every",
    at_first=True,
    cost="Hooks on the layers' inputs, and the norms of all parts of the parameters.",
)

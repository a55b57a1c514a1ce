"""A linear layer with K adapters, and their dropout."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from olora_viz.lanes.lane import Lane
from olora_viz.machine.products import product

Read = Callable[[], Tensor]
"""Returns a frozen weight (out, in)."""


@dataclass(frozen=True)
class Dropout:
    """The dropout of one training step, of the lanes that are active in it; see `Lanes.some`.

    A lane's masks depend on its seed, the step and the layer, and on the shape of its own batch, never on the other
    lanes or the padding that they need, nor on the parts in which a batch is computed.

    Args:
        step: its number, and the index of the part of its batch.
        shapes: rows and tokens of each lane's batch without the padding that other lanes need; None if there is no
            such padding.
        wholes: for each lane the rows of its batch before this part, and the rows and tokens of the batch; None if it
            has one part.
        positions: for each lane those of the tokens in its part's (rows · tokens), if the model sees no padding.
    """

    lanes: tuple[Lane, ...]
    step: tuple[int, int]
    shapes: Sequence[tuple[int, int]] | None = None
    wholes: Sequence[tuple[int, int, int]] | None = None
    positions: Sequence[Tensor] | None = None

    def add(self, layer: str, Y: Tensor, X: Tensor, A: Tensor, B: Tensor, s: Tensor, ranks: Sequence[int]) -> Tensor:
        """Return Y_k + s_k B_k A_k (dropout(X_k) − X_k) for the lanes k that have dropout.

        Y already contains s B A X, so this equals PEFT: an adapter that reads dropout(X), on a base that reads X.
        Other lanes are unchanged, bit for bit.

        Args:
            Y, X: output and input of a layer, (K·n, …, features).
            A, B, s: (K, r, in), (K, out, r) and (K, 1, 1).
            ranks: (K) of the lanes in this layer, 0 for a lane that leaves it out.
        """
        dropped = [k for k, lane in enumerate(self.lanes) if lane.dropout and ranks[k]]
        if not dropped:
            return Y
        K = len(self.lanes)
        rows = torch.tensor(dropped, device=X.device)
        noise = torch.stack([self.noise(layer, k, X.unflatten(0, (K, -1))[k]) for k in dropped])
        down, up = A[rows].to(X.dtype), (s[rows] * B[rows]).to(X.dtype)
        moved = noise.flatten(1, -2) @ down.mT @ up.mT
        return by_lane(Y, A).index_add(0, rows, moved).view(Y.shape)

    def noise(self, layer: str, k: int, X: Tensor) -> Tensor:
        """Return dropout(X) − X of lane k, (rows, …, in)."""
        lane = self.lanes[k]
        shape = self.shapes[k] if self.shapes else X.shape[:2]
        shape = (*shape, X.shape[-1]) if X.dim() == 3 else X.shape
        number, part = self.step
        before, whole = 0, shape
        if self.wholes and X.dim() == 3:  # the part's rows of the mask that one pass would draw
            before, whole = self.wholes[k][0], (*self.wholes[k][1:], X.shape[-1])
            part = 0
        generator = torch.Generator(X.device)
        generator.manual_seed(zlib.crc32(f"{lane.seed} {number}.{part} {layer}".encode()))
        drawn = torch.rand(whole, generator=generator, device=X.device)
        own = tuple(map(slice, shape))
        mask = drawn[before:][own] >= lane.dropout
        factor = X.new_zeros(X.shape)
        if self.positions and X.dim() == 3:
            own, mask = (0, slice(len(self.positions[k]))), mask.flatten(0, 1)[self.positions[k]]
        factor[own] = mask.to(X.dtype) / (1.0 - lane.dropout) - 1.0
        return X * factor


class LaneLinear(torch.autograd.Function):
    """Y_k = X_k (W + P_k + s_k (B_k A_k − B⁰_k A⁰_k))ᵀ + bias, for all lanes k at once.

    The product with W runs once over the rows of all lanes. What the adapters add is written with differences,

        B A − B⁰ A⁰ = (B − B⁰) A + B⁰ (A − A⁰),

    so it is exactly zero at step 0, and loses no digits to cancellation when the activations are bfloat16. Its sum
    with the product with W is rounded once, so that on average all of an update arrives, also of one that is smaller
    than half a unit in the last place. The gradients, ∂L/∂A = s Bᵀ G and ∂L/∂B = s G Aᵀ with G = ∂L/∂W, need one thin
    product each. Twice differentiable.
    """

    @staticmethod
    def forward(
        ctx: Any,
        X: Tensor,  # (K·n, …, in)
        read: Read,  # W (out, in), which may be computed each time
        bias: Tensor | None,  # (out,)
        A: Tensor,  # (K, r, in)
        B: Tensor,  # (K, out, r)
        start: tuple[Tensor, Tensor] | None,  # (A⁰, B⁰) like A and B; None where every B⁰A⁰ = 0
        s: Tensor,  # (K, 1, 1)
        past: tuple[Tensor, Tensor] | None = None,  # (K, ρ, in) and (K, out, ρ), whose product is P; None where P = 0
    ) -> Tensor:
        """Multiply, and keep the thin product X Aᵀ for the gradient of B."""
        down, up = stacked(A, B, start, s, past, X.dtype)
        Z = torch.bmm(by_lane(X, A), down.mT)
        ctx.save_for_backward(X, A, B, s, Z)
        ctx.start, ctx.past, ctx.read, W = start, past, read, read()
        if is_short(X):
            return product(X, W, bias, torch.bmm(Z, up.mT).view(*X.shape[:-1], -1))
        Y = product(X, W, bias)
        by_lane(Y, A).baddbmm_(Z, up.mT)
        return Y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of X, A and B; W and its bias are frozen."""
        (dY,) = grads
        X, A, B, s, Z = ctx.saved_tensors
        r = A.shape[1]
        down, up = stacked(A, B, ctx.start, s, ctx.past, X.dtype)
        X_lanes, dY_lanes = by_lane(X, A), by_lane(dY, A)
        U = torch.bmm(dY_lanes, up)  # (K, n, r or 2r, and ρ)
        dX = None
        if ctx.needs_input_grad[0]:
            W = ctx.read()
            if is_short(X):
                dX = product(dY, W.mT, added=torch.bmm(U, down).view(X.shape))
            else:
                dX = product(dY, W.mT).view(X_lanes.shape).baddbmm_(U, down).view(X.shape)
        # dY·sB: the columns of `up` that belong together, s(B − B⁰) and sB⁰, add up to sB.
        first = U if U.shape[-1] == r else U[..., :r]  # vmap has no rule for a view of the whole
        dY_sB = first if ctx.start is None else first + U[..., r : 2 * r]
        dA = torch.bmm(dY_sB.mT, X_lanes).to(A.dtype)
        # Z was computed outside the graph, so a second derivative has to recompute it.
        XA = torch.bmm(X_lanes, A.mT.to(X.dtype)) if torch.is_grad_enabled() else Z[..., :r]
        # As (r, out) and transposed: the other order is four times slower in MKL.
        dB = (torch.bmm(XA.mT, dY_lanes).to(B.dtype) * s).mT
        return dX, None, None, dA, dB, None, None, None


def is_short(X: Tensor) -> bool:
    """Whether X is in bfloat16 or float16, whose rounding can swallow an update."""
    return X.dtype.itemsize == 2


class FrozenLinear(torch.autograd.Function):
    """A layer without adapters, X Wᵀ + bias, computed as `LaneLinear` computes it, as is the gradient of X.

    So a lane starts as the base model bit for bit, and one that leaves out a layer has the bits of a race in which all
    lanes leave it out. Twice differentiable.
    """

    @staticmethod
    def forward(ctx: Any, X: Tensor, read: Read, bias: Tensor | None) -> Tensor:
        """Multiply; see `LaneLinear` on what reads W."""
        ctx.read = read
        return product(X, read(), bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of X."""
        return product(grads[0], ctx.read().mT), None, None


def add_fixed(Y: Tensor, X: Tensor, A: Tensor, fixed: Mapping[int, Tensor]) -> Tensor:
    """Return Y_k + X_k E_kᵀ for some lanes k, each by a product of its own; the others are unchanged, bit for bit.

    Args:
        Y, X: output and input of a layer, (K·n, …, features).
        A: (K, …).
        fixed: E (out, in) of these lanes, frozen.
    """
    inputs = by_lane(X, A)
    moved = torch.stack([product(inputs[k], E) for k, E in fixed.items()])
    return by_lane(Y, A).index_add(0, torch.tensor([*fixed], device=X.device), moved).view(Y.shape)


def add_dense(Y: Tensor, X: Tensor, read: Read, bias: Tensor | None, A: Tensor, dense: Sequence[int]) -> Tensor:
    """Return Y_k + X_k ΔW_kᵀ for some lanes k; the others are unchanged, bit for bit.

    Args:
        Y, X: output and input of a layer, (K·n, …, features); Y_k = X_k Wᵀ + bias in these lanes.
        A: (K, rows, in), whose first out rows are ΔW in the dense lanes.
    """
    rows = torch.tensor(dense, device=X.device)
    update = A[:, : Y.shape[-1]].index_select(0, rows).to(X.dtype)
    inputs = by_lane(X, A).index_select(0, rows)
    moved = torch.bmm(inputs, update.mT)
    whole = by_lane(Y, A).index_add(0, rows, moved)
    if is_short(X):
        with torch.no_grad():  # not through a view, whose place in the graph would be lost
            whole[rows] = product(inputs, read(), bias, moved.clone())
    return whole.view(Y.shape)


def stacked(
    A: Tensor,
    B: Tensor,
    start: tuple[Tensor, Tensor] | None,
    s: Tensor,
    past: tuple[Tensor, Tensor] | None,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """Stack the thin products into one: down (K, r or 2r and ρ, in) and up (K, out, r or 2r and ρ)."""
    if start is None:
        downs, ups = [A], [s * B]
    else:
        A0, B0 = start
        downs, ups = [A, A - A0], [s * (B - B0), s * B0]
    if past is not None:
        downs, ups = [*downs, past[0]], [*ups, past[1]]
    down, up = ([each.to(dtype) for each in parts] for parts in (downs, ups))
    return (down[0], up[0]) if len(down) == 1 else (torch.cat(down, dim=1), torch.cat(up, dim=2))


def by_lane(X: Tensor, A: Tensor) -> Tensor:
    """View (K·n, …, features) as (K, n·…, features)."""
    return X.reshape(A.shape[0], -1, X.shape[-1])

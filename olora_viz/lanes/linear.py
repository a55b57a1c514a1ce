"""A frozen linear map with K adapters: one shared product, and K thin ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class LaneLinear(torch.autograd.Function):
    """Y_k = X_k (W + s_k (B_k A_k − B⁰_k A⁰_k))ᵀ + bias, for all lanes k at once.

    The product with W runs once over the rows of all lanes. What the adapters add is written
    with differences,

        B A − B⁰ A⁰ = (B − B⁰) A + B⁰ (A − A⁰),

    so it is exactly zero at step 0, and loses no digits to cancellation when the activations
    are bfloat16. The gradients, ∂L/∂A = s Bᵀ G and ∂L/∂B = s G Aᵀ with G = ∂L/∂W, need one
    thin product each. Twice differentiable.
    """

    @staticmethod
    def forward(
        ctx: Any,
        X: Tensor,  # (K·n, …, in)
        W: Tensor,  # (out, in)
        bias: Tensor | None,  # (out,)
        A: Tensor,  # (K, r, in)
        B: Tensor,  # (K, out, r)
        start: tuple[Tensor, Tensor] | None,  # (A⁰, B⁰) like A and B; None where every B⁰A⁰ = 0
        s: Tensor,  # (K, 1, 1)
    ) -> Tensor:
        """Multiply, and keep the thin product X Aᵀ for the gradient of B."""
        down, up = _stacked(A, B, start, s, X.dtype)
        Y = F.linear(X, W, bias)
        Z = torch.bmm(_by_lane(X, A), down.mT)
        _by_lane(Y, A).baddbmm_(Z, up.mT)
        ctx.save_for_backward(X, W, A, B, s, Z)
        ctx.start = start
        return Y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of X, A and B; W and its bias are frozen."""
        (dY,) = grads
        X, W, A, B, s, Z = ctx.saved_tensors
        r = A.shape[1]
        down, up = _stacked(A, B, ctx.start, s, X.dtype)
        X_lanes, dY_lanes = _by_lane(X, A), _by_lane(dY, A)
        U = torch.bmm(dY_lanes, up)  # (K, n, r or 2r)
        dX = None
        if ctx.needs_input_grad[0]:
            dX = (dY @ W).view(X_lanes.shape).baddbmm_(U, down).view(X.shape)
        # dY·sB: the columns of `up` that belong together, s(B − B⁰) and sB⁰, add up to sB.
        dY_sB = U if U.shape[-1] == r else U[..., :r] + U[..., r:]
        dA = torch.bmm(dY_sB.mT, X_lanes).to(A.dtype)
        # Z was computed outside the graph, so a second derivative has to recompute it.
        XA = torch.bmm(X_lanes, A.mT.to(X.dtype)) if torch.is_grad_enabled() else Z[..., :r]
        # As (r, out) and transposed: the other order is four times slower in MKL.
        dB = (torch.bmm(XA.mT, dY_lanes).to(B.dtype) * s).mT
        return dX, None, None, dA, dB, None, None


def add_dense(Y: Tensor, X: Tensor, A: Tensor, dense: Sequence[int]) -> Tensor:
    """Return Y_k + X_k ΔW_kᵀ for some lanes k; the others are unchanged, bit for bit.

    Parameters
    ----------
    Y, X : output and input of a layer, (K·n, …, features).
    A : (K, rows, in), whose first out rows are ΔW in the dense lanes.
    dense : their indices.
    """
    its = torch.tensor(dense, device=X.device)
    update = A[:, : Y.shape[-1]].index_select(0, its).to(X.dtype)
    moved = torch.bmm(_by_lane(X, A).index_select(0, its), update.mT)
    return _by_lane(Y, A).index_add(0, its, moved).view(Y.shape)


def _stacked(
    A: Tensor, B: Tensor, start: tuple[Tensor, Tensor] | None, s: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Stack the two thin products into one: down (K, 2r, in) and up (K, out, 2r)."""
    if start is None:
        return A.to(dtype), (s * B).to(dtype)
    A0, B0 = start
    down = torch.cat([A.to(dtype), (A - A0).to(dtype)], dim=1)
    up = torch.cat([(s * (B - B0)).to(dtype), (s * B0).to(dtype)], dim=2)
    return down, up


def _by_lane(X: Tensor, A: Tensor) -> Tensor:
    """View (K·n, …, features) as (K, n·…, features)."""
    return X.reshape(A.shape[0], -1, X.shape[-1])

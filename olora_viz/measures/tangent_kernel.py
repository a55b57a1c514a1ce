"""The empirical neural tangent kernel of every lane."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from olora_viz.lanes.adapters import Lanes
from olora_viz.machine.naming import expect
from olora_viz.machine.progress import Progress
from olora_viz.measures.record import Record, by_lane

Outputs = Callable[[], Tensor]
"""Computes one number for each active lane and each of n predictions, (K, n), with a graph."""


@dataclass(frozen=True, eq=False, repr=False)
class TangentKernel(Record):
    """Θ = J Jᵀ of K lanes, J the Jacobian of n outputs with respect to a lane's parameters."""

    matrix: np.ndarray
    """(K, n, n) symmetric; NaN for a lane with non-finite gradients or no adapter on the layer."""
    eigenvalues: np.ndarray = field(metadata=by_lane())
    """(K, n) descending."""
    condition: np.ndarray = field(metadata=by_lane())
    """(K,) largest over smallest eigenvalue; infinite if the smallest is zero to rounding."""


def tangent_kernel(
    lanes: Lanes, outputs: Outputs, *, layer: str | None = None, progress: Progress | None = None
) -> TangentKernel:
    """Measure the kernel of each lane on a small batch.

    `Θ_ij = ⟨∂f_i/∂θ, ∂f_j/∂θ⟩` over the lane's own parameters. Under gradient flow the outputs
    change at the rate −Θ ∂L/∂f: directions of large eigenvalues are learned first, and the
    condition number shows how much the rates differ.

    Parameters
    ----------
    lanes : all of them, or inside of ``lanes.some`` a few.
    outputs : (K, n), see `target_logits`; is called once.
    layer : the layer whose parameters are used; None for all layers.
    progress : called after every backward pass; raises to stop.

    References
    ----------
    Jacot, Gabriel, Hongler 2018, arXiv 1806.07572.
    """
    expect(lanes, Lanes, "Lanes, such as race.lanes")
    f = outputs()
    parts = lanes.parts(layer)
    mask = lanes.trained(layer).to(lanes.theta.dtype)
    K, n = f.shape
    J = lanes.theta.new_empty(K, n, mask.shape[1])
    for i in range(n):
        found = torch.autograd.grad(
            f[:, i].sum(), parts, retain_graph=i + 1 < n, materialize_grads=True
        )
        J[:, i] = torch.cat([part.flatten(1) for part in found], dim=1) * mask
        if progress:
            progress((i + 1) / n, f"gradient {i + 1} of {n}")
    kernel = torch.bmm(J, J.mT).double().cpu().numpy()
    kernel[~mask.any(1).cpu().numpy()] = math.nan  # no adapter on the layer
    return _decomposed(kernel, torch.finfo(J.dtype).eps)


def target_logits(
    logits: Float[Tensor, "K n V"], targets: Int64[Tensor, " n"]
) -> Float[Tensor, "K n"]:
    """Return each target's logit minus the mean logit, the part that softmax depends on.

    Unlike for the log-probability, its gradient does not vanish as the prediction becomes certain.
    """
    chosen = logits.gather(2, targets.expand(len(logits), -1)[..., None])[..., 0]
    return chosen - logits.mean(-1)


def _decomposed(kernel: np.ndarray, eps: float) -> TangentKernel:
    K, n, _ = kernel.shape
    eigenvalues, condition = np.full((K, n), math.nan), np.full(K, math.nan)
    for k in range(K):
        if np.isfinite(kernel[k]).all():
            values = np.linalg.eigvalsh(kernel[k])[::-1]
            eigenvalues[k] = np.maximum(values, 0.0)
            noise = n * eps * values[0]
            condition[k] = values[0] / values[-1] if values[-1] > noise else math.inf
        else:
            kernel[k] = math.nan
    return TangentKernel(kernel, eigenvalues, condition)

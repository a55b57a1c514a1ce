"""The curvature of every lane's loss, from matrix-vector products that all lanes share."""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from olora_viz.lanes.adapters import Lanes
from olora_viz.machine.naming import expect
from olora_viz.machine.progress import EVERY, Progress
from olora_viz.measures import lanczos
from olora_viz.measures.lanczos import STEPS, TOLERANCE, Operator
from olora_viz.measures.record import Record, by_lane

PROBES = 8
"""Random vectors for estimating a trace."""

Losses = Callable[[], Tensor]
"""Computes the losses (K,) of the active lanes, with their graph."""

Logits = Callable[[], Tensor]
"""Computes logits (K, n, V) of the active lanes, with their graph."""


@dataclass(frozen=True, eq=False, repr=False)
class Curvature(Record):
    """Extreme eigenvalues and trace of K symmetric matrices over the lanes' parameters.

    All values of a lane are NaN if its loss or gradient is not finite, or if it has no adapter on
    the measured layer.
    """

    lambda_max: np.ndarray = field(metadata=by_lane())
    """(K,) the largest eigenvalue."""
    lambda_min: np.ndarray = field(metadata=by_lane())
    """(K,) the smallest eigenvalue; if negative, the loss curves downwards in some direction."""
    trace: np.ndarray = field(metadata=by_lane())
    """(K,) estimated sum of all eigenvalues; NaN if not requested."""
    residual: np.ndarray = field(metadata=by_lane())
    """(K,) ‖Hv − λv‖ for lambda_max and its unit vector: some eigenvalue is at most this far
    away."""
    residual_min: np.ndarray = field(metadata=by_lane())
    """(K,) the same for lambda_min."""
    trace_error: np.ndarray = field(metadata=by_lane())
    """(K,) standard error of the trace."""
    iterations: np.ndarray = field(metadata=by_lane(int))
    """(K,) number of matrix-vector products for the eigenvalues."""
    converged: np.ndarray = field(metadata=by_lane(bool))
    """(K,) whether both residuals are within the tolerance."""
    top: Float[Tensor, "K n"] | None = field(default=None, compare=False)
    """Unit eigenvectors of lambda_max; None if not kept."""


def curvature(
    lanes: Lanes,
    losses: Losses,
    *,
    layer: str | None = None,
    steps: int = STEPS,
    tolerance: float = TOLERANCE,
    probes: int = PROBES,
    seed: int = 0,
    progress: Progress | None = None,
) -> Curvature:
    """Measure the Hessian of each lane's loss over the lane's own parameters.

    The total loss is a sum over lanes that share no parameters, so its Hessian has one block per
    lane, and one backward pass through the graph of the gradient multiplies every block by its own
    vector. Computed in theta's dtype: float32, or float64 for a float64 model.

    Parameters
    ----------
    lanes : all of them, or inside of ``lanes.some`` a few.
    losses : is called once.
    layer : the layer whose block of the Hessian is measured; None for all parameters.
    steps, tolerance : of the search for the eigenvalues, see `lanczos.extremes`.
    probes : random vectors for the trace, 2 or more; 0 skips it.
    seed : for the start vector and the probes.
    progress : called after every product, and again within a long one; raises to stop.

    Raises
    ------
    ValueError : the layer has no adapter, or there are too few probes.

    References
    ----------
    Pearlmutter 1994, Neural Computation 6 (products with the Hessian).
    """
    expect(lanes, Lanes, "Lanes, such as race.lanes")
    _check(probes)
    report = _Report(progress, steps + probes)
    with twice_differentiable(), report.between_layers(lanes.model):
        value = losses()
        parts = lanes.parts(layer)
        gradient = torch.autograd.grad(value.sum(), parts, create_graph=True)

        def product(V: Tensor) -> Tensor:
            return _flat(
                torch.autograd.grad(
                    gradient, parts, _like(parts, V), retain_graph=True, materialize_grads=True
                )
            )

        return _measure(lanes, layer, product, steps, tolerance, probes, seed, report)


def gauss_newton(
    lanes: Lanes,
    logits: Logits,
    *,
    layer: str | None = None,
    steps: int = STEPS,
    tolerance: float = TOLERANCE,
    probes: int = PROBES,
    seed: int = 0,
    progress: Progress | None = None,
) -> Curvature:
    """Measure the Gauss-Newton matrix of the mean cross-entropy, like `curvature` for the Hessian.

    `Jᵀ H_z J` with J the logits' Jacobian and `H_z = (diag p − p pᵀ) / n` the loss's curvature in
    the logits: the Hessian without the curvature of the network itself, so it is positive
    semidefinite.

    Parameters
    ----------
    logits : (K, n, V) of n predictions, whose mean cross-entropy is the loss; is called once.
    lanes, layer, steps, tolerance, probes, seed, progress : as for `curvature`.

    References
    ----------
    Schraudolph 2002, Neural Computation 14 (the products); Martens 2014, arXiv 1412.1193.
    """
    expect(lanes, Lanes, "Lanes, such as race.lanes")
    _check(probes)
    report = _Report(progress, steps + probes)
    with twice_differentiable(), report.between_layers(lanes.model):
        z = logits()
        parts = lanes.parts(layer)
        # Jᵀu is linear in u, and its derivative with respect to u is J: a forward product from
        # backward passes.
        u = torch.zeros_like(z, requires_grad=True)
        pulled = torch.autograd.grad(z, parts, u, create_graph=True, materialize_grads=True)
        p = z.detach().softmax(-1)

        def product(V: Tensor) -> Tensor:
            (Jv,) = torch.autograd.grad(pulled, u, _like(parts, V), retain_graph=True)
            pJv = p * Jv
            HJv = (pJv - p * pJv.sum(-1, keepdim=True)) / z.shape[1]
            return _flat(
                torch.autograd.grad(z, parts, HJv, retain_graph=True, materialize_grads=True)
            )

        return _measure(lanes, layer, product, steps, tolerance, probes, seed, report)


class _Report:
    """Reports how many products are made, also while one goes through the layers.

    Parameters
    ----------
    progress : raises to stop; None for nobody.
    most : the number of products, at most.
    """

    def __init__(self, progress: Progress | None, most: int) -> None:
        self._progress, self._most, self.made = progress, most, 0

    def __call__(self) -> None:
        """Report the products made so far."""
        if self._progress:
            part = min(self.made / self._most, 1.0)
            self._progress(part, f"product {self.made} of at most {self._most}")
        self._due = time.monotonic() + EVERY

    @contextmanager
    def between_layers(self, model: nn.Module) -> Generator[None]:
        """Report from time to time within passes, and products with the graphs of such passes.

        A product takes many seconds on a large model, and neither a signal nor `progress` can stop
        it elsewhere.
        """
        self._due = time.monotonic() + EVERY

        def within(*_: object) -> None:
            if time.monotonic() >= self._due:
                self()

        def watch(_: nn.Module, __: object, out: object) -> None:
            within()
            if isinstance(out, Tensor) and out.requires_grad:
                out.register_hook(within)

        leaves = [module for module in model.modules() if not any(module.children())]
        handles = [module.register_forward_hook(watch) for module in leaves]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


@contextmanager
def twice_differentiable() -> Generator[None]:
    """Use an attention kernel that supports second derivatives."""
    with sdpa_kernel(SDPBackend.MATH), torch.enable_grad():
        yield


def draws(lanes: Lanes, layer: str | None, seed: int) -> Float[Tensor, " n"]:
    """Draw a Gaussian vector over one lane's parameters, in the order of `Lanes.parts`.

    Each layer has its own random numbers, drawn rank by rank, so a lane's vector depends neither on
    the other lanes nor on their padding.
    """
    parts = []
    for name in [layer] if layer else lanes.layers:
        (rank, in_features), (out_features, rank_B) = lanes.shapes(name)
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
        drawn = [torch.randn(in_features + out_features, generator=generator) for _ in range(rank)]
        A, B = torch.stack(drawn).split([in_features, out_features], dim=1)
        parts += [A.flatten(), B[:rank_B].T.flatten()]
    return torch.cat(parts).to(lanes.theta)


def _measure(
    lanes: Lanes,
    layer: str | None,
    product: Operator,
    steps: int,
    tolerance: float,
    probes: int,
    seed: int,
    report: _Report,
) -> Curvature:
    mask = lanes.trained(layer).to(lanes.theta.dtype)

    def masked(V: Tensor) -> Tensor:
        out = product(V * mask) * mask
        report.made += 1
        report()
        return out

    found = lanczos.extremes(
        masked, draws(lanes, layer, seed) * mask, steps=steps, tolerance=tolerance
    )
    trace = error = np.full(len(mask), math.nan)
    if probes:
        signs = [draws(lanes, layer, seed + 1 + i).sign() * mask for i in range(probes)]
        trace, error = lanczos.trace(masked, signs)
        trace, error = (np.where(np.isnan(found.largest), math.nan, its) for its in (trace, error))
    return Curvature(
        lambda_max=found.largest,
        lambda_min=found.smallest,
        trace=trace,
        residual=found.residual_largest,
        residual_min=found.residual_smallest,
        trace_error=error,
        iterations=found.iterations,
        converged=found.converged,
        top=found.top,
    )


def _check(probes: int) -> None:
    if probes < 0 or probes == 1:
        raise ValueError(f"probes must be 0 or at least 2, not {probes}")


def _flat(parts: tuple[Tensor, ...]) -> Tensor:
    return parts[0] if parts[0].ndim == 2 else torch.cat([part.flatten(1) for part in parts], dim=1)


def _like(parts: tuple[Tensor, ...], V: Tensor) -> list[Tensor]:
    """Split the rows of V into the shapes of the parts."""
    pieces = V.split([part[0].numel() for part in parts], dim=1)
    return [piece.reshape(part.shape) for piece, part in zip(pieces, parts, strict=True)]

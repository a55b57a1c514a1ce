"""How well a start is conditioned: curvature, tangent kernel, and slices of the loss around it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from olora_viz.lanes.adapters import Lanes
from olora_viz.machine.checks import expect
from olora_viz.machine.process import Progress, Stages
from olora_viz.machine.tables import finite_or_none
from olora_viz.measures.curvature import (
    CONVERGED_WITHIN,
    MOST_PRODUCTS,
    TRACE_PROBES,
    Curvature,
    check_returned,
    curvature,
    flat,
    gauss_newton,
    product_groups,
)
from olora_viz.measures.measure import Record, by_lane, lane_fields, of_label
from olora_viz.tasks import losses
from olora_viz.tasks.batches import Batch

SLICE_SIDE = 15
"""Points along each side of a slice."""


@dataclass(frozen=True, eq=False, repr=False)
class LossSlice(Record):
    """The loss of one lane on a plane through its parameters."""

    lane: int
    """Its number."""
    across: np.ndarray
    """(n,) distance from the lane's parameters along the top eigenvector, ‖Δθ‖."""
    along: np.ndarray
    """(n,) distance along the gradient's component orthogonal to the eigenvector, positive uphill."""
    loss: np.ndarray
    """(n, n) nats per supervised token; loss[i, j] is at along[i], across[j]; NaN where it is not finite."""


def directions(
    gradient: Float[Tensor, " P"], top: Float[Tensor, " P"]
) -> tuple[Float[Tensor, " P"], Float[Tensor, " P"]]:
    """Return the top eigenvector and the gradient's orthogonal component, both normalized.

    Raises:
        ValueError: the gradient is zero or parallel to the eigenvector, or one is not finite.
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
    side: int = SLICE_SIDE,
    progress: Progress | None = None,
) -> LossSlice:
    """Compute the loss of lane k on a square grid around its parameters.

    Args:
        loss: computes the loss (1,) while lane k alone runs.
        across, along: unit vectors in the space of the lane's row of theta.
        reach: half the side of the square, ‖Δθ‖.
        side: points along each side, odd, so that the center is a grid point.

    References:
        Li, Xu, Taylor, Studer, Goldstein 2018, arXiv 1712.09913 (slices of a loss, and their scale).
    """
    k = lanes.number(k)
    if side < 3 or side % 2 == 0:
        raise ValueError(f"side must be an odd number from 3, not {side}")
    places = np.linspace(-reach, reach, side)
    values = np.full((side, side), math.nan)
    row = lanes.theta.detach()[k]
    here = row.clone()
    try:
        with lanes.only(k):
            for done, (i, j) in enumerate(np.ndindex(side, side), 1):
                row.copy_(here + places[j] * across + places[i] * along)
                value = float(loss()[0])
                values[i, j] = value if math.isfinite(value) else math.nan
                if progress:
                    progress(done / side**2, f"loss {done} of {side**2}")
    finally:
        row.copy_(here)
    return LossSlice(k, places, places, values)


OUTPUTS = 16
"""Predictions in the tangent kernel: the first ones of the batch."""

KERNEL_BATCHES = 5
"""Batches on which the condition of the tangent kernel is measured by default."""


@dataclass(frozen=True, eq=False, repr=False)
class TangentKernel(Record):
    """Θ = J Jᵀ of K lanes, J the Jacobian of n outputs with respect to a lane's parameters.

    Examples:
        >>> import olora_viz as ov
        >>> model, tokenizer = ov.load_model("glassllm")
        >>> lanes = ov.attach(model, [ov.Lane("lora"), ov.Lane("olora")])
        >>> row = tokenizer("Alice was beginning", return_tensors="pt").input_ids
        >>> rows = row.repeat(2, 1)  # lane after lane
        >>> def outputs():
        ...     logits = model(rows).logits[:, :-1]
        ...     return logits.gather(2, rows[:, 1:, None])[..., 0]  # of the next tokens
        >>> kernel = ov.tangent_kernel(lanes, outputs)
        >>> kernel.eigenvalues.shape, bool((kernel.condition > 1).all())
        ((2, 3), True)
    """

    matrix: np.ndarray
    """(K, n, n) symmetric; NaN for a lane with non-finite gradients or no adapter on the layer."""
    eigenvalues: np.ndarray = field(metadata=by_lane())
    """(K, n) descending."""
    condition: np.ndarray = field(metadata=by_lane())
    """(K,) largest over smallest eigenvalue; infinite if the smallest is zero to rounding."""


def tangent_kernel(
    lanes: Lanes, outputs: Callable[[], Tensor], *, layer: str | None = None, progress: Progress | None = None
) -> TangentKernel:
    """Measure the kernel of each lane on a small batch.

    `Θ_ij = ⟨∂f_i/∂θ, ∂f_j/∂θ⟩` over the lane's own parameters. Under gradient flow the outputs change at the rate −Θ
    ∂L/∂f: directions of large eigenvalues are learned first, and the condition number shows how much the rates differ.

    Args:
        lanes: all of them, or inside of ``lanes.some`` a few.
        outputs: computes n numbers of each active lane, (K, n), with their graph, see `target_logits`; is called once.
        layer: the layer whose parameters are used; None for all layers.

    References:
        Jacot, Gabriel, Hongler 2018, arXiv 1806.07572.

    Examples:
        >>> import olora_viz as ov
        >>> model, tokenizer = ov.load_model("glassllm")
        >>> lanes = ov.attach(model, [ov.Lane("lora"), ov.Lane("olora")])
        >>> row = tokenizer("Alice was beginning", return_tensors="pt").input_ids
        >>> rows = row.repeat(2, 1)  # lane after lane
        >>> def outputs():
        ...     logits = model(rows).logits[:, :-1]
        ...     return logits.gather(2, rows[:, 1:, None])[..., 0]  # of the next tokens
        >>> ov.tangent_kernel(lanes, outputs).matrix.shape
        (2, 3, 3)
    """
    expect(lanes, Lanes, "Lanes, such as race.lanes")
    f = outputs()
    parts = lanes.parts(layer)
    check_returned("outputs", f, len(parts[0]), "K n")
    mask = lanes.trained(layer).to(lanes.theta.dtype)
    K, n = f.shape
    J = lanes.theta.new_empty(K, n, mask.shape[1])
    for i in range(n):
        gradient = torch.autograd.grad(f[:, i].sum(), parts, retain_graph=i + 1 < n, materialize_grads=True)
        J[:, i] = flat(gradient) * mask
        if progress:
            progress((i + 1) / n, f"gradient {i + 1} of {n}")
    kernel = torch.bmm(J, J.mT).cpu().double().numpy()
    kernel[~mask.any(1).cpu().numpy()] = math.nan  # no adapter on the layer
    return _decomposed(kernel, torch.finfo(J.dtype).eps)


def target_logits(logits: Float[Tensor, "K n V"], targets: Int64[Tensor, " n"]) -> Float[Tensor, "K n"]:
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


@dataclass(frozen=True, eq=False, repr=False)
class Conditioning(Record):
    """Gradient norm and curvature of K lanes' losses on one batch.

    Examples:
        >>> import olora_viz as ov
        >>> lanes = ov.Lane("lora"), ov.Lane("olora")
        >>> config = ov.RaceConfig(lanes=lanes, batch_size=2, eval_size=2)
        >>> race = ov.race(config)
        >>> measured = ov.conditioning(race.lanes, race.batch(1), steps=4, probes=0)
        >>> measured.hessian.lambda_max.shape, measured.kernel.condition.shape
        ((2,), (2,))
        >>> bool(measured.loss[0] == measured.loss[1])  # that of the model
        True
    """

    loss: np.ndarray = field(metadata=by_lane())
    """(K,) nats per supervised token."""
    grad_norm: np.ndarray = field(metadata=by_lane())
    """(K,) Euclidean norm of the gradient."""
    hessian: Curvature
    gauss_newton: Curvature | None
    """None if not requested."""
    kernel: TangentKernel | None
    more_conditions: np.ndarray
    """(K, n) condition of the tangent kernel on n further batches."""

    @property
    def conditions(self) -> np.ndarray:
        """(K, n + 1) condition of the tangent kernel on every batch; (K, 0) if not requested."""
        if self.kernel is None:
            return self.more_conditions
        return np.column_stack([self.kernel.condition, self.more_conditions])

    def to_json(self, labels: Sequence[str]) -> dict[str, Any]:
        """Return plain values by lane, the Hessian's among them; non-finite values are null."""
        lanes = super().to_json(labels)
        parts = {"gauss_newton": self.gauss_newton, "ntk": self.kernel}
        for label, of_lane in self.hessian.to_json(labels).items():
            lanes[label] |= of_lane
        for name, part in parts.items():
            for label, of_lane in part.to_json(labels).items() if part else ():
                lanes[label][name] = of_lane
        for label, values in zip(labels, self.conditions, strict=True):
            if self.kernel:
                lanes[label]["ntk"] |= _over_batches(values)
        return lanes

    @classmethod
    def from_json(cls, values: dict[str, Any], labels: Sequence[str]) -> Conditioning:
        """Read back what `to_json` wrote of a whole measurement: neither a kernel's matrix nor eigenvectors.

        Raises:
            KeyError: the values have another form.
            TypeError: likewise.
            ValueError: likewise.
        """
        newton, ntk = ({label: values[label][name] for label in labels} for name in ("gauss_newton", "ntk"))
        conditions = np.array([ntk[label]["conditions"] for label in labels], dtype=float)
        eigenvalues = np.array([ntk[label]["eigenvalues"] for label in labels], dtype=float)
        matrix = np.full((*eigenvalues.shape, eigenvalues.shape[1]), math.nan)
        return cls(
            **{name: of_label({label: values[label][name] for label in labels}, labels) for name in lane_fields(cls)},
            hessian=Curvature.from_json(values, labels), gauss_newton=Curvature.from_json(newton, labels),
            kernel=TangentKernel(matrix, eigenvalues, conditions[:, 0]), more_conditions=conditions[:, 1:],
        )  # fmt: skip


def conditioning(
    lanes: Lanes,
    batch: Batch,
    *,
    more_batches: Sequence[Batch] = (),
    layer: str | None = None,
    with_gauss_newton: bool = True,
    with_kernel: bool = True,
    steps: int = MOST_PRODUCTS,
    tolerance: float = CONVERGED_WITHIN,
    probes: int = TRACE_PROBES,
    progress: Progress | None = None,
) -> Conditioning:
    """Measure every lane in its current state, in chunks that fit into memory.

    Args:
        batch: on the model's device, see `Race.batch`.
        more_batches: further ones, on which the tangent kernel is measured as well.
        layer: the layer whose parameters are measured; None for all layers.
        with_gauss_newton, with_kernel: whether to measure the Gauss-Newton matrix and the kernel too.
        steps, tolerance, probes: see `curvature`.
        progress: called after every product; raises to stop.

    Raises:
        ValueError: the layer has no adapter, or there is not enough free memory.

    Examples:
        >>> import olora_viz as ov
        >>> lanes = ov.Lane("lora"), ov.Lane("olora")
        >>> config = ov.RaceConfig(lanes=lanes, batch_size=2, eval_size=2)
        >>> race = ov.race(config)
        >>> measured = ov.conditioning(race.lanes, race.batch(1), steps=4, probes=0)
        >>> of_lora, of_olora = measured.grad_norm
        >>> bool(of_olora > of_lora)
        True
    """
    expect(lanes, Lanes, "Lanes, such as race.lanes")
    largest = max((batch, *more_batches), key=lambda each: each.input_ids.numel())
    groups = product_groups(lanes, largest, layer, steps)
    stages = 1 + with_gauss_newton + with_kernel * (1 + len(more_batches))
    search: dict[str, Any] = {"layer": layer, "steps": steps, "tolerance": tolerance, "probes": probes}
    parts: list[Conditioning] = []
    for i, rows in enumerate(groups):
        K, reports = rows.stop - rows.start, Stages(progress, i * stages, len(groups) * stages)

        def loss(K: int = K) -> Tensor:
            return losses.lane_losses(lanes.model, batch, K)

        def logits(K: int = K) -> Tensor:
            return losses.supervised_logits(lanes.model, batch, K)

        with lanes.some(rows):
            value, norm = _slope(lanes, loss, layer)
            hessian = curvature(lanes, loss, progress=reports.stage("Hessian"), **search)
            newton = None
            if with_gauss_newton:
                newton = gauss_newton(lanes, logits, progress=reports.stage("Gauss-Newton"), **search)
            kernels = [
                _kernel(lanes, each, layer, K, reports.stage("tangent kernel"))
                for each in (batch, *more_batches)
                if with_kernel
            ]
        conditions = np.array([kernel.condition for kernel in kernels[1:]]).reshape(-1, K).T
        parts.append(Conditioning(value, norm, hessian, newton, kernels[0] if kernels else None, conditions))
    return Conditioning.joined(parts)


def slices(
    lanes: Lanes,
    batch: Batch,
    measured: Conditioning,
    chosen: Sequence[int],
    *,
    side: int = SLICE_SIDE,
    progress: Progress | None = None,
) -> list[LossSlice]:
    """Slice the losses of some lanes on one scale, which suits the steepest of them.

    Args:
        measured: result of `conditioning` for the same lanes and parameters, over all layers.
        chosen: indices of the lanes.
        side: points along each side, odd.

    Raises:
        ValueError: a lane does not exist, or its loss or curvature is not finite.
    """
    for k in chosen:
        lanes.number(k)
    of_lanes = [(measured.loss[k], measured.hessian.lambda_max[k], measured.grad_norm[k]) for k in chosen]
    for k, values in zip(chosen, of_lanes, strict=True):
        if not np.isfinite(values).all():
            raise ValueError(f"the loss of {lanes.labels[k]!r} or its curvature is not finite: nothing to slice")
    reach = min(radius(*values) for values in of_lanes)
    reports = Stages(progress, 0, len(chosen))
    sliced = []

    def loss() -> Tensor:
        return losses.lane_losses(lanes.model, batch, 1)

    for k in chosen:
        with lanes.some(slice(k, k + 1)):
            (gradient,) = torch.autograd.grad(loss().sum(), lanes.parts())
            gradient = (gradient * lanes.trained())[0]
        assert measured.hessian.top is not None
        across, along = directions(gradient, measured.hessian.top[k])
        name = f"slice of {lanes.labels[k]}"
        sliced.append(loss_slice(lanes, k, loss, across, along, reach, side=side, progress=reports.stage(name)))
    return sliced


def _kernel(lanes: Lanes, batch: Batch, layer: str | None, K: int, progress: Progress) -> TangentKernel:
    """Measure the tangent kernel of the first predictions of a batch."""

    def outputs() -> Tensor:
        logits = losses.supervised_logits(lanes.model, batch, K)
        return target_logits(logits, batch.targets)[:, :OUTPUTS]

    return tangent_kernel(lanes, outputs, layer=layer, progress=progress)


def _over_batches(conditions: np.ndarray) -> dict[str, Any]:
    """Return a lane's condition on every batch, with its median and range, as plain values."""
    low, high = conditions.min(), conditions.max()
    return {
        "conditions": [finite_or_none(value) for value in conditions],
        "condition_median": finite_or_none(np.median(conditions)),
        "condition_range": [finite_or_none(low), finite_or_none(high)],
    }


def _slope(lanes: Lanes, loss: Callable[[], Tensor], layer: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the losses and the gradient norms, NaN for a lane without an adapter on the layer."""
    value = loss()
    parts = torch.autograd.grad(value.sum(), lanes.parts(layer))
    trained = lanes.trained(layer)
    gradient = flat(parts) * trained
    norm = torch.linalg.vector_norm(gradient, dim=1).where(trained.any(1), math.nan)
    loss_, norm_ = torch.stack([value.detach(), norm.to(value.dtype)]).cpu().double().numpy()
    return loss_, norm_

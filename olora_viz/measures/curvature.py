"""Curvature of the loss: extreme eigenvalues and traces of the Hessian and the Gauss-Newton matrix."""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import eigh_tridiagonal
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from olora_viz.lanes.adapters import Lanes
from olora_viz.lanes.groups import lane_groups
from olora_viz.lanes.memory import PassCost, known_cost
from olora_viz.lanes.plan import AdapterPlan
from olora_viz.machine import memory
from olora_viz.machine.checks import check_whole, expect
from olora_viz.machine.devices import kind_of
from olora_viz.machine.memory import bytes_words, check_memory, of_several_lanes
from olora_viz.machine.process import REPORT_EVERY, Progress
from olora_viz.measures.measure import Measure, Record, by_lane
from olora_viz.tasks import losses
from olora_viz.tasks.batches import Batch, Size

TRACKED = 12
"""Hessian-vector products per measurement during a race, where a rough estimate is enough. Each costs about a step of
training."""

VECTORS = 6
"""Vectors over the parameters that are in memory besides one for each product."""


def product_groups(lanes: Lanes, batch: Batch, layer: str | None, steps: int) -> list[slice]:
    """Split the lanes into groups that fit into memory, or raise with the memory they need."""
    size = sum(r * c for r, c in lanes.shapes(layer)) if layer else lanes.theta.shape[1]
    vectors = (min(steps, size) + VECTORS) * size * lanes.theta.element_size()
    each = vectors + product_cost(lanes.plan, layer, lanes).bytes(batch.size)
    device = lanes.theta.device
    groups = lane_groups(lanes.count, each, of_several_lanes(kind_of(device).curvature, device))
    largest = max(rows.stop - rows.start for rows in groups)
    what = f"the curvature of {largest} lane{'s' * (largest > 1)} over {size:,} parameters each"
    try:
        check_memory(int(largest * each), device, what)
    except ValueError as error:
        if layer:
            raise ValueError(f"{error}: use a smaller batch") from None
        raise ValueError(f"{error}: use a smaller batch, or one layer, such as {lanes.layers[-1]!r}") from None
    return groups


def check_tracking(plan: AdapterPlan, size: Size) -> None:
    """Check, before lanes are attached, that a race can measure their curvature on a batch.

    Raises:
        ValueError: one lane would need more than a pass may take, see `pass_limit`, or than is free.
    """
    bounds = [memory.pass_limit(plan.device), memory.available_memory(plan.device)]
    most = min((bound for bound in bounds if bound is not None), default=None)
    need = product_bytes(plan, size, TRACKED)
    if most is None or need <= most:
        return
    smaller = {rows: Size(rows, size.width, round(size.supervised * rows / size.rows)) for rows in range(1, size.rows)}
    fitting = [rows for rows, of_rows in smaller.items() if product_bytes(plan, of_rows, TRACKED) <= most]
    fits = max(fitting, default=0)
    raise ValueError(
        f"the curvature of one lane on a batch of {size.rows} prompts of up to {size.width} tokens "
        f"needs {bytes_words(need)} of memory, but may take {bytes_words(most)} here: "
        + (f"{fits} prompts per step would fit" if fits else "not even one prompt would fit")
    )


def product_bytes(plan: AdapterPlan, size: Size, steps: int) -> float:
    """Return the memory of one lane's curvature from so many products, over all layers."""
    vectors = (steps + VECTORS) * plan.layout.width * plan.dtype.itemsize
    return vectors + product_cost(plan).bytes(size)


def product_cost(plan: AdapterPlan, layer: str | None = None, lanes: Lanes | None = None) -> PassCost:
    """Return the memory of one lane's products with the Hessian and the Gauss-Newton matrix."""

    def products(lanes: Lanes, batch: Batch) -> None:
        search: dict[str, Any] = {"layer": layer, "steps": 1, "probes": 0}
        curvature(lanes, lambda: losses.lane_losses(lanes.model, batch, 1), **search)
        gauss_newton(lanes, lambda: losses.supervised_logits(lanes.model, batch, 1), **search)

    return known_cost(f"products {layer}", plan, products, lanes)


Operator = Callable[[Tensor], Tensor]
"""Multiplies row k of a (K, P) tensor by the k-th symmetric matrix (P, P)."""

MOST_PRODUCTS = 32
"""Maximum number of products, converged or not."""

CONVERGED_WITHIN = 1e-2
"""Residual at which an extreme eigenvalue counts as converged, relative to the largest |λ|. The error of the
eigenvalue is of the order of the residual's square."""


TRACE_PROBES = 8
"""Random vectors for estimating a trace."""


@dataclass(frozen=True, eq=False, repr=False)
class Curvature(Record):
    """Extreme eigenvalues and trace of K symmetric matrices over the lanes' parameters.

    All values of a lane are NaN if its loss or gradient is not finite, or if it has no adapter on the measured layer.

    Examples:
        >>> from torch.nn.functional import cross_entropy
        >>> import olora_viz as ov
        >>> model, tokenizer = ov.load_model("glassllm")
        >>> lanes = ov.attach(model, [ov.Lane("lora"), ov.Lane("olora")])
        >>> row = tokenizer("Alice was beginning", return_tensors="pt").input_ids
        >>> rows = row.repeat(2, 1)  # lane after lane
        >>> def losses():
        ...     logits = model(rows).logits[:, :-1]
        ...     return cross_entropy(logits.mT, rows[:, 1:], reduction="none").mean(1)
        >>> measured = ov.curvature(lanes, losses, steps=4, probes=0)
        >>> measured.lambda_max.shape, measured.iterations.tolist()
        ((2,), [4, 4])
        >>> (measured.lambda_min < measured.lambda_max).tolist()
        [True, True]
    """

    lambda_max: np.ndarray = field(metadata=by_lane())
    """(K,) the largest eigenvalue."""
    lambda_min: np.ndarray = field(metadata=by_lane())
    """(K,) the smallest eigenvalue; if negative, the loss curves downwards in some direction."""
    trace: np.ndarray = field(metadata=by_lane())
    """(K,) estimated sum of all eigenvalues; NaN if not requested."""
    residual: np.ndarray = field(metadata=by_lane())
    """(K,) ‖Hv − λv‖ for lambda_max and its unit vector v: some eigenvalue is at most this far from it."""
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


@torch.no_grad()
def extremes(
    operator: Operator, start: Float[Tensor, "K P"], *, steps: int = MOST_PRODUCTS, tolerance: float = CONVERGED_WITHIN
) -> Curvature:
    """Find the extreme eigenvalues of K matrices by the Lanczos method, each row independently, without the traces.

    `H Q_m = Q_m T_m + β_m q_{m+1} e_mᵀ`: with an eigenpair `T_m s = λ s`, `v = Q_m s` has the residual `|β_m s_m|`.
    Every new vector is orthogonalized against all earlier ones (twice where the first pass removed most of it), so no
    eigenvalue is found twice.

    Args:
        operator: may raise to cancel the search.
        start: the first vector; nonzero, but zero in the excluded coordinates.
        steps: maximum number of products.
        tolerance: a row stops earlier once it has converged, see `CONVERGED_WITHIN`.

    References:
        Lanczos 1950, J. Res. Natl. Bur. Stand. 45; Paige 1972, J. Inst. Math. Appl. 10 (what rounding
        does); Daniel, Gragg, Kaufman, Stewart 1976, Math. Comp. 30 (when to repeat).
    """
    K, P = start.shape
    steps = min(steps, P)
    basis = start.new_empty(K, steps + 1, P)
    basis[:, 0] = start / torch.linalg.vector_norm(start, dim=1, keepdim=True)
    alpha, beta = np.zeros((K, steps)), np.zeros((K, steps))
    length = np.zeros(K, dtype=int)
    lost, going = np.zeros(K, dtype=bool), np.ones(K, dtype=bool)
    floor = math.sqrt(P) * torch.finfo(start.dtype).eps
    ends = _Ends.of(alpha, beta, length, ~lost)
    for j in range(steps):
        w = operator(basis[:, j])
        alpha[:, j] = _host((basis[:, j] * w).sum(1))
        lost |= going & ~np.isfinite(alpha[:, j])
        w = _orthogonal(w, basis[:, : j + 1])
        beta[:, j] = _host(torch.linalg.vector_norm(w, dim=1))
        lost |= going & ~np.isfinite(beta[:, j])
        length[going] = j + 1
        ends = _Ends.of(alpha, beta, length, lost)
        # Each row ends independently of the others. If nothing is left, the vectors so far span
        # the whole Krylov space of the start.
        going &= ~lost & ~ends.are_within(tolerance) & (beta[:, j] > floor * ends.scale)
        if not going.any():
            break
        mask = torch.tensor(going, device=w.device)[:, None]
        inverse = torch.tensor(1.0 / np.where(going, beta[:, j], 1.0)).to(w)[:, None]
        basis[:, j + 1] = torch.where(mask, w * inverse, 0.0)
    weights = torch.tensor(ends.weights[:, : length.max()]).to(basis)
    top = torch.einsum("km,kmp->kp", weights, basis[:, : length.max()])
    (smallest, largest), (residual_min, residual) = ends.values.T, ends.residuals.T
    trace, converged = np.full(K, math.nan), ends.are_within(tolerance)
    return Curvature(largest, smallest, trace, residual, residual_min, trace, length, converged, top)


@dataclass(frozen=True)
class _Ends:
    """The extreme eigenvalues of the tridiagonal matrices, the smallest first."""

    values: np.ndarray  # (K, 2)
    residuals: np.ndarray  # (K, 2)
    weights: np.ndarray  # (K, steps) of the largest's vector in the basis

    @classmethod
    def of(cls, alpha: np.ndarray, beta: np.ndarray, length: np.ndarray, lost: np.ndarray) -> _Ends:
        K, steps = alpha.shape
        ends = cls(np.full((K, 2), math.nan), np.full((K, 2), math.nan), np.zeros((K, steps)))
        for k in np.flatnonzero(~lost):
            m = length[k]
            pairs = eigh_tridiagonal(alpha[k, :m], beta[k, : m - 1])
            values, vectors = cast("tuple[np.ndarray, np.ndarray]", pairs)
            ends.values[k] = values[[0, -1]]
            ends.residuals[k] = np.abs(beta[k, m - 1] * vectors[-1, [0, -1]])
            ends.weights[k, :m] = vectors[:, -1]
        return ends

    @property
    def scale(self) -> np.ndarray:
        """(K,) the largest magnitude."""
        return np.abs(self.values).max(axis=1)

    def are_within(self, tolerance: float) -> np.ndarray:
        """(K,) whether both residuals are small relative to the largest magnitude."""
        return np.all(self.residuals <= tolerance * self.scale[:, None], axis=1)


def _orthogonal(w: Float[Tensor, "K P"], basis: Float[Tensor, "K m P"]) -> Float[Tensor, "K P"]:
    """Orthogonalize against the basis, twice if cancellation leaves little of the vector."""
    before = torch.linalg.vector_norm(w, dim=1)
    w = _without(w, basis)
    # A row's second pass does not change any other row, not even by rounding.
    again = torch.linalg.vector_norm(w, dim=1) < 0.5 * before
    return torch.where(again[:, None], _without(w, basis), w) if again.any() else w


def _without(w: Float[Tensor, "K P"], basis: Float[Tensor, "K m P"]) -> Float[Tensor, "K P"]:
    along = torch.bmm(basis, w[:, :, None])
    return torch.baddbmm(w[:, :, None], basis.mT, along, alpha=-1)[:, :, 0]


def _host(x: Tensor) -> np.ndarray:
    return x.cpu().double().numpy()


def hutchinson(operator: Operator, probes: Iterable[Float[Tensor, "K P"]]) -> tuple[np.ndarray, np.ndarray]:
    """Estimate K traces and their standard errors by Hutchinson's method.

    `E[zᵀHz] = tr H` for z with independent random signs.

    Args:
        probes: two or more, with rows of ±1 (0 in the excluded coordinates).

    Returns:
        (K,) the estimates, and (K,) their standard errors.

    References:
        Hutchinson 1989, Commun. Stat. Simul. Comput. 18.
    """
    estimates = np.stack([_host((z * operator(z)).sum(1)) for z in probes])
    return estimates.mean(0), estimates.std(0, ddof=1) / math.sqrt(len(estimates))


def curvature(
    lanes: Lanes,
    losses: Callable[[], Tensor],
    *,
    layer: str | None = None,
    steps: int = MOST_PRODUCTS,
    tolerance: float = CONVERGED_WITHIN,
    probes: int = TRACE_PROBES,
    seed: int = 0,
    progress: Progress | None = None,
) -> Curvature:
    """Measure the Hessian of each lane's loss over the lane's own parameters.

    The total loss is a sum over lanes that share no parameters, so its Hessian has one block per lane, and one
    backward pass through the graph of the gradient multiplies every block by its own vector. Computed in theta's
    dtype: float32, or float64 for a float64 model.

    Args:
        lanes: all of them, or inside of ``lanes.some`` a few.
        losses: computes the losses (K,) of the active lanes, with their graph; is called once.
        layer: the layer whose block of the Hessian is measured; None for all parameters.
        steps, tolerance: of the search for the eigenvalues, see `extremes`.
        probes: random vectors for the trace, 2 or more; 0 skips it.
        seed: for the start vector and the probes.
        progress: called after every product, and again within a long one; raises to stop.

    Raises:
        ValueError: the layer has no adapter, a count is out of its range, or the losses are not (K,) with a graph.

    References:
        Pearlmutter 1994, Neural Computation 6 (products with the Hessian).

    Examples:
        >>> from torch.nn.functional import cross_entropy
        >>> import olora_viz as ov
        >>> model, tokenizer = ov.load_model("glassllm")
        >>> lanes = ov.attach(model, [ov.Lane("lora"), ov.Lane("olora")])
        >>> row = tokenizer("Alice was beginning", return_tensors="pt").input_ids
        >>> rows = row.repeat(2, 1)  # lane after lane
        >>> def losses():
        ...     logits = model(rows).logits[:, :-1]
        ...     return cross_entropy(logits.mT, rows[:, 1:], reduction="none").mean(1)
        >>> of_lora, of_olora = ov.curvature(lanes, losses, steps=8, probes=0).lambda_max
        >>> bool(of_olora > of_lora)
        True
    """
    search = _Search(lanes, layer, steps, tolerance, probes, seed, progress)
    with search.reporting():
        value = losses()
        parts = lanes.parts(layer)
        check_returned("losses", value, len(parts[0]), "K")
        gradient = torch.autograd.grad(value.sum(), parts, create_graph=True)

        def product(V: Tensor) -> Tensor:
            return flat(
                torch.autograd.grad(gradient, parts, _like(parts, V), retain_graph=True, materialize_grads=True)
            )

        return search.of(product)


def gauss_newton(
    lanes: Lanes,
    logits: Callable[[], Tensor],
    *,
    layer: str | None = None,
    steps: int = MOST_PRODUCTS,
    tolerance: float = CONVERGED_WITHIN,
    probes: int = TRACE_PROBES,
    seed: int = 0,
    progress: Progress | None = None,
) -> Curvature:
    """Measure the Gauss-Newton matrix of the mean cross-entropy, like `curvature` for the Hessian.

    `Jᵀ H_z J` with J the logits' Jacobian and `H_z = (diag p − p pᵀ) / n` the loss's curvature in the logits: the
    Hessian without the curvature of the network itself, so it is positive semidefinite.

    Args:
        logits: computes those of n predictions, (K, n, V), whose mean cross-entropy is the loss; is called once.
        lanes, layer, steps, tolerance, probes, seed, progress: as for `curvature`.

    References:
        Schraudolph 2002, Neural Computation 14 (the products); Martens 2014, arXiv 1412.1193.

    Examples:
        >>> import olora_viz as ov
        >>> model, tokenizer = ov.load_model("glassllm")
        >>> lanes = ov.attach(model, [ov.Lane("lora"), ov.Lane("olora")])
        >>> row = tokenizer("Alice was beginning", return_tensors="pt").input_ids
        >>> rows = row.repeat(2, 1)  # lane after lane
        >>> def logits():
        ...     return model(rows).logits[:, :-1]
        >>> measured = ov.gauss_newton(lanes, logits, steps=8, probes=0)
        >>> of_lora, of_olora = measured.lambda_max
        >>> bool(of_olora > of_lora > 0)
        True
    """
    search = _Search(lanes, layer, steps, tolerance, probes, seed, progress)
    with search.reporting():
        z = logits()
        parts = lanes.parts(layer)
        check_returned("logits", z, len(parts[0]), "K n V")
        # Jᵀu is linear in u, and its derivative with respect to u is J: a forward product from backward passes.
        u = torch.zeros_like(z, requires_grad=True)
        pulled = torch.autograd.grad(z, parts, u, create_graph=True, materialize_grads=True)
        p = z.detach().softmax(-1)

        def product(V: Tensor) -> Tensor:
            (Jv,) = torch.autograd.grad(pulled, u, _like(parts, V), retain_graph=True)
            pJv = p * Jv
            HJv = (pJv - p * pJv.sum(-1, keepdim=True)) / z.shape[1]
            return flat(torch.autograd.grad(z, parts, HJv, retain_graph=True, materialize_grads=True))

        return search.of(product)


def check_search(steps: int, probes: int) -> None:
    """Raise a ValueError unless eigenvalues can be searched with so many products, and traces with so many probes."""
    check_whole("steps", steps, 1)
    if isinstance(probes, int) and (probes < 0 or probes == 1):
        raise ValueError(f"probes must be 0 or at least 2, not {probes}")
    check_whole("probes", probes, 0)


def check_returned(what: str, value: object, K: int, axes: str) -> None:
    """Raise a ValueError unless a caller's function returned a tensor of K lanes with its graph.

    Args:
        axes: of the tensor, as in ``K n V``.
    """
    expect(value, Tensor, f"a tensor ({axes}) from {what}")
    assert isinstance(value, Tensor)
    if value.ndim != len(axes.split()) or len(value) != K:
        raise ValueError(f"{what} must return ({axes}) with K = {K} lanes, not {tuple(value.shape)}")
    if not value.requires_grad:
        raise ValueError(f"{what} must return a tensor with its graph, not a detached one")


@dataclass
class _Search:
    """The arguments of `curvature` and of `gauss_newton`, and how many products are made."""

    lanes: Lanes
    layer: str | None
    steps: int
    tolerance: float
    probes: int
    seed: int
    progress: Progress | None
    done: int = 0
    due: float = math.inf
    """The time of the next report, unless a product is made before."""

    def __post_init__(self) -> None:
        expect(self.lanes, Lanes, "Lanes, such as race.lanes")
        check_search(self.steps, self.probes)

    @contextmanager
    def reporting(self) -> Generator[None]:
        """Report from time to time within passes, and products with the graphs of such passes.

        A product takes many seconds on a large model, and neither a signal nor `progress` can stop it elsewhere.
        """
        self.due = time.monotonic() + REPORT_EVERY

        def within(*_: object) -> None:
            if time.monotonic() >= self.due:
                self._report()

        def watch(_: nn.Module, __: object, out: object) -> None:
            within()
            if isinstance(out, Tensor) and out.requires_grad:
                out.register_hook(within)

        leaves = [module for module in self.lanes.model.modules() if not any(module.children())]
        handles = [module.register_forward_hook(watch) for module in leaves]
        try:
            with twice_differentiable():
                yield
        finally:
            for handle in handles:
                handle.remove()

    def of(self, product: Operator) -> Curvature:
        """Search the eigenvalues of the matrices of a product, and estimate their traces."""
        lanes, layer = self.lanes, self.layer
        mask = lanes.trained(layer).to(lanes.theta.dtype)

        def masked(V: Tensor) -> Tensor:
            out = product(V * mask) * mask
            self.done += 1
            self._report()
            return out

        start = draws(lanes, layer, self.seed) * mask
        measured = extremes(masked, start, steps=self.steps, tolerance=self.tolerance)
        if not self.probes:
            return measured
        signs = (draws(lanes, layer, self.seed + 1 + i).sign() * mask for i in range(self.probes))
        estimates = hutchinson(masked, signs)
        trace, error = (np.where(np.isnan(measured.lambda_max), math.nan, values) for values in estimates)
        return replace(measured, trace=trace, trace_error=error)

    def _report(self) -> None:
        if self.progress:
            most = self.steps + self.probes
            self.progress(min(self.done / most, 1.0), f"product {self.done} of at most {most}")
        self.due = time.monotonic() + REPORT_EVERY


@contextmanager
def twice_differentiable() -> Generator[None]:
    """Use an attention kernel that supports second derivatives."""
    with sdpa_kernel(SDPBackend.MATH), torch.enable_grad():
        yield


def draws(lanes: Lanes, layer: str | None, seed: int) -> Float[Tensor, " n"]:
    """Draw a Gaussian vector over one lane's parameters, in the order of `Lanes.parts`.

    Each layer has its own random numbers, drawn rank by rank, so a lane's vector depends neither on the other lanes
    nor on their padding.
    """
    parts = []
    for name in [layer] if layer else lanes.layers:
        (rank, in_features), (out_features, rank_B) = lanes.shapes(name)
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
        drawn = [torch.randn(in_features + out_features, generator=generator) for _ in range(rank)]
        A, B = torch.stack(drawn).split([in_features, out_features], dim=1)
        parts += [A.flatten(), B[:rank_B].T.flatten()]
    for name, size in zip(() if layer else lanes.layers, lanes.plan.layout.sizes_of_m, strict=False):
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name} m".encode()))
        parts.append(torch.randn(size, generator=generator))
    return torch.cat(parts).to(lanes.theta)


def flat(parts: tuple[Tensor, ...]) -> Float[Tensor, "K P"]:
    """Join gradients with respect to `Lanes.parts`."""
    return parts[0] if parts[0].ndim == 2 else torch.cat([part.flatten(1) for part in parts], dim=1)


def _like(parts: tuple[Tensor, ...], V: Tensor) -> list[Tensor]:
    """Split the rows of V into the shapes of the parts."""
    pieces = V.split([part[0].numel() for part in parts], dim=1)
    return [piece.reshape(part.shape) for piece, part in zip(pieces, parts, strict=True)]


def track(lanes: Lanes, batch: Batch, progress: Progress | None = None) -> Curvature:
    """Estimate only the extreme eigenvalues of the Hessian, as a race does every few steps."""
    search: dict[str, Any] = {"steps": TRACKED, "tolerance": 5 * CONVERGED_WITHIN, "probes": 0, "progress": progress}
    parts = []
    for rows in product_groups(lanes, batch, None, TRACKED):
        K = rows.stop - rows.start
        with lanes.some(rows):
            part = curvature(lanes, lambda K=K: losses.lane_losses(lanes.model, batch, K), **search)
        parts.append(replace(part, top=None))
    return Curvature.joined(parts)


CURVATURE = Measure(
    key="curvature",
    title="Sharpness λₘₐₓ of this race",
    unit="largest eigenvalue of the Hessian on the first batch",
    symbol="λₘₐₓ",
    scale="log",
    compute=lambda race: track(race.lanes, race.batch(1), race.go_on),
    record=Curvature,
    columns=("lambda_max",),
    every="curvature_every",
    cost=f"Up to about {TRACKED} steps.",
)

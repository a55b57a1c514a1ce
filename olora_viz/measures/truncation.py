"""A start against W: singular values, energy, principal angles; a weight, or a model's layers."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from olora_viz.initializers import INITIALIZERS, Start, check_rank, check_weight_start
from olora_viz.lanes.layers import check_finite, expert_layers, target_layers, weight_of
from olora_viz.lanes.stored_weights import Read
from olora_viz.machine.checks import expect, unknown
from olora_viz.machine.devices import in_float64
from olora_viz.machine.files import cache_folder, read_tensors, write_tensors
from olora_viz.machine.process import Progress
from olora_viz.machine.tables import brief, call, finite_or_none, table
from olora_viz.measures.spectra import (
    ROWS_AT_ONCE,
    captured_energies,
    captured_energy,
    condition_number,
    effective_rank,
    leading_vectors,
    optimal_energy,
    orthogonality_error,
    principal_angles,
    product_singular_values,
    random_energy,
    singular_values,
    stable_rank,
)

LARGE = 2048
"""The least min(out, in) of weights whose leading singular vectors are computed without the others, which saves time
and memory."""


class Weight:
    """A weight in float64, and its singular value decomposition, computed once on first use.

    Args:
        W: (out, in), finite.
        sigma: its singular values, descending, if already known.
        U: its left singular vectors, all or the leading ones, if already known.

    Examples:
        >>> import torch
        >>> import olora_viz as ov
        >>> weight = ov.Weight(torch.diag(torch.tensor([3.0, 4.0])))
        >>> weight.sigma.tolist()
        [4.0, 3.0]
        >>> round(ov.truncation(weight, 1, "olora").energy, 2)
        0.36
    """

    def __init__(
        self,
        W: Float[Tensor, "out in"],
        sigma: Float[Tensor, " m"] | None = None,
        U: Float[Tensor, "out some"] | None = None,
    ) -> None:
        self.W = in_float64(W.detach())
        self._sigma, self._U = (known if known is None else known.to(self.W.device) for known in (sigma, U))

    def __repr__(self) -> str:
        """Return the shape (out, in)."""
        return f"Weight{tuple(self.W.shape)}"

    @property
    def U(self) -> Float[Tensor, "out m"]:
        """Its left singular vectors."""
        if self._U is None or self._U.shape[1] < min(self.W.shape):
            self._U, sigma, _ = torch.linalg.svd(self.W, full_matrices=False)
            self._sigma = sigma if self._sigma is None else self._sigma
        return self._U

    @property
    def sigma(self) -> Float[Tensor, " m"]:
        """Its singular values, descending."""
        if self._sigma is None:
            if self.is_large:
                self._sigma = singular_values(self.W)
            else:
                _ = self.U
        assert self._sigma is not None
        return self._sigma

    @property
    def is_large(self) -> bool:
        """Whether the singular values and some leading vectors are computed without all the others."""
        return min(self.W.shape) >= LARGE

    def leading(self, r: int) -> Float[Tensor, "out r"]:
        """Return its r leading left singular vectors."""
        if self._U is None or self._U.shape[1] < r:
            leading = leading_vectors(self.W, r) if self.is_large else None
            self._U = self.U if leading is None else leading
        return self._U[:, :r]

    def permuted(self, order: Tensor) -> Weight:
        """Return the weight with its input features reordered; U and σ stay the same."""
        return Weight(self.W[:, order], self.sigma, self._U)


@dataclass(frozen=True, repr=False)
class Truncation:
    """A rank-r start compared with its weight; everything is computed in float64.

    Examples:
        >>> import torch
        >>> import olora_viz as ov
        >>> compared = ov.truncation(torch.diag(torch.tensor([3.0, 4.0])), r=1)
        >>> compared.sigma_W.round().tolist(), compared.sigma_BA.round().tolist()
        ([4.0, 3.0], [3.0])
        >>> round(compared.energy, 2), round(compared.energy_optimal, 2)
        (0.36, 0.64)
    """

    init: str
    rank: int
    sigma_W: Float[Tensor, " m"]
    """Singular values of W, descending."""
    sigma_BA: Float[Tensor, " r"]
    """Singular values of BA, descending."""
    lower: Float[Tensor, " r"]
    """σ_{i+out−r}(W), or zero if there is none: the lower bound for a projection of W."""
    upper: Float[Tensor, " r"]
    """σ_i(W): the upper bound for a projection of W."""
    energy: float
    """Share of ‖W‖² that BA accounts for."""
    energy_optimal: float
    """The largest share that rank r can account for."""
    energy_random: float
    """The share that a random orthonormal basis accounts for on average."""
    distance: Float[Tensor, " r"]
    """How far each σ_i(BA) is from the nearest singular value of W."""
    bounded: bool
    """Whether lower ≤ σ(BA) ≤ upper, index by index."""
    subset: bool
    """Whether σ(BA) is a subset of σ(W), with each value of W used once: the paper's claim."""
    weight: Weight = field(repr=False)
    start: Start = field(repr=False)
    """B and A."""

    def __repr__(self) -> str:
        """Return what the comparison says, without the singular values."""
        names = ("rank", "energy", "energy_optimal", "energy_random", "bounded", "subset")
        return call(self, self.init, **{name: np.array(getattr(self, name)) for name in names})

    def _repr_html_(self) -> str:
        columns = (self.sigma_BA, self.lower, self.upper, self.distance)
        rows = [[i + 1, *map(brief, row)] for i, row in enumerate(zip(*columns, strict=True))]
        head = ["i", "σᵢ(BA)", "lower bound", "upper bound σᵢ(W)", "nearest σ(W) is away by"]
        return table(head, rows, repr(self))

    @cached_property
    def angles(self) -> Float[Tensor, " r"] | None:
        """Principal angles between the columns of B and the top r left singular vectors of W.

        In degrees, ascending; None where B is zero, or where σ_r(W) = σ_{r+1}(W), so that this subspace is not unique.
        They need singular vectors of W and are computed on first use.
        """
        following = self.sigma_W[self.rank] if self.rank < len(self.sigma_W) else 0.0
        gap = self.sigma_W[self.rank - 1] - following
        if gap <= rounding(self.weight) or not self.start.B.any():
            return None
        return principal_angles(torch.linalg.qr(self.start.B).Q, self.weight.leading(self.rank))

    @property
    def stable_rank(self) -> float:
        """Σσ² / σ₁² of BA."""
        return float(stable_rank(self.sigma_BA))

    @property
    def effective_rank(self) -> float:
        """Exp of the entropy of σ / Σσ of BA."""
        return float(effective_rank(self.sigma_BA))

    @property
    def condition_A(self) -> float:
        """σ₁ / σ_r of A."""
        return float(condition_number(singular_values(self.start.A)))

    @property
    def condition_B(self) -> float:
        """σ₁ / σ_r of B; NaN if B is zero."""
        return float(condition_number(singular_values(self.start.B)))

    @property
    def condition_BA(self) -> float:
        """σ₁ / σ_r of BA; NaN if BA is zero."""
        return float(condition_number(self.sigma_BA))

    @property
    def orthogonality_error(self) -> float:
        """‖BᵀB − I‖, Frobenius."""
        return float(orthogonality_error(self.start.B))

    @property
    def worst(self) -> int:
        """Index of the σ_i(BA) that is farthest from every singular value of W."""
        return int(self.distance.argmax())


def truncation(W: Float[Tensor, "out in"] | Weight, r: int, init: str = "olora", *, seed: int = 0) -> Truncation:
    """Compare the singular values of a start with those of its weight.

    For OLoRA, `BA = Q_r Q_rᵀ W` is a projection of W, so `σ_i(BA) ≤ σ_i(W)` index by index, and `σ_i(BA) ≥
    σ_{i+out−r}(W)`; its singular values are in general *not* a subset of those of W.

    Args:
        W: (out, in), or a `Weight` whose decomposition is already known.
        r: rank, 1 ≤ r ≤ min(out, in).
        init: name of the initialization (with s = 1).
        seed: for random starts.

    Raises:
        ValueError: the initialization is unknown, the rank is too large for W, or W is zero or not a matrix of finite
            numbers.

    References:
        Horn and Johnson 2013, Matrix Analysis, corollary 7.3.6 (the interlacing of singular values);
        Büyükakyüz 2024, arXiv 2406.01775 (the claim).

    Examples:
        >>> import torch
        >>> import olora_viz as ov
        >>> compared = ov.truncation(torch.tensor([[1.0, 1.0], [0.0, 1.0]]), r=1)
        >>> round(compared.sigma_BA.item(), 3), compared.bounded, compared.subset
        (1.414, True, False)
    """
    if not isinstance(W, Weight):
        expect(W, Tensor, "a weight (out, in) as a tensor, such as model.lm_head.weight")
        check_rank(W, r)
        if not W.isfinite().all():
            raise ValueError("the matrix has an entry that is not finite")
        W = Weight(W)
    check_rank(W.W, r)
    if init not in INITIALIZERS:
        raise ValueError(unknown("initialization", init, INITIALIZERS))
    return compared(W, init, start_in(W, r, init, seed=seed))


def start_in(W: Weight, r: int, init: str, *, seed: int = 0) -> Start:
    """Start an adapter in a weight, with s = 1; that of PiSSA from singular vectors that are computed once."""
    if init == "pissa" and W.is_large:
        U, root = W.leading(r), W.sigma[:r].sqrt()
        return Start(A=(U.mT @ W.W) / root[:, None], B=U * root)
    return INITIALIZERS[init].start(W.W, r, generator=torch.Generator().manual_seed(seed))


def compared(W: Weight, init: str, start: Start) -> Truncation:
    """Compare an existing start with its weight, like `truncation`."""
    if not W.sigma[0] > 0:
        raise ValueError("the matrix is zero, so no start can be compared with it")
    r = start.A.shape[0]
    out, sigma = W.W.shape[0], W.sigma
    sigma_BA = product_singular_values(start.B, start.A)
    tolerance = rounding(W)
    upper = sigma[:r]
    lower = torch.nn.functional.pad(sigma[out - r :], (0, r))[:r]
    inside = (sigma_BA <= upper + tolerance) & (sigma_BA >= lower - tolerance)
    return Truncation(
        init=init,
        rank=r,
        sigma_W=sigma,
        sigma_BA=sigma_BA,
        lower=lower,
        upper=upper,
        energy=captured_energy(W.W, start),
        energy_optimal=optimal_energy(sigma, r),
        energy_random=random_energy(out, r),
        distance=(sigma_BA[:, None] - sigma).abs().amin(1),
        bounded=bool(inside.all()),
        subset=is_part(sigma_BA, sigma, tolerance),
        weight=W,
        start=start,
    )


def is_part(few: Float[Tensor, " r"], many: Float[Tensor, " m"], tolerance: float) -> bool:
    """Whether every value of `few` is in `many`, with each of those used once; both descending.

    In a dense spectrum some value is always close, so the tolerance must be that of float64 rounding.
    """
    at = 0
    for value in few.tolist():
        while at < len(many) and many[at] > value + tolerance:
            at += 1
        if at == len(many) or many[at] < value - tolerance:
            return False
        at += 1
    return True


@dataclass(frozen=True)
class Intruders:
    """The leading left singular vectors of W + ΔW, and their similarity to those of W."""

    sigma: Float[Tensor, " k"]
    """Singular values of W + ΔW, the k largest."""
    similarity: Float[Tensor, " k"]
    """The largest |cosine| of each with any left singular vector of W."""
    threshold: float

    @property
    def count(self) -> int:
        """The number of intruders: vectors that are similar to none of W's."""
        return int((self.similarity < self.threshold).sum())


def intruder_dimensions(
    W: Float[Tensor, "out in"] | Weight, moved: Start, *, top: int = 10, threshold: float = 0.5
) -> Intruders:
    """Look for new leading singular vectors of W + BA that resemble none of W's.

    Of W + BA only the leading ones are computed, of W all, once for each `Weight`.

    Args:
        W: the base weight.
        moved: factors of ΔW, including the scale.
        top: number of largest singular values of W + ΔW to compare.
        threshold: a vector is an intruder if its |cosine| with every singular vector of W is below this.

    References:
        Shuttleworth et al. 2024, arXiv 2410.21228.

    Examples:
        >>> import torch
        >>> import olora_viz as ov
        >>> W = torch.diag(torch.tensor([3.0, 2.0, 1.0]))
        >>> moved = ov.Start(A=torch.full((1, 3), 4.0), B=torch.ones(3, 1))
        >>> intruders = ov.intruder_dimensions(W, moved, top=2, threshold=0.7)
        >>> intruders.count, intruders.similarity.round(decimals=1).tolist()
        (1, [0.6, 0.8])
    """
    W = W if isinstance(W, Weight) else Weight(W)
    whole = W.W + in_float64(moved.B) @ in_float64(moved.A)
    top = min(top, *whole.shape)
    U = leading_vectors(whole, top)
    if U is None:
        U = torch.linalg.svd(whole, full_matrices=False).U[:, :top]
    known = W.U[:, W.sigma > rounding(W)]
    cosines = torch.nn.functional.pad((known.mT @ U).abs(), (0, 0, 0, 1))  # a row of zeros: W may have no vectors
    return Intruders((U.mT @ whole).norm(dim=1), cosines.amax(0), threshold)


def rounding(W: Weight) -> float:
    """Return the rounding error of the computed singular values of W, in float64."""
    eps = torch.finfo(torch.float64).eps
    return 4 * eps * max(W.W.shape) * float(W.sigma[0])


def known_singular_values(W: Float[Tensor, "out in"]) -> Float64[Tensor, " m"]:
    """Return the singular values of W, descending, from the disk cache if available.

    The file is named by a hash of W's values and shape, so a changed weight is computed again and a copy of the same
    weight is not. If the cache cannot be written, the values are computed each time.
    """
    path = _place(W)
    if path and path.exists():
        with suppress(ValueError, OSError, KeyError):
            known = read_tensors(path)["sigma"]
            if known.shape == (min(W.shape),) and known.dtype == torch.float64:
                return known
    known = singular_values(W).cpu()
    if path:
        with suppress(OSError):
            write_tensors(path, {"sigma": known})
    return known


def known_weight(W: Float[Tensor, "out in"]) -> Weight:
    """Return a weight with its `known_singular_values`, of which W in its own dtype takes less memory."""
    return Weight(W, known_singular_values(W.cpu()))


def _place(W: Tensor) -> Path | None:
    digest = hashlib.blake2b(repr(tuple(W.shape)).encode(), digest_size=20)
    for rows in W.detach().split(ROWS_AT_ONCE):
        digest.update(rows.cpu().double().contiguous().numpy().data)
    try:
        folder = cache_folder() / "spectra"
        folder.mkdir(exist_ok=True)
    except (ValueError, OSError):
        return None
    return folder / f"{digest.hexdigest()}.safetensors"


def layers_like(model: nn.Module, pattern: str = "*") -> dict[str, Float[Tensor, "out in"]]:
    """Return the weights of the linear layers in the model's blocks whose names match, in order.

    Where none matches, those of experts are searched, each matrix by itself.

    Args:
        pattern: consecutive parts of a name, with ``*``, ``?`` and ``[…]`` as in file names: ``q_proj``, ``layers.3``,
            ``layers.*.mlp.down_proj``.

    Raises:
        ValueError: no layer matches, and the message lists those that exist; or a weight is not finite.

    Examples:
        >>> import olora_viz as ov
        >>> model, tokenizer = ov.load_model("glassllm")
        >>> list(ov.layers_like(model, "layers.0.self_attn.[qk]_proj"))
        ['model.layers.0.self_attn.q_proj', 'model.layers.0.self_attn.k_proj']
    """
    matching = layers_named(model, pattern)
    check_finite(matching)
    return {name: weight_of(layer).detach() for name, layer in matching.items()}


def layers_named(model: nn.Module, pattern: str) -> dict[str, nn.Module]:
    """Return the layers that `layers_like` finds.

    Raises:
        ValueError: no layer matches, and the message lists those that exist.
    """
    layers = target_layers(model)
    matching = _matching(layers, pattern) or _matching(expert_layers(model), pattern)
    if not matching:
        endings = dict.fromkeys(name.rsplit(".", 1)[-1] for name in layers)
        raise ValueError(unknown("layer", pattern, (*endings, *layers)))
    return matching


def _matching(layers: Mapping[str, nn.Module], pattern: str) -> dict[str, nn.Module]:
    return {name: layer for name, layer in layers.items() if fnmatch.fnmatchcase(f".{name}.", f"*.{pattern}.*")}


def truncations(
    model: nn.Module,
    pattern: str,
    rank: int,
    inits: Sequence[str],
    *,
    seed: int = 0,
    read: Read | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[str, Truncation]]:
    """Compare every matching layer with every start, layer by layer.

    Everything is checked before the first one is computed.

    Args:
        read: of a skeleton, see `model_of`.

    Yields:
        (name of the layer, Truncation)

    Raises:
        ValueError: an initialization is unknown or needs more than W, the rank is too large for a layer (which the
            message names), the pattern matches nothing, or the seed is negative.
    """
    if seed < 0:
        raise ValueError(f"seed must be at least 0, not {seed}")
    for init in inits:
        check_weight_start(init)
    layers = layers_like(model, pattern)
    for name, W in layers.items():
        check_rank(W, rank, name)

    def of_layer(name: str) -> Iterator[tuple[str, Truncation]]:
        weight = known_weight(read(name) if read else layers[name])
        for init in inits:
            yield name, truncation(weight, rank, init, seed=seed)

    def each() -> Iterator[tuple[str, Truncation]]:
        for i, name in enumerate(layers):
            if progress:
                progress(i / len(layers), f"spectra of {name}")
            yield from of_layer(name)  # whose weight is gone before the next one is read

    return each()


def energy_ranks(m: int, most: int = 256) -> list[int]:
    """Return the ranks at which an energy curve is drawn: a few, more densely at small ranks.

    >>> energy_ranks(64)
    [1, 2, 4, 8, 16, 24, 32, 48, 64]
    """
    last = min(m, most)
    return sorted({r for r in (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192) if r < last} | {last})


def energies(weight: Weight, init: str, ranks: Sequence[int], *, seed: int = 0) -> list[float]:
    """Return the share of ‖W‖² that a start captures, for each of some ranks.

    If larger ranks extend smaller ones, one start of the largest rank is enough.
    """

    if INITIALIZERS[init].nested:
        captured = captured_energies(weight.W, start_in(weight, max(ranks), init, seed=seed))
        return [float(captured[r - 1]) for r in ranks]
    return [captured_energy(weight.W, start_in(weight, r, init, seed=seed)) for r in ranks]


def to_json(layer: str, comparison: Truncation) -> dict[str, Any]:
    """Return one line of ``spectrum --json``."""
    plain = ("init", "rank", "energy", "energy_optimal", "energy_random", "bounded", "subset")
    conditions = ("condition_A", "condition_B", "condition_BA")
    return {
        "layer": layer,
        **{name: getattr(comparison, name) for name in plain},
        "worst": {
            "index": comparison.worst + 1,
            "sigma": float(comparison.sigma_BA[comparison.worst]),
            "distance": float(comparison.distance[comparison.worst]),
        },
        "stable_rank": comparison.stable_rank,
        "effective_rank": comparison.effective_rank,
        **{name: finite_or_none(getattr(comparison, name)) for name in conditions},
        "orthogonality_error": comparison.orthogonality_error,
        "sigma_W": comparison.sigma_W.tolist(),
        "sigma_BA": comparison.sigma_BA.tolist(),
    }

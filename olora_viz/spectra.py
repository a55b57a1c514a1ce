"""Spectra: what an initialization takes of a weight, and what training makes of it.

Pure functions of tensors. Wherever a product of thin factors is asked about, the product itself is
never made: its singular values come from two thin QRs and one small SVD.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from olora_viz.initializers import INITIALIZERS, Start, check_rank


def singular_values(W: Float[Tensor, "*batch out in"]) -> Float[Tensor, "*batch m"]:
    """Return the singular values of W in float64, descending, m = min(out, in).

    >>> singular_values(torch.tensor([[1.0, 1.0], [0.0, 1.0]])).round(decimals=3)
    tensor([1.6180, 0.6180], dtype=torch.float64)
    """
    return torch.linalg.svdvals(W.detach().double())


def product_singular_values(
    B: Float[Tensor, "*batch out r"], A: Float[Tensor, "*batch r in"]
) -> Float[Tensor, "*batch r"]:
    """Return the singular values of BA, descending, without making BA.

    With `B = Q_B R_B` and `Aᵀ = Q_A R_A`, they are those of the small matrix `R_B R_Aᵀ`. Where r
    exceeds min(out, in) the rest are zero. O((out + in) r² + r³).
    """
    r = A.shape[-2]
    core = _triangle(B) @ _triangle(A.mT).mT
    sigma = torch.linalg.svdvals(core)
    return torch.nn.functional.pad(sigma, (0, r - sigma.shape[-1]))


def moved_factors(now: Start, start: Start) -> Start:
    """Return the factors of BA − B⁰A⁰: A (2r, in) and B (out, 2r).

    Written as (B − B⁰)A + B⁰(A − A⁰), in which no digits cancel when little has moved.
    """
    return Start(
        A=torch.cat([now.A, now.A - start.A], dim=-2),
        B=torch.cat([now.B - start.B, start.B], dim=-1),
    )


def stable_rank(sigma: Float[Tensor, "*batch m"]) -> Float[Tensor, "*batch"]:
    """Return Σσ² / σ₁², at most the rank; zero where every σ is.

    Rudelson and Vershynin 2007, arXiv math/0503442.

    >>> stable_rank(torch.tensor([2.0, 2.0, 2.0])).item()
    3.0
    """
    largest = sigma.amax(-1).square()
    return sigma.square().sum(-1) / torch.where(largest > 0, largest, 1)


def effective_rank(sigma: Float[Tensor, "*batch m"]) -> Float[Tensor, "*batch"]:
    """Return exp of the entropy of σ / Σσ: m where all are equal, 1 where one is left, 0 for none.

    Roy and Vetterli 2007, "The effective rank", EUSIPCO.

    >>> round(effective_rank(torch.tensor([1.0, 1.0, 0.0])).item(), 4)
    2.0
    """
    total = sigma.sum(-1, keepdim=True)
    p = sigma / torch.where(total > 0, total, 1)
    return torch.special.entr(p).sum(-1).exp() * (total[..., 0] > 0)


def condition_number(sigma: Float[Tensor, "*batch m"]) -> Float[Tensor, "*batch"]:
    """Return σ₁ / σ_m: infinite where the smallest is zero, NaN where the largest is too.

    >>> condition_number(torch.tensor([8.0, 2.0])).item()
    4.0
    """
    return sigma.amax(-1) / sigma.amin(-1)


def orthonormality_defect(B: Float[Tensor, "*batch out r"]) -> Float[Tensor, "*batch"]:
    """Return ‖BᵀB − I‖ (Frobenius): zero where the columns of B are orthonormal, √r for B = 0."""
    identity = torch.eye(B.shape[-1], dtype=B.dtype, device=B.device)
    return torch.linalg.matrix_norm(B.mT @ B - identity)


def principal_angles(
    P: Float[Tensor, "*batch n p"], Q: Float[Tensor, "*batch n q"]
) -> Float[Tensor, "*batch k"]:
    """Return the principal angles between two spans, ascending, in degrees, k = min(p, q).

    Parameters
    ----------
    P, Q : orthonormal bases.

    References
    ----------
    Björck and Golub 1973, Mathematics of Computation 27: small angles from their sines, as their
    cosines have lost half of the digits. Knyazev and Argentati 2002, SIAM J. Sci. Comput. 23.
    """
    if P.shape[-1] < Q.shape[-1]:
        P, Q = Q, P
    overlap = P.mT @ Q
    cosines = torch.linalg.svdvals(overlap)
    sines = torch.linalg.svdvals(Q - P @ overlap).flip(-1)
    angles = torch.where(
        cosines.square() < 0.5, cosines.clamp(-1, 1).arccos(), sines.clamp(0, 1).arcsin()
    )
    return angles.rad2deg()


def orthonormal(B: Float[Tensor, "*batch out r"]) -> Float[Tensor, "*batch out r"]:
    """Return an orthonormal basis of the columns of B (of full rank)."""
    return torch.linalg.qr(B).Q


def captured_energy(W: Float[Tensor, "out in"], start: Start) -> float:
    """Return which share of ‖W‖² the product BA accounts for: 1 − ‖W − BA‖² / ‖W‖².

    For a projection of W, and for singular triplets of W, this is ‖BA‖² / ‖W‖².
    """
    A, B = start.A.double(), start.B.double()
    W = W.detach().double()
    shared = ((B.mT @ W) * A).sum()
    own = ((B.mT @ B) * (A @ A.mT)).sum()
    return float((2 * shared - own) / W.square().sum())


def optimal_energy(sigma: Float[Tensor, " m"], r: int) -> float:
    """Return the share of ‖W‖² in its r largest singular values: no rank-r matrix gets more.

    Eckart and Young 1936, Psychometrika 1.
    """
    energy = sigma.double().square()
    return float(energy[:r].sum() / energy.sum())


def random_energy(out: int, r: int) -> float:
    """Return what a uniformly random r-dimensional basis captures of any W (out, in), on average.

    E‖QᵀW‖² = tr(WᵀE[QQᵀ]W) = (r / out) ‖W‖², as E[QQᵀ] = (r / out) I by symmetry.
    """
    return r / out


@dataclass(frozen=True)
class Truncation:
    """What a rank-r start takes of one weight; every number is computed in float64."""

    init: str
    """Name of the initialization."""
    rank: int
    sigma_W: Float[Tensor, " m"]
    """Singular values of W, descending."""
    sigma_BA: Float[Tensor, " r"]
    """Singular values of BA, descending."""
    lower: Float[Tensor, " r"]
    """σ_{i+out−r}(W), zero where there is none: a projection of W cannot go below."""
    upper: Float[Tensor, " r"]
    """σ_i(W): a projection of W cannot go above."""
    energy: float
    """Share of ‖W‖² that BA accounts for."""
    energy_optimal: float
    """The most that rank r can."""
    energy_random: float
    """What a random orthonormal basis does on average."""
    angles: Float[Tensor, " r"] | None
    """Principal angles between the columns of B and the top r left singular vectors of W, degrees,
    ascending; None where B is zero, or σ_r(W) = σ_{r+1}(W) so that there is no such subspace."""
    distance: Float[Tensor, " r"]
    """How far each σ_i(BA) is from the nearest singular value of W."""
    bounded: bool
    """Whether lower ≤ σ(BA) ≤ upper, index by index."""
    subset: bool
    """Whether σ(BA) is a part of σ(W), each value of W used once: the claim of the paper."""

    @property
    def worst(self) -> int:
        """Index of the σ_i(BA) that is farthest from every singular value of W."""
        return int(self.distance.argmax())


@dataclass(frozen=True)
class Weight:
    """A weight and its singular value decomposition, so that many questions cost one of it."""

    W: Float[Tensor, "out in"]
    """In float64."""
    U: Float[Tensor, "out m"]
    sigma: Float[Tensor, " m"]

    @staticmethod
    def of(W: Float[Tensor, "out in"]) -> Weight:
        """Factorize a weight, in float64."""
        W = W.detach().double()
        U, sigma, _ = torch.linalg.svd(W, full_matrices=False)
        return Weight(W, U, sigma)

    def permuted(self, order: Tensor) -> Weight:
        """Reorder the input features: U and σ stay what they are."""
        return Weight(self.W[:, order], self.U, self.sigma)


def truncation(
    W: Float[Tensor, "out in"] | Weight, r: int, init: str = "olora", *, seed: int = 0
) -> Truncation:
    """Compare the singular values of a start with those of its weight.

    For OLoRA, `BA = Q_r Q_rᵀ W` is a projection of W, so `σ_i(BA) ≤ σ_i(W)` index by index, and
    `σ_i(BA) ≥ σ_{i+out−r}(W)`; its singular values are in general *not* a subset of those of W.

    Parameters
    ----------
    W : (out, in), or a `Weight` whose decomposition is known already.
    r : rank, 1 ≤ r ≤ min(out, in).
    init : name of the initialization (with s = 1).
    seed : of the starts that are random.

    Raises
    ------
    ValueError : a rank that W cannot hold, a W that is zero or not a matrix of finite numbers.

    References
    ----------
    Horn and Johnson 2013, Matrix Analysis, corollary 7.3.6 (the interlacing of singular values);
    Büyükakyüz 2024, arXiv 2406.01775 (the claim).

    Examples
    --------
    >>> found = truncation(torch.tensor([[1.0, 1.0], [0.0, 1.0]]), r=1)
    >>> round(found.sigma_BA.item(), 3), found.bounded, found.subset
    (1.414, True, False)
    """
    if not isinstance(W, Weight):
        check_rank(W, r)
        if not W.isfinite().all():
            raise ValueError("the matrix has an entry that is not finite")
        W = Weight.of(W)
    check_rank(W.W, r)
    if not W.sigma[0] > 0:
        raise ValueError("the matrix is zero: no initialization takes anything of it")
    generator = torch.Generator().manual_seed(seed)
    start = INITIALIZERS[init].start(W.W, r, generator=generator)
    out, sigma = W.W.shape[0], W.sigma
    sigma_BA = product_singular_values(start.B, start.A)
    tolerance = _noise(W)
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
        angles=_angles_to_top(W, start.B, tolerance),
        distance=(sigma_BA[:, None] - sigma).abs().amin(1),
        bounded=bool(inside.all()),
        subset=is_part(sigma_BA, sigma, tolerance),
    )


def is_part(few: Float[Tensor, " r"], many: Float[Tensor, " m"], tolerance: float) -> bool:
    """Whether every value of `few` is one of `many`, each of those used once; both descending.

    In a dense spectrum something is always near: the tolerance has to be that of rounding, in
    float64.
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
    """The leading left singular vectors of W + ΔW, and how well W knows them."""

    sigma: Float[Tensor, " k"]
    """Singular values of W + ΔW, the k largest."""
    similarity: Float[Tensor, " k"]
    """The largest |cosine| of each with any left singular vector of W."""
    threshold: float

    @property
    def count(self) -> int:
        """How many are intruders: similar to none of W's."""
        return int((self.similarity < self.threshold).sum())


def intruder_dimensions(
    W: Float[Tensor, "out in"] | Weight,
    moved: Start,
    *,
    top: int = 10,
    threshold: float = 0.5,
) -> Intruders:
    """Look for new leading singular vectors of W + BA that resemble none of W's.

    Parameters
    ----------
    W : the base weight.
    moved : factors of ΔW, the scale in them.
    top : how many of the largest singular values of W + ΔW to look at.
    threshold : a vector whose cosine with each singular vector of W is below it is an intruder.

    References
    ----------
    Shuttleworth et al. 2024, arXiv 2410.21228.
    """
    W = W if isinstance(W, Weight) else Weight.of(W)
    U, sigma, _ = torch.linalg.svd(W.W + moved.B.double() @ moved.A.double(), full_matrices=False)
    known = W.U[:, W.sigma > _noise(W)]
    cosines = (known.mT @ U[:, :top]).abs()
    return Intruders(sigma[:top], cosines.amax(0), threshold)


def _triangle(X: Float[Tensor, "*batch n r"]) -> Float[Tensor, "*batch k r"]:
    return torch.linalg.qr(X, mode="r").R


def _noise(W: Weight) -> float:
    """Return by how much computed singular values of W may be off: float64 rounding of ‖W‖."""
    eps = torch.finfo(torch.float64).eps
    return 4 * eps * max(W.W.shape) * float(W.sigma[0])


def _angles_to_top(W: Weight, B: Tensor, tolerance: float) -> Tensor | None:
    r = B.shape[1]
    gap = W.sigma[r - 1] - (W.sigma[r] if r < len(W.sigma) else 0.0)
    if gap <= tolerance or not B.any():
        return None
    return principal_angles(orthonormal(B), W.U[:, :r])

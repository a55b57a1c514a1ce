"""Spectra of weights, initializations and updates.

Pure functions of tensors. A product of thin factors is never formed: its singular values come from two thin QRs and
one small SVD.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from olora_viz.initializers import Start
from olora_viz.machine.devices import in_float64, kind_of
from olora_viz.machine.memory import check_memory

ROWS_AT_ONCE = 512
"""The rows of a large matrix whose squares are in memory at once."""

SMALL = 1024
"""Below this size torch finds all eigenvectors, and not SciPy some: its LAPACK has threads of its own, which wait for
each other. For 10 vectors of 128, 341 and 576 rows SciPy takes 1.2, 5 and 17 ms on one core and torch 1.1, 10 and 39;
beside other work on two cores SciPy takes 36, 137 and 93 ms, and torch, on one of them, 3, 9 and 35."""


def singular_values(W: Float[Tensor, "*batch out in"]) -> Float[Tensor, "*batch m"]:
    """Return the singular values of W in float64, descending, m = min(out, in).

    >>> singular_values(torch.tensor([[1.0, 1.0], [0.0, 1.0]])).round(decimals=3)
    tensor([1.6180, 0.6180], dtype=torch.float64)
    """
    check_memory(decomposition_bytes(W), W.device, f"the spectrum of {W.shape[-2]} × {W.shape[-1]}")
    tall = (W if W.shape[-2] >= W.shape[-1] else W.mT).detach()
    place = W.device if kind_of(W.device).has_float64 else torch.device("cpu")
    X = torch.empty(tall.mT.shape, dtype=torch.float64, device=place).mT.copy_(tall)
    if tall.shape[-2] > tall.shape[-1]:  # as LAPACK does, but in X, of which it would take a copy
        torch.geqrf(X, out=(X, X.new_empty(X[..., 0, :].shape)))
        X = X[..., : X.shape[-1], :].triu_()
    return torch.linalg.svdvals(X)


def leading_vectors(W: Float[Tensor, "out in"], r: int) -> Float[Tensor, "out r"] | None:
    """Return the r leading left singular vectors of W in float64, without the others.

    They are eigenvectors of the smaller one of WWᵀ and WᵀW, whose eigenvalues are squares: None if σ_r is below 1e-4
    σ₁, where these would cost digits.

    >>> leading_vectors(torch.tensor([[0.0, 3.0], [4.0, 0.0]]), 1).abs().T
    tensor([[0., 1.]], dtype=torch.float64)
    """
    W = in_float64(W.detach())
    is_tall = W.shape[0] > W.shape[1]
    gram = W.mT @ W if is_tall else W @ W.mT
    if len(gram) < SMALL:
        squares, vectors = (of_all[..., -r:] for of_all in torch.linalg.eigh(gram))
    else:
        from scipy.linalg import eigh

        ends = [len(gram) - r, len(gram) - 1]
        # Transposed, it is in LAPACK's order of entries and is not copied.
        some = eigh(gram.cpu().numpy().T, subset_by_index=ends, overwrite_a=True, check_finite=False)
        squares, vectors = map(torch.from_numpy, some)
    if squares[0] < 1e-8 * squares[-1]:
        return None
    V = vectors.to(W.device).flip(1)
    return torch.linalg.qr(W @ V).Q if is_tall else V


def decomposition_bytes(W: Float[Tensor, "*batch out in"]) -> int:
    """Return the memory that `singular_values` takes: a copy of W in float64, one of its triangle, and some work."""
    return 9 * (W.numel() + 2 * W[..., 0, 0].numel() * min(W.shape[-2:]) ** 2)


def product_singular_values(
    B: Float[Tensor, "*batch out r"], A: Float[Tensor, "*batch r in"]
) -> Float[Tensor, "*batch r"]:
    """Return the singular values of BA, descending, without forming BA.

    With `B = Q_B R_B` and `Aᵀ = Q_A R_A`, they are those of the small matrix `R_B R_Aᵀ`. If r exceeds min(out, in),
    the rest are zero. O((out + in) r² + r³).
    """
    r = A.shape[-2]
    core = triangle(B) @ triangle(A.mT).mT
    sigma = torch.linalg.svdvals(core)
    return torch.nn.functional.pad(sigma, (0, r - sigma.shape[-1]))


def product_svd(
    B: Float[Tensor, "out r"], A: Float[Tensor, "r in"]
) -> tuple[Float[Tensor, "out k"], Float[Tensor, " k"], Float[Tensor, "in k"]]:
    """Return the left singular vectors, the singular values and the right ones of BA.

    Like `product_singular_values`, k = min(out, in, r).
    """
    Q_B, R_B = torch.linalg.qr(B)
    Q_A, R_A = torch.linalg.qr(A.mT)
    U, sigma, Vh = torch.linalg.svd(R_B @ R_A.mT, full_matrices=False)
    return Q_B @ U, sigma, Q_A @ Vh.mT


def moved_factors(now: Start, start: Start) -> Start:
    """Return the factors of BA − B⁰A⁰: A (2r, in) and B (out, 2r).

    Written as (B − B⁰)A + B⁰(A − A⁰), in which no digits cancel if the factors have changed little.
    """
    return Start(A=torch.cat([now.A, now.A - start.A], dim=-2), B=torch.cat([now.B - start.B, start.B], dim=-1))


def stable_rank(sigma: Float[Tensor, "*batch m"]) -> Float[Tensor, "*batch"]:
    """Return Σσ² / σ₁², at most the rank; zero if every σ is zero.

    Rudelson and Vershynin 2007, arXiv math/0503442.

    >>> stable_rank(torch.tensor([2.0, 2.0, 2.0])).item()
    3.0
    """
    largest = sigma.amax(-1).square()
    return sigma.square().sum(-1) / torch.where(largest > 0, largest, 1)


def effective_rank(sigma: Float[Tensor, "*batch m"]) -> Float[Tensor, "*batch"]:
    """Return exp of the entropy of σ / Σσ: m if all are equal, 1 if one is nonzero, 0 if none is.

    Roy and Vetterli 2007, "The effective rank", EUSIPCO.

    >>> round(effective_rank(torch.tensor([1.0, 1.0, 0.0])).item(), 4)
    2.0
    """
    total = sigma.sum(-1, keepdim=True)
    p = sigma / torch.where(total > 0, total, 1)
    return torch.special.entr(p).sum(-1).exp() * (total[..., 0] > 0)


def condition_number(sigma: Float[Tensor, "*batch m"]) -> Float[Tensor, "*batch"]:
    """Return σ₁ / σ_m: infinite if the smallest is zero, NaN if all are.

    >>> condition_number(torch.tensor([8.0, 2.0])).item()
    4.0
    """
    return sigma.amax(-1) / sigma.amin(-1)


def orthogonality_error(B: Float[Tensor, "*batch out r"]) -> Float[Tensor, "*batch"]:
    """Return ‖BᵀB − I‖ (Frobenius): zero if the columns of B are orthonormal, √r for B = 0."""
    identity = torch.eye(B.shape[-1], dtype=B.dtype, device=B.device)
    return torch.linalg.matrix_norm(B.mT @ B - identity)


def principal_angles(P: Float[Tensor, "*batch n p"], Q: Float[Tensor, "*batch n q"]) -> Float[Tensor, "*batch k"]:
    """Return the principal angles between two spans, ascending, in degrees, k = min(p, q), from orthonormal bases.

    References:
        Björck and Golub 1973, Mathematics of Computation 27: small angles from their sines, as their
        cosines have lost half of the digits. Knyazev and Argentati 2002, SIAM J. Sci. Comput. 23.
    """
    if P.shape[-1] < Q.shape[-1]:
        P, Q = Q, P
    overlap = P.mT @ Q
    cosines = torch.linalg.svdvals(overlap)
    sines = torch.linalg.svdvals(Q - P @ overlap).flip(-1)
    angles = torch.where(cosines.square() < 0.5, cosines.clamp(-1, 1).arccos(), sines.clamp(0, 1).arcsin())
    return angles.rad2deg()


def captured_energy(W: Float[Tensor, "out in"], start: Start) -> float:
    """Return the share of ‖W‖² that BA accounts for: 1 − ‖W − BA‖² / ‖W‖².

    For a projection of W, and for singular triplets of W, this is ‖BA‖² / ‖W‖².
    """
    return float(captured_energies(W, start)[-1])


def captured_energies(W: Float[Tensor, "out in"], start: Start) -> Float[Tensor, " r"]:
    """Return the `captured_energy` of the first 1, 2, … r columns of B and rows of A."""
    A, B, W = (in_float64(each.detach()) for each in (start.A, start.B, W))
    shared = ((B.mT @ W) * A).sum(1).cumsum(0)
    own = ((B.mT @ B) * (A @ A.mT)).cumsum(0).cumsum(1).diagonal()
    return (2 * shared - own) / sum(rows.square().sum() for rows in W.split(ROWS_AT_ONCE))


def optimal_energy(sigma: Float[Tensor, " m"], r: int) -> float:
    """Return the share of ‖W‖² in its r largest singular values, the maximum at rank r.

    Eckart and Young 1936, Psychometrika 1.
    """
    energy = in_float64(sigma).square()
    return float(energy[:r].sum() / energy.sum())


def random_energy(out: int, r: int) -> float:
    """Return the expected share of ‖W‖² that a uniformly random r-dimensional basis captures.

    E‖QᵀW‖² = tr(WᵀE[QQᵀ]W) = (r / out) ‖W‖², as E[QQᵀ] = (r / out) I by symmetry.
    """
    return r / out


def triangle(X: Float[Tensor, "*batch n r"]) -> Float[Tensor, "*batch k r"]:
    """Return the R of the thin QR of X."""
    return torch.linalg.qr(X, mode="r").R

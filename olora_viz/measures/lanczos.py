"""Extreme eigenvalues of K symmetric matrices at once, from matrix-vector products alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import eigh_tridiagonal
from torch import Tensor

Operator = Callable[[Tensor], Tensor]
"""Multiplies row k of a (K, P) tensor by the k-th symmetric matrix (P, P)."""

STEPS = 32
"""Maximum number of products, converged or not."""

TOLERANCE = 1e-2
"""Residual at which an extreme eigenvalue counts as converged, relative to the largest |λ|. The
error of the eigenvalue is of the order of the residual's square."""


@dataclass(frozen=True, eq=False)
class Extremes:
    """The largest and the smallest eigenvalue of K symmetric matrices, with their residuals."""

    largest: np.ndarray
    """(K,) NaN if a product was not finite."""
    smallest: np.ndarray
    """(K,)"""
    residual_largest: np.ndarray
    """(K,) ‖Hv − λv‖ for the largest eigenvalue and its unit vector v; some eigenvalue of the
    matrix is at most this far from λ."""
    residual_smallest: np.ndarray
    """(K,)"""
    iterations: np.ndarray
    """(K,) number of products for each matrix."""
    converged: np.ndarray
    """(K,) whether both residuals are within the tolerance."""
    top: Float[Tensor, "K P"]
    """Unit vectors of the largest eigenvalues."""


@torch.no_grad()
def extremes(
    operator: Operator,
    start: Float[Tensor, "K P"],
    *,
    steps: int = STEPS,
    tolerance: float = TOLERANCE,
) -> Extremes:
    """Find the extreme eigenvalues of K matrices by the Lanczos method, each row independently.

    `H Q_m = Q_m T_m + β_m q_{m+1} e_mᵀ`: with an eigenpair `T_m s = λ s`, `v = Q_m s` has the
    residual `|β_m s_m|`. Every new vector is orthogonalized against all earlier ones (twice where
    the first pass removed most of it), so no eigenvalue is found twice.

    Parameters
    ----------
    operator : may raise to cancel the search.
    start : the first vector; nonzero, but zero in the excluded coordinates.
    steps : maximum number of products.
    tolerance : a row stops earlier once it has converged, see `TOLERANCE`.

    References
    ----------
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
    found = _Ends.of(alpha, beta, length, ~lost)
    for j in range(steps):
        w = operator(basis[:, j])
        alpha[:, j] = _host((basis[:, j] * w).sum(1))
        lost |= going & ~np.isfinite(alpha[:, j])
        w = _orthogonal(w, basis[:, : j + 1])
        beta[:, j] = _host(torch.linalg.vector_norm(w, dim=1))
        lost |= going & ~np.isfinite(beta[:, j])
        length[going] = j + 1
        found = _Ends.of(alpha, beta, length, lost)
        # Each row ends independently of the others. If nothing is left, the vectors so far span
        # the whole Krylov space of the start.
        going &= ~lost & ~found.are_within(tolerance) & (beta[:, j] > floor * found.scale)
        if not going.any():
            break
        kept = torch.tensor(going, device=w.device)[:, None]
        inverse = torch.tensor(1.0 / np.where(going, beta[:, j], 1.0)).to(w)[:, None]
        basis[:, j + 1] = torch.where(kept, w * inverse, 0.0)
    weights = torch.tensor(found.weights[:, : length.max()]).to(basis)
    top = torch.einsum("km,kmp->kp", weights, basis[:, : length.max()])
    return Extremes(
        largest=found.values[:, 1],
        smallest=found.values[:, 0],
        residual_largest=found.residuals[:, 1],
        residual_smallest=found.residuals[:, 0],
        iterations=length,
        converged=found.are_within(tolerance),
        top=top,
    )


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
            found = eigh_tridiagonal(alpha[k, :m], beta[k, : m - 1])
            values, vectors = cast("tuple[np.ndarray, np.ndarray]", found)
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
    return x.double().cpu().numpy()


def trace(operator: Operator, probes: list[Float[Tensor, "K P"]]) -> tuple[np.ndarray, np.ndarray]:
    """Estimate K traces and their standard errors by Hutchinson's method.

    `E[zᵀHz] = tr H` for z with independent random signs.

    Parameters
    ----------
    probes : rows of ±1 (0 in the excluded coordinates), at least two.

    Returns
    -------
    (K,) the estimates, and (K,) their standard errors.

    References
    ----------
    Hutchinson 1989, Commun. Stat. Simul. Comput. 18.
    """
    if len(probes) < 2:
        raise ValueError(
            f"the standard error of a trace needs at least 2 probes, not {len(probes)}"
        )
    found = np.stack([_host((z * operator(z)).sum(1)) for z in probes])
    return found.mean(0), found.std(0, ddof=1) / math.sqrt(len(probes))

"""QR and SVD with fixed signs, for the initializations.

QR and SVD leave the signs of their vectors free, and libraries differ. A fixed rule makes the same
W give the same start everywhere, up to rounding.
"""

import weakref
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from olora_viz.initializers.start import draw

OVERSAMPLING = 8
"""Columns of a randomized SVD beyond the requested rank (Halko et al. recommend 5 to 10)."""


_NOTHING: Any = (lambda: None, 0, None)

_latest = _NOTHING
"""The latest W of `singular_triplets` while it lives, how often it had been written to, and its
triplets."""


def orthonormal_basis(X: Float[Tensor, "out r"]) -> Float[Tensor, "out r"]:
    """Return the Q of the thin QR of a tall X, with the signs that make diag(R) ≥ 0.

    `X = Q R`, `QᵀQ = I`: Householder reflections, so Q is orthonormal to rounding for *every* X.
    Where columns of X are zero or depend on earlier ones, the columns of Q there are some
    orthonormal completion. O(out r²).

    Examples
    --------
    >>> orthonormal_basis(torch.tensor([[-3.0], [4.0]])).T
    tensor([[-0.6000,  0.8000]])
    """
    Q, R = torch.linalg.qr(X)
    return Q * torch.where(R.diagonal() < 0, -1.0, 1.0).to(Q)


def singular_triplets(
    W: Float[Tensor, "out in"],
) -> tuple[Float[Tensor, "out k"], Float[Tensor, " k"], Float[Tensor, "k in"]]:
    """Return the thin SVD `W = U diag(S) Vh`, S descending, k = min(out, in), signs fixed.

    In each column of U the entry of largest magnitude is positive. Vectors of equal singular
    values can still rotate among themselves; no sign rule fixes that.

    The latest ones are remembered, since several initializations take the triplets of one W.
    """
    global _latest
    version = None if W.is_inference() else W._version
    its, known, triplets = _latest
    if its() is not W or version is None or version != known:
        triplets = _fix_signs(*torch.linalg.svd(W, full_matrices=False))
        _latest = weakref.ref(W, _forget), version, triplets
    return triplets


def _forget(its: weakref.ref[Tensor]) -> None:
    """Free the triplets of a W that is gone."""
    global _latest
    if _latest[0] is its:
        _latest = _NOTHING


def leading_eigenvectors(C: Float[Tensor, "n n"], r: int) -> Float[Tensor, "n r"]:
    """Return the eigenvectors of the r largest eigenvalues of a symmetric C, the largest first.

    In each eigenvector the entry of largest magnitude is positive.

    Examples
    --------
    >>> leading_eigenvectors(torch.diag(torch.tensor([1.0, 4.0])), 1).T
    tensor([[0., 1.]])
    """
    V = torch.linalg.eigh(C).eigenvectors[:, C.shape[0] - r :].flip(1)
    return V * _signs(V)


def randomized_triplets(
    W: Float[Tensor, "out in"],
    r: int,
    niter: int,
    generator: torch.Generator | None = None,
) -> tuple[Float[Tensor, "out r"], Float[Tensor, " r"], Float[Tensor, "r in"]]:
    """Return the r leading singular triplets of W, by a randomized block Krylov method.

    The triplets are the best ones inside the span of `[Y, W Wᵀ Y, …, (W Wᵀ)^niter Y]`, `Y = W Ω`,
    with a Gaussian Ω of r + 8 columns. Subspace iteration keeps only the last block; keeping all
    blocks costs little more, and on the flat spectra of language models 4 iterations are then as
    accurate as 16 without. If the span would fill the space, the exact SVD is used.
    O(out in r niter) against O(out in min(out, in)).

    Parameters
    ----------
    W : (out, in)
    r : how many triplets, at most min(out, in)
    niter : iterations, 0 or more
    generator : CPU generator that draws Ω

    References
    ----------
    Musco and Musco 2015, arXiv 1504.05477, algorithm 2; Halko, Martinsson, Tropp 2011,
    arXiv 0909.4061 (why a few columns more than r).
    """
    width = r + OVERSAMPLING
    if width * (niter + 1) >= min(W.shape):
        U, S, Vh = singular_triplets(W)
        return U[:, :r], S[:r], Vh[:r]
    blocks = [orthonormal_basis(W @ draw(W.shape[1], width, W, generator))]
    for _ in range(niter):
        blocks.append(orthonormal_basis(W @ (W.mT @ blocks[-1])))
    Q = orthonormal_basis(torch.cat(blocks, dim=1))
    # QᵀW has few rows: the eigenvectors of its small Gram matrix are its left singular vectors.
    # float64, so that squaring the singular values loses no float32 digits.
    Z = (W.mT @ Q).double()
    V = torch.linalg.eigh(Z.mT @ Z).eigenvectors[:, -r:].flip(1)
    Vh = V.mT @ Z.mT
    S = Vh.norm(dim=1)
    Vh = Vh / S.clamp(min=torch.finfo(S.dtype).tiny)[:, None]  # zero rows beyond the rank of W
    return _fix_signs(Q @ V.to(Q), S.to(Q), Vh.to(Q))


def _fix_signs(U: Tensor, S: Tensor, Vh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    signs = _signs(U)
    return U * signs, S, Vh * signs[:, None]


def _signs(U: Tensor) -> Tensor:
    """Return the signs that make the entry of largest magnitude in each column positive."""
    largest = U.gather(0, U.abs().argmax(0, keepdim=True))[0]
    return torch.where(largest < 0, -1.0, 1.0).to(U)

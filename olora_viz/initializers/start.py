"""The start of an adapter: A and B, what they are made from, and the statistics of data."""

from __future__ import annotations

import re
import weakref
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from olora_viz.machine.checks import expect

Matrix = Float[Tensor, "out in"]
"""A weight W, or of its shape."""


@dataclass(frozen=True)
class Start:
    """The initial factors of an adapter, whose update is `s (B A − B⁰A⁰)`.

    Args:
        A, B: A⁰ and B⁰, made contiguous; in float32 or better, on the device of W.
        base: the four-bit base that was made with them, where a start makes one.

    Examples:
        >>> import torch
        >>> import olora_viz as ov
        >>> start = ov.olora(torch.tensor([[3.0, 1.0], [4.0, 8.0]]), r=1)
        >>> start.A, start.B.T
        (tensor([[5., 7.]]), tensor([[0.6000, 0.8000]]))
    """

    A: Float[Tensor, "r in"]
    B: Float[Tensor, "out r"]
    base: Float[Tensor, "out in"] | None = None

    def __post_init__(self) -> None:
        """Make both factors contiguous, whatever layout a factorization returned."""
        object.__setattr__(self, "A", self.A.contiguous())
        object.__setattr__(self, "B", self.B.contiguous())


@runtime_checkable
class StartFunction(Protocol):
    """The signature of every initialization; some also take arguments of their own."""

    def __call__(
        self,
        W: Matrix,
        r: int,
        *,
        s: float = 1.0,
        generator: torch.Generator | None = None,
        calibration: Calibration | None = None,
    ) -> Start:
        """Return the start of an adapter on a weight.

        Args:
            W: of which some starts read the shape, dtype and device alone.
            r: rank, 1 ≤ r ≤ min(out, in).
            s: scale of the adapter, positive; most starts do not depend on it.
            generator: a CPU generator for random starts; None means one with seed 0.
            calibration: of this layer, with what the start `needs`.

        Returns:
            A (r, in) and B (out, r) in float32, or float64 if W is float64.

        Raises:
            ValueError: the rank or the scale breaks its rule, or the calibration is missing or does not fit W.
        """


@dataclass(frozen=True)
class Initializer:
    """An entry of the catalogue: an initialization and its description.

    Args:
        name: the key in the table and on the command line, ``olora``.
        label: the display name, ``OLoRA``.
        start: the pure function ``(W, r, *, s, generator, calibration) → Start``.
        summary: one sentence on how the adapter starts.
        source: author, year and publication.
        short: the same in at most five words.
        random: whether the start depends on the generator's seed; of a registered one also if it takes a generator.
        nested: whether a start of a larger rank extends one of a smaller rank, with s = 1.
        zero_product: whether B⁰A⁰ = 0, so that nothing is subtracted from W.
        needs: the calibration data it needs: ``gradient``, ``inputs``, ``fisher`` or empty; see `Calibration`.
        vectors: singular vectors used per rank: r · vectors ≤ min(out, in).
        frozen_B: whether B is frozen and only A is trained.
        dense: whether a lane trains the whole ΔW (out, in) from zero, whatever its rank and alpha: A is ΔW, and B the
            identity, which is never stored. Then also `frozen_B` and `zero_product`.
        keeps_function: whether s B⁰A⁰ is subtracted from W, so that the model's function is unchanged at step 0.
        iterates: whether its function takes `iterations`, see `Lane.iterations`.
        color: of its lines in the light and in the dark theme, as ``#rrggbb``; None for one of the reserve. It should
            have a contrast of 3 : 1 against the card, and be distinct from the others for all types of colour vision.
        place: its place in lists; entries of one place are sorted by name.

    Examples:
        >>> import olora_viz as ov
        >>> entry = ov.INITIALIZERS["olora"]
        >>> entry.label, entry.nested, entry.random, entry.needs
        ('OLoRA', True, False, '')
        >>> print(entry.summary)
        B is an orthonormal basis of the first r columns of W; A is W in that basis.
    """

    name: str
    label: str
    start: StartFunction
    summary: str
    source: str
    short: str = ""
    random: bool = False
    nested: bool = False
    zero_product: bool = False
    needs: str = ""
    vectors: int = 1
    frozen_B: bool = False
    dense: bool = False
    keeps_function: bool = True
    iterates: bool = False
    color: tuple[str, str] | None = None
    place: int = 1000

    def __post_init__(self) -> None:
        """Check that `needs` is known, and that the colours are two."""
        if self.needs and self.needs not in NEEDS:
            raise ValueError(f"needs of {self.name!r} must be {' or '.join(NEEDS)}, not {self.needs!r}")
        colors = self.color
        if colors is not None and not (
            isinstance(colors, tuple)
            and len(colors) == 2
            and all(isinstance(color, str) and re.fullmatch("#[0-9a-f]{6}", color) for color in colors)
        ):
            raise ValueError(
                f"color of {self.name!r} must be two of the form '#1d2330', light and dark, not {colors!r}"
            )


class RankError(ValueError):
    """The rank is too large for a weight."""


def check_rank(W: Tensor, r: int, name: str = "W", vectors: int = 1) -> None:
    """Check that `W` is a floating-point matrix and that `r` is at most min(out, in).

    Args:
        name: name of W in the message, usually its layer
        vectors: singular vectors used per rank, see `Initializer`

    Raises:
        ValueError: if `W` or `r` breaks the rule; the message names the value and the rule. It is a `RankError` if `r`
            is too large.

    Examples:
        >>> check_rank(torch.zeros(16, 64), 20, "h.0.attn.c_attn")
        Traceback (most recent call last):
        olora_viz.initializers.start.RankError: rank 20 exceeds min(out, in) = 16 of 'h.0.attn.c_attn'
    """
    expect(W, Tensor, "a weight W, a tensor (out, in)")
    if W.ndim != 2:
        raise ValueError(f"{name!r} must be a matrix (out, in), not of shape {tuple(W.shape)}")
    if not W.is_floating_point():
        raise ValueError(f"dtype {W.dtype} of {name!r} is not a floating-point dtype")
    if r < 1:
        raise ValueError(f"rank {r} for {name!r} is below 1")
    if r > min(W.shape):
        raise RankError(f"rank {r} exceeds min(out, in) = {min(W.shape)} of {name!r}")
    if r * vectors > min(W.shape):
        raise RankError(
            f"rank {r} needs {r * vectors} singular vectors, which exceeds min(out, in) = {min(W.shape)} of {name!r}"
        )


def check_scale(s: float) -> None:
    """Check that a scale is positive and finite.

    Examples:
        >>> check_scale(0.0)
        Traceback (most recent call last):
        ValueError: scale s = 0.0 is not a positive, finite number
    """
    if not 0 < s < float("inf"):
        raise ValueError(f"scale s = {s} is not a positive, finite number")


def precise(W: Matrix) -> Matrix:
    """Return W detached, in float32 or better: half precision is converted, float64 is kept.

    If no conversion is needed, this is W or a view of it: do not write to it.
    """
    dtype = torch.promote_types(W.dtype, torch.float32)
    return W.detach().to(dtype) if W.requires_grad or W.dtype != dtype else W


def draw(
    rows: int, columns: int, like: Matrix, generator: torch.Generator | None = None
) -> Float[Tensor, "rows columns"]:
    """Draw a standard Gaussian matrix with the device and dtype of `like`.

    The numbers are always drawn on the CPU in float32, so runs on a GPU or in float64 start from the same draw and
    differ by rounding only.
    """
    return torch.randn(rows, columns, generator=seeded(generator)).to(like)


def draw_columns(
    rows: int, columns: int, like: Matrix, generator: torch.Generator | None = None
) -> Float[Tensor, "rows columns"]:
    """Draw column by column, so that a wider matrix begins with the columns of a narrower one."""
    generator = seeded(generator)
    drawn = [torch.randn(rows, generator=generator) for _ in range(columns)]
    return torch.stack(drawn, dim=1).to(like)


def seeded(generator: torch.Generator | None) -> torch.Generator:
    """Return the generator, or a fresh CPU generator with seed 0 for None."""
    return torch.Generator().manual_seed(0) if generator is None else generator


OVERSAMPLING = 8
"""Columns of a randomized SVD beyond the requested rank (Halko et al. recommend 5 to 10)."""


_NOTHING: Any = (lambda: None, 0, None)

_latest = _NOTHING
"""The latest W of `singular_triplets` while it lives, how often it had been written to, and its triplets."""


def orthonormal_basis(X: Float[Tensor, "out r"]) -> Float[Tensor, "out r"]:
    """Return the Q of the thin QR of a tall X, with the signs that make diag(R) ≥ 0.

    `X = Q R`, `QᵀQ = I`: Householder reflections, so Q is orthonormal to rounding for *every* X. Where columns of X
    are zero or depend on earlier ones, the columns of Q there are some orthonormal completion. O(out r²).

    Examples:
        >>> orthonormal_basis(torch.tensor([[-3.0], [4.0]])).T
        tensor([[-0.6000,  0.8000]])
    """
    Q, R = torch.linalg.qr(X)
    return Q * torch.where(R.diagonal() < 0, -1.0, 1.0).to(Q)


def singular_triplets(W: Matrix) -> tuple[Float[Tensor, "out k"], Float[Tensor, " k"], Float[Tensor, "k in"]]:
    """Return the thin SVD `W = U diag(S) Vh`, S descending, k = min(out, in), signs fixed.

    In each column of U the entry of largest magnitude is positive. Vectors of equal singular
    values can still rotate among themselves; no sign rule fixes that.

    The latest ones are remembered, since several initializations take the triplets of one W.
    """
    global _latest
    version = None if W.is_inference() else W._version
    latest, known, triplets = _latest
    if latest() is not W or version is None or version != known:
        triplets = _fix_signs(*torch.linalg.svd(W, full_matrices=False))
        _latest = weakref.ref(W, _forget), version, triplets
    return triplets


def _forget(gone: weakref.ref[Tensor]) -> None:
    """Free the triplets of a W that is gone."""
    global _latest
    if _latest[0] is gone:
        _latest = _NOTHING


def leading_eigenvectors(C: Float[Tensor, "n n"], r: int) -> Float[Tensor, "n r"]:
    """Return the eigenvectors of the r largest eigenvalues of a symmetric C, the largest first.

    In each eigenvector the entry of largest magnitude is positive.

    Examples:
        >>> leading_eigenvectors(torch.diag(torch.tensor([1.0, 4.0])), 1).T
        tensor([[0., 1.]])
    """
    V = torch.linalg.eigh(C).eigenvectors[:, C.shape[0] - r :].flip(1)
    return V * _signs(V)


def randomized_triplets(
    W: Matrix, r: int, niter: int, generator: torch.Generator | None = None
) -> tuple[Float[Tensor, "out r"], Float[Tensor, " r"], Float[Tensor, "r in"]]:
    """Return the r leading singular triplets of W, by a randomized block Krylov method.

    The triplets are the best ones inside the span of `[Y, W Wᵀ Y, …, (W Wᵀ)^niter Y]`, `Y = W Ω`, with a Gaussian Ω of
    r + 8 columns. Subspace iteration keeps only the last block; keeping all blocks costs little more, and on the flat
    spectra of language models 4 iterations are then as accurate as 16 without. If the span would fill the space, the
    exact SVD is used. O(out in r niter) against O(out in min(out, in)).

    References:
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


NEEDS = {
    "gradient": "the gradient of W",
    "inputs": "the inputs of W",
    "fisher": "the gradient and the Fisher information of W",
}
"""The kinds of calibration data, as worded in messages."""

READS = {"gradient": ("gradient",), "inputs": ("inputs",), "fisher": ("gradient", "inputs", "outputs")}
"""The statistics of a layer that each kind consists of."""


@dataclass(frozen=True)
class Calibration:
    """Statistics of one layer over some data, in float32 or better; unused fields are None.

    Args:
        gradient: G = ∂L/∂W, (out, in), averaged over some batches.
        mean: x̄, (in,), the mean of the layer's inputs x over tokens.
        covariance: (in, in), the mean of (x − x̄)(x − x̄)ᵀ over the same tokens.
        squares: (out,), the mean over the same tokens of (∂L/∂y)², entry by entry of the layer's outputs y, where L is
            the mean loss of the token's own row.
        examples: N, the number of examples to train on.

    Examples:
        >>> import torch
        >>> import olora_viz as ov
        >>> ov.Calibration(mean=torch.ones(2), covariance=torch.eye(2)).second_moment()
        tensor([[2., 1.],
                [1., 2.]])
    """

    gradient: Matrix | None = None
    mean: Float[Tensor, " in"] | None = None
    covariance: Float[Tensor, "in in"] | None = None
    squares: Float[Tensor, " out"] | None = None
    examples: int = 0

    def on_cpu(self) -> Calibration:
        """Return the same statistics on the CPU."""
        return replace(self, **{name: x.cpu() for name, x in vars(self).items() if isinstance(x, torch.Tensor)})

    def second_moment(self) -> Float[Tensor, "in in"]:
        """Return the mean of x xᵀ.

        The covariance is stored, since subtracting x̄x̄ᵀ from the second moment loses digits.
        """
        if self.mean is None or self.covariance is None:
            raise ValueError("the second moment needs both a mean and a covariance")
        return self.covariance + torch.outer(self.mean, self.mean)


def lacking(name: str, needs: str) -> ValueError:
    """Return the error of an initialization that lacks its calibration data.

    >>> print(lacking("eva", "inputs"))
    'eva' needs the inputs of W over some data: use it in a race, or pass calibration=…
    """
    return ValueError(f"{name!r} needs {NEEDS[needs]} over some data: use it in a race, or pass calibration=…")


def gradient_of(W: Matrix, calibration: Calibration | None, name: str) -> Matrix:
    """Return the gradient on the device of W, in float32, or float64 if W is float64."""
    if calibration is None or calibration.gradient is None:
        raise lacking(name, "gradient")
    _check_shape("gradient", calibration.gradient, tuple(W.shape))
    dtype = torch.promote_types(W.dtype, torch.float32)
    return calibration.gradient.detach().to(W.device, dtype)


def inputs_of(W: Matrix, calibration: Calibration | None, name: str) -> Calibration:
    """Return mean and covariance on the device of W.

    They are float64, since their eigenvalues are squares of singular values.
    """
    if calibration is None or calibration.mean is None or calibration.covariance is None:
        raise lacking(name, "inputs")
    features = W.shape[1]
    _check_shape("mean", calibration.mean, (features,))
    _check_shape("covariance", calibration.covariance, (features, features))
    return Calibration(
        mean=calibration.mean.detach().to(W.device, torch.float64),
        covariance=calibration.covariance.detach().to(W.device, torch.float64),
    )


def fisher_of(
    W: Matrix, calibration: Calibration | None, name: str
) -> tuple[Matrix, Float[Tensor, "in in"], Float[Tensor, " out"], int]:
    """Return the gradient, the inputs' second moment, the outputs' squares, and N.

    They are on the device of W, in float64.
    """
    if calibration is None or calibration.squares is None or calibration.examples < 1:
        raise lacking(name, "fisher")
    G = gradient_of(W, calibration, name).double()
    Z = inputs_of(W, calibration, name).second_moment()
    _check_shape("squares", calibration.squares, (W.shape[0],))
    y = calibration.squares.detach().to(W.device, torch.float64)
    return G, Z, y, calibration.examples


def _check_shape(what: str, values: Tensor, shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise ValueError(f"the calibration's {what} has shape {tuple(values.shape)}, but W needs {shape}")

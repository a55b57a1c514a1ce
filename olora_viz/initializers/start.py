"""The types of an initialization: its result, its signature and its entry in the table."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from olora_viz.initializers.calibration import NEEDS, Calibration


@dataclass(frozen=True)
class Start:
    """The initial factors of an adapter, whose update is `s (B A − B⁰A⁰)`."""

    A: Float[Tensor, "r in"]
    """A⁰, contiguous, in float32 or better, on the device of W."""
    B: Float[Tensor, "out r"]
    """B⁰, contiguous, in float32 or better, on the device of W."""

    def __post_init__(self) -> None:
        """Make both factors contiguous, whatever layout a factorization returned."""
        object.__setattr__(self, "A", self.A.contiguous())
        object.__setattr__(self, "B", self.B.contiguous())


@runtime_checkable
class StartFunction(Protocol):
    """The signature of every initialization."""

    def __call__(
        self,
        W: Float[Tensor, "out in"],
        r: int,
        *,
        s: float = 1.0,
        generator: torch.Generator | None = None,
        calibration: Calibration | None = None,
    ) -> Start:
        """Return the start of an adapter of rank `r` and scale `s` on `W`."""
        ...


@dataclass(frozen=True)
class Initializer:
    """An entry of the catalogue: an initialization and its description."""

    name: str
    """The key in the table and on the command line, `olora`."""
    label: str
    """The display name, `OLoRA`."""
    start: StartFunction
    """The pure function `(W, r, *, s, generator, calibration) → Start`."""
    summary: str
    """One sentence on how the adapter starts."""
    source: str
    """Author, year and publication."""
    random: bool = False
    """Whether the start depends on the generator's seed."""
    nested: bool = False
    """Whether a start of a larger rank extends one of a smaller rank, with s = 1."""
    zero_product: bool = False
    """Whether B⁰A⁰ = 0, so that nothing is subtracted from W."""
    needs: str = ""
    """The calibration data it needs: `gradient`, `inputs` or empty; see `Calibration`."""
    vectors: int = 1
    """Singular vectors used per rank: r · vectors ≤ min(out, in)."""
    frozen_B: bool = False
    """Whether B is frozen and only A is trained."""
    dense: bool = False
    """Whether a lane trains the whole ΔW (out, in) from zero, whatever its rank and alpha: A is ΔW,
    and B the identity, which is never stored. Then also `frozen_B` and `zero_product`."""
    keeps_function: bool = True
    """Whether s B⁰A⁰ is subtracted from W, so that the model's function is unchanged at step 0."""

    def __post_init__(self) -> None:
        """Check that `needs` is known."""
        if self.needs and self.needs not in NEEDS:
            raise ValueError(
                f"needs of {self.name!r} must be {' or '.join(NEEDS)}, not {self.needs!r}"
            )


class RankError(ValueError):
    """The rank is too large for a weight."""


def check_rank(W: Tensor, r: int, name: str = "W", vectors: int = 1) -> None:
    """Check that `W` is a floating-point matrix and that `r` is at most min(out, in).

    Parameters
    ----------
    W : (out, in)
    r : rank, 1 ≤ r ≤ min(out, in)
    name : name of W in the message, usually its layer
    vectors : singular vectors used per rank, see `Initializer`

    Raises
    ------
    ValueError
        If `W` or `r` breaks the rule; the message names the value and the rule. It is a `RankError`
        if `r` is too large.

    Examples
    --------
    >>> check_rank(torch.zeros(16, 64), 20, "h.0.attn.c_attn")
    Traceback (most recent call last):
    olora_viz.initializers.start.RankError: rank 20 exceeds min(out, in) = 16 of 'h.0.attn.c_attn'
    """
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
            f"rank {r} needs {r * vectors} singular vectors, which exceeds min(out, in) = "
            f"{min(W.shape)} of {name!r}"
        )


def check_scale(s: float) -> None:
    """Check that a scale is positive and finite.

    Raises
    ------
    ValueError
        If `s` is not a positive, finite number.

    Examples
    --------
    >>> check_scale(0.0)
    Traceback (most recent call last):
    ValueError: scale s = 0.0 is not a positive, finite number
    """
    if not 0 < s < float("inf"):
        raise ValueError(f"scale s = {s} is not a positive, finite number")


def precise(W: Float[Tensor, "out in"]) -> Float[Tensor, "out in"]:
    """Return W detached, in float32 or better: half precision is converted, float64 is kept.

    If no conversion is needed, this is W or a view of it: do not write to it.
    """
    dtype = torch.promote_types(W.dtype, torch.float32)
    return W.detach().to(dtype) if W.requires_grad or W.dtype != dtype else W


def draw(
    rows: int,
    columns: int,
    like: Float[Tensor, "out in"],
    generator: torch.Generator | None = None,
) -> Float[Tensor, "rows columns"]:
    """Draw a standard Gaussian matrix with the device and dtype of `like`.

    The numbers are always drawn on the CPU in float32, so runs on a GPU or in float64 start from
    the same draw and differ by rounding only.

    Parameters
    ----------
    rows, columns : the shape
    like : a tensor with the dtype and device of the result
    generator : a CPU generator; None means a fresh one with seed 0
    """
    return torch.randn(rows, columns, generator=seeded(generator)).to(like)


def draw_columns(
    rows: int,
    columns: int,
    like: Float[Tensor, "out in"],
    generator: torch.Generator | None = None,
) -> Float[Tensor, "rows columns"]:
    """Draw column by column, so that a wider matrix begins with the columns of a narrower one."""
    generator = seeded(generator)
    drawn = [torch.randn(rows, generator=generator) for _ in range(columns)]
    return torch.stack(drawn, dim=1).to(like)


def seeded(generator: torch.Generator | None) -> torch.Generator:
    """Return the generator, or a fresh CPU generator with seed 0 for None."""
    return torch.Generator().manual_seed(0) if generator is None else generator

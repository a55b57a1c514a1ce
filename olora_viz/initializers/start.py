"""What an initialization is: its result, its entry in the table, and the checks that all share."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from olora_viz.initializers.calibration import NEEDS, Calibration


@dataclass(frozen=True)
class Start:
    """The two factors that an adapter starts from; its first update is `s (B A − B⁰A⁰) = 0`."""

    A: Float[Tensor, "r in"]
    """A⁰, contiguous, in float32 or better, on the device of W."""
    B: Float[Tensor, "out r"]
    """B⁰, contiguous, in float32 or better, on the device of W."""

    def __post_init__(self) -> None:
        """Lay both factors out along their rows, whatever a factorization returned."""
        object.__setattr__(self, "A", self.A.contiguous())
        object.__setattr__(self, "B", self.B.contiguous())


@runtime_checkable
class StartFunction(Protocol):
    """The signature that every initialization has."""

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
    """One line of the catalogue: an initialization and what to say about it."""

    name: str
    """The key in the table, the word on the command line, the id of the tests."""
    label: str
    """What a person reads, `OLoRA`."""
    start: StartFunction
    """The pure function `(W, r, *, s, generator, calibration) → Start`."""
    summary: str
    """One sentence that says how the adapter starts."""
    source: str
    """Author, year and where it was published."""
    random: bool = False
    """Whether the start depends on the generator's seed."""
    nested: bool = False
    """Whether a start of a larger rank goes on from one of a smaller rank, with s = 1."""
    zero_product: bool = False
    """Whether B⁰A⁰ = 0, so that the frozen part of the sum is W itself."""
    needs: str = ""
    """What it is told beside W: `gradient` or `inputs`, see `Calibration`; empty for nothing."""
    vectors: int = 1
    """How many singular vectors it takes for each rank: r · vectors ≤ min(out, in)."""
    frozen_B: bool = False
    """Whether B stays what it was at the start, and A alone is trained."""

    def __post_init__(self) -> None:
        """Refuse a need that nobody could meet."""
        if self.needs and self.needs not in NEEDS:
            raise ValueError(f"{self.name!r} needs {self.needs!r}; there are {', '.join(NEEDS)}")


def check_rank(W: Tensor, r: int, name: str = "W", vectors: int = 1) -> None:
    """Refuse a rank that `W` cannot hold, and a `W` that is not a matrix of floating-point numbers.

    Parameters
    ----------
    W : (out, in)
    r : the rank asked for, 1 ≤ r ≤ min(out, in)
    name : what to call W in the message, usually the name of its layer
    vectors : how many singular vectors each rank takes, see `Initializer`

    Raises
    ------
    ValueError
        In one sentence with the value and the rule.

    Examples
    --------
    >>> check_rank(torch.zeros(16, 64), 20, "h.0.attn.c_attn")
    Traceback (most recent call last):
    ValueError: rank 20 exceeds min(out, in) = 16 of 'h.0.attn.c_attn'
    """
    if W.ndim != 2:
        raise ValueError(f"shape {tuple(W.shape)} of {name!r} is not that of a matrix (out, in)")
    if not W.is_floating_point():
        raise ValueError(f"dtype {W.dtype} of {name!r} is not a floating-point one")
    if r < 1:
        raise ValueError(f"rank {r} for {name!r} is below 1")
    if r > min(W.shape):
        raise ValueError(f"rank {r} exceeds min(out, in) = {min(W.shape)} of {name!r}")
    if r * vectors > min(W.shape):
        raise ValueError(
            f"rank {r} takes {r * vectors} singular vectors, which exceeds min(out, in) = "
            f"{min(W.shape)} of {name!r}"
        )


def check_scale(s: float) -> None:
    """Refuse a scale by which singular values cannot be divided.

    Raises
    ------
    ValueError
        Where `s` is not a positive, finite number.

    Examples
    --------
    >>> check_scale(0.0)
    Traceback (most recent call last):
    ValueError: scale s = 0.0 is not a positive, finite number
    """
    if not 0 < s < float("inf"):
        raise ValueError(f"scale s = {s} is not a positive, finite number")


def precise(W: Float[Tensor, "out in"]) -> Float[Tensor, "out in"]:
    """Return W apart from its graph, in float32 or better: half types are raised, float64 stays.

    Where the dtype is already good enough this is a view of W: read it, never write to it.
    """
    return W.detach().to(torch.promote_types(W.dtype, torch.float32))


def draw(
    rows: int,
    columns: int,
    like: Float[Tensor, "out in"],
    generator: torch.Generator | None = None,
) -> Float[Tensor, "rows columns"]:
    """Draw a standard Gaussian matrix of the device and dtype of `like`.

    The numbers are drawn on the CPU in float32, whatever `like` is: a run on a GPU or in float64
    starts from the same draw, so that what differs between two such runs is rounding.

    Parameters
    ----------
    rows, columns : the shape
    like : a matrix in the dtype and on the device wanted
    generator : a CPU generator; None stands for a fresh one with seed 0
    """
    return torch.randn(rows, columns, generator=seeded(generator)).to(like)


def draw_columns(
    rows: int,
    columns: int,
    like: Float[Tensor, "out in"],
    generator: torch.Generator | None = None,
) -> Float[Tensor, "rows columns"]:
    """Draw as `draw` does, but one column after the other: more columns go on from fewer."""
    generator = seeded(generator)
    drawn = [torch.randn(rows, generator=generator) for _ in range(columns)]
    return torch.stack(drawn, dim=1).to(like)


def seeded(generator: torch.Generator | None) -> torch.Generator:
    """Return the generator itself, or a fresh CPU one with seed 0 in place of None."""
    return torch.Generator().manual_seed(0) if generator is None else generator

"""A visitor's matrices: examples with known answers, and pasted text."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import torch
from torch import Tensor

MOST_SIDE = 64
"""Maximum rows or columns of a pasted matrix."""


def counterexample() -> Tensor:
    """[[1, 1], [0, 1]]: σ(W) = (1.618, 0.618), and the first column alone has σ(Q₁R₁) = 1.414."""
    return torch.tensor([[1.0, 1.0], [0.0, 1.0]])


def diagonal() -> Tensor:
    """A diagonal, smallest first: each column is a singular vector, so the claim is true."""
    return torch.diag(torch.arange(1.0, 13.0))


def gaussian() -> Tensor:
    """Independent Gaussian entries: a dense spectrum, in which some value is always close."""
    return torch.randn(24, 32, generator=torch.Generator().manual_seed(0))


def power_law() -> Tensor:
    """Singular values 1 / i in random directions, roughly like trained weights."""
    return _between_random_bases(1 / torch.arange(1.0, 25.0), 24, 32)


def projector() -> Tensor:
    """A projector of rank 6: all its singular values are 1 or 0."""
    Q = torch.linalg.qr(torch.randn(16, 6, generator=torch.Generator().manual_seed(1))).Q
    return Q @ Q.T


EXAMPLES: dict[str, tuple[str, Callable[[], Tensor]]] = {
    "counterexample": ("2 × 2 counterexample", counterexample),
    "diagonal": ("diagonal, 1 to 12", diagonal),
    "gaussian": ("Gaussian, 24 × 32", gaussian),
    "power_law": ("power law, 24 × 32", power_law),
    "projector": ("projector of rank 6", projector),
}


def read_matrix(text: str) -> Tensor:
    """Read a pasted matrix: one row per line or semicolon, numbers separated by spaces or commas.

    Raises
    ------
    ValueError : there are no numbers, the rows differ in length, a word is not a finite number, or
        the matrix is too large.

    >>> read_matrix("1 1; 0 1").tolist()
    [[1.0, 1.0], [0.0, 1.0]]
    """
    if len(text) > 100_000:
        raise ValueError(f"the matrix has {len(text)} characters of text, more than 100000")
    plain = re.sub(r"[\[\]()]", " ", text)
    lines = (line.strip(" ,\t\r") for line in re.split(r"[;\n]", plain))
    rows: list[list[float]] = []
    for line in filter(None, lines):
        number = len(rows) + 1
        row = [_number(word, number) for word in re.split(r"[\s,]+", line)]
        rows.append(row)
        if len(row) != len(rows[0]):
            raise ValueError(
                f"row {number} of the matrix has {_count(row)}, the first one {len(rows[0])}"
            )
    if not rows:
        raise ValueError("no matrix yet: paste rows of numbers, such as 1 1; 0 1")
    if len(rows) > MOST_SIDE or len(rows[0]) > MOST_SIDE:
        raise ValueError(
            f"the matrix is {len(rows)} × {len(rows[0])}, larger than {MOST_SIDE} × {MOST_SIDE}"
        )
    return torch.tensor(rows, dtype=torch.float64)


def _count(row: list[float]) -> str:
    return f"{len(row)} number{'s' * (len(row) != 1)}"


def _number(word: str, row: int) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not abs(value) <= 1e100:
        raise ValueError(f"row {row} of the matrix holds {word[:40]!r}, not a finite number")
    return value


def _between_random_bases(sigma: Tensor, out: int, features: int) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    U = torch.linalg.qr(torch.randn(out, len(sigma), generator=generator)).Q
    V = torch.linalg.qr(torch.randn(features, len(sigma), generator=generator)).Q
    return U * sigma @ V.T

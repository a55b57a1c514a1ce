"""Lists of seeds as they are written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

MOST_SEEDS = 1000
"""Maximum number of seeds of one list."""

_RANGE = re.compile(r"\s*(\d{1,12})\s*[-–]\s*(\d{1,12})\s*")


def read_seeds(text: str) -> list[str]:
    """Return the seeds of a list, each as text; what is neither number nor range stays as it is.

    Raises:
        ValueError: a range runs backwards, or the list is too long.

    >>> read_seeds("0-2/7"), read_seeds("1, 7"), read_seeds("x")
    (['0', '1', '2', '7'], ['1', '7'], ['x'])
    """
    seeds: list[str] = []
    for part in re.split("[/,]", text):
        ends = _RANGE.fullmatch(part)
        if ends is None:
            seeds.append(part.strip())
            continue
        first, last = int(ends[1]), int(ends[2])
        if not first <= last < first + MOST_SEEDS:
            raise ValueError(f"seeds {part.strip()!r} must run upwards, over at most {MOST_SEEDS} seeds")
        seeds += map(str, range(first, last + 1))
        if len(seeds) > MOST_SEEDS:
            raise ValueError(f"a list of seeds has more than {MOST_SEEDS} of them, up to {part.strip()!r}")
    return seeds


def write_seeds(seeds: Sequence[int]) -> str:
    """Return a list of seeds in the form of `read_seeds`, as short as it can be.

    >>> write_seeds([0, 1, 2]), write_seeds([4]), write_seeds([0, 1]), write_seeds([3, 5, 9])
    ('0-2', '4', '0/1', '3/5/9')
    """
    rising = all(b == a + 1 for a, b in pairwise(seeds))
    return f"{seeds[0]}-{seeds[-1]}" if rising and len(seeds) > 2 else "/".join(map(str, seeds))

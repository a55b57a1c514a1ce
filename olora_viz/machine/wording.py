"""Names, numbers and times as a sentence has them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

LIST_CHARACTERS = 400
"""Maximum characters of a list of names: five lines of a terminal."""


def listed(names: Iterable[str], most: int | None = None) -> str:
    """Return names with commas between them, and the number of those that are left out.

    Args:
        names: in order.
        most: maximum number of names; None for as many as `LIST_CHARACTERS` characters hold.

    >>> listed(["q_proj", "k_proj"]), listed("abcde", 3)
    ('q_proj, k_proj', 'a, b, c and 2 more')
    >>> listed(f"model.layers.{i}.self_attn.q_proj" for i in range(212))[-45:]
    'model.layers.11.self_attn.q_proj and 200 more'
    """
    names = list(names)
    if most is None:
        ends = accumulate(len(name) + len(", ") for name in names)
        most = max(1, sum(end <= LIST_CHARACTERS for end in ends))
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def and_(words: Sequence[str]) -> str:
    """Join words as a sentence does.

    >>> and_(["rank", "scaling", "seed"])
    'rank, scaling and seed'
    """
    return " and ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)


@dataclass(frozen=True)
class Sentence:
    """A sentence with its message in the lead."""

    lead: str
    rest: str = ""

    def __str__(self) -> str:
        """Return the whole sentence."""
        return f"{self.lead} {self.rest}".strip()


BARS, MOST_BARS = "▁▂▃▄▅▆▇█", 24


def sparkline(values: Sequence[float]) -> str:
    """Return a curve as a line of bars, the mean of some neighbours each; a gap where there is none.

    >>> sparkline([5.0, 4.0, 3.0, 2.0, math.nan]), sparkline([]), sparkline([1.0] * 3)
    ('█▆▃▁ ', '', '▁▁▁')
    """
    count = max(1, min(MOST_BARS, len(values)))
    parts = [np.mean(part) for part in np.array_split(np.array(values, float), count) if len(part)]
    known = [value for value in parts if math.isfinite(value)]
    low, span = min(known, default=0.0), max(known, default=0.0) - min(known, default=0.0)
    heights = (
        round((value - low) / (span or 1.0) * (len(BARS) - 1)) if math.isfinite(value) else None for value in parts
    )
    return "".join(" " if height is None else BARS[height] for height in heights)


def compact(value: float) -> str:
    """Format a learning rate the way people write it: ``3e-3``, ``2.5e-4``, ``0.5``.

    >>> [compact(x) for x in (0.003, 0.00025, 0.5, 16.0)]
    ['3e-3', '2.5e-4', '0.5', '16']
    """
    if value == 0 or 0.05 <= abs(value) < 1e4:
        return f"{value:g}"
    mantissa, exponent = f"{value:.3e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def exact(value: float) -> str:
    """Format a number in the shortest form that reads back as the same number.

    >>> exact(0.003), exact(0.0012345)
    ('3e-3', '0.0012345')
    """
    short = compact(value)
    return short if float(short) == value else repr(value)


def number(value: float | None, form: str = ".3g") -> str:
    """Format a number; a dash if it is unknown or not finite.

    >>> number(0.12345), number(None), number(math.inf)
    ('0.123', '–', '–')
    """
    return "–" if value is None or not math.isfinite(value) else format(value, form)


def signed(value: float | None, form: str = ".3g") -> str:
    """Format a number whose minus sign is one, and no hyphen.

    >>> signed(-0.1234), signed(0.05, "+.2g"), signed(-3.0, ".1f")
    ('−0.123', '+0.05', '−3.0')
    """
    return number(value, form).replace("-", "−")


def nats(loss: float | None) -> str:
    """Format a loss.

    >>> nats(0.4907), nats(math.nan)
    ('0.49', '–')
    """
    return number(loss, ".2f")


def percent(share: float | None, decimals: int = 0) -> str:
    """Format a share as a percentage.

    >>> percent(0.906), percent(0.0123, 1), percent(math.nan)
    ('91%', '1.2%', '–')
    """
    return number(share, f".{decimals}%")


def factor(ratio: float) -> str:
    """Format a ratio with two digits, or as a whole number from 100 on.

    >>> factor(2.345), factor(1234.5)
    ('2.3', '1234')
    """
    return f"{ratio:.2g}" if ratio < 100 else f"{ratio:.0f}"


def times(ratio: float) -> str:
    """Write a factor in two digits, or in words where it has one.

    >>> times(3.0), times(28.8), times(1234.0)
    ('three times', '29 times', '1200 times')
    """
    digits = compact(rounded(ratio, 2))
    words = {"2": "twice", "3": "three times", "5": "five times", "10": "ten times"}
    return words.get(digits, f"{digits} times")


def counted(count: int, noun: str) -> str:
    """Format a number of things.

    >>> counted(1, "held-out example"), counted(1200, "seed")
    ('1 held-out example', '1,200 seeds')
    """
    return f"{count:,} {noun}{'s' * (count != 1)}"


def rounded(value: float, digits: int) -> float:
    """Round to a number of significant digits.

    >>> rounded(0.0012345, 2), rounded(math.inf, 2)
    (0.0012, inf)
    """
    return float(f"{value:.{digits}g}")


def epochs(number: float) -> str:
    """Format how often data is seen.

    >>> epochs(0.0417), epochs(1.0), epochs(12.31)
    ('0.042 epochs', '1 epoch', '12 epochs')
    """
    digits = f"{rounded(number, 2):g}"
    return f"{digits} epoch{'s' * (digits != '1')}"


def seconds(value: float) -> str:
    """Format a measured time.

    >>> seconds(3.14159)
    '3.1 s'
    """
    return f"{value:.1f} s"


def about(value: float) -> str:
    """Format an approximate time: in seconds, or in minutes from 90 s on.

    >>> about(45.3), about(200.0)
    ('45 s', '3 min')
    """
    return f"{value:.0f} s" if value < 90 else f"{value / 60:.0f} min"


def rough(value: float) -> str:
    """Format an estimate in words, no finer than it is: to 5 seconds, from 90 s on to a minute, later in hours.

    >>> rough(1.0), rough(23.4), rough(200.0), rough(20_000.0)
    ('5 s', '25 s', '3 minutes', '5.6 hours')
    """
    if value < 90:
        return f"{max(5, 5 * round(value / 5))} s"
    return f"{round(value / 60)} minutes" if value < 90 * 60 else f"{rounded(value / 3600, 2):g} hours"


def duration(value: float) -> str:
    """Format a time limit in seconds as words.

    >>> duration(1800), duration(60), duration(45)
    ('30 minutes', '1 minute', '45 seconds')
    """
    whole = value >= 60 and value % 60 == 0
    count, unit = (value / 60, "minute") if whole else (value, "second")
    return f"{count:g} {unit}{'s' * (count != 1)}"


def clock(value: float) -> str:
    """Format seconds as a clock.

    >>> clock(221.4), clock(4000)
    ('3:41', '1:06:40')
    """
    minutes, rest = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

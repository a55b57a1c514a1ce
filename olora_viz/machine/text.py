"""Values as text and back: names, numbers, tables, and the checks of what was given."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import wraps
from itertools import accumulate
from types import UnionType
from typing import Any, TypeVar

import numpy as np
from markupsafe import Markup


def expect(value: object, kinds: type | UnionType | tuple[type, ...], what: str) -> None:
    """Raise a ValueError in one sentence unless a value is of one of some types.

    >>> expect("glassllm", int, "a rank, such as 8")
    Traceback (most recent call last):
    ValueError: expected a rank, such as 8, not 'glassllm'
    """
    if not isinstance(value, kinds):
        raise ValueError(f"expected {what}, not {described(value)}")


def described(value: object) -> str:
    """Return a text or a number as it is written, and of anything else the type.

    >>> described("glassllm"), described({}), described([1, 2])
    ("'glassllm'", 'a dict', 'a list')
    """
    if value is None or isinstance(value, str | int | float):
        return repr(value)
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'AEIOaeio' else 'a'} {kind}"


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


def unknown(kind: str, name: str, known: Iterable[str], elsewhere: Mapping[str, str] | None = None) -> str:
    """Return the error message for an unknown `name`, with the closest known names.

    Args:
        elsewhere: known names by what others call them.

    >>> unknown("initialization", "olra", ["lora", "olora", "pissa"])
    "unknown initialization 'olra'; did you mean 'olora' or 'lora'?"
    """
    names = list(known)
    if elsewhere and name in elsewhere:
        return f"unknown {kind} {name!r}; did you mean {elsewhere[name]!r}?"
    near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.6)
    if near:
        return f"unknown {kind} {name!r}; did you mean {' or '.join(map(repr, near))}?"
    return f"unknown {kind} {name!r}; choose from {listed(names)}"


class UnknownNameError(TypeError, ValueError):
    """A call names an argument that there is not; Python's own error for it, and one of the user's values."""


C = TypeVar("C", bound=type)


def suggesting(kind: str, elsewhere: Mapping[str, str] | None = None) -> Callable[[C], C]:
    """Let a dataclass suggest the field that is meant by an unknown one.

    Args:
        kind: what a field is.
        elsewhere: fields by their names in other libraries, where those are not similar.

    >>> from dataclasses import dataclass
    >>> @suggesting("setting")
    ... @dataclass
    ... class Race:
    ...     steps: int = 1
    >>> Race(step=3)
    Traceback (most recent call last):
    olora_viz.machine.text.UnknownNameError: unknown setting 'step'; did you mean 'steps'?
    """

    def decorate(cls: C) -> C:
        known, begin = [each.name for each in fields(cls)], cls.__init__

        @wraps(begin)
        def checked(self: Any, *given: Any, **named: Any) -> None:
            for name in named:
                if name not in known:
                    raise UnknownNameError(unknown(kind, name, known, elsewhere))
            begin(self, *given, **named)

        cls.__init__ = checked
        return cls

    return decorate


def smoothed(values: np.ndarray, weight: float) -> np.ndarray:
    """Return the exponential moving average over the steps, Σ wⁿ⁻ⁱ vᵢ / Σ wⁿ⁻ⁱ, lane by lane.

    The weights of the steps so far add up to one, so the first step counts no more than its age.

    Args:
        values: (N, K); after a NaN, the rest of the lane is NaN.
        weight: w, the weight of a step against the next one, in [0, 1).
    """
    out = np.array(values, dtype=float)
    weights = 1.0
    for n in range(1, len(out)):
        weights = weight * weights + 1
        out[n] = out[n - 1] + (out[n] - out[n - 1]) / weights
    return out


def plain(values: np.ndarray, digits: int = 4) -> list[Any]:
    """Return an array as lists of rounded numbers, with None for non-finite values.

    >>> plain(np.array([[1234.5678, math.nan]]))
    [[1235.0, None]]
    """
    safe = np.where(np.isfinite(values) & (values != 0), np.abs(values), 1.0)
    scale = 10.0 ** (digits - 1 - np.floor(np.log10(safe)))
    return nulls((np.round(values * scale) / scale).tolist())


def nulls(values: list[Any]) -> list[Any]:
    """Return lists of numbers, nested or not, with None for non-finite values.

    >>> nulls([[0.5, math.nan]])
    [[0.5, None]]
    """
    if values and isinstance(values[0], list):
        return [nulls(row) for row in values]
    return [x if math.isfinite(x) else None for x in values]


def finite_or_none(x: float) -> float | None:
    """Return a number for JSON, None where it is not finite.

    >>> finite_or_none(0.5), finite_or_none(float("nan"))
    (0.5, None)
    """
    return float(x) if math.isfinite(x) else None


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


Value = TypeVar("Value")

MOST_WHOLE = 2**31 - 1
"""The largest whole number that a setting may be."""

MOST_PROBLEMS = 4
"""Maximum number of problems in one message; the others are counted."""


class Problems:
    """What is wrong with a set-up, one sentence for each value."""

    def __init__(self) -> None:
        self._sentences: list[str] = []

    def check(self, check: Callable[..., Value], *values: Any, instead: Value) -> Value:
        """Return the checked value; keep the sentence of a wrong one, and return `instead`."""
        try:
            return check(*values)
        except ValueError as error:
            self._sentences.append(str(error))
            return instead

    def report(self) -> None:
        """Raise a ValueError with all problems, if there are any, with semicolons between them."""
        if self._sentences:
            more = len(self._sentences) - MOST_PROBLEMS
            raise ValueError("; ".join([*self._sentences[:MOST_PROBLEMS], *[f"and {more} more"] * (more > 0)]))


def positive_number(what: str, value: Any, zero: bool = False) -> float:
    """Return a positive number, or 0 if that is allowed; ValueError if it is not one."""
    read = _float(value)
    if zero and not 0 <= read < math.inf:
        raise ValueError(f"{what} must be a number of at least 0, {_not(value)}")
    if not (zero or 0 < read < math.inf):
        raise ValueError(f"{what} must be a positive number, {_not(value)}")
    return read


def whole(what: str, value: Any, least: int, most: int) -> int:
    """Return a whole number from `least` to `most`; ValueError if it is not one."""
    read = _float(value)
    if not read.is_integer() or not least <= read <= most:
        raise ValueError(f"{what} must be a whole number from {least} to {most}, {_not(value)}")
    return int(read)


def check_whole(what: str, value: Any, least: int) -> None:
    """Raise a ValueError unless a value is a whole number, no text of one, from `least` to `MOST_WHOLE`."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole or not least <= value <= MOST_WHOLE:
        raise ValueError(f"{what} must be a whole number from {least} to {MOST_WHOLE}, not {value!r}")


def word(value: Any) -> str:
    """Return a value as text that is short enough for a message."""
    return (value if isinstance(value, str) else _shown(value))[:80]


def is_empty(value: Any) -> bool:
    """Whether a field was left empty."""
    return value is None or (isinstance(value, str) and not value.strip())


def _not(value: Any) -> str:
    return "but its field is empty" if is_empty(value) else f"not {_shown(value)}"


def _float(value: Any) -> float:
    """Read a number: NaN if it is not one, infinity if it is too large."""
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError):
        return math.nan


def _shown(value: Any) -> str:
    try:
        return repr(value)[:40]
    except ValueError:  # Python writes no number of more than a few thousand digits
        return "a number too long to write"


V = TypeVar("V")

LEFT_ALIGNED = Markup(' style="text-align:left"')
HEAD, CELL = Markup("<th>{}</th>"), Markup("<td>{}</td>")


class Catalogue(dict[str, V]):
    """A table of entries by name, which lists them and suggests names for a mistyped one.

    Args:
        kind: what an entry is, in the singular.
        columns: the attributes that a notebook shows; the first one is the key.
        words: the attribute that a terminal shows.

    >>> Catalogue("model", [np.dtype("int8"), np.dtype("float16")], ["name", "itemsize"], "kind")
    2 models:
      int8     i
      float16  f
    """

    def __init__(self, kind: str, entries: Iterable[V], columns: Sequence[str], words: str = "summary") -> None:
        super().__init__({getattr(entry, columns[0]): entry for entry in entries})
        self._kind, self._columns, self._words = kind, tuple(columns), words

    def __missing__(self, name: object) -> V:
        """Raise an error with the closest known names."""
        raise KeyError(unknown(self._kind, str(name), self))

    def __repr__(self) -> str:
        """List the entries, one on a line."""
        wide = max(map(len, self), default=0)
        lines = [f"  {name:{wide}}  {getattr(e, self._words)}" for name, e in self.items()]
        return "\n".join([f"{len(self)} {self._kind}s:", *lines])

    def _repr_html_(self) -> str:
        rows = [[getattr(entry, column) for column in self._columns] for entry in self.values()]
        return table([column.replace("_", " ") for column in self._columns], rows)


def table(head: Sequence[object], rows: Iterable[Sequence[object]], caption: str = "") -> Markup:
    """Return a table as HTML without classes, in the style of the page that shows it.

    >>> table(["a"], [["<b>"]])
    Markup('<table><thead><tr><th>a</th></tr></thead><tbody><tr><td>&lt;b&gt;</td></tr></tbody></table>')
    """
    above = Markup("<caption{}>{}</caption>").format(LEFT_ALIGNED, caption) if caption else ""
    return Markup("<table>{}<thead>{}</thead><tbody>{}</tbody></table>").format(
        above, _row(HEAD, head), Markup("").join(_row(CELL, row) for row in rows)
    )


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells as lines with their columns below each other.

    >>> aligned([["a", "rate"], ["olora", "3e-3"]])
    ['a      rate', 'olora  3e-3']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = ([cell.ljust(w) for cell, w in zip(row, widths, strict=True)] for row in rows)
    return ["  ".join(cells).rstrip() for cells in padded]


def folded(summary: object, content: object) -> Markup:
    """Return HTML that a reader can unfold."""
    return Markup("<details><summary>{}</summary>{}</details>").format(summary, content)


def changed(instance: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that differ from their defaults, by name."""
    return {
        f.name: getattr(instance, f.name)
        for f in fields(instance)
        if f.default is MISSING or getattr(instance, f.name) != f.default
    }


def call(instance: object, *first: object, **words: object) -> str:
    """Return an object as a call of its class.

    >>> call(np.float64(1.0), "olora", lr=[0.5, 0.25])
    "float64('olora', lr=[0.5, 0.25])"
    """
    parts = [*map(brief, first), *(f"{name}={brief(value)}" for name, value in words.items())]
    return f"{type(instance).__name__}({', '.join(parts)})"


def read_flag(text: str) -> bool:
    """Read true or false; KeyError if it is neither.

    >>> read_flag("True"), read_flag("0")
    (True, False)
    """
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]


def brief(value: object) -> str:
    """Return a value in a few words: of an array a few numbers, or its shape.

    >>> brief(np.array([0.123456, np.nan])), brief(np.zeros((3, 4))), brief(np.arange(9.0))
    ('[0.1235, nan]', '(3, 4) numbers', '[0, 1, 2, …, 8]')
    """
    if hasattr(value, "detach"):  # a tensor: torch is not loaded to ask, since `--help` does without it
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, np.generic):
        return f"{value:.4g}" if isinstance(value, np.floating) else str(value)
    if isinstance(value, np.ndarray):
        return f"{value.shape} numbers" if value.ndim > 1 else f"[{_few(value)}]"
    if isinstance(value, tuple):
        return f"({_few(value)}{',' * (len(value) == 1)})"
    return f"[{_few(value)}]" if isinstance(value, list) else repr(value)


def one_line(value: object) -> str:
    """Return JSON without spaces."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _few(values: Sequence[object] | np.ndarray) -> str:
    shown = list(map(brief, values))
    return ", ".join(shown if len(shown) <= 6 else [*shown[:3], "…", shown[-1]])


def lane_table(columns: Mapping[str, np.ndarray], caption: str) -> Markup:
    """Return a table with a row for each of K lanes, from columns (K,) by name."""
    K = len(next(iter(columns.values())))
    rows = [[f"lane {k + 1}", *(brief(values[k]) for values in columns.values())] for k in range(K)]
    return table(["", *columns], rows, caption)


def _row(cell: Markup, row: Sequence[object]) -> Markup:
    return Markup("<tr>{}</tr>").format(Markup("").join(map(cell.format, row)))

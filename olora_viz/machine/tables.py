"""Values as rows: tables, catalogues, JSON, and how objects show themselves."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, TypeVar

import numpy as np
from markupsafe import Markup

from olora_viz.machine.checks import unknown


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


def number_or_nan(value: Any) -> float:
    """Return a number; NaN for None."""
    return math.nan if value is None else float(value)


def finite_or_none(x: float) -> float | None:
    """Return a number for JSON, None where it is not finite.

    >>> finite_or_none(0.5), finite_or_none(float("nan"))
    (0.5, None)
    """
    return float(x) if math.isfinite(x) else None


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

"""A table in HTML: its cells are text or Markup, and the first cell of a row is its header."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True)
class Cell:
    """A cell with more than its content."""

    content: object
    title: str = ""
    """The tooltip."""
    kind: str = ""
    """The CSS class."""
    columns: int = 1
    """How many columns it spans."""


def table(
    head: Sequence[object],
    rows: Iterable[Sequence[object]],
    *,
    kind: str = "",
    caption: object = "",
    base: Iterable[Sequence[object]] = (),
    scrolls: bool = False,
) -> Markup:
    """Return a table.

    Parameters
    ----------
    head : the cells of the head; if empty, the table has none.
    rows : their cells.
    kind : its CSS class.
    base : reference rows, at the end.
    scrolls : whether to put it in a scrolling frame, for a table that may be large.

    Examples
    --------
    >>> table([], [("r < 2", Cell(3, kind="ok"))])
    Markup('<table><tbody><tr><th scope="row">r &lt; 2</th><td class="ok">3</td></tr></tbody></table>')
    """  # noqa: E501
    lines = [*map(_row, rows), *(_row(cells, "base") for cells in base)]
    top = Markup("").join(_cell(one, "th" if one != "" else "td", "col") for one in head)
    made = _element(
        "table",
        Markup("").join(
            [
                _element("caption", caption) if caption else "",
                _element("thead", _element("tr", top)) if top else "",
                _element("tbody", Markup("").join(lines)),
            ]
        ),
        {"class": kind},
    )
    return _element("div", made, {"class": "standing-frame"}) if scrolls else made


def _row(cells: Sequence[object], kind: str = "") -> Markup:
    first, *others = cells
    inner = Markup("").join([_cell(first, "th", "row"), *map(_cell, others)])
    return _element("tr", inner, {"class": kind})


def _cell(cell: object, tag: str = "td", scope: str = "") -> Markup:
    one = cell if isinstance(cell, Cell) else Cell(cell)
    return _element(
        tag,
        one.content,
        {
            "scope": scope if tag == "th" else "",
            "colspan": str(one.columns) if one.columns > 1 else "",
            "class": one.kind,
            "title": one.title,
        },
    )


def _element(tag: str, content: object, attributes: Mapping[str, str] | None = None) -> Markup:
    given = Markup("").join(
        Markup(' {}="{}"').format(name, value)
        for name, value in (attributes or {}).items()
        if value
    )
    return Markup("<{0}{1}>{2}</{0}>").format(tag, given, content)

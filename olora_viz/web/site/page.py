"""A static page: HTML that reads without JavaScript, with the numbers of its charts and of its slider in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from markupsafe import Markup

from olora_viz.figures.live.bundle import pack
from olora_viz.machine.tables import one_line

SITE_TITLE = "OLoRA playground"


@dataclass(frozen=True)
class Page:
    """A page of the site."""

    path: str
    """Below the site's root, with the ending html."""
    title: str
    kind: str
    """The page of the playground that it is like: learn, race, claims or spectrum."""
    body: Markup
    figures: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Those that no slider changes, by the name of their place."""
    frames: Sequence[Frame] = ()
    """What its slider shows, see `Frame`."""
    files: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Texts to download, by path."""

    @property
    def root(self) -> str:
        """The way from it to the site's root."""
        return root_of(self.path)


def root_of(path: str) -> str:
    """Return the way from a page to the site's root."""
    return "../" * path.count("/")


def places(*names: str) -> Markup:
    """Return a card for each figure, by name."""
    return Markup("").join(card(figure_places([name])) for name in names)


def figure_places(names: Sequence[str]) -> Markup:
    """Return the places of figures, by name."""
    return Markup("").join(map(Markup('<div id="{0}-figure" data-figure="{0}"></div>').format, names))


def numbers(figures: Mapping[str, Any], frames: Sequence[Frame] = ()) -> Markup:
    """Return the element that holds what the charts of a page draw."""
    packed = {name: pack(figure) for name, figure in figures.items()}
    text = one_line({"figures": packed, "frames": list(frames)})
    inner = Markup(text.replace("<", "\\u003c"))  # noqa: S704
    return Markup('<script type="application/json" class="olora-viz-numbers">{}</script>').format(inner)


def columns(*each: tuple[str, object]) -> Markup:
    """Return columns side by side, each with its classes."""
    column = Markup('<div class="column {}">{}</div>')
    return Markup("").join(column.format(kind, content) for kind, content in each)


def card(content: object, id: str = "") -> Markup:
    """Return a content with a border around it."""
    return Markup('<div class="card"{}>{}</div>').format(Markup(' id="{}"').format(id) if id else "", content)


FIRST = "first"
"""The recorded race that is the site's first page."""


def race_path(name: str) -> str:
    """Return the path of the page of a race.

    >>> race_path("one-rate")
    'races/one-rate.html'
    """
    return "index.html" if name == FIRST else f"races/{name}.html"


def contents(titles: Mapping[str, str], current: str) -> Markup:
    """Return the list of the races and the studies, one of them the current page; titles and all by path."""
    link = Markup('<li><a href="{}{}"{}>{}</a></li>')
    here = Markup(' aria-current="page"')
    lines = Markup("").join(
        link.format(root_of(current), path, here if path == current else "", title) for path, title in titles.items()
    )
    return Markup('<h2>Recorded races</h2><nav aria-label="Recorded races"><ul class="listed">{}</ul></nav>').format(
        lines
    )


Frame = dict[str, Any]
"""What is shown from a position on, ``at``: ``texts``, HTML by the id of its place, ``figures``, packed ones by name
with their traces by number, and ``inside``, the adapters by layer. After the first one a frame has what differs from
the one before it, see `differing`.
"""


def numbered(figure: Mapping[str, Any]) -> dict[str, Any]:
    """Return a packed figure with its traces by number, so that they can differ one by one.

    >>> numbered({"data": [{"y": "1,2"}], "layout": {}})
    {'data': {'0': {'y': '1,2'}}, 'layout': {}}
    """
    return {**figure, "data": {str(i): trace for i, trace in enumerate(figure["data"])}}


def differing(frames: Sequence[Frame]) -> list[Frame]:
    """Return frames with what differs from the ones before them.

    Of a text that has grown, such as the points of a curve, it is the new part, with a plus behind its name; what has
    gone is None.

    >>> differing([{"at": 0, "y": "1,2", "z": "1"}, {"at": 1, "y": "1,2,3"}])
    [{'at': 0, 'y': '1,2', 'z': '1'}, {'at': 1, 'y+': ',3', 'z': None}]
    """
    return [frames[0], *(_new(now, before) for before, now in pairwise(frames))]


def _new(now: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    new: dict[str, Any] = {}
    for key, value in now.items():
        old = before.get(key)
        if value == old:
            continue
        if isinstance(value, dict) and isinstance(old, dict):
            new[key] = _new(value, old)
        elif isinstance(value, str) and isinstance(old, str) and old and value.startswith(old):
            new[f"{key}+"] = value.removeprefix(old)
        else:
            new[key] = value
    return new | dict.fromkeys(before.keys() - now.keys())

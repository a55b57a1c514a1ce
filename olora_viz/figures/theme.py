"""All colours: two palettes, a colour per initialization, a style per lane.

An initialization has the same colour everywhere, that of its `Initializer`. The built-in ones are from the
colour-blind safe set of Okabe and Ito (2008), adjusted where needed to reach a contrast of 3 : 1 against the card.
Those for which that set has no colours left are the most distinct from the others for all types of colour vision.
Differences within an initialization (learning rate, rank, seed) are shown by the line's dash and its marker. Figures
name colours by token (``"@olora"``), so that one figure can be shown in either theme; `resolve` looks a token up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from olora_viz.initializers import INITIALIZERS
from olora_viz.lanes.lane import Lane, differing, display_names, setting
from olora_viz.races.config import is_random

READABLE = 4.5
"""The contrast ratio of readable text (WCAG AA)."""

THEMES = ("light", "dark")

FONTS = ("Inter", "Source Sans 3", "system-ui", "Segoe UI", "DejaVu Sans", "sans-serif")
"""Fonts of the reader's system, in order; nothing is fetched."""

SURFACES: dict[str, dict[str, str]] = {
    "light": {
        "bg": "#fbfaf8", "card": "#ffffff", "ink": "#1d2330", "mute": "#5d687a",
        "line": "#e6e3dd", "accent": "#0b6bcb", "soft": "#f2f0eb", "ok": "#1a7f4b",
        "bad": "#b3261e", "on-accent": "#ffffff",
    },
    "dark": {
        "bg": "#12151b", "card": "#1a1f28", "ink": "#e8ebf1", "mute": "#9aa5b6",
        "line": "#2b3240", "accent": "#62aef7", "soft": "#222835", "ok": "#5bd69a",
        "bad": "#ff8a80", "on-accent": "#0c1420",
    },
}  # fmt: skip
"""Colours of the page: background, cards, text, quiet text, lines, accent, fills, right, wrong."""

RESERVE = (
    ("#8c564b", "#d8a99f"), ("#17808a", "#6fd6df"), ("#a8328f", "#f08be0"),
    ("#5f6f1f", "#b9cf6a"), ("#4a4fa3", "#a9aef5"), ("#9a5b13", "#e0b27a"),
)  # fmt: skip
"""Colours of initializations that have none of their own, in the order in which they were registered."""

BAND = 0.18
"""Opacity of a band's colour: token ``@olora-band``."""

DASHES = ("solid", "dot", "dash", "dashdot", "longdash", "longdashdot")
MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "star")


@dataclass(frozen=True)
class LaneStyle:
    """Colour, dash, mark and label of one lane."""

    label: str
    """Its name, with only the settings that differ within the race: ``OLoRA 3e-3``."""
    init: str
    color: str
    """Token of the line's colour, 3 : 1 against the card."""
    text: str
    """Token of the same colour for text, 4.5 : 1 against the card."""
    dash: str
    symbol: str
    """Plotly's name of the mark, open unless the line is solid."""
    begins_as_base: bool = True
    """Whether its curves begin with the base model's results, see `Lane.keeps_function`."""


def font_family() -> str:
    """Return the fonts in CSS syntax: a name with a digit in it must be quoted."""
    return ", ".join(f"'{name}'" if " " in name else name for name in FONTS)


def line_colors(init: str) -> tuple[str, str]:
    """Return the light and the dark colour of an initialization."""
    entry = INITIALIZERS.get(init)
    if entry is not None and entry.color is not None:
        return entry.color
    uncolored = [name for name, entry in INITIALIZERS.items() if entry.color is None]
    place = uncolored.index(init) if init in uncolored else len(uncolored)
    return RESERVE[place % len(RESERVE)]


def palette(theme: str, inits: Sequence[str] = ()) -> dict[str, str]:
    """Return every colour token of a theme, with those of `inits` in addition to the known ones."""
    colors = dict(SURFACES[theme])
    for init in dict.fromkeys((*INITIALIZERS, *inits)):
        if init in SURFACES[theme]:
            continue
        line = line_colors(init)[THEMES.index(theme)]
        colors[init] = line
        colors[f"{init}-text"] = readable(line, colors["card"], colors["ink"])
        colors[f"{init}-band"] = "rgba({},{},{},{})".format(*_channels(line), BAND)
    return colors


def css_variables(theme: str) -> str:
    """Return the palette of a theme as CSS."""
    return "".join(f"--{token}:{color};" for token, color in palette(theme).items())


def resolve(token: str, theme: str) -> str:
    """Return the colour that a token such as ``@olora`` stands for.

    >>> resolve("@olora", "light")
    '#d55e00'
    """
    name = token.removeprefix("@")
    return palette(theme, (name.removesuffix("-text").removesuffix("-band"),))[name]


def start_styles(lanes: Sequence[Lane]) -> tuple[LaneStyle, ...]:
    """Return the style of every lane's start.

    It does not depend on the learning rate, nor on the seed where the start is not random: it then has no seed in its
    name, and the mark of the largest one.

    >>> lanes = [Lane("lora", seed=0), Lane("lora", seed=1), Lane("olora", seed=0)]
    >>> [style.label for style in start_styles(lanes)]
    ['LoRA seed 0', 'LoRA seed 1', 'OLoRA']
    """
    most = max(lane.seed for lane in lanes)
    starts = [replace(x, lr=1.0, seed=x.seed if is_random(x) else most) for x in lanes]
    unseeded = display_names([replace(start, seed=most) for start in starts])
    names = [None if is_random(lane) else name for lane, name in zip(lanes, unseeded, strict=True)]
    return lane_styles(starts, names)


def lane_styles(lanes: Sequence[Lane], names: Sequence[str | None] = ()) -> tuple[LaneStyle, ...]:
    """Give every lane of a race its label, colour, dash and mark.

    A setting has the same dash in every initialization, so that the eye can compare lanes at one learning rate. The
    largest setting is solid and filled.

    Args:
        names: a name per lane in place of its own, or None.
    """
    values = {field: {setting(lane, field) for lane in lanes} for field in differing(lanes)}
    # Words, such as the rate ``fair``, come first, then numbers from the largest one.
    ranks = {f: sorted(of, key=lambda x: (isinstance(x, str), x), reverse=True) for f, of in values.items()}
    styles = []
    for lane, label in zip(lanes, display_names(lanes, names), strict=True):
        place = [order.index(setting(lane, field)) for field, order in ranks.items()]
        dash = DASHES[place[0] % len(DASHES)] if place else DASHES[0]
        shape = MARKERS[place[1] % len(MARKERS)] if len(place) > 1 else MARKERS[0]
        symbol = shape if dash == "solid" else f"{shape}-open"
        colors = f"@{lane.init}", f"@{lane.init}-text"
        styles.append(LaneStyle(label, lane.init, *colors, dash, symbol, lane.keeps_function))
    return tuple(styles)


def contrast(a: str, b: str) -> float:
    """Return the WCAG contrast ratio of two colours, from 1 to 21.

    >>> round(contrast("#ffffff", "#000000"))
    21
    """
    low, high = sorted((_luminance(a), _luminance(b)))
    return (high + 0.05) / (low + 0.05)


@cache  # every chart of a page asks for the palette
def readable(color: str, background: str, ink: str) -> str:
    """Mix a colour with ink, no more than needed, until its text is readable, see `READABLE`."""
    mixes = (_mix(color, ink, share / 100) for share in range(0, 101, 2))
    return next((mixed for mixed in mixes if contrast(mixed, background) >= READABLE), ink)


def _channels(color: str) -> tuple[int, int, int]:
    value = int(color.removeprefix("#"), 16)
    return value >> 16, value >> 8 & 255, value & 255


def _mix(a: str, b: str, share: float) -> str:
    pairs = zip(_channels(a), _channels(b), strict=True)
    return "#" + "".join(f"{round(x + (y - x) * share):02x}" for x, y in pairs)


def _luminance(color: str) -> float:
    parts = (c / 255 for c in _channels(color))
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b

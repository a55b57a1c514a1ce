"""The bars of a finding with their intervals: a small picture of HTML, which fits any width."""

from __future__ import annotations

import math
import re

from markupsafe import Markup

from olora_viz.initializers import INITIALIZERS
from olora_viz.machine.numbers import number
from olora_viz.studies.claims.claim import Bar, Finding

MOST = 6
"""Maximum number of bars in a row."""

BEYOND = 3.0
"""Intervals are cut off at this multiple of the largest value."""


SUBSCRIPT = re.compile(r"(?<=[A-Zλ])_(r|max)")

NEGATIVE = re.compile(r"(?<![\w.-])-(?=\d)")


def typeset(text: str) -> Markup:
    """Return text with its subscripts and minus signs.

    >>> typeset("of Q_rR_r"), typeset("-0.3 at 1e-3")
    (Markup('of Q<sub>r</sub>R<sub>r</sub>'), Markup('−0.3 at 1e-3'))
    """
    parts = SUBSCRIPT.split(NEGATIVE.sub("−", text))  # text and subscripts in turn
    return Markup("").join(
        Markup("<sub>{}</sub>").format(part) if at % 2 else part for at, part in enumerate(parts)
    )


def bars(finding: Finding) -> Markup:
    """Return the bars of a finding; a screen reader hears them as one sentence."""
    drawn = [bar for bar in finding.bars if math.isfinite(bar.value)]
    if not drawn:
        return Markup('<div class="bars"></div>')
    shown, others = drawn[:MOST], len(drawn) - MOST
    low, high = span(shown)
    lines = Markup("").join(_line(bar, low, high) for bar in shown)
    interval = f"; {finding.interval_words}" if finding.interval_words else ""
    unit = finding.unit + interval + (f"; {others} more below" if others > 0 else "")
    said = "; ".join(f"{bar.label} {number(bar.value)}{_ends(bar)}" for bar in drawn)
    return Markup(
        '<div class="bars" role="img" aria-label="{}: {}">{}<p class="hint">{}</p></div>'
    ).format(finding.unit + interval, said, lines, unit)


def span(shown: list[Bar]) -> tuple[float, float]:
    """Return the ends of the common scale, which has zero.

    >>> span([Bar("LoRA", 1.0), Bar("OLoRA", 4.0, 3.0, 5.0)])
    (0.0, 5.0)
    """
    most = BEYOND * max(abs(bar.value) for bar in shown)
    ends = [0.0]
    for bar in shown:
        for end in (bar.value, bar.low, bar.high):
            if end is not None and math.isfinite(end):
                ends.append(min(most, max(-most, end)))
    low, high = min(ends), max(ends)
    return (low, high) if high > low else (0.0, 1.0)


def init_of(label: str) -> str | None:
    """Return the initialization that a bar is of, whose label its own begins with.

    >>> init_of("OLoRA, r 8"), init_of("bounded")
    ('olora', None)
    """
    first = label.replace(",", " ").replace(":", " ")
    names = (name for name, its in INITIALIZERS.items() if f"{first} ".startswith(f"{its.label} "))
    return max(names, key=lambda name: len(INITIALIZERS[name].label), default=None)


def _line(bar: Bar, low: float, high: float) -> Markup:
    def at(value: float) -> float:
        return 100 * (min(high, max(low, value)) - low) / (high - low)

    left, right = sorted((at(0.0), at(bar.value)))
    whisker = Markup("")
    if bar.low is not None and bar.high is not None and math.isfinite(bar.high - bar.low):
        whisker = Markup('<u style="left:{:.1f}%;width:{:.1f}%"></u>').format(
            at(bar.low), at(bar.high) - at(bar.low)
        )
    return Markup(
        '<div class="bar-line" style="--lane:var(--{})"><span class="of">{}</span>'
        '<span class="track" style="--zero:{:.1f}%"><i style="left:{:.1f}%;width:{:.1f}%"></i>{}'
        '</span><span class="value">{}</span></div>'
    ).format(
        init_of(bar.label) or "mute", typeset(bar.label), at(0.0), left, right - left, whisker,
        typeset(number(bar.value)),
    )  # fmt: skip


def _ends(bar: Bar) -> str:
    if bar.low is None or bar.high is None or not math.isfinite(bar.high - bar.low):
        return ""
    return f" ({number(bar.low)} to {number(bar.high)})"

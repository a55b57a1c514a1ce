"""Claims and their verdicts, as cards with bars."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from olora_viz.figures.studies import TILES
from olora_viz.initializers import INITIALIZERS
from olora_viz.learn.gallery.claims import CellVerdict, RecordedFinding
from olora_viz.machine.tables import folded
from olora_viz.machine.wording import and_, counted, number
from olora_viz.studies.claims.claim import NOT_MEASURED, Bar, Claim, Finding, together
from olora_viz.studies.sentences import in_words
from olora_viz.studies.statistics import BETTER, UNDECIDED
from olora_viz.views.html import TableCell, table

MOST_CELLS = 6

CUT_AT = 3.0
"""Intervals are cut off at this multiple of the largest value."""

SUBSCRIPT = re.compile(r"(?<=[A-Zλ])_(r|max)")

NEGATIVE = re.compile(r"(?<![\w.-])-(?=\d)")


def typeset(text: str) -> Markup:
    """Return text with its subscripts and minus signs.

    >>> typeset("of Q_rR_r"), typeset("-0.3 at 1e-3")
    (Markup('of Q<sub>r</sub>R<sub>r</sub>'), Markup('−0.3 at 1e-3'))
    """
    parts = SUBSCRIPT.split(NEGATIVE.sub("−", text))  # text and subscripts in turn
    return Markup("").join(Markup("<sub>{}</sub>").format(part) if at % 2 else part for at, part in enumerate(parts))


def bars(finding: Finding) -> Markup:
    """Return the bars of a finding; a screen reader hears them as one sentence."""
    drawn = [bar for bar in finding.bars if math.isfinite(bar.value)]
    if not drawn:
        return Markup('<div class="bars"></div>')
    shown, others = drawn[:MOST_CELLS], len(drawn) - MOST_CELLS
    low, high = span(shown)
    lines = Markup("").join(_line(bar, low, high) for bar in shown)
    interval = f"; {finding.interval_words}" if finding.interval_words else ""
    unit = finding.unit + interval + (f"; {others} more below" if others > 0 else "")
    words = "; ".join(f"{bar.label} {number(bar.value)}{_ends(bar)}" for bar in drawn)
    return Markup('<div class="bars" role="img" aria-label="{}: {}">{}<p class="hint">{}</p></div>').format(
        finding.unit + interval, words, lines, unit
    )


def span(shown: list[Bar]) -> tuple[float, float]:
    """Return the ends of the common scale, which has zero.

    >>> span([Bar("LoRA", 1.0), Bar("OLoRA", 4.0, 3.0, 5.0)])
    (0.0, 5.0)
    """
    most = CUT_AT * max(abs(bar.value) for bar in shown)
    ends = [end for bar in shown for end in (bar.value, bar.low, bar.high) if end is not None and math.isfinite(end)]
    cut = [0.0, *(min(most, max(-most, end)) for end in ends)]
    low, high = min(cut), max(cut)
    return (low, high) if high > low else (0.0, 1.0)


def init_of(label: str) -> str | None:
    """Return the initialization that a bar is of, whose label its own begins with.

    >>> init_of("OLoRA, r 8"), init_of("bounded")
    ('olora', None)
    """
    first = label.replace(",", " ").replace(":", " ")
    names = (name for name, entry in INITIALIZERS.items() if f"{first} ".startswith(f"{entry.label} "))
    return max(names, key=lambda name: len(INITIALIZERS[name].label), default=None)


def _line(bar: Bar, low: float, high: float) -> Markup:
    def at(value: float) -> float:
        return 100 * (min(high, max(low, value)) - low) / (high - low)

    left, right = sorted((at(0.0), at(bar.value)))
    whisker = Markup("")
    if bar.low is not None and bar.high is not None and math.isfinite(bar.high - bar.low):
        whisker = Markup('<u style="left:{:.1f}%;width:{:.1f}%"></u>').format(at(bar.low), at(bar.high) - at(bar.low))
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


@dataclass(frozen=True)
class ShownFinding:
    """A finding on a claim with what it was measured on, in words."""

    finding: Finding
    where: str
    setup: str
    command: str
    when: str = ""
    """The date of a recording; empty if it was measured here."""

    @property
    def is_measured(self) -> bool:
        """Whether there is a verdict."""
        return self.finding.verdict != NOT_MEASURED

    @property
    def here(self) -> str:
        """Whether it was measured, of what was not recorded."""
        return "measured here" if self.is_measured else "not measured here"

    @classmethod
    def of(cls, recorded: RecordedFinding) -> ShownFinding:
        """Return what was recorded."""
        where = ", ".join(filter(None, (recorded.model, recorded.task)))
        return cls(recorded.finding, where, recorded.setup, recorded.command, recorded.date)


def row(
    claim: Claim, recorded: Sequence[ShownFinding], measured: ShownFinding | None = None, *, now: bool = False
) -> Markup:
    """Return the row of a claim: what was measured here if anything was, else what is recorded.

    What could not be measured here leaves the recorded findings in place, and says why.

    Args:
        now: whether it is being measured.
    """
    lacking = measured if measured and not measured.is_measured and recorded else None
    shown = [measured] if measured and not lacking else recorded
    verdict, tag = _over_set_ups([each.finding.verdict for each in shown])
    example = next((each for each in shown if each.finding.verdict == verdict), next(iter(shown), None))
    every = [*([measured] if measured else []), *recorded]
    count = f", and {len(every)} finding{'s' * (len(every) != 1)}" if every else ""
    fold = Markup("<p>{}</p>{}").format(typeset(claim.measured), Markup("").join(map(_whole, every)))
    return Markup(
        '<details class="claim" aria-label="Claim {number}"><summary><span class="verdict {kind}">{verdict}</span>'
        '<span class="sentence"><b>{number}.</b> {sentence}</span>{badge}</summary><div class="of-claim">'
        '<div><p class="hint">{source}</p><p class="hint">{basis}</p></div>{bars}<p class="hint said">{words}</p>'
        "{fold}</div></details>"
    ).format(
        number=claim.number, kind=_kind(verdict), verdict=tag, sentence=typeset(claim.sentence),
        badge=_badge(shown, now), source=claim.source, basis=_basis(shown),
        bars=bars(example.finding) if example else Markup('<div class="bars"></div>'),
        words=typeset(_words(shown, example, lacking)) if example and not now else "",
        fold=folded(f"How claim {claim.number} is measured{count}", fold),
    )  # fmt: skip


def _over_set_ups(verdicts: Sequence[str]) -> tuple[str, str]:
    """Return the verdict on a claim over several set-ups, and how it is tagged.

    Where some are decided alike and the others are not decided, it is that of the decided ones, with their number.

    >>> _over_set_ups(["undecided", "fails", "fails"]), _over_set_ups(["holds", "fails"])[1]
    (('fails', 'fails on 2 of 3'), 'mixed')
    """
    verdict = together(verdicts) if verdicts else NOT_MEASURED
    decided = [each for each in verdicts if each not in (UNDECIDED, NOT_MEASURED)]
    if verdict != UNDECIDED or not decided:
        return verdict, verdict
    return decided[0], f"{decided[0]} on {len(decided)} of {len(verdicts)}"


def _kind(verdict: str) -> str:
    return verdict.replace(" ", "-")


def _badge(shown: Sequence[ShownFinding], now: bool) -> Markup:
    """Say whether it is recorded or measured."""
    if now:
        return Markup('<span class="badge now">measuring</span>')
    if not shown or shown[0].when:
        return Markup('<span class="badge">{}</span>').format("recorded" if shown else "not measured yet")
    return Markup('<span class="badge here">{}</span>').format(shown[0].here)


def _basis(shown: Sequence[ShownFinding]) -> str:
    """Say on what it is recorded or measured."""
    if not shown:
        return "nothing is recorded yet"
    where = "; ".join(dict.fromkeys(each.where for each in shown))
    over = dict.fromkeys(
        each.finding.over or counted(each.finding.seeds, "seed") for each in shown if each.finding.seeds
    )
    return f"{where}{f' · {and_([*over])}' if over else ''}"


def _words(shown: Sequence[ShownFinding], example: ShownFinding, lacking: ShownFinding | None) -> str:
    """Return the numbers in words: of the only finding, or a count and one of several, and why one is `lacking`."""
    why = f"Not measured here: {lacking.finding.words.rstrip('.')}. Recorded: " if lacking else ""
    if len(shown) == 1:
        return f"{why}{example.finding.words}"
    counts = Counter(each.finding.verdict for each in shown).most_common()
    verdicts = ", ".join(f"{verdict} on {n}" for verdict, n in counts)
    return f"{why}Of {len(shown)} set-ups: {verdicts}. On {example.where}: {example.finding.words}"


def _whole(shown: ShownFinding) -> Markup:
    """Return a finding with its set-up and its command."""
    kind, verdict = _kind(shown.finding.verdict), shown.finding.verdict
    setup = f"{shown.setup} · {f'recorded on {shown.when}' if shown.when else shown.here}"
    return Markup(
        '<div class="told"><p><span class="verdict {}">{}</span> <b>{}</b> '
        '<span class="hint">{}</span></p><p>{}</p><pre><code>{}</code></pre></div>'
    ).format(kind, verdict, shown.where, setup, typeset(shown.finding.words), shown.command)


def how() -> Markup:
    """Return how a verdict is made."""
    return Markup(
        '<h2>How a verdict is made</h2><p class="hint">Runs are paired by seed, and by test example; rates are '
        "chosen on validation examples; intervals are 95%, and each says over what: seeds, examples or both; Holm's "
        "correction over comparisons. <b>holds, fails</b>: the interval is on one side. <b>level</b>: any "
        "difference is too small to matter, as the interval lies inside a margin set beforehand, which the words "
        "name. "
        "<b>mixed</b>: it holds in part, or in some set-ups and not in others. <b>undecided</b>: too few seeds or "
        "examples to tell.</p>"
    )


def wins(cells: Sequence[CellVerdict]) -> Markup:
    """Return the table of recorded studies: OLoRA against LoRA, at one rate and at best rates."""
    if not cells:
        return Markup("<h2>OLoRA against LoRA</h2><p class='hint'>No study is recorded yet.</p>")
    at_one = sum(cell.at_one_rate == BETTER for cell in cells)
    at_best = sum(cell.at_best_rates == BETTER for cell in cells)
    title = Markup(
        "<h2>{} of {count} at one rate, {} of {count} at best rates "
        '<span class="hint">models × tasks × ranks in which OLoRA is better than LoRA; recorded</span></h2>'
    ).format(at_one, at_best, count=len(cells))
    models, rows = {cell.model for cell in cells}, []
    for cell in cells:
        name = f"{cell.model}, " * (len(models) > 1) + f"{cell.task}, r\u00a0{cell.r}, {cell.steps} steps"
        seeds = f"{cell.seeds} seeds"
        rows.append((name, _tile(cell.at_one_rate, seeds), _tile(cell.at_best_rates, cell.why or seeds)))
    legend = Markup(
        '<p class="hint">{}vermilion ✓ better, grey = too small to matter, empty ? too few seeds or examples to tell, '
        "blue ✗ worse; one rate: the best one of the grid for both together, so that each cell counts once. The "
        "README counts 17 of these cells at each of 6 rates: at low ones OLoRA is ahead more often</p>"
    ).format(f"{next(iter(models))}: " if len(models) == 1 else "")
    return title + table(("", "one rate", "best rates"), rows, kind="wins", scrolls=True) + legend


def _tile(verdict: str, title: str) -> TableCell:
    sign = Markup(
        '<span class="tile {}"><span aria-hidden="true">{}</span><span class="unseen">{}</span></span>'
    ).format(verdict, TILES[verdict][2], in_words(verdict))
    return TableCell(sign, title=f"{in_words(verdict)}: {title}")

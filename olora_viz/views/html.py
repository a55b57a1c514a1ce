"""Small pieces of the pages' HTML, made of numbers and text; pure functions.

They return `markupsafe.Markup`, a string of HTML whose ``format``, ``join`` and ``+`` escape every string that is not
Markup. So text is never escaped by hand.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from olora_viz.background.record import FAILED, WAITING, Forecast, Wait
from olora_viz.figures.theme import LaneStyle
from olora_viz.lanes.generation import Answer
from olora_viz.machine.tables import folded
from olora_viz.machine.wording import Sentence, counted, duration, rough
from olora_viz.studies.contest import SeedGroup

RATE = re.compile(r"(\d(?:\.\d+)?e-\d+)")
"""A number such as 1e-3, which browsers would break after its hyphen."""

BRACKETS = re.compile(r" \([^()]*\)")
"""A remark in brackets, inside which there are no others."""

FEW = 8
"""Most contenders with a row each, and most answers to one prompt before some are collapsed."""

ANSWERS_TITLE = "Watch them answer"


def mark(style: LaneStyle) -> Markup:
    """Return the lane's mark: its colour, filled for a solid line, else with its dash."""
    return Markup('<span class="mark {}" style="--lane:var(--{})"></span>').format(style.dash, style.init)


def name(style: LaneStyle) -> Markup:
    """Return the lane's label, which breaks between its words and never inside a rate."""
    return Markup(" ").join(map(Markup('<span class="word">{}</span>').format, style.label.split()))


def lane(style: LaneStyle) -> Markup:
    """Return the lane's mark and its label."""
    return mark(style) + name(style)


def status(state: str, *parts: str, progress: float | None = None) -> Markup:
    """Return the top bar's line: the state in a word, then the progress, as text or Markup.

    The line breaks between the parts, after their dots, and never inside one. Of the sentence on a failure it has the
    gist: the whole stands where there is room for it.
    """
    if state == FAILED:
        parts = tuple(part if isinstance(part, Markup) else gist(part) for part in parts)
    width = Markup(' style="--done:{:.1f}%"').format(100 * progress) if progress is not None else ""
    word, dots = Markup('<span class="word">{}{}</span>'), [" ·"] * (len(parts) - 1) + [""]
    words = Markup(" ").join(map(word.format, parts, dots))
    return Markup(
        '<div class="status {state}"{width}>'
        # A screen reader announces a change of the state, but not every step of the counter.
        '<span class="state" role="status">{state}</span>{gap}{words}</div>'
    ).format(state=state, width=width, gap=" " if words else "", words=words)


def gist(sentence: str) -> str:
    """Return the first clause of a sentence, without what it has in brackets.

    >>> gist("cannot fetch 'gpt2' (openai-community/gpt2) from the hub (no route (errno 113)); models here: glassllm")
    "cannot fetch 'gpt2' from the hub"
    >>> gist("rank 20 exceeds min(out, in) = 16 of 'h.0.attn.c_attn'")
    "rank 20 exceeds min(out, in) = 16 of 'h.0.attn.c_attn'"
    """
    while (shorter := BRACKETS.sub("", sentence)) != sentence:
        sentence = shorter
    return sentence.partition("; ")[0]


def refusal(why: str) -> Markup:
    """Return the top bar's line when what was asked is refused: nothing else has changed."""
    return status(FAILED, Markup('<span role="alert">{}</span>').format(why))


def is_refusal(line: object) -> bool:
    """Whether a top bar's line says that something was refused.

    >>> is_refusal(refusal("steps must be 1 or more, not 0")), is_refusal(status(FAILED, "no memory"))
    (True, False)
    """
    return isinstance(line, str) and 'role="alert"' in line


def waiting(wait: Wait) -> Markup:
    """Return the status of work that waits."""
    return status(WAITING, before_words(wait) if wait.places else "next in line")


def before_words(wait: Wait) -> str:
    """Say how much is before work that waits, and how long that takes.

    Examples:
        >>> before_words(Wait(2, 170.0)), before_words(Wait(1, None, called="other"))
        ('2 races before yours: about 3 minutes', '1 other before yours')
    """
    time = "" if wait.seconds is None else f": about {rough(wait.seconds)}"
    return f"{counted(wait.places, wait.called)} before yours{time}"


LONG_RACE = 300.0
"""Seconds from which a race is long enough to suggest a smaller one."""


def duration_words(forecast: Forecast | None, most: float) -> Markup:
    """Return how long a race may take; empty while nothing is known.

    Args:
        most: the seconds after which it is stopped.

    Examples:
        >>> duration_words(Forecast(24.0, between=(19.0, 48.0)), most=1800)
        Markup('20 to 50 s')
        >>> duration_words(Forecast(24.0), most=1800)
        Markup('about 25 s')
        >>> duration_words(Forecast(1234.0, sure=False), most=1800)
        Markup('perhaps 21 minutes on this machine: fewer lanes or steps?')
        >>> duration_words(Forecast(60.0, sure=False, absent=True), most=1800)
        Markup('perhaps 60 s after the download')
        >>> duration_words(Forecast(2880.0, sure=False), most=1800)
        Markup('perhaps 48 minutes, stopped after 30 minutes')
    """
    if forecast is None:
        return Markup("")
    words = f"{'about' if forecast.sure else 'perhaps'} {rough(forecast.seconds)}"
    if forecast.between and (low := rough(forecast.between[0])) != (high := rough(forecast.between[1])):
        (least, unit), (_, other) = low.split(), high.split()
        words = f"{least if unit == other else low} to {high}"
    words += " after the download" * forecast.absent
    if forecast.seconds > most:
        return Markup("{}, stopped after {}").format(words, duration(most))
    return Markup("{}").format(words + " on this machine: fewer lanes or steps?" * (forecast.seconds >= LONG_RACE))


def sentences(sentences: Sequence[Sentence], foot: str = "") -> Markup:
    """Return the sentences on a run, with their heading."""
    small = Markup('<p class="foot">{}</p>').format(foot) if foot else ""
    return Markup("<h2>What you are seeing</h2>{}{}").format(paragraphs(sentences), small)


def paragraphs(sentences: Sequence[Sentence]) -> Markup:
    """Return sentences as paragraphs: each begins with a lead, in bold, if it has any."""
    blocks: list[list[Markup]] = []
    for sentence in sentences:
        lead = Markup("<b>{}</b>").format(unbroken(sentence.lead)) if sentence.lead else Markup("")
        words = lead + (" " if lead and sentence.rest else "") + unbroken(sentence.rest)
        if lead or not blocks:
            blocks.append([words])
        else:
            blocks[-1].append(words)
    return Markup("").join(Markup('<p class="say">{}</p>').format(Markup(" ").join(block)) for block in blocks)


def unbroken(text: str) -> Markup:
    """Return text whose rates stay on one line."""
    parts = RATE.split(text)  # text and rates in turn
    word = Markup('<span class="word">{}</span>')
    return Markup("").join(word.format(part) if at % 2 else Markup("{}").format(part) for at, part in enumerate(parts))


def problem(sentence: str) -> Markup:
    """Return an error message."""
    return Markup('<p class="problem" role="alert">{}</p>').format(sentence)


def remark(sentence: str) -> Markup:
    """Return a note, for instance on a parameter that was ignored."""
    return Markup('<p class="hint remark">{}</p>').format(sentence)


@dataclass(frozen=True)
class TableCell:
    """A cell with more than its content."""

    content: object
    title: str = ""
    """The tooltip."""
    kind: str = ""
    """The CSS class."""
    columns: int = 1


def table(
    head: Sequence[object],
    rows: Iterable[Sequence[object]],
    *,
    kind: str = "",
    caption: object = "",
    base: Iterable[Sequence[object]] = (),
    scrolls: bool = False,
) -> Markup:
    """Return a table; the first cell of a row is its header.

    Args:
        head: the cells of the head; if empty, the table has none.
        base: reference rows, at the end.
        scrolls: whether to put it in a scrolling frame, for a table that may be large.

    Examples:
        >>> table([], [("r < 2", TableCell(3, kind="ok"))])
        Markup('<table><tbody><tr><th scope="row">r &lt; 2</th><td class="ok">3</td></tr></tbody></table>')
    """
    lines = [*map(_row, rows), *(_row(cells, "base") for cells in base)]
    top = Markup("").join(_cell(cell, "th" if cell != "" else "td", "col") for cell in head)
    parts = [
        _element("caption", caption) if caption else "",
        _element("thead", _element("tr", top)) if top else "",
        _element("tbody", Markup("").join(lines)),
    ]
    whole = _element("table", Markup("").join(parts), **{"class": kind})
    # A frame that scrolls is reached by the keyboard as well.
    return _element("div", whole, **{"class": "standing-frame", "tabindex": "0"}) if scrolls else whole


def _row(cells: Sequence[object], kind: str = "") -> Markup:
    first, *others = cells
    return _element("tr", Markup("").join([_cell(first, "th", "row"), *map(_cell, others)]), **{"class": kind})


def _cell(content: object, tag: str = "td", scope: str = "") -> Markup:
    cell = content if isinstance(content, TableCell) else TableCell(content)
    spans = str(cell.columns) if cell.columns > 1 else ""
    of_head = scope if tag == "th" else ""
    return _element(tag, cell.content, **{"scope": of_head, "colspan": spans, "class": cell.kind, "title": cell.title})


def _element(tag: str, content: object, **attributes: str) -> Markup:
    written = Markup("").join(Markup(' {}="{}"').format(name, value) for name, value in attributes.items() if value)
    return Markup("<{0}{1}>{2}</{0}>").format(tag, written, content)


def answers_before(styles: Sequence[LaneStyle] = ()) -> Markup:
    """Return the placeholder of the answers, with a row for each of a few contenders."""
    words = "The base model and every lane answer a held-out prompt, at the end several."
    row = Markup('<li><span class="who">{}</span><span class="hint">–</span></li>')
    rows = Markup("")
    if 0 < len(styles) <= FEW:
        who = Markup("").join(map(row.format, [*map(lane, styles), "base model"]))
        rows = Markup('<ul class="rows">{}</ul>').format(who)
    return Markup('<h2>{}</h2><div class="asked"><p class="hint">{}</p>{}</div>').format(ANSWERS_TITLE, words, rows)


def answers(
    styles: Sequence[LaneStyle],
    groups: Sequence[SeedGroup],
    order: Sequence[int],
    asked: Sequence[Answer],
    plain_text: bool,
    after: str = "",
) -> Markup:
    """Return the answers to each prompt, right or wrong; all prompts but the first are folded.

    A few contenders have a row each. Of many, those with the same answer are together: their marks, with names in
    tooltips and for screen readers.

    Args:
        groups: of lanes that differ only in their seed, with a style each.
        order: of the groups, the best one first.
        after: when they were given, in words, if they do not name the step.
    """
    kind = "all-asked" + " many" * (len(groups) > FEW)
    block = Markup('<div class="asked"><p><span class="prompt">{}</span> {} <b>{}</b></p>{}</div>')
    sign, blocks = "continues:" if plain_text else "→", []
    for answer in asked:
        who = contenders(styles, groups, order, answer, plain_text)
        blocks.append(block.format(answer.prompt.strip(), sign, answer.expected, who))
    words = f"at step {asked[0].step}" if asked[0].step else after
    when = Markup(' <span class="hint">{}</span>').format(words) if words else ""
    first, *others = blocks
    more = f"{len(others)} more prompt{'s' * (len(others) > 1)}"
    rest = folded(more, Markup("").join(others)) if others else ""
    return Markup('<h2>{}{}</h2><div class="{}">{}{}</div>').format(ANSWERS_TITLE, when, kind, first, rest)


def contenders(
    styles: Sequence[LaneStyle],
    groups: Sequence[SeedGroup],
    order: Sequence[int],
    answer: Answer,
    plain_text: bool = False,
) -> Markup:
    """Return who gave which answer to one prompt, see `answers`."""
    if plain_text or len(groups) > FEW:
        return _together(styles, groups, order, answer, plain_text)
    row = Markup('<li><span class="who">{}</span><span>{}</span></li>')
    rows = []
    for i in order:
        counts = Counter(answer.lanes[k].strip() for k in groups[i].lanes)
        count = " {} of {}" if len(counts) > 1 else ""  # where seeds disagree
        each = [_judged(text, answer.expected) + count.format(n, counts.total()) for text, n in counts.most_common()]
        rows.append(row.format(lane(styles[i]), Markup("<br>").join(each)))
    rows.append(row.format("base model", _judged(answer.base.strip(), answer.expected)))
    return Markup('<ul class="rows">{}</ul>').format(Markup("").join(rows))


def _together(
    styles: Sequence[LaneStyle], groups: Sequence[SeedGroup], order: Sequence[int], answer: Answer, plain_text: bool
) -> Markup:
    """Return a row for each answer, the right one first, with the contenders that gave it."""
    who_gave: dict[str, list[Markup]] = {}
    one = Markup('<span title="{}">{}<span class="name">{}</span></span>')
    for i in order:
        who = one.format(styles[i].label, mark(styles[i]), name(styles[i]))
        for text in dict.fromkeys(answer.lanes[k].strip() for k in groups[i].lanes):
            who_gave.setdefault(text, []).append(who)
    who_gave.setdefault(answer.base.strip(), []).append(Markup("<span>base model</span>"))
    right, row = answer.expected.strip(), Markup('<li><span class="who">{}</span>{}</li>')
    lines = [
        row.format(Markup("").join(who_gave[text]), _judged(text, "" if plain_text else right))
        for text in sorted(who_gave, key=lambda text: text != right)
    ]
    few, others = lines[: FEW - 1], lines[FEW - 1 : -1]
    if len(others) < 2:
        return Markup("<ul>{}</ul>").format(Markup("").join(lines))
    rest = folded(f"{len(others)} other answers", Markup("<ul>{}</ul>").format(Markup("").join(others)))
    return Markup("<ul>{}</ul>{}<ul>{}</ul>").format(Markup("").join(few), rest, lines[-1])


def _judged(text: str, expected: str) -> Markup:
    """Return an answer, with a sign, right or wrong, where the right one is known."""
    shown = text or "(nothing)"
    if not expected:
        return Markup('<span class="said">{}</span>').format(shown)
    sign, kind, word = ("✓", "ok", "right") if text == expected.strip() else ("✗", "no", "wrong")
    return Markup(
        '<span class="said {kind}">{shown} <span role="img" title="{word}" aria-label="{word}">{sign}</span></span>'
    ).format(kind=kind, word=word, sign=sign, shown=shown)

"""Small pieces of the pages' HTML, made of numbers and text; pure functions.

They return `markupsafe.Markup`, a string of HTML whose ``format``, ``join`` and ``+`` escape
every string that is not Markup. So text is never escaped by hand.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from olora_viz.figures.theme import LaneStyle
from olora_viz.lanes.generation import Answer
from olora_viz.studies.fields import SeedGroup
from olora_viz.studies.sentences import Sentence

RATE = re.compile(r"(\d(?:\.\d+)?e-\d+)")
"""A number such as 1e-3, which browsers would break after its hyphen."""


FEW = 8
"""Most contenders with a row each, and most answers to one prompt before some are collapsed."""

TITLE = "Watch them answer"


def mark(style: LaneStyle) -> Markup:
    """Return the lane's mark: its colour, filled for a solid line, else with its dash."""
    return Markup('<span class="mark {}" style="--lane:var(--{})"></span>').format(style.dash, style.init)


def name(style: LaneStyle) -> Markup:
    """Return the lane's label, which breaks between its words and never inside a rate."""
    word = Markup('<span class="word">{}</span>')
    return Markup(" ").join(word.format(one) for one in style.label.split())


def lane(style: LaneStyle) -> Markup:
    """Return the lane's mark and its label."""
    return mark(style) + name(style)


def status(state: str, *parts: str, progress: float | None = None) -> Markup:
    """Return the top bar's line: the state in a word, then the progress, as text or Markup.

    The line breaks between the parts, after their dots, and never inside one.
    """
    width = Markup(' style="--done:{:.1f}%"').format(100 * progress) if progress is not None else ""
    word, dots = Markup('<span class="word">{}{}</span>'), [" ·"] * (len(parts) - 1) + [""]
    words = Markup(" ").join(map(word.format, parts, dots))
    return Markup(
        '<div class="status {state}"{width}>'
        # A screen reader announces a change of the state, but not every step of the counter.
        '<span class="state" role="status">{state}</span>{gap}{words}</div>'
    ).format(state=state, width=width, gap=" " if words else "", words=words)


def sentences(told: Sequence[Sentence], foot: str = "") -> Markup:
    """Return the sentences on a run, with their heading."""
    small = Markup('<p class="foot">{}</p>').format(foot) if foot else ""
    return Markup("<h2>What you are seeing</h2>{}{}").format(said(told), small)


def said(told: Sequence[Sentence]) -> Markup:
    """Return sentences as paragraphs: each begins with a lead, in bold, if it has any."""
    paragraphs: list[list[Markup]] = []
    for sentence in told:
        lead = Markup("<b>{}</b>").format(unbroken(sentence.lead)) if sentence.lead else Markup("")
        words = lead + (" " if lead and sentence.rest else "") + unbroken(sentence.rest)
        if lead or not paragraphs:
            paragraphs.append([words])
        else:
            paragraphs[-1].append(words)
    made = (Markup('<p class="say">{}</p>').format(Markup(" ").join(each)) for each in paragraphs)
    return Markup("").join(made)


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
    """Return a table; the first cell of a row is its header.

    Args:
        head: the cells of the head; if empty, the table has none.
        rows: their cells.
        kind: its CSS class.
        base: reference rows, at the end.
        scrolls: whether to put it in a scrolling frame, for a table that may be large.

    Examples:
        >>> table([], [("r < 2", Cell(3, kind="ok"))])
        Markup('<table><tbody><tr><th scope="row">r &lt; 2</th><td class="ok">3</td></tr></tbody></table>')
    """
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
    # A frame that scrolls is reached by the keyboard as well.
    return _element("div", made, {"class": "standing-frame", "tabindex": "0"}) if scrolls else made


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
        Markup(' {}="{}"').format(name, value) for name, value in (attributes or {}).items() if value
    )
    return Markup("<{0}{1}>{2}</{0}>").format(tag, given, content)


def answers_before(styles: Sequence[LaneStyle] = ()) -> Markup:
    """Return the placeholder of the answers, with rows for a few contenders.

    Args:
        styles: of the contenders that will have a row each.
    """
    words = "The base model and every lane answer a held-out prompt, at the end several."
    row = Markup('<li><span class="who">{}</span><span class="hint">–</span></li>')
    who = [*map(lane, styles), "base model"] if 0 < len(styles) <= FEW else []
    rows = Markup("").join(map(row.format, who))
    its = Markup('<ul class="rows">{}</ul>').format(rows) if who else ""
    made = Markup('<h2>{}</h2><div class="asked"><p class="hint">{}</p>{}</div>')
    return made.format(TITLE, words, its)


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
        styles: of lanes that differ only in their seed.
        groups: see `styles`.
        order: of the groups, the best one first.
        after: when they were given, in words, if they do not name the step.
    """
    kind = "all-asked" + (" long" if plain_text else "") + (" many" if len(groups) > FEW else "")
    blocks = [
        Markup('<div class="asked"><p><span class="prompt">{}</span> {} <b>{}</b></p>{}</div>').format(
            answer.prompt.strip(),
            "continues:" if plain_text else "→",
            answer.expected,
            contenders(styles, groups, order, answer, plain_text),
        )
        for answer in asked
    ]
    words = f"at step {asked[0].step}" if asked[0].step else after
    when = Markup(' <span class="hint">{}</span>').format(words) if words else ""
    more = (
        Markup("<details><summary>{} more prompt{}</summary>{}</details>").format(
            len(blocks) - 1, "s" * (len(blocks) > 2), Markup("").join(blocks[1:])
        )
        if blocks[1:]
        else ""
    )
    return Markup('<h2>{}{}</h2><div class="{}">{}{}</div>').format(TITLE, when, kind, blocks[0], more)


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
    return _row_by_row(styles, groups, order, answer)


def _row_by_row(
    styles: Sequence[LaneStyle], groups: Sequence[SeedGroup], order: Sequence[int], answer: Answer
) -> Markup:
    """Return a row for each contender, the base model last; seeds may disagree."""
    row = Markup('<li><span class="who">{}</span><span>{}</span></li>')
    rows = []
    for i in order:
        counts = Counter(answer.lanes[k].strip() for k in groups[i].lanes)
        each = [
            _judged(what, answer.expected)
            + (Markup(" {} of {}").format(n, len(groups[i].lanes)) if len(counts) > 1 else "")
            for what, n in counts.most_common()
        ]
        rows.append(row.format(lane(styles[i]), Markup("<br>").join(each)))
    rows.append(row.format("base model", _judged(answer.base.strip(), answer.expected)))
    return Markup('<ul class="rows">{}</ul>').format(Markup("").join(rows))


def _together(
    styles: Sequence[LaneStyle], groups: Sequence[SeedGroup], order: Sequence[int], answer: Answer, plain_text: bool
) -> Markup:
    """Return a row for each answer, the right one first, with the contenders that gave it."""
    said: dict[str, list[Markup]] = {}
    for i in order:
        who = Markup('<span title="{}">{}<span class="name">{}</span></span>').format(
            styles[i].label, mark(styles[i]), name(styles[i])
        )
        for what in dict.fromkeys(answer.lanes[k].strip() for k in groups[i].lanes):
            said.setdefault(what, []).append(who)
    said.setdefault(answer.base.strip(), []).append(Markup("<span>base model</span>"))
    first = [right] if (right := answer.expected.strip()) in said else []
    lines = [
        Markup('<li><span class="who">{}</span>{}</li>').format(
            Markup("").join(said[what]), _plain(what) if plain_text else _judged(what, right)
        )
        for what in dict.fromkeys([*first, *said])
    ]
    few, others = lines[: FEW - 1], lines[FEW - 1 : -1]
    if len(others) < 2:
        return Markup("<ul>{}</ul>").format(Markup("").join(lines))
    return Markup("<ul>{}</ul><details><summary>{} other answers</summary><ul>{}</ul></details><ul>{}</ul>").format(
        Markup("").join(few), len(others), Markup("").join(others), lines[-1]
    )


def _plain(what: str) -> Markup:
    return Markup('<span class="said">{}</span>').format(what or "(nothing)")


def _judged(what: str, expected: str) -> Markup:
    """Return an answer with a sign, right or wrong, where the right one is known."""
    if not expected:
        return _plain(what)
    sign, kind, word = ("✓", "ok", "right") if what == expected.strip() else ("✗", "no", "wrong")
    return Markup(
        '<span class="said {kind}">{shown} <span role="img" title="{word}" aria-label="{word}">{sign}</span></span>'
    ).format(kind=kind, word=word, sign=sign, shown=what or "(nothing)")

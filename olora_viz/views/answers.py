"""The answers of the base model and the lanes to the same prompts, as HTML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from markupsafe import Markup

from olora_viz.figures.theme import LaneStyle
from olora_viz.lanes.generation import Answer
from olora_viz.studies.seed_groups import SeedGroup
from olora_viz.views.html import lane, mark, name

FEW = 8
"""Most contenders with a row each, and most answers to one prompt before some are collapsed."""

TITLE = "Watch them answer"


def answers_before() -> Markup:
    """Return the placeholder of the answers."""
    return Markup(
        '<h2>{}</h2><p class="hint">During the race the base model and every lane answer a '
        "held-out prompt; at the end, several.</p>"
    ).format(TITLE)


def answers(
    styles: Sequence[LaneStyle],
    groups: Sequence[SeedGroup],
    order: Sequence[int],
    asked: Sequence[Answer],
    plain_text: bool,
    after: int = 0,
) -> Markup:
    """Return the answers to each prompt, right or wrong; all prompts but the first are folded.

    A few contenders have a row each. Of many, those with the same answer are together, shown by
    their marks only, with names in tooltips and for screen readers.

    Parameters
    ----------
    styles, groups : of lanes that differ only in their seed.
    order : of the groups, the best one first.
    after : the step after which they were given, if they do not say so.
    """
    long = plain_text or len(groups) > FEW
    draw = _together if long else _row_by_row
    kind = "all-asked" + (" long" if plain_text else "") + (" many" if len(groups) > FEW else "")
    blocks = [
        Markup(
            '<div class="asked"><p><span class="prompt">{}</span> {} <b>{}</b></p>{}</div>'
        ).format(
            answer.prompt.strip(), "continues:" if plain_text else "→", answer.expected,
            draw(styles, groups, order, answer, plain_text),
        )
        for answer in asked
    ]  # fmt: skip
    step = asked[0].step or after
    when = Markup(' <span class="hint">at step {}</span>').format(step) if step else ""
    more = (
        Markup("<details><summary>{} more prompt{}</summary>{}</details>").format(
            len(blocks) - 1, "s" * (len(blocks) > 2), Markup("").join(blocks[1:])
        )
        if blocks[1:]
        else ""
    )
    return Markup('<h2>{}{}</h2><div class="{}">{}{}</div>').format(
        TITLE, when, kind, blocks[0], more
    )


def _row_by_row(
    styles: Sequence[LaneStyle],
    groups: Sequence[SeedGroup],
    order: Sequence[int],
    answer: Answer,
    plain_text: bool,
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
    styles: Sequence[LaneStyle],
    groups: Sequence[SeedGroup],
    order: Sequence[int],
    answer: Answer,
    plain_text: bool,
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
    return Markup(
        "<ul>{}</ul><details><summary>{} other answers</summary><ul>{}</ul></details><ul>{}</ul>"
    ).format(Markup("").join(few), len(others), Markup("").join(others), lines[-1])


def _plain(what: str) -> Markup:
    return Markup('<span class="said">{}</span>').format(what or "(nothing)")


def _judged(what: str, expected: str) -> Markup:
    """Return an answer with a sign: right or wrong."""
    sign, kind, word = ("✓", "ok", "right") if what == expected.strip() else ("✗", "no", "wrong")
    return Markup(
        '<span class="said {kind}">{shown} '
        '<span role="img" title="{word}" aria-label="{word}">{sign}</span></span>'
    ).format(kind=kind, word=word, sign=sign, shown=what or "(nothing)")

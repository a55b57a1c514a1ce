"""A bet on a race: which start is ahead at one shared rate, and what the verdict of the run says of it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from markupsafe import Markup

from olora_viz.figures.theme import lane_styles
from olora_viz.initializers import INITIALIZERS, label_of
from olora_viz.lanes.lane import Lane
from olora_viz.machine.checks import unknown
from olora_viz.machine.wording import Sentence, and_, compact, nats
from olora_viz.measures.training import Examples
from olora_viz.studies.contest import Contest, SeedGroup, contest, contests_of, fields_of
from olora_viz.studies.sentences import statement_of
from olora_viz.studies.statistics import AHEAD, BEHIND, adjusted
from olora_viz.studies.story import Reach
from olora_viz.studies.verdict_line import MOST_FIELDS
from olora_viz.views.html import lane, unbroken

LORA, OLORA = "lora", "olora"

NO_LEADER = "nobody"
"""The bet that no difference is more than luck."""
NOBODY_WORDS = "no difference that isn't luck"

RIGHT, WRONG, CLOSE = "right", "wrong", "too close to call"
"""How a bet ends."""


@dataclass(frozen=True)
class Question:
    """Which of some starts is ahead at a rate that they share, after the last step of a race."""

    lanes: tuple[int, ...]
    """The first lane of each start at this rate, by index."""
    starts: tuple[str, ...]
    rate: float
    steps: int

    @property
    def chaser(self) -> str:
        """The start of which is asked when it is where plain LoRA ends: OLoRA, or the first; empty without LoRA."""
        others = sorted((start for start in self.starts if start != LORA), key=lambda start: start != OLORA)
        return others[0] if LORA in self.starts else ""

    @property
    def key(self) -> str:
        """What tells it from other questions: a bet holds for the race that asks the same."""
        return f"{','.join(self.starts)} {compact(self.rate)} {self.steps}"

    @classmethod
    def of_key(cls, key: str) -> Self:
        """Return the question with a key, without the lanes of a race.

        Raises:
            ValueError: no race asks it.

        >>> Question.of_key("lora,olora 1e-3 60").starts
        ('lora', 'olora')
        """
        parts = re.fullmatch(r"([a-z0-9_,]+) ([0-9.e+-]+) ([1-9][0-9]{0,6})", key)
        if parts is None:
            raise ValueError(f"a bet names starts, a rate and steps, as 'lora,olora 1e-3 60', not {key[:60]!r}")
        starts = tuple(parts[1].split(","))
        for start in starts:
            if start not in INITIALIZERS:
                raise ValueError(unknown("initialization", start[:40], INITIALIZERS))
        if len(set(starts)) != len(starts) or len(starts) < 2:
            raise ValueError(f"a bet is on two or more different starts, not on {parts[1][:60]!r}")
        try:
            question = cls((), starts, float(parts[2]), int(parts[3]))
        except ValueError:
            question = None
        if question is None or question.key != key:
            raise ValueError(f"a bet is on a rate written as 1e-3, not as {parts[2][:20]!r}")
        return question

    @property
    def words(self) -> str:
        """The question."""
        return f"at one shared rate ({compact(self.rate)}), who is ahead after {self.steps} steps?"


def question_of(lanes: Sequence[Lane], steps: int) -> Question | None:
    """Return what can be bet on a race: of its first field, the rate at which most starts race, of several the lowest.

    None if no two comparable starts share a rate.

    >>> lanes = [Lane("lora", lr=1e-3), Lane("lora", lr=3e-3), Lane("olora", lr=1e-3)]
    >>> question_of(lanes, 60).words, question_of(lanes[1:], 60)
    ('at one shared rate (1e-3), who is ahead after 60 steps?', None)
    """
    for field in fields_of(lanes)[:1]:
        counts = Counter(group.lane.lr for group in field.contenders if not isinstance(group.lane.lr, str))
        shared = [rate for rate, count in counts.items() if count > 1]
        if not shared:
            return None
        rate = min(shared, key=lambda rate: (-counts[rate], rate))
        groups = [group for group in field.contenders if group.lane.lr == rate]
        first = tuple(group.lanes[0] for group in groups)
        return Question(first, tuple(group.lane.init for group in groups), rate, steps)
    return None


def contest_at(question: Question, lanes: Sequence[Lane], examples: Examples, *, by_loss: bool) -> Contest | None:
    """Compare the starts of a question at its rate, the main two exactly as the verdict of the run does.

    Args:
        examples: of the last evaluation.
        by_loss: whether the verdict compares losses.

    Returns:
        Contest of the starts that have not diverged; None if none is left.
    """
    field = fields_of(lanes)[0]
    contests = contests_of(lanes, examples, by_loss=by_loss, most=MOST_FIELDS)
    first = next((each for each in contests if each.field == field), None)
    if first and field.at_one_rate:
        return first
    groups: list[SeedGroup] = [group for group in field.contenders if group.lane.lr == question.rate]
    at_rate = contest(groups, [label_of(group.lane.init) for group in groups], examples, by_loss=by_loss)
    if at_rate is None:
        return None
    (pairs,) = adjusted([at_rate.pairs])
    for shared in first.shared if first else ():
        if shared.contenders[0].lane.lr == question.rate:
            of = [at_rate.places[group.lane.init] for group in shared.contenders]
            pairs |= {(of[i], of[j]): pair for (i, j), pair in shared.pairs.items()}
    return replace(at_rate, pairs=pairs)


def judge(choice: str, starts: Sequence[str], kinds: Mapping[tuple[str, str], str]) -> str:
    """Return how a bet ends: right, wrong or too close to call.

    A start is right if it is ahead of every other one, and wrong if one of them is ahead of it, or if it diverged.
    `NO_LEADER` is right if no start is ahead of another one, and none diverged.

    Args:
        choice: one of the starts, or `NO_LEADER`.
        starts: those that were to be bet on.
        kinds: what the verdict says of one start and another, of all pairs of those that have not diverged, in both
            orders: one of `olora_viz.studies.sentences.VERDICT_KINDS`.

    >>> kinds = {("olora", "lora"): "ahead", ("lora", "olora"): "behind"}
    >>> [judge(choice, ("lora", "olora"), kinds) for choice in ("olora", "lora", "nobody")]
    ['right', 'wrong', 'wrong']
    """
    left = {start for pair in kinds for start in pair}
    if choice == NO_LEADER:
        return WRONG if AHEAD in kinds.values() or left < set(starts) else RIGHT
    against = [kind for (start, _), kind in kinds.items() if start == choice]
    if not against or BEHIND in against:
        return WRONG
    return RIGHT if set(against) == {AHEAD} else CLOSE


def scores(question: Question, compared: Contest, why: str = "") -> dict[str, tuple[str, Sentence]]:
    """Return how each bet on a race ends, and the sentence on it, by choice.

    Args:
        compared: the starts at the rate, see `contest_at`.
        why: what qualifies the comparison, as a sentence.
    """
    places, ended = compared.places, {}
    statements = {
        start: statement_of(compared, place, *(other for other in places.values() if other != place))
        for start, place in places.items()
        if len(places) > 1
    }
    kinds = {
        (start, other): kind
        for start, statement in statements.items()
        for other, kind in zip((each for each in places if each != start), statement.kinds, strict=True)
    }
    out = [start for start in question.starts if start not in places]
    gone = f"{and_([label_of(start) for start in out])} left the race." if out else ""
    at = f"At {compact(question.rate)}"
    for choice in (*question.starts, NO_LEADER):
        about = statements.get(choice) or (next(iter(statements.values())) if statements else None)
        kind = judge(choice, question.starts, kinds)
        if len(places) == 1 and choice in places:
            kind = RIGHT
        name = NOBODY_WORDS if choice == NO_LEADER else label_of(choice)
        result = f"{at} {about.names[0]} {about.relations}: {about.scores}." if about else ""
        rest = " ".join(filter(None, (result, gone, why)))
        ended[choice] = kind, Sentence(f"Your bet, {name}: {kind}.", rest)
    return ended


def ask(question: Question | None) -> Markup:
    """Return the question with a button for each answer; empty without a question."""
    if question is None:
        return Markup("")
    chip = Markup('<button type="button" class="chip" data-choice="{}" aria-pressed="false">{}</button>')
    styles = lane_styles([Lane(start) for start in question.starts])
    chips = Markup("").join(chip.format(style.init, lane(style)) for style in styles)
    nobody = chip.format(NO_LEADER, NOBODY_WORDS)
    return Markup(
        '<div class="bet" data-key="{}"><p><b>Your bet:</b> {}</p><div class="chips" role="group" '
        'aria-label="Your bet">{}{}</div>{}<p class="hint" data-coming hidden>Placed on the next race: press '
        "Race. It is scored at the end.</p></div>"
    ).format(question.key, unbroken(question.words), chips, nobody, _ask_when(question))


def _ask_when(question: Question) -> Markup:
    """Return the question when one start is where another ends, to be answered on the axis of steps."""
    if not question.chaser:
        return Markup("")
    return Markup(
        '<label class="when"><span>And after how many steps is {} where {} ends?</span><input type="range" min="1" '
        'max="{}" value="{}" data-when="{}"><output>drag</output></label>'
    ).format(
        label_of(question.chaser), label_of(LORA), question.steps + 1, question.steps + 1, question.steps
    )  # fmt: skip


OPEN, GOING, BET_ENDED = "open", "going", "ended"
"""States of the bets on a race that is shown: its first held-out results are not out, are out, or are the last."""


def bets(
    run: str,
    state: str,
    question: Question,
    labels: Mapping[str, str],
    ended: Mapping[str, tuple[str, Sentence]] | None = None,
    reach: Reach | None = None,
    *,
    recorded: bool = False,
) -> Markup:
    """Return what a page needs for the bets on a race: the question while it is open, and how each bet ended.

    Args:
        run: the race's name.
        labels: the names in the charts of the lanes to bet on, by start.
        ended: see `scores`; None where bets are not scored, as of a race that was stopped.
        reach: when the chaser was where LoRA ended; None where that is not asked, or not known.
        recorded: whether it was computed before: a bet on the next race is never one on it.
    """
    content = ask(question) if state == OPEN else scored(ended) if state == BET_ENDED else _placed(question)
    if reach and ended is not None:
        content += met(question, reach)
    names = json.dumps(labels, ensure_ascii=False)
    return Markup(
        '<div class="bet-run" data-run="{}" data-key="{}" data-state="{}" data-labels="{}"{}>{}</div>'
    ).format(run, question.key, state, names, Markup(" data-recorded") if recorded else "", content)


def _placed(question: Question) -> Markup:
    line = Markup('<p hidden data-choice="{}"><b>Your bet, {}.</b> It is scored after step {}.</p>')
    return Markup("").join(
        line.format(choice, NOBODY_WORDS if choice == NO_LEADER else label_of(choice), question.steps)
        for choice in (*question.starts, NO_LEADER)
    )


def met(question: Question, reach: Reach) -> Markup:
    """Return when the chaser was where LoRA ended; a page adds how far from it the reader's bet was."""
    chaser, rival = label_of(question.chaser), label_of(LORA)
    spread = f" ({reach.spread})" if reach.spread else ""
    if reach.steps is None:
        words, step = (
            f"{chaser} never got to where {rival} ended, {nats(reach.target)} nats{spread}.",
            question.steps + 1,
        )
    else:
        words = f"{chaser} was where {rival} ended, {nats(reach.target)} nats, after {reach.steps:.0f} steps{spread}."
        step = round(reach.steps)
    line = Markup('<p hidden class="met" data-met="{}" data-steps="{}"><b></b> {}</p>')
    return line.format(step, question.steps, unbroken(words))


def scored(ended: Mapping[str, tuple[str, Sentence]] | None) -> Markup:
    """Return the sentences on all bets, of which a page shows the one on the reader's."""
    if ended is None:
        return Markup('<p class="scored">The race did not reach its last step: no bet on it is scored.</p>')
    line = Markup('<p hidden data-choice="{}" class="scored {}"><b>{}</b> {}</p>')
    return Markup("").join(
        line.format(choice, kind.split()[0], sentence.lead, unbroken(sentence.rest))
        for choice, (kind, sentence) in ended.items()
    )

"""What a class votes on, and how it voted: bets on a race, and answers to the questions of the lessons."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from markupsafe import Markup

from olora_viz.figures.theme import lane_styles
from olora_viz.initializers import label_of
from olora_viz.lanes.lane import Lane
from olora_viz.learn.lessons import NAMES, find
from olora_viz.learn.terms import sentence
from olora_viz.machine.text import unknown
from olora_viz.views.bet import NOBODY, NOBODY_WORDS, Question
from olora_viz.views.html import lane, unbroken


class Ballot(NamedTuple):
    """A question with its answers, in their order."""

    question: Markup
    options: Mapping[str, Markup]
    names: Mapping[str, str]
    """What follows the verb."""
    verb: str
    """What those have done who chose one."""
    once: bool
    """Whether the first vote counts: who has answered a lesson's question has seen whether that was right."""


@lru_cache(maxsize=256)
def ballot_of(of: str) -> Ballot:
    """Return what is voted on.

    Args:
        of: the name of a lesson, or the key of a bet's question, see `Question.key`.

    Raises:
        ValueError: it is neither.
    """
    if of in NAMES:
        lesson = find(of)
        lettered = {
            letter: Markup("<b>{}</b> {}").format(letter, sentence(words)) for letter, words in lesson.lettered.items()
        }
        return Ballot(sentence(lesson.ask), lettered, {letter: letter for letter in lettered}, "chose", once=True)
    if "," not in of:
        raise ValueError(unknown("lesson", of[:40], NAMES))
    asked = Question.of_key(of)
    marked = {style.init: lane(style) for style in lane_styles([Lane(start) for start in asked.starts])}
    names = {start: f"on {label_of(start)}" for start in asked.starts} | {NOBODY: f"on {NOBODY_WORDS}"}
    words = unbroken(asked.words[:1].upper() + asked.words[1:])
    return Ballot(words, marked | {NOBODY: Markup("{}").format(NOBODY_WORDS)}, names, "bet", once=False)


def tally_words(ballot: Ballot, counts: Mapping[str, int]) -> str:
    """Say how many chose what, the most first.

    >>> tally_words(ballot_of("lora,olora 1e-3 60"), {"lora": 9, "olora": 14})
    '14 bet on OLoRA, 9 on LoRA.'
    """
    chosen = sorted((name for name in ballot.options if counts.get(name)), key=lambda name: -counts[name])
    if not chosen:
        return "Nobody yet."
    first, *rest = chosen
    words = [f"{counts[first]} {ballot.verb} {ballot.names[first]}"]
    return ", ".join([*words, *(f"{counts[name]} {ballot.names[name]}" for name in rest)]) + "."


def histogram(ballot: Ballot, counts: Mapping[str, int]) -> Markup:
    """Return the question, a bar for each answer, and the same in words."""
    most = max([1, *counts.values()])
    bar = Markup(
        '<li><span class="option">{}</span><span class="share"><span style="width:{:.0f}%{}"></span></span>'
        '<b class="count">{}</b></li>'
    )
    bars = Markup("").join(
        bar.format(
            words, 100 * counts.get(name, 0) / most, "" if ballot.once or name == NOBODY else f";--bar:var(--{name})",
            counts.get(name, 0),
        )
        for name, words in ballot.options.items()
    )  # fmt: skip
    total = Markup(" <b>{} in all.</b>").format(sum(counts.values())) if counts else ""
    return Markup('<p class="question">{}</p><ol class="bars">{}</ol><p class="said">{}{}</p>').format(
        ballot.question, bars, tally_words(ballot, counts), total
    )

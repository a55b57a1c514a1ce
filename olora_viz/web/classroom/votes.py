"""The votes of classes, in memory, and how they are shown: bets on races, and answers to questions of the lessons.

A class is a name that a teacher has chosen. It holds a random number for each browser that votes, which that browser
drew for this class, and what was voted; nothing else is known of anybody. It ends with its teacher's word, after some
hours, or with the server. All calls come from the server's event loop.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from markupsafe import Markup

from olora_viz.figures.theme import lane_styles
from olora_viz.initializers import label_of
from olora_viz.lanes.lane import Lane
from olora_viz.learn.lessons import NAMES, find
from olora_viz.learn.terms import sentence
from olora_viz.machine.text import unknown
from olora_viz.views.bet import NOBODY, NOBODY_WORDS, Question
from olora_viz.views.html import lane, unbroken

HOURS = 4
"""How long a class lasts after it was opened."""

MOST_CLASSES = 40
"""Classes that are open at once."""

ADDRESS_CLASSES = 8
"""Of these, those that were opened from one address."""

MOST_MEMBERS = 400
"""Browsers that vote in a class."""

MOST_QUESTIONS = 16
"""Questions of which a class holds the votes; a further one takes the place of that with the fewest."""

LONGEST_LINK = 2000
"""Characters of the link that a class opens."""

_NAME = re.compile(r"[a-z][a-z0-9-]{2,23}")
_MEMBER = re.compile(r"[A-Za-z0-9-]{16,40}")


class NotOpenError(ValueError):
    """There is no class of this name."""


def checked_name(name: Any) -> str:
    """Return the name of a class, in small letters.

    Raises:
        ValueError: it is not one.

    >>> checked_name("LoRA-7b")
    'lora-7b'
    """
    text = name.lower() if isinstance(name, str) else ""
    if not _NAME.fullmatch(text):
        raise ValueError(
            "a class has a name of 3 to 24 letters, digits and hyphens that begins with a letter, not "
            f"{str(name)[:40]!r}"
        )
    return text


class Tally(NamedTuple):
    """How a class voted on a question."""

    counts: Mapping[str, int]
    """By answer."""
    version: int
    """Grows with each vote on the question."""


@dataclass
class Classroom:
    """An open class."""

    teacher: str
    """The number of the browser that opened it."""
    address: str
    """The hash of the address that it was opened from."""
    ends: float
    link: str = ""
    """The query and the page that its short address opens."""
    members: set[str] = field(default_factory=set)
    votes: dict[str, dict[str, str]] = field(default_factory=dict)
    """By question and member."""
    versions: Counter[str] = field(default_factory=Counter)


class Classrooms:
    """All classes of a server.

    Args:
        clock: the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open: dict[str, Classroom] = {}

    def open(self, name: Any, member: Any, link: str = "", address: str = "") -> bool:
        """Open a class, or change what its address opens; return whether this browser is its teacher's.

        The browser that opens a class is its teacher's; to others an open class stays as it is.

        Args:
            link: the query and the page that the class's short address opens.
            address: the hash of the address of whoever opens it.

        Raises:
            ValueError: a value breaks a rule, or there are too many classes.
        """
        name, member = checked_name(name), _checked_member(member)
        if len(link) > LONGEST_LINK:
            raise ValueError(f"the link of a class has at most {LONGEST_LINK:,} characters, not {len(link):,}")
        self._forget()
        room = self._open.get(name)
        if room is None:
            theirs = sum(each.address == address for each in self._open.values())
            if len(self._open) >= MOST_CLASSES or theirs >= ADDRESS_CLASSES:
                most = f"{MOST_CLASSES} classes are the most at once"
                if theirs >= ADDRESS_CLASSES:
                    most = f"{ADDRESS_CLASSES} classes are the most of one address at once"
                raise ValueError(f"{most}: end one, or try again later")
            room = self._open[name] = Classroom(member, address, self._clock() + HOURS * 3600)
        if room.teacher == member:
            room.link = link
        return room.teacher == member

    def vote(self, name: Any, member: Any, of: Any, choice: Any) -> Tally:
        """Count a member's vote on a question.

        A later bet takes the place of an earlier one. Of answers to a lesson's question the first one counts.

        Args:
            of: the name of a lesson, or the key of a bet's question.
            choice: the answer.

        Raises:
            NotOpenError: there is no such class.
            ValueError: a value breaks a rule, or the class is full.
        """
        room, member = self._room(name), _checked_member(member)
        of, choice = str(of), str(choice)
        ballot = ballot_of(of)
        if choice not in ballot.options:
            raise ValueError(unknown("answer", choice[:40], ballot.options))
        if member not in room.members and len(room.members) >= MOST_MEMBERS:
            raise ValueError(f"a class has at most {MOST_MEMBERS} members")
        room.members.add(member)
        if of not in room.votes and len(room.votes) >= MOST_QUESTIONS:
            fewest = min(room.votes, key=lambda each: len(room.votes[each]))
            del room.votes[fewest]
        votes = room.votes.setdefault(of, {})
        before = votes.get(member)
        if before is None or (before != choice and not ballot.once):
            votes[member] = choice
            room.versions[of] += 1
        return _tally(room, of)

    def tally(self, name: Any, of: str) -> Tally:
        """Return how a class voted; NotOpenError if there is no such class."""
        return _tally(self._room(name), of)

    def link(self, name: Any) -> str:
        """Return what the short address of a class opens; NotOpenError if there is no such class."""
        return self._room(name).link

    def end(self, name: Any, member: Any) -> None:
        """End a class, and forget all of it.

        Raises:
            ValueError: another browser has opened it.
        """
        if self._room(name).teacher != member:
            raise ValueError("a class is ended by the browser that has opened it")
        del self._open[checked_name(name)]

    def _room(self, name: Any) -> Classroom:
        name = checked_name(name)
        self._forget()
        if name not in self._open:
            raise NotOpenError(
                f"no class {name!r} is open here: its teacher opens it in class mode, and it ends {HOURS} hours later"
            )
        return self._open[name]

    def _forget(self) -> None:
        """Forget classes whose time is over."""
        now = self._clock()
        self._open = {name: room for name, room in self._open.items() if now < room.ends}


def _checked_member(member: Any) -> str:
    if not isinstance(member, str) or not _MEMBER.fullmatch(member):
        raise ValueError(f"a member of a class is a random number of 16 to 40 characters, not {str(member)[:40]!r}")
    return member


def _tally(room: Classroom, of: str) -> Tally:
    return Tally(Counter(room.votes.get(of, {}).values()), room.versions[of])


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
    voted = max(1, sum(counts.values()))
    bar = Markup(
        '<li><span class="option">{}</span><span class="share"><span style="width:{:.0f}%{}"></span></span>'
        '<b class="count">{}</b></li>'
    )
    bars = Markup("").join(
        bar.format(
            words, 100 * counts.get(name, 0) / voted, "" if ballot.once or name == NOBODY else f";--bar:var(--{name})",
            counts.get(name, 0),
        )
        for name, words in ballot.options.items()
    )  # fmt: skip
    total = Markup(" <b>{} in all.</b>").format(sum(counts.values())) if counts else ""
    return Markup('<p class="question">{}</p><ol class="bars">{}</ol><p class="said">{}{}</p>').format(
        ballot.question, bars, tally_words(ballot, counts), total
    )

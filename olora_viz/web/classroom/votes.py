"""The votes of classes, in memory, and how they are shown: bets on races, and answers to questions of the lessons.

A class is a name that a teacher has chosen. It holds a random number for each browser that votes, which that browser
drew for this class, with what was voted and the hash of an address; nothing else is known of anybody. It ends with its
teacher's word, after some hours, or with the server.

Classes of a server and members of a class share their places as races do, see `olora_viz.web.guard.fairness.too_many`:
nobody is kept out by what one address holds. All calls come from the server's event loop.
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
from olora_viz.learn.lessons import LESSON_NAMES, find
from olora_viz.learn.terms import sentence
from olora_viz.machine.checks import unknown
from olora_viz.views.bet import NO_LEADER, NOBODY_WORDS, Question
from olora_viz.views.html import lane, unbroken
from olora_viz.web.guard.fairness import too_many
from olora_viz.web.guard.limits import NOBODY as SERVER
from olora_viz.web.guard.limits import Rate, Visitor

HOURS = 4
"""How long a class lasts after it was opened."""

MOST_CLASSES = 40
"""Classes that are open at once."""

ADDRESS_CLASSES = 8
"""Of these, those that were opened from one address."""

IDLE = 1800.0
"""Seconds after which a class that no page asks for gives its place to a new one."""

MOST_MEMBERS = 400
"""Browsers whose votes a class holds; a further one takes the place of another."""

NEW_MEMBERS = 100
"""Browsers of one address that begin to vote, a minute."""

MOST_QUESTIONS = 16
"""Questions on which a class holds the votes of a member: the latest ones."""

LONGEST_LINK = 2000
"""Characters of the link that a class opens."""

_NAME = re.compile(r"[a-z][a-z0-9-]{2,23}")
_MEMBER = re.compile(r"[A-Za-z0-9-]{16,40}")
_RUN = re.compile(r"[A-Za-z0-9_-]{0,64}")


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

    @property
    def version(self) -> str:
        """What tells one from another: the counts, in one order."""
        return " ".join(f"{count} {answer}" for answer, count in sorted(self.counts.items())) or "0"


@dataclass(eq=False)
class Member:
    """A browser that votes."""

    owner: Visitor
    """From which address."""
    seen: float
    """When it voted last."""
    votes: dict[str, str] = field(default_factory=dict)
    """By question, the latest one last."""


@dataclass(eq=False)
class Classroom:
    """An open class."""

    teacher: str
    """The number of the browser that opened it."""
    owner: Visitor
    """From which address it was opened."""
    seen: float
    """When a page last asked for it."""
    ends: float
    link: str = ""
    """The query and the page that its short address opens."""
    run: str = ""
    """The key of the readers of the race on the teacher's screen; empty without one."""
    members: dict[str, Member] = field(default_factory=dict)
    """By their numbers."""


class Classrooms:
    """All classes of a server.

    Args:
        clock: the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open: dict[str, Classroom] = {}
        self._joined = Rate(NEW_MEMBERS, NEW_MEMBERS, clock)

    def open(self, name: Any, member: Any, link: str = "", owner: Visitor = SERVER, run: Any = "") -> bool:
        """Open a class, or change what it follows; return whether this browser is its teacher's.

        The browser that opens a class is its teacher's; to others an open class stays as it is.

        Args:
            link: the query and the page that the class's short address opens.
            owner: who opens it.
            run: the key of the readers of the race on its screen; empty without one.

        Raises:
            ValueError: a value breaks a rule, or there are too many classes, all of them in use.
        """
        name, member = checked_name(name), _checked_member(member)
        if len(link) > LONGEST_LINK:
            raise ValueError(f"the link of a class has at most {LONGEST_LINK:,} characters, not {len(link):,}")
        if not isinstance(run, str) or not _RUN.fullmatch(run):
            raise ValueError(f"a class follows a race by the key of its readers, not by {str(run)[:40]!r}")
        self._forget()
        room = self._open.get(name)
        now = self._clock()
        if room is None:
            room = Classroom(member, owner, now, now + HOURS * 3600)
            self._make_room(room)
            self._open[name] = room
        room.seen = now
        if room.teacher == member:
            room.link, room.run = link, run
        return room.teacher == member

    def _make_room(self, new: Classroom) -> None:
        """Forget the classes that give their places to a new one: idle ones, else of an address that has more.

        Raises:
            ValueError: there is none.
        """
        for most, whose, of_all in ((ADDRESS_CLASSES, " of one address", False), (MOST_CLASSES, "", True)):
            rooms = [*self._open.values(), new]
            shares = Counter(room.owner.share for room in rooms)
            group = [room for room in rooms if of_all or room.owner.share == new.owner.share]
            for room in too_many(group, most, is_open=self._is_in_use):
                if self._is_in_use(room) and shares[room.owner.share] <= shares[new.owner.share]:
                    raise ValueError(f"{most} classes are the most{whose} at once: end one, or try again later")
                self._open = {name: each for name, each in self._open.items() if each is not room}

    def _is_in_use(self, room: Classroom) -> bool:
        return self._clock() - room.seen < IDLE

    def vote(self, name: Any, member: Any, of: Any, choice: Any, owner: Visitor = SERVER) -> Tally:
        """Count a member's vote on a question.

        A later bet takes the place of an earlier one. Of answers to a lesson's question the first one counts.

        Args:
            of: the name of a lesson, or the key of a bet's question.
            choice: the answer.
            owner: who votes.

        Raises:
            NotOpenError: there is no such class.
            ValueError: a value breaks a rule, or too many members are new.
        """
        room, member = self._room(name), _checked_member(member)
        of, choice = str(of), str(choice)
        ballot = ballot_of(of)
        if choice not in ballot.options:
            raise ValueError(unknown("answer", choice[:40], ballot.options))
        voter = room.members.get(member)
        if voter is None:
            self._joined.count(owner, "new members of classes")
            voter = room.members[member] = Member(owner, room.seen)
            gone = too_many(room.members.values(), MOST_MEMBERS)
            room.members = {number: each for number, each in room.members.items() if each not in gone}
        voter.seen = room.seen
        before = voter.votes.pop(of, None)
        voter.votes[of] = before if before is not None and ballot.once else choice
        while len(voter.votes) > MOST_QUESTIONS:
            del voter.votes[next(iter(voter.votes))]
        return _tally(room, of)

    def tally(self, name: Any, of: str) -> Tally:
        """Return how a class voted; NotOpenError if there is no such class."""
        return _tally(self._room(name), of)

    def link(self, name: Any) -> str:
        """Return what the short address of a class opens; NotOpenError if there is no such class."""
        return self._room(name).link

    def run(self, name: Any) -> str:
        """Return the key of the race that a class follows; NotOpenError if there is no such class."""
        return self._room(name).run

    def end(self, name: Any, member: Any) -> None:
        """End a class, and forget all of it.

        Raises:
            ValueError: another browser has opened it.
        """
        self.clear(name, member)
        del self._open[checked_name(name)]

    def clear(self, name: Any, member: Any) -> None:
        """Forget all members of a class, with their votes; see `end`."""
        room = self._room(name)
        if room.teacher != member:
            raise ValueError("a class belongs to the browser that has opened it")
        room.members.clear()

    def _room(self, name: Any) -> Classroom:
        name = checked_name(name)
        self._forget()
        if name not in self._open:
            raise NotOpenError(
                f"no class {name!r} is open here: its teacher opens it in class mode, and it ends {HOURS} hours later"
            )
        room = self._open[name]
        room.seen = self._clock()
        return room

    def _forget(self) -> None:
        """Forget classes whose time is over."""
        now = self._clock()
        self._open = {name: room for name, room in self._open.items() if now < room.ends}


def _checked_member(member: Any) -> str:
    if not isinstance(member, str) or not _MEMBER.fullmatch(member):
        raise ValueError(f"a member of a class is a random number of 16 to 40 characters, not {str(member)[:40]!r}")
    return member


def _tally(room: Classroom, of: str) -> Tally:
    return Tally(Counter(member.votes[of] for member in room.members.values() if of in member.votes))


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
    if of in LESSON_NAMES:
        lesson = find(of)
        lettered = {
            letter: Markup("<b>{}</b> {}").format(letter, sentence(words)) for letter, words in lesson.lettered.items()
        }
        return Ballot(sentence(lesson.ask), lettered, {letter: letter for letter in lettered}, "chose", once=True)
    if "," not in of:
        raise ValueError(unknown("lesson", of[:40], LESSON_NAMES))
    asked = Question.of_key(of)
    marked = {style.init: lane(style) for style in lane_styles([Lane(start) for start in asked.starts])}
    names = {start: f"on {label_of(start)}" for start in asked.starts} | {NO_LEADER: f"on {NOBODY_WORDS}"}
    words = unbroken(asked.words[:1].upper() + asked.words[1:])
    return Ballot(words, marked | {NO_LEADER: Markup("{}").format(NOBODY_WORDS)}, names, "bet", once=False)


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
        '<li data-choice="{}"><span class="option">{}</span>'
        '<span class="share"><span style="width:{:.0f}%{}"></span></span><b class="count">{}</b></li>'
    )
    bars = Markup("").join(
        bar.format(
            name, words, 100 * counts.get(name, 0) / voted,
            "" if ballot.once or name == NO_LEADER else f";--bar:var(--{name})", counts.get(name, 0),
        )
        for name, words in ballot.options.items()
    )  # fmt: skip
    total = Markup(" <b>{} in all.</b>").format(sum(counts.values())) if counts else ""
    return Markup('<p class="question">{}</p><ol class="bars">{}</ol><p class="said">{}{}</p>').format(
        ballot.question, bars, tally_words(ballot, counts), total
    )

"""How visitors share the server: places in the queue, turns, what is kept, and open pages.

The rules are pure functions of what waits or is kept. Visitors are told apart by address, and within one address by
page, see `olora_viz.web.guard.visitor`. The server's own work has no limit.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, runtime_checkable

from olora_viz.web.guard.visitor import NOBODY, Visitor

ABSENT = 6.0
"""Seconds after which a page that no longer asks for its work counts as closed; an open one asks every two seconds."""


@runtime_checkable
class Owned(Protocol):
    """Something that belongs to a visitor."""

    @property
    def owner(self) -> Visitor:
        """Whose it is."""
        ...

    @property
    def seen(self) -> float:
        """When a page last asked for it."""
        ...


@runtime_checkable
class Waits(Owned, Protocol):
    """Something that waits for its turn."""

    turn: tuple[float, float]
    """Its round among all visitors, and among the pages of its address; see `round_of`."""
    complete: bool
    """Whether it has ended."""


Its = TypeVar("Its", bound=Owned)
Waiting = TypeVar("Waiting", bound=Waits)


@dataclass(frozen=True)
class Places:
    """How many may wait; the last third is kept for visitors who have none waiting."""

    most: int = 48
    per_page: int = 3
    per_address: int = 24
    what: str = "races"

    @property
    def shared(self) -> int:
        """The places that a visitor who has one waiting already may still take."""
        return self.most - self.most // 3


def room(waiting: Sequence[Its], owner: Visitor, places: Places, is_here: Callable[[Its], bool]) -> list[Its]:
    """Return the work that must give up its place in the queue for one more of a visitor.

    Only work that nobody watches gives up its place, the longest unseen first.

    Raises:
        ValueError: there is no place; the message is one sentence with the rule.
    """
    away = sorted((one for one in waiting if not is_here(one)), key=lambda one: one.seen)
    leaving: list[Its] = []
    for group, most, sentence in _rules(waiting, owner, places):
        count = sum(one not in leaving for one in group)
        while count >= most:
            first = next((one for one in away if one in group and one not in leaving), None)
            if first is None:
                raise ValueError(sentence)
            leaving.append(first)
            count -= 1
    return leaving


def _rules(waiting: Sequence[Its], owner: Visitor, places: Places) -> Iterator[tuple[list[Its], int, str]]:
    """Yield groups of what waits, with the most that each may have, and what to say otherwise."""
    what, most = places.what, places.most
    if owner != NOBODY:
        page = [one for one in waiting if one.owner == owner]
        yield page, places.per_page, (
            f"{len(page)} {what} of this page are already waiting, the maximum for one page: try "
            "again when one of them has started"
        )  # fmt: skip
        own = [one for one in waiting if one.owner.share == owner.share]
        yield own, places.per_address, (
            f"{len(own)} {what} from your network are already waiting, the maximum for one "
            "address: try again in a minute"
        )  # fmt: skip
        if own:
            yield list(waiting), places.shared, (
                f"{len(waiting)} of {most} places in the queue are taken, and the rest are kept "
                "for visitors who have nothing in it: try again when yours has started"
            )  # fmt: skip
    yield list(waiting), most, (
        f"{len(waiting)} {what} are already waiting, the maximum on this server: try again in a "
        "minute"
    )  # fmt: skip


def round_of(owner: Visitor, others: Iterable[Waits], now: float) -> tuple[float, float]:
    """Return the turn of new work: in the round that runs, or the one after its owner's last.

    Args:
        others: what waits or runs.
        now: the round that runs.
    """
    own = [one for one in others if one.owner.share == owner.share]
    page = [one for one in own if one.owner == owner]
    return (
        max([now, *(one.turn[0] + 1 for one in own)]),
        max([min((one.turn[1] for one in own), default=0.0), *(one.turn[1] + 1 for one in page)]),
    )


def in_turn(waiting: Iterable[Waiting], is_here: Callable[[Waiting], bool]) -> list[Waiting]:
    """Return what waits in the order of its turns: in each round, one for each visitor.

    The pages of an address share its turns in the same way. What nobody watches comes last.
    """
    there = list(waiting)
    rounds: dict[int, float] = {}
    for share in {one.owner.share for one in there}:
        own = [one for one in there if one.owner.share == share]
        of_pages = sorted(own, key=lambda one: one.turn[1])
        for one, number in zip(of_pages, sorted(one.turn[0] for one in own), strict=True):
            rounds[id(one)] = number
    return sorted(there, key=lambda one: (not is_here(one), rounds[id(one)]))


def too_many(
    kept: Iterable[Its],
    most: float,
    sizes: Mapping[Its, float] | None = None,
    is_open: Callable[[Its], bool] = lambda _: False,
) -> list[Its]:
    """Return what must be dropped for the sum of the sizes to be at most `most`.

    What no open page shows goes first; among that, what belongs to the visitor, and then to the page, with the most;
    and of this, what has not been seen for the longest time.
    """
    left, gone = list(kept), []
    size = {id(one): sizes[one] if sizes else 1 for one in left}
    shown = {id(one) for one in left if is_open(one)}
    while left and sum(size[id(one)] for one in left) > most:
        shares: dict[str, float] = defaultdict(float)
        pages: dict[Visitor, float] = defaultdict(float)
        for one in left:
            shares[one.owner.share] += size[id(one)]
            pages[one.owner] += size[id(one)]
        last = min(left, key=lambda one: (id(one) in shown, -shares[one.owner.share], -pages[one.owner], one.seen))
        left.remove(last)
        gone.append(last)
    return gone


class Pages:
    """The open pages, and the run that each shows.

    Args:
        most: maximum number of pages remembered; a script need not report that its pages are closed.
    """

    def __init__(self, most: int = 1000) -> None:
        self._most = most
        self._open: OrderedDict[str, tuple[Visitor, str]] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, page: Visitor, run: object = "") -> None:
        """Remember that a page is open, and which run it shows."""
        with self._lock:
            self._open[page.page] = page, run if isinstance(run, str) else ""
            self._open.move_to_end(page.page)
            while len(self._open) > self._most:
                shares = Counter(owner.share for owner, _ in self._open.values())
                del self._open[max(self._open, key=lambda one: shares[self._open[one][0].share])]

    def close(self, page: Visitor) -> None:
        """Forget a page."""
        with self._lock:
            self._open.pop(page.page, None)

    def is_open(self, page: Visitor) -> bool:
        """Whether a page is open."""
        return page.page in self._open

    def show(self, run: str) -> bool:
        """Whether an open page shows a run."""
        with self._lock:
            return any(run == shown for _, shown in self._open.values())


class Line(Generic[Waiting]):
    """The work that waits for one worker, and the work that runs there.

    Its owner holds a lock around all calls but `gives_way`.
    """

    def __init__(self, places: Places, pages: Pages) -> None:
        self.waiting: list[Waiting] = []
        self.running: Waiting | None = None
        self._places, self._pages, self._round = places, pages, 0.0

    def let_in(self, owner: Visitor) -> list[Waiting]:
        """Make room for one more; return what gave up its place for it, see `room`."""
        leaving = room(self.waiting, owner, self._places, self._is_watched)
        for one in leaving:
            self.waiting.remove(one)
        return leaving

    def join(self, one: Waiting, *, first: bool = False) -> None:
        """Let one wait for its turn, or put it at the front of the line."""
        there = [*self.waiting, *([self.running] if self.running else [])]
        one.turn = (0.0, 0.0) if first else round_of(one.owner, there, self._round)
        self.waiting.insert(0 if first else len(self.waiting), one)

    def leave(self, one: Waiting) -> bool:
        """Take one out of the line; return whether it was waiting."""
        waits = one in self.waiting
        if waits:
            self.waiting.remove(one)
        return waits

    def call(self) -> Waiting:
        """Take the next one; it runs until `done`."""
        one = in_turn(self.waiting, self._is_watched)[0]
        self.waiting.remove(one)
        self.running, self._round = one, max(self._round, one.turn[0])
        return one

    def done(self) -> None:
        """Note that what ran has come to rest; a round lasts for one turn of each visitor."""
        there = [*self.waiting, *([self.running] if self.running else [])]
        self._round += 1 / max(1, len({one.owner.share for one in there}))
        self.running = None

    def before(self, one: Waiting) -> int:
        """Count what runs before one that waits."""
        order = in_turn(self.waiting, self._is_watched)
        ahead = order.index(one) if one in order else 0
        return ahead + bool(self.running and self.running is not one and not self.running.complete)

    def gives_way(self, one: Waiting) -> bool:
        """Whether work that nobody watches delays work that somebody watches."""
        others = list(self.waiting)
        return bool(others) and not self._is_watched(one) and any(map(self._is_watched, others))

    def _is_watched(self, one: Waiting) -> bool:
        """Whether its page is open; what the server itself runs needs none."""
        recently = time.monotonic() - one.seen < ABSENT
        return one.owner == NOBODY or recently or self._pages.is_open(one.owner)

"""How visitors share the server: places in the queue, turns, what is kept, and open pages.

The rules are pure functions of what waits or is kept. Visitors are told apart by address, and within one address by
page, see `olora_viz.web.guard.limits`. The server's own work has no limit.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Generic, Protocol, TypeVar, runtime_checkable

from olora_viz.web.guard.limits import NOBODY, Visitor

ABSENT = 6.0
"""Seconds after which a page that no longer asks for its work counts as closed; an open one asks every two seconds."""


FRONT = (0.0, 0.0, 0)
"""The turn before all others."""


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

    turn: tuple[float, float, int]
    """Its round among all visitors, and among the pages of its address, see `round_of`, and when it was asked for."""

    @property
    def complete(self) -> bool:
        """Whether it has ended."""
        ...


Item = TypeVar("Item", bound=Owned)
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


def room(waiting: Sequence[Item], owner: Visitor, places: Places, is_here: Callable[[Item], bool]) -> list[Item]:
    """Return the work that must give up its place in the queue for one more of a visitor.

    Only work that nobody watches gives up its place, the longest unseen first.

    Raises:
        ValueError: there is no place; the message is one sentence with the rule.
    """
    away = sorted((work for work in waiting if not is_here(work)), key=lambda work: work.seen)
    leaving: list[Item] = []
    for group, most, sentence in _rules(waiting, owner, places):
        count = sum(work not in leaving for work in group)
        while count >= most:
            first = next((work for work in away if work in group and work not in leaving), None)
            if first is None:
                raise ValueError(sentence)
            leaving.append(first)
            count -= 1
    return leaving


def _rules(waiting: Sequence[Item], owner: Visitor, places: Places) -> Iterator[tuple[list[Item], int, str]]:
    """Yield groups of what waits, with the most that each may have, and what to say otherwise."""
    what, most = places.what, places.most
    if owner != NOBODY:
        page = [work for work in waiting if work.owner == owner]
        yield page, places.per_page, (
            f"{len(page)} {what} of this page are already waiting, the maximum for one page: try "
            "again when one of them has started"
        )  # fmt: skip
        own = [work for work in waiting if work.owner.share == owner.share]
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
        f"{len(waiting)} {what} are already waiting, the maximum on this server: try again in a minute"
    )  # fmt: skip


def round_of(owner: Visitor, others: Iterable[Waits], now: float) -> tuple[float, float]:
    """Return the turn of work that joins: in the round in which it was asked for, or after its owner's last.

    Args:
        others: what waits or runs.
        now: the round in which it was asked for.
    """
    own = [work for work in others if work.owner.share == owner.share]
    page = [work for work in own if work.owner == owner]
    return (
        max([now, *(work.turn[0] + 1 for work in own)]),
        max([min((work.turn[1] for work in own), default=0.0), *(work.turn[1] + 1 for work in page)]),
    )


def in_turn(waiting: Iterable[Waiting], is_here: Callable[[Waiting], bool]) -> list[Waiting]:
    """Return what waits in the order of its turns: in each round, one for each visitor.

    The pages of an address share its turns in the same way. What nobody watches comes last.
    """
    there = list(waiting)
    rounds: dict[int, float] = {}
    for share in {work.owner.share for work in there}:
        own = [work for work in there if work.owner.share == share]
        of_pages = sorted(own, key=lambda work: work.turn[1:])
        for work, number in zip(of_pages, sorted(work.turn[0] for work in own), strict=True):
            rounds[id(work)] = number
    return sorted(there, key=lambda item: (not is_here(item), rounds[id(item)], item.turn[2]))


def too_many(
    items: Iterable[Item],
    most: float,
    sizes: Mapping[Item, float] | None = None,
    is_open: Callable[[Item], bool] = lambda _: False,
) -> list[Item]:
    """Return what must be dropped for the sum of the sizes to be at most `most`.

    What no open page shows goes first; among that, what belongs to the visitor, and then to the page, with the most;
    and of this, what has not been seen for the longest time.
    """
    left, gone = list(items), []
    size = {id(item): sizes[item] if sizes else 1 for item in left}
    shown = {id(item) for item in left if is_open(item)}
    while left and sum(size[id(item)] for item in left) > most:
        shares: dict[str, float] = defaultdict(float)
        pages: dict[Visitor, float] = defaultdict(float)
        for item in left:
            shares[item.owner.share] += size[id(item)]
            pages[item.owner] += size[id(item)]
        last = min(
            left, key=lambda item: (id(item) in shown, -shares[item.owner.share], -pages[item.owner], item.seen)
        )
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
                del self._open[max(self._open, key=lambda page: shares[self._open[page][0].share])]

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
    """The work that waits for a worker, and the work that runs there.

    Its owner holds a lock around all calls but `yields`.

    Attributes:
        workers: how many run at once.
    """

    def __init__(self, places: Places, pages: Pages) -> None:
        self.waiting: list[Waiting] = []
        self.running: list[Waiting] = []
        self.workers = 1
        self._places, self._pages, self._round, self._asked = places, pages, 0.0, count(1)

    def let_in(self, owner: Visitor) -> list[Waiting]:
        """Make room for one more; return what gave up its place for it, see `room`."""
        leaving = room(self.waiting, owner, self._places, self.is_watched)
        for work in leaving:
            self.waiting.remove(work)
        return leaving

    def ask(self, work: Waiting) -> None:
        """Note that work is asked for: in the line it stands from now on, even if it joins it later."""
        work.turn = (self._round, 0.0, next(self._asked))

    def join(self, work: Waiting, *, first: bool = False) -> None:
        """Let work that was asked for wait for its turn, or put it at the front of the line."""
        asked_in, _, asked = work.turn
        there = [*self.waiting, *self.running]
        work.turn = FRONT if first else (*round_of(work.owner, there, asked_in), asked)
        self.waiting.append(work)

    def leave(self, work: Waiting) -> bool:
        """Take work out of the line; return whether it was waiting."""
        waits = work in self.waiting
        if waits:
            self.waiting.remove(work)
        return waits

    def is_due(self) -> bool:
        """Whether something waits; what joins again before it has come to rest is not due yet."""
        return any(work not in self.running for work in self.waiting)

    def call(self) -> Waiting:
        """Take the next one that `is_due`; it runs until `done`."""
        work = next(work for work in in_turn(self.waiting, self.is_watched) if work not in self.running)
        self.waiting.remove(work)
        self.running.append(work)
        self._round = max(self._round, work.turn[0])
        return work

    def done(self, work: Waiting) -> None:
        """Note that what ran has come to rest; a round lasts for one turn of each visitor."""
        there = [*self.waiting, *self.running]
        self._round += 1 / max(1, len({each.owner.share for each in there}))
        self.running.remove(work)

    def ahead(self, work: Waiting) -> list[Waiting]:
        """Return what runs before work that waits, in turn."""
        order = in_turn(self.waiting, self.is_watched)
        runs = [each for each in self.running if each is not work and not each.complete]
        return runs + (order[: order.index(work)] if work in order else [])

    def before(self, work: Waiting) -> int:
        """Count what must end before work that waits can begin."""
        return max(0, len(self.ahead(work)) - self.workers + 1)

    def yields(self, work: Waiting) -> bool:
        """Whether work that nobody watches delays work that somebody watches."""
        others = list(self.waiting)
        return bool(others) and not self.is_watched(work) and any(map(self.is_watched, others))

    def is_watched(self, work: Waiting) -> bool:
        """Whether its page is open; what the server itself runs needs none."""
        recently = time.monotonic() - work.seen < ABSENT
        return work.owner == NOBODY or recently or self._pages.is_open(work.owner)

"""Visitors share the queue, the disk and the turns; who they are is never written down."""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.datastructures import Headers
from support.queued import asked, wait
from support.waiting import wait_until

from olora_viz.web.guard import fairness
from olora_viz.web.guard.fairness import ABSENT, FRONT, Line, Pages, Places, too_many
from olora_viz.web.guard.limits import NOBODY, Visitor, address_of, visitor_of
from olora_viz.web.jobs.job import record_of
from olora_viz.web.jobs.queue import Jobs

SPACE = {"SPACE_ID": "me/playground"}


@dataclass(eq=False)
class Work:
    """What waits in these tests."""

    owner: Visitor
    name: str = ""
    seen: float = field(default_factory=time.monotonic)
    turn: tuple[float, float, int] = FRONT
    complete: bool = False


def page(address: str, name: str = "") -> Visitor:
    return Visitor(name or address, address)


def line(**places: Any) -> Line[Work]:
    return Line(Places(**places), Pages())


def put(line: Line[Work], owner: Visitor, name: str = "", away: float = 0.0) -> Work:
    work = Work(owner, name, time.monotonic() - away)
    line.let_in(owner)
    line.ask(work)
    line.join(work)
    return work


def served(line: Line[Work]) -> Iterator[str]:
    """Serve all that waits, one after the other, and compare with what was foretold."""
    while line.waiting:
        foretold = min(line.waiting, key=lambda work: len(line.ahead(work)))
        called = line.call()
        line.done(called)
        assert called is foretold
        yield called.name


# Who --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "header", "environment", "address"),
    [
        ("203.0.113.9", "", {}, "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", {}, "203.0.113.9"),  # forged: nothing stands in front
        ("127.0.0.1", "", {}, "127.0.0.1"),
        ("10.0.0.7", "8.8.8.8", SPACE, "8.8.8.8"),
        ("10.0.0.7", "1.2.3.4, 8.8.8.8", SPACE, "8.8.8.8"),  # the left part is the client's
        ("10.0.0.7", "1.2.3.4, 8.8.8.8, 10.0.0.1, 127.0.0.1", SPACE, "8.8.8.8"),
        ("10.0.0.7", "", SPACE, ""),
        ("10.0.0.7", "unknown, x", SPACE, ""),
        ("::ffff:203.0.113.9", "", {}, "203.0.113.9"),
        ("2a00:1:2:3:4:5:6:7", "", {}, "2a00:1:2:3::/64"),
        ("2a00:1:2:3:ffff::1", "", {}, "2a00:1:2:3::/64"),
        ("testclient", "", {}, ""),
    ],
)
def test_the_address_is_the_one_that_no_client_can_choose(
    peer: str, header: str, environment: dict[str, str], address: str
) -> None:
    assert address_of(peer, header, environment) == address


def test_a_visitor_is_known_by_hashes_alone() -> None:
    def sent(session: str, peer: str) -> Visitor:
        client = SimpleNamespace(host=peer)
        return visitor_of(SimpleNamespace(session_hash=session, client=client, headers=Headers({})))

    one, same, other = sent("s", "203.0.113.9"), sent("t", "203.0.113.9"), sent("s", "203.0.113.8")
    assert one.share == same.share != other.share
    assert one.page == other.page != same.page
    assert "203" not in str(one)
    nameless = visitor_of(SimpleNamespace(client=None, headers=Headers({})))
    assert nameless == NOBODY


# Turns ------------------------------------------------------------------------------------------


def test_ten_races_of_one_visitor_do_not_delay_another_s_first() -> None:
    queue = line(per_page=99)
    for k in range(10):
        put(queue, page("a"), f"a{k}")
    first = queue.call()
    assert first.name == "a0"
    for name in ("b0", "b1"):
        put(queue, page("b"), name)
    put(queue, page("c"), "c0")
    assert [len(queue.ahead(one)) for one in queue.waiting if one.name in ("b0", "c0")] == [1, 2]
    queue.done(first)
    order = list(served(queue))
    assert order[:2] == ["b0", "c0"]
    assert order[2:5] in (["a1", "b1", "a2"], ["b1", "a1", "a2"])
    assert order[5:] == [f"a{k}" for k in range(3, 10)]


def test_an_office_has_one_turn_a_round_and_its_pages_share_it() -> None:
    queue = line()
    for k in range(3):
        put(queue, page("office", "one"), f"one{k}")
    put(queue, page("office", "two"), "two0")
    put(queue, page("home"), "home0")
    order = list(served(queue))
    assert order.index("home0") <= 1
    assert order.index("two0") < order.index("one1")


def test_with_several_workers_as_many_are_next_and_what_runs_is_not_called_twice() -> None:
    queue = line()
    queue.workers = 2
    for name in ("a", "b", "c", "d"):
        put(queue, page(name), name)
    assert [queue.before(one) for one in queue.waiting] == [0, 0, 1, 2]
    first, second = queue.call(), queue.call()
    assert [queue.before(one) for one in queue.waiting] == [1, 2]
    queue.join(first, first=True)  # it is asked for again before it has come to rest
    assert queue.call().name == "c"
    queue.done(second)
    queue.done(first)
    assert queue.call() is first


def test_work_that_joins_late_stands_where_it_was_asked_for_and_only_behind_its_own() -> None:
    queue, late, other = line(), Work(page("late"), "late"), Work(page("late"), "late too")
    put(queue, page("before"), "before")
    for work in (late, other):
        queue.ask(work)
    put(queue, page("after"), "after")
    for work in (late, other):
        queue.join(work)
    assert list(served(queue)) == ["before", "late", "after", "late too"]


def test_who_came_first_is_not_overtaken_by_ever_new_visitors() -> None:
    queue = line()
    put(queue, page("first"), "r0")
    put(queue, page("first"), "r1")
    for k in range(8):
        called = queue.call()
        put(queue, page(f"new{k}"), f"new{k}")
        queue.done(called)
        if not any(one.name == "r1" for one in queue.waiting):
            return
    pytest.fail("the second race of a visitor waits for ever")


def test_what_nobody_watches_waits_behind_what_somebody_watches() -> None:
    queue = line()
    put(queue, page("closed"), "closed", away=ABSENT + 1)
    put(queue, page("open"), "open")
    assert list(served(queue)) == ["open", "closed"]


# Places -----------------------------------------------------------------------------------------


def test_a_page_an_address_and_all_together_have_so_many_places() -> None:
    queue = line(most=12, per_page=2, per_address=4)
    for k in range(2):
        put(queue, page("office", "one"), f"{k}")
    with pytest.raises(ValueError, match=r"^2 races of this page are already waiting, the maximum"):
        put(queue, page("office", "one"))
    for k in range(2):
        put(queue, page("office", f"{k}"))
    with pytest.raises(ValueError, match=r"^4 races from your network are already waiting"):
        put(queue, page("office", "fourth"))
    for k in range(2):
        put(queue, page("home"))
        put(queue, page("school", f"{k}"))
    with pytest.raises(ValueError, match=r"^8 of 12 places in the queue are taken, and the rest"):
        put(queue, page("school", "third"))
    for k in range(4):
        put(queue, page(f"new{k}"))
    with pytest.raises(ValueError, match=r"^12 races are already waiting, the maximum on this"):
        put(queue, page("last"))


def test_the_server_s_own_work_has_no_limit_but_the_queue_s() -> None:
    queue = line(most=12, per_page=1, per_address=1)
    for _ in range(12):
        put(queue, NOBODY)
    with pytest.raises(ValueError, match="12 races are already waiting"):
        put(queue, NOBODY)


def test_where_a_place_is_missing_what_nobody_watches_leaves_the_longest_unseen_first() -> None:
    queue = line(most=12, per_address=4)
    away = [put(queue, page("office", f"{k}"), f"{k}", away=ABSENT + 10 - k) for k in range(4)]
    assert queue.let_in(page("office", "new")) == [away[0]]
    assert queue.let_in(page("home")) == []
    queue = line(most=3)
    shown = put(queue, page("a"), away=ABSENT + 5)
    queue._pages.open(shown.owner)
    hidden = put(queue, page("b"), away=ABSENT + 1)
    put(queue, page("c"))
    assert queue.let_in(page("d")) == [hidden]


# What is kept -----------------------------------------------------------------------------------


def test_a_hundred_and_ten_races_of_one_client_evict_his_own_alone() -> None:
    own = Work(page("victim"), "own", seen=0.0)
    many = [Work(page("many", f"{k}"), seen=1.0 + k) for k in range(110)]
    gone = too_many([own, *many], 60)
    assert gone == many[:51]
    # Of one address the page with the most loses first, and what is shown is dropped last.
    beside = Work(page("many", "beside"), seen=0.5)
    of_one = [Work(page("many", "one"), seen=2.0 + k) for k in range(5)]
    assert too_many([beside, *of_one], 4) == of_one[:2]
    shown = of_one[0]
    assert too_many([beside, *of_one], 4, is_open=lambda one: one is shown) == of_one[1:3]
    sizes = {own: 10, **dict.fromkeys(many[:5], 3)}
    assert too_many(sizes, 20, sizes) == many[:2]


def test_pages_that_never_say_that_they_are_closed_crowd_out_their_own() -> None:
    pages = Pages(most=10)
    pages.open(page("victim"), "run")
    for k in range(50):
        pages.open(page("many", f"{k}"), f"{k}")
    assert pages.is_open(page("victim"))
    assert pages.show("run")
    assert pages.show("49")
    assert not pages.show("0")
    pages.close(page("elsewhere by now", "victim"))
    assert not pages.show("run")


# Real races -------------------------------------------------------------------------------------


def test_a_race_whose_page_is_closed_lets_those_who_wait_go_first_and_loses_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Jobs(folder=tmp_path / "jobs")) as jobs:
        whole = wait(jobs.start(asked(steps=20)))
        gone = jobs.start(asked(steps=20), owner=page("gone"))
        here = page("here")
        jobs.pages.open(here)
        wait_until(lambda: len(gone.steps) > 2)
        monkeypatch.setattr(fairness, "ABSENT", 0.0)
        reached = len(gone.steps)
        first = jobs.start(asked(steps=2), owner=here)
        wait(first)
        assert reached <= len(gone.steps) < 20, "it gave way before its end"
        assert wait(gone).state == "finished", "it goes on when nobody waits"
        assert gone.steps == whole.steps
        assert gone.record().answers == whole.record().answers


def test_a_record_keeps_whose_race_it_is_and_no_address(tmp_path: Path) -> None:
    client = SimpleNamespace(host="203.0.113.9")
    sent = SimpleNamespace(session_hash="abcdefghijk", client=client, headers=Headers({}))
    owner = visitor_of(sent)
    with closing(Jobs(folder=tmp_path)) as jobs:
        job = wait(jobs.start(asked(steps=1), owner=owner))
        said = record_of(job.folder).read_text("utf-8")
        assert "203.0.113.9" not in said
        assert "abcdefghijk" not in said
    with closing(Jobs(folder=tmp_path)) as jobs:
        assert jobs._jobs[job.id].owner == owner

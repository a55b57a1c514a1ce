"""Short computations, open pages and own files: a visitor has a share of each, and no more."""

import asyncio
import json
import threading
import time
from pathlib import Path

import pytest
from support.queued import asked
from support.served import Visitor as Page
from support.served import launched
from support.wired import CSV

from olora_viz.background.record import ready_race
from olora_viz.views.race import race_view
from olora_viz.web import page, spectrum
from olora_viz.web.guard.fairness import Places
from olora_viz.web.guard.limits import Limits, Visitor
from olora_viz.web.guard.visitor_files import VisitorFiles
from olora_viz.web.jobs.pool import Pool
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts.card import Board, Card
from olora_viz.web.race.stream import Streams

MANY, OTHER = Visitor("page", "many"), Visitor("other page", "other")


def test_one_computes_at_a_time_in_turn_and_a_visitor_s_too_many_are_a_sentence() -> None:
    pool, going, done = Pool(Places(30, 3, 20, "spectra")), threading.Event(), []
    at_once: set[str] = set()

    def compute(name: str) -> str:
        at_once.add(name)
        assert len(at_once) == 1
        assert going.wait(60)
        done.append(name)
        at_once.clear()
        return name

    async def visit() -> list[object]:
        first = asyncio.ensure_future(pool.run(MANY, compute, "first"))
        while not at_once:
            await asyncio.sleep(0.01)
        more = [asyncio.ensure_future(pool.run(MANY, compute, f"{k}")) for k in range(4)]
        await asyncio.wait(more[3:])  # refused, so the others wait in line
        other = asyncio.ensure_future(pool.run(OTHER, compute, "other"))
        await asyncio.sleep(0)
        more[2].cancel()  # its page was closed
        await asyncio.wait(more[2:3])
        going.set()
        return await asyncio.gather(first, *more, other, return_exceptions=True)

    first, one, two, cancelled, refused, other = asyncio.run(visit())
    assert (first, one, two, other) == ("first", "0", "1", "other")
    assert isinstance(cancelled, asyncio.CancelledError)
    assert str(refused) == (
        "3 spectra of this page are already waiting, the maximum for one page: try again when one of them has started"
    )
    assert done == ["first", "other", "0", "1"]

    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        asyncio.run(pool.run(MANY, fail))
    assert asyncio.run(pool.run(MANY, compute, "again")) == "again"


def test_spectra_of_all_pages_are_computed_one_at_a_time_beside_the_requests(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    going, most, names = 0, 0, set()

    def slow(*values: object) -> spectrum.SpectrumView:
        nonlocal going, most
        going += 1
        most = max(most, going)
        names.add(threading.current_thread().name)
        time.sleep(0.02)
        going -= 1
        raise ValueError("no matrix")

    monkeypatch.setattr("olora_viz.web.spectrum.shown", slow)
    with launched(page.build(Limits(), jobs)) as url:
        first = Page(url, "first")
        (fn,) = (fn for fn in first.functions.values() if "spectrum-figure" in map(first.names.get, fn["outputs"]))
        said: list[str] = []

        def ask(number: int) -> None:
            visitor = Page(url, f"{number}")
            said.append(visitor.send(fn, json.dumps(visitor.payload(fn))).text)

        asking = [threading.Thread(target=ask, args=(k,)) for k in range(8)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
    assert most == 1
    assert names == {"pool"}
    assert all("no matrix" in text for text in said)


def test_of_too_many_pages_of_an_address_the_oldest_is_told_and_the_newest_works(tmp_path: Path) -> None:
    jobs = Jobs(folder=tmp_path / "jobs")
    board = Board()
    board.add(Card("all", ("status", "step"), lambda _: (), lambda view: [view]), ["view"])
    streams = Streams(jobs, board, race_view(ready_race(asked())), per_address=2)
    job = jobs.start(asked(steps=400))
    last: dict[str, dict] = {}

    async def follow(name: str, owner: Visitor) -> None:
        async for pulse, *_ in streams.follow(name, job.id, owner):
            last[name] = pulse

    async def visit() -> None:
        pages = [Visitor(f"{k}", "many") for k in range(3)]
        following = [asyncio.create_task(follow("other", OTHER))]
        for owner in pages:
            following.append(asyncio.create_task(follow(owner.page, owner)))
            while owner.page not in last:
                await asyncio.sleep(0.01)
        await following[1]
        assert "More than 2 pages from your network" in last["0"]["gone"]
        assert all(last[name]["going"] for name in ("1", "2", "other"))
        jobs.stop(job)
        await asyncio.gather(*following)

    try:
        asyncio.run(visit())
    finally:
        jobs.close()


def test_where_too_many_files_are_kept_the_one_with_the_most_loses_his_oldest() -> None:
    files = VisitorFiles(Limits(keep_files=4))
    own = files.bring("victim", "a.csv", CSV, OTHER)
    many = [files.bring(f"{k}", "a.csv", CSV, Visitor(f"{k}", "many")) for k in range(6)]
    assert files.find(own.token)
    assert [files.find(one.token) is not None for one in many] == [False] * 3 + [True] * 3

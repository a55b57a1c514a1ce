"""The stream of a page: what it sends of a run, when, and to whom."""

import asyncio
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import gradio as gr
import pytest
from support.served import Visitor, launched
from support.waiting import wait_until
from support.wired import BLANK, LIMITS, LONG, RECORDED, SETUP, board_of, start

from olora_viz.figures.live.bundle import pack
from olora_viz.views.race import RaceView, race_view
from olora_viz.web import page
from olora_viz.web.guard.visitor_files import VisitorFiles
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts.card import Board, Card
from olora_viz.web.race import stream
from olora_viz.web.race.cards import CARDS
from olora_viz.web.race.controls import CONTROLS, LINE
from olora_viz.web.race.events import Commands
from olora_viz.web.race.stream import Streams


@pytest.fixture
def commands(jobs: Jobs) -> Commands:
    return Commands(jobs, LIMITS, VisitorFiles(LIMITS))


def board() -> Board:
    made = Board()
    made.add(Card("all", ("status", "step", "complete"), lambda _: (), lambda view: [view]), ["view"])
    return made


def test_a_stream_follows_a_run_to_its_end_at_its_pace(jobs: Jobs, commands: Commands) -> None:
    job = start(jobs, commands, replace(SETUP, steps=30))
    streams = Streams(jobs, board(), BLANK)

    async def follow() -> list[list[Any]]:
        return [row async for row in streams.follow("page", job.id)]

    began = time.monotonic()
    rows = asyncio.run(follow())
    took = time.monotonic() - began
    assert [row[0]["going"] for row in rows] == [True] * (len(rows) - 1) + [False]
    views = [row[1] for row in rows if row[1] != gr.skip()]
    assert views[-1].complete
    assert views[-1].step == 30
    racing = [view for view in views if view.steps_done and not view.complete]
    assert len(racing) <= took / stream.UPDATE_EVERY + 1
    assert streams._open == {}


def test_pages_that_show_one_race_have_each_step_drawn_once(
    jobs: Jobs, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[Any, ...]] = []
    draw = RaceView.drawn

    def counted(view: RaceView, *values: Any, **more: Any) -> Any:
        drawn.append((view.state, view.step, view.complete, str(view.race.answers), view.race.tested is None))
        return draw(view, *values, **more)

    monkeypatch.setattr(RaceView, "drawn", counted)
    job = start(jobs, commands, replace(SETUP, steps=30))
    streams = Streams(jobs, board_of(card for card in CARDS if card.name == "loss"), BLANK)

    async def follow(page: int) -> Any:
        return [row[1] async for row in streams.follow(f"page {page}", job.id)][-1]

    async def visit() -> list[Any]:
        return await asyncio.gather(*map(follow, range(8)))

    shown = asyncio.run(visit())
    assert max(Counter(drawn).values()) == 1
    # A page that has the chart of the last step before its run is on disk as a whole gets none again.
    assert len(set(map(id, shown))) <= sum(step == 30 for _, step, *_ in drawn)
    assert all(chart == pack(race_view(job.record()).loss) for chart in shown)


def test_a_newer_stream_of_the_page_ends_the_older_one_and_a_closed_page_all(jobs: Jobs, commands: Commands) -> None:
    job, streams = start(jobs, commands, LONG), Streams(jobs, board(), BLANK)
    ended: list[str] = []

    async def follow(page: str, name: str) -> None:
        async for _ in streams.follow(page, job.id):
            pass
        ended.append(name)

    async def visit() -> None:
        older = asyncio.create_task(follow("page", "older"))
        other = asyncio.create_task(follow("other page", "other"))
        while len(streams._open) < 2:
            await asyncio.sleep(0.01)
        newer = asyncio.create_task(follow("page", "newer"))
        await asyncio.wait_for(older, 60)
        assert ended == ["older"]
        streams.end("page")
        await asyncio.wait_for(newer, 60)
        assert ended == ["older", "newer"]
        commands.do(job.id, "stop")
        await asyncio.wait_for(other, 60)

    asyncio.run(visit())


def test_a_paused_run_says_that_it_is_there_and_goes_on_for_all_who_follow_it(
    jobs: Jobs, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "ALIVE_EVERY", 0.1)
    job, streams = start(jobs, commands, SETUP, "step"), Streams(jobs, board(), BLANK)
    wait_until(lambda: job.state == "paused")

    async def follow() -> list[Any]:
        rows = []
        async for row in streams.follow("page", job.id):
            rows.append(row)
            if len(rows) == 4:
                commands.do(job.id, "resume")
        return rows

    rows = asyncio.run(follow())
    assert [row[1] == gr.skip() for row in rows[:4]] == [False, True, True, True]
    assert len({row[0]["beat"] for row in rows}) == len(rows)
    assert rows[-1][1].step == 20


def test_a_reader_who_went_back_stays_there_while_the_run_goes_on(jobs: Jobs, commands: Commands) -> None:
    job, streams = start(jobs, commands, replace(SETUP, steps=40)), Streams(jobs, board(), BLANK)
    wait_until(lambda: len(job.steps) > 3)

    async def follow() -> list[Any]:
        views = []
        async for row in streams.follow("page", job.id):
            views += [row[1]] if row[1] != gr.skip() else []
            if len(views) == 1:
                streams.go_back("page", 2)
                streams.go_back("another page", 1)
        return views

    first, *views = asyncio.run(follow())
    assert first.step > 2
    assert {view.step for view in views} == {2}
    assert views[-1].complete
    assert views[-1].steps_done == 40


def test_a_run_that_rests_ends_its_stream_at_once(jobs: Jobs) -> None:
    streams = Streams(jobs, board(), BLANK)

    async def follow(run: Any) -> list[Any]:
        return [row async for row in streams.follow("page", run)]

    ((pulse, view),) = asyncio.run(follow(RECORDED.id))
    assert pulse["going"] is False
    assert view.recorded


def test_reset_is_the_last_that_a_slow_browser_draws(jobs: Jobs) -> None:
    row = {"init": "lora", "r": 2, "alpha": "", "lr": "1e-3", "seed": 0}
    with launched(page.build(LIMITS, jobs)) as url:
        visitor = Visitor(url, "slow")
        job = visitor.race(steps=2000, lanes=[row])
        events = {visitor.follow(job): "follow"}
        wait_until(lambda: '"step": 9,' in visitor.ask("taken", [job, "json"]).get("text", ""))
        # The answer to Reset overtakes the updates on their way to the browser.
        visitor.show("reset", visitor.call("reset", [job]))
        events[visitor.follow(visitor.shown["held-run"])] = "follow"
        drawn = [visitor.shown["status"] for _ in visitor.heard(events)]
    assert any("racing" in status for status in drawn)
    assert "ready" in visitor.shown["status"]
    assert all(not trace.get("y") for trace in visitor.shown["loss-figure"]["data"])
    assert visitor.shown["held-run"] == ""


def test_a_stream_takes_over_when_the_last_update_of_the_one_before_was_sent(jobs: Jobs, commands: Commands) -> None:
    job, streams = start(jobs, commands, LONG), Streams(jobs, board(), BLANK)

    async def visit() -> None:
        older = streams.follow("page", job.id)
        await anext(older)
        before = streams._open["page"]
        newer = asyncio.ensure_future(anext(streams.blank("page", race_view(RECORDED))))
        while streams._open.get("page") is before:
            await asyncio.sleep(0)
        for _ in range(3):  # what another page asks for later, with no update before it, is there
            await anext(streams.blank("other page", race_view(RECORDED)))
        assert not newer.done(), "the update before is still on its way"
        with pytest.raises(StopAsyncIteration):
            await anext(older)
        pulse, view = await newer
        assert pulse == {"going": False}
        assert view.name == RECORDED.name

    asyncio.run(visit())


def test_a_run_that_the_server_no_longer_has_is_said_and_leaves_the_results(jobs: Jobs) -> None:
    made = board_of([LINE, CONTROLS, *CARDS])

    async def visit() -> list[list[Any]]:
        return [row async for row in Streams(jobs, made, BLANK).follow("page", "gone")]

    [[pulse, *row]] = asyncio.run(visit())
    assert pulse["going"] is False
    assert "no longer on the server" in pulse["gone"]
    changed = [i for i, value in enumerate(row) if value != gr.skip()]
    assert changed == list(range(6))  # the status and the five buttons
    assert row[1]["interactive"]

"""How the page is wired: cards have news, one stream follows a run, commands check who asks."""

import asyncio
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from served import Visitor, launched

from olora_viz.lanes.lane import Lane
from olora_viz.learn.gallery import GALLERY
from olora_viz.views.race import RaceView, race_view
from olora_viz.views.race_record import ready_race
from olora_viz.web import page
from olora_viz.web.guard.limits import Limits
from olora_viz.web.guard.visitor_files import VisitorFiles
from olora_viz.web.jobs.job import Job
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.links.share import PARTS
from olora_viz.web.race import cards, stream
from olora_viz.web.race.arrival import FIRST
from olora_viz.web.race.card import AWAY, SHOWN, Board, Card
from olora_viz.web.race.cards import CARDS
from olora_viz.web.race.controls import CONTROLS, LINE
from olora_viz.web.race.events import Commands, Pressed, press
from olora_viz.web.race.stream import Streams
from olora_viz.web.setup import SetUp

LIMITS = Limits()
FILES = VisitorFiles(LIMITS)
SETUP = replace(SetUp.first(LIMITS), task="addition", steps=20, batch=4, lanes=(Lane("lora", r=2),))
LONG = replace(SETUP, steps=2000)
BLANK = race_view(ready_race(SETUP.to_config(LIMITS)))
CSV = "prompt,answer\n" + "".join(f"{n} and {n + 1} make, {2 * n + 1}\n" for n in range(30))
RECORDED = next(iter(GALLERY.values()))


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    made = Jobs(folder=tmp_path / "jobs")
    yield made
    made.close()


@pytest.fixture
def commands(jobs: Jobs) -> Commands:
    return Commands(jobs, LIMITS, VisitorFiles(LIMITS))


def until(holds: Any) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def board_of(cards: Iterable[Card]) -> Board:
    """Register some cards, of which each has as many components as it draws values."""
    made, view = Board(), race_view(RECORDED)
    for card in cards:
        parts = [*(["frame"] if card.only_with else []), *card.drawn(view)]
        made.add(card, parts)
    return made


def start(jobs: Jobs, commands: Commands, setup: SetUp, goal: float = float("inf")) -> Job:
    job = jobs.get(commands.start(setup.to_controls(), goal))
    assert job is not None
    return job


# Cards -----------------------------------------------------------------------------------------


def test_every_card_is_built_hidden_and_redrawn_by_the_list() -> None:
    assert len({card.id for card in CARDS}) == len(CARDS)
    demo = page.build(LIMITS)
    ids = {block.elem_id for block in demo.blocks.values()}
    for card in CARDS:
        assert card.id in ids
        assert PARTS[card.name] == f"#{card.id}"


def test_a_card_is_one_line_and_the_page_has_it_with_its_news(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = Card(
        "lengths", ("made",), lambda desk: [gr.HTML(elem_id="lengths")],
        lambda view: [f"{view.made} steps"], column="right",
    )  # fmt: skip
    monkeypatch.setattr(cards, "CARDS", (*CARDS, own))
    demo = page.build(LIMITS)
    (follow,) = (fn for fn in demo.fns.values() if fn.api_name == "follow")
    assert "lengths" in {part.elem_id for part in follow.outputs}
    assert "lengths-card" in {block.elem_id for block in demo.blocks.values()}
    assert own.drawn(race_view(RECORDED)) == [f"{len(RECORDED.steps)} steps"]


def test_a_card_has_news_when_what_it_needs_has_changed_and_at_first() -> None:
    board = board_of(CARDS)
    whole, back = race_view(RECORDED), race_view(RECORDED, upto=3)
    assert all(card.news(whole, {}) for card in CARDS if card.needs)
    assert not any(card.news(whole, board.facts(whole)) for card in CARDS)
    with_news = [card for card in CARDS if card.news(whole, board.facts(back))]
    moved = {card.name for card in with_news}
    assert {"loss", "norms", "accuracy", "standing", "scrubber"} <= moved
    assert not moved & {"spectra", "gradients", "runs"}
    row = board.row(whole, lambda card: card.news(whole, board.facts(back)))
    assert len(row) == len(board.outputs)
    assert row.count(gr.skip()) == len(row) - len(board_of(with_news).outputs)


def test_a_card_without_news_is_hidden_and_not_drawn_until_there_are_some() -> None:
    drawn: list[RaceView] = []
    board = Board()
    board.add(
        Card(
            "own", ("step",), lambda _: (), lambda view: [drawn.append(view)], only_with="gradients"
        ),
        ["frame", "value"],
    )
    blank, whole = race_view(ready_race(SETUP.to_config(LIMITS))), race_view(RECORDED)
    frame, value = board.row(blank)
    assert (frame["elem_classes"], value, drawn) == (AWAY, gr.skip(), [])
    frame, value = board.row(whole)
    assert (frame["elem_classes"], value, drawn) == (SHOWN, None, [whole])


def test_a_card_of_the_pages_own_choices_gets_a_text_that_changes_with_its_news() -> None:
    for card in CARDS:
        if card.draw is None:
            texts = [card.drawn(race_view(record)) for record in GALLERY.values()]
            assert len({text for (text,) in texts}) == len(texts)
            assert card.drawn(race_view(RECORDED)) == card.drawn(race_view(RECORDED))


# Commands --------------------------------------------------------------------------------------


def test_only_the_id_of_a_run_that_goes_on_commands_it(jobs: Jobs, commands: Commands) -> None:
    job = start(jobs, commands, LONG)
    until(lambda: len(job.steps) > 2)
    for guess in (None, "", job.id[:-1], [job.id], {"id": job.id}, 7, RECORDED.id):
        for what in ("pause", "step", "resume", "stop"):
            assert not commands.do(guess, what)
    assert job.state == "racing"
    assert commands.do(job.id, "pause")
    until(lambda: job.state == "paused")
    made = len(job.steps)
    assert commands.do(job.id, "step")
    until(lambda: len(job.steps) == made + 1 and job.state == "paused")
    assert commands.do(job.id, "pause")  # the same button lets it go on
    until(lambda: len(job.steps) > made + 3)
    assert commands.do(job.id, "stop")
    until(lambda: job.complete)
    assert not commands.do(job.id, "resume")


def test_race_starts_one_or_lets_the_one_that_is_shown_go_on(
    jobs: Jobs, commands: Commands
) -> None:
    controls = LONG.to_controls()
    first = press(commands, "step", None, controls)
    job = jobs.get(first.run)
    assert job is not None
    until(lambda: job.state == "paused")
    assert press(commands, "resume", job.id, controls) == Pressed()
    until(lambda: len(job.steps) > 3)
    assert press(commands, "pause", "nothing", ()) == Pressed()
    assert press(commands, "resume", job.id, controls) == Pressed(), "a second press starts nothing"
    commands.do(job.id, "stop")
    until(lambda: job.complete)
    other = press(commands, "resume", job.id, SETUP.to_controls())
    assert other.run not in (None, job.id)
    refused = press(commands, "resume", None, replace(SETUP, steps=0).to_controls())
    assert "steps must be" in refused.results
    assert refused.run == gr.skip()


def test_a_run_is_shown_at_a_step_and_nothing_where_there_is_none(commands: Commands) -> None:
    for step, shown in ((3, 3), (None, 60), (1e9, 60), (-1, 60), ("x", 60), (True, 60)):
        view = commands.show(FIRST, step)
        assert view is not None
        assert view.step == shown
    assert commands.show("nothing") is None
    assert commands.ready(["nonsense"] * 7).state == "ready"


# The stream ------------------------------------------------------------------------------------


def board() -> Board:
    made = Board()
    made.add(
        Card("all", ("status", "step", "complete"), lambda _: (), lambda view: [view]), ["view"]
    )
    return made


def test_a_stream_follows_a_run_to_its_end_at_its_pace(jobs: Jobs, commands: Commands) -> None:
    job = start(jobs, commands, replace(SETUP, steps=60))
    streams = Streams(jobs, board(), BLANK)

    async def follow() -> list[tuple[float, list[Any]]]:
        return [(time.monotonic(), row) async for row in streams.follow("page", job.id)]

    rows = asyncio.run(follow())
    assert [row[0]["going"] for _, row in rows] == [True] * (len(rows) - 1) + [False]
    views = [row[1] for _, row in rows if row[1] != gr.skip()]
    assert views[-1].complete
    assert views[-1].step == 60
    shown = [(at, row[1]) for at, row in rows if row[1] != gr.skip()]
    racing = [at for at, view in shown if view.made and not view.complete]
    assert all(b - a > 0.9 * stream.PACE for a, b in pairwise(racing))
    assert streams._open == {}


def test_a_newer_stream_of_the_page_ends_the_older_one_and_a_closed_page_all(
    jobs: Jobs, commands: Commands
) -> None:
    job, streams = start(jobs, commands, LONG), Streams(jobs, board(), BLANK)
    ended: list[str] = []

    async def follow(page: str, name: str) -> None:
        async for _ in streams.follow(page, job.id):
            pass
        ended.append(name)

    async def visit() -> None:
        older = asyncio.create_task(follow("page", "older"))
        other = asyncio.create_task(follow("other page", "other"))
        await asyncio.sleep(0.3)
        newer = asyncio.create_task(follow("page", "newer"))
        await asyncio.wait_for(older, 10)
        assert ended == ["older"]
        streams.end("page")
        await asyncio.wait_for(newer, 10)
        assert ended == ["older", "newer"]
        commands.do(job.id, "stop")
        await asyncio.wait_for(other, 30)

    asyncio.run(visit())


def test_a_paused_run_says_that_it_is_there_and_goes_on_for_all_who_follow_it(
    jobs: Jobs, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "QUIET", 0.1)
    job, streams = start(jobs, commands, SETUP, goal=1), Streams(jobs, board(), BLANK)
    until(lambda: job.state == "paused")

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


def test_a_reader_who_went_back_stays_there_while_the_run_goes_on(
    jobs: Jobs, commands: Commands
) -> None:
    job, streams = start(jobs, commands, replace(SETUP, steps=100)), Streams(jobs, board(), BLANK)
    until(lambda: len(job.steps) > 3)

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
    assert views[-1].made == 100


def test_a_run_that_rests_ends_its_stream_at_once(jobs: Jobs) -> None:
    streams = Streams(jobs, board(), BLANK)

    async def follow(run: Any) -> list[Any]:
        return [row async for row in streams.follow("page", run)]

    ((pulse, view),) = asyncio.run(follow(RECORDED.id))
    assert pulse["going"] is False
    assert view.recorded


def test_reset_is_the_last_that_a_slow_browser_draws() -> None:
    row = {"init": "lora", "r": 2, "alpha": "", "lr": "1e-3", "seed": 0}
    with launched(page.build(LIMITS)) as url:
        visitor = Visitor(url, "slow")
        job = visitor.race(steps=2000, lanes=[row])
        events = {visitor.follow(job): "follow"}
        until(lambda: '"step": 9,' in visitor.ask("taken", [job, "json"]).get("text", ""))
        # The answer to Reset overtakes the updates on their way to the browser.
        visitor.show("reset", visitor.call("reset", [job]))
        events[visitor.follow(visitor.shown["held-run"])] = "follow"
        drawn = [visitor.shown["status"] for _ in visitor.heard(events)]
    assert any("racing" in status for status in drawn)
    assert "ready" in visitor.shown["status"]
    assert all(not trace.get("y") for trace in visitor.shown["loss-figure"]["data"])
    assert visitor.shown["held-run"] == ""


def test_a_stream_takes_over_when_the_last_update_of_the_one_before_was_sent(
    jobs: Jobs, commands: Commands
) -> None:
    job, streams = start(jobs, commands, LONG), Streams(jobs, board(), BLANK)

    async def visit() -> None:
        older = streams.follow("page", job.id)
        await anext(older)
        newer = asyncio.ensure_future(anext(streams.blank("page", race_view(RECORDED))))
        await asyncio.sleep(0.3)
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


def test_a_race_that_has_not_begun_is_a_view_like_any_other() -> None:
    blank = race_view(ready_race(SETUP.to_config(LIMITS)))
    board = board_of(CARDS)
    assert len(board.row(blank)) == len(board.row(race_view(RECORDED))) == len(board.outputs)
    measured = next(card for card in CARDS if card.name == "measurements")
    (figures,) = measured.drawn(race_view(RECORDED))
    assert set(figures["figures"]) == set(race_view(RECORDED).measurements) != set()

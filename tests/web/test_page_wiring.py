"""How the page is wired: cards have news, and commands check who asks."""

import asyncio
import inspect
import threading
from collections.abc import Awaitable
from dataclasses import replace

import gradio as gr
import pytest
from gradio.state_holder import SessionState
from support.waiting import wait_until
from support.wired import LIMITS, LONG, RECORDED, SETUP, board_of, start

from olora_viz.background.record import ready_race
from olora_viz.learn.gallery import GALLERY
from olora_viz.views.race import RaceView, race_view
from olora_viz.web import page
from olora_viz.web.guard.visitor_files import VisitorFiles
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts.card import Board, Card, on_changes, on_picks
from olora_viz.web.race import cards
from olora_viz.web.race.arrival import FIRST_RECORDED, HIDEABLE
from olora_viz.web.race.cards import CARDS
from olora_viz.web.race.events import Commands, Pressed

FILES = VisitorFiles(LIMITS)


@pytest.fixture
def commands(jobs: Jobs) -> Commands:
    return Commands(jobs, LIMITS, VisitorFiles(LIMITS))


def test_no_choice_is_lost_because_an_earlier_one_is_not_answered_yet() -> None:
    demo = page.build(LIMITS)
    told, entered = set(), set()
    for event in demo.config["dependencies"]:
        fn, names = demo.fns[event["id"]].fn, {name for _, name in event["targets"]}
        # One question at a time, and one step of the scrubber.
        if fn is None or event["api_name"].rstrip("_0123456789") in ("asked", "show"):
            continue
        if any("SelectData" in str(each.annotation) for each in inspect.signature(fn).parameters.values()):
            told.add(event["trigger_mode"])
        elif "input" in names:
            entered.add(event["trigger_mode"])
    assert told == {"multiple"}, "what was chosen is told by the event: of one that it defers Gradio sends the first's"
    assert entered == {"always_last"}


@pytest.mark.parametrize("kind", ["changes", "picks"])
def test_an_answer_that_a_later_call_of_the_page_has_overtaken_is_left_out(kind: str) -> None:
    gates = {name: threading.Event() for name in ("first", "second", "another page's")}

    def slow(_: gr.Request, *given: str) -> str:
        assert gates[given[-1]].wait(60)
        return given[-1]

    with gr.Blocks() as demo:
        box = gr.Textbox()
        if kind == "changes":
            on_changes([box], slow, [box], box)
        else:
            on_picks([box.select], slow, [box], box)
    (connected,) = (block.fn for block in demo.fns.values())
    chosen = [gr.SelectData(None, {"index": 0, "value": ""})] if kind == "picks" else []

    def answer(request: gr.Request, *given: object) -> Awaitable[object]:
        return connected(*chosen, request, *given)

    one, other = gr.Request(session_hash="one"), gr.Request(session_hash="other")

    async def visit(*calls: tuple[gr.Request, int, str], done: tuple[str, ...]) -> list[object]:
        tasks = [asyncio.create_task(answer(*call)) for call in calls]
        await asyncio.sleep(0)
        for task, name in ((tasks[[call[2] for call in calls].index(name)], name) for name in done):
            gates[name].set()
            await task
        return [await task for task in tasks]

    first, second = (one, 1, "first"), (one, 2, "second")
    # The answer to the first comes last; then the first itself comes last.
    calls = (first, second, (other, 1, "another page's"))
    assert asyncio.run(visit(*calls, done=("second", "first", "another page's"))) == [
        gr.skip(),
        "second",
        "another page's",
    ]
    assert asyncio.run(visit(second, first, done=("second", "first"))) == ["second", gr.skip()]
    assert asyncio.run(visit((one, 3, "first"), done=("first",))) == ["first"]


def test_what_a_change_of_the_set_up_says_is_counted_with_what_follows_the_last_update(jobs: Jobs) -> None:
    demo = page.build(LIMITS, jobs)
    (follow,) = (fn for fn in demo.fns.values() if fn.api_name == "follow")
    (after,) = (fn for fn in demo.fns.values() if fn.trigger_after == follow._id)
    (changed,) = (fn for fn in demo.fns.values() if fn.fn is after.fn and fn is not after)
    assert "status" in {part.elem_id for part in after.outputs}
    assert after.js == changed.js
    assert "oloraVizCalls" in after.js, "a late answer to the last update would bring back what it says"


# Cards -----------------------------------------------------------------------------------------


def test_every_card_is_built_hidden_and_redrawn_by_the_list(jobs: Jobs) -> None:
    assert len({card.id for card in CARDS}) == len(CARDS)
    demo = page.build(LIMITS, jobs)
    ids = {block.elem_id for block in demo.blocks.values()}
    for card in CARDS:
        assert card.id in ids
        assert HIDEABLE[card.name] == f"#{card.id}"


def test_a_card_is_one_line_and_the_page_has_it_with_its_news(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Card(
        "lengths", ("steps_done",), lambda desk: [gr.HTML(elem_id="lengths")],
        lambda view: [f"{view.steps_done} steps"], column="right",
    )  # fmt: skip
    monkeypatch.setattr(cards, "CARDS", (*CARDS, own))
    demo = page.build(LIMITS, jobs)
    (follow,) = (fn for fn in demo.fns.values() if fn.api_name == "follow")
    assert "lengths" in {part.elem_id for part in follow.outputs}
    assert "lengths-card" in {block.elem_id for block in demo.blocks.values()}
    assert own.drawn(race_view(RECORDED)) == [f"{len(RECORDED.steps)} steps"]


def test_an_output_that_keeps_its_value_is_not_made_anew_and_news_are_sent_as_gradio_does(jobs: Jobs) -> None:
    demo = page.build(LIMITS, jobs)
    (follow,) = (fn for fn in demo.fns.values() if fn.api_name == "follow")
    row: list[object] = [gr.skip() for _ in follow.outputs]
    row[0], row[3], row[5] = {"going": True}, "<p>new</p>", gr.update(visible=False)
    ours, plain = SessionState(demo), SessionState(demo)
    sent = asyncio.run(demo.postprocess_data(follow, row, ours))
    usual = asyncio.run(gr.Blocks.postprocess_data(demo, follow, row, plain))
    assert [sent[place] for place in (0, 3, 5)] == [usual[place] for place in (0, 3, 5)]
    assert [value for place, value in enumerate(sent) if place not in (0, 3, 5)] == [gr.skip()] * (len(row) - 3)
    others = [part for value, part in zip(row, follow.outputs, strict=True) if value == gr.skip()]
    assert all(ours[part._id] is part for part in others)
    assert not any(plain[part._id] is part for part in others), "else Gradio does so itself, and `PageBlocks` is to go"


def test_what_a_reader_chooses_in_a_card_is_drawn_by_one_event_whose_last_request_sees_all_of_it(jobs: Jobs) -> None:
    """Were there two, an answer to an earlier choice could come after that to a later one."""
    demo = page.build(LIMITS, jobs)
    drawn: dict[str, list[str]] = {}
    for fn in demo.fns.values():
        names = {part.elem_id for part in fn.outputs} - {None}
        if fn.fn and fn.trigger_mode == "always_last" and "held-run" not in names:
            for name in names:
                drawn.setdefault(str(name), []).append(str(fn.api_name))
    menus = {"spectrum-layer", "run-spectra-layer", "run-gradients-layer"}  # which a click on a map sets, too
    of_race = {part.elem_id for part in next(fn for fn in demo.fns.values() if fn.api_name == "follow").outputs}
    assert {"spectrum-figure", "depth-figure", "spectra-map", "rates-figure", "layer-map"} < drawn.keys()
    assert {name: events for name, events in drawn.items() if len(events) > 1 and name not in menus | of_race} == {}


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
    hidden = 3  # what is forgotten, its chart and its table, and ranks by layer, which this race has not
    assert row.count(gr.skip()) == len(row) - len(board_of(with_news).outputs) + hidden


def test_a_card_without_news_is_hidden_and_not_drawn_until_there_are_some() -> None:
    drawn: list[RaceView] = []
    board = Board()
    board.add(
        Card("own", ("step",), lambda _: (), lambda view: [drawn.append(view)], only_with="gradients"),
        ["frame", "value"],
    )
    blank, whole = race_view(ready_race(SETUP.to_config(LIMITS))), race_view(RECORDED)
    frame, value = board.row(blank)
    assert (frame["elem_classes"], value, drawn) == (["card", "away"], gr.skip(), [])
    frame, value = board.row(whole)
    assert (frame["elem_classes"], value, drawn) == (["card"], None, [whole])


def test_a_card_of_the_pages_own_choices_gets_a_text_that_changes_with_its_news() -> None:
    for card in CARDS:
        if card.draw is None:
            texts = [card.drawn(race_view(record)) for record in GALLERY.values()]
            assert len({text for (text,) in texts}) == len(texts)
            assert card.drawn(race_view(RECORDED)) == card.drawn(race_view(RECORDED))


# Commands --------------------------------------------------------------------------------------


def test_only_the_id_of_a_run_that_goes_on_commands_it(jobs: Jobs, commands: Commands) -> None:
    job = start(jobs, commands, LONG)
    wait_until(lambda: len(job.steps) > 2)
    for guess in (None, "", job.id[:-1], [job.id], {"id": job.id}, 7, RECORDED.id):
        for what in ("pause", "step", "resume", "stop"):
            assert not commands.do(guess, what)
    assert job.state == "racing"
    assert commands.do(job.id, "pause")
    wait_until(lambda: job.state == "paused")
    made = len(job.steps)
    assert commands.do(job.id, "step")
    wait_until(lambda: len(job.steps) == made + 1 and job.state == "paused")
    assert commands.do(job.id, "pause")  # the same button lets it go on
    wait_until(lambda: len(job.steps) > made + 3)
    assert commands.do(job.id, "stop")
    wait_until(lambda: job.complete)
    assert not commands.do(job.id, "resume")


def test_race_starts_one_or_lets_the_one_that_is_shown_go_on(jobs: Jobs, commands: Commands) -> None:
    controls = LONG.to_controls()
    first = commands.press("step", None, controls)
    job = jobs.get(first.run)
    assert job is not None
    wait_until(lambda: job.state == "paused")
    assert commands.press("resume", job.id, controls) == Pressed()
    wait_until(lambda: len(job.steps) > 3)
    assert commands.press("pause", "nothing", ()) == Pressed()
    assert commands.press("resume", job.id, controls) == Pressed(), "a second press starts nothing"
    commands.do(job.id, "stop")
    wait_until(lambda: job.complete)
    other = commands.press("resume", job.id, SETUP.to_controls())
    assert other.run not in (None, job.id)
    refused = commands.press("resume", None, replace(SETUP, steps=0).to_controls())
    assert "steps must be" in refused.status
    assert refused.run == gr.skip()


def test_a_run_is_shown_at_a_step_and_nothing_where_there_is_none(commands: Commands) -> None:
    for step, shown in ((3, 3), (None, 60), (1e9, 60), (-1, 60), ("x", 60), (True, 60)):
        view = commands.show(FIRST_RECORDED, step)
        assert view is not None
        assert view.step == shown
    assert commands.show("nothing") is None
    assert commands.ready(["nonsense"] * 7).state == "ready"


def test_a_race_that_has_not_begun_is_a_view_like_any_other() -> None:
    blank = race_view(ready_race(SETUP.to_config(LIMITS)))
    board = board_of(CARDS)
    assert len(board.row(blank)) == len(board.row(race_view(RECORDED))) == len(board.outputs)
    measured = next(card for card in CARDS if card.name == "measurements")
    (figures,) = measured.drawn(race_view(RECORDED))
    assert set(figures["figures"]) == set(race_view(RECORDED).measurements) != set()

"""Work in the background as a page has it: started, followed, stopped, and found again after a reload."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import gradio as gr
from starlette.datastructures import Headers
from support.races import small

from olora_viz.background.measurement import BackgroundMeasurement
from olora_viz.views.html import problem
from olora_viz.web.conditioning import measure
from olora_viz.web.guard.config import OwnFiles
from olora_viz.web.guard.limits import Limits, Visitor
from olora_viz.web.guard.visitor_files import VisitorFiles
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts.background import PageWork, StartButton
from olora_viz.web.parts.card import element, held

REQUEST = SimpleNamespace(session_hash="a page", client=None, headers=Headers({}))


def events_of(jobs: Jobs) -> list[Any]:
    """Return what starts a measurement, stops it and finds it again."""

    def put(_: OwnFiles, asked: Sequence[Any], owner: Visitor) -> BackgroundMeasurement:
        return measure(jobs, small(), *asked, owner=owner)

    with gr.Blocks() as demo:
        key, status, layer = held("measured"), element(), gr.Textbox()
        start, stop = gr.Button(), gr.Button()
        work = PageWork(
            {key: BackgroundMeasurement}, [key, status], status, lambda work, _, last: [work.id, (work.state, last)]
        )
        work.connect(demo, jobs, VisitorFiles(Limits()), [StartButton(start, [layer], put)], stop)
    return [event.fn for event in demo.fns.values()]


def rows_of(updates: AsyncIterator[list[Any]]) -> list[list[Any]]:
    async def collected() -> list[list[Any]]:
        return [row async for row in updates]

    return asyncio.run(collected())


def test_a_page_is_sent_what_is_new_alone_and_finds_its_work_again_by_its_key(jobs: Jobs) -> None:
    start, _, find_again = events_of(jobs)
    (key, *others), states = zip(*rows_of(start(REQUEST, "")), strict=True)
    assert set(map(str, others)) <= {str(gr.skip())}, "the key is sent once"
    assert states[-1] == ("finished", True)
    assert all(state != before for before, state in pairwise(states) if state != gr.skip())
    assert rows_of(find_again(key)) == [[gr.skip()] * 2, [key, ("finished", True)]]
    for guess in (None, key[:-1], [key]):
        assert rows_of(find_again(guess)) == [[gr.skip()] * 2]


def test_what_is_not_started_is_a_sentence_in_the_status_and_stop_ends_what_was(jobs: Jobs) -> None:
    start, stop, _ = events_of(jobs)
    (row,) = rows_of(start(REQUEST, 3))
    assert row == [gr.skip(), problem("the layer must be a name of at most 200 characters")]

    async def stopped() -> list[Any]:
        rows = []
        async for row in start(REQUEST, ""):
            rows.append(row)
            stop(rows[0][0])
        return rows

    assert asyncio.run(stopped())[-1][1] == ("stopped", True)

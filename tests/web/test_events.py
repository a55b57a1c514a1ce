"""Events that wait: whatever they call, those of one address leave places to others."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio.block_function import BlockFunction
from support.served import Visitor, launched
from support.waiting import wait_until

from olora_viz.web import page
from olora_viz.web.guard import events
from olora_viz.web.guard.limits import Limits
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts import background

LIMITS = Limits(models=("glassllm",), address_screens=1)
PLACES = 9
OTHER = "203.0.113.1"


@pytest.fixture
def demo(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> gr.Blocks:
    monkeypatch.setattr(events, "MOST_EVENTS", PLACES)
    return page.build(LIMITS, jobs)


@pytest.fixture
def client(demo: gr.Blocks) -> Iterator[httpx.Client]:
    with launched(demo, max_threads=PLACES) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        yield client


def send(client: httpx.Client, call: BlockFunction, visit: str, address: str, to: str = "queue/join") -> int:
    """Call a function, usually through Gradio's queue, which takes all of them; return the status of the answer."""
    body = {"fn_index": call._id, "session_hash": visit, "data": [None] * len(call.inputs)}
    return client.post(f"/gradio_api/{to}", json=body, headers={"x-forwarded-for": address}).status_code


def is_answered(client: httpx.Client, call: BlockFunction) -> bool:
    """Whether another visitor, who calls a function as the page does, is answered."""
    if not call.queue:
        return send(client, call, "next", OTHER, "run/predict") == 200
    if send(client, call, "next", OTHER) != 200:
        return False
    with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": "next"}) as answer:
        # Signs of life come every 15 s: a visitor who gets nothing else is not answered.
        return any("process_completed" in line for line in islice(answer.iter_lines(), 20))


@contextmanager
def waiting(call: BlockFunction) -> Iterator[None]:
    """Let a function wait for all but the page `next`."""
    usual, over = call.fn, False

    async def waits(request: gr.Request, *_: Any) -> AsyncIterator[Any]:
        while request.session_hash != "next" and not over:
            await asyncio.sleep(0.01)
        yield gr.skip() if len(call.outputs) < 2 else [gr.skip()] * len(call.outputs)

    call.fn, call.types_generator = waits, True
    try:
        yield
    finally:
        over = True
        call.fn = usual


def test_whatever_one_address_lets_wait_the_next_visitor_is_answered(demo: gr.Blocks, client: httpx.Client) -> None:
    calls = [call for call in demo.fns.values() if call.fn and call.api_name != "leave"]  # which no page calls
    assert {"follow", "go_on", "start", "asked"} <= {call.api_name for call in calls}
    for call in calls:
        with waiting(call):
            said = [send(client, call, f"page {number}", "198.51.100.1") for number in range(PLACES + 1)]
            assert said == [200] * events.PER_SCREEN + [503] * (PLACES + 1 - events.PER_SCREEN), call.api_name
            assert is_answered(client, call), call.api_name
        wait_until(lambda: not demo._queue.event_ids_to_events)


def test_the_last_third_is_for_those_who_have_none_and_a_page_has_its_own_limit(
    demo: gr.Blocks, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "PER_PAGE", 2)
    (follow,) = (call for call in demo.fns.values() if call.api_name == "follow")
    events.share_out_events(demo, LIMITS)
    with waiting(follow):
        said = [send(client, follow, "one page", "198.51.100.1") for _ in range(3)]
        assert said == [200, 200, 503]
        said = [send(client, follow, f"page {number}", "198.51.100.2") for number in range(5)]
        assert said == [200] * 4 + [503]
        assert [send(client, follow, "other page", "198.51.100.1"), send(client, follow, "next", OTHER)] == [503, 200]


def test_a_closed_page_leaves_its_place_also_while_its_work_has_no_news(
    demo: gr.Blocks, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "SIGN", 0.2)
    visitor = Visitor(str(client.base_url), "closed")
    row = {"init": "lora", "r": 2, "alpha": "", "lr": "1e-3", "seed": 0}
    run = visitor.race(steps=2000, lanes=[row])  # for which the decision waits
    (name,) = (name for name, fn in visitor.functions.items() if name.startswith("start") and decides(visitor, fn))
    event = visitor.join(name, visitor.payload(visitor.functions[name]))
    assert next(visitor.heard({event: name})) == name
    assert "waiting" in visitor.shown["decide-status"]
    wait_until(lambda: event not in demo._queue.event_ids_to_events)
    assert "waiting" in visitor.shown["decide-status"]
    (stop, *_) = (
        name for name, fn in visitor.functions.items() if visitor.parts(fn) == ["held-run"] and "stop" in name
    )
    visitor.call(stop, [run])


def decides(visitor: Visitor, fn: Any) -> bool:
    return "held-decision" in [visitor.names[part] for part in fn["outputs"]]

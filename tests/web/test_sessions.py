"""Pages left open: the server forgets Gradio's copies of them, and they work on."""

from collections.abc import Iterator
from typing import Any

import pytest
from support.served import Visitor, launched
from support.wired import CSV

from olora_viz.web import page
from olora_viz.web.guard.limits import Limits
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.spectrum import A_LAYER, Choices, SpectrumView

LIMITS = Limits(models=("glassllm",))
SPECTRUM = ["matrix-source", "spectrum-model", "spectrum-layer", "own-matrix", "spectrum-rank"]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that keeps the copy of one page."""
    jobs = Jobs(folder=tmp_path_factory.mktemp("sessions"))
    with launched(page.build(LIMITS, jobs), state_session_capacity=1) as url:
        yield url
    jobs.close()


def test_a_page_whose_copy_was_dropped_still_has_the_choices_that_came_later(address: str) -> None:
    one, other = Visitor(address, "one"), Visitor(address, "other")

    def called(name: str, data: list[Any], event: Any = None) -> list[Any]:
        other.call("pause", [None])  # a later page drops the earlier one's copy
        return one.call(name, data, event)

    def spectrum(**asked: Any) -> dict[str, Any]:
        first = Choices(source=A_LAYER, model="glassllm", text="", rank=8, starts=["olora"], permutation=0)
        answer = called(show, [*first._replace(**asked), drawn[-1]])
        drawn.append(answer[-1])
        return SpectrumView(*answer)._asdict()

    show, drawn = next(name for name, fn in one.functions.items() if one.parts(fn)[:5] == SPECTRUM), [""]
    layer = spectrum()["layer"]["choices"][3][1]
    view = spectrum(layer=layer, rank=70)
    assert "problem" not in view["seeing"]
    assert (view["rank"]["maximum"] >= 70, "value" in view["rank"]) == (True, False)  # the slider stays
    rank = spectrum(layer=layer, rank=999)["rank"]
    assert rank["value"] == rank["maximum"]
    (brought, _) = called("brought", [], {"index": 0, "value": {"name": "mine.csv", "text": CSV}})
    token = brought["value"]
    lanes = [{"init": "olora", "r": 2, "alpha": "", "lr": "1e-3", "seed": 0}]
    run, *_ = called("race", [None, "glassllm", token, 4, 4, 0, lanes, 0, {}])
    assert isinstance(run, str)
    assert one.finished(run)["summary"]["state"] == "finished"


def test_the_server_keeps_nothing_of_a_page_that_its_answers_depend_on(jobs: Jobs) -> None:
    demo = page.build(LIMITS, jobs)
    assert [block for block in demo.blocks.values() if getattr(block, "stateful", False)] == []
    assert not any(call.preprocess for call in demo.fns.values())
    assert page.launch_options()["state_session_capacity"] == page.SESSIONS

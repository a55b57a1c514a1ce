"""Gradio's copies of pages, of which the server keeps none."""

import asyncio
from typing import Any

import gradio as gr
from gradio.state_holder import SessionState
from support.served import Visitor, launched
from support.wired import CSV

from olora_viz.web import page
from olora_viz.web.guard.limits import Limits
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.spectrum import A_LAYER, Choices, SpectrumView

LIMITS = Limits(models=("glassllm",))
SPECTRUM = ["matrix-source", "spectrum-model", "spectrum-layer", "own-matrix", "spectrum-rank"]


def test_a_page_has_the_choices_that_came_later_and_the_server_keeps_no_copy_of_it(jobs: Jobs) -> None:
    demo = page.build(LIMITS, jobs)
    with launched(demo) as address:
        use(Visitor(address, "one"))
        assert demo.app.state_holder.session_data == {}


def use(one: Visitor) -> None:
    """Change choices on a page, and choose what came later."""

    def spectrum(**asked: Any) -> dict[str, Any]:
        first = Choices(source=A_LAYER, model="glassllm", text="", rank=8, starts=["olora"], permutation=0)
        view = SpectrumView(*one.call(show, [*first._replace(**asked), drawn[-1]]))
        drawn.append(view.drawn)
        return view._asdict()

    show, drawn = next(name for name, fn in one.functions.items() if one.parts(fn)[:5] == SPECTRUM), [""]
    layer = spectrum()["layer"]["choices"][3][1]
    view = spectrum(layer=layer, rank=70)
    assert "problem" not in view["seeing"]
    assert (view["rank"]["maximum"] >= 70, "value" in view["rank"]) == (True, False)  # the slider stays
    rank = spectrum(layer=layer, rank=999)["rank"]
    assert rank["value"] == rank["maximum"]
    (brought, _) = one.call("brought", [1], {"index": 0, "value": {"name": "mine.csv", "text": CSV}})
    token = brought["value"]
    lanes = [{"init": "olora", "r": 2, "alpha": "", "lr": "1e-3", "seed": 0}]
    run, *_ = one.call("race", [None, "glassllm", token, 4, 4, 0, lanes, 0, {}])
    assert isinstance(run, str)
    assert one.finished(run)["summary"]["state"] == "finished"


def test_the_server_keeps_nothing_of_a_page_that_its_answers_depend_on(jobs: Jobs) -> None:
    demo = page.build(LIMITS, jobs)
    assert [block for block in demo.blocks.values() if getattr(block, "stateful", False)] == []
    assert not any(call.preprocess for call in demo.fns.values())


def test_what_is_not_looked_through_is_sent_as_gradio_would_send_it(jobs: Jobs) -> None:
    demo = page.build(LIMITS, jobs)
    stream = next(call for call in demo.fns.values() if call.api_name == "follow")
    looks = gr.update(elem_classes=["card", "away"]), gr.update(interactive=False)
    of_kind = {gr.HTML: "<p>news</p>", gr.Textbox: "news", gr.Column: looks[0], gr.Button: looks[1]}
    values = [next((of_kind[kind] for kind in of_kind if type(part) is kind), gr.skip()) for part in stream.outputs]
    mine = asyncio.run(demo.postprocess_data(stream, list(values), SessionState(demo)))
    assert mine == asyncio.run(gr.Blocks.postprocess_data(demo, stream, list(values), SessionState(demo)))
    assert all(value in mine for value in of_kind.values())

"""Gradio's copies of pages, of which the server keeps none."""

from typing import Any

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
        answer = one.call(show, [*first._replace(**asked), drawn[-1]])
        drawn.append(answer[-1])
        return SpectrumView(*answer)._asdict()

    show, drawn = next(name for name, fn in one.functions.items() if one.parts(fn)[:5] == SPECTRUM), [""]
    layer = spectrum()["layer"]["choices"][3][1]
    view = spectrum(layer=layer, rank=70)
    assert "problem" not in view["seeing"]
    assert (view["rank"]["maximum"] >= 70, "value" in view["rank"]) == (True, False)  # the slider stays
    rank = spectrum(layer=layer, rank=999)["rank"]
    assert rank["value"] == rank["maximum"]
    (brought, _) = one.call("brought", [], {"index": 0, "value": {"name": "mine.csv", "text": CSV}})
    token = brought["value"]
    lanes = [{"init": "olora", "r": 2, "alpha": "", "lr": "1e-3", "seed": 0}]
    run, *_ = one.call("race", [None, "glassllm", token, 4, 4, 0, lanes, 0, {}])
    assert isinstance(run, str)
    assert one.finished(run)["summary"]["state"] == "finished"


def test_the_server_keeps_nothing_of_a_page_that_its_answers_depend_on(jobs: Jobs) -> None:
    demo = page.build(LIMITS, jobs)
    assert [block for block in demo.blocks.values() if getattr(block, "stateful", False)] == []
    assert not any(call.preprocess for call in demo.fns.values())

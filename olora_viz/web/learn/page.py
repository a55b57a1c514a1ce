"""The Learn page: lessons in reading order, and the card that accompanies a lesson on its page."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from olora_viz.figures.live.bundle import bundle
from olora_viz.figures.live.gradio_figure import live_figure, pack
from olora_viz.learn.lessons import LESSONS, NAMES, Lesson, find
from olora_viz.learn.lessons.example import example_matrix
from olora_viz.learn.pictures import picture
from olora_viz.views import html as fragments
from olora_viz.web.event_options import AT_ONCE
from olora_viz.web.guard.limits import Limits
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.learn import teachers
from olora_viz.web.learn import view as learn_view
from olora_viz.web.race.card import again
from olora_viz.web.race.page import Stage
from olora_viz.web.setup import possible

ASKED = '(asked) => new URLSearchParams(window.location.search).get("lesson") ?? ""'

RANK = 2
"""The initial rank of the QR picture."""


class Opened(NamedTuple):
    """What the Learn page shows of a lesson, and the components that show it, in one order."""

    contents: Any
    text: Any
    picture: Any
    rank: Any
    guide: Any


def card() -> gr.HTML:
    """Make the place of the guided card, above all pages; it is empty without a lesson."""
    return _pressed("lesson-card", "")


def build(demo: gr.Blocks, card: gr.HTML, stage: Stage, jobs: Jobs, limits: Limits) -> None:
    """Lay the page out in `demo`, and let it show recorded races on the `stage`."""
    its = _parts(limits)

    def arrive(name: Any) -> tuple[Any, ...]:
        """Show the lesson that the address names, or a message if the name is unknown."""
        lesson = LESSONS.get(name) if isinstance(name, str) else None
        if lesson is None:
            return (gr.skip(),) * (len(Opened._fields) + 1)
        return (learn_view.card(limits, lesson), *_read(limits, lesson.name))

    def press(event: gr.SelectData) -> tuple[Any, ...]:
        """Show a lesson, and if it is opened, its recorded race and set-up."""
        value = event.value if isinstance(event.value, dict) else {}
        lesson = _known(value.get("lesson"))
        shown = _read(limits, value.get("lesson"))
        kept: tuple[Any, ...] = (gr.skip(),) * (3 + len(stage.controls))
        if isinstance(lesson, str) or value.get("open") is not True:
            return (*shown, *kept)
        said = learn_view.card(limits, lesson)
        race = jobs.shown(lesson.race)
        if race is None:
            return (*shown, said, *kept[1:])
        setup = possible(limits, race.config, recorded=True)
        chosen = setup.to_controls() if setup else kept[3:]
        return (*shown, said, lesson.race, again(), *chosen)

    outputs = [*its, card, stage.run, stage.again, *stage.controls]
    for part in (its.contents, its.guide, card):
        part.select(press, None, outputs, **AT_ONCE)
    its.rank.input(turn_rank, its.rank, its.picture, trigger_mode="always_last", **AT_ONCE)
    address = gr.Textbox(visible=False)
    demo.load(arrive, address, [card, *its], js=ASKED, **AT_ONCE)


def _parts(limits: Limits) -> Opened:
    """Lay out the page's components, with the first lesson."""
    first = find(NAMES[0])
    with gr.Row(elem_classes="page", elem_id="learn-page"):
        with (
            gr.Column(elem_classes="side left", scale=0, min_width=0),
            gr.Column(elem_classes="card"),
        ):
            contents = _pressed("lesson-list", learn_view.contents(first.name))
        with gr.Column(elem_classes="middle", min_width=0):
            with gr.Column(elem_classes="card"):
                text = gr.HTML(
                    learn_view.text(first), elem_id="lesson-text", apply_default_css=False
                )
            with gr.Column(elem_classes="card"):
                drawn = live_figure(picture(first), elem_id="lesson-figure")
                rank = gr.Slider(
                    1, min(example_matrix().shape), value=RANK, step=1, label="Rank r",
                    elem_id="lesson-rank", visible=False,
                )  # fmt: skip
        with (
            gr.Column(elem_classes="side right", scale=0, min_width=0),
            gr.Column(elem_classes="card"),
        ):
            guide = _pressed("lesson-guide", learn_view.guide(limits, first))
        with gr.Column(elem_classes="after", min_width=0):
            with gr.Column(elem_classes="card", elem_id="lesson-glossary", min_width=0):
                gr.HTML(
                    learn_view.glossary(),
                    js_on_load=(Path(__file__).parent / "terms.js").read_text("utf-8"),
                    apply_default_css=False,
                )
            with gr.Column(elem_classes="card", elem_id="lesson-teachers", min_width=0):
                gr.HTML(
                    teachers.plan(),
                    js_on_load=bundle(Path(__file__).parent / "teachers.js"),
                    apply_default_css=False,
                )
    return Opened(contents, text, drawn, rank, guide)


def _read(limits: Limits, name: Any) -> Opened:
    """Show a lesson, or a message if there is none of this name."""
    lesson = _known(name)
    if isinstance(lesson, str):
        kept = [gr.skip()] * len(Opened._fields)
        return Opened(*kept)._replace(text=fragments.problem(lesson))
    return Opened(
        contents=learn_view.contents(lesson.name),
        text=learn_view.text(lesson),
        picture=pack(picture(lesson, RANK)),
        rank=gr.update(visible=lesson.picture == "qr", value=RANK),
        guide=learn_view.guide(limits, lesson),
    )


def turn_rank(r: Any) -> Any:
    """Draw the QR picture at a rank."""
    most = min(example_matrix().shape)
    if not isinstance(r, int | float) or not 1 <= r <= most:
        return gr.skip()
    return pack(picture(find("qr"), int(r)))


def _known(name: Any) -> Lesson | str:
    """Find a lesson, or return a sentence that says why there is none."""
    if not isinstance(name, str):
        return "a lesson's name must be a text"
    try:
        return find(name[:80])
    except ValueError as error:
        return str(error)


def _pressed(elem_id: str, value: str) -> gr.HTML:
    """Make an HTML component that chooses, opens and closes lessons."""
    return gr.HTML(
        value,
        elem_id=elem_id,
        js_on_load=bundle(Path(__file__).parent / "learn.js"),
        apply_default_css=False,
    )

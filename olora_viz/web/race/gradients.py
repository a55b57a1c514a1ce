"""The gradients of a run: by layer and step, of one layer, and against the depth."""

from __future__ import annotations

from typing import Any

import gradio as gr

from olora_viz.figures.gradients import MEASURES, depth_figure, gradient_map, layer_figure
from olora_viz.figures.layout import Figure
from olora_viz.figures.live.gradio_figure import live_figure, pack
from olora_viz.figures.spectrum import block_and_module
from olora_viz.measures.gradients import Gradients
from olora_viz.views.shown import Shown
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.race.cards import AWAY, SHOWN

UPDATES = 50
"""About how often a race draws the card anew."""

_ON_LOAD = """
const card = element.closest("#run-gradients");
const seen = new IntersectionObserver((entries) => {
  if (entries.some((entry) => entry.isIntersecting)) trigger("select", { index: 0, value: "" });
}, { rootMargin: "200px" });
seen.observe(card);
"""
"""Say when the card comes into view: what was not drawn before is drawn then."""

_IN_VIEW = """
(...values) => {
  const box = document.querySelector("#run-gradients")?.getBoundingClientRect();
  values[values.length - 1] = !!box?.width && box.bottom > -200 && box.top < innerHeight + 200;
  return values;
}
"""


def build(jobs: Jobs, job_id: gr.BrowserState) -> gr.Number:
    """Make the card; return what its views follow: set it to what `news` says."""
    with gr.Column(elem_classes=AWAY, elem_id="run-gradients") as card:
        head = gr.HTML(
            '<h2>Gradients of this run <span class="hint">what reaches each layer, and what a step '
            "changes there</span></h2>",
            apply_default_css=False, js_on_load=_ON_LOAD,
        )  # fmt: skip
        with gr.Row(elem_classes="three"):
            lane = gr.Dropdown([], label="Lane of the map", min_width=0)
            measure = gr.Dropdown(
                [(its.words, key) for key, its in MEASURES.items()], value="input",
                label="Measure", filterable=False, min_width=0, elem_id="run-gradients-measure",
            )  # fmt: skip
            layer = gr.Dropdown([], label="Layer", min_width=0, elem_id="run-gradients-layer")
        over_steps = live_figure(elem_id="gradient-map", picks=True)
        depth = live_figure(elem_id="depth-figure")
        step = gr.Slider(
            1, 2, value=1, step=1, label="Step, back through the run", elem_id="depth-step"
        )
        with gr.Row(elem_classes="two charts"):
            of_A = live_figure(elem_id="layer-a-figure")
            of_B = live_figure(elem_id="layer-b-figure")
    seen = gr.Number(0, visible=False)
    in_view = gr.Checkbox(True, visible=False)
    # The race that the card shows and its newest step, where the slider follows the race. They live
    # in the page, as the slider does, so that an event never sees one of them without the other.
    shown, newest = gr.Textbox("", visible=False), gr.Number(0, visible=False)

    def show(
        name: Any,
        lane: Any,
        measure: Any,
        layer: Any,
        step: Any,
        shown: Any,
        newest: Any,
        in_view: Any,
    ) -> tuple[Any, ...]:
        job = jobs.shown(name)
        numbers, found = _looks(job)
        if job is None or not found:
            return (gr.skip(),) * len(outputs)
        # Out of sight nothing is drawn but the first look and the last.
        if shown == name and not in_view and (not job.complete or newest == numbers[-1]):
            return (gr.skip(),) * len(outputs)
        labels, layers = [style.label for style in job.styles], found[0].layers
        # Whatever comes from a page that fits this run no more gives way to the first.
        k = labels.index(lane) if lane in labels else _first_olora(job)
        # Into the last layer a gradient flows always; into the first ones, behind the frozen
        # embedding, it never does.
        layer = layer if layer in layers else layers[-1]
        measure = measure if measure in MEASURES else "input"
        numeric = isinstance(step, int | float) and isinstance(newest, int | float)
        follows = shown != name or not numeric or step >= newest
        at = len(numbers) - 1 if follows else _nearest(numbers, step)
        run, total = f"{name} {measure}", job.config.steps
        quantity = measure.partition("_")[0] if measure != "input" else "gradient"
        of_factors = [
            layer_figure(
                numbers, found, job.styles, layer, f"{quantity}_{factor}", total=total,
                run=f"{name} {layer} {quantity}",
            )
            for factor in "AB"
        ]  # fmt: skip
        return (
            gr.update(choices=labels, value=labels[k]),
            gr.update(choices=[(_words(n), n) for n in layers], value=layer),
            _of_race(
                job, gradient_map(numbers, found, job.styles[k], k, measure, run=f"{run} {k}")
            ),
            _depth(job, numbers[at], found[at], measure, layer),
            gr.update(
                minimum=numbers[0], maximum=max(numbers[-1], numbers[0] + 1), value=numbers[at],
                step=job.config.gradients_every,
            ),
            *(_of_race(job, figure) for figure in of_factors),
            gr.update(elem_classes=SHOWN),
            name,
            numbers[-1],
        )  # fmt: skip

    def slide(name: Any, measure: Any, layer: Any, step: Any) -> Any:
        job = jobs.shown(name)
        numbers, found = _looks(job)
        known = measure in MEASURES and isinstance(step, int | float)
        if job is None or not found or not known or layer not in found[0].layers:
            return gr.skip()
        at = _nearest(numbers, step)
        return _depth(job, numbers[at], found[at], measure, layer)

    quiet: dict[str, Any] = {
        "queue": False, "show_progress": "hidden", "api_visibility": "private",
        "trigger_mode": "always_last",
    }  # fmt: skip
    inputs = [job_id, lane, measure, layer, step, shown, newest, in_view]
    outputs = [lane, layer, over_steps, depth, step, of_A, of_B, card, shown, newest]
    for event in (seen.change, head.select, lane.input, measure.input, layer.input):
        event(show, inputs, outputs, js=_IN_VIEW, **quiet)
    step.input(slide, [job_id, measure, layer, step], depth, **quiet)

    def pick(event: gr.SelectData) -> Any:
        return event.value if isinstance(event.value, str) else gr.skip()

    over_steps.select(pick, None, layer, **quiet).then(show, inputs, outputs, js=_IN_VIEW, **quiet)
    return seen


def news(job: Shown) -> int:
    """Return a number that changes when the card of a job should be drawn anew."""
    count = len(_looks(job)[0])
    wait = max(1, job.config.steps // max(1, job.config.gradients_every) // UPDATES)
    # Another number at the end, also where the last look was news already: it may be out of sight.
    return -count if job.complete else max(min(1, count), count - count % wait)


def _looks(job: Shown | None) -> tuple[list[int], list[Gradients]]:
    """Return the numbers of the steps that were looked at, and what was found."""
    steps = list(job.steps) if job else []
    known = [(step.step, step.gradients) for step in steps if step.gradients is not None]
    return [number for number, _ in known], [found for _, found in known]


def _depth(job: Shown, number: int, found: Gradients, measure: str, layer: str) -> Any:
    module = block_and_module(layer)[1]
    run = f"{job.id} {measure} {module}"
    return _of_race(job, depth_figure(number, found, job.styles, measure, module, run=run))


def _of_race(job: Shown, figure: Figure) -> dict[str, Any]:
    """Pack a figure that hides a lane, and shows a step, when another chart of its race does."""
    figure["layout"]["meta"]["race"] = job.id
    return pack(figure)


def _nearest(numbers: list[int], step: float) -> int:
    return min(range(len(numbers)), key=lambda i: abs(numbers[i] - step))


def _first_olora(job: Shown) -> int:
    return next((k for k, style in enumerate(job.styles) if style.init == "olora"), 0)


def _words(layer: str) -> str:
    return " · ".join(part for part in block_and_module(layer) if part)

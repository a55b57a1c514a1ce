"""A race as a sweep: held-out loss against the learning rate, and steps to reach LoRA's loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from olora_viz.figures.live.gradio_figure import live_figure, pack
from olora_viz.figures.rates import rate_figure
from olora_viz.studies.rate_story import reach_words, tell_rates
from olora_viz.studies.rate_sweep import MEASURES, Reach, is_sweep, rate_curves, steps_to_reach
from olora_viz.views import html as fragments
from olora_viz.views.shown import Shown
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.race.cards import AWAY, SHOWN

WORDS = {"final": "final loss", "best": "best loss of the run"}


def build(jobs: Jobs, job_id: gr.BrowserState) -> gr.Number:
    """Make the card; return what it follows: set it to what `news` says."""
    with gr.Column(elem_classes=AWAY, elem_id="run-rates") as card:
        measure = gr.Radio(
            [(WORDS[key], key) for key in MEASURES], value="final", show_label=False,
            label="Held-out loss", elem_id="rates-measure", container=False,
        )  # fmt: skip
        figure = live_figure(elem_id="rates-figure")
        words = gr.HTML("", elem_id="rates-words", apply_default_css=False)
    seen = gr.Number(0, visible=False)

    def show(name: Any, measure: Any) -> tuple[Any, ...]:
        shown = jobs.shown(name)
        if shown is None or not news(shown):
            return gr.skip(), gr.skip(), gr.update(elem_classes=AWAY)
        measure = measure if measure in MEASURES else "final"
        lanes, steps = shown.config.lanes, list(shown.steps)
        start = float(shown.baseline.loss[0]) if shown.baseline else None
        curves = rate_curves(lanes, steps, measure)
        drawn = rate_figure(
            curves, measure, start_loss=start, plain_text=shown.plain_text,
            run=f"{shown.id} {measure}",
        )  # fmt: skip
        drawn["layout"]["meta"]["race"] = f"{shown.id} rates"
        said = fragments.said(tell_rates(curves)) + table(steps_to_reach(lanes, steps, start))
        return pack(drawn), said, gr.update(elem_classes=SHOWN)

    quiet: dict[str, Any] = {
        "queue": False, "show_progress": "hidden", "api_visibility": "private",
        "trigger_mode": "always_last",
    }  # fmt: skip
    for event in (seen.change, measure.input):
        event(show, [job_id, measure], [figure, words, card], **quiet)
    return seen


def news(shown: Shown) -> int:
    """Return a number that changes when the card should be drawn anew; 0: there is no sweep.

    A race that ends, and one that a lane leaves, is news as well.
    """
    steps = list(shown.steps)
    if not is_sweep(shown.config.lanes) or not steps:
        return 0
    out = sum(status == "diverged" for status in steps[-1].status)
    evaluations = sum(step.eval_loss is not None for step in steps)
    return 1 + evaluations + 10_000 * out + 1_000_000 * shown.complete


def table(reached: Sequence[Reach]) -> str:
    """Return the table of steps to reach plain LoRA's final loss; a sentence where LoRA is not."""
    if not reached:
        return (
            '<p class="hint">Without a plain LoRA lane that is still racing there is no loss to '
            "reach.</p>"
        )
    spread = any(len(reach.each) > 1 for reach in reached)
    several = len({reach.target for reach in reached}) > 1
    rows = "".join(_row(reach, several) for reach in reached)
    final = "" if several else f" ({reached[0].target:.2f})"
    return (
        '<table class="reach"><caption>Steps to reach plain LoRA\'s final loss'
        f'{final} <span class="hint">LoRA at its best rate; every start at the rate that gets '
        "there first, between two evaluations on a straight line</span></caption>"
        '<thead><tr><th scope="col">start</th><th scope="col">rate</th><th scope="col">steps</th>'
        f'<th scope="col">{"by seed" if spread else ""}</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def _row(reach: Reach, several: bool) -> str:
    rate, steps, seeds = (fragments.escape(words) for words in reach_words(reach))
    goal = f' <span class="hint">to {reach.target:.2f}</span>' if several else ""
    style = reach.curve.style
    return (
        f'<tr><th scope="row">{fragments.mark(style)} {fragments.name(style)}{goal}</th>'
        f"<td>{rate}</td><td>{steps}</td><td>{seeds}</td></tr>"
    )

"""What the Conditioning page shows of a measurement: figures, tables and sentences."""

from __future__ import annotations

from typing import Any, NamedTuple

import gradio as gr
from markupsafe import Markup

from olora_viz.figures.conditioning import comparison_figure, ntk_figure, reference
from olora_viz.figures.live.gradio_figure import pack
from olora_viz.figures.loss_slice import empty_slice, slice_figures
from olora_viz.learn.terms import with_terms
from olora_viz.measures.conditioning import BATCHES
from olora_viz.races.state import FINISHED
from olora_viz.views import html as fragments
from olora_viz.views.conditioning import hero_of, numbers, rates, tell
from olora_viz.views.race_record import FAILED, WAITING
from olora_viz.web.conditioning.measurement import Measurement, Slicing
from olora_viz.web.jobs.job import Work


class View(NamedTuple):
    """What the page's outputs show, in their order."""

    measured: Any
    sliced: Any
    status: Any
    comparison: Any
    ntk: Any
    story: Any
    numbers: Any
    rates: Any
    left: Any
    right: Any
    left_slice: Any
    right_slice: Any
    measure: Any
    slice: Any
    stop: Any


def some(**shown: Any) -> View:
    """Update the given outputs and leave the others unchanged."""
    kept: dict[str, Any] = {name: gr.skip() for name in View._fields}
    return View(**(kept | shown))


def problem_view(sentence: str) -> View:
    """Say why nothing could be measured."""
    return some(status=fragments.problem(sentence))


def view(work: Measurement | Slicing, before: int, *, last: bool) -> View:
    """Show the progress of a measurement or a slice.

    Parameters
    ----------
    before : number of jobs ahead of it.
    last : whether this is the last update of the page.
    """
    free = last and work.complete
    shown: dict[str, Any] = {
        "status": _status(work, before),
        "measure": gr.update(interactive=free),
        "stop": gr.update(interactive=not work.ended),
    }
    if isinstance(work, Slicing):
        shown |= {"sliced": work.id, "slice": gr.update(interactive=free)}
        if work.slices:
            shown |= _slices(work)
        return some(**shown)
    shown["measured"] = work.id
    found = work.found
    if found is None or not work.complete:
        return some(**shown, slice=gr.update(interactive=False))
    k, hero = reference(work.styles), hero_of(work.styles, found)
    choices = [(style.label, i) for i, style in enumerate(work.styles)]
    return some(
        **shown,
        slice=gr.update(interactive=free and work.layer is None),
        comparison=pack(comparison_figure(work.styles, found, run=work.name)),
        ntk=pack(ntk_figure(work.styles, found, run=work.name)),
        story=with_terms(fragments.sentences(tell(work.styles, found), _scope(work))),
        numbers=numbers(work.styles, found),
        rates=rates(work.styles, found, work.rates),
        left=gr.update(choices=choices, value=k),
        right=gr.update(choices=choices, value=hero),
        left_slice=pack(empty_slice()),
        right_slice=pack(empty_slice()),
    )


def _status(work: Work, before: int) -> Markup:
    if work.state == FAILED:
        return fragments.problem(work.note)
    if work.state == WAITING:
        return fragments.status(WAITING, f"{before} before yours")
    words = work.note
    if work.state == FINISHED and isinstance(work, Measurement):
        starts = len(work.styles)
        words = f"{starts} start{'s' * (starts > 1)} on {work.device}"
        if work.lanes > starts:
            words += f": {work.lanes} lanes start like these, whatever their learning rate"
    if work.state == FINISHED and isinstance(work, Slicing):
        words = " and ".join(work.styles[k].label for k in work.chosen) + " on one scale"
    line = fragments.status(work.state, *([words] if words else []))
    if work.ended:
        return line
    return line + Markup(
        '<div class="bar" role="progressbar" aria-label="{state}" aria-valuemin="0" '
        'aria-valuemax="100" aria-valuenow="{percent:.0f}"><i style="width:{percent:.0f}%"></i>'
        "</div>"
    ).format(state=work.state, percent=100 * work.part)


def _slices(work: Slicing) -> dict[str, Any]:
    plain_text = bool(work.source and work.source.plain_text)
    made = slice_figures(work.styles, work.slices, plain_text=plain_text, run=work.name)
    made += [empty_slice()] * (2 - len(made))
    return {"left_slice": pack(made[0]), "right_slice": pack(made[1])}


def _scope(work: Measurement) -> str:
    where = f"For the layer {work.layer} only. " if work.layer else ""
    return (
        f"{where}Gradient and curvature on the first batch, the condition of the tangent kernel on "
        f"{BATCHES} batches, in one order of the data."
    )

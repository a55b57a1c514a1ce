"""A guide on the page: a strip with one step at a time, and the line that offers the first one."""

from __future__ import annotations

import json
import re
from dataclasses import asdict

import gradio as gr
from markupsafe import Markup

from olora_viz.figures.theme import lane_styles
from olora_viz.lanes.lane import Lane
from olora_viz.learn.lessons.lesson import FIRST_GUIDE, FIRST_ON_GPU, Guide, GuideStep
from olora_viz.learn.terms import sentence
from olora_viz.views.html import lane
from olora_viz.web.parts.card import element

LANE = re.compile(r"\{([a-z_]+)\}")


def offer() -> Markup:
    """Return the line that offers the first guide; its script shows it on a first visit."""
    return Markup(
        '<p class="guide-offer"><button type="button" class="as-link" data-begin="{}">{}</button>'
        '<button type="button" class="close" data-never aria-label="Do not offer it again">×</button></p>'
    ).format(FIRST_GUIDE.name, FIRST_GUIDE.title)


def strip(guide: Guide, more: Markup | str = "", page: str = "", place: str = "", race: str = "") -> Markup:
    """Return a guide with all its steps, of which its script shows one.

    Args:
        more: links below the steps.
        page: the page on which a lesson's guide begins.
        place: what stands before the title.
        race: the name of the recorded race that it opens.
    """
    steps = Markup("").join(_step(step) for step in guide.steps)
    before = Markup('<span class="hint">{}</span><br>').format(place) if place else ""
    ways = Markup('<p class="ways">{}</p>').format(more) if more else ""
    return Markup(
        '<section class="guide" data-guide="{}" data-page="{}" data-race="{}" aria-label="{}" hidden>'
        '<p class="place">{}<b>{}</b> <span class="at"></span></p>'
        '<div class="steps" aria-live="polite">{}</div>{}'
        '<div class="turns"><span class="waits"></span>'
        '<button type="button" class="quiet" data-back aria-label="Back" title="Back">‹</button>'
        '<button type="button" class="quiet" data-on>skip</button>'
        '<button type="button" class="quiet" data-close aria-label="Leave the guide" title="Leave the guide">×'
        "</button></div></section>"
    ).format(
        guide.name, page, race, guide.title, before, guide.title, steps, ways,
    )  # fmt: skip


def _step(step: GuideStep) -> Markup:
    waits = json.dumps(asdict(step.waits)) if step.waits else ""
    then = Markup('<p class="then" hidden>{}</p>').format(_words(step.then)) if step.then else ""
    return Markup(
        '<div class="step" data-waits="{}" data-where="{}" data-page="{}" data-opens="{}"{} hidden>'
        '<p class="now">{} <b>{}</b></p>{}</div>'
    ).format(
        waits, step.where, step.page, step.opens, Markup(" data-hides") if step.hides else "",
        _words(step.says), _words(step.do), then,
    )  # fmt: skip


def _words(text: str) -> Markup:
    """Return a sentence in which initializations have their lanes' colour and mark."""
    parts = LANE.split(text)
    name = Markup('<span class="lane" style="--lane:var(--{0}-text)">{1}</span>')
    return Markup("").join(
        name.format(part, lane(lane_styles([Lane(part)])[0])) if i % 2 else sentence(part)
        for i, part in enumerate(parts)
    )


def build(*, on_gpu: bool) -> gr.HTML:
    """Make the first guide's strip, for the first race of a server with a GPU or without one."""
    return element(strip(FIRST_ON_GPU if on_gpu else FIRST_GUIDE), elem_id="guide", script="parts/first_guide.js")

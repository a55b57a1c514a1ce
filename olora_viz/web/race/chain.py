"""The card in which the lanes of the set-up are trained on one task after the other, merged in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import gradio as gr

from olora_viz.background.chain import BackgroundChain
from olora_viz.background.record import Wait
from olora_viz.figures.live.serving import live_figures, pack_all
from olora_viz.figures.theme import lane_styles
from olora_viz.learn.terms import term
from olora_viz.machine.checks import unknown, word
from olora_viz.races.chain import check_links
from olora_viz.races.config import RaceConfig
from olora_viz.races.fields import IMITATION, OBJECTIVE_NAMES, link_words
from olora_viz.races.step import FINISHED
from olora_viz.tasks import TASKS
from olora_viz.views.chain import chain_words, charts_of_chain
from olora_viz.views.html import remark
from olora_viz.web.guard.config import check_tokens
from olora_viz.web.guard.limits import NOBODY, Limits, Visitor
from olora_viz.web.guard.visitor_files import OwnFiles, VisitorFiles
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts.background import PageWork, StartButton, work_status
from olora_viz.web.parts.card import Card, Desk, element, held, small_button
from olora_viz.web.parts.setup import SetUp, SetUpControls
from olora_viz.web.race.settings import task_choices

MOST_LINKS = 5
"""A page's charts have a row for each link."""


def later_links() -> dict[str, tuple[str, str]]:
    """Return the task and the objective of each entry of the list, by its words: of a plain text there are no answers.

    >>> [words for words, (task, _) in later_links().items() if task in ("sentiment", "text")]
    ['sentiment', 'text', 'sentiment, from preferences (DPO)', 'sentiment, from rewards (REINFORCE)']
    """
    links = ((task, objective) for objective in OBJECTIVE_NAMES for task in TASKS)
    return {link_words(*link): link for link in links if link[1] == IMITATION or TASKS[link[0]].prompt}


def train_again(jobs: Jobs, limits: Limits, config: RaceConfig, then: Any, owner: Visitor = NOBODY) -> BackgroundChain:
    """Put a chain into the queue: the race of a set-up, and the same lanes on other tasks.

    Args:
        then: the later links, in order, as a page sent them: keys of `later_links`.

    Raises:
        ValueError: a value breaks a rule, or the queue is full; the message is one sentence.
    """
    known, asked = later_links(), then if isinstance(then, list) else []
    if wrong := [each for each in asked if each not in [*known]]:
        raise ValueError(unknown("later task of a chain", word(wrong[0]), known))
    if not asked:
        raise ValueError("choose the tasks that the lanes are trained on after that of the set-up")
    later, links = [known[each] for each in asked], 1 + len(asked)
    if links > MOST_LINKS:
        raise ValueError(f"a chain of this page has at most {MOST_LINKS} tasks, not {links}")
    if links * config.steps > limits.max_steps:
        raise ValueError(
            f"{links} tasks of {config.steps:,} steps each are {links * config.steps:,} steps, more than "
            f"{limits.max_steps:,}: take fewer"
        )
    check_links(config, *zip((config.task, config.objective), *later, strict=True))
    for _, objective in later:
        check_tokens(limits, replace(config, objective=objective))
    config = replace(config, curvature_every=0, gradients_every=0, spectra_every=0, factors_every=0, eval_every=0)
    return jobs.add(BackgroundChain, config, lane_styles(config.lanes), owner, then=tuple(later))


class ChainParts(NamedTuple):
    """The components of the card, and what an update shows in them."""

    held: Any = gr.skip()
    status: Any = gr.skip()
    words: Any = gr.skip()
    figures: Any = gr.skip()
    start: Any = gr.skip()
    stop: Any = gr.skip()


def view(work: BackgroundChain, ahead: Wait, last: bool) -> ChainParts:
    """Show a chain, with what is `ahead` of it; the page's last update is `last`."""
    known = work.chain
    words = f"{1 + len(work.then)} tasks, {len(work.styles)} lanes" if work.state == FINISHED else work.note
    return ChainParts(
        held=work.id,
        status=work_status(work, ahead, words),
        words=chain_words(known) if known is not None else "",
        figures=pack_all(charts_of_chain(known) if known is not None else {}),
        start=gr.update(interactive=last),
        stop=gr.update(interactive=not work.ended),
    )


def build(desk: Desk) -> list[Any]:
    """Make the card, which no race updates."""
    element(
        f'<h2>Train them again <span class="hint">a {term("chain")}: after each task every lane is merged into a '
        "base of its own, and starts again from that</span></h2>"
    )
    key = held("chain")
    entries = task_choices({entry: task for entry, (task, _) in later_links().items()})
    with gr.Row(elem_classes="measuring"):
        then = gr.Dropdown(
            entries, value=[], label="After the task of the set-up, on", multiselect=True,
            max_choices=MOST_LINKS - 1, elem_id="chain-tasks", min_width=0,
        )  # fmt: skip
        start = small_button("Train again", "chain-button", variant="primary")
        stop = small_button("■ Stop", "chain-stop-button", interactive=False)
    status = element(remark(BEFORE), elem_id="chain-status")
    words = element("", elem_id="chain-words")
    desk.parts["chain"] = then, ChainParts(key, status, words, live_figures(elem_id="chain-figures"), start, stop)
    return []


BEFORE = (
    "It trains the lanes of the set-up on its task, then on each of these, from right answers where it names nothing "
    "else, and shows what each lane has learned and lost. With --chain the command line writes the adapters, too."
)

CARD = Card("chain", (), build, lambda view: [], tab="chain")


def connect(desk: Desk, demo: gr.Blocks, controls: SetUpControls, files: VisitorFiles) -> None:
    """Connect the card to the set-up."""
    limits, jobs = desk.limits, desk.jobs
    then, parts = desk.parts["chain"]

    def put(own: OwnFiles, asked: Sequence[Any], owner: Visitor) -> BackgroundChain:
        *setup, tasks = asked
        return train_again(jobs, limits, SetUp.from_controls(limits, setup, own).to_config(limits, own), tasks, owner)

    work = PageWork({parts.held: BackgroundChain}, parts, parts.status, view)
    work.connect(demo, jobs, files, [StartButton(parts.start, [*controls, then], put)], parts.stop)

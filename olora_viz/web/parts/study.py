"""What the pages Decide and Claims share: a study on the model and task of the set-up, within some minutes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import gradio as gr
from markupsafe import Markup

from olora_viz.background.decision import BackgroundStudy
from olora_viz.background.record import READY, WAITING
from olora_viz.figures.theme import lane_styles
from olora_viz.views.html import status
from olora_viz.web.guard.config import OwnFiles, checked_config
from olora_viz.web.guard.limits import Limits, Visitor
from olora_viz.web.jobs.job import new_key, study_folder
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts.card import element, small_button

OF_EXAMPLES = ("chat", "truncate")
"""The settings of a race that decisions and claims have as well: how examples are read."""

S = TypeVar("S", bound=BackgroundStudy)


def put_study(
    jobs: Jobs,
    limits: Limits,
    files: OwnFiles,
    kind: type[S],
    offered: Sequence[int],
    *,
    model: Any,
    task: Any,
    minutes: Any,
    inits: Sequence[Any],
    rank: Any,
    batch: int = 1,
    settings: Any = None,
    owner: Visitor,
) -> S:
    """Put a study into the queue, with a lane for each start, at no rate yet.

    Args:
        offered: the time limits that the server offers.
        model: this and what follows are values as a page sent them.
        task: see `model`.
        minutes: see `model`.
        inits: see `model`.
        rank: see `model`.
        batch: see `model`.
        settings: see `model`; those of the examples count.
        owner: who asks for it.

    Raises:
        ValueError: a value breaks a rule, or the queue is full; the message is one sentence.
    """
    if isinstance(minutes, bool) or minutes not in offered:
        raise ValueError(f"minutes must be one of {', '.join(map(str, offered))}, not {minutes!r:.40}")
    sent = settings if isinstance(settings, dict) else {}
    config = checked_config(
        limits, model=model, task=task, steps=1, batch=batch, files=files,
        lanes=[{"init": init, "r": rank, "lr": 1e-3, "seed": 0} for init in inits],
        settings={name: sent[name] for name in OF_EXAMPLES if name in sent},
    )  # fmt: skip
    name = new_key()
    folder, styles = study_folder(jobs.folder / name), lane_styles(config.lanes)
    return jobs.put(kind(name, config, folder, styles, minutes=float(minutes)), owner)


class StudyBar(NamedTuple):
    """The components of a page with a study in the top bar."""

    status: gr.HTML
    start: gr.Button
    stop: gr.Button


def study_bar(page: str, label: str) -> StudyBar:
    """Make the status and the buttons, inside the top bar.

    Args:
        page: its name.
        label: of the button that starts the study.
    """
    only = f"{page}-only"
    return StudyBar(
        status=element(status(READY), elem_id=f"{page}-status", elem_classes=only),
        start=small_button(label, f"{page}-button", variant="primary", elem_classes=only),
        stop=small_button("■ Stop", f"{page}-stop-button", interactive=False, elem_classes=only),
    )


def study_status(work: BackgroundStudy, ahead: int, *facts: str) -> Markup:
    """Return the status of a study.

    Args:
        ahead: number of jobs ahead of it.
        facts: shown once it has begun, after its note.
    """
    if work.state == WAITING:
        return status(WAITING, f"{ahead} before you" if ahead else "starting")
    return status(work.state, *filter(None, [work.note]), *facts)

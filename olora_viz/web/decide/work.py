"""A decision as work for the queue, and what of it goes home."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from olora_viz.figures.theme import lane_styles
from olora_viz.machine.files import write_zip
from olora_viz.studies.deciding import decide
from olora_viz.studies.study import Study
from olora_viz.views.background_decision import PLANNING, end_of
from olora_viz.views.decision_report import write_report
from olora_viz.views.race_record import WAITING
from olora_viz.web.decide.study_work import StudyWork, check_minutes, of_examples
from olora_viz.web.guard.config import OwnFiles, checked_config
from olora_viz.web.guard.downloads import DOWNLOADS
from olora_viz.web.guard.limits import Limits
from olora_viz.web.guard.visitor import NOBODY, Visitor
from olora_viz.web.jobs.job import new_key, study_folder
from olora_viz.web.jobs.queue import Jobs

MINUTES = (1, 2, 5, 10, 20)
"""The time limits that a page offers, as far as the server's own allows them."""

MOST_METHODS = 8
"""Maximum methods of a decision."""

REFERENCE = Study.reference


@dataclass(eq=False)
class Deciding(StudyWork):
    """A decision on the model and task of a set-up; its lanes are the methods, at no rate yet."""

    def run(self) -> bool:
        """Go the road to its end, or until others take their turn.

        What is known stays when it is stopped.
        """
        self.begin_turn()
        self.become(PLANNING if self.known is None else self.known.stage)
        its, known = self.raced, self.known
        road = decide(
            self.folder, minutes=self.minutes_left, plan=known.plan if known else None,
            model=its.model, task=its.task, inits=[lane.init for lane in its.lanes],
            ranks=(its.lanes[0].r,), device=its.device, max_length=its.max_length,
            truncate=its.truncate, chat=its.chat,
            threads=torch.get_num_threads(), watch=self.goes_on, progress=self.tell,
        )  # fmt: skip
        self.learn(road)
        self.become(*((WAITING,) if self.waits else end_of(self, self.known)))
        return self.waits


def put(
    jobs: Jobs, limits: Limits, files: OwnFiles, asked: Sequence[Any], owner: Visitor = NOBODY
) -> Deciding:
    """Put a decision into the queue.

    Parameters
    ----------
    asked : model, task, minutes, methods and rank, as a page sent them, and perhaps the settings,
        of which those of the examples count.
    owner : who asks for it.

    Raises
    ------
    ValueError : a value breaks a rule, or the queue is full; the message is one sentence.
    """
    model, task, minutes, inits, rank, *settings = asked
    check_minutes(minutes, minutes_within(limits))
    if not isinstance(inits, list) or not 1 <= len(inits) <= MOST_METHODS:
        raise ValueError(f"choose 1 to {MOST_METHODS} starts to compare with plain LoRA")
    methods = [REFERENCE, *(init for init in inits if init != REFERENCE)]
    if len(methods) < 2:
        raise ValueError("choose a start to compare with plain LoRA")
    config = checked_config(
        limits, model=model, task=task, steps=1, batch=1,
        lanes=[{"init": init, "r": rank, "lr": 1e-3, "seed": 0} for init in methods], files=files,
        settings=of_examples(*settings),
    )  # fmt: skip
    name = new_key()
    styles = lane_styles(config.lanes)
    return jobs.put(
        Deciding(
            name, config, study_folder(jobs.folder / name), styles, minutes=float(minutes),
            owner=owner,
        )
    )  # fmt: skip


def minutes_within(limits: Limits) -> list[int]:
    """Return the time limits that a server offers, at least the shortest one."""
    return [one for one in MINUTES if 60 * one <= limits.max_seconds] or [MINUTES[0]]


def take_home(jobs: Jobs, key: object, kind: object) -> dict[str, str]:
    """Return the URL of the report or of the zipped adapter, which expires; or the reason why not.

    Parameters
    ----------
    key : of the decision, its owner's.
    kind : ``report`` or ``adapter``.
    """
    work = jobs.find(key, Deciding)
    known = work.known if work else None
    if work is None or known is None or not work.complete:
        return {"problem": "there is nothing to take yet: the decision has not ended"}
    name = f"{known.plan.study.models[0]}-decision"
    if kind == "report":
        path = work.folder / "report.html"
        name += ".html"
        if not path.exists() and known.taken is not None:
            write_report(known, work.config.task)
    elif known.adapter is None:
        return {"problem": "it ended before the adapter was trained"}
    else:
        path = work.folder / "adapter.zip"
        name += ".zip"
        if not path.exists():
            write_zip(path, known.adapter)
    if not path.exists():
        return {"problem": "it ended before anything was known"}
    return {"url": DOWNLOADS.offer(path), "name": name}

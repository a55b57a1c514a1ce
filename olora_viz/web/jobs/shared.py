"""Equal races are one: a race that shows the steps of an equal one, until it goes on by itself.

Its steps are always the first ones of its `source`, which computes, waits or has ended, see `find_source`. Each has
controls of its own: how far it shows them, and how fast. It is not in the queue, computes nothing and waits in no
thread: whoever looks at it makes it catch up. At the end of its source it has the same folder, by hard links, and is
a race like any other.

Where its source does not go on, paused or stopped by its owner, the first one that still wants to takes over: from
a copy of the folder it resumes, bitwise, and the others follow it in turn. So does one that is stopped before the
end, which then has adapters of its last step.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from olora_viz.background.host import Seat
from olora_viz.background.race import BackgroundRace
from olora_viz.background.record import AT_ONCE, FAILED, PAUSED, SPEEDS, Copied
from olora_viz.background.work import BackgroundWork
from olora_viz.initializers.catalogue import BUILT_IN
from olora_viz.machine.devices import accelerator, device_words, resolve_device, resolve_dtype
from olora_viz.machine.files import is_free
from olora_viz.machine.process import cores
from olora_viz.machine.version import versions
from olora_viz.models import MODELS
from olora_viz.models.loading import folder_here
from olora_viz.models.offline import LANGUAGES
from olora_viz.races.config import KEPT, RaceConfig
from olora_viz.races.run import copy_run, has_begun
from olora_viz.races.step import DIVERGED, FINISHED, RACING, STOPPED, Step
from olora_viz.tasks import TASKS
from olora_viz.tasks.hub import SOURCES


class RaceSeat(Seat):
    """How far and how fast a race of the server shows the steps of an equal one."""

    speed = AT_ONCE
    _from = 0.0
    """The seconds of its step at which the replay goes on, and `_since` when, by the monotonic clock."""
    _since = 0.0

    @property
    def can_be_followed(self) -> bool:
        """Whether an equal race can do without computing what this one has, or will have."""
        race = self.work
        if self.source is not None or race.stopping.is_set() or race.last < math.inf or race.state == FAILED:
            return False
        there = has_begun(race.run_folder)
        return (race.state in (FINISHED, DIVERGED) and there) if race.complete else race.state != PAUSED or there

    @property
    def steps_of(self) -> Copied | None:
        """Where its steps are from; None for its own."""
        source = self.source
        if not (self.copied and self.began):
            return None
        behind = source is not None and len(self.work.steps) < len(source.steps)
        return Copied(self.began, source is not None and not source.complete, self.speed, behind)

    @property
    def is_behind(self) -> bool:
        """Whether its source has made more steps than it shows, or makes them in another process."""
        race, source = self.work, self.source
        if source is None:
            return False
        return race.pausing.is_set() or len(race.steps) < len(source.steps) or source.racing is None

    def find_source(self, others: Iterable[BackgroundWork]) -> BackgroundRace | None:
        """Return what it can follow: one that goes on, else one that has ended, else a paused one."""
        there = [each for each in equal(self, others) if each.size >= self.work.size and each.seat.can_be_followed]
        return min(there, key=lambda each: (each.complete, each.state == PAUSED)) if there else None

    def follow(self, source: BackgroundRace) -> None:
        """Show the steps of an equal race: of one that computes all at once, of one that has ended at its speed."""
        race = self.work
        if source.complete:
            copy_run(source.run_folder, race.run_folder)
        race.pausing.clear()
        self.copied, race.name = True, source.name
        self.speed = SPEEDS[0] if source.complete else AT_ONCE
        self._go_from_here()
        super().follow(source)

    def show_at(self, speed: float) -> None:
        """Show the steps at a speed from here on."""
        self._go_from_here()
        self.speed = speed
        self.work.wake()

    def go_on(self) -> None:
        """Go on to show what a source computes, after a pause."""
        if self.source is not None:
            self._go_from_here()
            self.work.become(RACING)
            self.catch_up()

    def _go_from_here(self) -> None:
        steps = self.work.steps
        self._from, self._since = steps[-1].seconds if steps else 0.0, time.monotonic()

    def see(self) -> None:
        """Note that a page asks for it, and so for a source that computes for it; a pause is of nothing more."""
        if not self.work.pausing.is_set():
            super().see()

    def catch_up(self) -> None:
        """Take over what the source has come to, as far as it is shown by now."""
        race = self.work
        with race.changed:
            source = self.source
            if source is None or race.pausing.is_set():
                return
            version, ended = source.version, source.complete  # read first: what follows is at least as new
            steps = source.steps
            due = self._due(steps)
            news = due > len(race.steps) or version != self._shown
            race.steps += steps[len(race.steps) : due]
            self._shown, self.began = version, source.seat.began
            at_end = len(race.steps) == len(source.steps)
            self._learn(at_end=at_end and ended)
            if len(race.steps) >= race.goal and not (at_end and ended):
                race.pausing.set()
                race.become(PAUSED)
                return
            left_alone = source.state == STOPPED and not source.why
            if not at_end or (left_alone and not ended):
                self._show(RACING, "", news)
                return
            if ended and not left_alone:
                self.end()
                return
            if not ended and source.state != PAUSED:
                self._show(source.state, source.note, news)
                return
        race.host.take_over(race)

    def _due(self, steps: list[Step]) -> int:
        """Count the steps to show by now."""
        until = self._from + (time.monotonic() - self._since) * self.speed
        due, most = len(self.work.steps), min(len(steps), self.work.goal)
        while due < most and (self.speed == AT_ONCE or steps[due].seconds <= until):
            due += 1
        return due

    def until_next(self) -> float:
        """Return the seconds until there is news of the source, or a step of it is to be shown."""
        source, done = self.source, len(self.work.steps)
        if source is None or self.work.pausing.is_set():
            return math.inf
        if source.version != self._shown or done >= len(source.steps):
            return super().until_next()
        return max(0.0, self._since + (source.steps[done].seconds - self._from) / self.speed - time.monotonic())

    def _show(self, state: str, note: str, news: bool) -> None:
        if news or (state, note) != (self.work.state, self.work.note):
            self.work.become(state, note)

    def _learn(self, *, at_end: bool) -> None:
        """Take over what is known of the source, but nothing of later steps."""
        results, done = self.source.results, len(self.work.steps)
        if results is not None and not at_end:
            early = tuple(each for each in results.early_answers if each.step is not None and each.step <= done)
            results = replace(results, answers=early[-1:], early_answers=early, tested=None)
        self.work.results = results

    def keep_files(self, steps: int | None = None) -> None:
        """Have the source's files in a folder of its own, or those of a number of steps."""
        source, folder = self.source, self.work.run_folder
        if source is not None and has_begun(source.run_folder):
            whole = source.complete and source.state != FAILED
            copy_run(source.run_folder, folder, steps if steps is not None or whole else len(source.steps))
        elif steps is not None and not is_free(folder):
            copy_run(folder, folder, steps)

    def leave_files(self) -> None:
        """Before its folder is deleted, leave the files to those who follow it."""
        for other in list(self.followers):
            with other.changed, suppress(OSError):
                if other.source is self.work:
                    other.seat.keep_files()

    def stop_here(self) -> None:
        """Follow nobody, as a paused race that has to catch up with its steps to have their adapters."""
        race, source = self.work, self.source
        if source is None:
            return
        with race.changed:
            if source.complete and len(race.steps) == len(source.steps):
                self.end()
                return
            self._leave_source()
            race.become(PAUSED)

    def compute_instead(self) -> None:
        """Let the race compute, from its last step on; whoever followed its source follows it."""
        race, source = self.work, self.source
        with race.changed:
            self._leave_source()
            self.copied = False
            race.left = min(race.left, source.left, source.deadline - time.monotonic())
        for other in list(source.seat.followers):
            with other.changed:
                other.seat.source = race
        self.followers += source.seat.followers
        source.seat.followers.clear()

    def _leave_source(self) -> None:
        """Follow nobody, with the files of the steps that are shown."""
        done = len(self.work.steps)
        self.keep_files(done)
        self.let_go()
        self.work.cut_off = done > 0

    def kept(self) -> dict[str, Any]:
        """Return what a restarted server has to show of it: of one that follows an ended race, the end."""
        source, follows = self.source, self.source.id if self.source is not None else ""
        has_all = source is not None and source.complete and (self.work.run_folder / "summary.json").is_file()
        seat = {"key": self.key, "began": self.began, "copied": self.copied, "follows": follows}
        return (source if has_all else self.work).record().to_json() | seat

    @classmethod
    def of_kept(cls, race: BackgroundRace, values: Mapping[str, Any]) -> RaceSeat:
        """Return the seat whose `kept` was written."""
        seat = cls(race, str(values.get("key", "")))
        seat.began, seat.copied = float(values.get("began", 0.0)), values.get("copied") is True
        return seat


def equal(seat: Seat, others: Iterable[BackgroundWork]) -> list[Any]:
    """Return the work that has all in common with that of a seat."""
    return [other for other in others if seat.key and other.seat.key == seat.key and other is not seat.work]


# Which are equal -----------------------------------------------------------------------------------

PACKAGES = ("torch", "transformers", "numpy", "glassllm")
"""The packages whose versions may change bits."""


def race_key(config: RaceConfig) -> str:
    """Return what the races with the steps of this one have in common; "" if nobody else's race can have them.

    Nobody shares a visitor's own file, nor what is still to be downloaded, of which nobody knows the version.

    >>> from olora_viz.races.config import RaceConfig
    >>> race_key(RaceConfig(device="cpu")) == race_key(RaceConfig(device="cpu", dtype="float32"))
    True
    >>> race_key(RaceConfig(task="mine.jsonl"))
    ''
    """
    inputs = own_fields(config) or config.test or any(lane.init not in BUILT_IN for lane in config.lanes)
    model, task = version_of_model(config.model), version_of_task(config.task)
    if inputs or not model or not task:
        return ""
    device = resolve_device().type if config.device == "auto" else config.device
    dtype = str(resolve_dtype(config.dtype, device))
    values = config.to_json() | {"device": device, "dtype": dtype, "files": [model, task]} | machine(device)
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def study_key(kind: str, config: RaceConfig, minutes: float) -> str:
    """Return what studies of a kind on one set-up in the same minutes have in common; "" if they share nothing.

    >>> study_key("decision", RaceConfig(task="mine.jsonl"), 2)
    ''
    """
    key = race_key(config)
    return key and f"{kind} {minutes:g} {key}"


def machine(device: str, environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return what else decides about the bits of a race here: versions, processor and threads."""
    here = accelerator()
    card = device_words(here) if here and device.startswith(here.type) else ""
    processor = [platform.machine(), torch.backends.cpu.get_cpu_capability(), cores()]
    threads = environment.get("OMP_NUM_THREADS", "")
    return {"versions": versions(*PACKAGES), "processor": processor, "card": card, "threads": threads}


def version_of_model(name: str) -> str:
    """Return which files a named model is read from; "" if they are not on this machine, or it is none of ours."""
    if name in LANGUAGES:
        return name  # its package's version is among the others
    if name not in MODELS:
        return ""
    return (folder_here(name) or Path()).name


def version_of_task(name: str) -> str:
    """Return which examples a named task has; "" if they are not on this machine, or it is none of ours."""
    source = next((each for each in SOURCES if each.name == name), None)
    if source is None:
        return name if name in TASKS else ""
    from huggingface_hub import constants

    home = Path(constants.HF_HUB_CACHE) / f"datasets--{source.repository.replace('/', '--')}"
    try:
        return (home / "refs" / "main").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def own_fields(config: RaceConfig) -> tuple[str, ...]:
    """Return the fields that name a file: of the task, and of the text to keep."""
    named = {"task": TASKS, "keep": (*KEPT, *TASKS)}
    return tuple(name for name, names in named.items() if getattr(config, name) not in names)

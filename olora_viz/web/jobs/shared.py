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
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from olora_viz.background.race import BackgroundRace, OwnPrompt
from olora_viz.background.record import AT_ONCE, FAILED, PAUSED, SPEEDS, Copied, RaceRecord
from olora_viz.initializers.catalogue import BUILT_IN
from olora_viz.machine.files import is_free
from olora_viz.machine.memory import resolve_device, resolve_dtype
from olora_viz.machine.process import StoppedEarlyError, cores
from olora_viz.machine.version import versions
from olora_viz.models import MODELS
from olora_viz.models.loading import folder_here
from olora_viz.models.offline import LANGUAGES
from olora_viz.races.config import KEPT, RaceConfig
from olora_viz.races.graphed_step import is_on
from olora_viz.races.race import Race
from olora_viz.races.run import copy_run
from olora_viz.races.step import DIVERGED, FINISHED, RACING, STOPPED, Step
from olora_viz.tasks import TASKS
from olora_viz.tasks.hub import SOURCES


@dataclass(eq=False)
class SharedRace(BackgroundRace):
    """A race of the server, which computes or follows an equal one."""

    key: str = ""
    """See `race_key`."""
    began: float = 0.0
    """When its steps were begun to be computed, in seconds since 1970; 0 before."""
    copied: bool = False
    """Whether they were computed by another race."""
    source: SharedRace | None = None
    """The race that it follows."""
    followers: list[SharedRace] = field(default_factory=list)
    """The races that follow this one."""
    speed: float = AT_ONCE
    _from: float = 0.0
    """The seconds of its step at which the replay goes on, and `_since` when, by the monotonic clock."""
    _since: float = 0.0
    _shown: int = -1
    """The source's version that it has caught up with."""

    @property
    def can_be_followed(self) -> bool:
        """Whether an equal race can do without computing what this one has, or will have."""
        if self.source is not None or self.stopping.is_set() or self.last < math.inf or self.state == FAILED:
            return False
        there = (self.run_folder / "config.json").is_file()
        return (self.state in (FINISHED, DIVERGED) and there) if self.complete else self.state != PAUSED or there

    @property
    def steps_of(self) -> Copied | None:
        """Where its steps are from; None for its own."""
        source = self.source
        if not (self.copied and self.began):
            return None
        behind = source is not None and len(self.steps) < len(source.steps)
        return Copied(self.began, source is not None and not source.complete, self.speed, behind)

    # What it follows ------------------------------------------------------------------------------

    def follow(self, source: SharedRace, goal: float = math.inf) -> None:
        """Show the steps of an equal race: of one that computes all at once, of one that has ended at its speed.

        Raises:
            OSError: the folder of one that has ended is gone.
        """
        if source.complete:
            copy_run(source.run_folder, self.run_folder)
        self.pausing.clear()
        self.source, self.copied, self.goal, self.name = source, True, goal, source.name
        self.speed = SPEEDS[0] if source.complete else AT_ONCE
        source.followers.append(self)
        self._go_from_here()
        self.catch_up()

    def show_at(self, speed: float) -> None:
        """Show the steps at a speed from here on."""
        self._go_from_here()
        self.speed = speed
        self.wake()

    def _go_from_here(self) -> None:
        self._from, self._since = self.steps[-1].seconds if self.steps else 0.0, time.monotonic()

    def catch_up(self) -> None:
        """Take over what the source has come to, as far as it is shown by now."""
        with self.changed:
            source = self.source
            if source is None or self.pausing.is_set():
                return
            version, ended = source.version, source.complete  # read first: what follows is at least as new
            steps = source.steps
            due = self._due(steps)
            news = due > len(self.steps) or version != self._shown
            self.steps += steps[len(self.steps) : due]
            self._shown, self.began = version, source.began
            at_end = len(self.steps) == len(source.steps)
            self._learn(source, at_end=at_end and ended)
            if len(self.steps) >= self.goal and not (at_end and ended):
                self.pausing.set()
                self._change(state=PAUSED, note="")
                return
            left_alone = source.state == STOPPED and not source.why
            if not at_end or (left_alone and not ended):
                self._show(RACING, "", news)
                return
            if ended and not left_alone:
                self._end_with(source)
                return
            if not ended and source.state != PAUSED:
                self._show(source.state, source.note, news)
                return
        self.host.take_over(self)

    def _due(self, steps: list[Any]) -> int:
        """Count the steps to show by now."""
        until = self._from + (time.monotonic() - self._since) * self.speed
        due, most = len(self.steps), min(len(steps), self.goal)
        while due < most and (self.speed == AT_ONCE or steps[due].seconds <= until):
            due += 1
        return due

    def _until_next(self) -> float:
        """Return the seconds until a step of the source is to be shown that it has already."""
        source, done = self.source, len(self.steps)
        if source is None or self.pausing.is_set() or done >= len(source.steps):
            return math.inf
        return max(0.0, self._since + (source.steps[done].seconds - self._from) / self.speed - time.monotonic())

    def _show(self, state: str, note: str, news: bool) -> None:
        if news or (state, note) != (self.state, self.note):
            self._change(state=state, note=note)

    def _learn(self, source: SharedRace, *, at_end: bool) -> None:
        """Take over what is known of the source, but nothing of later steps."""
        results, done = source.results, len(self.steps)
        if results is not None and not at_end:
            early = tuple(each for each in results.early_answers if each.step is not None and each.step <= done)
            results = replace(results, answers=early[-1:], early_answers=early, tested=None)
        self.results = results

    def _end_with(self, source: SharedRace) -> None:
        """End as the source has."""
        try:
            self.keep_files()
        except OSError as error:
            self.end(FAILED, self.sentence_on(error))
            return
        self.let_go()
        self._change(state=source.state, note=source.note, complete=True)

    def keep_files(self, steps: int | None = None) -> None:
        """Have the source's files in a folder of its own, or those of a number of steps.

        Raises:
            OSError: the disk is full, or the source's folder is gone.
        """
        source = self.source
        if source is not None and (source.run_folder / "config.json").exists():
            whole = source.complete and source.state != FAILED
            copy_run(source.run_folder, self.run_folder, steps if steps is not None or whole else len(source.steps))
        elif steps is not None and not is_free(self.run_folder):
            copy_run(self.run_folder, self.run_folder, steps)

    def leave_files(self) -> None:
        """Before its folder is deleted, leave the files to those who follow it."""
        for other in list(self.followers):
            with other.changed, suppress(OSError):
                if other.source is self:
                    other.keep_files()

    def let_go(self) -> None:
        """Follow nobody any more."""
        source, self.source = self.source, None
        if source is not None and self in source.followers:
            source.followers.remove(self)

    def end(self, state: str, note: str = "") -> None:
        """Follow nobody, and enter the final state."""
        self.let_go()
        super().end(state, note)

    def stop_here(self) -> None:
        """Follow nobody, as a paused race that has to catch up with its steps to have their adapters.

        Raises:
            OSError: its files cannot be written.
        """
        source, done = self.source, len(self.steps)
        if source is None:
            return
        with self.changed:
            if source.complete and done == len(source.steps):
                self._end_with(source)
                return
            self.keep_files(done)
            self.let_go()
            self.cut_off = done > 0
            self._change(state=PAUSED, note="")

    def compute_instead(self) -> None:
        """Become a race that computes, from its last step on; whoever followed its source follows it.

        Raises:
            OSError: its files cannot be written.
        """
        source = self.source
        assert source is not None
        with self.changed:
            self.keep_files(len(self.steps))
            self.let_go()
            self.copied, self.cut_off = False, bool(self.steps)
            self.left = min(self.left, source.left, source.deadline - time.monotonic())
        for other in list(source.followers):
            with other.changed:
                other.source = self
        self.followers += source.followers
        source.followers.clear()

    # As other races ---------------------------------------------------------------------------------

    def see(self) -> None:
        """Note that a page asks for it, and so for a source that computes for it."""
        source = self.source
        if source is not None and not source.complete and not self.pausing.is_set():
            source.see()
        super().see()
        self.catch_up()

    def newer(self, cursor: int, timeout: float | None = None) -> int:
        """Wait until there is something newer, also a step that is shown later than it was computed."""
        until = time.monotonic() + (math.inf if timeout is None else timeout)
        while True:
            self.catch_up()
            with self.changed:
                if self.version > cursor or time.monotonic() >= until:
                    return self.version
                if self.source is not None:
                    heard = self.source.version != self._shown and not self.pausing.is_set()
                    wait = 0.0 if heard else min(until - time.monotonic(), self._until_next(), 60.0)
                    self.changed.wait(max(wait, 0.001))
                    continue
            return super().newer(cursor, None if timeout is None else max(0.0, until - time.monotonic()))

    def _wait(self, until: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait, and catch up meanwhile."""
        end = time.monotonic() + (math.inf if timeout is None else timeout)
        while self.source is not None and not until() and time.monotonic() < end:
            self.newer(self.version, min(end - time.monotonic(), 1.0))
        return super()._wait(until, None if timeout is None else max(0.0, end - time.monotonic()))

    def pause(self, why: str = "") -> None:
        """Pause what it shows, at once, or what it computes."""
        super().pause(why)
        if self.source is not None:
            self.become(PAUSED, why)

    def resume(self, goal: float = math.inf) -> None:
        """Go on to show, or to compute."""
        super().resume(goal)
        if self.source is not None:
            self._go_from_here()
            self.become(RACING)
            self.catch_up()

    def ask(self, prompt: str) -> bool:
        """Have all lanes answer a prompt: its own, or those of its source, after the step that it shows."""
        source = self.source
        if source is None:
            return super().ask(prompt)
        with source.changed:
            behind = self.pausing.is_set() or len(self.steps) < len(source.steps)
            if behind or source.host.is_elsewhere or not source._takes_prompts:
                return False
            self.own_prompt = OwnPrompt(prompt)
        self.wake()
        return True

    def _ask(self, racing: Race, step: Step) -> None:
        super()._ask(racing, step)
        for other in list(self.followers):
            if (own := other.own_prompt) and own.waits:
                with suppress(StoppedEarlyError):
                    other._reply(racing, own)

    def _reply_last(self, racing: Race) -> None:
        super()._reply_last(racing)
        for other in list(self.followers):
            if (own := other.own_prompt) and self.steps:
                other._reply(racing, own)

    @property
    def there(self) -> type[BackgroundRace]:
        """Another process knows nothing of equal races."""
        return BackgroundRace

    def compute(self) -> None:
        """Compute, and note when its steps are begun to be computed."""
        self.began = self.began or time.time()
        super().compute()

    def _change(self, **values: object) -> None:
        super()._change(**values)
        for other in list(self.followers):
            with other.changed:
                other.changed.notify_all()

    def kept_record(self) -> RaceRecord:
        """Return what a restarted server has to show of it: of one that follows an ended race, the end."""
        source = self.source
        has_all = source is not None and source.complete and (self.run_folder / "summary.json").is_file()
        return source.record() if source is not None and has_all else self.record()

    def to_json(self) -> dict[str, Any]:
        """Return what is to be kept beside its record."""
        follows = self.source.id if self.source is not None else ""
        return {"key": self.key, "began": self.began, "copied": self.copied, "follows": follows}

    def from_json(self, values: Mapping[str, Any]) -> None:
        """Take over what `to_json` wrote."""
        self.key, self.began = str(values.get("key", "")), float(values.get("began", 0.0))
        self.copied = values.get("copied") is True


def find_source(race: SharedRace, others: Iterable[SharedRace]) -> SharedRace | None:
    """Return what a race follows of the equal ones: one that goes on, else one that has ended, else a paused one."""
    alike = [
        other
        for other in others
        if race.key and other.key == race.key and other is not race
        and len(other.steps) >= len(race.steps) and other.can_be_followed
    ]  # fmt: skip
    return min(alike, key=lambda other: (other.complete, other.state == PAUSED), default=None)


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
    device = config.device if config.device != "auto" else resolve_device().type
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
    card = torch.cuda.get_device_name() if device == "cuda" and torch.cuda.is_available() else ""
    card += ", CUDA graph" if card and is_on(environment) else ""
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

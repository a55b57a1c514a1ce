"""The jobs of the queue: work of any kind, and races that open pages pause, step and stop."""

from __future__ import annotations

import math
import re
import secrets
import shutil
import time
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from olora_viz.lanes.read_back import kept
from olora_viz.machine.numbers import duration
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import Race
from olora_viz.tasks import TASKS
from olora_viz.views.background_race import BackgroundRace
from olora_viz.views.background_work import BackgroundWork


@dataclass(eq=False)
class Work(BackgroundWork):
    """A unit of work in the queue: a race, or a measurement at initialization.

    If its task is a visitor's own file, `config` has only the file's name, since anybody may see
    it, and `raced` has the path of this job's copy.
    """

    folder: Path
    seen: float = field(default_factory=time.monotonic)
    """Time of a page's last request for it, by the monotonic clock."""
    left: float = math.inf
    """Seconds that it may still compute."""
    deadline: float = math.inf
    """The end of its time, by the monotonic clock, while it computes."""
    max_seconds: float = math.inf
    own_file: Path | None = None
    """The visitor's own file, if the task is one."""

    def __post_init__(self) -> None:
        """Keep the path of a visitor's own file out of everything that is shown."""
        if self.config.task not in TASKS:
            self.own_file = Path(self.config.task)
            self.config = replace(self.config, task=self.own_file.name)

    @property
    def raced(self) -> RaceConfig:
        """The set-up to compute with."""
        return replace(self.config, task=str(self.own_file)) if self.own_file else self.config

    @property
    def keeps(self) -> Path:
        """The folder of its copy of the visitor's own file, next to the run's folder."""
        return self.folder.with_name(f"{self.folder.name}.task")

    def keep_own_file(self) -> None:
        """Copy the visitor's own file, which may be gone before its turn comes.

        Raises
        ------
        ValueError : the file is gone.
        """
        if self.own_file is not None:
            copy = self.keeps / self.own_file.name
            try:
                copy.parent.mkdir(parents=True)
                shutil.copyfile(self.own_file, copy)
            except OSError:
                raise ValueError(
                    "your file is no longer available: its page was closed; choose it again"
                ) from None
            self.own_file = copy

    def sayable(self, sentence: str) -> str:
        """Remove the path of the visitor's own file from a sentence."""
        return (
            sentence.replace(str(self.own_file), self.own_file.name) if self.own_file else sentence
        )

    def remove(self) -> None:
        """Remove all that it has on disk."""
        for folder in (self.folder, self.keeps):
            shutil.rmtree(folder, ignore_errors=True)

    def is_over(self) -> bool:
        """Whether the end was requested, or the time is up."""
        if time.monotonic() >= self.deadline:
            self.stop(f"stopped after {duration(self.max_seconds)}, this server's limit")
        return self.stopping.is_set()

    def compute(self) -> None:
        """Take its turn, within the time that it has left, see `BackgroundWork.compute`."""
        self.deadline = time.monotonic() + self.left
        super().compute()

    def came_to_rest(self) -> None:
        """Count the time that it took."""
        self.left, self.deadline = self.deadline - time.monotonic(), math.inf


@dataclass(eq=False)
class Job(Work, BackgroundRace):
    """A race in the queue.

    Between two turns it is paused: on disk as a checkpoint, and on a CPU also in memory until
    another race's turn, so that single steps are quick. A GPU is released immediately.
    """

    grace: float = math.inf
    """Seconds without an open page after which it pauses."""

    def wants_rest(self) -> bool:
        """Whether to pause: on request, at the goal, or without an open page."""
        away = time.monotonic() - self.seen > self.grace
        if away:
            self.why_paused = f"no page watched it for {duration(self.grace)}"
        return away or super().wants_rest()

    def park(self, racing: Race) -> None:
        """Write a checkpoint, and release the GPU."""
        super().park(racing)
        if racing.device.type != "cpu":
            self.release()

    def read_back(self, k: int) -> str:
        """Describe the result of reading lane k's adapter back; empty if it was not read."""
        found = kept(self.folder / "adapters" / self.config.labels[k])
        return found.sentence if found else ""

    def adapter_zip(self, k: int) -> Path:
        """Zip lane k's adapter, once, next to the run.

        Raises
        ------
        ValueError : there is no such lane, or its adapter is not written yet.
        """
        labels = self.config.labels
        if not 0 <= k < len(labels):
            raise ValueError(f"lane {k} must be from 0 to {len(labels) - 1}")
        source = self.folder / "adapters" / labels[k]
        if not self.complete or not source.is_dir():
            raise ValueError(f"lane {labels[k]!r} has no adapter yet: the race has not ended")
        name = f"{self.config.model}-{self.config.task}-{labels[k]}".replace("=", "")
        target = self.folder / f"{re.sub(r'[^A-Za-z0-9._+-]', '-', name)}.zip"
        if not target.exists():
            partial = target.with_suffix(f".{secrets.token_hex(4)}")
            try:
                with zipfile.ZipFile(partial, "w") as archive:
                    for path in sorted(source.iterdir()):
                        archive.write(path, f"{target.stem}/{path.name}")
                partial.replace(target)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
        return target

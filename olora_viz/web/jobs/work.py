"""A unit of work in the queue: a race, or a measurement at initialization."""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from olora_viz.machine.numbers import duration
from olora_viz.races.config import RaceConfig
from olora_viz.tasks import TASKS
from olora_viz.views.background_work import BackgroundWork


@dataclass(eq=False)
class Work(BackgroundWork):
    """A unit of work in the queue: a race, or a measurement at initialization.

    Where its task is a visitor's own file, `config` has the file's name alone, as anybody may see
    it, and `raced` has the path of a copy that belongs to this work.
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
        """Keep the path of a visitor's own file apart from all that is shown."""
        if self.config.task not in TASKS:
            self.own_file = Path(self.config.task)
            self.config = replace(self.config, task=self.own_file.name)

    @property
    def raced(self) -> RaceConfig:
        """The set-up to compute with."""
        return replace(self.config, task=str(self.own_file)) if self.own_file else self.config

    @property
    def keeps(self) -> Path:
        """The folder of its copy of the visitor's own file, beside the run's."""
        return self.folder.with_name(f"{self.folder.name}.task")

    def keep_own_file(self) -> None:
        """Copy the visitor's own file, which may be gone before its turn comes.

        Raises
        ------
        ValueError : it is gone.
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
        """Take the path of the visitor's own file out of a sentence."""
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

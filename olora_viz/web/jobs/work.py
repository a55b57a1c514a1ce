"""What takes its turn on this server's processor: a race, or a look at where one starts."""

from __future__ import annotations

import math
import shutil
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from olora_viz.figures.theme import LaneStyle
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import Race
from olora_viz.tasks import TASKS

ENDED = ("stopped", "finished", "diverged", "failed")


class StoppedEarlyError(Exception):
    """Raised out of a long computation when it is no longer wanted."""


@dataclass
class Work:
    """What takes its turn in the queue: a race, or a look at where one starts.

    Where its task is a visitor's own file, `config` has the file's name alone, as anybody may see
    it, and `raced` has the path of a copy that belongs to this work.
    """

    id: str
    config: RaceConfig
    folder: Path
    styles: tuple[LaneStyle, ...]
    state: str = "waiting"
    """waiting, loading, what it does (racing, …), paused, or one of `ENDED`."""
    note: str = ""
    """What is being done just now; of what has ended, the sentence that says why."""
    part: float = 0.0
    """How much is done, from 0 to 1, where that is known."""
    why: str = ""
    """What ended it, where it was not its visitor."""
    device: str = ""
    complete: bool = False
    """Nothing will change any more."""
    stopping: threading.Event = field(default_factory=threading.Event)
    seen: float = field(default_factory=time.monotonic)
    """When a page asked for it last, by the monotonic clock."""
    left: float = math.inf
    """Seconds that it may still compute."""
    deadline: float = math.inf
    """The end of its time, by the monotonic clock, while it computes."""
    max_seconds: float = math.inf
    own_file: Path | None = None
    """The visitor's own file, where the task is one."""

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
                    "your file is no longer here: its page was closed; bring it once more"
                ) from None
            self.own_file = copy

    def _sayable(self, sentence: str) -> str:
        """Take the path of the visitor's own file out of a sentence."""
        return (
            sentence.replace(str(self.own_file), self.own_file.name) if self.own_file else sentence
        )

    def remove(self) -> None:
        """Remove all that it has on disk."""
        for folder in (self.folder, self.keeps):
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def recorded(self) -> bool:
        """Never: it is computed here and now, see `RaceRecord`."""
        return False

    @property
    def ended(self) -> bool:
        """Whether nothing more will be computed."""
        return self.state in ENDED

    def stop(self, why: str = "") -> None:
        """Ask for the end."""
        if not self.stopping.is_set():
            self.why = why
            self.stopping.set()

    def is_over(self) -> bool:
        """Whether somebody has asked for the end, or the time is up."""
        if time.monotonic() >= self.deadline:
            self.stop(f"stopped after {duration(self.max_seconds)}, this server's limit")
        return self.stopping.is_set()

    def tell(self, part: float, what: str) -> None:
        """Say what is being done, and how much is; raises where it is no longer wanted."""
        self.part, self.note = part, what
        if self.is_over():
            raise StoppedEarlyError

    def compute(self) -> None:
        """Take its turn, within the time that it has left; whatever goes wrong is said in `note`.

        Raises
        ------
        Exception : what nobody foresaw, once the page has its sentence.
        """
        self.deadline = time.monotonic() + self.left
        try:
            self.run()
        except StoppedEarlyError:
            self.state, self.note = "stopped", self.why
        except ValueError as error:
            self.state, self.note = "failed", self._sayable(str(error))
        except Exception as error:
            why = error.strerror if isinstance(error, OSError) else f"{error}".split("\n")[0]
            self.state, self.note = (
                "failed",
                f"{type(error).__name__}: {self._sayable(str(why))[:200]}",
            )
            raise
        finally:
            self.left, self.deadline = self.deadline - time.monotonic(), math.inf
            self.complete = self.state != "paused"

    def run(self) -> None:
        """Do the work; may raise `StoppedEarlyError`."""
        raise NotImplementedError

    def rests(self) -> bool:
        """Whether it should wait to be told to go on."""
        return False

    def release(self) -> None:
        """Let go of memory that is kept only so that going on is quick."""


def duration(seconds: float) -> str:
    """Write a time in words.

    >>> duration(1800), duration(60), duration(45)
    ('30 minutes', '1 minute', '45 seconds')
    """
    whole = seconds >= 60 and seconds % 60 == 0
    count, unit = (seconds / 60, "minute") if whole else (seconds, "second")
    return f"{count:g} {unit}{'s' * (count != 1)}"


def device_words(racing: Race) -> str:
    """Return the kind of device that a race is on, as a page writes it."""
    return str(racing.device).split(":")[0].upper()

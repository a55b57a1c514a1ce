"""A race in the background, which can be paused, stepped and stopped while pages look at it."""

from __future__ import annotations

import math
import re
import secrets
import threading
import time
import zipfile
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from olora_viz.lanes.generation import Answer
from olora_viz.races import run as runs
from olora_viz.races.race import Race
from olora_viz.races.step import Step
from olora_viz.tasks.losses import Evaluation
from olora_viz.web.jobs.work import Work, device_words, duration

ANSWERS = 4
"""Held-out prompts that every lane is asked after a race."""


@dataclass
class Job(Work):
    """One race and all that its page shows of it; what a page reads only grows.

    Between two turns it is paused: on disk as a checkpoint, and on a CPU also in memory until
    somebody else's turn comes, so that single steps are quick. A GPU is given back at once.
    """

    steps: list[Step] = field(default_factory=list)
    baseline: Evaluation | None = None
    plain_text: bool = False
    left_out: int = 0
    """Training examples that were longer than ``config.max_length``."""
    answers: list[Answer] = field(default_factory=list)
    racing: Race | None = None
    """The race while it is in memory."""
    goal: float = math.inf
    """The step after which it pauses by itself."""
    grace: float = math.inf
    """Seconds without a page that looks at it, after which it pauses."""
    pausing: threading.Event = field(default_factory=threading.Event)
    _going: Generator[Step, None, None] | None = None
    _run: runs.Run | None = None

    def stop(self, why: str = "") -> None:
        """Ask for the end: after the step that it is in, without a look that the step has left."""
        super().stop(why)
        racing = self.racing
        if racing is not None:
            racing.close()

    def pause(self) -> None:
        """Ask for a pause after the step that it is in."""
        self.pausing.set()

    def unpause(self, goal: float = math.inf) -> None:
        """Take the wish for a pause back, until a step."""
        self.goal = goal
        self.pausing.clear()

    def run(self) -> None:
        """Train until the end, the goal, a wish for a pause, or the end of its time."""
        try:
            racing, going = self._open()
            self.state, self.note = "racing", ""
            while not self.rests():
                step = next(going, None)
                if step is None:
                    break
                self.steps.append(step)
                if self.is_over() and racing.status in ("racing", "stopped"):
                    racing.close()
                    self.state, self.note = "stopped", "writing the adapters"
            else:
                self._park(racing)
                return
            self.state, self.note = racing.status, "asking the lanes"
            if self.steps:
                self.answers = racing.answers(ANSWERS if not self.plain_text else ANSWERS // 2)
            self.note = self._reason(racing.state.diverged_at)
        except BaseException:
            self._let_go()
            raise
        self._let_go()

    def release(self) -> None:
        """Keep the checkpoint on disk alone, from which `run` goes on bitwise."""
        if self._going is not None:
            self._going.close()  # writes what is to be kept
            self._let_go()

    def _open(self) -> tuple[Race, Generator[Step, None, None]]:
        """Build the race, or go on with the one that is in memory or on disk."""
        if self.racing is not None and self._going is not None:
            return self.racing, self._going
        self.state = "loading"
        self.tell(0.0, f"loading {self.config.model}")
        begun = (self.folder / "config.json").exists()
        if begun:
            run = runs.resume(self.folder, progress=self.tell)
        else:
            run = runs.start(self.raced, self.folder, progress=self.tell)
        self._run, self._going = run, iter(run)
        racing = self.racing = run.race
        if self.stopping.is_set():
            racing.close()
        self.device = device_words(racing)
        self.baseline, self.plain_text = racing.baseline, racing.task.plain_text
        self.left_out = racing.data.left_out
        return racing, self._going

    def rests(self) -> bool:
        """Whether it should wait, before the next step, to be told to go on."""
        if self.stopping.is_set() or (self.racing and self.racing.status != "racing"):
            return False
        away = time.monotonic() - self.seen > self.grace
        if away:
            self.note = f"its page was away for {duration(self.grace)}"
        return away or self.pausing.is_set() or len(self.steps) >= self.goal

    def _park(self, racing: Race) -> None:
        assert self._run is not None
        self._run.checkpoint()
        if racing.device.type != "cpu":
            self.release()
        self.state = "paused"

    def _let_go(self) -> None:
        """Forget the race, whose base model others may use again."""
        racing, self.racing, self._going, self._run = self.racing, None, None, None
        if racing is not None:
            racing.lanes.detach()

    def _reason(self, at: np.ndarray) -> str:
        """Say why it ended, where that is not its visitor's wish or the last step."""
        if self.state == "diverged":
            first = int(at.argmin())
            return (
                f"no lane is left: the loss of {self.styles[first].label} was not finite any more "
                f"at step {at[first]}" + (f", the last lane's at step {at.max()}" * (len(at) > 1))
            )
        return self.why if self.state == "stopped" else ""

    def adapter_zip(self, k: int) -> Path:
        """Zip lane k's adapter, once, beside the run.

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

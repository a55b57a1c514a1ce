"""A race whose steps are made elsewhere, turn by turn: on ZeroGPU."""

from __future__ import annotations

import contextvars
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from olora_viz.background.record import LOADING, PAUSED
from olora_viz.background.work import StoppedEarlyError
from olora_viz.races.run import read_steps
from olora_viz.races.step import RACING, Step
from olora_viz.web.jobs import accelerator
from olora_viz.web.jobs.accelerator import Failed, News
from olora_viz.web.jobs.job import Job


@dataclass(eq=False)
class ZeroGpuJob(Job):
    """A `Job` whose race is never in this process's memory, and whose requests are files.

    A race on the CPU is raced in this process, as any other `Job`.
    """

    visit: contextvars.Context = field(default_factory=contextvars.copy_context)
    """Of the page that asked last: the GPU's time counts as that visitor's."""

    def stop(self, why: str = "") -> None:
        """Request the end after the current step."""
        super().stop(why)
        self._request()

    def pause(self, why: str = "") -> None:
        """Request a pause after the current step."""
        super().pause(why)
        self._request()

    def resume(self, goal: float = math.inf) -> None:
        """Cancel the request for a pause, until a given step."""
        self.visit, self.refused = contextvars.copy_context(), ""
        super().resume(goal)
        self._request()

    def run(self) -> bool:
        """Take one turn; if the race does not finish in it, the queue schedules another."""
        if self.on_cpu:
            return super().run()
        self.become(LOADING)
        self.progress(0.0, "waiting for a GPU")
        self._request()
        ended = None
        for number, news in enumerate(self._turn()):
            if isinstance(news, Step):
                self.steps.append(news)
                self.cut_off = True  # until the turn ends with a checkpoint
                self.wake()
                if self.is_over() or self.pauses():
                    self._request()
            elif isinstance(news, Failed):
                raise ValueError(news.sentence)
            elif number == 0:
                self.loaded(news)
                self.become(RACING)
            else:
                ended = news
        if ended is None:
            self.cut_off = self.cut_off and bool(self.refused)
            self.become(PAUSED, self.why_paused)
            return True
        self.cut_off = False
        self.results, self.state = ended, ended.state
        self.become(ended.state, self.reason())
        return False

    def remove(self) -> None:
        """Remove all its files."""
        super().remove()
        accelerator.request(self._requests, "")

    @property
    def on_cpu(self) -> bool:
        """Whether it needs no GPU."""
        return self.config.device == "cpu"

    @property
    def _requests(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.wish")

    def _request(self) -> None:
        if self.on_cpu:
            return
        halts = self.stopping.is_set() or self.pauses()
        what = accelerator.STOP if self.stopping.is_set() else accelerator.PAUSE
        accelerator.request(self._requests, what if halts else "")

    def _turn(self) -> Iterator[News | Failed]:
        """Take one turn; where no GPU is lent, or it is taken back, it ends with a pause."""
        turn = accelerator.turn_on_gpu(self.raced, self.folder, self._requests, len(self.steps), self.goal)
        while True:
            try:
                news = self.visit.run(next, turn, None)
            except Exception as error:
                why = accelerator.refusal(error)
                if not why:
                    raise
                if self.stopping.is_set():
                    raise StoppedEarlyError from None
                if (self.folder / "config.json").exists():
                    # A process that is killed may have made a step of which it sent nothing.
                    self.steps += read_steps(self.folder)[len(self.steps) :]
                self.refused = why
                self.pause("no GPU now")
                return
            if news is None:
                return
            yield news

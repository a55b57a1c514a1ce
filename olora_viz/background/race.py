"""A race in the background: started, paused, stopped, and what it has found."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from olora_viz.background.record import LOADING, PAUSED, RaceRecord
from olora_viz.background.wishes import Wish
from olora_viz.background.work import STAYS, BackgroundWork
from olora_viz.lanes.generation import Answer
from olora_viz.machine.files import DiskFullError, read_tensors
from olora_viz.machine.memory import memory_of
from olora_viz.machine.process import StoppedEarlyError
from olora_viz.machine.wording import duration
from olora_viz.races import run as runs
from olora_viz.races.export import CHECKPOINT
from olora_viz.races.race import Race, race
from olora_viz.races.step import DIVERGED, FINISHED, RACING, STOPPED, Step, out_at, whys_out

if TYPE_CHECKING:
    from olora_viz.background.pace import Speeds

FINAL_ANSWERS = 4
"""Held-out prompts that every lane answers after a race."""

EARLY = 10
"""Steps after which a race's own speed says as much of its end as those before it do."""

ANSWERS_SHARE = 0.08
"""Maximum share of a race's time that is spent on answers before its end."""


def final_answers(racing: Race) -> tuple[Answer, ...]:
    """Return the answers of a race's lanes to `FINAL_ANSWERS` held-out prompts, or half as many to be continued."""
    return tuple(racing.answers(FINAL_ANSWERS // 2 if racing.task.plain_text else FINAL_ANSWERS))


@dataclass(frozen=True)
class OwnPrompt:
    """A prompt, and what came of it."""

    prompt: str
    answer: Answer | None = None
    problem: str = ""
    """Why it has no answer."""

    @property
    def waits(self) -> bool:
        """Whether it has not been answered yet."""
        return self.answer is None and not self.problem

    def answered_by(self, racing: Race) -> OwnPrompt:
        """Ask the lanes of a race as they are now."""
        try:
            (answer,) = racing.answer(self.prompt)
        except ValueError as error:
            return replace(self, problem=str(error))
        return replace(self, answer=answer)


@dataclass(eq=False)
class BackgroundRace(BackgroundWork):
    """A race and its results, see `RaceRecord`; the results only grow.

    With a folder, its steps, checkpoints and adapters are on disk, and memory is released at the end: a GPU's at every
    pause. Without one the race stays in memory, with its lanes.
    """

    as_steps = None
    called = "race"
    to_its_end = True
    steps: list[Step] = field(default_factory=list)
    results: RaceRecord | None = None
    """What is known of it beside its state and its steps; None before it is loaded."""
    own_prompt: OwnPrompt | None = None
    """The owner's own prompt, and the answers to it."""
    racing: Race | None = field(default=None, metadata=STAYS)
    own: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of `race` in place of a named model or task, of a race without a folder."""
    goal: float = field(default=math.inf, metadata=STAYS)
    """The step after which it pauses automatically."""
    pausing: threading.Event = field(default_factory=threading.Event, metadata=STAYS)
    why_paused: str = field(default="", metadata=STAYS)
    """Why it paused, if the user did not pause it."""
    last: float = field(default=math.inf, metadata=STAYS)
    """The step after which it stops."""
    refused: str = field(default="", metadata=STAYS)
    """Why it is paused, if a GPU was asked for and none was lent to it."""
    zips: Path | None = field(default=None, metadata=STAYS)
    """The folder for its zipped adapters; None for its own folder."""
    _steps_left: Race | Generator[Step, None, None] | None = field(default=None, metadata=STAYS)
    _run: runs.Run | None = field(default=None, metadata=STAYS)
    _takes_prompts: bool = False
    _may_pause: bool = field(default=False, metadata=STAYS)
    _answer_seconds: float = field(default=0.0, metadata=STAYS)
    """Seconds spent on answers during the race."""

    def record(self) -> RaceRecord:
        """Return the race as it is now."""
        complete = self.complete  # read first: a complete race has its last state and all steps
        return replace(
            self.results or RaceRecord(self.config, self.styles), config=self.config, styles=self.styles,
            name=self.name, complete=complete, state=self.state, note=self.note, steps=tuple(self.steps),
        )  # fmt: skip

    def loaded(self, record: RaceRecord) -> None:
        """Take over what a race, here or in another process, knows before its next step.

        Earlier answers stay until there are others.
        """
        ranks = zip(self.config.lanes, record.config.lanes, strict=True)
        lanes = tuple(lane.replace(r=raced.r, params=None) for lane, raced in ranks)
        self.config = replace(self.config, steps=record.config.steps, epochs=None, lanes=lanes)
        before = self.results or record
        self.results = replace(record, answers=before.answers, early_answers=before.early_answers)

    def learn(self, **values: Any) -> None:
        """Take over results by name."""
        assert self.results is not None
        self.results = replace(self.results, **values)

    def stop(self, why: str = "") -> None:
        """Request the end after the current step, or in its evaluation and measurements."""
        super().stop(why)
        racing = self.racing
        if racing is not None and (racing.in_step or racing.status == RACING):
            racing.close()

    def pause(self, why: str = "") -> None:
        """Request a pause after the current step, or in its evaluation, which is then repeated.

        One that follows another race is paused at once.
        """
        self.why_paused = why
        self.pausing.set()
        self.wake()
        if self.source is not None:
            self.become(PAUSED, why)

    def resume(self, goal: float = math.inf) -> None:
        """Cancel the request for a pause, until a given step."""
        self.goal, self.why_paused, self.refused = goal, "", ""
        self.pausing.clear()
        self.wake()
        self.seat.go_on()

    def make_way(self, why: str) -> None:
        """Request a pause."""
        self.pause(why)

    def rest(self) -> None:
        """Pause, after its turn or before it."""
        self.become(PAUSED, self.why_paused)

    leave = rest

    def is_over(self) -> bool:
        """Whether the end was requested, its last step is made, or the time is up."""
        if len(self.steps) >= self.last:
            self.stop()
        return super().is_over()

    def remaining(self, whole: float | None) -> float | None:
        """Return the seconds until its end or its goal, from those of all of it and its own speed; None if unknown."""
        steps, done = self.config.steps, len(self.steps)
        seen = self.steps[-1].seconds * steps / done if done else None
        known = [(value, weight) for value, weight in ((whole, EARLY), (seen, done)) if value is not None]
        if not known:
            return None
        total = sum(value * weight for value, weight in known) / sum(weight for _, weight in known)
        share = max(0.0, min(self.goal, steps) - done) / steps
        return max(0.0, min(total * share, self.left, self.deadline - time.monotonic()))

    def teach(self, speeds: Speeds) -> None:
        """Tell how fast its steps were."""
        speeds.learn_race(self.raced, self.steps, self.spent)

    @contextmanager
    def held_paused(self) -> Generator[Race]:
        """Keep a paused race, or one that has ended, from going on.

        Raises:
            ValueError: it is racing, or its race is not in memory.
        """
        with self.changed:
            racing = self.racing
            if not (self.complete or (self.state == PAUSED and self.pauses())):
                raise ValueError("the race is running: pause or stop it first")
            if racing is None:
                raise ValueError("this race has no lanes any more: run it again")
            yield racing

    def end_here(self) -> None:
        """Go on from a pause only to write the adapters of its last step."""
        self.last = len(self.steps) + 1
        self.resume()

    def step(self) -> None:
        """Run one step, then pause."""
        self.resume(len(self.steps) + 1)

    def run(self) -> bool:
        """Take a turn, and ask the lanes after its steps."""
        with closing(self.turn()) as steps:
            for step in steps:
                self._ask(step)
        return not self.ended

    def turn(self) -> Generator[Step, None, None]:
        """Train until the end, the goal, a requested pause, or until its host yields to others; yield each new step.

        It is the same turn in this process, in a worker of a cluster and on a GPU that is lent.
        """
        try:
            racing, steps_left = self.load()
            self._takes_prompts = True
            self.become(RACING)
            while not self.pauses():
                self._may_pause = True
                try:
                    step = next(steps_left, None)
                except StoppedEarlyError:  # a pause was requested
                    steps_left = self._steps_left = racing if self._run is None else iter(self._run)
                    continue
                finally:
                    self._may_pause = False
                if step is None:
                    break
                self.steps.append(step)
                self.learn(adapted=racing.adapted, memory=memory_of(racing.device))
                self.note, self.cut_off = "", True  # until the turn ends with a checkpoint
                yield step
                self.wake()
                if self.is_over() and racing.status in (RACING, STOPPED):
                    racing.close()
                    self.become(STOPPED, "writing the adapters" if self._run else "")
            else:
                self._reply_last(racing)
                if self._run is not None:
                    self._run.checkpoint()
                    if racing.device.type != "cpu":
                        self.release()
                self.cut_off = False
                self.become(PAUSED, self.why_paused)
                return
            self.cut_off = False
            self.learn(tested=racing.tested())
            self.become(racing.status, "generating answers")
            if self.steps:
                self.learn(answers=final_answers(racing))
            self._reply_last(racing)
            ends = [self.reason()]
            if racing.updates > racing.done:
                ends.append(f"in the evaluation of step {racing.updates}: answers and adapters are of that step")
            self.become(self.state, "; ".join(filter(None, ends)))
        except BaseException:
            self._takes_prompts = False
            self._detach()
            raise
        if self._run is not None:
            self._detach()

    def ask(self, prompt: str) -> bool:
        """Have all lanes answer a prompt after the current step, and after later evaluations.

        Return whether it races, or what it follows does at the step that it shows; otherwise nothing happens.
        """
        racing = self.source or self
        with racing.changed:
            if not racing._takes_prompts or self.seat.is_behind:
                return False
            self.own_prompt = OwnPrompt(prompt)
        self.wake()
        return True

    def _ask(self, step: Step) -> None:
        """Have prompts answered: a new one of the owner's, and others after an evaluation.

        After evaluations, this takes at most a share of the time.
        """
        racing, began, own = self.racing, time.monotonic(), self.own_prompt
        assert racing is not None
        new, share = own is not None and own.waits, ANSWERS_SHARE * step.seconds
        if not new and step.eval_loss is not None and self._answer_seconds <= share:
            self._may_pause = not self.wants_pause()
            with suppress(StoppedEarlyError):
                if not racing.task.plain_text and self.results:
                    (answer,) = racing.answers(1)
                    self.learn(answers=(answer,), early_answers=self.results.answered(answer))
                if own is not None:
                    self._reply(racing, own)
            self._may_pause = False
            self._answer_seconds += time.monotonic() - began
        for each in (self, *self.seat.followers):
            if (own := each.own_prompt) and own.waits:
                with suppress(StoppedEarlyError):
                    each._reply(racing, own)

    def _reply(self, racing: Race, own: OwnPrompt) -> None:
        answered = own.answered_by(racing)
        with self.changed:
            if self.own_prompt is own:  # no newer one has come
                self.own_prompt = answered

    def _reply_last(self, racing: Race) -> None:
        """Answer the owner's own prompt by the lanes as they are now, and take no other."""
        with self.changed:
            self._takes_prompts = False
        for each in (self, *self.seat.followers):
            if (own := each.own_prompt) and self.steps:
                each._reply(racing, own)

    def wish(self) -> Wish:
        """Return what is wished of it at this moment, by whoever has it computed."""
        wish, own = super().wish(), self.own_prompt
        prompt = own.prompt if own and own.waits else None
        return replace(wish, pause=self.wants_pause(), goal=self.goal, last=self.last, prompt=prompt)

    def obey(self, wish: Wish) -> None:
        """Do as whoever has it computed wishes."""
        if wish.pause:
            self.pause()
        else:
            self.resume(wish.goal)
        self.last, own = wish.last, self.own_prompt
        if wish.prompt is not None and not (own and own.waits and own.prompt == wish.prompt):
            self.ask(wish.prompt)
        super().obey(wish)

    def take(self, values: Mapping[str, Any], results: Mapping[str, Any]) -> None:
        """Take over values from the process that computes it; an answer only to the latest prompt."""
        own, asked = values.get("own_prompt"), self.own_prompt
        if own is None or asked is None or own.prompt != asked.prompt:
            values = {name: value for name, value in values.items() if name != "own_prompt"}
        super().take(values, results)
        if results:
            self.learn(**results)

    def restore(self) -> None:
        """Take over steps that are on disk and were not reported: the process that made them was lost in between."""
        self._takes_prompts = False
        if runs.has_begun(self.run_folder):
            self.steps += runs.read_steps(self.run_folder)[len(self.steps) :]

    @property
    def size(self) -> int:
        """The number of steps."""
        return len(self.steps)

    @property
    def goes_on_from(self) -> str:
        """From where it goes on, in words."""
        with suppress(OSError, ValueError):
            return f"step {int(read_tensors(self.run_folder / CHECKPOINT)['clock'][0])}"
        return super().goes_on_from

    def pauses(self) -> bool:
        """Whether it should pause before the next step."""
        yields = self.host.yields()  # first: it may hear that it is to stop
        if self.stopping.is_set() or (self.racing and self.racing.status != RACING):
            return False
        return self.wants_pause() or yields

    def wants_pause(self) -> bool:
        """Whether to pause: on request, at the goal, or without an open page."""
        left = self.is_unwatched()
        if left:
            self.why_paused = f"no page watched it for {duration(self.grace)}"
        return left or self.pausing.is_set() or len(self.steps) >= self.goal

    def progress(self, part: float, what: str) -> None:
        """Report the progress; raises if a stop was requested while it loads, or later a pause."""
        words = f"{what}, {part:.0%}" if part else what
        if self.state == LOADING:
            super().progress(part, words)
        elif self.state != PAUSED and not self.complete:
            self.become(STOPPED if self.racing and self.racing.status == STOPPED else self.state, words)
            over = self.is_over()  # then the race is closed, and stops by itself
            if self._may_pause and self.wants_pause() and not over:
                raise StoppedEarlyError

    def release(self) -> None:
        """Keep only the checkpoint on disk, from which `run` resumes bitwise."""
        if self._run is not None and self._steps_left is not None:
            racing, self.racing = self.racing, None  # one that is closed would not wait for a command
            self._steps_left.close()  # writes the checkpoint
            self._detach(racing)

    def _detach(self, racing: Race | None = None) -> None:
        """Release a race, by default the one in memory; on a CPU its base model is kept for the next one."""
        racing, self.racing, self._steps_left, self._run = racing or self.racing, None, None, None
        if racing is not None:
            racing.lanes.detach()
        if self.host.models is not None:
            self.host.models.release()

    def reason(self) -> str:
        """Return why it ended, if not by the user or at the last step."""
        if self.state == DIVERGED:
            lanes = len(self.config.lanes)
            at = out_at(self.steps, lanes)
            first = at.index(min(at))
            why = whys_out(self.steps, lanes)[first]
            last = f"; the last lane was out at step {max(at)}" * (lanes > 1)
            return f"no lane is left: at step {at[first]} {self.styles[first].label}'s {why}{last}"
        if self.state == FINISHED and len(self.steps) < self.config.steps:
            return "every lane stopped early"
        return self.why if self.state == STOPPED else ""

    def load(self) -> tuple[Race, Iterator[Step]]:
        """Build the race, or resume the one in memory or on disk."""
        if self.racing is not None and self._steps_left is not None:
            return self.racing, self._steps_left
        self.become(LOADING)
        self.progress(0.0, f"loading {self.config.model}")
        if self.folder is None:
            racing = self._steps_left = race(self.raced, progress=self.progress, **self.own)
        else:
            try:
                self._run = self._open_run(self.folder)
            except DiskFullError as full:
                self.host.clear_disk(full.needed)
                self._run = self._open_run(self.folder)
            racing, self._steps_left = self._run.race, iter(self._run)
        self.racing = racing
        if self.stopping.is_set():
            racing.close()
        self.loaded(RaceRecord.of(racing))
        return racing, self._steps_left

    def _open_run(self, folder: Path) -> runs.Run:
        if runs.has_begun(folder):
            return runs.resume_run(folder, metric=self.raced.metric, progress=self.progress, cache=self.host.models)
        return runs.start(self.raced, folder, progress=self.progress, cache=self.host.models)

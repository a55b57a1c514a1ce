"""Where a race computes: in this process, or in time slices on ZeroGPU.

On ZeroGPU, detected by the environment variable ``SPACES_ZERO_GPU``, a function has a GPU only inside ``spaces.GPU``:
it runs in a forked process, declares its duration in advance, and pickles what it yields. So a time slice of a race is
a generator of plain values on the CPU, and commands reach it through a small file. A suspended generator keeps its
GPU, so pausing writes a checkpoint and ends the slice. Short slices go first in ZeroGPU's queue, and one that is
longer than what is left of a visitor's day is refused, see `refusal`. Models that are moved to the GPU before the
server starts, see `warm_up`, are there when a slice begins. On other hardware none of this applies, and `spaces` is
not needed.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

import gradio as gr
import torch

from olora_viz.background.host import Host
from olora_viz.background.race import BackgroundRace
from olora_viz.background.record import LOADING, PAUSED, RaceRecord
from olora_viz.background.work import BackgroundWork
from olora_viz.figures.theme import lane_styles
from olora_viz.machine.files import write_text
from olora_viz.machine.process import StoppedEarlyError
from olora_viz.measures.curvature import TRACKED
from olora_viz.models import MODELS
from olora_viz.models.loading import snapshot
from olora_viz.races.config import RaceConfig
from olora_viz.races.data import ModelCache
from olora_viz.races.step import RACING, Step
from olora_viz.web.jobs.job import Executor, on_zero_gpu, requests_of

LEAST_SECONDS, MOST_SECONDS = 15, 30
"""Requested seconds of a time slice: short ones start sooner; a long race takes several. Only a single step that needs
more by the estimate makes a slice longer."""

BEGINNING_SECONDS = 5
"""Seconds reserved for what comes before a turn: the process, its CUDA context and its models."""

ENDING_SECONDS = 5
"""Seconds reserved at the end of a time slice for the checkpoint and the adapters."""

PAUSE, STOP = "pause", "stop"


@dataclass(frozen=True)
class Failed:
    """The race cannot go on: the sentence of a ValueError, of which ZeroGPU hands on the name."""

    sentence: str


News = RaceRecord | Step
"""What a turn yields: the race before its next step, then steps. Another record comes last if the race has ended; a
turn that ends without it has paused it."""


def seconds_needed(config: RaceConfig, done: int = 0, goal: float = math.inf) -> int:
    """Return the seconds to request for the next time slice of a race on a GPU.

    That is the estimate for its remaining steps, within `LEAST_SECONDS` and `MOST_SECONDS`. It is conservative: ten
    seconds for the process and its CUDA context, one per 100 million weights; per step 50 ms of kernel launches, 5 ms
    per lane, and 6 x weights x tokens operations at 64 tokens per example and 20 TFLOP/s. Evaluations, spectra and
    answers add half of that, and a curvature measurement costs `TRACKED`. If a slice of one step needs more, it
    is requested.

    Args:
        done: steps that were made.
        goal: the step after which it pauses.

    >>> seconds_needed(RaceConfig()), seconds_needed(RaceConfig(model="smollm2-135m"))
    (19, 30)
    """
    weights, lanes = MODELS[config.model].parameters, len(config.lanes)
    operations = 6 * weights * 64 * config.batch_size * lanes
    step = 0.05 + 0.005 * lanes + operations / 20e12
    every, until = config.curvature_every, min(goal, config.steps)
    curvature = TRACKED * (until // every - done // every) if every else 0
    start = 10 + weights / 100e6
    whole = start + step * (1.5 * (until - done) + curvature)
    for_a_step = BEGINNING_SECONDS + start + step * (1.5 + min(curvature, TRACKED)) + ENDING_SECONDS
    return math.ceil(max(LEAST_SECONDS, min(whole, MOST_SECONDS), min(whole, for_a_step)))


def request(file: Path, what: str) -> None:
    """Request the turn that reads `file` to pause or stop; "" cancels the request."""
    if what:
        write_text(file, what)
    else:
        file.unlink(missing_ok=True)


def requested(file: Path) -> str:
    """Return the request, "" if there is none."""
    try:
        return file.read_text("utf-8")
    except FileNotFoundError:
        return ""


class _TimeSlice(Host):
    """What has a race computed for so many seconds, until another process requests its end, for a step at least."""

    def __init__(self, race: BackgroundRace, requests: Path, seconds: int, models: ModelCache | None) -> None:
        self._race, self._requests, self._models, self._done = race, requests, models, len(race.steps)
        self._until = time.monotonic() + seconds - BEGINNING_SECONDS - ENDING_SECONDS

    @property
    def models(self) -> ModelCache | None:
        return self._models

    def yields(self) -> bool:
        what = requested(self._requests)
        if what == STOP:
            self._race.stop()
        return what == PAUSE or (time.monotonic() > self._until and len(self._race.steps) > self._done)


def turn(
    config: RaceConfig, folder: Path, requests: Path, done: int, goal: float, models: ModelCache | None = None
) -> Iterator[News]:
    """Race in `folder` for one turn, from its checkpoint if there is one.

    It ends with the race, at its goal, on request or at its time limit, always with a checkpoint.

    Args:
        requests: the file of `request`; outside `folder`, which must be empty when a race starts.
        done: steps that were reported before.
        goal: the step after which it pauses.
        models: holds the model if it was loaded before.
    """
    race = BackgroundRace("", config, folder, lane_styles(config.lanes), goal=goal)
    race.restore()
    race.host = _TimeSlice(race, requests, seconds_needed(config, done, goal), models)
    try:
        race.load()
        yield replace(race.record(), steps=())
        yield from race.turn()
        if race.ended:
            yield replace(race.record(), steps=())
    finally:
        race.release()


class WarmModels(ModelCache):
    """Models that stay where they are between turns."""

    def release(self) -> None:
        """Forget what no race has used since the last call."""
        self.forget_unused()


def warm_up() -> None:
    """Move models to the GPU for the forked processes: the default one, and those preloaded here.

    It is called in the main thread. ZeroGPU packs what is on the GPU when the server is launched, and unpacks it in
    every process before its first turn. Other models are loaded in each turn.
    """
    preloaded = (card.name for card in MODELS.values() if card.hub_id and snapshot(card.hub_id))
    for name in (RaceConfig.model, *preloaded):
        models = WarmModels()
        with suppress(ValueError):  # a turn will say what is wrong with it
            models.load(RaceConfig(model=name, device="cuda"))
            _warm[name] = models


_warm: dict[str, ModelCache] = {}
"""The models of `warm_up` by name."""


def forked(config: RaceConfig, folder: Path, requests: Path, done: int, goal: float) -> Iterator[News | Failed]:
    """Take a turn in a forked process, on one thread: a fork does not keep the parent's threads."""
    torch.set_num_threads(1)
    try:
        yield from turn(config, folder, requests, done, goal, _warm.get(config.model))
    except ValueError as error:
        yield Failed(str(error))


def _duration(config: RaceConfig, folder: Path, requests: Path, done: int, goal: float) -> int:
    return seconds_needed(config, done, goal)


def lent() -> Callable[..., Iterator[News | Failed]]:
    """Return `turn` as it runs on this machine."""
    if not on_zero_gpu():
        return turn
    lend = import_module("spaces").GPU(duration=_duration)
    # There a GPU seems to be in every thread of the server, but only the main thread emulates one:
    # in all others an optimizer on the CPU would fail as it looks at it. A forked process has the
    # function of torch again.
    seems_available, main = torch.cuda.is_available, threading.main_thread()
    torch.cuda.is_available = lambda: seems_available() and threading.current_thread() is main
    return lend(forked)


turn_on_gpu: Callable[..., Iterator[News | Failed]] = lent()
"""Created when the server starts, since ZeroGPU looks for it then."""


def refusal(error: Exception) -> str:
    """Return in a sentence why ZeroGPU lends no GPU now; "" for an error of the race itself.

    >>> error = gr.Error(
    ...     "You have exceeded your free ZeroGPU quota (30s requested vs. 12s left). "
    ...     "Try again in 5:07:09. ", title="ZeroGPU quota exceeded",
    ... )
    >>> refusal(error)  # doctest: +NORMALIZE_WHITESPACE
    'ZeroGPU lends no GPU: 12 s are left of your time for today, and the race asks for 30 s at once;
    there is more in 5:07:09'
    """
    title = error.title if isinstance(error, gr.Error) else ""
    words = " ".join(str(error.message if isinstance(error, gr.Error) else error).split())
    if title == "ZeroGPU worker error" and words == "GPU task aborted":
        return "ZeroGPU has taken its GPU back"
    if title == "ZeroGPU worker error" or (isinstance(error, ValueError) and not title):
        return ""
    if "Expired ZeroGPU proxy token" in words:
        return "ZeroGPU lends no GPU to a page that was open for long: reload it"
    left, asked = re.search(r"(\d+)s left", words), re.search(r"(\d+)s requested", words)
    again = re.search(r"[Tt]ry again in ((?:\d+ days?, )?[\d:]+)", words)
    why = REFUSALS.get(title) or f"{type(error).__name__}: {words[:200]}"
    if left and asked:
        why = f"{left[1]} s are left of your time for today, and the race asks for {asked[1]} s at once"
    return f"ZeroGPU lends no GPU: {why}" + (f"; there is more in {again[1]}" if again else "")


REFUSALS = {
    "ZeroGPU quota exceeded": "your time for today, or this Space's, is used up",
    "ZeroGPU pending credits exceeded": "other races of yours hold all that is left of your time",
    "ZeroGPU illegal duration": "a step of this race takes longer than a GPU is lent for",
    "ZeroGPU queue timeout": "none was free within a minute",
    "ZeroGPU client error": "none is free now",
}
"""Why a GPU is not lent, by the titles of the package ``spaces``."""


class ZeroGpu(Executor[BackgroundRace]):
    """Time slices of a GPU for races, each a turn; a race on the CPU is raced in this process, as any other.

    All other work is on the CPU there, see `here`.
    """

    def takes(self, work: BackgroundWork) -> bool:
        """Whether it needs a GPU, and follows no other one."""
        return work.config.device != "cpu" and work.source is None

    def prepare(self, config: RaceConfig) -> None:
        """See `warm_up`."""
        warm_up()

    def heed(self, work: BackgroundRace) -> None:
        """Write down what is wished of a race, for the process that has it or will have it."""
        with work.changed:  # two threads may ask at once, and write one file
            halts = work.stopping.is_set() or work.pauses()
            what = (STOP if work.stopping.is_set() else PAUSE) if halts else ""
            file = requests_of(work.run_folder)
            if requested(file) != what:
                request(file, what)

    def compute(self, work: BackgroundRace) -> bool:
        """Take one turn; if the race does not finish in it, the queue schedules another."""
        work.become(LOADING)
        work.progress(0.0, "waiting for a GPU")
        ended = None
        for number, news in enumerate(_turn_of(work)):
            if isinstance(news, Step):
                work.steps.append(news)
                work.cut_off = True  # until the turn ends with a checkpoint
                work.wake()
                work.is_over()
            elif isinstance(news, Failed):
                raise ValueError(news.sentence)
            elif number == 0:
                work.loaded(news)
                work.become(RACING)
            else:
                ended = news
        if ended is None:
            work.cut_off = work.cut_off and bool(work.refused)
            work.become(PAUSED, work.why_paused)
            return True
        work.cut_off = False
        work.results, work.state = ended, ended.state
        work.become(ended.state, work.reason())
        return False


def _turn_of(race: BackgroundRace) -> Iterator[News | Failed]:
    """Take one turn; where no GPU is lent, or it is taken back, it ends with a pause."""
    requests = requests_of(race.run_folder)
    try:
        yield from turn_on_gpu(race.raced, race.run_folder, requests, len(race.steps), race.goal)
    except Exception as error:
        why = refusal(error)
        if not why:
            raise
        if race.stopping.is_set():
            raise StoppedEarlyError from None
        race.restore()  # a process that is killed may have made a step of which it sent nothing
        race.refused = why
        race.pause("no GPU now")

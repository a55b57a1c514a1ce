"""Where a race computes: in this process, or in time slices on ZeroGPU.

On ZeroGPU, detected by the environment variable ``SPACES_ZERO_GPU``, a function has a GPU only
inside ``spaces.GPU``: it runs in a forked process, declares its duration in advance, and pickles
what it yields. So a time slice of a race is a generator of plain values on the CPU, and commands
reach it through a small file. A suspended generator keeps its GPU, so pausing writes a checkpoint
and ends the slice. On other hardware none of this applies, and `spaces` is not needed.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from olora_viz.lanes.generation import Answer
from olora_viz.machine.files import write_text
from olora_viz.measures.conditioning import COST_IN_STEPS
from olora_viz.models import MODELS
from olora_viz.races import run as runs
from olora_viz.races.config import RaceConfig
from olora_viz.races.state import RACING
from olora_viz.races.step import Step
from olora_viz.races.summary import Tested
from olora_viz.tasks.evaluation import Evaluation
from olora_viz.tasks.held_out import HeldOut
from olora_viz.views.background_work import device_words

LEAST_SECONDS, MOST_SECONDS = 15, 120
"""Requested seconds of a time slice: short ones start sooner; a long race takes several."""

ENDING_SECONDS = 5
"""Seconds reserved at the end of a time slice for the checkpoint and the adapters."""

PAUSE, STOP = "pause", "stop"


@dataclass(frozen=True)
class Opened:
    """The race is built; its first step is next."""

    device: str
    baseline: Evaluation
    plain_text: bool
    left_out: int
    adapted: str
    in_parts: str
    held_out: HeldOut


@dataclass(frozen=True)
class Ended:
    """The race is over; a turn that ends without this has paused it."""

    status: str
    answers: list[Answer]
    diverged_at: tuple[int, ...]
    adapted: str
    tested: Tested | None


def on_zero_gpu(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this is a Space on ZeroGPU."""
    return environment.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def seconds_needed(config: RaceConfig) -> int:
    """Estimate the time of a race on a GPU in seconds, at most one time slice.

    The estimate is conservative: ten seconds for the process and its CUDA context, one per 100
    million weights; per step 50 ms of kernel launches, 5 ms per lane, and 6 x weights x tokens
    operations at 64 tokens per example and 20 TFLOP/s. Evaluations, spectra and answers add half of
    that, and a curvature measurement costs `COST_IN_STEPS`.

    >>> seconds_needed(RaceConfig()), seconds_needed(RaceConfig(model="smollm2-135m"))
    (22, 79)
    """
    weights, lanes = MODELS[config.model].parameters, len(config.lanes)
    operations = 6 * weights * 64 * config.batch_size * lanes
    step = 0.05 + 0.005 * lanes + operations / 20e12
    every = config.curvature_every
    looks = COST_IN_STEPS * (config.steps // every) if every else 0
    whole = 10 + weights / 100e6 + step * (1.5 * config.steps + looks)
    return min(MOST_SECONDS, max(LEAST_SECONDS, math.ceil(whole)))


def here(config: RaceConfig) -> RaceConfig:
    """Return a set-up for this process, which on ZeroGPU has no GPU although it seems to."""
    return replace(config, device="cpu") if on_zero_gpu() else config


def wish(file: Path, what: str) -> None:
    """Request the turn that reads `file` to pause or stop; "" cancels the request."""
    if what:
        write_text(file, what)
    else:
        file.unlink(missing_ok=True)


def wished(file: Path) -> str:
    """Return the request, "" if there is none."""
    try:
        return file.read_text("utf-8")
    except FileNotFoundError:
        return ""


def turn(
    config: RaceConfig, folder: Path, wishes: Path, done: int, goal: float, questions: int
) -> Iterator[Opened | Step | Ended]:
    """Race in `folder` for one turn, from its checkpoint if there is one.

    It ends with the race, at its goal, on request or at its time limit, always with a checkpoint.

    Parameters
    ----------
    wishes : the file of `wish`; outside `folder`, which must be empty when a race starts.
    done : steps that were reported before.
    goal : the step after which it pauses.
    questions : number of held-out prompts to answer at the end.
    """
    until = time.monotonic() + seconds_needed(config) - ENDING_SECONDS
    begun = (folder / "config.json").exists()
    run = runs.resume(folder) if begun else runs.start(config, folder)
    racing = run.race
    try:
        yield Opened(
            device_words(racing),
            racing.baseline,
            racing.task.plain_text,
            racing.data.left_out,
            racing.adapted,
            racing.in_parts,
            racing.data.about_held_out,
        )
        going = iter(run)
        while True:
            what = wished(wishes)
            if what == STOP:
                racing.close()
            elif what == PAUSE or done >= goal:
                run.checkpoint()
                return
            step = next(going, None)
            if step is None:
                break
            done = step.step
            yield step
            if time.monotonic() > until and racing.status == RACING:
                going.close()
                return
        answers = (
            racing.answers(questions // 2 if racing.task.plain_text else questions) if done else []
        )
        at = tuple(int(step) for step in racing.state.diverged_at)
        yield Ended(racing.status, answers, at, racing.adapted, racing.tested())
    finally:
        racing.lanes.detach()


def forked(*arguments: Any) -> Iterator[Opened | Step | Ended]:
    """Take a turn in a forked process, on one thread: a fork does not keep the parent's threads."""
    torch.set_num_threads(1)
    yield from turn(*arguments)


def _duration(config: RaceConfig, *_: Any) -> int:
    return seconds_needed(config)


def lent() -> Callable[..., Iterator[Opened | Step | Ended]]:
    """Return `turn` as it runs on this machine."""
    if not on_zero_gpu():
        return turn
    return import_module("spaces").GPU(duration=_duration)(forked)


taken: Callable[..., Iterator[Opened | Step | Ended]] = lent()
"""Created when the server starts, since ZeroGPU looks for it then."""

"""Checks of races: the same steps on the device as on the CPU, in one go as with a break, together as alone."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Generator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch

from olora_viz.checks.check import CPU, RACED, ROUNDING, STEPS, Bench, Check, Outcome, apart, are_same, losses
from olora_viz.lanes.passes import logits_of
from olora_viz.machine.wording import counted, number
from olora_viz.races import run
from olora_viz.races.config import RaceConfig

HALF_PRECISION = 0.05
"""How many nats bfloat16 may change a loss in `STEPS` steps: it keeps 8 bits of each weight, and 0.006 are usual."""

BREAK_AT = 7
"""The step at which a race is paused or killed."""


def at_step_0(bench: Bench) -> Outcome:
    """Compare logits of all lanes with those of the base model, in float32 and bfloat16."""
    differ = []
    for dtype in ("float32", "bfloat16"):
        with bench.race(dtype=dtype) as racing:
            ids = racing.batch(1).input_ids.repeat(racing.lanes.count, 1)
            with racing.lanes.off():
                base = logits_of(racing.model, ids)
            if not torch.equal(logits_of(racing.model, ids), base):
                differ.append(dtype)
    words = f"differs in {' and '.join(differ)}" if differ else "bit for bit, in float32 and in bfloat16"
    return Outcome(not differ, words, {"differ": differ})


def as_on_the_cpu(bench: Bench) -> Outcome:
    """Compare a race in float32 with the same race on the CPU."""
    reference = bench.raced(CPU)
    here = bench.raced(again=True)
    far = apart(losses(here), losses(reference))
    if bench.on_cpu:
        same = are_same(here, reference)
        return Outcome(same, "the same bits twice" if same else f"two races differ by {far:.1g}", {"apart": far})
    return Outcome(far <= ROUNDING, f"losses within {far:.1g} of the CPU's, at most {ROUNDING:g}", {"apart": far})


def in_bfloat16(bench: Bench) -> Outcome:
    """Compare a race on a base in bfloat16 with one in float32."""
    change = float(np.abs(losses(bench.raced(dtype="bfloat16")) - losses(bench.raced())).max())
    words = f"changes a loss by {number(change, '.1g')} nats at most, of {HALF_PRECISION:g} allowed"
    return Outcome(change <= HALF_PRECISION, words, {"nats": change})


def beside_others(bench: Bench) -> Outcome:
    """Compare the lanes of a race with races of one lane."""
    together, alone = losses(bench.raced()), []
    for lane in RACED.lanes:
        with bench.race(lanes=(lane,)) as racing:
            alone.append(losses([*bench.told(racing)]))
    far = apart(together, np.concatenate(alone, axis=1))
    return Outcome(far <= ROUNDING, f"losses within {far:.1g}, at most {ROUNDING:g}", {"apart": far})


def paused(bench: Bench) -> Outcome:
    """Pause a race in a run folder, and resume it from there."""
    folder = bench.folder / "paused"
    begun = run.start(bench.config(), folder, adapters=False, cache=bench.cache)
    try:
        for step in begun:
            if step.step == BREAK_AT:
                break
        begun.checkpoint()
    finally:
        begun.race.lanes.detach()
    return _resumed(bench, folder)


def killed(bench: Bench) -> Outcome:
    """Kill a process that races, and resume its run here."""
    folder, spawning = bench.folder / "killed", multiprocessing.get_context("spawn")
    here, there = spawning.Pipe(duplex=False)
    victim = spawning.Process(target=race_until_killed, args=(bench.config(), folder, there), daemon=True)
    with uninterrupted():
        victim.start()
    there.close()
    try:
        here.recv()
    except EOFError:
        return Outcome(False, "the process that was to be killed ended by itself")
    finally:
        victim.kill()
        victim.join()
    return _resumed(bench, folder)


@contextmanager
def uninterrupted() -> Generator[None]:
    """Start a process that Ctrl-C in a terminal, which reaches all of them, leaves to this one."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows has none
        yield
        return
    resource_tracker.ensure_running()  # its start would let them through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def race_until_killed(config: RaceConfig, folder: Path, told: Connection) -> None:
    """Race in a run folder up to `BREAK_AT`, say so, and wait for the end; in a process of its own."""
    run.CHECKPOINT_SECONDS = 0.0  # one after each step but the last
    for step in run.start(config, folder, adapters=False):
        if step.step == BREAK_AT:
            told.send(step.step)
            time.sleep(3600)


def _resumed(bench: Bench, folder: Path) -> Outcome:
    """Resume a run, and compare it with the race that nothing has stopped."""
    before = len(run.read_steps(folder))
    resumed = run.resume_run(folder, adapters=False, cache=bench.cache)
    try:
        repeated = before - resumed.race.done
        for _ in bench.told(resumed):
            pass
    finally:
        resumed.race.lanes.detach()
    same = are_same(run.read_steps(folder), bench.raced())
    bits = "the same bits" if same else "not the bits"
    words = f"{bits} as in one go, after a break at step {before}, with {counted(repeated, 'step')} repeated"
    return Outcome(same, words, {"before": before, "repeated": repeated})


RACES = (
    Check("step 0", "before training every lane computes what its base model does, bit for bit", at_step_0, 4),
    Check(
        "20 steps", f"{STEPS} steps in float32 are those of the CPU up to rounding; on the CPU itself, bit for bit",
        as_on_the_cpu, 6,
    ),
    Check("bfloat16", f"a base in bfloat16 changes losses by at most {HALF_PRECISION:g} nats", in_bfloat16, 4),
    Check("K lanes", "each of K lanes trains as it does alone, up to rounding", beside_others, 6),
    Check("pause, resume", "a race that was paused goes on with the same bits", paused, 4),
    Check("kill, resume", "a race whose process was killed goes on with the same bits", killed, 12),
)  # fmt: skip

"""Runs a study: race after race, until nothing is left to run."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import torch

from olora_viz.lanes.lane import MAX_LANES
from olora_viz.machine.progress import Progress
from olora_viz.races import run as runs
from olora_viz.races.config import RaceConfig
from olora_viz.races.step import Step
from olora_viz.studies.ledger import Ledger, keep
from olora_viz.studies.planning import needed, races
from olora_viz.studies.study import Study


@dataclass(frozen=True)
class FinishedRace:
    """One race of a study, after its end."""

    folder: Path
    """Its run folder."""
    lanes: int
    """The number of its lanes."""
    left: int
    """The lanes that are still to run at this stage of the study."""


class Planned(NamedTuple):
    """A race to run."""

    folder: Path
    config: RaceConfig | None
    """None to resume the run in the folder."""
    lanes: int


Watch = Callable[[Step], bool]
"""Called after every step of a study's races; returns whether to go on."""


def run_study(
    study: Study | None,
    out: str | Path,
    *,
    workers: int = 1,
    most: int = MAX_LANES,
    watch: Watch | None = None,
    progress: Progress | None = None,
) -> Generator[FinishedRace, None, None]:
    """Run what a study still needs; yield each race when it has ended.

    A study that was interrupted, or has grown, goes on: a race in progress is resumed from its last
    checkpoint, and results are kept as they come.

    Parameters
    ----------
    study : the set-up; None for the one in the folder.
    out : the study's folder.
    workers : processes that race at once.
    most : maximum lanes of a race.
    watch : ends the study when it returns False, so that the same call goes on from there; called
        only where one process races.
    progress : called with the progress of loading, where one process races.

    Raises
    ------
    ValueError : an unsuitable folder or set-up, see `Ledger`, or a race that cannot be set up.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    ledger = Ledger(Path(out), study)
    ledger.open()
    try:
        if workers == 1:
            yield from _in_turn(ledger, most, watch, progress)
        else:
            with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
                yield from _at_once(ledger, pool, most)
    finally:
        ledger.finish()


def run_race(
    planned: Planned,
    threads: int | None,
    watch: Watch | None = None,
    progress: Progress | None = None,
) -> bool:
    """Run one race to its end, or resume it, and keep its rows.

    Parameters
    ----------
    threads : on a CPU.
    watch : leaves the race to be resumed when it returns False.

    Returns
    -------
    Whether the race has ended.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        if planned.config is None:
            run = runs.resume(planned.folder, adapters=False, progress=progress)
        else:
            run = runs.start(planned.config, planned.folder, adapters=False, progress=progress)
        with closing(iter(run)) as steps:
            goes_on = all(watch is None or watch(step) for step in steps)
        if goes_on:
            keep(planned.folder, run.race, runs.read_steps(planned.folder))
        run.race.lanes.detach()
        return goes_on
    finally:
        torch.set_num_threads(before)


def _stage(ledger: Ledger, most: int) -> list[Planned]:
    """Return the races of the next stage: those that were interrupted, else those needed."""
    broken = ledger.unfinished()
    if broken:
        return [Planned(at, None, len(runs.read_config(at).lanes)) for at in broken]
    study = ledger.study
    groups = races(study, needed(study, ledger.losses()), most)
    return [
        Planned(folder, study.config(group), len(group))
        for folder, group in zip(ledger.new_runs(len(groups)), groups, strict=True)
    ]


def _in_turn(
    ledger: Ledger, most: int, watch: Watch | None, progress: Progress | None
) -> Generator[FinishedRace, None, None]:
    while planned := _stage(ledger, most):
        left = sum(one.lanes for one in planned)
        for one in planned:
            if not run_race(one, ledger.study.threads, watch, progress):
                return
            left -= one.lanes
            yield FinishedRace(one.folder, one.lanes, left)


def _at_once(ledger: Ledger, pool: Executor, most: int) -> Generator[FinishedRace, None, None]:
    while planned := _stage(ledger, most):
        left = sum(one.lanes for one in planned)
        going = {pool.submit(run_race, one, ledger.study.threads): one for one in planned}
        try:
            for done in as_completed(going):
                done.result()
                left -= going[done].lanes
                yield FinishedRace(going[done].folder, going[done].lanes, left)
        finally:
            for one in going:
                one.cancel()

"""Running a study: its races, here or in worker processes, and their tracking."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch

from olora_viz.initializers import INITIALIZERS
from olora_viz.machine.checks import expect
from olora_viz.machine.devices import take_accelerator
from olora_viz.machine.files import locked, read_json_object, write_json
from olora_viz.machine.process import Progress
from olora_viz.machine.trackers import Tracker
from olora_viz.machine.wording import compact
from olora_viz.machine.workers import Workers, goes_on, killed, pool_of, worker_number
from olora_viz.measures.catalogue import MEASURES
from olora_viz.races import run as runs
from olora_viz.races.chain import is_chain
from olora_viz.races.config import RaceConfig
from olora_viz.races.data import ModelCache, definitions_of
from olora_viz.races.race import Race
from olora_viz.races.run import has_begun
from olora_viz.races.step import Step
from olora_viz.studies.axes import plain
from olora_viz.studies.chains import config_of_chain, race_chain
from olora_viz.studies.folder import BY_EXAMPLE, Ledger, check_seen, has_ended, write_rows
from olora_viz.studies.preregistration import check_is_study
from olora_viz.studies.search import races
from olora_viz.studies.study import Study, Trial
from olora_viz.tasks.task import links_of

RECORD = "tracked.json"
"""The file of the study's folder with the names of the runs that each tracker has."""

TABLES = "study"
"""The run, and its group, that holds the tables."""

LANE_COLUMNS = ("model", "task", "method", "init", "r", "alpha", "lr", "seed", "steps", "status", "run")
"""The columns of a lane's row that describe its run."""

RESULTS = (
    "valid_loss", "valid_accuracy", "test_loss", "test_accuracy", "text_loss", "drift", "first_grad_norm", "tokens",
)  # fmt: skip
"""The columns of a lane's row that are reported with its last step."""


class StudyTracker:
    """Reports the lanes of a study as runs, grouped by method and rate, and its tables.

    A lane is reported once, also by several processes one after the other.

    Args:
        tracker: the project is called like the study's folder.
    """

    def __init__(self, tracker: Tracker, ledger: Ledger) -> None:
        self._tracker, self._ledger = tracker, ledger

    def report(self) -> None:
        """Report the lanes that are new."""
        self._tracker.attempt(self._report_lanes)

    def report_tables(self) -> None:
        """Report the verdicts, and the table of all lanes."""
        self._tracker.attempt(self._report_tables)

    def _report_lanes(self) -> None:
        path = self._ledger.folder / RECORD
        record = read_json_object(path) if path.exists() else {}
        known = set(record.get(self._tracker.name, ()))
        for trial, row in self._ledger.trials().items():
            name = name_of(trial)
            if name in known:
                continue
            group = f"{trial.method} {compact(trial.lr)}"
            config = {column: row[column] for column in LANE_COLUMNS}
            with closing(self._tracker.start(name, group, config)) as run:
                for step, numbers in measured(row).items():
                    run.log(numbers, step)
            known.add(name)
            write_json(path, {**record, self._tracker.name: sorted(known)})

    def _report_tables(self) -> None:
        lanes: Any = self._ledger.rows().drop(columns=["evaluated", "valid_losses", *BY_EXAMPLE])
        with closing(self._tracker.start(TABLES, TABLES, {}, again=True)) as run:
            run.table("verdicts", [verdict.to_json() for verdict in self._ledger.verdicts().each])
            run.table("lanes", lanes.to_dict("records"))


def name_of(trial: Trial) -> str:
    """Return the name of a lane's run.

    >>> from olora_viz.studies.study import Cell
    >>> name_of(Trial(Cell("glassllm", "addition", 8), "olora", 3e-3, 0))
    'glassllm addition r8 olora 3e-3 seed 0'
    """
    cell = trial.cell
    where = [cell.model, cell.task, *([] if cell.r is None else [f"r{cell.r}"])]
    where += [f"{name}={plain(value)}" for name, value in (*cell.others, *trial.tuned)]
    return " ".join([*where, trial.method, compact(trial.lr), f"seed {trial.seed}"])


def measured(row: dict[str, Any]) -> dict[int, dict[str, float]]:
    """Return what a lane's row says of each step; numbers that are not finite are left out."""
    by_step = {0: {"valid_loss": row["base_valid_loss"], "test_loss": row["base_test_loss"]}}
    for step, loss in zip(row["evaluated"], row["valid_losses"], strict=True):
        by_step[int(step)] = {"valid_loss": float(loss)}
    by_step.setdefault(int(row["steps"]), {}).update({name: row[name] for name in RESULTS})
    return {
        step: {name: value for name, value in numbers.items() if value is not None and math.isfinite(value)}
        for step, numbers in by_step.items()
    }


_models = ModelCache()
"""What the races of this process leave to each other."""


class RaceWorkers(Workers):
    """Processes that race."""

    def __init__(self, count: int) -> None:
        super().__init__(count, __name__, "transformers.modeling_utils")

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Start a call in some process.

        It gets a `watch` that returns whether to go on, and what earlier calls there have left in a `cache`.
        """
        return super().submit(_call, fn, args, kwargs)


def _call(fn: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> Any:
    take_accelerator(worker_number())
    return fn(*args, watch=lambda _: goes_on(), cache=_models, **kwargs)


@dataclass(frozen=True)
class FinishedRace:
    """One race of a study, after its end."""

    folder: Path
    lanes: int
    left: int
    """The lanes that remain to be run at this stage of the study."""


class Planned(NamedTuple):
    """A race to run."""

    folder: Path
    config: RaceConfig
    """That of the run in the folder, if there is one, which is then resumed."""

    @property
    def lanes(self) -> int:
        """The number of lanes."""
        return len(self.config.lanes)


Watch = Callable[[Step], bool]
"""Called after every step of a study's races; returns whether to go on."""


def run_study(
    study: Study | None,
    out: str | Path,
    *,
    workers: int = 1,
    ray: str | None = None,
    most: int | None = None,
    watch: Watch | None = None,
    progress: Progress | None = None,
    cache: ModelCache | None = None,
) -> Generator[FinishedRace, None, None]:
    """Run what a study still needs; yield each race when it has ended.

    A study that was interrupted or extended is continued: races in progress are resumed from their last checkpoints.
    Results are written as each race ends.

    Args:
        study: the set-up; None for the one in the folder.
        out: the study's folder; with `ray`, one that all machines see under this name.
        workers: number of processes, each of which runs one race at a time; with ``auto`` of device, on several
            accelerators with memory of their own, one each.
        ray: address of a running Ray cluster, ``HOST:PORT`` or ``auto``, on which each race is a task that takes as
            many cores as the set-up has threads, and a GPU if its device is neither ``cpu`` nor ``auto``.
        most: maximum lanes of a race; by default see `evenly`.
        watch: called after every step, with one worker only; when it returns False, the study ends, and the same call
            continues it from there.
        progress: called with the progress of loading, with one worker only.
        cache: of earlier races of this process, with one worker only.

    Raises:
        ValueError: an unsuitable folder or set-up, see `Ledger`, a start or a registered measurement that has changed
            since its first runs, a race that cannot be set up, or no such cluster. The folder of a decision is gone on
            with by `decide`.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> import olora_viz as ov
        >>> study = ov.Study(race=ov.RaceConfig(steps=1, eval_size=4, test_size=4), tune={"lr": (1e-3,)}, seeds=1)
        >>> with TemporaryDirectory() as folder:
        ...     for ended in ov.run_study(study, f"{folder}/first"):
        ...         print("lanes:", ended.lanes, "races left:", ended.left)
        lanes: 1 races left: 1
        lanes: 1 races left: 0
    """
    expect(study, (Study, type(None)), "a Study, or None for the one in the folder")
    ledger = Ledger(Path(out), study)
    check_is_study(ledger.folder)
    yield from run_ledger(ledger, workers=workers, ray=ray, most=most, watch=watch, progress=progress, cache=cache)


def run_ledger(
    ledger: Ledger,
    *,
    workers: int = 1,
    ray: str | None = None,
    most: int | None = None,
    watch: Watch | None = None,
    progress: Progress | None = None,
    cache: ModelCache | None = None,
) -> Generator[FinishedRace, None, None]:
    """Run what the study of a folder still needs, see `run_study`."""
    ledger.check_definitions(*(ledger.study.config([trial]) for trial in ledger.needed()))
    pool = _pool(ledger.study, workers, ray)
    try:
        ledger.open()
        if pool is None:
            yield from _in_turn(ledger, most, watch, progress, cache or ModelCache())
        else:
            with pool:
                yield from _at_once(ledger, pool, most)
    finally:
        ledger.finish()


def check_places(study: Study, workers: int, ray: str | None) -> None:
    """Check where the races of a study are to run, before anything takes time.

    Raises:
        ValueError: an unsuitable number of workers, or no such cluster.
    """
    if pool := _pool(study, workers, ray):
        pool.shutdown()


def _pool(study: Study, workers: int, ray: str | None) -> Executor | None:
    """Return where the races of a study run; None for this process.

    Raises:
        ValueError: see `check_places`.
    """
    if callable(study.race.metric) and (workers > 1 or ray is not None):
        raise ValueError("a metric that is a Python function scores in one process: give 1 worker, and no Ray cluster")
    threads = 1 if ray is None else study.fixed().threads or 1
    return pool_of(workers, ray, RaceWorkers, threads=threads, gpus=int(study.race.device not in ("auto", "cpu")))


def run_race(
    planned: Planned,
    threads: int | None,
    watch: Watch | None = None,
    progress: Progress | None = None,
    cache: ModelCache | None = None,
    definitions: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
) -> bool:
    """Run one race to its end, or resume it, and keep its rows.

    It may be called again for a race whose process is gone or about to end: a second call waits while the first one is
    still writing, and does nothing if the race has ended.

    Args:
        threads: on a CPU.
        watch: leaves the race to be resumed when it returns False.
        definitions: of the starts and measurements that are registered where the study runs, see `definitions_of`.

    Returns:
        Whether the race has ended.

    Raises:
        ValueError: the race cannot be set up, this machine does not see the study's folder, or this process does not
            know a start or a measurement, or has another definition of it.
    """
    check_seen(planned.folder)
    _check_known(planned.config, definitions)
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    lock = planned.folder.with_suffix(".lock")
    try:
        with locked(lock):
            ended = has_ended(planned.folder) or _race(planned, watch, progress, cache)
            if ended:
                lock.unlink(missing_ok=True)
        return ended
    finally:
        torch.set_num_threads(before)


def _check_known(config: RaceConfig, definitions: Mapping[str, Mapping[str, str]]) -> None:
    """Check that this process knows all starts of a race, and the measurements of the one where the study runs."""
    starts, measures = {lane.init for lane in config.lanes}, definitions.get("measurement", {})
    for what, lacking in (("start", starts - {*INITIALIZERS}), ("measurement", {*measures} - {*MEASURES})):
        if lacking:
            raise ValueError(
                f"the process of this race does not know the {what} {min(lacking)!r}: register it at the top of a "
                "script, which each process reads, or run one race at a time"
            )
    here = definitions_of(config)
    for what, there in definitions.items():
        if other := [name for name in there if here[what].get(name, there[name]) != there[name]]:
            raise ValueError(
                f"the process of this race has another definition of the {what} {other[0]!r} than the one that runs "
                "the study: register it at the top of a script, which each process reads, or run one race at a time"
            )


def _race(planned: Planned, watch: Watch | None, progress: Progress | None, cache: ModelCache | None) -> bool:
    """Run or resume a race that no other process runs; return whether it has ended."""
    if len(links_of(planned.config.task)) > 1:
        return race_chain(planned.folder, planned.config, watch, progress, cache)
    with ended_race(planned, watch, progress, cache) as race:
        if race is not None:
            write_rows(planned.folder, race, runs.read_steps(planned.folder))
    return race is not None


@contextmanager
def ended_race(
    planned: Planned, watch: Watch | None, progress: Progress | None, cache: ModelCache | None
) -> Generator[Race | None]:
    """Run or resume a race, whose lanes are detached afterwards; None if the watcher has ended it."""
    more: Any = {"adapters": False, "progress": progress, "cache": cache}
    folder, config = planned
    begun = has_begun(folder)
    run = runs.resume_run(folder, metric=config.metric, **more) if begun else runs.start(config, folder, **more)
    try:
        with closing(iter(run)) as steps:
            goes_on = all(watch is None or watch(step) for step in steps)
        yield run.race if goes_on else None
    finally:
        run.race.lanes.detach()


def _stage(ledger: Ledger, most: int | None) -> list[Planned]:
    """Return the races of this stage that have not ended: it goes on as it was planned, whatever has stopped it."""
    stage = ledger.stage()
    others = [folder for folder in ledger.unfinished() if folder not in stage]
    if not (stage or others):
        groups = races(ledger.study, ledger.needed(), most)
        stage = ledger.begin_stage(groups) if groups else {}
    metric = ledger.study.race.metric if callable(ledger.study.race.metric) else None
    begun = ((config_of_chain if is_chain(folder) else runs.read_config)(folder) for folder in others)
    return [
        *(Planned(folder, config.with_metric(metric)) for folder, config in zip(others, begun, strict=True)),
        *(Planned(folder, ledger.study.config(group)) for folder, group in stage.items()),
    ]


def _in_turn(
    ledger: Ledger, most: int | None, watch: Watch | None, progress: Progress | None, cache: ModelCache
) -> Generator[FinishedRace, None, None]:
    while planned := _stage(ledger, most):
        left = sum(race.lanes for race in planned)
        for race in planned:
            ledger.check_definitions(race.config)
            if not run_race(race, ledger.study.threads, watch, progress, cache):
                return
            left -= race.lanes
            yield FinishedRace(race.folder, race.lanes, left)


def _at_once(ledger: Ledger, pool: Executor, most: int | None) -> Generator[FinishedRace, None, None]:
    """Run the races of each stage side by side.

    Raises:
        ChildProcessError: a process was killed.
    """
    while planned := _stage(ledger, most):
        left = sum(race.lanes for race in planned)
        ledger.check_definitions(*(race.config for race in planned))
        futures = {  # by folders that hold in any working directory
            pool.submit(
                run_race, race._replace(folder=race.folder.absolute()), ledger.study.threads,
                definitions=definitions_of(race.config),
            ): race
            for race in planned
        }  # fmt: skip
        try:
            for future in as_completed(futures):
                future.result()
                race = futures[future]
                ledger.arrived(race.folder)
                left -= race.lanes
                yield FinishedRace(race.folder, race.lanes, left)
        except BrokenExecutor:
            raise killed() from None
        finally:
            for future in futures:
                future.cancel()

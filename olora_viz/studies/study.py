"""A study: which initializations, rates and ranks, on which models and tasks, how often, and what is left to run."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from olora_viz.initializers import INITIALIZERS, entry_of
from olora_viz.lanes.lane import MAX_LANES, Lane
from olora_viz.machine.memory import dtype_name, resolve_device
from olora_viz.machine.process import cores
from olora_viz.machine.text import call, changed, rounded, suggesting, unknown
from olora_viz.machine.toml_setup import TomlSetup, kinds_of
from olora_viz.races.config import RaceConfig
from olora_viz.races.step import DIVERGED
from olora_viz.studies.preregistration import preregister
from olora_viz.studies.statistics import choose
from olora_viz.tasks.keep import NONE, has_text

GRID = ("models", "tasks", "inits", "lrs", "ranks", "seeds")
"""The settings that may grow when a study is continued; its runs have fixed all others."""

JUDGED = ("reference", "margin", "forget")
"""The settings that affect only the verdicts."""

RATES = (3e-4, 5e-4, 1e-3, 2e-3, 3e-3, 6e-3)
"""The default learning rates, a factor of about 1.8 apart."""


@dataclass(frozen=True)
class Cell:
    """Where methods are compared: a model, a task and a rank."""

    model: str
    task: str
    r: int


@dataclass(frozen=True)
class Trial:
    """One lane of a study."""

    cell: Cell
    init: str
    lr: float
    seed: int


@suggesting("setting", {"methods": "inits", "starts": "inits"})
@dataclass(frozen=True, repr=False)
class Study:
    """The set-up of a study, checked: every method gets the same rates, seeds and batches.

    Args:
        models, tasks, inits, lrs, ranks: the grid; the initializations are the methods compared.
        seeds: number of seeds, counted from 0. Each has its own order of the examples, the same for all methods, so
            that methods are compared in pairs.
        coarse: number of seeds in a first pass over all rates; the remaining seeds race only at each method's best
            rate and half a step on either side. None for all seeds at all rates.
        reference: the method that the others are compared with.
        margin: a difference in test loss below this share of the reference's loss reduction does not matter: methods
            within it are ``level``.
        steps, batch_size, max_length, seed, split_seed, eval_every, eval_size, test, test_size: of each race, see
            `RaceConfig`. Rates are chosen on the held-out examples, and the verdicts rest on the test examples.
        schedule, warmup, device, dtype, truncate, chat: likewise.
        keep: likewise, but ``none`` by default.
        forget: by how many nats per token the loss on the text to keep may rise: a rate is chosen only if no seed
            exceeds it there. None for any number.
        alpha: of each lane; None for the rank, which is a scaling of 1.
        threads: of each race on a CPU, however many races run at once, so that the results do not depend on that
            number; None for one per core of this machine.

    Examples:
        >>> import olora_viz as ov
        >>> study = ov.Study(tasks=("addition", "number-words"), lrs=(1e-3, 3e-3), seeds=3)
        >>> for cell in study.cells():
        ...     print(cell.task, len(list(study.trials(cell, "olora", study.lrs, 3))))
        addition 6
        number-words 6
    """

    models: tuple[str, ...] = ("glassllm",)
    tasks: tuple[str, ...] = ("number-words",)
    inits: tuple[str, ...] = ("lora", "olora")
    lrs: tuple[float, ...] = RATES
    ranks: tuple[int, ...] = (8,)
    seeds: int = 5
    coarse: int | None = None
    reference: str = "lora"
    margin: float = 0.02
    steps: int = 100
    batch_size: int = 16
    max_length: int | None = None
    alpha: float | None = None
    seed: int = 0
    split_seed: int = 0
    eval_every: int = 10
    eval_size: int = 64
    test: str | None = None
    test_size: int = 1000
    schedule: str = "constant"
    warmup: int = 0
    device: str = "auto"
    dtype: str = "auto"
    threads: int | None = None
    truncate: bool = False
    chat: bool = False
    keep: str = NONE
    forget: float | None = None

    def __post_init__(self) -> None:
        """Check every value; lists are sorted only where their order does not matter."""
        for name in GRID[:-1]:
            values = getattr(self, name)
            if isinstance(values, str) or not isinstance(values, Iterable):
                raise ValueError(f"{name} must be a list, not {values!r}")
            values = tuple(values)
            if not values:
                raise ValueError(f"{name} must not be an empty list")
            twice = [value for value in values if values.count(value) > 1]
            if twice:
                raise ValueError(f"{name} names {twice[0]!r} twice")
            object.__setattr__(self, name, tuple(sorted(values)) if name == "lrs" else values)
        for name in ("seeds", "threads"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or not 1 <= value <= 1000):
                raise ValueError(f"{name} must be a whole number from 1 to 1000, not {value!r}")
        if self.coarse is not None and (type(self.coarse) is not int or not 1 <= self.coarse <= self.seeds):
            raise ValueError(
                f"coarse must be a whole number of seeds, from 1 to the {self.seeds} of the study, not {self.coarse!r}"
            )
        if self.reference not in INITIALIZERS and self.reference not in self.inits:
            raise ValueError(unknown("reference", str(self.reference), INITIALIZERS))
        if not isinstance(self.margin, int | float) or not 0 < self.margin < 1:
            raise ValueError(
                f"margin must be a share of the reference's loss reduction between 0 and 1, not {self.margin!r}"
            )
        if len(self.inits) < 2 or self.reference not in self.inits:
            raise ValueError(
                f"a study compares at least two initializations, the reference {self.reference!r} "
                f"and others: inits is {', '.join(self.inits)}"
            )
        for cell in self.cells():
            for init in self.inits:
                self.config((Trial(cell, init, self.lrs[0], 0),))

    def __repr__(self) -> str:
        """Return the call that makes it, without default values."""
        return call(self, **changed(self))

    def cells(self) -> list[Cell]:
        """Return where the methods are compared."""
        return list(itertools.starmap(Cell, itertools.product(self.models, self.tasks, self.ranks)))

    @property
    def keeps_text(self) -> bool:
        """Whether what is forgotten is measured, of one model at least."""
        return any(has_text(self.keep, model) for model in self.models)

    @property
    def first_seeds(self) -> int:
        """The number of seeds of the first pass over all rates."""
        return self.coarse or self.seeds

    def trials(self, cell: Cell, init: str, lrs: Iterable[float], seeds: int | None = None) -> Iterator[Trial]:
        """Return the lanes of a method at some rates, with all seeds or the first few."""
        for lr, seed in itertools.product(lrs, range(seeds or self.seeds)):
            yield Trial(cell, init, lr, seed)

    def config(self, trials: Iterable[Trial]) -> RaceConfig:
        """Return the race of some trials of one model and one task.

        Raises:
            ValueError: a value breaks a rule of races.
        """
        trials = tuple(trials)
        return RaceConfig(
            **{each.name: getattr(self, each.name) for each in fields(self) if each.name in RACE_FIELDS},
            model=trials[0].cell.model,
            task=trials[0].cell.task,
            lanes=tuple(
                Lane(each.init, lr=each.lr, r=each.cell.r, alpha=self.alpha, seed=each.seed) for each in trials
            ),
            batches="by-seed",
        )

    def preregister(self, out: str | Path) -> Path:
        """Write the plan, the margin and the rule into the study's folder, before its first race.

        Called again with the same plan, as by a cell that runs again, it leaves the file as it is.

        Every run records the hash of the file, and ``ov.verdicts(out).deviations`` and ``verdicts.json`` say in what
        the results differ from it: another plan or margin, runs from before, a file that has changed.

        Args:
            out: the folder, as that of `run_study`.

        Raises:
            ValueError: a race has begun, the file holds another plan, or the folder holds something else.

        Examples:
            >>> from tempfile import TemporaryDirectory
            >>> import olora_viz as ov
            >>> study = ov.Study(lrs=(1e-3, 3e-3), seeds=3, margin=0.05)
            >>> with TemporaryDirectory() as folder:
            ...     path = study.preregister(f"{folder}/first")
            ...     decided = ov.verdicts(f"{folder}/first")
            ...     path.name, decided.deviations
            ('preregistration.toml', [])
        """
        return preregister(self, Path(out))

    def fixed(self) -> Study:
        """Return the study with its dtype and number of threads set, as its folder keeps it."""
        device = resolve_device() if self.device == "auto" else self.device
        return replace(self, threads=self.threads or cores(), dtype=dtype_name(self.dtype, device))

    def to_toml(self) -> str:
        """Return the set-up as TOML, without settings that are None."""
        settings = {name: value for name, value in asdict(self).items() if value is not None}
        return "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in settings.items())

    @classmethod
    def from_toml(cls, text: str, name: str = "the study") -> Study:
        """Read a set-up written by `to_toml` or by hand.

        Args:
            name: of the file, for messages.

        Raises:
            ValueError: the text is not TOML, or a value breaks a rule; the message names the line.
        """
        return cls._of(TomlSetup.parse(text, kinds_of(cls), name))

    @classmethod
    def read(cls, path: Path, **instead: Any) -> Study:
        """Read a TOML file; see `from_toml`.

        Args:
            instead: settings in place of the file's.

        Raises:
            ValueError: the file is not a study.
            OSError: the file cannot be read.
        """
        return cls._of(TomlSetup.read(path, kinds_of(cls)), **instead)

    @classmethod
    def _of(cls, setup: TomlSetup, **instead: Any) -> Study:
        with setup.naming_lines(instead):
            return cls(**{**setup.values, **instead})

    def check_grows_from(self, earlier: Study, where: str) -> None:
        """Check that this study can continue an earlier one: that their runs are comparable.

        Raises:
            ValueError: a setting other than those of `GRID` and `JUDGED` differs.
        """
        for each in fields(self):
            before, now = getattr(earlier, each.name), getattr(self, each.name)
            if each.name not in (*GRID, *JUDGED) and before != now:
                raise ValueError(
                    f"{each.name} is {before!r} in {where}, but {now!r} here: runs that differ in "
                    "it cannot be compared; use another folder"
                )


RACE_FIELDS = frozenset(each.name for each in fields(RaceConfig)) - {"model", "task", "lanes"}


def most_trials(study: Study) -> int:
    """Return the lanes of the grid and of the rates around each best one.

    Rates added beyond the edges of the grid are not included.
    """
    halves = 2 if len(study.lrs) > 1 else 0
    finals = halves * study.seeds + study.seeds - study.first_seeds
    each = len(study.lrs) * study.first_seeds + finals
    return len(study.cells()) * len(study.inits) * each


DIGITS = 3
"""Digits of a rate that is added, so that it reads well and is equal when it is derived again."""

MOST_EXTENSIONS = 4
"""Maximum number of rates added to the grid of a cell on either side."""

MOST_IN_TIME = 2
"""The same where time is limited: more seeds at the rates known are then worth more than rates ever farther away."""

Losses = Mapping[Trial, float]
"""The validation loss of each finished trial; NaN if it has diverged, infinite if it forgets too much."""

Row = Mapping[str, Any]
"""The results of a finished trial by name: the columns `folder.COLUMNS` and `folder.BY_EXAMPLE`."""

Rows = Mapping[Trial, Row]
"""Those of every finished trial."""


def number_or_nan(value: Any) -> float:
    """Return a number; NaN for None."""
    return math.nan if value is None else float(value)


def values_of(rows: Rows, name: str) -> dict[Trial, float]:
    """Return one column of the trials' rows; NaN where a run diverged or there is no value."""
    return {trial: _value(row, name) for trial, row in rows.items()}


def _value(row: Row, name: str) -> float:
    return math.nan if row["status"] == DIVERGED else number_or_nan(row.get(name))


def losses_of(study: Study, rows: Rows) -> Losses:
    """Return the losses by which rates are chosen, see `Losses`."""
    losses = values_of(rows, "valid_loss")
    if study.forget is None:
        return losses
    return {trial: loss + (math.inf if lost(rows[trial]) > study.forget else 0.0) for trial, loss in losses.items()}


def lost(row: Row) -> float:
    """Return by how many nats per token a run's loss on the text to keep has risen; NaN if it is unknown."""
    return number_or_nan(row.get("text_loss")) - number_or_nan(row.get("base_text_loss"))


def by_example(rows: Sequence[Row], name: str) -> np.ndarray | None:
    """Return one of `folder.BY_EXAMPLE` of some runs (k, n), NaN where one has diverged; None if it was not kept."""
    columns = [np.asarray(row.get(name, ()), dtype=float) for row in rows]
    if len(sizes := {len(column) for column in columns}) > 1 or sizes == {0}:
        return None
    diverged = np.array([row["status"] == DIVERGED for row in rows])
    return np.where(diverged[:, None], math.nan, np.array(columns))


def losses_by_example(rows: Sequence[Row], name: str) -> np.ndarray:
    """Return the losses of runs by example (k, n); their means (k, 1) where only these were written."""
    losses = by_example(rows, f"{name}_by_example")
    return np.array([[_value(row, name)] for row in rows]) if losses is None else losses


@dataclass(frozen=True)
class Chosen:
    """The best rate of one method in one cell."""

    lr: float
    is_inside: bool
    """Whether lower and higher rates of the grid were tried as well."""
    seeds: int
    """The number of seeds that it was chosen by."""


def needed(study: Study, losses: Losses, rows: Rows | None = None) -> list[Trial]:
    """Return the trials that remain to be run at this stage; none at the end.

    1. The grid: every method at every rate with every seed, or with those of the first pass.
    2. If the best rate of a method lies at the edge of the grid, one rate beyond it, for all
       methods of the cell, at most `MOST_EXTENSIONS` times on each side.
    3. Two rates for each method, half a step below and above its best one, with every seed; and
       the best one itself with the seeds that it lacks.

    Args:
        losses: of all trials so far.
        rows: the results of the same trials, where time is limited, as in a decision: an edge is then extended only
            while that can matter, at most `MOST_IN_TIME` times, see `_beyond`.
    """
    wanted: list[Trial] = []
    for cell in study.cells():
        stages = (
            [
                trial
                for init, lrs in rates.items()
                for trial in study.trials(cell, init, lrs, seeds)
                if trial not in losses
            ]
            for rates, seeds in _stages(study, cell, losses, rows)
        )
        wanted += next(filter(None, stages), [])
    return wanted


def _stages(
    study: Study, cell: Cell, losses: Losses, rows: Rows | None
) -> Iterator[tuple[dict[str, list[float]], int]]:
    """Yield the rates of each method at every stage of a cell, see `needed`, and their number of seeds."""
    yield dict.fromkeys(study.inits, grid_of(study, cell, losses)), study.first_seeds
    yield dict.fromkeys(study.inits, _beyond(study, cell, losses, rows)), study.first_seeds
    yield {init: finalists(study, cell, init, losses) for init in study.inits}, study.seeds


def grid_of(study: Study, cell: Cell, losses: Collection[Trial]) -> list[float]:
    """Return the rates that all methods of a cell get, the lowest first: the study's, and those beyond its edges."""
    return [*reversed(_added(study, cell, losses, -1)), *study.lrs, *_added(study, cell, losses, 1)]


def rates_tried(study: Study, cell: Cell, init: str, losses: Losses) -> list[float]:
    """Return the rates from which a method's best is chosen: the grid, and half steps around it."""
    tried = [lr for lr in finalists(study, cell, init, losses) if Trial(cell, init, lr, 0) in losses]
    return sorted({*grid_of(study, cell, losses), *tried})


def best(study: Study, cell: Cell, init: str, losses: Losses) -> Chosen | None:
    """Choose the rate of a method by its mean validation loss over the seeds, from all tried.

    None if no rate has finished with every seed. Where some rates have run with more seeds than the study has, those
    with the most are chosen from: the others were worse before.
    """
    grid, tried = grid_of(study, cell, losses), rates_tried(study, cell, init, losses)
    counts = [seeds_of(study, cell, init, lr, losses) for lr in tried]
    seeds = max(study.seeds, *counts)
    at = choose(values_at(study, cell, init, tried, losses, seeds))
    if at is None:
        return None
    return Chosen(tried[at], grid[0] < tried[at] < grid[-1], seeds)


def seeds_of(study: Study, cell: Cell, init: str, lr: float, trials: Collection[Trial]) -> int:
    """Count the seeds, from 0 on, with which a method has finished at a rate."""
    seed = 0
    while Trial(cell, init, lr, seed) in trials:
        seed += 1
    return seed


def values_at(
    study: Study, cell: Cell, init: str, lrs: Sequence[float], values: Mapping[Trial, float], seeds: int | None = None
) -> np.ndarray:
    """Return values of a method's trials (rates, seeds); NaN where there is none.

    Args:
        seeds: how many, the first ones; by default all.
    """
    numbers = [values.get(trial, math.nan) for trial in study.trials(cell, init, lrs, seeds)]
    return np.array(numbers, dtype=float).reshape(len(lrs), seeds or study.seeds)


def races(study: Study, trials: Sequence[Trial], most: int | None = None) -> list[list[Trial]]:
    """Group trials into races of one model, task and rank, by seed, so that pairs end together.

    Lanes of one seed share their batches in whichever race they run. A race has one rank, since it computes all its
    lanes at the largest one, and the largest ranks, which take longest, race first. Full fine-tuning races apart:
    beside it, the adapters would be padded to its number of parameters.

    Args:
        most: maximum lanes of a race; by default see `evenly`.
    """
    most = most or evenly(len(trials))

    def place(t: Trial) -> tuple[int, int, int, bool]:
        dense = entry_of(t.init).dense
        return study.models.index(t.cell.model), study.tasks.index(t.cell.task), -t.cell.r, dense

    order = sorted(trials, key=lambda t: (place(t), t.seed, t.lr, study.inits.index(t.init)))
    groups: list[list[Trial]] = []
    for _, of_place in itertools.groupby(order, key=place):
        lanes = list(of_place)
        each = math.ceil(len(lanes) / math.ceil(len(lanes) / most))
        groups += [lanes[at : at + each] for at in range(0, len(lanes), each)]
    return groups


def evenly(lanes: int) -> int:
    """Return the maximum lanes of a race with which two workers have about as much to do.

    It does not depend on the number of workers, so that the races do not either.

    >>> evenly(240), evenly(40), evenly(5)
    (60, 20, 3)
    """
    return max(1, math.ceil(lanes / (2 * math.ceil(max(1, lanes) / (2 * MAX_LANES)))))


def _added(study: Study, cell: Cell, known: Collection[Trial], side: int) -> list[float]:
    """Return the rates beyond one edge that were run for any method, the nearest first."""

    def was_run(lr: float) -> bool:
        return any(Trial(cell, init, lr, 0) in known for init in study.inits)

    return list(itertools.takewhile(was_run, _outside(study, side)))


def _outside(study: Study, side: int) -> list[float]:
    """Return the rates that may be added beyond one edge of the grid, the nearest first."""
    if len(study.lrs) < 2:
        return []
    edge, inner = (study.lrs[-1], study.lrs[-2]) if side > 0 else study.lrs[:2]
    factor = edge / inner
    return [rounded(edge * factor**n, DIGITS) for n in range(1, MOST_EXTENSIONS + 1)]


def _beyond(study: Study, cell: Cell, losses: Losses, rows: Rows | None) -> list[float]:
    """Return the rates to add to a grid: one beyond each edge at which some method is best.

    Where time is limited, an edge is extended only while that can matter. A lower rate trains less, until the loss is
    the untrained model's: below a rate at which it cannot be told from that, nothing changes any more.
    """
    grid, more = grid_of(study, cell, losses), []
    for side, edge in ((-1, grid[0]), (1, grid[-1])):
        outside = _outside(study, side)[: MOST_EXTENSIONS if rows is None else MOST_IN_TIME]
        at_edge = [init for init in study.inits if _best_of_grid(study, cell, init, losses) == edge]
        if rows is not None and side < 0:
            first = (study.trials(cell, init, [edge], study.first_seeds) for init in at_edge)
            gains = [gain_of([rows[trial] for trial in trials]) for trials in first]
            at_edge = [init for init, (gain, error) in zip(at_edge, gains, strict=True) if abs(gain) > error]
        if at_edge:
            more += [lr for lr in outside if lr not in grid][:1]
    return more


def beats_untrained(rows: Rows, trials: Iterable[Trial]) -> bool:
    """Whether the held-out loss of a method is below the untrained model's by more than one standard error.

    Args:
        trials: the seeds of a method at one rate; if there are none, or one has diverged, it is not better.
    """
    gain, error = gain_of([rows[trial] for trial in trials])
    return gain > error


def gain_of(runs: Sequence[Row], before: str = "base_valid_loss") -> tuple[float, float]:
    """Return by how much training lowers the held-out loss, and the standard error of that over the examples.

    The differences are paired by example; they are to the mean, where the losses by example are not known, and NaN
    where that is not either. Without a run, or with a diverged one, training raises the loss without limit.

    Args:
        before: the loss from which it is lowered, the untrained model's or ``earlier_valid_loss``.
    """
    if not runs or any(row["status"] == DIVERGED for row in runs):
        return -math.inf, 0.0
    gain = (losses_by_example(runs, before) - losses_by_example(runs, "valid_loss")).mean(0)
    error = gain.std(ddof=1) / math.sqrt(len(gain)) if len(gain) > 1 else 0.0
    return float(gain.mean()), float(error)


def _best_of_grid(study: Study, cell: Cell, init: str, losses: Losses) -> float | None:
    """Return the best rate of the grid; if all forget too much, the lowest, since lower ones forget less."""
    grid = grid_of(study, cell, losses)
    values = values_at(study, cell, init, grid, losses, study.first_seeds)
    at, over = choose(values), np.flatnonzero(values.mean(1) == math.inf)
    if at is None:
        return grid[over[0]] if over.size else None
    return grid[at]


def finalists(study: Study, cell: Cell, init: str, losses: Losses) -> list[float]:
    """Return the rates that race with every seed: the best of the grid, and half steps around it.

    The lowest first; empty if each rate of the grid has a diverged run.
    """
    grid, lr = grid_of(study, cell, losses), _best_of_grid(study, cell, init, losses)
    if lr is None:
        return []
    near = grid[max(0, grid.index(lr) - 1) : grid.index(lr) + 2]
    return sorted([lr, *(rounded(math.sqrt(low * high), DIGITS) for low, high in itertools.pairwise(near))])


def complete_seeds(study: Study, losses: Losses) -> int:
    """Return the number of seeds that every method has finished at its best rate and around it."""
    methods = itertools.product(study.cells(), study.inits)
    trials = (study.trials(*method, finalists(study, *method, losses)) for method in methods)
    return min((trial.seed for trial in itertools.chain(*trials) if trial not in losses), default=study.seeds)

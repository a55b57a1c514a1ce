"""A study: which initialization, learning rate and rank, on which models and tasks, how often."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from olora_viz.initializers import INITIALIZERS
from olora_viz.lanes.lane import Lane
from olora_viz.machine.process import cores
from olora_viz.machine.text import unknown
from olora_viz.machine.toml_setup import TomlSetup, kinds_of
from olora_viz.races.config import RaceConfig

GRID = ("models", "tasks", "inits", "lrs", "ranks", "seeds")
"""The settings that may grow when a study is continued; its runs have fixed all others."""

JUDGED = ("reference", "margin")
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


@dataclass(frozen=True)
class Study:
    """The set-up of a study, checked: every method gets the same rates, seeds and batches.

    Args:
        models: the grid; the initializations are the methods compared.
        tasks: see `models`.
        inits: see `models`.
        lrs: see `models`.
        ranks: see `models`.
        seeds: number of seeds, counted from 0. Each has its own order of the examples, the same for all methods, so
            that methods are compared in pairs.
        coarse: number of seeds in a first pass over all rates; the remaining seeds race only at each method's best
            rate and half a step on either side. None for all seeds at all rates.
        reference: the method that the others are compared with.
        margin: a difference in test loss below this share of the reference's loss reduction does not matter: methods
            within it are ``level``.
        steps: of each race, see `RaceConfig`. Rates are chosen on the held-out examples, and the verdicts rest on the
            test examples.
        batch_size: see `steps`.
        max_length: see `steps`.
        seed: see `steps`.
        split_seed: see `steps`.
        eval_every: see `steps`.
        eval_size: see `steps`.
        test: see `steps`.
        test_size: see `steps`.
        schedule: see `steps`.
        warmup: see `steps`.
        device: see `steps`.
        dtype: see `steps`.
        truncate: see `steps`.
        chat: see `steps`.
        alpha: of each lane; None for the rank, which is a scaling of 1.
        threads: of each race on a CPU, however many races run at once, so that the results do not depend on that
            number; None for one per core of this machine.
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
        if self.reference not in INITIALIZERS:
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

    def cells(self) -> list[Cell]:
        """Return where the methods are compared."""
        return list(itertools.starmap(Cell, itertools.product(self.models, self.tasks, self.ranks)))

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

    def fixed(self) -> Study:
        """Return the study with its number of threads set, as its folder keeps it."""
        return self if self.threads else replace(self, threads=cores())

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

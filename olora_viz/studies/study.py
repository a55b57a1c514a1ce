"""A study: what is compared, crossed, tuned and fixed, and how often."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from olora_viz.lanes.lane import Lane
from olora_viz.lanes.optimizers import OPTIMIZERS
from olora_viz.lanes.schedule import plain as plain_schedule
from olora_viz.machine.checks import suggesting
from olora_viz.machine.devices import dtype_name, resolve_device
from olora_viz.machine.process import cores
from olora_viz.machine.tables import brief, call
from olora_viz.machine.toml_setup import KeyKind, TomlSetup, kinds_of
from olora_viz.machine.wording import compact, rounded
from olora_viz.races.chain import check_links
from olora_viz.races.config import DEFAULT_LANES, RaceConfig
from olora_viz.studies.axes import OF_LANE, SHORT_FORMS, in_words, plain, read_axes
from olora_viz.studies.method import (
    OF_LENGTH,
    contenders_of,
    keys_of,
    label_in_race,
    lane_of,
    own_rate,
    own_settings,
    shipped,
)
from olora_viz.studies.preregistration import preregister
from olora_viz.tasks.keep import NONE, has_text
from olora_viz.tasks.metrics import plain_metric
from olora_viz.tasks.task import links_of, task_words

DEFAULT_RACE = RaceConfig(task="number-words", steps=100, eval_every=10, keep=NONE)
"""The race that a study runs by default: longer than the page's, and without a text to keep."""

RATES = (3e-4, 5e-4, 1e-3, 2e-3, 3e-3, 6e-3)
"""The default learning rates, a factor of about 1.8 apart."""

RATE_DIGITS = 3
"""Digits of a rate that is computed, so that it reads well and is equal when it is derived again."""

OF_RACE = tuple(each.name for each in fields(RaceConfig) if each.name not in ("lanes", "batches"))
"""The settings of a race that are a study's, too."""

GROWING = ("compare", "seeds", "model", "task", "r")
"""What may grow when a study is continued, beside the values of what is crossed or tuned."""

OF_VERDICTS = ("margin", "forget")
"""The settings that affect only the verdicts."""

AXES_OF = ("across", "tune")
"""The fields of a study that hold the values of settings."""

COUNTED = ("steps", "warmup", "eval_every")
"""The settings that count batches; the first one only where there are no epochs."""

EQUAL = ("examples", "steps")
"""What races of different batch sizes have in common."""

Settings = tuple[tuple[str, Any], ...]
"""Settings and their values, in the order of their names."""


class Candidate(NamedTuple):
    """What is chosen for a method: a learning rate, and what else is tuned."""

    lr: float
    tuned: Settings = ()

    @property
    def words(self) -> str:
        """The rate, and what else is tuned.

        >>> Candidate(3e-3, (("batch_size", 8),)).words
        '3e-3, batch size 8'
        """
        return ", ".join([compact(self.lr), *(in_words(name, value) for name, value in self.tuned)])


@dataclass(frozen=True)
class Cell:
    """Where methods are compared: a model, a task and a rank, and what else is crossed."""

    model: str
    task: str
    r: int | None
    """None where the methods have their own."""
    others: Settings = ()

    @property
    def settings(self) -> dict[str, Any]:
        """All of them by name."""
        return {"model": self.model, "task": self.task, "r": self.r, **dict(self.others)}

    @property
    def links(self) -> tuple[str, ...]:
        """The tasks of a chain; one, of a task alone."""
        return links_of(self.task)

    def words(self, names: Iterable[str] | None = None) -> str:
        """Return these settings in words, or all of them; see `task_words`.

        >>> Cell("glassllm", "sentiment", 8, (("rows", 50),)).words()
        'glassllm, sentiment, rank 8, rows 50'
        """
        rank = {} if self.r is None else {"r": in_words("r", self.r)}
        words = {"model": self.model, "task": task_words(self.task)} | rank
        words |= {name: in_words(name, value) for name, value in self.others}
        return ", ".join(words[name] for name in (words if names is None else names) if name in words)


@dataclass(frozen=True)
class Trial:
    """One lane of a study."""

    cell: Cell
    method: str
    lr: float
    seed: int
    tuned: Settings = ()

    @property
    def candidate(self) -> Candidate:
        """What of the trial is chosen."""
        return Candidate(self.lr, self.tuned)


_MEANT = dict.fromkeys(("inits", "init", "methods", "starts", "lanes"), "compare") | {
    "lrs": "lr", "ranks": "r", "models": "model", "tasks": "task",
}  # fmt: skip
"""What a setting may be called by mistake, and what is meant."""

_IN_PYTHON = _MEANT | {
    "lr": "tune", "lrs": "tune", "r": "across", "ranks": "across", "alpha": "across",
    **dict.fromkeys(("models", "tasks", *OF_RACE), "race"),
}  # fmt: skip


@suggesting("setting", _IN_PYTHON)
@dataclass(frozen=True, repr=False)
class Study:
    """The set-up of a study, checked: every setting is compared, crossed, tuned or fixed, and seeds repeat.

    Every method of a cell gets the same candidates, seeds and batches.

    Args:
        race: what is fixed: all of a race but its lanes, see `RaceConfig`. Candidates are chosen on the held-out
            examples, and the verdicts rest on the test examples. Its `forget` limits the choice: a candidate is
            chosen only if no seed exceeds it there.
        compare: the methods, each written as a lane: ``"olora"``, or ``"lora:alpha=16,dropout=0.1"``. The first is the
            reference. One with a rate, ``"lora:lr=1e-3"``, keeps it. ``"recipe:axolotl"`` is the toolkit's recipe as
            shipped, with its own rate, batch size and length, and beside it the recipe with its rate tuned.
        across: what is crossed: settings of a lane or of a race, and the values of each. Methods are compared at every
            combination, a cell. Without ``r``, the rank is 8 unless a method has its own. The task
            ``"addition+uppercase"`` is a chain, see `chain`: its candidates are chosen, and its methods judged, by the
            mean loss over its tasks after the last link.
        tune: what is chosen for each method in each cell: the values of ``lr``, and of other settings. Rates beyond an
            edge, and half steps around the best one, are added; of other settings these values are tried.
        seeds: number of seeds, counted from 0. Each has its own order of the examples, the same for all methods, so
            that methods are compared in pairs.
        coarse: number of seeds in a first pass over all candidates; the remaining seeds race only at each method's
            best one and half a step of the rate on either side. None for all seeds at all candidates.
        margin: a difference in test loss below this share of the reference's loss reduction does not matter: methods
            within it are ``level``.
        threads: of each race on a CPU, however many races run at once, so that the results do not depend on that
            number; None for one per core of this machine.
        equal: what batch sizes have in common: ``examples``, so that `steps`, `warmup` and `eval_every` count batches
            of the race's own size, or ``steps``.

    Examples:
        >>> import olora_viz as ov
        >>> study = ov.Study(across={"task": ("addition", "number-words")}, tune={"lr": (1e-3, 3e-3)}, seeds=3)
        >>> for cell in study.cells():
        ...     print(cell.task, len(list(study.trials(cell, "olora", study.candidates(), 3))))
        addition 6
        number-words 6
    """

    race: RaceConfig = DEFAULT_RACE
    compare: tuple[str, ...] = ("lora", "olora")
    across: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    tune: Mapping[str, tuple[Any, ...]] = field(default_factory=lambda: {"lr": RATES})
    seeds: int = 5
    coarse: int | None = None
    margin: float = 0.02
    threads: int | None = None
    equal: str = EQUAL[0]

    def __post_init__(self) -> None:
        """Check every value; lists are sorted only where their order does not matter."""
        if not isinstance(self.race, RaceConfig):
            raise ValueError(f"race must be a RaceConfig, not {brief(self.race)}")
        compare = self.compare
        if isinstance(compare, str) or not isinstance(compare, Iterable):
            raise ValueError(f"compare must be a list of methods, not {compare!r}")
        compare = tuple(compare)
        if twice := [method for method in compare if compare.count(method) > 1]:
            raise ValueError(f"compare names {twice[0]!r} twice")
        for method in compare:
            lane_of(method)
        compare = tuple(dict.fromkeys(each for method in compare for each in contenders_of(method)))
        if len(compare) < 2:
            raise ValueError(
                f"compare must name at least two methods, the reference and another one, not {', '.join(compare)!r}"
            )
        across, tune, race = read_axes("across", self.across), read_axes("tune", self.tune), self.race
        self._check_places(compare, across, tune)
        for name in [name for name, values in across.items() if len(values) == 1 and name not in OF_LANE]:
            race = replace(race, **{name: across.pop(name)[0]})
        if not any({"r", "params"} & {*names} for names in (across, tune, *map(keys_of, compare))):
            across["r"] = (Lane.r,)
        across = {name: across[name] for name in sorted(across)}
        race = replace(race, lanes=DEFAULT_LANES, batches=RaceConfig.batches)
        settled = {"race": race, "compare": compare, "across": across, "tune": {n: tune[n] for n in sorted(tune)}}
        for name, value in settled.items():
            object.__setattr__(self, name, value)
        for name in ("seeds", "threads"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or not 1 <= value <= 1000):
                raise ValueError(f"{name} must be a whole number from 1 to 1000, not {value!r}")
        if self.coarse is not None and (type(self.coarse) is not int or not 1 <= self.coarse <= self.seeds):
            raise ValueError(
                f"coarse must be a whole number of seeds, from 1 to the {self.seeds} of the study, not {self.coarse!r}"
            )
        if not isinstance(self.margin, int | float) or not 0 < self.margin < 1:
            raise ValueError(
                f"margin must be a share of the reference's loss reduction between 0 and 1, not {self.margin!r}"
            )
        if self.equal not in EQUAL:
            raise ValueError(f"equal must be {' or '.join(EQUAL)}, not {self.equal!r}")
        for cell in self.cells():
            lanes: dict[tuple[Any, ...], str] = {}
            for trial in (each for name in self.compare for each in self.trials(cell, name, self.candidates(name), 1)):
                self.config((trial,))
                lane, method = self.lane(trial), trial.method
                keeps = own_rate(method), shipped(method)
                same = lanes.setdefault((*keeps, lane.replace(params=lane.params and 1, label=None)), method)
                if same != method:
                    but = " but for params, of which a run keeps the rank alone" if lane.params else ""
                    raise ValueError(f"the methods {same!r} and {method!r} are the same lane in {cell.words()}{but}")

    @staticmethod
    def _check_places(compare: tuple[str, ...], across: Mapping[str, Any], tune: Mapping[str, Any]) -> None:
        """Check that each setting is in one place: compared, crossed or tuned."""
        if "lr" not in tune:
            raise ValueError("tune must have the rates, as in tune={'lr': (1e-3, 3e-3)}")
        places = {"crossed": set(across), "tuned": set(tune)}
        compared = {key: method for method in compare for key in keys_of(method)}
        beside_tuned = {key for method in compare if not shipped(method) for key in keys_of(method)}
        for key in ("seed", "label"):
            if key in compared:
                raise ValueError(f"a method has no {key}, which the study gives each lane: {compared[key]!r}")
        for where, names in places.items():
            if both := sorted(names & (set(compared) if where == "crossed" else beside_tuned)):
                raise ValueError(
                    f"{both[0]} is {where} and also a part of the method {compared[both[0]]!r}: a setting is "
                    "compared, crossed, tuned or fixed"
                )
        if both := sorted(places["crossed"] & places["tuned"]):
            raise ValueError(f"{both[0]} is both crossed and tuned: a setting is compared, crossed, tuned or fixed")
        for name in ("model", "task"):
            if name in tune:
                raise ValueError(f"{name} cannot be tuned: losses of different {name}s cannot be compared; cross it")

    def __repr__(self) -> str:
        """Return the call that makes it, without default values."""
        usual = Study()
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        values = {name: value for name, value in values.items() if value != getattr(usual, name)}
        return call(self, **values)

    @property
    def reference(self) -> str:
        """The method that the others are compared with."""
        return self.compare[0]

    @property
    def lrs(self) -> tuple[float, ...]:
        """The learning rates that are tried at first, the lowest first."""
        return self.tune["lr"]

    def lrs_in(self, cell: Cell, tuned: Settings) -> tuple[float, ...]:
        """Return the learning rates that are tried at first in a cell, the lowest first.

        They are `lrs` times `Optimizer.rate`, of each optimizer that a method has there: all methods try the same.
        """
        of_all = cell.settings | dict(tuned)
        factors = {
            OPTIMIZERS[of_all.get("opt") or lane_of(method).opt].rate for method in self.tuned_methods or self.compare
        }
        return tuple(sorted({rounded(lr * f, RATE_DIGITS) if f != 1 else lr for f in factors for lr in self.lrs}))

    def choices(self, method: str = "") -> list[Settings]:
        """Return the combinations of what is tuned beside the rate, of all methods or of one that has its own."""
        own = own_settings(method) if method else {}
        names = [name for name in self.tune if name != "lr"]
        values = ((own[name],) if name in own else self.tune[name] for name in names)
        return [tuple(zip(names, of_choice, strict=True)) for of_choice in itertools.product(*values)]

    def candidates(self, method: str = "") -> list[Candidate]:
        """Return what is tried at first, for all methods or for one that has a rate of its own."""
        rate = own_rate(method) if method else None
        rates = self.lrs if rate is None else (rate,)
        return [Candidate(lr, tuned) for tuned in self.choices(method) for lr in rates]

    @property
    def tuned_methods(self) -> list[str]:
        """The methods whose rate is tuned."""
        return [method for method in self.compare if own_rate(method) is None]

    def values(self, name: str) -> tuple[Any, ...]:
        """Return the values that a setting has in the study.

        Examples:
            >>> import olora_viz as ov
            >>> ov.Study(across={"r": (4, 16)}).values("r"), ov.Study().values("task")
            ((4, 16), ('number-words',))
        """
        for axes in (self.across, self.tune):
            if name in axes:
                return axes[name]
        if name in OF_RACE:
            return (getattr(self.race, name),)
        return tuple(dict.fromkeys(getattr(lane_of(method), name) for method in self.compare))

    def cells(self) -> list[Cell]:
        """Return where the methods are compared."""
        models, tasks, ranks = self.values("model"), self.values("task"), self.across.get("r", (None,))
        names = [name for name in self.across if name not in ("model", "task", "r")]
        others = [tuple(zip(names, values, strict=True)) for values in itertools.product(*map(self.values, names))]
        return list(itertools.starmap(Cell, itertools.product(models, tasks, ranks, others)))

    @property
    def keeps_text(self) -> bool:
        """Whether what is forgotten is measured, of one model at least."""
        return any(has_text(keep, model) for keep in self.values("keep") for model in self.values("model"))

    @property
    def first_seeds(self) -> int:
        """The number of seeds of the first pass over all candidates."""
        return self.coarse or self.seeds

    def trials(
        self, cell: Cell, method: str, candidates: Iterable[Candidate | float], seeds: int | None = None
    ) -> Iterator[Trial]:
        """Return the lanes of a method at some candidates, with all seeds or the first few.

        Args:
            candidates: a number is a rate where nothing else is tuned.
        """
        for at, seed in itertools.product(map(as_candidate, candidates), range(seeds or self.seeds)):
            yield Trial(cell, method, at.lr, seed, at.tuned)

    def lane(self, trial: Trial) -> Lane:
        """Return the lane of a trial."""
        varied = dict((*trial.cell.others, *trial.tuned))
        rank: dict[str, Any] = {} if trial.cell.r is None else {"r": trial.cell.r}
        of_lane = {name: value for name, value in varied.items() if name in OF_LANE}
        label = label_in_race(trial.method)
        lane = replace(lane_of(trial.method), lr=trial.lr, seed=trial.seed, label=label, **rank, **of_lane)
        if recipe := shipped(trial.method):
            return lane.replace(warmup=recipe.warmup)
        return lane.replace(warmup=self.in_batches(lane.warmup, varied.get("batch_size")))

    def lane_in(self, cell: Cell, method: str) -> Lane:
        """Return the lane of a method's first trial in a cell."""
        return self.lane(next(self.trials(cell, method, self.candidates(method))))

    def in_batches(self, count: int | float | None, batch: Any) -> int | float | None:
        """Return a count of batches of the race's own size in batches of another one, see `equal`.

        Args:
            batch: their size; None for the race's own.
        """
        if not count or isinstance(count, float) or self.equal == "steps" or type(batch) is not int or batch < 1:
            return count
        return max(1, round(count * self.race.batch_size / batch))

    def config(self, trials: Iterable[Trial]) -> RaceConfig:
        """Return the race of some trials of one cell and one combination of what is tuned beside the rate.

        A recipe as shipped has a race of its own.

        Raises:
            ValueError: a value breaks a rule of races.
        """
        trials = tuple(trials)
        cell, race, recipe = trials[0].cell, self.race, shipped(trials[0].method)
        own = {"warmup": 0, **recipe.race} if recipe else {}
        set_by_lane = OF_LANE | {*OF_LENGTH} if recipe else OF_LANE
        varied = {name: value for name, value in (*cell.others, *trials[0].tuned) if name not in set_by_lane} | own
        if "batch_size" in varied:
            has_epochs = varied.get("epochs", race.epochs) is not None
            for name in [name for name in COUNTED[has_epochs:] if name not in own]:
                varied[name] = self.in_batches(varied.get(name, getattr(race, name)), varied["batch_size"])
        lanes = tuple(map(self.lane, trials))
        config = race.replace(model=cell.model, task=cell.task, lanes=lanes, batches="by-seed", **varied)
        if len(links := links_of(config.task)) > 1:
            check_links(config, links)
        return config

    def trial_of(self, config: RaceConfig, lane: Lane) -> Trial:
        """Return the trial that a lane of a race is; the method as the lane is written if the study has none such."""

        def value(name: str) -> Any:
            now = getattr(lane if name in OF_LANE else config, name)
            planned = self.values(name) if name in COUNTED else ()
            return next((each for each in planned if self.in_batches(each, config.batch_size) == now), now)

        names = [name for name in self.across if name not in ("model", "task", "r")]
        r = lane.r if "r" in self.across else None
        cell = Cell(config.model, config.task, r, tuple((name, value(name)) for name in names))
        tuned = {name: value(name) for name in self.tune if name != "lr"}
        kept = ((method, own_settings(method)) for method in self.compare)
        settings = ((method, tuple((name, own.get(name, tuned[name])) for name in tuned)) for method, own in kept)
        trials = (Trial(cell, method, lane.lr, lane.seed, of_method) for method, of_method in settings)
        same = (trial for trial in trials if self._is_lane_of(trial, lane))
        return next(same, Trial(cell, lane.init, lane.lr, lane.seed, tuple(tuned.items())))

    def _is_lane_of(self, trial: Trial, lane: Lane) -> bool:
        """Whether a lane is a trial's; of a recipe as shipped, the warm-up depends on the steps of its epochs."""
        if shipped(trial.method):
            return lane.label == label_in_race(trial.method)
        return _ranked(self.lane(trial), lane.r) == lane

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
            >>> study = ov.Study(tune={"lr": (1e-3, 3e-3)}, seeds=3, margin=0.05)
            >>> with TemporaryDirectory() as folder:
            ...     path = study.preregister(f"{folder}/first")
            ...     decided = ov.verdicts(f"{folder}/first")
            ...     path.name, decided.deviations
            ('preregistration.toml', [])
        """
        return preregister(self, Path(out))

    def fixed(self) -> Study:
        """Return the study with its dtype and number of threads set, as its folder keeps it."""
        race = self.race
        device = resolve_device() if race.device == "auto" else race.device
        return replace(self, threads=self.threads or cores(), race=replace(race, dtype=dtype_name(race.dtype, device)))

    def changed(
        self,
        race: Mapping[str, Any] | None = None,
        across: Mapping[str, Any] | None = None,
        tune: Mapping[str, Any] | None = None,
        **own: Any,
    ) -> Study:
        """Return the study with other values of these settings, and all others as they are.

        Args:
            race: of the race that is fixed.
            across, tune: the values of what is crossed or tuned; a setting of the race that was crossed is fixed if
                `race` has it.
            own: other fields of the study.

        Examples:
            >>> import olora_viz as ov
            >>> ov.Study().changed(across={"r": (4, 16)}, seeds=3)
            Study(across={'r': (4, 16)}, seeds=3)
        """
        race, across, tune = dict(race or {}), dict(across or {}), dict(tune or {})
        crossed = {name: values for name, values in self.across.items() if name not in {*race, *tune}}
        methods = [keys_of(method) for method in own.get("compare", self.compare)]
        own_rank = any({"r", "params"} & keys for keys in methods)
        if own_rank and "r" not in across and crossed.get("r") == (Lane.r,):
            del crossed["r"]
        tuned = {name: values for name, values in self.tune.items() if name not in across}
        return replace(self, race=self.race.replace(**race), across=crossed | across, tune=tuned | tune, **own)

    def settings(self) -> dict[str, Any]:
        """Return all settings by name: of the study, of its race, and the values of what is crossed or tuned."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        own = {name: value for name, value in own.items() if name not in ("race", *AXES_OF)}
        of_race = {name: getattr(self.race, name) for name in OF_RACE if name not in ("model", "task")}
        of_race["metric"] = plain_metric(self.race.metric)
        return (
            own | {"model": self.values("model"), "task": self.values("task")} | of_race | {**self.across, **self.tune}
        )

    def to_toml(self, of: str = "") -> str:
        """Return the set-up as TOML, without settings that are None.

        Args:
            of: the table that it is written for; its own tables are within that.
        """
        own = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in ("race", *AXES_OF)}
        race = {name: getattr(self.race, name) for name in OF_RACE}
        race |= {"schedule": plain_schedule(self.race.schedule), "metric": plain_metric(self.race.metric)}
        crossed = {*self.across} - OF_LANE
        written = _lines(own | {name: value for name, value in race.items() if name not in crossed})
        for name in AXES_OF:
            written += f"\n[{f'{of}.' * bool(of)}{name}]\n{_lines(getattr(self, name))}"
        return written

    @classmethod
    def from_toml(cls, text: str, name: str = "the study") -> Study:
        """Read a set-up written by `to_toml` or by hand.

        Settings of the race stand beside those of the study. In short, ``model``, ``task``, ``r`` and ``alpha`` may
        stand there, too, as lists of what is crossed, and ``lr`` as a list of what is tuned.

        Args:
            name: of the file, for messages.

        Raises:
            ValueError: the text is not TOML, or a value breaks a rule; the message names the line.
        """
        return cls._of(TomlSetup.parse(text, kinds_of_toml(), name, **_MEANT))

    @classmethod
    def read(cls, path: Path, **instead: Any) -> Study:
        """Read a TOML file; see `from_toml`.

        Args:
            instead: settings in place of the file's, see `changed`.

        Raises:
            ValueError: the file is not a study.
            OSError: the file cannot be read.
        """
        return cls._of(TomlSetup.read(path, kinds_of_toml(), **_MEANT), **instead)

    @classmethod
    def _of(cls, setup: TomlSetup, **instead: Any) -> Study:
        own = dict(setup.values)
        axes: dict[str, dict[str, Any]] = {name: own.pop(name, {}) for name in AXES_OF}
        for name in SHORT_FORMS:
            if name in own:
                axes["tune" if name == "lr" else "across"].setdefault(name, own.pop(name))
        race = {name: own.pop(name) for name in OF_RACE if name in own}
        for place, given in axes.items():
            own[place] = {**given, **instead.get(place, {})}
        length = {"steps": "epochs", "epochs": "steps"}  # of which a race has one
        race = {name: value for name, value in race.items() if length.get(name) not in instead.get("race", ())}
        race |= instead.get("race", {})
        own |= {name: value for name, value in instead.items() if name not in ("race", *AXES_OF)}
        names = {name for place in ("race", *AXES_OF) for name in instead.get(place, ())}
        with setup.naming_lines({*instead, *names}):
            return cls().changed(race, own.pop("across"), own.pop("tune"), **own)

    def growing(self) -> dict[str, Any]:
        """Return the settings of which a study may have more when it goes on, by name: texts, or a number of seeds."""
        lists = {name: self.values(name) for name in ("model", "task", *self.across, *self.tune)}
        texts = {name: list(map(plain, values)) for name, values in lists.items()}
        return {"compare": list(self.compare), "seeds": self.seeds, **texts}

    def check_grows_from(self, earlier: Study, where: str) -> None:
        """Check that this study can continue an earlier one: that their runs are comparable.

        Raises:
            ValueError: a setting other than those of `GROWING`, `OF_VERDICTS` and what both cross or tune differs.
        """
        varied = [{*study.across, *study.tune} for study in (earlier, self)]
        may_differ = {*GROWING, *OF_VERDICTS, *set.intersection(*varied)}
        before, now = earlier.settings(), self.settings()
        for name in (*now, *before):
            if name not in may_differ and before.get(name) != now.get(name):
                raise ValueError(
                    f"{name} is {before.get(name)!r} in {where}, but {now.get(name)!r} here: runs that differ in "
                    "it cannot be compared; use another folder"
                )


def _ranked(lane: Lane, r: int) -> Lane:
    """Return a lane as it runs, with the rank that its number of parameters comes to."""
    return lane if lane.params is None else lane.replace(r=r, params=None)


def as_candidate(at: Candidate | float) -> Candidate:
    """Return a candidate; a number is a rate where nothing else is tuned."""
    return at if isinstance(at, Candidate) else Candidate(at)


def kinds_of_toml() -> dict[str, KeyKind]:
    """Return the kinds of the keys of a study's file: its own, its race's, and the lists in short."""
    of_race = {name: kind for name, kind in kinds_of(RaceConfig).items() if name in OF_RACE}
    lists = {name: KeyKind(kind, is_list=True) for name, kind in SHORT_FORMS.items()}
    own = {name: kind for name, kind in kinds_of(Study).items() if name != "race"}
    return own | of_race | lists


def _lines(settings: Mapping[str, Any]) -> str:
    """Return settings as lines of TOML, without those that are None."""
    return "".join(f"{name} = {_text(value)}\n" for name, value in settings.items() if value is not None)


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_entry, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _entry(value: Any) -> str:
    """Return an entry of a list; what TOML has no value for as its text."""
    return json.dumps(plain(value) if value is None or isinstance(value, tuple) else value, ensure_ascii=False)

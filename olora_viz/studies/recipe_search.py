"""What a decision searches before it compares starts: the rest of a recipe, one choice after the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from olora_viz.lanes.lane import Lane
from olora_viz.lanes.layers import target_layers
from olora_viz.lanes.schedule import SCHEDULES
from olora_viz.lanes.schedule import plain as plain_schedule
from olora_viz.lanes.targets import ALL, ATTENTION, MLP
from olora_viz.machine.checks import unknown
from olora_viz.machine.files import FORMAT, check_format, read_json_object, write_json
from olora_viz.machine.process import Progress
from olora_viz.machine.tables import finite_or_none, number_or_nan
from olora_viz.machine.wording import and_, counted, nats, rounded
from olora_viz.races import run as runs
from olora_viz.races.config import RaceConfig
from olora_viz.races.data import ModelCache
from olora_viz.races.step import DIVERGED, Step
from olora_viz.studies.axes import in_words, plain
from olora_viz.studies.method import keys_of, lane_of
from olora_viz.studies.preregistration import SETUP, read_setup, write_setup
from olora_viz.studies.run import Planned, ended_race
from olora_viz.studies.study import RATE_DIGITS, Study
from olora_viz.tasks.keep import NONE

SEARCH_FOLDER = "search"
"""The folder, in that of a decision, with the races of its search."""

FOUND = "found.json"
"""The file of that folder with what has been tried."""

BATCH_SIZES = (4, 16)
"""Prompts per step, the larger where time allows it."""

SEED = 1000
"""The first seed of the search's lanes, so that those of the comparison are fresh; the second is the next number."""

LANES_AGAIN = 2
"""Lanes of a choice with the second seed: what was taken so far, and the best of the others if its loss is lower."""

RATES_NEAR = tuple(10 ** (step / 4) for step in (-2, -1, 0, 1, 2))
"""The rates around the best one so far, as multiples of it."""

ERRORS = 2.0
"""Standard errors over the held-out examples by which a value must be better."""


class SearchedChoice(NamedTuple):
    """What a decision searches."""

    words: str
    others: Callable[[Any], tuple[Any, ...]]
    """The other values that are tried, given the one that is taken so far."""


CHOICES: Mapping[str, SearchedChoice] = {
    "targets": SearchedChoice("target modules", lambda _: (ATTENTION, MLP)),
    "steps": SearchedChoice("number of steps", lambda steps: tuple(each for each in (steps // 2, steps // 4) if each)),
    "batch_size": SearchedChoice("batch size", lambda size: tuple(each for each in BATCH_SIZES if each != size)),
    "r": SearchedChoice("rank", lambda r: tuple(each for each in (r // 4, 4 * r) if each)),
    "alpha": SearchedChoice("alpha", lambda _: ("2r", "r/4")),
    "schedule": SearchedChoice("schedule", lambda now: tuple(each for each in SCHEDULES if each != now)),
    "dropout": SearchedChoice("dropout", lambda now: tuple(each for each in (0.0, 0.1) if each != now)),
}
"""What is searched, in the order in which choices matter; the rate is tuned again with each."""

OF_ADAPTER = ("targets", "r", "alpha", "dropout")
"""Those of them that full fine-tuning lacks."""

OF_METHOD = (*OF_ADAPTER, "schedule")
"""Those of them that are keys of a lane."""


def searchable(study: Study, given: Sequence[str] = ()) -> tuple[str, ...]:
    """Return what may be searched for a study: all that is neither given, nor a part of one of its methods.

    >>> searchable(Study(), given=["r", "steps"])
    ('targets', 'batch_size', 'alpha', 'schedule', 'dropout')
    >>> searchable(Study(compare=("lora", "lora:alpha=16", "full")), given=["schedule"])
    ('targets', 'steps', 'batch_size', 'r', 'dropout')
    >>> searchable(Study(compare=("full", "lora")))
    ('steps', 'batch_size', 'schedule')
    """
    own = {key for method in study.compare for key in keys_of(method)}
    own |= {"r"} if "params" in own else set()
    own |= {*OF_ADAPTER} if lane_of(study.reference).is_dense else set()
    return tuple(name for name in CHOICES if name not in own and name not in given)


def has_families(study: Study, cache: ModelCache) -> bool:
    """Return whether the model has layers of attention and of an MLP, the target modules that are searched."""
    cell = study.cells()[0]
    model, _ = cache.load(study.config(study.trials(cell, study.reference, study.candidates()[:1], 1)))
    try:
        return all(target_layers(model, (family,)) for family in (ATTENTION, MLP))
    except ValueError:
        return False


def checked_search(names: Sequence[str]) -> tuple[str, ...]:
    """Return choices to search, in the order in which they matter.

    Raises:
        ValueError: one is unknown.
    """
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise ValueError(f"search must be a list of choices, not {names!r}")
    for name in names:
        if not isinstance(name, str) or name not in CHOICES:
            raise ValueError(unknown("choice to search", str(name)[:40], CHOICES))
    return tuple(name for name in CHOICES if name in names)


def lanes_of(study: Study, names: Sequence[str]) -> int:
    """Return the number of lanes of a search."""
    near = len(RATES_NEAR) if len(study.lrs) > 1 else 1
    values = (1 + len(CHOICES[name].others(usual(study)[name])) for name in names)
    return sum(count * (near if number else len(study.lrs)) + LANES_AGAIN for number, count in enumerate(values))


def usual(study: Study) -> dict[str, Any]:
    """Return the value of each choice before the search; as a method is written, and None for a lane's default.

    >>> list(usual(Study(compare=("lora:targets=q_proj+v_proj,alpha=16", "olora"), across={"r": (4,)})).values())
    ['q_proj+v_proj', 100, 16, 4, 16.0, 'constant', 0.0]
    """
    lane, race = lane_of(study.reference), study.race
    return {
        "targets": "+".join(lane.targets or race.targets or ()) or None,
        "steps": race.steps, "batch_size": race.batch_size,
        "r": study.values("r")[0] if "r" in study.across else lane.r, "alpha": lane.alpha,
        "schedule": lane.schedule or plain_schedule(race.schedule), "dropout": lane.dropout,
    }  # fmt: skip


def value_words(name: str, value: Any) -> str:
    """Return the value of a choice in words.

    >>> value_words("targets", None), value_words("targets", "mlp"), value_words("alpha", None), value_words("r", 8)
    ('all linear layers', 'mlp alone', 'alpha = r', 'rank 8')
    >>> value_words("steps", 60), value_words("schedule", "cosine"), value_words("dropout", 0.0)
    ('60 steps', 'schedule cosine', 'dropout 0')
    """
    if name == "targets":
        return "all linear layers" if value in (None, ALL) else f"{value} alone"
    if name == "alpha":
        return f"alpha = {plain(value or 'r')}"
    if name == "steps":
        return counted(value, "step")
    return in_words(name, value)


@dataclass(frozen=True)
class Tried:
    """A value of a choice that the search tried; of each choice one is taken."""

    choice: str
    """One of `CHOICES`."""
    value: Any
    before: Any
    """The value that was taken so far, which is tried again beside the others."""
    lr: float
    """The best of its rates; NaN if it has diverged at each."""
    loss: float
    """On the held-out examples at that rate."""
    gap: float
    """That loss minus the one with the value taken so far, each at its best rate."""
    error: float
    """The standard error of the gap over the held-out examples."""
    is_taken: bool
    seeds: int = 1
    """Seeds over which the loss is averaged; the gap is over as many of the value that was taken so far."""

    @property
    def words(self) -> str:
        """What the value is worth, in words."""
        if not math.isfinite(self.gap):
            return f"{value_words(self.choice, self.value)} has diverged"
        costs = f"{nats(abs(self.gap))} ± {nats(self.error)} {'more' if self.gap > 0 else 'less'}"
        unknown = ", too few examples to tell" if -ERRORS * self.error <= self.gap < 0 else ""
        return f"{value_words(self.choice, self.value)} {costs}{unknown}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values; numbers that are not finite become null."""
        return {**asdict(self), **{name: finite_or_none(getattr(self, name)) for name in NUMBERS}}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Tried:
        """Read what `to_json` has written."""
        numbers: dict[str, Any] = {name: number_or_nan(plain[name]) for name in NUMBERS}
        return cls(**{**plain, **numbers})


NUMBERS = ("lr", "loss", "gap", "error")
"""The fields of `Tried` that are numbers."""


Losses = dict[tuple[Any, float], np.ndarray]
"""By held-out example (n,), of each value and rate; NaN where a run has diverged."""


class RecipeSearch:
    """A search by coordinates: each choice in turn, at several rates, with all that was found before.

    A choice's races have whole schedules, and first one seed. The best of the other values, if its held-out loss is
    lower than that of the one so far, each at its best rate, runs beside that one again at these rates with a second
    seed. It is taken if it is lower by the mean of both, by more than the study's margin and by more than `ERRORS`
    standard errors. These are estimates without a verdict: the comparison that follows has other seeds, and the test
    examples.

    Args:
        folder: of the decision; what has been tried there is kept.
        study: the comparison as it is planned.
        names: what is searched, some of `CHOICES`.
        most: the most lanes of a race.
    """

    def __init__(self, folder: Path, study: Study, names: Sequence[str], most: int) -> None:
        self._folder, self._study, self._names, self._most = folder / SEARCH_FOLDER, study, tuple(names), most
        self.tried: list[Tried] = []
        self.has_ended = not names
        if (self._folder / FOUND).exists():
            record = read_json_object(self._folder / FOUND)
            check_format(record, repr(str(self._folder / FOUND)))
            self.has_ended = bool(record["ended"])
            self.tried = [Tried.of(each) for each in record["tried"]]

    @property
    def kept(self) -> dict[str, Any]:
        """The value of each choice that is taken by now."""
        return usual(self._study) | {each.choice: each.value for each in self.tried if each.is_taken}

    @property
    def rate(self) -> float | None:
        """The best rate so far; None before the first race, or if all have diverged."""
        rates = [each.lr for each in self.tried if each.is_taken and math.isfinite(each.lr)]
        return rates[-1] if rates else None

    @property
    def searched(self) -> tuple[str, ...]:
        """The choices whose races have ended."""
        return tuple(dict.fromkeys(each.choice for each in self.tried))

    @property
    def found(self) -> Study:
        """The comparison with what was found: the starts with it, and the reference as it was before."""
        return found_study(self._study, self.kept)

    def races(
        self,
        goes_on: Callable[[Step], bool],
        has_time: Callable[[], bool],
        progress: Progress | None,
        cache: ModelCache,
    ) -> Iterator[str]:
        """Run the races that are left, and yield each choice when it is made.

        Args:
            goes_on: called after each step; the search is left to be gone on with when it returns False.
            has_time: whether there is time for another choice; if not, the search ends.
        """
        if self.has_ended:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        if not (self._folder / SETUP).exists():
            write_setup(self._study, self._folder)
        for name in self._names[len(self.searched) :]:
            if not has_time():
                break
            tried = self._try(name, goes_on, progress, cache)
            if tried is None:
                return
            self.tried += tried
            self._write()
            yield name
        self.has_ended = True
        self._write()

    def _write(self) -> None:
        record = {"format": FORMAT, "ended": self.has_ended, "tried": [each.to_json() for each in self.tried]}
        write_json(self._folder / FOUND, record)

    def _try(
        self, name: str, goes_on: Callable[[Step], bool], progress: Progress | None, cache: ModelCache
    ) -> list[Tried] | None:
        """Race the values of a choice; None if it was stopped."""
        kept, base = self.kept, math.nan
        values = (kept[name], *CHOICES[name].others(kept[name]))
        rates = self._study.lrs
        if self.rate is not None and len(rates) > 1:
            rates = tuple(rounded(self.rate * factor, RATE_DIGITS) for factor in RATES_NEAR)

        def raced(lanes: list[tuple[Any, float]], seed: int) -> Losses | None:
            nonlocal base
            losses: Losses = {}
            for number, part in enumerate(self._parts(name, lanes)):
                config = self._config([kept | {name: value, "lr": lr} for value, lr in part], seed)
                folder = self._folder / f"{name}-{seed}-{number}"
                with ended_race(Planned(folder, config), goes_on, progress, cache) as race:
                    if race is None:
                        return None
                    base, last = float(race.baseline.loss[0]), runs.read_steps(folder)[-1]
                assert last.eval_examples is not None
                lost = np.array(last.status) == DIVERGED
                by_lane = np.where(lost[:, None], np.nan, last.eval_examples.loss)
                losses |= dict(zip(part, by_lane, strict=True))
            return losses

        first = raced([(value, lr) for value in values for lr in rates], SEED)
        if first is None:
            return None
        tried = judged(name, values, first, self._study.margin, base)
        best = min(tried[1:], key=lambda each: each.loss if math.isfinite(each.loss) else math.inf)
        if not best.gap < 0:
            return tried
        again = [(each.value, each.lr) for each in (tried[0], best)]
        second = raced(again, SEED + 1)
        if second is None:
            return None
        both = {lane: (first[lane] + second[lane]) / 2 for lane in again}
        two = judged(name, [value for value, _ in again], both, self._study.margin, base)
        by_value = {each.value: replace(each, seeds=2) for each in two}
        return [by_value.get(each.value, replace(each, is_taken=False)) for each in tried]

    def _parts(self, name: str, lanes: list[tuple[Any, float]]) -> Iterator[list[tuple[Any, float]]]:
        """Yield the lanes of each race of a choice, with the value and the rate of each."""
        values = dict.fromkeys(value for value, _ in lanes)
        groups = [lanes] if name in OF_METHOD else [[lane for lane in lanes if lane[0] == value] for value in values]
        for of_race in groups:
            each = math.ceil(len(of_race) / math.ceil(len(of_race) / self._most))
            yield from (of_race[at : at + each] for at in range(0, len(of_race), each))

    def _config(self, chosen: Sequence[Mapping[str, Any]], seed: int) -> RaceConfig:
        """Return the race of some lanes of one seed with what is chosen for each."""
        study = self._study
        cell, own = study.cells()[0], _of_length(study, chosen[0])
        own |= {**dict(cell.others), "model": cell.model, "task": cell.task, "eval_every": 0, "test_size": 1}
        own |= {"keep": NONE, "forget": None}  # the comparison alone measures what is forgotten
        lanes = tuple(_lane(study, each, seed) for each in chosen)
        return study.race.replace(**own, lanes=lanes, batches="by-seed")


def judged(name: str, values: Sequence[Any], losses: Losses, margin: float, base: float) -> list[Tried]:
    """Compare the values of a choice with the first of them, each at its best rate.

    Args:
        losses: by held-out example (n,) of each value and rate; NaN where a run has diverged.
        margin: the share of the reduction of the loss that does not matter.
        base: the untrained model's loss.
    """
    best: dict[Any, tuple[float, np.ndarray]] = {}
    for (value, lr), its in losses.items():
        if np.isfinite(its).all() and (value not in best or its.mean() < best[value][1].mean()):
            best[value] = (lr, its)
    nothing = (math.nan, np.array([math.nan]))
    kept = best.get(values[0], nothing)[1]
    least, tried = margin * max(0.0, base - float(kept.mean())), []
    for value in values:
        lr, its = best.get(value, nothing)
        apart = its - kept
        error = float(apart.std(ddof=1)) / math.sqrt(len(apart)) if len(apart) > 1 else math.nan
        tried.append(Tried(name, value, values[0], lr, float(its.mean()), float(apart.mean()), error, is_taken=False))
    lower = [each for each in tried if -each.gap > max(least, ERRORS * each.error)]
    if not np.isfinite(kept).all():  # any other value is better than one that diverges
        lower = [each for each in tried if each.value in best]
    taken = min(lower, key=lambda each: each.loss, default=tried[0])
    return [replace(each, is_taken=each is taken) for each in tried]


def found_study(study: Study, kept: Mapping[str, Any]) -> Study:
    """Return a comparison with what a search has found: its starts with it, and the reference as it was before.

    >>> found = found_study(Study(), usual(Study()) | {"targets": "attention", "steps": 50, "batch_size": 4, "r": 32})
    >>> found.compare, found.race.batch_size, found.race.steps
    (('lora:targets=attention,r=32', 'olora:targets=attention,r=32', 'lora:r=8'), 4, 200)
    """
    before = usual(study)
    changed = {name for name in kept if kept[name] != before[name]}
    if changed - {*OF_METHOD}:
        study = study.changed(_of_length(study, kept))
    own = [name for name in OF_METHOD if name in changed]
    if not own:
        return study
    compare = []
    for method in study.compare:
        possible = [name for name in own if name not in OF_ADAPTER or not lane_of(method).is_dense]
        compare.append(_with_keys(method, {name: kept[name] for name in possible}))
    compare.append(_with_keys(study.reference, {"r": before["r"]} if "r" in own else {}))
    across = {name: values for name, values in study.across.items() if name != "r" or "r" not in own}
    return replace(study, compare=tuple(compare), across=across)


def _of_length(study: Study, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a race of a chosen number of steps, in batches of a chosen size with as many examples."""
    share, size = chosen["steps"] / study.race.steps, chosen["batch_size"]
    counts = {name: getattr(study.race, name) for name in ("steps", "warmup", "eval_every")}
    counts = {name: round(count * share) if isinstance(count, int) else count for name, count in counts.items()}
    return {"batch_size": size, **{name: study.in_batches(count, size) for name, count in counts.items()}}


def _with_keys(method: str, keys: Mapping[str, Any]) -> str:
    """Return a method with more keys, as it is written."""
    more = ",".join(f"{name}={value}" for name, value in keys.items())
    return f"{method}{',' if ':' in method else ':'}{more}" if more else method


def _lane(study: Study, chosen: Mapping[str, Any], seed: int) -> Lane:
    """Return the lane of a study's reference with what is chosen."""
    before, reference = usual(study), study.reference
    keys = {name: chosen[name] for name in OF_METHOD if chosen[name] != before[name]}
    rank = {"r": before["r"]} if "r" in study.across else {}
    return lane_of(_with_keys(reference, rank | keys)).replace(lr=chosen["lr"], seed=seed, label=None)


def planned_study(folder: Path) -> Study:
    """Return the comparison of a decision's folder as it was planned, before its search."""
    before = folder / SEARCH_FOLDER
    return read_setup(Study, before if (before / SETUP).exists() else folder)


def search_words(tried: Sequence[Tried]) -> str:
    """Say what a search has found; empty if nothing has ended.

    >>> losses = {(None, 1e-3): np.array([0.2, 0.4]), ("attention", 3e-3): np.array([0.4, 0.6])}
    >>> search_words(judged("targets", (None, "attention"), losses, margin=0.02, base=2.0))
    'Search, by held-out loss: all linear layers (attention alone 0.20 ± 0.00 more).'
    """
    parts = []
    for name in dict.fromkeys(each.choice for each in tried):
        own = [each for each in tried if each.choice == name]
        (taken,) = (each for each in own if each.is_taken)
        beside = "; ".join(each.words for each in own if each.value != each.before)
        instead = f", not {value_words(name, taken.before)}" if taken.value != taken.before else ""
        parts.append(f"{value_words(name, taken.value)}{instead} ({beside})")
    return f"Search, by held-out loss: {', '.join(parts)}." if parts else ""


def not_searched_words(study: Study, searched: Sequence[str]) -> str:
    """Say what was not searched, with the values that are used instead; empty if all was.

    >>> not_searched_words(Study(), ["targets", "batch_size", "alpha"])
    'Not searched: 100 steps, rank 8, schedule constant and dropout 0.'
    """
    values = usual(study)
    rest = [value_words(name, values[name]) for name in CHOICES if name not in searched]
    return f"Not searched: {and_(rest)}." if rest else ""

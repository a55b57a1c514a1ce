"""Deciding within a time limit: which recipe to take, with its initialization and rate."""

from __future__ import annotations

import shutil
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from olora_viz.lanes.groups import is_small
from olora_viz.machine.checks import expect, unknown
from olora_viz.machine.files import FORMAT, atomic_folder, check_format, read_json_object, write_json, write_text
from olora_viz.machine.process import Progress
from olora_viz.machine.wording import and_
from olora_viz.races import run as runs
from olora_viz.races.config import RaceConfig
from olora_viz.races.data import ModelCache, task_of
from olora_viz.races.merge_cost import READ_EXAMPLES, MergeCost, merge_cost
from olora_viz.races.recipe_files import FILES, recipe_files
from olora_viz.races.step import Step
from olora_viz.studies.budget import EVALUATIONS, Plan, plan_for
from olora_viz.studies.folder import Ledger
from olora_viz.studies.method import METHODS, methods_of
from olora_viz.studies.power import seeds_to_settle
from olora_viz.studies.preregistration import DECISION, SETUP, write_setup
from olora_viz.studies.recipe_search import (
    RecipeSearch,
    Tried,
    checked_search,
    has_families,
    planned_study,
    search_words,
    searchable,
)
from olora_viz.studies.recommendation import Recommendation, nothing_fits, recommend
from olora_viz.studies.run import Planned, Watch, run_ledger, run_race
from olora_viz.studies.statistics import ERROR, LEAST_EXAMPLES, LEAST_SEEDS, LEVEL, UNDECIDED
from olora_viz.studies.study import OF_RACE, Study, Trial
from olora_viz.studies.verdicts import Verdict, Verdicts

PLANNED = (
    "seconds", "final", "most", "left_out", "data", "train", "step", "alone", "search", "unsearched", "searching",
)  # fmt: skip
"""The parts of a plan beside its study, which is in a file of its own, and the time limit."""

RECIPE_FOLDER = "recipe"
"""The folder, in that of a decision, with the recipe of what is taken for PEFT and other tools."""

FEW_EXAMPLES = 16
"""Examples on which a merge is compared, of a model that the caches do not hold: each is read 14 times, after the time
limit."""

OWN_PROMPTS = 6
"""Number of the user's own prompts that are answered before and after training."""

BEYOND_DOUBT = 0.001
"""A p-value with which more seeds end before the time limit."""

MOST_EXAMPLES = 1000
"""Held-out and test examples of a task that are evaluated, at most."""

SEARCH, COARSE, SEEDS, FINAL, DONE = "search", "coarse rates", "all seeds", "final adapter", "done"
"""The stages of a decision."""


@dataclass(frozen=True)
class Decision:
    """What is known at some moment on the way.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> import olora_viz as ov
        >>> with TemporaryDirectory() as folder:
        ...     deciding = ov.decide(f"{folder}/a", compare=["olora"], steps=2, eval_size=20)
        ...     known = next(deciding)  # the plan; what follows trains
        ...     deciding.close()
        >>> known.lanes, known.taken, known.adapter
        (0, None, None)
        >>> print(known.sentence)
        No race has ended yet: nothing is known.
    """

    folder: Path
    plan: Plan
    stage: str
    """One of `SEARCH`, `COARSE`, `SEEDS`, `FINAL` and `DONE`: what runs next."""
    verdicts: Verdicts
    """Of the seeds that every method has finished."""
    taken: Recommendation | None
    """What to take by now; None if nothing has finished."""
    lanes: int
    seconds: float
    """Spent so far."""
    adapter: Path | None = None
    """The final adapter in PEFT's format; None before the end, or if there was no time for it."""
    answers: tuple[Mapping[str, str], ...] = ()
    """Own prompts with the expected answer, and those of the base model and the adapter."""
    tried: tuple[Tried, ...] = ()
    """What the search before the comparison has tried."""
    merge: MergeCost | None = None
    """What merging the final adapter into its model costs; None if it was not measured."""

    @property
    def recipe(self) -> dict[str, str]:
        """The text of each file of the recipe, by name, see `FILES`; empty while there is nothing to take."""
        files = [self.folder / RECIPE_FOLDER / name for name in FILES] if self.taken else []
        return {file.name: file.read_text("utf-8") for file in files if file.is_file()}

    @property
    def sentence(self) -> str:
        """The recommendation, or why there is none."""
        if self.taken:
            words = self.taken.sentence
        elif not (words := nothing_fits(self.verdicts)):
            return search_words(self.tried) or "No race has ended yet: nothing is known."
        return " ".join(filter(None, (words, search_words(self.tried), self.plan.seen)))

    def _repr_html_(self) -> str:
        return Markup("<p>{}</p>").format(self.sentence)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        nothing: dict[str, Any] = dict.fromkeys(("method", "init", "r", "lr", "test_loss", "interval", "verdict"))
        taken = self.taken.to_json() if self.taken else nothing
        said: dict[str, Any] = {"sentence": self.sentence, **self.plan.seen_json()}
        said["searched"] = [each.to_json() for each in self.tried]
        said |= {"adapter": str(self.adapter) if self.adapter else None}
        return taken | said | {"merge": self.merge.to_json() if self.merge else None}


def decide(
    out: str | Path,
    *,
    minutes: float = 20.0,
    model: str | None = None,
    task: str | None = None,
    compare: Sequence[str] | None = None,
    search: Sequence[str] | None = None,
    plan: Plan | None = None,
    evaluations: int = EVALUATIONS,
    watch: Watch | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Generator[Decision, None, None]:
    """Decide which recipe to take for a model and a task: target modules, batch size, rank, alpha, start and rate.

    Where there is time, the choices that matter most are searched first, one after the other, with one seed or two and
    by the held-out loss alone, see `RecipeSearch`. Then starts with what was found are compared, and with what was
    there before, with other seeds and on the test examples.

    Yields what is known: first the plan, then after every race, and last with the final adapter.
    An earlier decision's folder is gone on with as it was planned, for as many minutes again.

    Args:
        out: a folder, new or of an earlier decision.
        minutes: the time limit; the final adapter, once begun, is trained to its end.
        model, task: names or paths; those of the folder, or the built-in ones by default.
        compare: the methods, beside LoRA; by default `METHODS`, as far as there is time.
        search: what is searched, some of ``targets``, ``batch_size``, ``r`` and ``alpha``; by default all that are not
            given otherwise, as far as there is time.
        plan: used instead of one that is measured here, or found in the folder.
        evaluations: of each run of a new plan at most, evenly spaced; the last is at its end, and the one before
            tells whether the loss still falls.
        watch: called with every step; it ends here, without an adapter, when this returns False.
        settings: ``lr`` and ``r``, a number or several, and other fields of `Study` and of its race; those that are
            usually planned, such as ``lr``, ``seeds``, ``steps`` and ``batch_size``, are then as given.

    Raises:
        ValueError: an unknown name, an invalid value, or the folder is of another set-up.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> import olora_viz as ov
        >>> with TemporaryDirectory() as folder:
        ...     deciding = ov.decide(f"{folder}/a", compare=["olora"], steps=2, eval_size=20)
        ...     known = next(deciding)  # the plan; what follows trains
        ...     deciding.close()
        >>> known.plan.study.compare, known.stage
        (('lora', 'olora'), 'search')
    """
    expect(out, (str, Path), "the folder of the decision")
    end = time.monotonic() + 60 * checked_minutes(minutes)
    if type(evaluations) is not int or evaluations < 1:
        raise ValueError(f"evaluations must be a whole number, at least 1, not {evaluations!r}")
    folder, cache = Path(out), ModelCache()
    given = settings | {"model": model, "task": task, "compare": compare and methods_of(compare)}
    given = {name: value for name, value in given.items() if value is not None}
    for name in given:
        if name not in GIVEN:
            raise ValueError(unknown("setting", name, GIVEN))
    searched = None if search is None else checked_search(search)
    if plan is None and (folder / SETUP).exists():
        plan = _earlier(folder, given, minutes, searched)
    elif plan is None:
        plan = _new(folder, given, minutes, progress, cache, evaluations, searched)
    run = _DecisionRun(folder, plan, end, watch, progress, cache)
    yield run.known()
    yield from run.search()
    yield from run.races()
    yield from run.more()
    yield from run.final()


def checked_minutes(minutes: float) -> float:
    """Return a time limit.

    Raises:
        ValueError: it is not a number from 0.1 to 10,000.
    """
    fits = isinstance(minutes, int | float) and not isinstance(minutes, bool)
    if not fits or not 0.1 <= minutes <= 10_000:
        raise ValueError(f"minutes must be a number from 0.1 to 10000, not {minutes!r}")
    return float(minutes)


class _DecisionRun:
    """A decision as it runs.

    Args:
        end: the time limit, by the monotonic clock.
    """

    def __init__(
        self, folder: Path, plan: Plan, end: float, watch: Watch | None, progress: Progress | None, cache: ModelCache
    ) -> None:
        self._folder, self._plan, self._end = folder, plan, end
        self._watch, self._progress, self._cache = watch, progress, cache
        planned = planned_study(folder) if (folder / SETUP).exists() else plan.study
        planned = planned.changed({"metric": plan.study.race.metric})
        self._search = RecipeSearch(folder, planned, plan.search, plan.most)
        self._compare(self._search.found)
        self._is_ended = False
        """Whether the watcher ended it before its time."""
        self._recipe: tuple[RaceConfig, str] | None = None
        """The race whose recipe is in the folder, and why it is taken."""

    def _compare(self, study: Study) -> None:
        """Set up the comparison, as the search leaves it; until the search has ended nothing of it has run."""
        self._plan = replace(self._plan, study=study)
        if (self._folder / SETUP).exists() and not any((self._folder / "runs").glob("*")):
            write_setup(study, self._folder)
        self._ledger = Ledger(self._folder, study)

    def known(self, stage: str = "") -> Decision:
        """Return what is known by now."""
        losses, study, verdicts = self._ledger.losses(), self._plan.study, self._ledger.verdicts()
        coarse = len(losses) < sum(len(study.candidates(method)) for method in study.compare) * study.first_seeds
        now = SEARCH if not self._search.has_ended else COARSE if coarse else SEEDS
        return Decision(
            folder=self._folder, plan=self._plan, stage=stage or now, tried=tuple(self._search.tried),
            verdicts=verdicts, taken=recommend(verdicts, self._plan.epochs), lanes=len(losses),
            seconds=60 * self._plan.minutes - (self._end - time.monotonic()),
        )  # fmt: skip

    def search(self) -> Iterator[Decision]:
        """Search the choices that come before the comparison, as far as the time is not planned for that."""
        self._ledger.open()
        self._written(self.known())  # so that whoever is killed in the first race goes on as planned
        compared = self._plan.seconds - self._plan.searching
        more = self._search.races(
            self._goes_on, lambda: time.monotonic() < self._end - compared, self._progress, self._cache
        )
        for _ in more:
            self._compare(self._search.found)
            yield self._written(self.known())

    def races(self) -> Iterator[Decision]:
        """Run the study until its end, the time limit less the final adapter, or the watcher's."""
        if not self._search.has_ended:
            return
        running = run_ledger(
            self._ledger, most=self._plan.most, watch=self._goes_on, progress=self._progress, cache=self._cache
        )
        with closing(running):
            for _ in running:
                yield self._written(self.known())
                if self._is_over:
                    break

    def more(self) -> Iterator[Decision]:
        """Spend the time that is left on what is open, one race after another.

        A race that the time limit cuts off counts for nothing, until the decision goes on.
        """
        study = self._plan.study
        while self._search.has_ended and not (self._is_ended or self._is_over or self._ledger.needed()):
            trials = open_trials(self._ledger.verdicts())
            if not trials:
                return
            (folder,) = self._ledger.new_runs(1)
            race = Planned(folder, study.config(trials))
            self._ledger.check_definitions(race.config)
            if not run_race(race, study.threads, self._goes_on, self._progress, self._cache):
                return
            yield self._written(self.known())

    def _goes_on(self, step: Step) -> bool:
        """Watch a race until the time limit less the final adapter, or the watcher's end."""
        self._is_ended = self._watch is not None and not self._watch(step)
        return not self._is_ended and not self._is_over

    @property
    def _is_over(self) -> bool:
        return time.monotonic() >= self._end - self._plan.final

    def final(self) -> Iterator[Decision]:
        """Train the adapter that is taken; yield what is known before and after."""
        known = self.known("" if self._is_ended else DONE)
        if known.taken is None or self._is_ended:
            yield self._written(known)
            return
        yield self._written(replace(known, stage=FINAL))
        config, run_folder = self._config_of(known.taken.method), self._folder / "final"
        self._ledger.check_definitions(config)
        if runs.has_begun(run_folder) and runs.read_config(run_folder) == config:
            run = runs.resume_run(run_folder, progress=self._progress, cache=self._cache)
        else:
            shutil.rmtree(run_folder, ignore_errors=True)
            run = runs.start(config, run_folder, progress=self._progress, cache=self._cache)
        with closing(iter(run)) as steps:
            # Time is kept for it. Where that was not enough, a late adapter is better than none.
            is_whole = all(self._watch is None or self._watch(step) for step in steps)
        is_whole |= run.race.done == config.steps
        answers = run.race.answers(OWN_PROMPTS) if is_whole else []
        merge = None
        with suppress(ValueError):  # it has diverged, or there is no memory for a copy of the model
            read = READ_EXAMPLES if is_small(run.race.lanes.plan) else FEW_EXAMPLES
            merge = merge_cost(run.race, 0, read) if is_whole else None
        run.race.lanes.detach()
        known = self.known(DONE if is_whole else FINAL)
        trained, adapter = run_folder / "adapters" / config.labels[0], self._folder / "adapter"
        if is_whole and trained.is_dir():
            with atomic_folder(adapter) as copy:
                for file in trained.iterdir():
                    shutil.copyfile(file, copy / file.name)
            texts = tuple(
                {"prompt": answer.prompt, "expected": answer.expected, "base": answer.base, "adapter": answer.lanes[0]}
                for answer in answers
            )
            known = replace(known, adapter=adapter, answers=texts, merge=merge)
        yield self._written(known)

    def _written(self, known: Decision) -> Decision:
        """Write what is known into the folder, beside the verdicts that it follows from."""
        if known.verdicts.rows:
            self._ledger.finish()
        plan = {name: getattr(self._plan, name) for name in PLANNED}
        record = {"format": FORMAT, "plan": plan, "decision": known.to_json(), "answers": list(known.answers)}
        write_json(self._folder / DECISION, record)
        self._write_recipe(known)
        return known

    def _config_of(self, taken: Verdict) -> RaceConfig:
        """Return the race of the adapter that is taken."""
        assert taken.best is not None
        return self._plan.study.config(tuple(self._plan.study.trials(taken.cell, taken.method, [taken.best], 1)))

    def _write_recipe(self, known: Decision) -> None:
        """Write the recipe of what is taken, so that it is there however the decision ends."""
        if known.taken is None:
            return
        config, why = recipe = self._config_of(known.taken.method), known.taken.headline
        if recipe == self._recipe:
            return
        with atomic_folder(self._folder / RECIPE_FOLDER) as folder:
            for name, text in recipe_files(config, task_of(config), *self._cache.load(config), why).items():
                write_text(folder / name, text)
        self._recipe = recipe


def open_trials(verdicts: Verdicts) -> list[Trial]:
    """Return the next runs that may settle a decision: none if it is settled, or cannot be.

    They are of the method with the lowest validation loss among those that are open, and of the reference: the seeds
    that are lacking at rates that the validation results cannot tell from the best ones; or else one more seed at
    every rate that has run with all so far. To drop rates that fell behind would keep the lucky ones. A method is open
    if it is undecided, unless its best rate lies at the edge, or more seeds would not help. Once it has more seeds
    than planned, it stays open until it is level or beyond doubt.
    """
    study = verdicts.study
    opened = [each for each in verdicts.each if each.method != study.reference and _is_open(study, each)]
    for method in sorted(opened, key=lambda each: each.valid_loss):
        pair = [verdicts.runs[method.cell, name] for name in (method.method, study.reference)]
        chosen = [each.chosen for each in pair if each.chosen and each.is_inside]
        if len(chosen) < 2:
            continue
        gap, others = method.difference, len(study.compare) - 1
        if method.p_value >= ERROR and not seeds_to_settle(gap.gap, gap.over_seeds, method.margin, others):
            continue
        seeds = min(each.seeds for each in chosen)
        alike = [(each.method, rate) for each in pair for rate in each.like_best]
        whole = [(each.method, rate) for each in pair for rate in each.rates if len(rate.valid) >= seeds]
        for rates, least in ((alike, seeds), (whole, seeds + 1)):
            lacking = [
                Trial(method.cell, compared, rate.at.lr, seed, rate.at.tuned)
                for compared, rate in rates
                for seed in range(len(rate.valid), least)
            ]
            if lacking:
                return lacking
    return []


def _is_open(study: Study, method: Verdict) -> bool:
    if method.seeds < LEAST_SEEDS or method.test_examples < LEAST_EXAMPLES:
        return False
    extended = method.seeds > study.seeds and method.verdict != LEVEL and method.p_value >= BEYOND_DOUBT
    return method.verdict == UNDECIDED or extended


def _new(
    folder: Path,
    given: Mapping[str, Any],
    minutes: float,
    progress: Progress | None,
    cache: ModelCache,
    evaluations: int,
    search: tuple[str, ...] | None,
) -> Plan:
    """Plan a new decision."""
    study = asked_study(given)
    Ledger(folder, study)  # it refuses a folder that holds something else
    searched = searchable(study, tuple(given) if search is None else ())
    if search is not None:
        if own := [name for name in search if name not in searched]:
            raise ValueError(f"{own[0]} is a part of what is compared, and cannot be searched as well")
        if "r" in search and len(study.values("r")) > 1:
            raise ValueError("r has several values, which are compared, and cannot be searched as well")
        searched = search
    plan = plan_for(study, minutes, given, progress, cache, evaluations, searched)
    if "targets" in plan.search and not has_families(plan.study, cache):
        searched = tuple(name for name in searched if name != "targets")
        plan = plan_for(study, minutes, given, progress, cache, evaluations, searched)
    return replace(plan, study=plan.study.fixed())


GIVEN = ("compare", "lr", "r", "seeds", "coarse", "margin", "threads", *(each for each in OF_RACE if each != "epochs"))
"""What may be given to a decision, which plans its steps: of the study, and of its race."""


def asked_study(given: Mapping[str, Any]) -> Study:
    """Return what a new decision is asked for, some of `GIVEN`, before it is planned."""
    usual: dict[str, Any] = {
        "seeds": LEAST_SEEDS, "eval_size": MOST_EXAMPLES, "test_size": MOST_EXAMPLES,
    }  # fmt: skip
    return _asked(Study(), {**usual, **given, "compare": methods_of(given.get("compare", METHODS))})


def _asked(study: Study, given: Mapping[str, Any]) -> Study:
    """Return a study with what is given, some of `GIVEN`."""
    race = {name: value for name, value in given.items() if name in OF_RACE}
    own = {name: value for name, value in given.items() if name not in {*OF_RACE, "lr", "r"}}
    across, tune = ({name: given[name]} if name in given else {} for name in ("r", "lr"))
    return study.changed(race, across, tune, **own)


def _earlier(folder: Path, given: Mapping[str, Any], minutes: float, search: tuple[str, ...] | None) -> Plan:
    """Return the plan of a folder, in which what is given must be as it was.

    Raises:
        ValueError: a setting differs, or the folder is of a study.
    """
    study = planned_study(folder)
    if not (folder / DECISION).exists():
        raise ValueError(f"{str(folder)!r} is the folder of a study, not of a decision")
    before_all, now_all = study.settings(), _asked(study, given).settings()
    for name in given:
        if (before := before_all[name]) != (now := now_all[name]):
            raise ValueError(f"{name} is {before!r} in {str(folder)!r}, but {now!r} here: use another folder")
    study = study.changed({"metric": given.get("metric", study.race.metric)})  # of a function the folder has the name
    record = read_json_object(folder / DECISION)
    check_format(record, repr(str(folder / DECISION)))
    plan = record["plan"]
    lists = {name: tuple(plan.get(name, ())) for name in ("left_out", "search", "unsearched")}
    planned = lists["search"]
    if search is not None and not {*planned} <= {*search}:
        raise ValueError(f"{str(folder)!r} searches {and_(planned)}: use another folder")
    return Plan(study, minutes, **plan | lists)

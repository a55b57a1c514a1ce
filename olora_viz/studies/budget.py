"""A study that fits a number of minutes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from olora_viz.lanes.lane import MAX_LANES
from olora_viz.machine.process import Progress
from olora_viz.machine.wording import about, and_, counted, duration, rounded
from olora_viz.races.config import RaceConfig
from olora_viz.races.data import ModelCache, task_of
from olora_viz.studies.method import method_name, noun
from olora_viz.studies.recipe_search import BATCH_SIZES, CHOICES, OF_METHOD, lanes_of, not_searched_words
from olora_viz.studies.search import most_trials
from olora_viz.studies.statistics import LEAST_EXAMPLES
from olora_viz.studies.study import Study, Trial
from olora_viz.studies.timing import TIMED_LANES, Timing, smallest_found, timing_of
from olora_viz.tasks.batches import Epochs
from olora_viz.tasks.task import HELD_OUT_SHARE

COARSE_RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
"""The rates of the coarse pass: wide, since a method's best may be 18 times below LoRA's ("Learning Rate Matters",
2026, arXiv 2602.04998)."""

LEAST_STEPS, MOST_STEPS = 5, 200
"""Steps of a lane."""

PLANNED_SHARE = 0.75
"""The share of the time that is planned; rates beyond the edges take the rest."""

FEW_STEPS = 10
"""Steps below which a lane is not trained in favour of evaluating all examples."""

EVALUATION = 0.4
"""Maximum share of a lane's time for its evaluation, where there is no time for all examples."""

FINAL_SHARE = 0.25
"""Maximum share of the time that is kept for the final adapter."""

LATE = 1.5
"""The time kept for the final adapter, as a multiple of the expected: nothing comes after it."""

EVALUATIONS = 2
"""Of each run of a decision at most: the one before the end tells whether the loss still falls."""

BASE = 1
"""The base model's own results, which are computed once, take no longer than a lane."""

FAST = 0.1
"""Below so many seconds a step of a lane is timed again among `TIMED_LANES` lanes, as it is raced: of a small model,
two lanes take almost as long as eight."""

STEP_SECONDS = 5.0
"""About the longest step of a race, after which the time limit is looked at."""

RACES = 5
"""About the most races of a study: enough to see something early."""

RACES_OF_CHOICE = 2
"""Races of a choice that is searched: of its values, and of two of them with a second seed."""

SETUPS = 0.15
"""Maximum share of the time for setting up races."""


class Effort(NamedTuple):
    """How thoroughly methods are compared, if there is time for so many steps."""

    seeds: int
    coarse: int
    lrs: tuple[float, ...]
    steps: int


EFFORTS = (
    Effort(8, 2, COARSE_RATES, 150),
    Effort(5, 1, COARSE_RATES, 60),
    Effort(3, 1, COARSE_RATES, 40),
    Effort(3, 1, COARSE_RATES[1:], 25),
)
"""The first that fits is taken."""


@dataclass(frozen=True)
class Plan:
    """A study made for a time limit."""

    study: Study
    minutes: float
    seconds: float
    """Expected, of all races and the final adapter."""
    final: float
    """Of these, for the final adapter, seconds."""
    most: int
    left_out: tuple[str, ...] = ()
    """Methods for which there is no time."""
    data: str = ""
    """The number of examples in each part, in words."""
    train: int = 0
    """Number of training examples; 0 if unknown."""
    step: float = 0.0
    """Seconds that a step takes a lane beside others, as timed on the first steps."""
    alone: float = 0.0
    """The same of a lane alone, at most."""
    search: tuple[str, ...] = ()
    """What is searched before, some of `CHOICES`."""
    unsearched: tuple[str, ...] = ()
    """Those for which there is no time."""
    searching: float = 0.0
    """Of the expected seconds, those of the search."""

    @property
    def epochs(self) -> Epochs:
        """How much a lane sees of the training rows."""
        return Epochs(self.study.race.steps * self.study.race.batch_size, self.train)

    @property
    def epoch_seconds(self) -> tuple[float, float]:
        """What training for an epoch takes a lane alone, at most, and all lanes of the plan in their races."""
        steps = self.train / self.study.race.batch_size
        return steps * self.alone, steps * self.step * self.lanes

    @property
    def seen(self) -> str:
        """How much of the training rows a lane sees, and what an epoch takes here, in words; empty if unknown."""
        if not self.train:
            return ""
        alone, together = (about(max(1.0, took)) for took in self.epoch_seconds)
        return (
            f"A lane sees {self.epochs.words}. As timed here, training for an epoch takes a lane alone at most "
            f"{alone}, and all {self.lanes} lanes about {together}."
        )

    def seen_json(self) -> dict[str, float | None]:
        """Return the same as plain values; null where it is unknown."""
        epochs, rows, (alone, together) = self.epochs, self.train, self.epoch_seconds
        known = {
            "epochs": rounded(epochs.number, 4), "rows_seen": min(epochs.prompts, rows), "training_rows": rows,
            "epoch_minutes_alone": rounded(alone / 60, 3), "epoch_minutes_all_lanes": rounded(together / 60, 3),
        }  # fmt: skip
        return {name: value if rows else None for name, value in known.items()}

    def to_json(self) -> dict[str, Any]:
        """Return what is planned as plain values."""
        study = self.study
        return {
            "compare": list(study.compare), "left_out": list(self.left_out), "lr": list(study.lrs),
            "seeds": study.seeds, "steps": study.race.steps, "batch_size": study.race.batch_size,
            "lanes": self.lanes, "minutes": self.minutes,
            "search": list(self.search), "unsearched": list(self.unsearched),
            "expected_minutes": rounded(self.seconds / 60, 3), **self.seen_json(),
        }  # fmt: skip

    @property
    def fits(self) -> bool:
        """Whether it takes no longer than the time limit."""
        return self.seconds <= 60 * self.minutes

    @property
    def too_long(self) -> str:
        """What to change where it does not fit."""
        return (
            f"even the smallest plan takes about {about(self.seconds)}, and the limit is "
            f"{duration(60 * self.minutes)}: allow about {about(self.seconds / PLANNED_SHARE)}, or take a smaller "
            "model or shorter examples"
        )

    @property
    def lanes(self) -> int:
        """The number of lanes, if no best rate lies at the edge of the rates."""
        return most_trials(self.study)

    @property
    def each(self) -> int:
        """The lanes of each method: all get the same number."""
        return self.lanes // len(self.study.compare) // len(self.study.cells())

    @property
    def words(self) -> list[str]:
        """The plan, a sentence each."""
        study = self.study
        finals, kind = len(study.lrs) > 1, noun(study.compare)
        sentences = [
            f"{len(study.compare)} {kind}s ({', '.join(map(method_name, study.compare))}), "
            f"{counted(self.each, 'lane')} each: {counted(len(study.lrs), 'rate')} with "
            f"{counted(study.first_seeds, 'seed')}, then {counted(study.seeds, 'seed')} at each {kind}'s best "
            f"rate{' and half a step on both sides' * finals}. Time that is left goes to what is still open.",
            f"{self.lanes} lanes of {study.race.steps} steps of {study.race.batch_size} prompts: about "
            f"{about(self.seconds)} of {duration(self.minutes * 60)}. More, if a best rate lies at the edge of "
            "the rates.",
        ]
        if self.search:
            searched = [CHOICES[name].words for name in self.search]
            sentences.insert(
                0,
                f"A search first, of {and_(searched)}: {counted(lanes_of(study, self.search), 'lane')} with one seed "
                "or two, judged by the held-out loss alone. What it finds is compared with other seeds on the test.",
            )
        sentences += filter(None, (not_searched_words(study, self.search), self.seen, self.data))
        if self.unsearched:
            more = lanes_of(study, self.unsearched) * study.race.steps * self.step
            names = and_([CHOICES[name].words for name in self.unsearched])
            sentences.append(
                f"There is no time to search {names}: that takes {about(max(1.0, more / PLANNED_SHARE))} more."
            )
        if self.left_out:
            sentences.append(f"There is no time for {', '.join(map(method_name, self.left_out))}.")
        if not self.fits:
            sentences.append(
                f"This does not fit: at the end of {duration(self.minutes * 60)} it stops with the best answer so far."
            )
        difference = smallest_found(study)
        return [*sentences, f"{difference[0].upper()}{difference[1:]}."]


def plan_for(
    study: Study,
    minutes: float,
    fixed: Collection[str] = (),
    progress: Progress | None = None,
    cache: ModelCache | None = None,
    evaluations: int = 1,
    search: tuple[str, ...] = (),
) -> Plan:
    """Measure the pace of a study's races, and make it fit the time.

    Args:
        study: its model, task, methods and all settings that are not planned.
        minutes: in which it should end, with the final adapter.
        fixed: names of settings that stay as they are: some of ``compare``, ``lr``, ``seeds``, ``coarse``, ``steps``,
            ``batch_size`` and ``eval_every``.
        evaluations: of each run at most, evenly spaced; the last one is at its end.
        search: what is searched before, if there is time; the last ones are left out where it is short.

    Raises:
        ValueError: the race cannot be set up, there are too few test examples for any verdict, or even the smallest
            plan takes longer than the limit.
    """
    began = time.monotonic()
    _check_tested(study, len(task_of(first_race(study)).test))

    def timed(sized: Study) -> tuple[Timing, float]:
        timing = _timing_of(sized, progress, cache or ModelCache())
        _check_tested(sized, timing.test)
        return timing, 60 * minutes - (time.monotonic() - began)

    plan = planned(study, minutes, timed, fixed, evaluations, search)
    if not plan.fits:
        raise ValueError(plan.too_long)
    return plan


def first_race(study: Study) -> RaceConfig:
    """Return a race of one lane, of the reference."""
    return study.config([next(study.trials(study.cells()[0], study.reference, study.candidates(study.reference)))])


def planned(
    study: Study,
    minutes: float,
    timed: Callable[[Study], tuple[Timing, float]],
    fixed: Collection[str] = (),
    evaluations: int = 1,
    search: tuple[str, ...] = (),
) -> Plan:
    """Return the plan of a study with the number of prompts per step that suits its pace, whether it fits or not.

    Args:
        timed: returns the pace of the study's races, and the seconds that are left for them.
        minutes, fixed, evaluations, search: see `plan_for`.
    """
    plan = None
    for rows in (study.race.batch_size,) if "batch_size" in fixed else BATCH_SIZES:
        sized = study.changed({"batch_size": rows})
        next_plan = fitted(sized, *timed(sized), minutes, fixed, evaluations, search)
        if plan is None or next_plan.study.race.steps >= plan.study.race.steps / 2 >= EFFORTS[1].steps / 2:
            plan = next_plan
        if plan.study.race.steps < MOST_STEPS / 2:
            break
    assert plan is not None
    return plan


def _check_tested(study: Study, examples: int) -> None:
    """Check that there are enough test examples for a verdict, as far as the task has them.

    Raises:
        ValueError: there are not; the message says how many are missing.
    """
    if study.race.test_size < LEAST_EXAMPLES:
        raise ValueError(
            f"test_size is {study.race.test_size}, and a verdict needs at least {LEAST_EXAMPLES} test examples"
        )
    if missing := lacking(examples, of_file=study.race.test is not None):
        name = study.race.test or study.values("task")[0]
        raise ValueError(f"{name!r} has {counted(examples, 'test example')}, and {missing}")


def lacking(examples: int, *, of_file: bool = False) -> str:
    """Say how many test examples a verdict lacks; empty for none.

    Args:
        of_file: whether they are those of a separate file, and no share of the rows.

    >>> lacking(18), lacking(19, of_file=True), lacking(20)
    ('a verdict needs at least 20: 2 are missing, or about 20 more rows, of which a tenth is the test', \
'a verdict needs at least 20: 1 is missing', '')
    """
    missing = LEAST_EXAMPLES - examples
    if missing <= 0:
        return ""
    rows = f", or about {missing / HELD_OUT_SHARE:.0f} more rows, of which a tenth is the test" * (not of_file)
    return f"a verdict needs at least {LEAST_EXAMPLES}: {missing} {'is' if missing == 1 else 'are'} missing{rows}"


def _timing_of(study: Study, progress: Progress | None, cache: ModelCache) -> Timing:
    """Time a race of two lanes, which is enough for a slow model, or else one of many."""

    def timed(lanes: int) -> Timing:
        cell, methods = study.cells()[0], study.compare[:2]
        trials = [Trial(cell, method, 1e-3, seed) for seed in range(lanes // 2) for method in methods]
        return timing_of(study.config(trials), progress, cache=cache)

    of_two = timed(2)
    return replace(timed(TIMED_LANES) if of_two.step < FAST else of_two, alone=2 * of_two.step)


def fitted(
    study: Study,
    timing: Timing,
    left: float,
    minutes: float,
    fixed: Collection[str] = (),
    evaluations: int = 1,
    search: tuple[str, ...] = (),
) -> Plan:
    """Return the most thorough plan that fits.

    All validation examples choose the rates, and all test examples judge, unless even the plan of the fewest methods
    and seeds had no time to train then.

    Args:
        left: seconds for races and the final adapter.
        minutes, fixed, evaluations, search: see `plan_for`.
    """
    plan, data = None, [timing.data] * bool(timing.data)
    if search and timing.held_out < LEAST_EXAMPLES:
        search = ()
        data.append(f"Nothing is searched: {counted(timing.held_out, 'held-out example')} cannot tell values apart.")
    for sized, wanted, reads_all, searched in _candidates(study, fixed, search):
        # Of two, the one before the end only tells whether the loss still falls: where time is short, there is none.
        looks = 1 if evaluations == 2 and not reads_all else evaluations
        count = most_trials(sized) + len(sized.compare) * len(sized.cells()) * sized.first_seeds
        before = lanes_of(sized, searched)
        # What the search finds is compared with what was there before: one method more.
        more = count / len(sized.compare) * bool({*searched} & {*OF_METHOD})
        most = _most(len(sized.compare), timing, count, left)
        setups = timing.setup * (math.ceil(count / most) + RACES_OF_CHOICE * len(searched))
        each = max(0.0, PLANNED_SHARE * left - setups) / (BASE + count + more + before + LATE)
        many = math.inf if reads_all else each * EVALUATION / max(timing.example, 1e-9)
        held_out, test = _examples(timing, many, looks)
        read = looks * held_out + test
        fit = min(MOST_STEPS, _at_most(each - timing.example * read, timing.step))
        steps = study.race.steps if "steps" in fixed else max(LEAST_STEPS, fit)
        sees_all = steps * sized.race.batch_size >= timing.train  # otherwise fewer steps gain nothing
        possible = search if sees_all else _without_steps(search)
        if fit < (steps if wanted and "steps" in fixed else wanted) or not {*searched} <= {*possible}:
            continue
        between = 0 if looks == 1 else math.ceil(steps / looks)
        between = study.race.eval_every if "eval_every" in fixed else between
        sized = sized.changed({"steps": steps, "eval_every": between, "eval_size": held_out, "test_size": test})
        lanes, of_lane = most_trials(sized), timing.of_lane(sized.race.steps, read)
        base = timing.example * (held_out + test)
        searching = timing.setup * RACES_OF_CHOICE * len(searched) + before * timing.of_lane(
            sized.race.steps, held_out
        )
        alone = replace(timing, step=max(timing.alone, timing.step))
        final = min(LATE * (timing.setup + alone.of_lane(sized.race.steps, read)), FINAL_SHARE * 60 * minutes)
        time_for = f"There is time to evaluate {held_out:,} of the held-out, {test:,} of the test examples."
        are_all = (held_out, test) == (timing.held_out, timing.test)
        plan = Plan(
            study=sized, minutes=minutes,
            seconds=searching + math.ceil(lanes / most) * timing.setup + lanes * of_lane + base + final,
            final=final, most=most, left_out=tuple(method for method in study.compare if method not in sized.compare),
            data=" ".join(data if are_all else [*data, time_for]),
            train=timing.train, step=timing.step, alone=alone.step,
            search=searched, searching=searching,
            unsearched=tuple(name for name in possible if name not in searched),
        )  # fmt: skip
        if wanted or plan.seconds <= left:
            break
    assert plan is not None
    return plan


def _examples(timing: Timing, many: float, evaluations: int) -> tuple[int, int]:
    """Return the numbers of validation and test examples: all, if there is the time.

    If not, both have about as many; what one does not need goes to the other.

    Args:
        many: number of examples that a lane has the time for.
    """
    share = max(many / (evaluations + 1), (many - timing.test) / evaluations, LEAST_EXAMPLES)
    held_out = int(min(timing.held_out, share))
    return held_out, int(min(timing.test, max(LEAST_EXAMPLES, many - evaluations * held_out)))


def _candidates(
    study: Study, fixed: Collection[str], search: tuple[str, ...]
) -> Iterator[tuple[Study, int, bool, tuple[str, ...]]]:
    """Yield what may be planned, the most thorough first.

    Each with the steps that it should have, 0 if it only has to fit, whether all examples are evaluated, and what is
    searched: of more choices rather than with more seeds, and of all methods.
    """
    others = study.compare[1:]
    least, made = study, dict[tuple[int, Effort], Study]()
    counts = range(len(others), len(others) - 1 if "compare" in fixed else 0, -1)
    first = [search[:count] for count in range(len(search), 0, -1)]
    searched = list(dict.fromkeys(each for names in first for each in (names, _without_steps(names)) if each))
    for count, names in [*((counts[0], names) for names in searched), *((count, ()) for count in counts)]:
        for effort in EFFORTS[: len(EFFORTS) - bool(names)]:
            if (count, effort) not in made:
                seeds = study.seeds if "seeds" in fixed else effort.seeds
                planned: dict[str, Any] = {"seeds": seeds, "coarse": min(seeds, effort.coarse)}
                planned = {name: value for name, value in planned.items() if name not in fixed}
                tune = {} if "lr" in fixed else {"lr": effort.lrs}
                compare = (study.reference, *others[:count])
                made[count, effort] = study.changed(tune=tune, compare=compare, **planned)
            least = made[count, effort]
            yield least, effort.steps, True, names
    yield least, FEW_STEPS, True, ()
    yield least, 0, False, ()
    if "seeds" not in fixed:  # a rate for each method, and no verdict
        yield least.changed(seeds=1, coarse=1), 0, False, ()


def _without_steps(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if name != "steps")


def _most(methods: int, timing: Timing, lanes: int, left: float) -> int:
    """Return the maximum lanes of a race: all methods at a few rates."""
    races = max(1, min(RACES, _at_most(SETUPS * left, timing.setup)))
    many = min(MAX_LANES, _at_most(STEP_SECONDS, timing.step), math.ceil(lanes / races))
    return methods * max(1, many // methods)


def _at_most(seconds: float, each: float) -> int:
    return int(max(0.0, seconds) / max(each, 1e-9))

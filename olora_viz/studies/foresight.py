"""What a decision can say before it times a step: its rows, how much of them a lane sees, what can be told apart."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

from olora_viz.machine.wording import counted, duration, epochs, rounded
from olora_viz.studies.budget import EVALUATIONS, FAST, Plan, lacking, planned
from olora_viz.studies.power import told_share
from olora_viz.studies.statistics import LEAST_SEEDS
from olora_viz.studies.study import Study
from olora_viz.studies.timing import TIMED_EXAMPLES, TIMED_LANES, TIMED_STEPS, Timing, smallest_found
from olora_viz.tasks.evaluation import parts_words
from olora_viz.tasks.task import Task


class TaskRows(NamedTuple):
    """The rows of each part of a task."""

    train: int
    """0 if they are not on this machine yet."""
    held_out: int
    test: int
    scored: bool = True
    """Whether answers are right or wrong, as none of a plain text is."""

    @classmethod
    def of(cls, task: Task) -> TaskRows:
        """Return those of a task."""
        return cls(len(task.train), len(task.held_out), len(task.test), not task.plain_text)

    def words(self, *, of_file: bool = False) -> str:
        """Say how many there are, and how many test examples a decision lacks.

        Args:
            of_file: see `lacking`.

        >>> TaskRows(268, 64, 64).words(), TaskRows(0, 1000, 1000).words()
        ('268 training examples, 64 held out, 64 for the test at the end.', 'The rows are counted once the task is \
downloaded.')
        >>> TaskRows(48, 6, 19).words(of_file=True)
        '48 training examples, 6 held out, 19 for the test at the end. Of these a verdict needs at least 20: 1 is \
missing.'
        """
        if not self.train:
            return "The rows are counted once the task is downloaded."
        missing = lacking(self.test, of_file=of_file)
        return f"{parts_words(*self[:3])}{f' Of these {missing}.' * bool(missing)}"


def foreseen(
    study: Study,
    parts: TaskRows,
    minutes: float,
    pace: Callable[[Study], Timing | None] = lambda _: None,
    fixed: Collection[str] = (),
    search: tuple[str, ...] = (),
) -> list[str]:
    """Return a sentence or two on each: the rows, what a lane sees of them, and what can be told apart.

    Where these are too few for a verdict, or not known, the rows alone.

    Args:
        study: what is asked for, before it is planned.
        pace: returns what a study would time of its races; None where nothing is known of it.
        minutes, fixed, search: see `plan_for`.
    """
    race = study.race
    rows = parts.words(of_file=race.test is not None)
    if not parts.train or lacking(min(parts.test, race.test_size)):
        return [rows]
    plan = _plan_by(study, minutes, pace, fixed, search)
    if plan is None:
        return [rows, told(study, parts)]
    if not plan.fits:
        return [rows, f"By the pace of the races here {plan.too_long}."]
    seen = f"about {epochs(rounded(plan.epochs.number, 1))} of {counted(parts.train, 'row')}"
    seen = f"By the pace of the races here a lane sees {seen} in {duration(60 * minutes)}."
    return [rows, seen, told(plan.study, parts)]


def told(study: Study, parts: TaskRows) -> str:
    """Say which difference a study tells, by the right answers if there are such.

    >>> told(Study(seeds=3), TaskRows(268, 64, 64))
    'With 64 test examples and about 3 seeds a difference of about 22 points in right answers can be told; a smaller \
one only where two starts mostly answer alike. The verdict is on the test loss.'
    """
    tested, seeds = min(parts.test, study.race.test_size), study.seeds
    if not parts.scored or seeds < LEAST_SEEDS:
        words = smallest_found(study)
        return f"{words[0].upper()}{words[1:]}."
    points = f"{100 * told_share(tested, seeds, len(study.compare)):.0f} points"
    return (
        f"With {counted(tested, 'test example')} and about {counted(seeds, 'seed')} a difference of about {points} "
        "in right answers can be told; a smaller one only where two starts mostly answer alike. The verdict is "
        "on the test loss."
    )


def _plan_by(
    study: Study,
    minutes: float,
    pace: Callable[[Study], Timing | None],
    fixed: Collection[str],
    search: tuple[str, ...],
) -> Plan | None:
    """Return the plan that a decision would make at a pace; None where nothing is known of it."""
    spent = 0.0

    def timed(sized: Study) -> tuple[Timing, float]:
        nonlocal spent
        timing = pace(sized)
        assert timing is not None
        spent += _timed_in(timing)
        return timing, 60 * minutes - spent

    if pace(study) is None:
        return None
    return planned(study, minutes, timed, fixed, EVALUATIONS, search)


def _timed_in(timing: Timing) -> float:
    """Return about the seconds in which a decision times its races: of two lanes, and of many where these are fast."""
    races, lanes = (2, 2 + TIMED_LANES) if timing.step < FAST else (1, 2)
    return 2 * races * timing.setup + lanes * (TIMED_STEPS * timing.step + 2 * TIMED_EXAMPLES * timing.example)

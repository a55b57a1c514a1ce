"""Studies of methods whose true losses are known, on examples and seeds that are samples."""

from __future__ import annotations

import math
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from olora_viz.studies.decide import open_trials
from olora_viz.studies.search import needed
from olora_viz.studies.seed_variance import own_variance, seed_variance
from olora_viz.studies.statistics import BETTER, ERROR, WORSE, holm, t_interval
from olora_viz.studies.study import Candidate, Study, Trial
from olora_viz.studies.verdicts import Verdicts, verdicts_of

METHODS = ("lora", "olora", "pissa", "milora", "orthogonal", "gaussian", "sketch", "olora_pivoted")


@dataclass
class World:
    """A model and a task, for which every method has a best rate and a loss there.

    A run's loss on an example is the method's true loss at the rate, and deviations: of the example, which all share;
    of the method, and of the rate, on this example; of the seed, which all share; of the run; and of the run on this
    example.
    """

    random: np.random.Generator
    methods: int
    held_out: int
    test: int
    gap: float = 0.0
    """The true loss of all others minus that of the first, each at its best rate; nats."""
    curvature: float = 0.1
    """The true loss at a rate e times the best one, minus that at the best one; nats."""
    run: Sequence[float] = (0.05,)
    """Standard deviations of the runs of the methods, in turns; nats."""
    diverges: Sequence[float] = (0.0,)
    """Chances of a run of the methods to diverge, in turns."""
    example: float = 0.2
    """Standard deviations of a method, and of a rate, on an example; nats."""
    names: Sequence[str] = METHODS
    """The methods, of which the first few are compared."""
    rows: dict[Trial, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Draw what all runs share."""
        self.best = np.log(2e-3) + self.random.uniform(-0.5, 0.5, self.methods)
        sizes = (self.held_out, self.test)
        self.of_example = [self.random.normal(2.0, 0.7, n) for n in sizes]
        self.of_method = [self.example * self.random.normal(size=(self.methods, n)) for n in sizes]
        self.of_rate: dict[tuple[str, Candidate], list[np.ndarray]] = {}
        self.of_seed = 0.1 * self.random.normal(size=100)

    def true(self, init: str, lr: float) -> float:
        """Return the true loss of a method at a rate, beside those of the examples."""
        m = self.names.index(init)
        return self.gap * (m > 0) + self.curvature * (math.log(lr) - self.best[m]) ** 2

    def run_trial(self, trial: Trial) -> None:
        """Add the row of a run."""
        m, of_rate = self.names.index(trial.method), (trial.method, trial.candidate)
        if of_rate not in self.of_rate:
            sizes = (self.held_out, self.test)
            self.of_rate[of_rate] = [self.example * self.random.normal(size=n) for n in sizes]
        run = self.run[m % len(self.run)] * self.random.normal() + self.of_seed[trial.seed]
        parts = [
            self.true(trial.method, trial.lr) + run + of_example + of_method[m] + rate
            + 0.15 * self.random.normal(size=len(rate))
            for of_example, of_method, rate in zip(
                self.of_example, self.of_method, self.of_rate[of_rate], strict=True
            )
        ]  # fmt: skip
        valid, test = parts
        chance = self.diverges[m % len(self.diverges)]
        if chance and self.random.random() < chance:
            test = np.full_like(test, math.nan)
        self.rows[trial] = row_of(valid, test)

    def study(self, study: Study) -> Verdicts:
        """Run a study to its end; return what it decides."""
        while trials := needed(study, {t: row["valid_loss"] for t, row in self.rows.items()}):
            for trial in trials:
                self.run_trial(trial)
        return verdicts_of(study, self.rows)


def row_of(valid: np.ndarray, test: np.ndarray, base: float = 5.0, **more: Any) -> dict[str, Any]:
    """Return the row of a run with these losses by example; one with NaN has diverged."""
    diverged = not (np.isfinite(valid).all() and np.isfinite(test).all())
    loss = math.nan if diverged else float(np.mean(valid))
    return {
        "status": "diverged" if diverged else "finished",
        "valid_loss": loss, "test_loss": float(np.mean(test)),
        "test_accuracy": 0.5, "valid_accuracy": 0.5, "base_test_loss": base,
        "base_valid_loss": base, "evaluated": [10, 20], "valid_losses": [loss + 1, loss],
        "valid_examples": len(valid), "test_examples": len(test),
        "valid_loss_by_example": valid, "test_loss_by_example": test, **more,
    }  # fmt: skip


@dataclass(frozen=True)
class Rates:
    """What came out of many simulated studies, as shares."""

    ordered: float
    """Studies in which some method is called better or worse than the first."""
    by_seeds: float
    """The same, by Student's t over the seeds alone and Holm's method."""
    found: float
    """Methods that are called worse."""
    covered: float
    """Intervals that hold the true difference at the rates that were chosen."""
    turned: float
    """Studies in which some order has the other sign than this difference."""
    studies: int


def simulate(study: Study, studies: int, held_out: int, test: int, *, rounds: int = 0, **world: Any) -> Rates:
    """Run studies of methods that are equal, or of which the first is better.

    Args:
        rounds: at most so many more races on what is open, as in a decision with time left.
        world: see `World`.
    """
    random = np.random.default_rng([studies, held_out, test, study.seeds, len(study.compare)])
    counts = np.zeros(5)
    for _ in range(studies):
        made = World(random, len(study.compare), held_out, test, **world)
        found = made.study(study)
        for _ in range(rounds):
            for trial in (trials := open_trials(found)):
                made.run_trial(trial)
            if not trials:
                break
            found = verdicts_of(study, made.rows)
        first, *others = found.each
        p_values = holm([t_interval(one.difference.gap.mean(1)).p_value for one in others if one.seeds] or [1.0])
        at_first = made.true(first.method, first.best_lr) if first.seeds else math.nan
        true = {one.method: made.true(one.method, one.best_lr) - at_first for one in others if one.seeds}
        held = [one.interval.low <= true[one.method] <= one.interval.high for one in others if one.seeds]
        ordered = [one for one in others if one.verdict in (BETTER, WORSE)]
        counts += [
            bool(ordered), min(p_values) < ERROR,
            np.mean([one.verdict == WORSE for one in others]), np.mean(held or [True]),
            any((true[one.method] > 0) != (one.verdict == WORSE) for one in ordered),
        ]  # fmt: skip
    return Rates(*(counts / studies), studies)


EVEN, EVERY_OTHER, REFERENCE = (0.05,), (0.05, 0.15), (0.15, *[0.05] * 7)
"""Standard deviations of the runs: alike, three times as large in every other method, and in the reference."""

WORLDS = {
    f"{curves}{runs}": {"curvature": curvature, **spread}
    for curves, curvature in (("flat", 0.02), ("steep", 0.3))
    for runs, spread in {
        "": {"run": EVEN},
        ", unequal": {"run": EVERY_OTHER},
        ", unequal reference": {"run": REFERENCE},
        ", diverging": {"run": EVERY_OTHER, "diverges": (0.0, 0.05)},
    }.items()
}
"""Curves of the loss over the rates, and the spread of the runs from method to method."""

SIZES = ((17, 36, 3), (60, 55, 5), (128, 128, 5), (300, 300, 5))
"""Held-out examples, test examples and seeds."""


def study_of(methods: int, seeds: int, coarse: int | None = None, batches: int = 1) -> Study:
    """Return a study of the first methods at four rates, each with several batch sizes, which change nothing."""
    tune = {"lr": (3e-4, 1e-3, 3e-3, 1e-2), "batch_size": tuple(range(16, 16 + batches))}
    return Study(tune=tune, compare=METHODS[:methods], seeds=seeds, coarse=coarse)


class FewSeeds(NamedTuple):
    """What out of many studies of means by seed alone came out by each pair's own variance and by `seed_variance`."""

    ordered: tuple[float, float]
    """Share of studies of equal methods with some order; by both."""
    found: tuple[float, float]
    """Share of true differences that are found; by both."""


def few_seeds(methods: int, seeds: int, spread: float, studies: int, gap: float = 3.0) -> FewSeeds:
    """Compare all pairs of methods by t, with Holm's method: equal ones, and those of which every other one is worse.

    Args:
        spread: the standard deviations of the methods' runs differ by exp(spread × a normal draw).
        gap: of every other method to the others, in typical standard deviations of a run.
    """
    random = np.random.default_rng([methods, seeds, studies])
    ordered, found = np.zeros(2), np.zeros(2)
    pairs = [(i, j) for j in range(methods) for i in range(j)]
    for _ in range(studies):
        scale = np.exp(spread * random.normal(size=(methods, 1)))
        runs = random.normal(size=seeds) + scale * random.normal(size=(methods, seeds))
        for apart in (False, True):
            table = runs + gap * apart * (np.arange(methods) % 2)[:, None]
            gaps = [(table[i] - table[j], (table[i], table[j])) for i, j in pairs]
            variances = (
                [own_variance(each) for each, _ in gaps],
                [seed_variance(each, between, list(table)) for each, between in gaps],
            )
            for k, of_pairs in enumerate(variances):
                p_values = holm([t_interval(each, v).p_value for (each, _), v in zip(gaps, of_pairs, strict=True)])
                if apart:
                    found[k] += np.mean([p < ERROR for p, (i, j) in zip(p_values, pairs, strict=True) if (i + j) % 2])
                else:
                    ordered[k] += min(p_values) < ERROR
    return FewSeeds(tuple(ordered / studies), tuple(found / studies))


PLANS = [
    *((2, *size, None, 0, 1) for size in SIZES),
    (2, 60, 55, 3, 1, 6, 1),
    (2, 300, 300, 5, 1, 6, 1),
    (3, 60, 55, 3, None, 0, 1),
    (5, 300, 300, 3, None, 0, 1),
    (5, 60, 55, 5, None, 0, 1),
    *((methods, 60, 55, 5, None, 0, batches) for methods in (2, 5) for batches in (3, 7)),
]
"""Methods, held-out examples, test examples, seeds, those of the first pass, further races of a decision, and batch
sizes that are tuned beside the rate."""


def main() -> None:
    """Print the table of false orders, of coverage and of power; see docs/VERDICTS.md."""
    parser = ArgumentParser(description=main.__doc__)
    parser.add_argument("--studies", type=int, default=600)
    parser.add_argument("--methods", type=int, nargs="+", default=[2, 3, 5])
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS), choices=list(WORLDS))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 3, 7], help="batch sizes that are tuned")
    chosen = parser.parse_args()
    head = "curves and runs | methods | held-out, test, seeds | false orders | seeds alone | coverage"
    few = "methods, seeds | s | false orders, own t | moderated | found, own t | moderated"
    print(f"| {few} |\n|{'---|' * 6}")
    for methods, seeds in ((3, 3), (5, 3), (3, 5), (5, 5)) if 1 in chosen.batches else ():
        for spread in (0.0, 0.5, 1.0):
            one = few_seeds(methods, seeds, spread, chosen.studies)
            shares = " | ".join(f"{100 * x:.1f}%" for x in (*one.ordered, *one.found))
            print(f"| {methods}, {seeds} | {spread:g} | {shares} |", flush=True)
    print(f"\n| {head} | power at 0.2 nats |\n|{'---|' * 7}")
    for name in chosen.worlds:
        for methods, held_out, test, seeds, coarse, rounds, batches in PLANS:
            if methods not in chosen.methods or batches not in chosen.batches:
                continue
            study = study_of(methods, seeds, coarse, batches)
            equal, apart = (
                simulate(study, n, held_out, test, rounds=rounds, gap=gap, **WORLDS[name])
                for n, gap in ((chosen.studies, 0.0), (chosen.studies // 3, 0.2))
            )
            kind = f"{methods}{f', decided in up to {rounds} more races' * (rounds > 0)}"
            kind += f", {len(study.candidates())} candidates" * (batches > 1)
            numbers = equal.ordered, equal.by_seeds, equal.covered, apart.found
            shares = " | ".join(f"{100 * x:.1f}%" for x in numbers)
            print(f"| {name} | {kind} | {held_out}, {test}, {seeds} | {shares} |", flush=True)


if __name__ == "__main__":
    main()

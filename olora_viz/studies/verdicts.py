"""The verdicts of a study: methods at their best rates against the reference."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from olora_viz.machine.tables import finite_or_none, number_or_nan
from olora_viz.measures.catalogue import MEASURES
from olora_viz.studies.axes import for_json
from olora_viz.studies.difference import (
    Difference,
    MethodRuns,
    at_one_rate,
    difference,
    explained,
    order,
    p_values_of,
    runs_of,
)
from olora_viz.studies.forgetting import Forgetting, forgetting
from olora_viz.studies.interaction import interactions
from olora_viz.studies.method import lane_of
from olora_viz.studies.paper import methods, to_latex, to_markdown, verdicts_html
from olora_viz.studies.preregistration import deviations, hash_of, sentence
from olora_viz.studies.rows import Losses, Row, Rows, losses_of, unit_of, values_of
from olora_viz.studies.search import grid_of, values_at, whole_grid
from olora_viz.studies.statistics import LEVEL, UNDECIDED, Interval, MedianInterval, choose, first_at, median_interval
from olora_viz.studies.study import Candidate, Cell, Study, Trial

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Untrained:
    """Results on a cell's test examples that any method should exceed."""

    loss: float
    """Of the base model, nats."""
    accuracy: float
    """Of the base model; NaN if unknown."""
    guess: float | None
    """Accuracy of guessing without the prompt, see `HeldOut`; None where there is none."""
    guess_words: str
    """The guess: ``always “sad”`` or ``at random``."""


def untrained(verdicts: Verdicts, cell: Cell) -> Untrained | None:
    """Return what a cell's methods are to exceed; None before its first test."""
    tested = (row for row in verdicts.rows_of(cell) if math.isfinite(number_or_nan(row["base_test_loss"])))
    row = next(tested, None)
    if row is None:
        return None
    guess = number_or_nan(row.get("guess_test_accuracy"))
    return Untrained(
        loss=number_or_nan(row["base_test_loss"]),
        accuracy=number_or_nan(row.get("base_test_accuracy")),
        guess=guess if guess > 0 else None,
        guess_words=str(row.get("guess", "")),
    )


@dataclass(frozen=True)
class Verdict:
    """One method of a cell against the reference; losses are means over the seeds."""

    cell: Cell
    method: str
    """As the study has it."""
    rank: int
    """Of the method in this cell."""
    best: Candidate | None
    """Chosen by the mean validation loss; None if each rate has a diverged or missing run."""
    rates_like: tuple[float, ...]
    """The rates that the validation results cannot tell from the best one, itself included."""
    valid_losses: tuple[float, ...]
    """The validation loss of each seed at the best rate."""
    test_loss: float
    test_accuracy: float
    difference: Difference
    """Test loss minus the reference's, each method at its best rate; negative is better."""
    p_value: float
    """Adjusted over the methods of the cell (Holm), and over `DECIDING_LOOKS` if more seeds than planned."""
    margin: float
    """Differences within it do not matter."""
    unit: str
    """What losses are, see `unit_of`."""
    verdict: str
    """better, worse, level or undecided."""
    why: str
    """Why it is undecided, in words."""
    shared: Candidate | None
    """The one candidate of the grid with the lowest validation loss over all methods."""
    verdict_shared_rate: str
    """The verdict with all methods at that rate."""
    at_shared: Difference
    """Test loss minus the reference's, both there."""
    reached_at: tuple[float, ...]
    """The step at which each seed, at the best rate, reached the final validation loss of the reference's run of that
    seed, at its best rate; infinite if it never did."""
    valid_examples: int
    """Number of validation examples, on which the rates are chosen."""
    test_examples: int
    """Number of test examples, on which the methods are compared."""
    forgotten: Forgetting | None = None
    """What it forgets of the text to keep; None if the study has none."""
    measures: Mapping[str, float] = field(default_factory=dict)
    """The registered measurements by key: means over the seeds at the best rate, at the end of the runs."""

    @property
    def best_lr(self) -> float | None:
        """The rate of `best`."""
        return None if self.best is None else self.best.lr

    @property
    def shared_lr(self) -> float | None:
        """The rate of `shared`."""
        return None if self.shared is None else self.shared.lr

    @property
    def init(self) -> str:
        """The start of the method."""
        return lane_of(self.method).init

    @property
    def interval(self) -> Interval:
        """The 95% interval of the difference, see `Difference.interval`; not adjusted for several methods."""
        return self.difference.interval

    @property
    def seeds(self) -> int:
        """The number of paired differences."""
        return self.difference.seeds

    @property
    def trials(self) -> list[Trial]:
        """The trials at the best rate; none if it has none."""
        best, seeds = self.best or Candidate(0.0), range(len(self.valid_losses))
        return [Trial(self.cell, self.method, best.lr, seed, best.tuned) for seed in seeds]

    @property
    def valid_loss(self) -> float:
        """The mean validation loss at the best rate."""
        return float(np.mean(self.valid_losses)) if self.valid_losses else math.nan

    @property
    def steps_to_reference(self) -> MedianInterval | None:
        """The median step at which the seeds reached the reference, and its interval."""
        return median_interval(np.array(self.reached_at)) if self.reached_at else None

    def to_json(self) -> dict[str, Any]:
        """Return plain values; numbers that are not finite become null."""
        reached = self.steps_to_reference
        return {key: finite_or_none(value) for key, value in self.measures.items()} | {
            "model": self.cell.model, "task": self.cell.task, "r": self.rank,
            **for_json(self.cell.others), "init": self.method, "method": self.method,
            "best_lr": self.best_lr,
            "tuned": {"lr": self.best_lr, **for_json(self.best.tuned if self.best else ())},
            "rates_like": list(self.rates_like), "valid_loss": finite_or_none(self.valid_loss),
            "test_loss": finite_or_none(self.test_loss),
            "test_accuracy": finite_or_none(self.test_accuracy),
            "difference": finite_or_none(self.interval.mean),
            "interval": [finite_or_none(end) for end in self.interval[1:3]],
            "over_rates": [finite_or_none(end) for end in self.difference.over_rates],
            "p_value": finite_or_none(self.p_value), "margin": finite_or_none(self.margin), "unit": self.unit,
            "verdict": self.verdict, "why": self.why, "shared_lr": self.shared_lr,
            "verdict_shared_rate": self.verdict_shared_rate,
            "difference_shared_rate": finite_or_none(self.at_shared.interval.mean),
            "interval_shared_rate": [finite_or_none(end) for end in self.at_shared.interval[1:3]],
            "steps_to_reference": reached and finite_or_none(reached.median),
            "steps_interval": reached and [finite_or_none(end) for end in reached[1:3]],
            "seeds": self.seeds, "valid_examples": self.valid_examples,
            "test_examples": self.test_examples, **(self.forgotten.to_json() if self.forgotten else {}),
        }  # fmt: skip


@dataclass(frozen=True, repr=False)
class Verdicts:
    """What a study decides, one entry per cell and method; see ``ov.verdicts(folder)``.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> import olora_viz as ov
        >>> study = ov.Study(race=ov.RaceConfig(steps=1, eval_size=4, test_size=4), tune={"lr": (1e-3,)}, seeds=1)
        >>> with TemporaryDirectory() as folder:
        ...     ended = list(ov.run_study(study, f"{folder}/first"))
        ...     decided = ov.verdicts(f"{folder}/first")
        >>> decided.table()[["method", "best_lr", "verdict", "seeds"]]
          method  best_lr    verdict  seeds
        0   lora    0.001  reference      1
        1  olora    0.001  undecided      1
        >>> (cell,) = study.cells()
        >>> decided.grid(cell), decided.test_examples(cell)
        ([0.001], 4)
        >>> "@misc{buyukakyuz2024," in decided.methods()
        True
    """

    study: Study
    each: tuple[Verdict, ...]
    rows: Rows = field(compare=False)
    """Of all finished trials, on which the verdicts rest."""
    folder: Path | None = field(default=None, compare=False)
    """Of the study; None if the rows did not come from one."""
    runs: Mapping[tuple[Cell, str], MethodRuns] = field(default_factory=dict, compare=False)
    """Of every method in every cell."""

    def of(self, cell: Cell) -> list[Verdict]:
        """Return the entries of one cell."""
        return [verdict for verdict in self.each if verdict.cell == cell]

    def rows_of(self, cell: Cell | None) -> list[Row]:
        """Return the rows of one cell, or of all."""
        return [row for trial, row in self.rows.items() if cell in (None, trial.cell)]

    def grid(self, cell: Cell) -> list[float]:
        """Return the rates that all methods of a cell get, see `grid_of`."""
        return grid_of(self.study, cell, self.rows)

    def has_run(self, cell: Cell, method: str) -> bool:
        """Whether a method has run at every rate of the grid, with the seeds of the first pass."""
        trials = self.study.trials(cell, method, self.grid(cell), self.study.first_seeds)
        return all(trial in self.rows for trial in trials)

    def losses_on_grid(self, cell: Cell, method: str, seeds: int | None = None) -> Float[np.ndarray, "rates seeds"]:
        """Return the validation losses of a method on the grid; NaN where there is none."""
        return values_at(self.study, cell, method, self.grid(cell), values_of(self.rows, "valid_loss"), seeds)

    def base_loss(self, cell: Cell) -> float:
        """Return the validation loss of the base model in a cell that has run."""
        return self.rows_of(cell)[0]["base_valid_loss"]

    def test_examples(self, cell: Cell | None = None) -> int:
        """Return the number of test examples of a cell, or the largest of all; 0 before the end."""
        return max((int(row["test_examples"]) for row in self.rows_of(cell)), default=0)

    @property
    def own_measures(self) -> dict[str, str]:
        """The registered measurements, and the columns of chains, that some run has, by key, with their titles."""
        keys = dict.fromkeys(key for each in self.each for key in each.measures)
        return {key: MEASURES[key].title if key in MEASURES else key.replace("_", " ") for key in keys}

    def table(self) -> pd.DataFrame:
        """Return the entries as a table, with the columns of `Verdict.to_json`; the reference has no verdict."""
        import pandas as pd

        table = pd.DataFrame([verdict.to_json() for verdict in self.each])
        table.loc[table["method"] == self.study.reference, ["verdict", "verdict_shared_rate"]] = "reference"
        return table

    def interaction(self, setting: str) -> pd.DataFrame:
        """Return whether what each method gains on the reference depends on a setting, a row for each of its values.

        Of a setting that is crossed, it is the difference of a method to the reference at this value, minus that at
        the first value; of one that only methods carry (``lora:targets=mlp`` and ``olora:targets=mlp`` beside ``lora``
        and ``olora``), minus that at the reference's. It is negative, and the verdict ``better``, where the method
        gains more than it does there. The rules are those of all verdicts, see docs/VERDICTS.md.

        Args:
            setting: such as ``r``, ``task`` or ``targets``.

        Raises:
            ValueError: no two methods of the study have two values of it.

        Examples:
            >>> from tempfile import TemporaryDirectory
            >>> import olora_viz as ov
            >>> race = ov.RaceConfig(steps=1, eval_size=4, test_size=4)
            >>> study = ov.Study(race=race, across={"r": (2, 4)}, tune={"lr": (1e-3,)}, seeds=1)
            >>> with TemporaryDirectory() as folder:
            ...     ended = list(ov.run_study(study, f"{folder}/ranks"))
            ...     table = ov.verdicts(f"{folder}/ranks").interaction("r")
            >>> table[["setting", "value", "against", "method", "verdict", "seeds"]]
              setting  value  against method    verdict  seeds
            0       r      4        2  olora  undecided      1
        """
        import pandas as pd

        return pd.DataFrame([each.to_json() for each in interactions(self, setting)])

    def __repr__(self) -> str:
        """Return the table in Markdown."""
        return self.to_markdown()

    def methods(self) -> str:
        """Return a paragraph of methods of what ran, and BibTeX of the papers that the starts are from."""
        return methods(self)

    def to_latex(self, caption: str = "", label: str = "", columns: Sequence[str] | None = None) -> str:
        """Return the table for a paper that uses the package booktabs, with intervals and stars explained below it.

        Args:
            caption, label: of the table; by default a caption that says what it shows, and no label.
            columns: names in the head of `to_markdown`, such as ``("start", "difference", "p")``; by default all.
        """
        return to_latex(self, caption, label, columns)

    def to_markdown(self) -> str:
        """Return the table of `to_latex` in Markdown."""
        return to_markdown(self)

    def _repr_html_(self) -> str:
        return verdicts_html(self, sentence(self.deviations, hash_of(self.folder) if self.folder else ""))

    @property
    def deviations(self) -> list[str] | None:
        """In what the results differ from what `Study.preregister` wrote, each in words; None if it wrote nothing."""
        return deviations(self.study, self.folder, self.rows.values())


def verdicts_of(study: Study, rows: Rows, folder: Path | None = None) -> Verdicts:
    """Return the verdict on every method in every cell, the reference included.

    Rates are chosen on validation losses, and compared on test losses. The differences are paired by seed, whose runs
    share their batches, and by example. An order counts only if it survives the choice of the rates, see `order`.
    """
    runs = {(cell, method): runs_of(study, cell, method, rows) for cell in study.cells() for method in study.compare}
    of_cells = (
        _of_cell(study, cell, rows, {name: runs[cell, name] for name in study.compare}) for cell in study.cells()
    )
    return Verdicts(study, tuple(chain(*of_cells)), rows, folder, runs)


def _of_cell(study: Study, cell: Cell, rows: Rows, runs: Mapping[str, MethodRuns]) -> Iterator[Verdict]:
    valid, accuracy = values_of(rows, "valid_loss"), values_of(rows, "test_accuracy")
    of_cell = [row for trial, row in rows.items() if trial.cell == cell]
    sizes = {part: max((int(row[f"{part}_examples"]) for row in of_cell), default=0) for part in ("valid", "test")}
    every = list(runs.values())
    reference, shared = runs[study.reference], _shared(study, cell, losses_of(study, rows))
    # The margin is a share of what the reference gains on the base model.
    margin = study.margin * (of_cell[0]["base_test_loss"] - reference.test_loss) if of_cell else math.nan
    gaps = {
        method: at_one_rate(ours, ours, every) if ours is reference else difference(ours, reference, every)
        for method, ours in runs.items()
    }
    compared = {method: gap for method, gap in gaps.items() if runs[method] is not reference}
    p_values = {study.reference: 1.0} | p_values_of(compared, study.seeds)
    at_shared = _at_shared(study, runs, shared, margin, sizes["test"])
    targets = [valid[trial] for trial in reference.trials(cell)]
    at_best = {method: of_method.trials(cell) for method, of_method in runs.items()}
    forgotten = forgetting(study, cell, rows, runs, shared)
    for method, ours in runs.items():
        trials = at_best[method]
        reached = (reached_at(rows[trial], loss) for trial, loss in zip(trials, targets, strict=False))
        each = Verdict(
            cell=cell, method=method, rank=_rank(study, cell, method, rows),
            best=ours.chosen.at if ours.chosen else None,
            rates_like=tuple(of_rate.at.lr for of_rate in ours.like_best),
            valid_losses=tuple(valid[trial] for trial in trials), test_loss=ours.test_loss,
            test_accuracy=float(np.mean([accuracy[trial] for trial in trials])) if trials else math.nan,
            difference=gaps[method], p_value=p_values[method], margin=margin, unit=unit_of(study),
            verdict=LEVEL if gaps[method].seeds else UNDECIDED, why="",
            shared=shared, verdict_shared_rate=at_shared[method][0], at_shared=at_shared[method][1],
            reached_at=tuple(reached),
            valid_examples=sizes["valid"], test_examples=sizes["test"], forgotten=forgotten.get(method),
            measures=_means([rows[trial].get("measures") or {} for trial in trials]),
        )  # fmt: skip
        if ours is not reference:
            word, why = explained(
                each.difference, each.p_value, margin, len(study.compare) - 1,
                {ours.method: ours, reference.method: reference}, study.race.forget, sizes,
            )  # fmt: skip
            each = replace(each, verdict=word, why=why)
        yield each


def _rank(study: Study, cell: Cell, method: str, rows: Rows) -> int:
    """Return the rank of a method as it ran, or as it is planned."""
    ran = (row.get("r") for trial, row in rows.items() if (trial.cell, trial.method) == (cell, method))
    return int(next(filter(None, ran), study.lane_in(cell, method).r))


def _means(measures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the means of some runs' measurements."""
    keys = dict.fromkeys(key for of_run in measures for key in of_run)
    return {key: float(np.mean([number_or_nan(of_run.get(key)) for of_run in measures])) for key in keys}


def _at_shared(
    study: Study, runs: Mapping[str, MethodRuns], at: Candidate | None, margin: float, test_examples: int
) -> dict[str, tuple[str, Difference]]:
    """Return the verdicts with all methods at one candidate, and the differences that they rest on."""
    shared = {method: of_method.at(at, study.seeds) for method, of_method in runs.items()}
    every = list(shared.values())
    gaps = {method: at_one_rate(ours, shared[study.reference], every) for method, ours in shared.items()}
    of_reference = gaps.pop(study.reference)
    p_values = p_values_of(gaps)
    words = {method: (order(gap, p_values[method], margin, test_examples), gap) for method, gap in gaps.items()}
    return {study.reference: (LEVEL if of_reference.seeds else UNDECIDED, of_reference)} | words


def _shared(study: Study, cell: Cell, valid: Losses) -> Candidate | None:
    """Return the candidate of the grid with the lowest mean validation loss over all methods.

    A method that diverges at every candidate is ignored, and so is one that keeps its own rate.
    """
    grid = whole_grid(study, cell, valid)
    each = [values_at(study, cell, method, grid, valid) for method in study.tuned_methods]
    whole = [values for values in each if choose(values) is not None]
    at = choose(np.hstack(whole)) if whole else None
    return None if at is None else grid[at]


def reached_at(row: Row, target: float) -> float:
    """Return the step at which a run reached a validation loss; infinite if it never did."""
    at = [0, *(int(step) for step in row["evaluated"])]
    losses = [float(row["base_valid_loss"]), *(float(x) for x in row["valid_losses"])]
    step = first_at(target, at, losses)
    return math.inf if step is None else step

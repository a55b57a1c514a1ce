"""Studies of objectives: what their rows have beside those of others, and which cells learn from rewards."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from olora_viz.machine.wording import percent
from olora_viz.measures.update_spectra import update_spectra
from olora_viz.races.fields import REINFORCE
from olora_viz.races.race import Race
from olora_viz.studies.choices import differing
from olora_viz.studies.method import method_name
from olora_viz.studies.rows import column
from olora_viz.studies.study import Cell, Study
from olora_viz.studies.verdicts import Verdicts
from olora_viz.tasks.evaluation import likely

SAMPLED, MOVED, TASK_DRIFT = "test_sampled", "moved", "task_drift"
"""The columns with the probability of the right answer, mean over the test examples; with ‖ΔW‖ over all layers; and
with KL(base‖lane) at the right held-out answers, nats per token."""


NO_REWARDS = "the study does not learn from rewards: run one with --objective reinforce"
CROSSED = "the study does not cross these objectives: run one with --across objective=imitation/dpo/reinforce"
"""Why a claim on objectives was not measured."""

MISSED = "In a study with the objective reinforce: by how much the probability of the right test answer is below 1"
"""What the claims on rewards measure."""


def objective_of(study: Study, cell: Cell) -> str:
    """Return what the lanes of a cell learn from."""
    return cell.settings.get("objective", study.race.objective)


def of_objectives(study: Study, racing: Race) -> dict[str, np.ndarray]:
    """Return the columns that a study of objectives has beside those of others, (K,) each; else none.

    Where it learns from rewards, that is `SAMPLED`; where it crosses objectives, also how far the lanes have moved.
    """
    columns: dict[str, np.ndarray] = {}
    tested, crossed = racing.tested(), "objective" in study.across
    if tested and (crossed or study.race.objective == REINFORCE):
        columns[SAMPLED] = likely(tested.lanes.example_loss, racing.data.deciding(test=True)).mean(1)
    if crossed:
        norms = update_spectra(racing.lanes).norm
        columns[MOVED] = np.where(racing.state.out, np.nan, np.sqrt(np.nansum(norms**2, 1)))
        columns[TASK_DRIFT] = racing.task_drift()
    return columns


def is_rewarded(verdicts: Verdicts) -> bool:
    """Whether all cells of a study learn from rewards."""
    return all(objective_of(verdicts.study, cell) == REINFORCE for cell in verdicts.study.cells())


def of_objective(verdicts: Verdicts, objective: str) -> list[Cell]:
    """Return the cells that learn from one objective, in the order of the study's."""
    return [cell for cell in verdicts.study.cells() if objective_of(verdicts.study, cell) == objective]


def by_rate(
    verdicts: Verdicts, cell: Cell, method: str, names: Sequence[str]
) -> Float[np.ndarray, "rates columns seeds"]:
    """Return columns of a method's runs at every rate that it has run with all seeds of the first pass.

    NaN where a run has diverged.
    """
    study, found = verdicts.study, []
    for lr in verdicts.grid(cell):
        trials = list(study.trials(cell, method, [lr], study.first_seeds))
        if all(trial in verdicts.rows for trial in trials):
            found.append([column(verdicts.rows, trials, name) for name in names])
    return np.array(found).reshape(-1, len(names), study.first_seeds)


def of_ranks(verdicts: Verdicts, wanted: Callable[[int, int], bool]) -> list[str]:
    """Return the methods that differ from the reference in the rank alone.

    Args:
        wanted: whether to return a method, given its rank and the reference's.
    """
    study, cell = verdicts.study, verdicts.study.cells()[0]
    ranks = {method: study.lane_in(cell, method).r for method in study.compare}
    return [
        method for method, rank in ranks.items()
        if differing(study, cell, method) == "r" and wanted(rank, ranks[study.reference])
    ]  # fmt: skip


def sampled_words(verdicts: Verdicts) -> str:
    """Say how likely the right answers of each method are at its best rate, a mean over seeds and cells."""
    known: dict[str, list[float]] = {}
    for each in verdicts.each:
        if SAMPLED in each.measures:
            known.setdefault(each.method, []).append(each.measures[SAMPLED])
    said = [f"{method_name(method)} {percent(float(np.mean(of)))}" for method, of in known.items()]
    return f" Right among answers that are drawn: {', '.join(said)}." if said else ""

"""The intrinsic dimension of planted losses is the planted one, and the claim on it follows what was planted."""

import math

import numpy as np
import pytest
from support.planted_directions import BASE, DIMS, NEEDS, judged, losses
from support.planted_losses import bowl, study

from olora_viz.studies.claims import intrinsic_dimension
from olora_viz.studies.claims.claim import NOT_MEASURED
from olora_viz.studies.intrinsic import d90, least_dims, whole_cells
from olora_viz.studies.statistics import Interval


@pytest.mark.parametrize("planted", [4.0, 5.0, 40.0, 900.0])
def test_a_line_over_log_d_has_its_own_least_number(planted: float) -> None:
    """The share is 0.9 at the planted number, and changes by 0.1 per factor of four."""
    shares = 0.9 + 0.1 * np.log(np.array(DIMS) / planted) / math.log(4)
    whole = np.array([2.0, 5.0])
    np.testing.assert_allclose(least_dims(DIMS, shares[:, None] * whole, whole), planted)


def test_the_first_that_reaches_it_counts_and_what_is_missing_reaches_nothing() -> None:
    reductions = np.array([[0.95, 0.5, np.nan], [0.5, 0.6, 0.95], [0.5, 0.7, 0.5]])
    np.testing.assert_allclose(least_dims([1, 10, 100], reductions, np.ones(3)), [1, np.inf, 10])


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ((0.2, 0.1, 0.02), "holds"),
        ((0.02, 0.1, 0.2), "fails"),
        ((0.1, 0.1, 0.1), "level"),
        ((0.2, 0.0, 0.1), "undecided"),
    ],
)
def test_the_claim_follows_the_gains(gains: tuple[float, float, float], verdict: str) -> None:
    found = judged(gains)
    assert found.verdict == verdict
    assert [bar.label.split(",")[0] for bar in found.bars] == list(NEEDS)  # the lowest first
    assert isinstance(found.numbers["slope"], Interval)
    assert ("without one of the tasks the sign turns" in found.words) == (gains == (0.2, 0.0, 0.1))


def test_d90_of_a_study_is_the_planted_one() -> None:
    found = study(losses(dict.fromkeys(NEEDS, 0.1)), BASE)
    for cell in whole_cells(found):
        np.testing.assert_allclose(d90(found, cell, "lora"), NEEDS[cell.task], rtol=0.5)


def test_too_few_tasks_or_no_directions_decide_nothing() -> None:
    two = judged((0.2, 0.1, 0.02), BASE.changed(across={"task": ("sentiment", "number-words"), "dim": (*DIMS, None)}))
    assert two.verdict == NOT_MEASURED
    assert "d90 is " in two.words
    short = judged((0.2, 0.1, 0.02), BASE.changed(across={"task": tuple(NEEDS), "dim": (4, 16, None)}))
    assert "more than 16 with 5 of 5 seeds on uppercase" in short.words
    same = judged((0.2, 0.1, 0.02), BASE.changed(across={"task": tuple(NEEDS), "dim": (512, 1024, None)}))
    assert same.words.startswith("the tasks do not differ in LoRA's intrinsic dimension")
    assert "--across dim=" in intrinsic_dimension.judge(study(lambda trial: 1.0 + bowl(trial.lr))).words

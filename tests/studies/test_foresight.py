"""What a decision says before it times a step is what its plan then says, and what a simulation finds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from olora_viz.machine.wording import epochs, rounded
from olora_viz.studies.budget import planned
from olora_viz.studies.decide import asked_study
from olora_viz.studies.foresight import TaskRows, foreseen
from olora_viz.studies.power import told_share
from olora_viz.studies.statistics import ERROR, LEAST_EXAMPLES, paired_interval
from olora_viz.studies.timing import Timing


@settings(deadline=None, max_examples=15)
@given(st.floats(1e-3, 0.5), st.integers(20, 5000), st.integers(20, 500), st.sampled_from([2, 20]))
def test_the_lines_are_those_of_the_plan_at_that_pace(step: float, train: int, test: int, minutes: int) -> None:
    timing = Timing(0.01, step, 1e-4, "", 64, test, train=train)
    study = asked_study({"compare": ["olora"]})
    rows, *others = foreseen(study, TaskRows(train, 64, test), minutes, lambda _: timing)
    plan = planned(study, minutes, lambda _: (timing, 60.0 * minutes), evaluations=2)
    assert rows.startswith(f"{train:,} training example")
    assert f"{test:,} for the test" in rows
    if len(others) == 2 and plan.fits:
        (said,) = (float(word) for word in [others[0].partition("about ")[2].split()[0]])
        assert said == pytest.approx(plan.epochs.number, rel=0.6)
        assert epochs(rounded(said, 1)) in others[0]


@pytest.mark.parametrize("test", [0, 1, LEAST_EXAMPLES - 1, LEAST_EXAMPLES])
def test_too_few_rows_are_all_that_is_said_and_of_an_unknown_pace_no_epochs(test: int) -> None:
    study = asked_study({})
    lines = foreseen(study, TaskRows(100, 10, test), 2)
    assert (len(lines) == 1) == (test < LEAST_EXAMPLES)
    assert ("a verdict needs at least 20" in lines[0]) == (test < LEAST_EXAMPLES)
    assert "epoch" not in " ".join(lines)
    assert len(foreseen(study, TaskRows(0, 1000, 1000), 2)) == 1


@pytest.mark.parametrize("seeds", [3, 8])
@pytest.mark.parametrize("own", [0.0, 0.5, 1.0], ids=["all seeds alike", "half", "all by chance"])
def test_equal_starts_seldom_differ_by_what_can_be_told_and_no_interval_is_wider(seeds: int, own: float) -> None:
    """By answers that are right in 50%: of a part of the examples anew with every seed."""
    draw, n, found, halves = np.random.default_rng(0), 64, [], []
    for _ in range(400):
        by_chance = draw.random(n) < own
        right = [
            np.where(by_chance, draw.random((seeds, n)) < 0.5, draw.random(n) < 0.5).astype(float) for _ in range(2)
        ]
        interval = paired_interval(right[0] - right[1])
        found.append(abs(interval.mean))
        halves.append((interval.high - interval.low) / 2)
    told = told_share(n, seeds)
    assert np.mean(np.array(found) > told) <= ERROR + 0.02
    assert np.mean(halves) <= 1.05 * told
    assert own or np.mean(halves) >= 0.75 * told

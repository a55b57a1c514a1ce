"""The claim on the best rate at each length of a run, on losses whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest
from support.planted_claims import STUDY_OF_LENGTHS, moving, study_of_lengths
from support.planted_losses import mean

from olora_viz.studies.claims import rate_by_length
from olora_viz.studies.claims.claim import MIXED, NOT_MEASURED, lowest


@pytest.mark.parametrize(
    ("lora", "olora", "verdict"),
    [(-0.5, 0.0, "holds"), (0.0, -0.5, "fails"), (0.5, 0.5, "fails"), (-0.5, -0.5, MIXED)],
)
def test_the_exponent_of_the_length_in_the_best_rate_is_found(lora: float, olora: float, verdict: str) -> None:
    found = rate_by_length.judge(study_of_lengths(moving(lora, olora)))
    assert found.verdict == verdict
    assert mean(found, "exponent_lora") == pytest.approx(lora, abs=0.02)
    assert mean(found, "exponent_olora") == pytest.approx(olora, abs=0.02)
    assert found.seeds == STUDY_OF_LENGTHS.seeds


def test_a_length_whose_best_rate_lies_at_the_edge_says_nothing() -> None:
    def half_outside(init: str, length: int) -> float:
        return moving(-0.5, 0.0)(init, length) if length > 20 else 1.0

    found = rate_by_length.judge(study_of_lengths(half_outside))
    assert found.verdict == "holds"
    assert mean(found, "exponent_lora") == pytest.approx(-0.5, abs=0.02)
    outside = rate_by_length.judge(study_of_lengths(lambda *_: 1.0))
    assert outside.verdict == NOT_MEASURED


def test_runs_that_do_not_pass_through_shorter_ones_are_refused() -> None:
    changed = (
        STUDY_OF_LENGTHS.changed({"schedule": "cosine"}),
        STUDY_OF_LENGTHS.changed({"warmup": 5}),
        replace(STUDY_OF_LENGTHS, seeds=2),
    )
    for other in changed:
        found = rate_by_length.judge(study_of_lengths(moving(-0.5, 0.0), other))
        assert found.verdict == NOT_MEASURED
        assert found.words


def test_each_cell_has_its_bars() -> None:
    found = rate_by_length.judge(study_of_lengths(moving(-0.5, 0.0), STUDY_OF_LENGTHS.changed(across={"r": (4, 16)})))
    assert len({bar.label for bar in found.bars}) == len(found.bars) == 4


def test_the_vertex_of_a_parabola() -> None:
    x = np.array([0.0, 1.0, 3.0, 4.0])
    assert lowest(x, 2 + 3 * (x - 1.7) ** 2) == pytest.approx(1.7)
    assert lowest(x, -x) == 4.0
    assert lowest(x, np.array([3.0, 1.0, np.inf, np.inf])) == 1.0

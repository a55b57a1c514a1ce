"""The claim on the best rate at each length of a run, on losses whose truth is known."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from test_claims import mean, noise
from test_verdicts import row

from olora_viz.studies.claims import rate_by_length
from olora_viz.studies.claims.claim import MIXED, NOT_MEASURED, lowest
from olora_viz.studies.search import needed
from olora_viz.studies.study import Study, Trial
from olora_viz.studies.verdicts import Verdicts, verdicts_of

STUDY = Study().changed(race={"steps": 60}, tune={"lr": tuple(1e-4 * 2.0**k for k in range(10))}, seeds=5)
LENGTHS = (10, 20, 30, 40, 50, 60)
Best = Callable[[str, int], float]


def study(best: Best, base: Study = STUDY) -> Verdicts:
    """Return a study in which the loss of a method at a length is lowest at a known rate."""

    def losses(its: Trial) -> list[float]:
        return [1.0 + math.log(its.lr / best(its.method, at)) ** 2 + noise(its) for at in LENGTHS]

    known: dict[Trial, float] = {}
    while todo := needed(base, known):
        known |= {trial: losses(trial)[-1] for trial in todo}
    rows = {
        trial: row(loss) | {"evaluated": list(LENGTHS), "valid_losses": losses(trial)} for trial, loss in known.items()
    }
    return verdicts_of(base, rows)


def moving(lora: float, olora: float) -> Best:
    powers = {"lora": lora, "olora": olora}
    return lambda init, length: 2e-3 * (length / 30) ** powers[init]


@pytest.mark.parametrize(
    ("lora", "olora", "verdict"),
    [(-0.5, 0.0, "holds"), (0.0, -0.5, "fails"), (0.5, 0.5, "fails"), (-0.5, -0.5, MIXED)],
)
def test_the_exponent_of_the_length_in_the_best_rate_is_found(lora: float, olora: float, verdict: str) -> None:
    found = rate_by_length.judge(study(moving(lora, olora)))
    assert found.verdict == verdict
    assert mean(found, "exponent_lora") == pytest.approx(lora, abs=0.02)
    assert mean(found, "exponent_olora") == pytest.approx(olora, abs=0.02)
    assert found.seeds == STUDY.seeds


def test_a_length_whose_best_rate_lies_at_the_edge_says_nothing() -> None:
    def half_outside(init: str, length: int) -> float:
        return moving(-0.5, 0.0)(init, length) if length > 20 else 1.0

    found = rate_by_length.judge(study(half_outside))
    assert found.verdict == "holds"
    assert mean(found, "exponent_lora") == pytest.approx(-0.5, abs=0.02)
    outside = rate_by_length.judge(study(lambda *_: 1.0))
    assert outside.verdict == NOT_MEASURED


def test_runs_that_do_not_pass_through_shorter_ones_are_refused() -> None:
    changed = STUDY.changed({"schedule": "cosine"}), STUDY.changed({"warmup": 5}), replace(STUDY, seeds=2)
    for other in changed:
        found = rate_by_length.judge(study(moving(-0.5, 0.0), other))
        assert found.verdict == NOT_MEASURED
        assert found.words


def test_each_cell_has_its_bars() -> None:
    found = rate_by_length.judge(study(moving(-0.5, 0.0), STUDY.changed(across={"r": (4, 16)})))
    assert len({bar.label for bar in found.bars}) == len(found.bars) == 4


def test_the_vertex_of_a_parabola() -> None:
    x = np.array([0.0, 1.0, 3.0, 4.0])
    assert lowest(x, 2 + 3 * (x - 1.7) ** 2) == pytest.approx(1.7)
    assert lowest(x, -x) == 4.0
    assert lowest(x, np.array([3.0, 1.0, np.inf, np.inf])) == 1.0

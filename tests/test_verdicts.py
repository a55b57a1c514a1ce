"""What a study decides, on rows whose truth is known."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from olora_viz.studies.study import Study, Trial
from olora_viz.studies.verdicts import Verdict, verdicts_of

STUDY = Study(inits=("lora", "olora", "pissa"), lrs=(1e-3, 2e-3, 4e-3), seeds=5)
(CELL,) = STUDY.cells()
RATES = (1e-3, 1.41e-3, 2e-3, 2.83e-3, 4e-3)
Loss = Callable[[str, float, int], float]


def row(loss: float) -> dict[str, Any]:
    diverged = not math.isfinite(loss)
    return {
        "status": "diverged" if diverged else "finished", "valid_loss": loss, "test_loss": loss,
        "test_accuracy": 0.5, "base_test_loss": 5.0, "base_valid_loss": 5.0,
        "evaluated": [10, 20], "valid_losses": [loss + 1, loss], "test_examples": 64,
        "valid_examples": 64,
    }  # fmt: skip


def decided(loss: Loss, study: Study = STUDY) -> dict[str, Verdict]:
    """Return the verdicts on losses by method, rate and seed, with the rates around 2e-3 tried."""
    trials = [
        Trial(CELL, init, lr, seed)
        for init in study.inits
        for lr in RATES
        for seed in range(study.seeds)
    ]
    rows = {trial: row(loss(trial.init, trial.lr, trial.seed)) for trial in trials}
    return {one.init: one for one in verdicts_of(study, rows).each}


def bowl(lr: float, best: float = 2e-3) -> float:
    return math.log(lr / best) ** 2


def known(init: str, lr: float, seed: int) -> float:
    noise = np.random.default_rng([seed, *init.encode()]).normal(0, 0.01)
    return 1.0 + bowl(lr) + 0.1 * seed + noise + {"lora": 0, "olora": -0.3, "pissa": 0.01}[init]


def test_a_clear_difference_is_named_and_a_small_one_is_level() -> None:
    found = decided(known)
    assert [one.verdict for one in found.values()] == ["level", "better", "level"]
    assert found["olora"].best_lr == found["olora"].shared_lr == 2e-3
    assert found["olora"].verdict_shared_rate == "better"
    assert found["olora"].interval.low < -0.3 < found["olora"].interval.high
    assert found["olora"].margin == pytest.approx(0.02 * (5.0 - found["lora"].test_loss))
    reached = found["olora"].steps_to_reference
    assert reached is not None
    assert 10 < reached < 20


def test_a_best_rate_at_the_edge_decides_nothing() -> None:
    found = decided(lambda init, lr, seed: known(init, lr, seed) + 9 * (init == "olora") / lr / 1e3)
    assert found["olora"].verdict == "undecided"
    assert "edge" in found["olora"].why
    assert found["pissa"].verdict == "level"


def test_a_method_that_always_diverges_is_undecided_alone() -> None:
    found = decided(lambda i, lr, seed: math.nan if i == "olora" else known(i, lr, seed))
    assert found["olora"].verdict == found["olora"].verdict_shared_rate == "undecided"
    assert "diverged" in found["olora"].why
    assert found["pissa"].verdict == found["pissa"].verdict_shared_rate == "level"


def test_two_seeds_decide_nothing() -> None:
    study = Study(**{**vars(STUDY), "seeds": 2})
    assert decided(known, study)["olora"].verdict == "undecided"
    assert "2 of at least 3 seeds" in decided(known, study)["olora"].why

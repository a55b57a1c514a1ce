"""What a study decides, on rows whose truth is known."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.planted_losses import SPREAD, bowl, row
from support.simulated_studies import row_of

from olora_viz.studies.recommendation import recommend
from olora_viz.studies.statistics import paired_interval
from olora_viz.studies.study import Study, Trial
from olora_viz.studies.verdicts import Verdict, verdicts_of

STUDY = Study(tune={"lr": (1e-3, 2e-3, 4e-3)}, compare=("lora", "olora", "pissa"), seeds=5)
(CELL,) = STUDY.cells()
RATES = (1e-3, 1.41e-3, 2e-3, 2.83e-3, 4e-3)
Loss = Callable[[str, float, int], float]


def decided(loss: Loss, study: Study = STUDY) -> dict[str, Verdict]:
    """Return the verdicts on losses by method, rate and seed, with the rates around 2e-3 tried."""
    trials = [Trial(CELL, init, lr, seed) for init in study.compare for lr in RATES for seed in range(study.seeds)]
    rows = {trial: row(loss(trial.method, trial.lr, trial.seed)) for trial in trials}
    return {one.method: one for one in verdicts_of(study, rows).each}


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
    assert 10 < reached.low <= reached.median <= reached.high < 20
    assert found["lora"].reached_at == (20.0,) * 5  # its own runs arrive


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
    study = replace(STUDY, seeds=2)
    assert decided(known, study)["olora"].verdict == "undecided"
    assert "too few seeds, 2 of at least 3" in decided(known, study)["olora"].why


def test_clones_tie_with_the_reference_and_take_as_many_steps() -> None:
    found = decided(lambda init, lr, seed: known("lora", lr, seed))
    assert {one.reached_at for one in found.values()} == {found["lora"].reached_at}
    assert {one.verdict for one in found.values()} == {"level"}


def test_the_interval_of_one_rate_is_that_of_seeds_and_examples() -> None:
    random = np.random.default_rng(0)
    study = Study(tune={"lr": (2e-3,)}, compare=("lora", "olora"), seeds=4)
    loss = {init: random.normal(1.0, 0.2, (4, 30)) for init in study.compare}
    rows = {
        trial: row_of(loss[init][trial.seed], loss[init][trial.seed])
        for init in study.compare
        for trial in study.trials(CELL, init, [2e-3])
    }
    (found,) = (one for one in verdicts_of(study, rows).each if one.method == "olora")
    gap = loss["olora"] - loss["lora"]
    assert np.array_equal(found.difference.gap, gap)
    assert found.interval == paired_interval(gap)
    assert found.p_value == found.interval.p_value


def test_an_order_that_turns_at_a_rate_as_good_is_undecided_and_says_where() -> None:
    """At 2e-3 OLoRA is far ahead; 1.41e-3 is as good on the validation examples, and behind."""
    random = np.random.default_rng(2)

    def row_at(init: str, lr: float, seed: int) -> dict[str, Any]:
        near = init == "olora" and lr == 1.41e-3
        valid = 1.0 + (0.02 if near else bowl(lr)) + random.normal(0, 0.3, 64)
        test = 1.0 + bowl(lr) + random.normal(0, 0.02, 64)
        turn = {2e-3: -0.5, 1.41e-3: 0.3}.get(lr, 0.0)
        return row_of(valid, test + turn * (init == "olora"))

    study = Study(tune={"lr": STUDY.lrs}, compare=("lora", "olora"), seeds=5)
    rows = {
        Trial(CELL, init, lr, seed): row_at(init, lr, seed)
        for init in study.compare
        for lr in RATES
        for seed in range(5)
    }
    found = {one.method: one for one in verdicts_of(study, rows).each}["olora"]
    assert found.best_lr == 2e-3
    assert found.p_value < 0.001
    assert set(found.rates_like) == {1.41e-3, 2e-3}
    assert found.verdict == "undecided"
    assert "the order turns with olora at 1.41e-3" in found.why
    assert found.difference.over_rates[0] < 0 < found.difference.over_rates[1]


def test_fewer_than_20_test_examples_decide_nothing() -> None:
    rows = {
        Trial(CELL, init, lr, seed): row_of(np.full(64, known(init, lr, seed)), known(init, lr, seed) + SPREAD[:19])
        for init in STUDY.compare
        for lr in RATES
        for seed in range(5)
    }
    found = {one.method: one for one in verdicts_of(STUDY, rows).each}
    few = "too few test examples, 19 of at least 20"
    assert (found["olora"].verdict, found["olora"].why) == ("undecided", few)
    recommended = recommend(verdicts_of(STUDY, rows))
    assert recommended is not None
    assert recommended.why.count(few) == 1, "of two methods with the same reason it is said once"
    assert f"This leaves OLoRA and PiSSA open: {few}." in recommended.why


def test_more_seeds_at_some_rates_are_used_and_those_rates_are_chosen_from() -> None:
    """As a decision does that spends its last minutes on what is open."""
    trials = [Trial(CELL, i, lr, s) for i in STUDY.compare for lr in RATES for s in range(5)]
    trials += [Trial(CELL, i, lr, s) for i in ("lora", "olora") for lr in (2e-3, 1.41e-3) for s in (5, 6)]
    rows = {one: row(known(one.method, one.lr, one.seed)) for one in trials}
    found = {one.method: one for one in verdicts_of(STUDY, rows).each}
    assert [found[init].seeds for init in STUDY.compare] == [7, 7, 5]
    assert found["olora"].best_lr == 2e-3

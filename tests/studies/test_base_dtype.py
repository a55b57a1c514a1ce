"""Whether a comparison of starts is the same in another dtype of the base."""

import numpy as np
import pytest
from test_claims import noise
from test_verdicts import bowl, row

from olora_viz.studies.claims import CLAIMS, base_dtype
from olora_viz.studies.claims.claim import MIXED, NOT_MEASURED
from olora_viz.studies.claims.evidence import ClaimEvidence
from olora_viz.studies.study import Study, Trial
from olora_viz.studies.verdicts import Verdicts, verdicts_of

RATES = (2.5e-4, 5e-4, 1e-3, 2e-3)
WIDE = Study().changed(race={"dtype": "float32"}, tune={"lr": RATES}, seeds=4)
NARROW = WIDE.changed({"dtype": "bfloat16"})


def loss(trial: Trial) -> float:
    """OLoRA's is lower by 0.2 nats throughout."""
    return 1.0 + bowl(trial.lr, 8e-4) + 0.1 * trial.seed - 0.2 * (trial.method == "olora")


def study(base: Study, swallowed: float = 0.0, seed: int = 0) -> Verdicts:
    """A study whose OLoRA loses something at the lowest rate; other seeds have other noise."""
    cell = next(iter(base.cells()))
    trials = [trial for init in base.compare for trial in base.trials(cell, init, base.lrs)]
    random = np.random.default_rng(seed)
    losses = {
        trial: loss(trial) + (random.normal(0, 0.3) if seed else noise(trial))
        + swallowed * (trial.method == "olora" and trial.lr == RATES[0])
        for trial in trials
    }  # fmt: skip
    return verdicts_of(base, {trial: row(value) for trial, value in losses.items()})


def test_what_is_the_same_in_both_dtypes_holds_at_every_rate_and_at_best_rates() -> None:
    finding = base_dtype.judge([study(NARROW), study(WIDE)])
    assert finding.verdict == "holds"
    assert [bar.label for bar in finding.bars] == [
        *(f"OLoRA at {rate}" for rate in ("2.5e-4", "5e-4", "1e-3", "2e-3")), "OLoRA at best rates",
    ]  # fmt: skip
    assert all(bar.value == 0 for bar in finding.bars)
    assert "is the same in bfloat16 as in float32" in finding.words
    assert "No order turns." in finding.words


def test_a_change_at_one_rate_is_found_there_with_its_size_and_whether_the_order_turns() -> None:
    finding = base_dtype.judge([study(WIDE), study(NARROW, swallowed=0.5)])
    assert finding.verdict == MIXED
    assert finding.numbers["fails"] == 1
    assert finding.bars[0].value == pytest.approx(0.5)
    assert "holds in 3 of 4 comparisons, fails in 1. The largest change: OLoRA at 2.5e-4" in finding.words
    assert "from −0.2 to +0.3 nats (+0.5;" in finding.words
    assert "OLoRA at best rates from −0.2 to −0.2 nats" in finding.words
    assert "The order turns for OLoRA at 2.5e-4." in finding.words


def test_one_comparison_that_differs_is_enough_where_the_others_are_undecided() -> None:
    finding = base_dtype.judge([study(WIDE, seed=3), study(NARROW, swallowed=9.0, seed=4)])
    assert finding.numbers["fails"] == 1
    assert finding.numbers["holds"] == 0
    assert finding.verdict == "fails"


def test_two_dtypes_that_differ_by_chance_alone_are_told_apart_in_at_most_five_of_a_hundred_studies() -> None:
    false = 0
    for n in range(1, 201):
        finding = base_dtype.judge([study(WIDE, seed=2 * n), study(NARROW, seed=2 * n + 1)])
        false += finding.numbers["fails"] > 0
    assert false <= 17  # 5% of 200, and what chance adds in one test of a hundred


def test_only_studies_that_differ_in_the_dtype_alone_are_compared() -> None:
    def why(*studies: Verdicts) -> str:
        finding = base_dtype.judge(studies)
        assert finding.verdict == NOT_MEASURED
        return finding.words

    assert "float32 throughout" in why(study(WIDE), study(WIDE.changed({"dtype": "auto", "device": "cpu"})))
    assert "differ in steps as well: 100 and 50" in why(study(WIDE), study(NARROW.changed({"steps": 50})))
    assert "no start has run at one rate with LoRA" in why(study(WIDE), verdicts_of(NARROW, {}))
    claim = CLAIMS["base-dtype"]
    assert claim.needs_several
    assert "float32 throughout" in claim.judge(ClaimEvidence(study=study(WIDE))).words

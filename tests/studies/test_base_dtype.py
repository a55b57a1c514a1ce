"""Whether a comparison of starts is the same in another dtype of the base."""

import pytest
from support.planted_claims import NARROW, WIDE, study_of_dtypes

from olora_viz.studies.claims import CLAIMS, base_dtype
from olora_viz.studies.claims.claim import MIXED, NOT_MEASURED
from olora_viz.studies.claims.evidence import ClaimEvidence
from olora_viz.studies.verdicts import Verdicts, verdicts_of


def test_what_is_the_same_in_both_dtypes_holds_at_every_rate_and_at_best_rates() -> None:
    finding = base_dtype.judge([study_of_dtypes(NARROW), study_of_dtypes(WIDE)])
    assert finding.verdict == "holds"
    assert [bar.label for bar in finding.bars] == [
        *(f"OLoRA at {rate}" for rate in ("2.5e-4", "5e-4", "1e-3", "2e-3")), "OLoRA at best rates",
    ]  # fmt: skip
    assert all(bar.value == 0 for bar in finding.bars)
    assert "is the same in bfloat16 as in float32" in finding.words
    assert "No order turns." in finding.words


def test_a_change_at_one_rate_is_found_there_with_its_size_and_whether_the_order_turns() -> None:
    finding = base_dtype.judge([study_of_dtypes(WIDE), study_of_dtypes(NARROW, swallowed=0.5)])
    assert finding.verdict == MIXED
    assert finding.numbers["fails"] == 1
    assert finding.bars[0].value == pytest.approx(0.5)
    assert "holds in 3 of 4 comparisons, fails in 1. The largest change: OLoRA at 2.5e-4" in finding.words
    assert "from −0.2 to +0.3 nats (+0.5;" in finding.words
    assert "OLoRA at best rates from −0.2 to −0.2 nats" in finding.words
    assert "The order turns for OLoRA at 2.5e-4." in finding.words


def test_one_comparison_that_differs_is_enough_where_the_others_are_undecided() -> None:
    finding = base_dtype.judge([study_of_dtypes(WIDE, seed=3), study_of_dtypes(NARROW, swallowed=9.0, seed=4)])
    assert finding.numbers["fails"] == 1
    assert finding.numbers["holds"] == 0
    assert finding.verdict == "fails"


@pytest.mark.nightly
def test_two_dtypes_that_differ_by_chance_alone_are_told_apart_in_at_most_five_of_a_hundred_studies() -> None:
    false = 0
    for n in range(1, 201):
        finding = base_dtype.judge([study_of_dtypes(WIDE, seed=2 * n), study_of_dtypes(NARROW, seed=2 * n + 1)])
        false += finding.numbers["fails"] > 0
    assert false <= 17  # 5% of 200, and what chance adds in one test of a hundred


def test_only_studies_that_differ_in_the_dtype_alone_are_compared() -> None:
    def why(*studies: Verdicts) -> str:
        finding = base_dtype.judge(studies)
        assert finding.verdict == NOT_MEASURED
        return finding.words

    assert "float32 throughout" in why(
        study_of_dtypes(WIDE), study_of_dtypes(WIDE.changed({"dtype": "auto", "device": "cpu"}))
    )
    assert "differ in steps as well: 100 and 50" in why(
        study_of_dtypes(WIDE), study_of_dtypes(NARROW.changed({"steps": 50}))
    )
    assert "no start has run at one rate with LoRA" in why(study_of_dtypes(WIDE), verdicts_of(NARROW, {}))
    claim = CLAIMS["base-dtype"]
    assert claim.needs_several
    assert "float32 throughout" in claim.judge(ClaimEvidence(study=study_of_dtypes(WIDE))).words

"""Claims about what a chain keeps: the verdicts on studies in which what is forgotten is planted."""

import re

import pytest
from support.planted_claims import BEST_OF_FORGETTING, OF_TWO, planted_chain, planted_forgetting
from support.planted_losses import mean

from olora_viz.studies.claims import chain_against_full, chain_level, chain_orthonormal
from olora_viz.studies.claims.claim import NOT_MEASURED
from olora_viz.studies.forgetting import EQUAL_LEARNING, WAYS, compared, compared_in_chains


@pytest.mark.parametrize(("more", "verdict"), [(0.5, "holds"), (0.0, "level"), (-0.5, "fails")])
def test_full_fine_tuning_that_forgets_more_decides_for_lora(more: float, verdict: str) -> None:
    finding = chain_against_full.judge(planted_chain({"full": more}))
    assert finding.verdict == verdict, finding.words
    for way in WAYS:
        assert mean(finding, f"more_full_{way.replace(' ', '_')}") == pytest.approx(more, abs=0.02)
    (lost,) = re.findall(r"Full fine-tuning ([\d.]+) nats and \d+%\. Rise", finding.words)
    assert float(lost) == pytest.approx(0.575 + more, abs=0.02)
    assert finding.unit == "rise of the loss on the earlier tasks minus LoRA's, nats"


@pytest.mark.parametrize(("more", "verdict"), [(-0.5, "holds"), (0.0, "level"), (0.5, "fails")])
def test_olora_that_forgets_less_keeps_more(more: float, verdict: str) -> None:
    assert chain_orthonormal.judge(planted_chain({"olora": more})).verdict == verdict


@pytest.mark.parametrize(
    ("more", "verdict"), [({}, "holds"), ({"pissa": 0.5}, "fails"), ({"pissa": 0.5, "olora": -0.5}, "fails")]
)
def test_no_start_may_differ_at_equal_learning(more: dict[str, float], verdict: str) -> None:
    finding = chain_level.judge(planted_chain(more | {"full": 3.0}))
    assert finding.verdict == verdict, finding.words
    assert "full" not in finding.words.lower()


def test_a_start_whose_rates_are_a_share_of_loras_keeps_as_much_at_equal_learning_and_not_at_one_rate() -> None:
    found = planted_chain({}, {"olora": BEST_OF_FORGETTING / 2, "pissa": BEST_OF_FORGETTING})
    finding = chain_level.judge(found)
    assert finding.verdict == "holds"
    assert mean(finding, "more_olora_at_one_rate") == pytest.approx(0.07, abs=0.02)
    (at_equal,) = (each for each in compared_in_chains(found, ["olora"]) if each.way == EQUAL_LEARNING)
    assert at_equal.logs.interval.mean == pytest.approx(0.0, abs=0.02)


def test_a_study_without_a_chain_measures_none_of_them() -> None:
    found = planted_forgetting(OF_TWO, {})
    assert not compared_in_chains(found, ["olora"])
    assert not compared(planted_chain({}), ["olora"])
    for claim in (chain_against_full, chain_orthonormal, chain_level):
        finding = claim.judge(found)
        assert finding.verdict == NOT_MEASURED
        assert "no task of the study is a chain" in finding.words

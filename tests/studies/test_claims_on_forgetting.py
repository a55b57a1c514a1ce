"""Claims about forgetting: the verdicts on studies whose drifts are planted."""

from dataclasses import replace
from pathlib import Path

import pytest
from support.planted_claims import BEST_OF_FORGETTING, OF_FULL, OF_MINOR, OF_TWO, forgetting, planted_forgetting
from support.planted_losses import bowl, mean, study

from olora_viz.studies.claims import CLAIMS, forgets_no_more, learns_less, minor_starts
from olora_viz.studies.claims.beside import finding_on_forgetting
from olora_viz.studies.claims.claim import MIXED, NOT_MEASURED, Finding
from olora_viz.studies.claims.commands import command_of_claim
from olora_viz.studies.claims.evidence import ClaimEvidence, study_within
from olora_viz.studies.forgetting import BEST_RATES, EQUAL_LEARNING, ONE_RATE, WAYS, compared
from olora_viz.studies.study import Study
from olora_viz.studies.verdicts import Verdicts


def ratio(finding: Finding, init: str, way: str) -> float:
    return mean(finding, f"times_{init}_{way.replace(' ', '_')}")


@pytest.mark.parametrize(
    ("times", "verdict"), [(0.5, "holds"), (1.0, "holds"), (1.15, "holds"), (2.0, "fails"), (1.4, "fails")], ids=str
)
def test_olora_forgets_no_more_if_the_whole_interval_of_the_ratio_lies_below_the_margin(
    times: float, verdict: str
) -> None:
    finding = forgets_no_more.judge(planted_forgetting(OF_TWO, {"olora": times}))
    assert finding.verdict == verdict, finding.words
    for way in WAYS:
        assert ratio(finding, "olora", way) == pytest.approx(times, rel=0.1)
        assert f"{way} {verdict} in 1 of 1 comparison" in finding.words
    assert "lies below 1.25 times" in finding.words
    assert "Drift as a multiple of LoRA's (95% over 4 seeds): OLoRA " in finding.words
    assert [bar.label for bar in finding.bars] == ["OLoRA, one rate", "OLoRA, best rates", "OLoRA, equal learning"]
    assert finding.over == "4 seeds"


def test_a_start_that_learns_at_a_lower_rate_forgets_more_at_one_rate_and_no_more_at_best_rates() -> None:
    """Its loss and its drift are those of LoRA at twice the rate."""
    finding = forgets_no_more.judge(planted_forgetting(OF_TWO, {"olora": 2.0}, {"olora": BEST_OF_FORGETTING / 2}))
    assert finding.verdict == MIXED
    assert ratio(finding, "olora", ONE_RATE) == pytest.approx(2.0, rel=0.1)
    assert ratio(finding, "olora", BEST_RATES) == pytest.approx(1.0, rel=0.1)
    assert ratio(finding, "olora", EQUAL_LEARNING) == pytest.approx(1.0, rel=0.1)


def test_seeds_that_disagree_decide_nothing() -> None:
    found = forgetting(
        OF_TWO,
        lambda trial: 1.0 + bowl(trial.lr, BEST_OF_FORGETTING),
        lambda trial: trial.lr * (3.0 if trial.method == "olora" and trial.seed % 2 else 1.0),
    )
    assert forgets_no_more.judge(found).verdict == "undecided"


def test_an_order_at_best_rates_has_to_survive_the_rates_that_are_as_good() -> None:
    """OLoRA's loss is the same at all its rates, up to noise, so that a rate with more drift is as good."""
    found = forgetting(
        OF_TWO,
        lambda trial: 1.0 if trial.method == "olora" and trial.lr > 6e-4 else 1.2 + bowl(trial.lr, BEST_OF_FORGETTING),
        lambda trial: trial.lr,
    )
    (at_best,) = (each for each in compared(found, ["olora"]) if each.way == BEST_RATES)
    assert at_best.logs.over_rates[0] < 0 < at_best.logs.over_rates[1]
    assert at_best.verdict == "undecided"
    assert not at_best.is_no_more


def test_what_never_learns_as_much_is_outside_and_decides_nothing() -> None:
    finding = forgets_no_more.judge(
        forgetting(
            OF_TWO,
            lambda trial: 1.0 + bowl(trial.lr, BEST_OF_FORGETTING) + 2.0 * (trial.method == "olora"),
            lambda trial: trial.lr,
        )
    )
    assert f"{EQUAL_LEARNING} undecided in 1 of 1 comparison" in finding.words
    assert "Not decided: OLoRA: " in finding.words
    assert "does not reach" in finding.words
    assert finding.verdict == "undecided"


def test_a_study_that_runs_its_rates_with_few_seeds_leaves_equal_learning_out() -> None:
    """As a decision does, which the claims of a page rest on."""
    finding = forgets_no_more.judge(planted_forgetting(replace(OF_TWO, coarse=1), {}))
    assert finding.verdict == "holds", finding.words
    assert f"{EQUAL_LEARNING} {NOT_MEASURED} in 1 of 1 comparison" in finding.words
    assert "Not decided: 1 of at least 3 seeds at equal learning" in finding.words


def test_minor_starts_forget_less_each_by_its_own_verdict() -> None:
    def judged(**times: float) -> Finding:
        return minor_starts.judge(planted_forgetting(OF_MINOR, times))

    less = judged(milora=0.5, mica=0.6)
    assert less.verdict == "holds", less.words
    assert ratio(less, "milora", BEST_RATES) == pytest.approx(0.5, rel=0.1)
    assert "That MiLoRA and MiCA forget less: at one rate holds in 2 of 2 comparisons" in less.words
    assert judged(milora=1.0, mica=1.0).verdict == "level"
    assert "Level means within 25% of LoRA's drift." in judged(milora=1.0, mica=1.0).words
    assert judged(milora=2.0, mica=2.0).verdict == "fails"
    assert judged(milora=0.5, mica=2.0).verdict == MIXED
    assert judged(milora=0.5, mica=1.0).verdict == MIXED
    one = minor_starts.judge(planted_forgetting(replace(OF_MINOR, compare=("lora", "mica")), {"mica": 0.5}))
    assert "That MiCA forgets less: " in one.words


@pytest.mark.parametrize(
    ("gain", "times", "verdict"),
    [(0.3, 3.0, "holds"), (-0.3, 0.3, "fails"), (0.3, 0.3, MIXED), (0.0, 1.0, "level"), (-0.3, 3.0, MIXED)],
    ids=str,
)
def test_learning_less_and_forgetting_less_are_both_asked_for(gain: float, times: float, verdict: str) -> None:
    finding = learns_less.judge(planted_forgetting(OF_FULL, {"full": times}, gain=gain))
    assert finding.verdict == verdict, finding.words
    assert mean(finding, "difference") == pytest.approx(-gain, abs=0.02)
    assert ratio(finding, "full", BEST_RATES) == pytest.approx(times, rel=0.1)
    assert "Full fine-tuning beside LoRA, each at its best rate: " in finding.words


def test_cells_are_judged_one_by_one() -> None:
    base = OF_TWO.changed(across={"r": (2, 16)})
    found = forgetting(
        base,
        lambda trial: 1.0 + bowl(trial.lr, BEST_OF_FORGETTING),
        lambda trial: trial.lr * (3.0 if (trial.method, trial.cell.r) == ("olora", 16) else 1.0),
    )
    finding = forgets_no_more.judge(found)
    assert finding.verdict == MIXED
    assert f"{ONE_RATE} holds in 1 of 2 comparisons, fails in 1" in finding.words
    assert "(95% over 2 cells and their seeds): " in finding.words


@pytest.mark.parametrize(
    ("name", "base"), [("forgets-no-more", OF_TWO), ("minor-starts", OF_MINOR), ("learns-less", OF_FULL)]
)
def test_a_study_without_a_text_to_keep_or_without_the_methods_says_what_is_lacking(name: str, base: Study) -> None:
    def words(found: Verdicts) -> str:
        finding = CLAIMS[name].judge(ClaimEvidence(study=found))
        assert finding.verdict == NOT_MEASURED
        return finding.words

    assert "--keep FILE" in words(
        study(lambda trial: 1.0 + bowl(trial.lr, BEST_OF_FORGETTING), base.changed({"keep": "none"}))
    )
    assert "against lora" in words(planted_forgetting(replace(base, compare=("lora", "pissa")), {}))
    assert "pass --study DIR" in CLAIMS[name].judge(ClaimEvidence()).words


def test_a_study_that_is_run_for_claims_measures_what_is_forgotten_of_the_text_to_keep(tmp_path: Path) -> None:
    settings = {"lr": (1e-3,), "seeds": 1, "steps": 2, "eval_size": 4, "test_size": 20, "threads": 1}
    evidence = ClaimEvidence("glassllm", "number-words", rank=2, keep="sentiment")
    *_, ended = study_within(10, tmp_path / "study", evidence, **settings)
    assert finding_on_forgetting(ended.verdicts, [], "", lambda _: "").verdict == NOT_MEASURED  # of a study cut off
    assert ended.verdicts.study.race.keep == "sentiment"
    assert ended.verdicts.study.compare == ("lora", "olora"), "claims are about starts: nothing else is searched"
    assert all(each.forgotten and each.forgotten.drift > 0 for each in ended.verdicts.each)
    judged = forgets_no_more.judge(ended.verdicts)
    assert judged.verdict == "undecided"
    assert "Not decided: " in judged.words
    command = command_of_claim(CLAIMS["forgets-no-more"], evidence, minutes=0.5)
    assert "--minutes 0.5" in command
    assert "--keep sentiment" in command

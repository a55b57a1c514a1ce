"""Claims about full fine-tuning: best rates against it, and what larger batches cost."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.planted_claims import STUDY_OF_FULL, best_at, costing
from support.planted_losses import bowl, mean, study
from support.study_folders import written

from olora_viz.__main__ import main
from olora_viz.learn.gallery import judge
from olora_viz.studies.claims import CLAIMS, larger_batches, rate_against_full
from olora_viz.studies.claims.claim import MIXED, NOT_MEASURED
from olora_viz.studies.claims.commands import setup_words
from olora_viz.studies.claims.evidence import ClaimEvidence
from olora_viz.studies.study import Trial
from olora_viz.studies.verdicts import verdicts_of


@pytest.mark.parametrize(("lora", "verdict"), [(2.3e-3, "holds"), (3e-4, "fails")])
def test_the_ratio_of_best_rates_is_found_between_the_rates_of_the_grid(lora: float, verdict: str) -> None:
    found = rate_against_full.judge(study(best_at(lora=lora, olora=9e-4, full=2.2e-4), STUDY_OF_FULL))
    assert found.verdict == verdict
    assert mean(found, "times_lora") == pytest.approx(lora / 2.2e-4, rel=0.05)
    assert mean(found, "times_olora") == pytest.approx(9e-4 / 2.2e-4, rel=0.05)
    assert len(found.bars) == 2
    assert f"{found.verdict} in 1 of 1 cell" in found.words


def test_seeds_that_disagree_on_the_best_rate_decide_nothing() -> None:
    def scattered(its: Trial) -> float:
        lora = 2e-3 * 2.0 ** (2 * (its.seed % 2) - 1)
        return 1.0 + bowl(its.lr, {"lora": lora, "olora": 1e-3, "full": 2e-4}[its.method])

    found = rate_against_full.judge(study(scattered, replace(STUDY_OF_FULL, seeds=6)))
    assert found.verdict == "undecided"
    assert mean(found, "times_lora") == pytest.approx(10, rel=0.05)


def test_a_best_rate_at_the_edge_is_said_and_decides_nothing() -> None:
    low = study(best_at(lora=2e-3, olora=1e-3, full=1e-7), STUDY_OF_FULL)
    found = rate_against_full.judge(low)
    assert found.verdict == "undecided"
    assert "best rate of Full fine-tuning lies at the edge" in found.words
    assert not found.bars
    assert not found.numbers
    extended = rate_against_full.judge(study(best_at(lora=2e-4, olora=2e-4, full=2e-5), STUDY_OF_FULL))
    assert extended.verdict == "holds"
    no_olora = study(best_at(lora=2e-3, olora=1e7, full=2e-4), STUDY_OF_FULL)
    assert rate_against_full.judge(no_olora).verdict == "holds"
    assert "best rate of OLoRA lies at the edge" in rate_against_full.judge(no_olora).words


def test_cells_that_disagree_are_mixed_and_those_without_runs_do_not_count() -> None:
    def moving(its: Trial) -> float:
        best = {"lora": 2e-3 if its.cell.r == 2 else 4e-4, "olora": 1e-3, "full": 2e-4}[its.method]
        return 1.0 + bowl(its.lr, best)

    both = study(moving, STUDY_OF_FULL.changed(across={"r": (2, 16)}))
    assert rate_against_full.judge(both).verdict == MIXED
    first = {trial: its for trial, its in both.rows.items() if trial.cell.r == 2}
    assert rate_against_full.judge(verdicts_of(both.study, first)).verdict == "holds"
    begun = dict(list(first.items())[:5])
    assert rate_against_full.judge(verdicts_of(both.study, begun)).verdict == NOT_MEASURED
    few = study(moving, replace(STUDY_OF_FULL, seeds=2))
    assert rate_against_full.judge(few).verdict == NOT_MEASURED


@pytest.mark.parametrize(("lora", "verdict"), [(0.5, "holds"), (0.1, "fails"), (0.3, "level")], ids=str)
def test_what_a_larger_batch_costs_is_compared_in_pairs(lora: float, verdict: str) -> None:
    found = larger_batches.judge(costing(lora=lora, olora=0.4, full=0.3)[::-1])
    assert found.verdict == verdict
    assert mean(found, "rise_lora") == pytest.approx(lora, abs=0.02)
    assert mean(found, "rise_full") == pytest.approx(0.3, abs=0.02)
    assert mean(found, "more_than_full_lora") == pytest.approx(lora - 0.3, abs=0.02)
    assert mean(found, "more_than_full_olora") == pytest.approx(0.1, abs=0.02)
    assert "holds in 1 of 1 cell" in found.words
    assert len(found.bars) == 3


def test_only_studies_that_read_equally_much_and_differ_in_nothing_else_are_compared() -> None:
    small, large = costing(lora=0.5, olora=0.4, full=0.3)

    def why(**changes: Any) -> str:
        other = replace(large, study=large.study.changed(changes))
        found = larger_batches.judge([small, other])
        assert found.verdict == NOT_MEASURED
        return found.words

    assert "batch size is 8 throughout" in why(batch_size=8)
    assert "read 640 and 960 examples" in why(steps=30)
    assert "differ in task as well: ('number-words',) and ('sentiment',)" in why(task="sentiment")
    for number in (0, 5, 40):
        begun = verdicts_of(large.study, dict(list(large.rows.items())[:number]))
        unrun = larger_batches.judge([small, begun])
        assert unrun.verdict == NOT_MEASURED
        assert "rise_full" not in unrun.numbers
        assert "nan" not in unrun.words
    edge = study(best_at(lora=8e-4, olora=8e-4, full=1e-9), large.study)
    assert larger_batches.judge([small, edge]).verdict == "undecided"
    assert "edge" in larger_batches.judge([small, edge]).words


def test_studies_come_after_one_another_and_a_claim_on_one_reads_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small, large = costing(lora=0.5, olora=0.4, full=0.3)
    claim = CLAIMS["larger-batches"]
    both = ClaimEvidence(study=small, others=(large,))
    assert claim.judge(both).verdict == "holds"
    assert claim.judge(ClaimEvidence(study=small)).verdict == NOT_MEASURED
    assert "80 steps of 8 prompts and 20 steps of 32 prompts" in setup_words(claim, both)
    assert setup_words(claim, ClaimEvidence(study=small, others=(small,))).split(", ")[-1] == "80 steps of 8 prompts"
    assert "32" not in setup_words(CLAIMS["result"], both).rpartition(",")[2]
    without = replace(small, study=small.study.changed(compare=("lora", "olora")))
    assert "not full against lora" in claim.judge(replace(both, study=without)).words
    assert CLAIMS["result"].judge(both) == CLAIMS["result"].judge(ClaimEvidence(study=small))

    monkeypatch.chdir(tmp_path)
    folders = [written(small, Path("small")), written(large, Path("large"))]
    words = ["claims", "--study", "small", "large", "--only", "larger-batches", "result", "--json"]
    assert main(words) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert [first["claim"], second["claim"]] == ["result", "larger-batches"]
    assert second["verdict"] == "holds"
    assert second["command"].endswith("--study small large --rank 8 --batch-size 8")

    (told,) = judge.of_studies([tmp_path / one for one in folders], ())
    assert (told.claim, told.study) == ("larger-batches", "small and large")
    assert [line.split()[3] for line in told.command.splitlines()] == ["study", "study", "claims"]
    assert "--study studies/small studies/large" in told.command

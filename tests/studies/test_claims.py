"""Claims: each verdict follows from what was measured, on cases where the truth is known."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.planted_losses import LAYERS, STUDY, bowl, gaining, mean, study

from olora_viz.__main__ import main
from olora_viz.figures.png import png_bytes
from olora_viz.figures.studies import claim_figure
from olora_viz.measures.truncation import truncation
from olora_viz.studies import claims
from olora_viz.studies.claims import CLAIMS, convergence, depth, landscape, rate_by_rank, result, smaller, subset
from olora_viz.studies.claims.claim import MIXED, NOT_MEASURED, together
from olora_viz.studies.claims.evidence import ClaimEvidence, Depth, Landscape
from olora_viz.studies.study import Trial
from olora_viz.studies.verdicts import verdicts_of
from olora_viz.views.decision import verdict_rows


def test_where_no_shared_rate_has_all_seeds_nothing_is_said_to_be_compared_there() -> None:
    apart = study(lambda its: bowl(its.lr * (4 if its.method == "olora" else 1)), replace(STUDY, coarse=1))
    (cell,) = (each for each in apart.each if each.method == "olora")
    assert cell.shared_lr is None
    found = result.judge(apart)
    assert "At one shared rate nothing is compared" in found.words
    assert "Each at its best rate, OLoRA" in found.words
    assert sum(value for key, value in found.numbers.items() if key.endswith("_at_one_rate")) == 0
    assert found.verdict != "holds"
    head, *rows = verdict_rows(apart)
    assert [each[head.index("at one rate")] for each in rows if each[3] == "olora"] == ["not compared"]


def test_the_files_of_the_folder_are_the_catalogue() -> None:
    files = {path.stem for path in Path(claims.__file__).parent.glob("*.py")}
    helpers = {"__init__", "beside", "claim", "commands", "evidence"}
    assert len(CLAIMS) == len(files - helpers)
    assert [its.number for its in CLAIMS.values()] == sorted({i.number for i in CLAIMS.values()})
    for name, its in CLAIMS.items():
        assert name == its.name
        assert its.sentence.endswith(".")
        assert its.measured.endswith(".")
        assert its.source


def test_a_conjunction_of_verdicts() -> None:
    assert together(["holds", "level"]) == MIXED
    assert together(["fails", "fails", NOT_MEASURED]) == "fails"
    assert together(["holds", "fails", "undecided"]) == MIXED
    assert together([together(["holds", "fails"]), "undecided"]) == MIXED
    assert together([NOT_MEASURED]) == NOT_MEASURED


def test_a_subset_is_one_for_a_diagonal_weight_and_none_for_a_random_one() -> None:
    diagonal = truncation(torch.diag(torch.arange(8.0, 0.0, -1.0)), 3)
    random = truncation(torch.randn(8, 8, generator=torch.Generator().manual_seed(0)), 3)
    assert subset.judge([diagonal]).verdict == "holds"
    assert subset.judge([random]).verdict == "fails"
    both = subset.judge([diagonal, random])
    assert both.verdict == MIXED
    assert both.numbers["bounded"] == 2
    assert both.numbers["farthest"] == pytest.approx(float(random.distance.max()))


@pytest.mark.parametrize(("ours", "verdict"), [(2.0, "holds"), (8.0, "fails"), (4.0, "level")], ids=str)
def test_depth_compares_layers_of_one_kind_by_their_ratio(ours: float, verdict: str) -> None:
    drawn = np.random.default_rng(0)
    norms = np.ones((5, 2, 4)) * np.array([1.0, 50.0, 1.0, 50.0])  # the kinds differ, and may
    norms[:, 0, 2:] *= 4.0
    norms[:, 1, 2:] *= ours
    norms *= np.exp(drawn.normal(0, 0.01, norms.shape))
    found = depth.judge(Depth(LAYERS, norms))
    assert found.verdict == verdict
    assert found.numbers["olora"] == pytest.approx(ours, rel=0.02)
    assert depth.judge(Depth(LAYERS[:2], norms[..., :2])).verdict == NOT_MEASURED


def test_the_landscape_needs_both_the_largest_eigenvalue_and_the_condition() -> None:
    def judged(sharp: float, condition: float) -> str:
        wobble = np.exp(np.random.default_rng(0).normal(0, 0.02, (3, 5, 2)))
        times = np.array([[1.0, sharp], [1.0, condition], [1.0, 4.0]])[:, None]
        return landscape.judge(Landscape(*(times * wobble))).verdict

    assert judged(0.5, 0.5) == "holds"
    assert judged(8.0, 3.0) == "fails"
    assert judged(8.0, 0.5) == MIXED
    assert judged(1.0, 1.0) == "level"
    assert judged(8.0, math.inf) == "fails"


@pytest.mark.parametrize(("gain", "verdict"), [(0.3, "holds"), (-0.3, "fails"), (0.0, "level")], ids=str)
def test_the_result_and_the_convergence_follow_the_losses(gain: float, verdict: str) -> None:
    found = study(gaining(gain))
    ended = result.judge(found)
    assert ended.verdict == verdict
    assert f"{ended.numbers['cells']} cell" in ended.words
    assert mean(ended, "difference") == pytest.approx(-gain, abs=0.02)
    assert convergence.judge(found).verdict == NOT_MEASURED  # evaluated once
    curved = {
        trial: {**its, "evaluated": [10, 20, 30], "valid_losses": [its["valid_loss"]] * 3}
        for trial, its in found.rows.items()
    }
    faster = convergence.judge(verdicts_of(found.study, curved))
    assert faster.verdict == verdict
    assert mean(faster, "difference_at_best_rates") == pytest.approx(-gain * 5 / 6, abs=0.02)


def test_cells_that_disagree_are_mixed() -> None:
    base = STUDY.changed(across={"r": (2, 16)})
    found = study(lambda its: 1.0 + bowl(its.lr) - (0.3 - 0.6 * (its.cell.r == 16)) * (its.method == "olora"), base)
    assert result.judge(found).verdict == MIXED
    words = result.judge(found).words
    assert "OLoRA is better than LoRA in 1 of 2 cells and is worse than it in 1" in words
    assert f"{found.study.seeds} seeds" in words
    assert f"{found.test_examples()} test examples" in words


@pytest.mark.parametrize(
    ("lower", "higher", "verdict"), [(0.5, 0.1, "holds"), (0.1, 0.5, "fails"), (0.2, 0.2, "level")], ids=str
)
def test_the_gain_at_ranks_is_compared_in_pairs(lower: float, higher: float, verdict: str) -> None:
    gains = {2: lower, 16: higher}
    base = STUDY.changed(across={"r": (16, 2)})
    found = smaller.judge(study(lambda its: gaining(gains[its.cell.r])(its), base))
    assert found.verdict == verdict
    assert mean(found, "more_at_the_lower_rank") == pytest.approx(lower - higher, abs=0.02)
    assert smaller.judge(study(gaining(0.1))).verdict == NOT_MEASURED


def test_the_exponent_of_the_rank_in_the_best_rate_is_found() -> None:
    rates = tuple(1e-3 * 2.0**k for k in range(-2, 7))
    base = STUDY.changed(across={"r": (1, 4, 16), "alpha": 16}, tune={"lr": rates})

    def moving(its: Trial) -> float:
        best = 1e-3 * (math.sqrt(its.cell.r) if its.method == "olora" else 1.0)
        return 1.0 + math.log(its.lr / best) ** 2

    found = rate_by_rank.judge(study(moving, base))
    assert found.verdict == MIXED
    assert mean(found, "exponent_lora") == pytest.approx(0.0, abs=0.01)
    assert mean(found, "exponent_olora") == pytest.approx(0.5, abs=0.01)
    still = rate_by_rank.judge(study(lambda its: 1.0 + math.log(its.lr / 1e-3) ** 2, base))
    assert still.verdict == "holds"
    assert rate_by_rank.judge(study(gaining(0.1))).verdict == NOT_MEASURED
    few = rate_by_rank.judge(study(moving, replace(base, coarse=1)))
    assert few.words.startswith("the study tries every rate with 1 seed")
    with_the_rank = rate_by_rank.judge(study(moving, STUDY.changed(across={"r": (1, 4, 16)}, tune={"lr": rates})))
    assert with_the_rank.verdict == NOT_MEASURED
    assert "--alpha" in with_the_rank.words


@pytest.mark.parametrize("name", [name for name, its in CLAIMS.items() if its.needs_study])
def test_a_study_that_has_only_begun_decides_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("olora_viz.studies.claims.evidence.SAMPLES", 1)
    whole = study(gaining(0.3), STUDY.changed({"batch_size": 2}, across={"r": (2, 16)}))
    nothing = CLAIMS[name].judge(ClaimEvidence(study=verdicts_of(whole.study, {})))
    assert nothing.verdict == NOT_MEASURED
    first = {trial: its for trial, its in whole.rows.items() if trial.cell.r == 2}
    begun = CLAIMS[name].judge(ClaimEvidence(study=verdicts_of(whole.study, first), rank=2, batch_size=2))
    assert begun.verdict in (NOT_MEASURED, "undecided", MIXED)
    assert "nan" not in begun.words


@pytest.mark.parametrize(
    "name",
    [
        "regularizes", "convergence", "result", "smaller", "rate-by-rank", "rate-by-length",
        "rate-against-full", "larger-batches", "forgets-no-more",
    ],
)  # fmt: skip
def test_without_a_study_of_both_a_claim_on_training_says_what_it_needs(name: str) -> None:
    assert "pass --study DIR" in CLAIMS[name].judge(ClaimEvidence()).words
    other = study(lambda its: 1.0 + bowl(its.lr), STUDY.changed(compare=("lora", "pissa")))
    found = CLAIMS[name].judge(ClaimEvidence(study=other))
    assert found.verdict == NOT_MEASURED
    assert "compares lora, pissa against lora, not olora" in found.words


def test_the_command_measures_a_model_and_prints_one_object_a_claim(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    picture = tmp_path / "claims.png"
    words = ["--only", "subset", "depth", "--only", "result", "--batch-size", "4", "--png", str(picture)]
    assert main(["claims", *words, "--json"]) == 0
    first, second, third = map(json.loads, capsys.readouterr().out.splitlines())
    keys = {"claim", "sentence", "source", "verdict", "numbers", "seeds", "words", "command"}
    keys |= {"bars", "unit", "over"}
    assert all(set(one) == keys for one in (first, second, third))
    assert (first["claim"], first["verdict"], first["numbers"]["subset"]) == ("subset", "fails", 0)
    assert first["numbers"]["bounded"] == first["numbers"]["layers"]
    assert (second["seeds"], len(second["numbers"]["log_ratio"])) == (5, 3)
    assert third["verdict"] == NOT_MEASURED
    assert first["command"].startswith("python -m olora_viz claims --only subset --model glassllm")
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--only", "subsett"], "unknown claim 'subsett'"),
        (["--study", "nowhere"], "'nowhere' is not the folder of a study"),
        (["--study", "x", "--minutes", "1"], "--minutes runs a study: leave it out with --study"),
        (["--minutes", "0"], "minutes must be a number from 0.1 to 10000, not 0.0"),
        (
            ["--only", "subset", "depth", "--minutes", "1"],
            "--minutes runs a study, which subset and depth can do without: leave it out",
        ),
        (["--only", "subset", "--batch-size", "0"], "batch_size must be a whole number from 1 to 2147483647, not 0"),
        (["--keep", "auto"], "--keep is of the study that --minutes runs: leave it out without --minutes"),
        (["--only", "depth", "--rank", "0"], "rank must be a whole number from 1"),
        (["--only", "result", "--png", "x.png"], "no claim was measured"),
    ],
)
def test_bad_input_is_a_sentence(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["claims", *words]) == 2
    assert sentence in capsys.readouterr().err


def test_a_figure_names_the_verdict_and_draws_in_both_themes() -> None:
    found = result.judge(study(gaining(0.3)))
    figure = claim_figure(CLAIMS["result"], found)
    assert figure["layout"]["meta"]["title"] == "Holds: OLoRA ends better than LoRA."
    for theme in ("light", "dark"):
        assert png_bytes([figure], theme_name=theme).startswith(b"\x89PNG")

"""Claims on what is chosen beside the start, and on rows: each follows from losses that are known, either way."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from support.planted_claims import (
    ALPHAS,
    ATTENTION,
    ATTENTIONS,
    BATCHES,
    CHOICES,
    DOWN,
    EQUAL,
    JUDGES,
    MLP,
    ROWS,
    SAMPLES,
    WILD,
    comparing,
    planted_choices,
)
from support.planted_losses import bowl, mean, study

from olora_viz.learn.gallery.judge import setup_words
from olora_viz.studies.claims import CLAIMS, attention_alone, few_rows, start_matters_least, tuned_batch
from olora_viz.studies.claims.claim import MIXED, NOT_MEASURED
from olora_viz.studies.claims.evidence import ClaimEvidence
from olora_viz.studies.study import Study, Trial
from olora_viz.studies.verdicts import verdicts_of


@pytest.mark.parametrize(
    ("name", "shifts", "verdict"),
    [
        ("alpha", {"lora:alpha=2r": -0.3}, "holds"),
        ("alpha", {"lora:alpha=r/4": 0.3}, "holds"),
        ("alpha", {}, "fails"),
        ("alpha", {"lora:alpha=2r": WILD}, "undecided"),
        ("alpha", {"lora:alpha=2r": WILD, "lora:alpha=r/4": 0.9}, "holds"),
        ("tuned-batch", {}, "holds"),
        ("tuned-batch", {"pissa": 0.3, "milora": 0.3}, "holds"),
        ("tuned-batch", {"pissa": -0.3, "milora": -0.3}, "fails"),
        ("tuned-batch", {"pissa": -0.3}, MIXED),
        ("tuned-batch", {"milora": WILD}, "undecided"),
        ("attention-alone", {ATTENTION: 0.3}, "holds"),
        ("attention-alone", {ATTENTION: -0.3, MLP: 0.3}, "fails"),
        ("attention-alone", {MLP: 0.3}, "level"),
        ("attention-alone", {ATTENTION: WILD}, "undecided"),
        ("one-adapter", {DOWN[0]: 0.3}, "holds"),
        ("one-adapter", {DOWN[0]: 0.3, DOWN[1]: -0.3}, "holds"),
        ("one-adapter", {DOWN[0]: 0.3, DOWN[1]: 0.3}, "fails"),
        ("one-adapter", {DOWN[0]: 0.3, DOWN[1]: WILD}, "undecided"),
        ("start-matters-least", {ATTENTION: 0.3}, "holds"),
        ("start-matters-least", {"lora:r=2": 0.3, "lora:alpha=2r": -0.3}, "holds"),
        ("start-matters-least", {"olora": -0.3}, "fails"),
        ("start-matters-least", {"pissa": 0.3}, "fails"),
        ("start-matters-least", {"olora": -0.3, ATTENTION: 0.9}, MIXED),
        ("start-matters-least", {}, MIXED),
        ("start-matters-least", {"olora": WILD, ATTENTION: 0.9}, "undecided"),
        ("start-matters-least", {"lora:r=2": WILD}, "undecided"),
        ("own-samples", {}, "holds"),
        ("own-samples", {SAMPLES.compare[1]: -0.3}, "holds"),
        ("own-samples", {SAMPLES.compare[1]: 0.3, SAMPLES.compare[2]: 0.3}, "fails"),
        ("own-samples", {SAMPLES.compare[2]: 0.3}, "mixed"),
        ("own-samples", {SAMPLES.compare[2]: WILD}, "undecided"),
        ("rewards-order", {"pissa": 0.3, "milora": 0.3, "orthogonal": -0.3, "olora": -0.3}, "holds"),
        ("rewards-order", {"pissa": 0.3, "milora": 0.3, "orthogonal": -0.3, "olora": 0.3}, "fails"),
        ("rewards-order", {"pissa": -0.3, "milora": 0.3, "orthogonal": -0.3, "olora": -0.3}, "fails"),
        ("rewards-order", {"pissa": 0.3, "milora": WILD, "orthogonal": -0.3, "olora": -0.3}, "undecided"),
        ("rewards-order", {"pissa": 0.3, "orthogonal": -0.3, "olora": -0.3}, MIXED),
        ("rewards-rank-one", {}, "holds"),
        ("rewards-rank-one", {"lora:r=1": -0.3}, "holds"),
        ("rewards-rank-one", {"lora:r=1": 0.3}, "fails"),
        ("rewards-rank-one", {"lora:r=1": WILD}, "undecided"),
        ("high-ranks-collapse", {"lora:r=64": 0.3}, "holds"),
        ("high-ranks-collapse", {"lora:r=64": -0.3, "lora:r=1": 0.3}, "fails"),
        ("high-ranks-collapse", {"lora:r=64": WILD}, "undecided"),
    ],
)  # fmt: skip
def test_a_claim_follows_the_losses(name: str, shifts: dict[str, float], verdict: str) -> None:
    judge, base = JUDGES[name]
    found = judge(planted_choices(base, shifts))
    assert found.verdict == verdict, found.words
    for method, shift in shifts.items():
        if f"difference_{method}" in found.numbers and not math.isnan(shift):
            assert mean(found, f"difference_{method}") == pytest.approx(shift, abs=0.03)


@pytest.mark.parametrize(("few", "verdict"), [(-0.3, "holds"), (0.3, "fails"), (0.0, "level")])
def test_few_rows_are_compared_with_many_in_pairs(few: float, verdict: str) -> None:
    found = few_rows.judge(planted_choices(ROWS, {"olora": 0.5}, few))
    assert found.verdict == verdict
    for method in ROWS.compare:
        assert mean(found, f"difference_{method}") == pytest.approx(few, abs=0.03)
    assert found.numbers["pairs"] == 2
    both = few_rows.judge(planted_choices(ROWS.changed(across={"r": (2, 16), "rows": (None, 200, 50)}), {}, few))
    assert (both.verdict, both.numbers["pairs"]) == (verdict, 4)
    assert "That 50 rows end better than all rows" in both.words


def test_few_rows_whose_order_turns_at_rates_as_good_decide_nothing() -> None:
    def loss(its: Trial) -> float:
        wild = np.random.default_rng([its.seed, its.cell.others[0][1]]).normal(0, 0.5)
        return 1.0 + bowl(its.lr) + wild

    assert few_rows.judge(study(loss, ROWS)).verdict == "undecided"


def test_a_batch_size_that_favours_one_is_told_beside_and_decides_nothing() -> None:
    def loss(its: Trial) -> float:
        return 1.0 + bowl(its.lr) + 0.4 * (its.method == "lora" and dict(its.tuned)["batch_size"] == 8)

    found = tuned_batch.judge(study(loss, BATCHES))
    assert found.verdict == "holds"
    assert (
        "at batches of 4 prompts, PiSSA is level in 1 of 1 cell and MiLoRA is level in 1 of 1 cell; "
        "of 8 prompts, PiSSA is better in 1 of 1 cell and MiLoRA is better in 1 of 1 cell."
    ) in found.words


def test_cells_that_disagree_are_mixed_and_a_choice_is_counted_over_all_of_them() -> None:
    base = CHOICES.changed(across={"task": ("number-words", "uppercase")})

    def loss(its: Trial) -> float:
        in_one = its.cell.task == "uppercase"
        return 1.0 + bowl(its.lr) + 0.5 * (its.method == ATTENTION) - 0.3 * in_one * (its.method == "olora")

    found = start_matters_least.judge(study(loss, base))
    assert found.verdict == MIXED
    assert (found.numbers["starts_level"], found.numbers["others_not_level"]) == (1, 2)
    assert list(found.numbers)[4:6] == ["largest_targets", "largest_init"]
    assert re.search(
        r"choice: the target modules: worse in 2 of 2 comparisons, at most \+0\.\d+ nats on average", found.words
    )
    assert re.search(
        r"the start: level in 3 of 4 comparisons, better in 1, at most -0\.\d+ nats on average \(OLoRA;", found.words
    )
    assert [bar.label for bar in found.bars][:2] == ["LoRA attention 74k params", "OLoRA"]


def test_at_equal_parameters_means_that_they_are() -> None:
    verdicts = planted_choices(ATTENTIONS, {ATTENTION: 0.3})
    counts = {"lora": 73_696, ATTENTION: 28_672, MLP: 73_164}
    found = attention_alone.judge(verdicts, dict.fromkeys(ATTENTIONS.cells(), counts))
    assert found.verdict == NOT_MEASURED
    assert "with as many parameters" in found.words


def test_the_parameters_of_a_study_are_those_that_its_races_train() -> None:
    evidence = ClaimEvidence(study=planted_choices(ATTENTIONS.changed({"batch_size": 2}), {}))
    assert list(evidence.trained.values()) == [EQUAL]
    assert ClaimEvidence(study=planted_choices(ALPHAS, {})).trained == {}


@pytest.mark.parametrize(
    ("name", "base", "sentence"),
    [
        ("alpha", comparing("olora"), "compares lora, olora: it needs lora and other alphas"),
        ("alpha", comparing("pissa:alpha=2r"), "it needs lora and other alphas"),
        ("tuned-batch", comparing("pissa", "milora"), "tunes no batch size"),
        ("tuned-batch", BATCHES.changed(compare=("lora", "pissa")), "it needs lora, pissa and milora"),
        ("tuned-batch", BATCHES.changed(compare=("full", "pissa", "milora")), "it needs lora, pissa and milora"),
        ("attention-alone", comparing(MLP), "attention alone"),
        ("one-adapter", comparing("lora:targets=down_proj"), "one adapter"),
        ("few-rows", comparing("olora"), "one number of rows"),
        ("few-rows", ROWS.changed({"epochs": 2}), "the updates are not as many: the study counts epochs"),
        ("few-rows", ROWS.changed(tune={"batch_size": (4, 8)}), "the study tunes batch size"),
        ("start-matters-least", comparing("olora", "pissa"), "another start and another choice"),
        ("start-matters-least", comparing("lora:alpha=2r", "lora:r=2"), "another start and another choice"),
        ("own-samples", replace(SAMPLES, compare=("lora", "lora:replay=0.05")), "the same with the base's samples"),
    ],
)
def test_a_study_that_lacks_something_says_what(name: str, base: Study, sentence: str) -> None:
    found = JUDGES[name][0](verdicts_of(base, planted_choices(replace(base, seeds=1), {}).rows))
    assert found.verdict == NOT_MEASURED
    assert sentence in found.words


@pytest.mark.parametrize("name", JUDGES)
def test_a_study_of_which_a_part_has_run_decides_nothing(name: str) -> None:
    judge, base = JUDGES[name]
    whole = planted_choices(base, {}).rows
    for some in (
        lambda its: its.seed < 2,
        lambda its: its.method == "lora",
        lambda its: dict(its.cell.others).get("rows") == 50,
    ):
        begun = judge(verdicts_of(base, {trial: row for trial, row in whole.items() if some(trial)}))
        assert begun.verdict in (NOT_MEASURED, "undecided")
        assert "nan" not in begun.words


@pytest.mark.parametrize("name", JUDGES)
def test_the_order_of_methods_changes_nothing(name: str) -> None:
    judge, base = JUDGES[name]
    found = planted_choices(base, {})
    turned = replace(base, compare=(base.reference, *reversed(base.compare[1:])))
    again = judge(verdicts_of(turned, found.rows))
    first = judge(found)
    assert again.verdict == first.verdict
    for key, number in first.numbers.items():
        assert again.numbers[key] == pytest.approx(number)


def test_what_is_crossed_and_tuned_is_told() -> None:
    base = ROWS.changed({"steps": 60, "batch_size": 8}, {"steps": (20, 80)})
    words = setup_words(CLAIMS["few-rows"], ClaimEvidence(study=planted_choices(base, {})))
    assert words == "5 seeds, 3 rates from 1e-3 to 4e-3, rank 8, 20 and 80 steps of 8 prompts, rows 50 and 500"
    words = setup_words(CLAIMS["tuned-batch"], ClaimEvidence(study=planted_choices(BATCHES, {})))
    assert words.endswith("steps of 16 prompts, batch size 4 and 8 tuned")

"""The claim that a little replay removes most of the forgetting: what it removes here is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
from support.planted_claims import (
    BEST_OF_FORGETTING,
    LITTLE_REPLAY,
    OF_REPLAY,
    forgetting,
    planted_choices,
    planted_forgetting,
)
from support.planted_losses import bowl, mean

from olora_viz.studies.claims import CLAIMS, little_replay
from olora_viz.studies.claims.claim import MIXED, NOT_MEASURED
from olora_viz.studies.claims.evidence import ClaimEvidence
from olora_viz.studies.claims.little_replay import shares_removed
from olora_viz.studies.verdicts import Verdicts, verdicts_of

ONE, FIVE = LITTLE_REPLAY


def changed(found: Verdicts, **columns: float) -> Verdicts:
    """Return a study with other values in some columns of all its rows."""
    return verdicts_of(found.study, {trial: {**row, **columns} for trial, row in found.rows.items()})


@pytest.mark.parametrize(
    ("left", "verdict"),
    [((0.1, 0.1), "holds"), ((0.9, 0.8), "fails"), ((0.8, 0.1), MIXED), ((0.5, 0.1), "undecided"),
     ((3.0, 2.0), "fails")],
    ids=str,
)  # fmt: skip
def test_most_is_removed_if_the_whole_interval_of_the_share_lies_above_a_half(
    left: tuple[float, float], verdict: str
) -> None:
    finding = little_replay.judge(planted_forgetting(OF_REPLAY, dict(zip(LITTLE_REPLAY, left, strict=True))))
    assert finding.verdict == verdict, finding.words
    for method, part in zip(LITTLE_REPLAY, left, strict=True):
        for what in ("rise_of_the_loss", "drift"):
            for way in ("at_one_rate", "at_best_rates"):
                assert mean(finding, f"removed_{method}_{what}_{way}") == pytest.approx(1 - part, abs=0.05)
    assert len(finding.bars) == 8
    assert finding.bars[0].label == "LoRA replay 0.01, rise of the loss at one rate"


def test_the_rise_of_the_loss_and_the_drift_are_judged_apart() -> None:
    found = planted_forgetting(OF_REPLAY, dict.fromkeys(LITTLE_REPLAY, 0.1))
    rows = {trial: {**row, "drift": row["drift"] * (1 if trial.method == "lora" else 10)}
            for trial, row in found.rows.items()}  # fmt: skip
    finding = little_replay.judge(verdicts_of(found.study, rows))
    assert finding.verdict == MIXED
    assert "of the rise of the loss holds in 4 of 4 comparisons; of the drift fails in 4 of 4" in finding.words


def test_of_what_is_not_forgotten_no_share_is_removed() -> None:
    finding = little_replay.judge(changed(planted_forgetting(OF_REPLAY, {}), text_loss=3.9, drift=0.0))
    assert (finding.verdict, finding.bars, finding.numbers) == ("undecided", (), {"cells": 1})
    assert "removes" not in finding.words


@pytest.mark.parametrize("at_best", [0.65, 0.3])
def test_a_share_that_turns_at_rates_as_good_as_the_best_decides_nothing_at_best_rates(at_best: float) -> None:
    """LoRA's loss is about the same at two rates, at one of which, the best or the other, it forgets twice as much."""
    gain = -0.0045 * (at_best > 0.5)
    found = forgetting(
        OF_REPLAY,
        lambda its: (
            1.0
            + (
                gain * (its.lr > 1.5e-3)
                if its.method == "lora" and 9e-4 < its.lr < 3e-3
                else bowl(its.lr, BEST_OF_FORGETTING)
            )
        ),
        lambda its: its.lr / BEST_OF_FORGETTING * (1.0 if its.method == "lora" else 0.35),
    )
    finding = little_replay.judge(found)
    assert finding.verdict == "undecided", finding.words
    assert "Undecided because it turns at rates as good as the best: 4." in finding.words
    for name in (name for name in finding.numbers if name.startswith("removed")):
        assert mean(finding, name) == pytest.approx(0.65 if name.endswith("one_rate") else at_best, abs=0.05)


def test_what_diverged_or_has_its_best_rate_at_the_edge_tells_nothing() -> None:
    lower = forgetting(
        OF_REPLAY, lambda its: 1.0 - math.log(its.lr) if its.method == FIVE else bowl(its.lr), lambda _: 1.0
    )
    edge = little_replay.judge(lower)
    assert f"removed_{FIVE}_drift_at_best_rates" not in edge.numbers
    assert f"removed_{ONE}_drift_at_best_rates" in edge.numbers
    found = planted_forgetting(OF_REPLAY, dict.fromkeys(LITTLE_REPLAY, 0.1))
    wild = {trial: {**row, "status": "diverged", "valid_loss": math.nan, "valid_loss_by_example": np.full(64, np.nan)}
            if (trial.method, trial.seed) == (ONE, 0) else row for trial, row in found.rows.items()}  # fmt: skip
    finding = little_replay.judge(verdicts_of(found.study, wild))
    assert finding.verdict == "undecided"
    assert not any(ONE in name for name in finding.numbers)
    assert any(FIVE in name for name in finding.numbers)


@pytest.mark.parametrize(
    "some",
    [lambda its: its.seed < 2, lambda its: its.method == "lora", lambda its: its.method != ONE],
    ids=("two seeds", "the reference", "all but one"),
)
def test_a_study_of_which_a_part_has_run_decides_nothing(some) -> None:
    whole = planted_forgetting(OF_REPLAY, dict.fromkeys(LITTLE_REPLAY, 0.1))
    begun = little_replay.judge(
        verdicts_of(OF_REPLAY, {trial: row for trial, row in whole.rows.items() if some(trial)})
    )
    assert begun.verdict == "undecided", begun.words
    assert "nan" not in begun.words


@pytest.mark.parametrize(
    "method",
    ["lora:replay=0.2", "lora:replay=0.05,replay_from=base", "lora:replay=0.05,alpha=2r", "olora:replay=0.05",
     "lora:replay=0.05,lr=1e-3", "lora:keep_kl=1"],
)  # fmt: skip
def test_other_shares_and_methods_that_differ_in_more_are_not_what_it_is_about(method: str) -> None:
    finding = little_replay.judge(planted_forgetting(replace(OF_REPLAY, compare=("lora", method)), {}))
    assert finding.verdict == NOT_MEASURED
    assert "such as lora:replay=0.05" in finding.words


def test_without_a_text_measured_or_a_study_it_says_what_is_lacking() -> None:
    assert "--keep FILE" in little_replay.judge(planted_choices(OF_REPLAY, {})).words
    assert "pass --study DIR" in CLAIMS["little-replay"].judge(ClaimEvidence()).words


def test_shares_scatter_as_the_ratio_of_the_means_does_and_have_no_unit() -> None:
    drawn = np.random.default_rng(0)
    theirs = drawn.normal(1.0, 0.1, 40)
    ours = 0.3 * theirs + drawn.normal(0, 0.05, 40)
    shares = shares_removed(ours, theirs)
    assert shares.mean() == pytest.approx(1 - ours.mean() / theirs.mean())
    without = [1 - np.delete(ours, k).mean() / np.delete(theirs, k).mean() for k in range(40)]  # the jackknife
    assert shares.std(ddof=1) / math.sqrt(40) == pytest.approx(math.sqrt(39 * np.var(without)), rel=0.02)
    assert shares_removed(7 * ours, 7 * theirs) == pytest.approx(shares)
    assert shares_removed(ours[:2], theirs[:2]).size == 0

"""What a finding says in words: the margin it rests on, and what its intervals are over."""

import re

import numpy as np
import pytest
from support.planted_claims import (
    JUDGES,
    KEPT,
    NARROW,
    OF_FULL,
    OF_MINOR,
    OF_REPLAY,
    OF_TWO,
    STUDY_OF_FULL,
    WIDE,
    best_at,
    costing,
    costs,
    curve,
    judged_level,
    moving,
    planted_chain,
    planted_choices,
    planted_errors,
    planted_forgetting,
    planted_objectives,
    planted_optimizers,
    study_of_dtypes,
    study_of_lengths,
)
from support.planted_directions import judged
from support.planted_losses import LAYERS, STUDY, bowl, gaining, study

from olora_viz.figures.studies import claim_figure
from olora_viz.studies.claims import (
    CLAIMS,
    base_dtype,
    chain_against_full,
    chain_level,
    chain_orthonormal,
    convergence,
    cost,
    depth,
    forgets_no_more,
    forgetting_by_kl,
    four_bit_base,
    landscape,
    larger_batches,
    learns_less,
    little_replay,
    minor_starts,
    moves_further,
    optimizer_levels,
    rate_against_full,
    rate_by_length,
    rate_by_rank,
    regularizes,
    result,
    smaller,
    start_is_rate,
)
from olora_viz.studies.claims.claim import Finding
from olora_viz.studies.claims.evidence import ClaimEvidence, Depth, Landscape
from olora_viz.studies.study import Study, Trial
from olora_viz.studies.verdicts import Verdicts, verdicts_of
from olora_viz.views.claims import bars

ALIKE = gaining(0.0)
"""Losses of two methods that differ by noise alone."""


def with_curves(found: Verdicts) -> Verdicts:
    """Add evaluations to a study."""
    curved = {
        trial: {**its, "evaluated": [10, 20, 30], "valid_losses": [its["valid_loss"]] * 3}
        for trial, its in found.rows.items()
    }
    return verdicts_of(found.study, curved)


def starts() -> np.ndarray:
    """Positive numbers of two methods that differ by noise alone."""
    return np.exp(np.random.default_rng(0).normal(0, 0.02, (5, 2)))


def alike_in_depth() -> Finding:
    norms = np.ones((5, 2, 4)) * np.array([1.0, 50.0, 4.0, 200.0])
    return depth.judge(Depth(LAYERS, norms * np.exp(0.01 * np.random.default_rng(0).normal(size=norms.shape))))


def alike_in_rank() -> Finding:
    rates = tuple(1e-3 * 2.0**k for k in range(-2, 7))
    base = STUDY.changed(across={"r": (1, 4, 16), "alpha": 16}, tune={"lr": rates})
    return rate_by_rank.judge(study(lambda its: 1.0 + bowl(its.lr, 1e-3), base))


def alike_in_gaps() -> Finding:
    found = study(ALIKE)
    known = {trial: curve(0.4, 0.5 if trial.method == "olora" else 0.3, trial.seed) for trial in found.rows}
    return regularizes.judge(found, known, KEPT)


def alike_in_basis() -> Finding:
    base = STUDY.changed(compare=("lora", "olora", "random_orthonormal", "sketch"))
    return CLAIMS["ablation"].judge(ClaimEvidence(study=study(lambda its: 1.0 + bowl(its.lr), base)))


LOSSES = r"Level means within [\d.]+( to [\d.]+)? (nats|of the reward), 2% of \w+'s loss reduction\."
RATIO = r"Level means within 25%\."
OF_DRIFT = r"Level means within 25% of LoRA's drift\."

LEVEL = {
    "depth": (alike_in_depth, RATIO),
    "four-bit-base": (lambda: four_bit_base.judge(planted_errors()), r"by 1% or more, in 0 with PiSSA"),
    "landscape": (lambda: landscape.judge(Landscape(starts(), starts(), starts())), RATIO),
    "convergence": (lambda: convergence.judge(with_curves(study(ALIKE))), LOSSES),
    "result": (lambda: result.judge(study(ALIKE)), LOSSES),
    "smaller": (lambda: smaller.judge(study(ALIKE, STUDY.changed(across={"r": (2, 16)}))), LOSSES),
    "cost": (lambda: cost.judge(costs()), r"holds within 25%\), .* \(holds within 25%\)"),
    "regularizes": (alike_in_gaps, LOSSES),
    "rate-by-rank": (alike_in_rank, r"holds, within 25% for four times the rank\);"),
    "rate-by-length": (
        lambda: rate_by_length.judge(study_of_lengths(moving(0.0, 0.0))),
        r"falls and is not level within 25% for .*: fails.* stays within 25% for four times the "
        r"length: holds",
    ),
    "rate-against-full": (
        lambda: rate_against_full.judge(study(best_at(lora=2e-3, olora=2e-3, full=2e-4), STUDY_OF_FULL)),
        r"about 10 times as high, from 5 to 20 times: holds",
    ),
    "larger-batches": (lambda: larger_batches.judge(costing(lora=0.3, olora=0.3, full=0.3)), LOSSES),
    "base-dtype": (lambda: base_dtype.judge([study_of_dtypes(WIDE), study_of_dtypes(NARROW)]), LOSSES),
    "level-at-best": (lambda: judged_level(0.0), rf"fails, within 25% for ten times the λ_max\)\. {LOSSES}"),
    "ablation": (alike_in_basis, LOSSES),
    "forgets-no-more": (
        lambda: forgets_no_more.judge(planted_forgetting(OF_TWO, {})),
        r"No more means that the whole interval lies below 1\.25 times\.",
    ),
    "intrinsic-dimension": (lambda: judged((0.1, 0.1, 0.1)), r"Level means within [\d.]+% of LoRA's loss reduction\."),
    "minor-starts": (lambda: minor_starts.judge(planted_forgetting(OF_MINOR, {})), OF_DRIFT),
    "learns-less": (lambda: learns_less.judge(planted_forgetting(OF_FULL, {})), rf"{LOSSES}.* {OF_DRIFT}"),
    "chain-against-full": (lambda: chain_against_full.judge(planted_chain({})), LOSSES),
    "chain-orthonormal": (lambda: chain_orthonormal.judge(planted_chain({})), LOSSES),
    "moves-further": (lambda: moves_further.judge(planted_objectives()), r"with 19 of 20 test answers right"),
    "forgetting-by-kl": (
        lambda: forgetting_by_kl.judge(planted_objectives()),
        r"A function means that each is within 25%\.",
    ),
    "optimizer-levels": (lambda: optimizer_levels.judge(planted_optimizers({})), LOSSES),
    "start-is-rate": (lambda: start_is_rate.judge(planted_optimizers({})), LOSSES),
    "chain-level": (lambda: chain_level.judge(planted_chain({})), LOSSES),
    "little-replay": (
        lambda: little_replay.judge(planted_forgetting(OF_REPLAY, {})),
        r"Most means that the whole interval lies above 0\.5\.",
    ),
    **{
        name: (lambda judge=judge, base=base: judge(planted_choices(base, {})), LOSSES)
        for name, (judge, base) in JUDGES.items()
    },
}
"""Findings that rest on an interval inside a margin, and how each names it."""


def test_every_claim_but_the_exact_one_has_a_margin() -> None:
    assert set(LEVEL) == set(CLAIMS) - {"subset"}


@pytest.mark.parametrize("name", LEVEL)
def test_a_finding_that_rests_on_a_margin_names_it_and_says_what_its_intervals_are_over(name: str) -> None:
    finding = LEVEL[name][0]()
    assert re.search(LEVEL[name][1], finding.words), finding.words
    intervals = re.findall(r"95%.{0,40}", finding.words)
    assert intervals or "no interval" in finding.words
    for words in intervals:
        assert re.match(r"95% over (\d+ (seeds|races|batches|cells)|the orders of \d+ methods)", words), words
    drawn = any(bar.low is not None for bar in finding.bars)
    assert (finding.interval_words != "") == drawn
    if drawn:
        assert re.match(r"95% over \d+ (seeds|races|batches|cells)", finding.interval_words)
        figure = claim_figure(CLAIMS[name], finding)
        assert figure["layout"]["meta"]["unit"].endswith(finding.interval_words)
        assert finding.interval_words in bars(finding)


def test_a_verdict_that_rests_on_no_margin_names_none() -> None:
    assert "Level means" not in result.judge(study(gaining(0.3))).words
    assert "within" not in cost.judge(costs(time=1.5, memory=1.5)).words


def test_intervals_over_examples_too_and_over_cells_say_so() -> None:
    one = study(ALIKE)
    assert "95% over 5 seeds and 64 test examples: " in result.judge(one).words
    assert result.judge(one).over == "5 seeds and 64 test examples"
    two = study(ALIKE, STUDY.changed(across={"r": (2, 16)}))
    assert "95% over 2 cells, their seeds and test examples: " in result.judge(two).words
    assert "95% over 5 seeds and 64 test examples: " in smaller.judge(two).words


def test_a_margin_of_several_cells_is_a_range() -> None:
    def loss(its: Trial) -> float:
        return ALIKE(its) + (its.cell.r == 16)

    words = result.judge(study(loss, Study(across={"r": (2, 16)}, tune={"lr": STUDY.lrs}, seeds=5))).words
    ((low, high),) = re.findall(r"within ([\d.]+) to ([\d.]+) nats", words)
    assert float(low) < float(high)

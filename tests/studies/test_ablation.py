"""The claim that the QR is what helps, on studies whose losses are known."""

import pytest
from support.planted_losses import STUDY, bowl, gaining, mean, study

from olora_viz.studies.claims import CLAIMS
from olora_viz.studies.claims.claim import MIXED, NOT_MEASURED
from olora_viz.studies.claims.evidence import ClaimEvidence

CONTROLS = ("olora", "random_orthonormal", "sketch")


@pytest.mark.parametrize("reference", ["lora", "olora"])
@pytest.mark.parametrize(
    ("random", "sketch", "verdict"),
    [(0.3, 0.4, "holds"), (-0.3, -0.2, "fails"), (0.0, 0.0, "level"), (0.3, 0.0, MIXED), (0.0, -0.3, MIXED)],
    ids=str,
)
def test_the_qr_helps_where_other_bases_are_worse(random: float, sketch: float, verdict: str, reference: str) -> None:
    """Whether LoRA or OLoRA is the study's reference, and whatever LoRA's own loss."""
    excess = {"olora": 0.0, "random_orthonormal": random, "sketch": sketch, "lora": 0.5}
    inits = CONTROLS if reference == "olora" else ("lora", *CONTROLS)
    base = STUDY.changed(compare=inits)
    found = CLAIMS["ablation"].judge(
        ClaimEvidence(study=study(lambda its: 1.0 + bowl(its.lr) + excess[its.method], base))
    )
    assert found.verdict == verdict
    assert mean(found, "random_orthonormal_minus_olora") == pytest.approx(random, abs=0.02)
    assert mean(found, "sketch_minus_olora") == pytest.approx(sketch, abs=0.02)
    assert len(found.bars) == len(inits) - 1
    assert found.seeds == STUDY.seeds


def test_the_ablation_names_the_starts_that_a_study_lacks() -> None:
    found = CLAIMS["ablation"].judge(ClaimEvidence(study=study(gaining(0.1))))
    assert found.verdict == NOT_MEASURED
    assert "lacks random_orthonormal, sketch" in found.words
    without = study(lambda its: 1.0 + bowl(its.lr), STUDY.changed(compare=("lora", *CONTROLS[1:])))
    found = CLAIMS["ablation"].judge(ClaimEvidence(study=without))
    assert found.verdict == NOT_MEASURED
    assert "lacks olora" in found.words

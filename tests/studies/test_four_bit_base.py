"""The claim about starts on a base in four bits: verdicts on planted errors, and the measurement of a model."""

import math

import numpy as np
import pytest
import torch
from support.planted_claims import planted_errors

from olora_viz.lanes.lane import Lane
from olora_viz.lanes.layers import adaptable_layers, weight_of
from olora_viz.machine.four_bit import nf4
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import Race
from olora_viz.studies.claims import evidence, four_bit_base
from olora_viz.studies.claims.evidence import ClaimEvidence


@pytest.mark.parametrize(
    ("errors", "verdict"),
    [
        ({"pissa": 0.7, "olora": 0.8, "milora": 0.98}, "holds"),
        ({"pissa": 0.7, "olora": 0.8, "milora": 0.995}, "mixed"),
        ({"pissa": 0.995, "olora": 1.0, "milora": 1.005}, "level"),
        ({"pissa": 1.2, "olora": 1.02, "milora": 1.3}, "fails"),
        ({"random_orthonormal": 0.5, "1": 0.5}, "level"),
    ],
    ids=str,
)
def test_the_three_starts_from_factors_of_w_decide(errors: dict[str, float], verdict: str) -> None:
    assert four_bit_base.judge(planted_errors(**errors)).verdict == verdict


def test_a_start_that_leaves_less_in_some_layers_is_mixed_and_full_ranks_do_not_count() -> None:
    on = planted_errors(pissa=0.5, olora=0.5, milora=0.5)
    on.error["milora", 8][0] = math.nan
    assert four_bit_base.judge(on).verdict == "holds"
    on.error["milora", 8][1] = 1.1
    found = four_bit_base.judge(on)
    assert found.verdict == "mixed"
    assert "6 with PiSSA, 6 with OLoRA, 4 with MiLoRA, 0 with Orthogonal" in found.words


def test_a_model_is_measured_layer_by_layer_and_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "RANKS_ON_FOUR_BITS", (64, 128))
    monkeypatch.setattr(evidence, "ON_FOUR_BITS", ("lora", "pissa"))
    asked = ClaimEvidence(device="cpu")
    model, _ = asked.cache.load(RaceConfig(device="cpu"))
    before = {name: weight_of(layer).clone() for name, layer in adaptable_layers(model).items()}
    on = asked.on_four_bits
    assert all(torch.equal(weight_of(layer), before[name]) for name, layer in adaptable_layers(model).items())
    assert list(on.error) == [("lora", 64), ("pissa", 64)]
    full = np.array([min(W.shape) == 64 for W in before.values()])
    assert 0 < full.sum() < len(full)
    assert np.array_equal(np.isnan(on.error["pissa", 64]), full)
    assert (on.error["lora", 64][~full] == 1).all()
    assert (on.error["pissa", 64][~full] < 0.6).all()
    alone, kept = on.held_out["lora", 64], on.held_out["pissa", 64]
    assert 0 < kept.drift[0] < 0.5 * alone.drift[0]
    with torch.no_grad():
        for name, layer in adaptable_layers(model).items():
            weight_of(layer).copy_(nf4(before[name], double=True))
    race = Race(
        RaceConfig(task=asked.task, device="cpu", lanes=(Lane("lora"),), batches="by-seed", steps=1), cache=asked.cache
    )
    assert alone.text_loss[0] == pytest.approx(race.data.evaluate().loss[0], rel=1e-6)

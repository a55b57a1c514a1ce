"""The claim on cost: its verdict where the truth is known, and what it measures on a model."""

import numpy as np
import pytest
import torch
from support.planted_claims import costs
from support.planted_losses import mean

from olora_viz.lanes.lane import Lane
from olora_viz.models import load_model
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import race
from olora_viz.studies.claims import cost
from olora_viz.studies.claims.evidence import ClaimEvidence, Costs, peak_bytes


@pytest.mark.parametrize(
    ("known", "verdict"),
    [
        (costs(), "holds"),
        (costs(time=0.5), "holds"),
        (costs(time=1.5, memory=1.5), "fails"),
        (costs(time=1.5), "mixed"),
        (costs(memory=1.3), "mixed"),
        (costs(start=5.0), "holds"),
        (costs(start=7.0), "mixed"),
    ],
)
def test_steps_decide_and_a_start_only_if_it_is_as_long_as_ten(known: Costs, verdict: str) -> None:
    found = cost.judge(known)
    assert found.verdict == verdict
    ratio = np.log(known.step[:, 1] / known.step[:, 0]).mean()
    assert mean(found, "step_log_ratio") == pytest.approx(ratio)
    assert found.numbers["start_in_steps"] == pytest.approx(
        float(known.start[0, 1] - known.start[0, 0]) / float(np.median(known.step[:, 0]))
    )


def test_times_that_scatter_decide_nothing() -> None:
    scattered = costs()._replace(step=np.exp(np.random.default_rng(1).normal(0, 1, (7, 2))))
    assert cost.judge(scattered).verdict == "undecided"


def test_both_methods_train_r_times_in_plus_out_numbers_of_every_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("olora_viz.studies.claims.evidence.REPETITIONS", 1)
    model, _ = load_model("glassllm")
    layers = [m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and "layers" in n]
    expected = 3 * sum(layer.in_features + layer.out_features for layer in layers)
    found = ClaimEvidence(rank=3, batch_size=1).costs
    assert found.trained == (expected, expected)
    assert (found.start > 0).all()
    assert (found.step > 0).all()
    # Parameters and moments exist before the step; its gradient, as large, does not.
    assert min(found.peak) > 4 * expected


def test_the_peak_of_a_step_is_that_of_its_tensors() -> None:
    """What a step saves for its gradients lives at once, so no step needs less than that."""
    config = RaceConfig(lanes=(Lane("olora"),), steps=4, batch_size=4, eval_every=0, eval_size=1)
    racing = race(config)
    next(racing)
    saved: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    before = (*racing.model.parameters(), *racing.model.buffers(), racing.lanes.theta)
    known = {its.untyped_storage().data_ptr() for its in (*before, racing.lanes.start)}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        peak = peak_bytes(racing)
    least = sum(size for place, size in saved.items() if place not in known)
    assert least < peak < 5 * least
    racing.lanes.detach()

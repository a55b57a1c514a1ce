"""A start of which nothing is subtracted: a lane then computes with W + s B A from step 0 on."""

import json

import numpy as np
import peft
import pytest
import torch
from support.pefts import IDS, logits
from support.races import raced, resumed, small
from support.tiny import FAMILIES, tiny
from torch.func import functional_call

from olora_viz.figures.race import RaceCurves, accuracy_figure, loss_figure
from olora_viz.figures.theme import lane_styles
from olora_viz.lanes.adapters import Lanes, attach
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.layers import is_transposed, weight_of
from olora_viz.lanes.peft import read_peft, write_peft
from olora_viz.measures.update_spectra import update_spectra
from olora_viz.races.race import race

LANE = Lane("olora_unsubtracted", lr=1e-3, r=4, alpha=2)
SUBTRACTED = Lane("olora", lr=1e-3, r=4, alpha=2)


def textbook(lanes: Lanes, k: int = 0) -> dict[str, torch.Tensor]:
    """Return W + s B A of every layer, as the layers store it."""
    made = {}
    for name in lanes.layers:
        layer, now = lanes.model.get_submodule(name), lanes.factors(name, k)
        W = weight_of(layer) + lanes.lanes[k].scale * now.B @ now.A
        made[f"{name}.weight"] = W.T if is_transposed(layer) else W
    return made


@pytest.mark.parametrize("family", FAMILIES)
def test_the_function_at_step_0_is_that_of_w_plus_s_q_r(family):
    model = tiny(family, torch.float64)
    lanes = attach(model, [LANE])
    with lanes.off(), torch.no_grad():
        base = logits(model)
        call = {"input_ids": IDS, "use_cache": False}
        expected = functional_call(model, textbook(lanes), kwargs=call).logits
    torch.testing.assert_close(logits(model), expected, rtol=1e-9, atol=1e-9)
    assert (logits(model) - base).abs().max() > 0.01
    torch.testing.assert_close(logits(lanes.merge(0)), logits(model), rtol=1e-9, atol=1e-9)
    factors = lanes.factors(lanes.layers[0], 0)
    S = torch.linalg.svdvals(LANE.scale * factors.B @ factors.A)[: LANE.r]
    np.testing.assert_allclose(update_spectra(lanes).sigma[0, 0][: LANE.r], S, rtol=1e-6)


def test_it_is_exported_as_a_plain_lora_of_its_own_rank(tmp_path):
    model = tiny("llama", torch.float64)
    lanes = attach(model, [LANE])
    write_peft(lanes, 0, tmp_path / "adapter")
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["r"] == LANE.r
    theirs = peft.PeftModel.from_pretrained(tiny("llama", torch.float64), tmp_path / "adapter")
    torch.testing.assert_close(logits(theirs), logits(model), rtol=1e-9, atol=1e-9)
    back = read_peft(tiny("llama", torch.float64), tmp_path / "adapter")
    torch.testing.assert_close(logits(back.model), logits(model), rtol=1e-6, atol=1e-6)


def test_a_race_reports_its_own_results_at_step_0_and_leaves_the_others_alone():
    config = small((SUBTRACTED, LANE), eval_every=2)
    fresh = race(config)
    ours, its = fresh.state.last_eval.loss
    assert ours == pytest.approx(fresh.baseline.loss[0], rel=1e-5)
    assert abs(its - fresh.baseline.loss[0]) > 0.01
    fresh.lanes.detach()
    _, steps = raced(config)
    _, alone = raced(small((SUBTRACTED, SUBTRACTED), eval_every=2))
    for step, other in zip(steps, alone, strict=True):
        assert step.loss[0] == pytest.approx(other.loss[0], rel=1e-5)
    assert steps[0].loss[1] != steps[0].loss[0]
    again = list(resumed(config, at=2))
    for step, other in zip(steps[2:], again, strict=True):
        assert np.array_equal(step.loss, other.loss)


def test_its_curve_does_not_begin_at_the_base_model():
    racing, steps = raced(small((SUBTRACTED, LANE), eval_every=2))
    styles, base = lane_styles(racing.config.lanes), racing.baseline
    for made in (steps, []):  # also before the first step
        loss = loss_figure(RaceCurves(styles, made), start_loss=float(base.loss[0]))
        accuracy = accuracy_figure(RaceCurves(styles, made), start_accuracy=float(base.accuracy[0]))["data"]
        marks = [trace for trace in loss["data"] if trace["name"].endswith("held out")]
        for ours, its in (marks, accuracy[-2:]):
            assert ours["x"][0] == its["x"][0] == 0
            assert ours["y"][0] is not None
            assert its["y"][0] is None
        low, high = loss["layout"]["yaxis"]["range"]
        assert low < np.log10(base.loss[0]) < high

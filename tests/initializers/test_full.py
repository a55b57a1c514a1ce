"""Full fine-tuning as a lane: the dense update of the same layers, beside adapters."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from support.races import raced, resumed, small, steps_of
from support.starts import CLOSE, gaussian
from support.tiny import FAMILIES, tiny, tokens
from torch.func import functional_call

from olora_viz.initializers import Start
from olora_viz.lanes import memory as footprint
from olora_viz.lanes.adapters import Lanes, attach
from olora_viz.lanes.lane import Lane, display_names
from olora_viz.lanes.layers import is_transposed, weight_of
from olora_viz.lanes.memory import adapter_bytes
from olora_viz.lanes.peft import read_back, read_back_merged, read_peft, write_merged, write_peft
from olora_viz.lanes.plan import plan_adapters
from olora_viz.machine import memory
from olora_viz.measures.gradients import segment_norms
from olora_viz.measures.update_spectra import update_spectra
from olora_viz.models import load_model
from olora_viz.races.race import race
from olora_viz.races.script import peft_script
from olora_viz.studies.search import races
from olora_viz.studies.study import Study
from olora_viz.tasks.losses import lane_losses

IDS = tokens()
BETWEEN = (Lane("lora", lr=3e-3, r=4), Lane("full", lr=1e-3), Lane("olora", r=6, alpha=3))
config = partial(small, lanes=BETWEEN, steps=3)


def moved(lanes: Lanes, k: int) -> dict[str, torch.Tensor]:
    """Move a dense lane away from its start; return its ΔW by layer."""
    updates = {}
    for seed, (name, shape) in enumerate(lanes.plan.shapes.items()):
        updates[name] = 0.1 * gaussian(*shape, seed=seed).to(lanes.theta.dtype)
        identity = torch.eye(shape[0], dtype=lanes.theta.dtype)
        lanes.put(name, k, Start(A=updates[name], B=identity))
    return updates


def dense_weights(model, updates: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """W + ΔW as the layers store it."""
    made = {}
    for name, update in updates.items():
        layer = model.get_submodule(name)
        W = weight_of(layer) + update
        made[f"{name}.weight"] = W.T if is_transposed(layer) else W
    return made


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradient_is_that_of_the_weight_itself(family):
    model = tiny(family, torch.float64)
    lanes = attach(model, [Lane("olora", r=3), Lane("full"), Lane("full", r=1)])
    updates = {name: its.requires_grad_() for name, its in moved(lanes, 1).items()}
    logits = model(input_ids=IDS.repeat(3, 1), use_cache=False).logits.unflatten(0, (3, -1))
    logits.log_softmax(-1)[..., 5].mean((1, 2)).sum().backward()
    with lanes.off():
        weights = dense_weights(model, updates)
        alone = functional_call(model, weights, kwargs={"input_ids": IDS, "use_cache": False})
    torch.testing.assert_close(logits[1], alone.logits, **CLOSE)
    alone.logits.log_softmax(-1)[..., 5].mean().backward()
    for name, update in updates.items():
        torch.testing.assert_close(lanes.gradient(name, 1).A, update.grad, **CLOSE)
        assert not lanes.gradient(name, 1).B.any()
        torch.testing.assert_close(lanes.delta(name, 1), update.detach(), rtol=0, atol=0)
        assert lanes.gradient(name, 2).A.any()


def test_a_lane_trains_as_torch_adam_trains_the_weights_of_its_layers():
    running = race(config(dtype="float64"))
    model, _ = load_model("glassllm", dtype=torch.float64)
    weights = [model.get_submodule(name).weight for name in running.lanes.layers]
    for weight in weights:
        weight.requires_grad_()
    optimizer = torch.optim.Adam(weights, lr=1e-3)
    for number in range(1, 4):
        step = next(running)
        optimizer.zero_grad()
        loss = lane_losses(model, running.batch(number), 1).sum()
        loss.backward()
        norm = torch.nn.utils.get_total_norm([weight.grad for weight in weights])
        np.testing.assert_allclose(step.loss[1], loss.item(), rtol=1e-9)
        np.testing.assert_allclose(step.grad_norm[1], norm.item(), rtol=1e-7)
        optimizer.step()
    for name, weight in zip(running.lanes.layers, weights, strict=True):
        mine = running.lanes.plan.weight(name) + running.lanes.delta(name, 1)
        torch.testing.assert_close(mine, weight.detach(), rtol=1e-9, atol=1e-9)


def test_the_adapters_beside_it_keep_their_bits_and_it_keeps_its_own():
    wide, alike = steps_of(config()), config(lanes=(BETWEEN[0], BETWEEN[0], BETWEEN[2]))
    for step, other in zip(wide, steps_of(alike), strict=True):
        for k in (0, 2):
            assert step.loss[k] == other.loss[k]
            assert step.grad_norm[k] == pytest.approx(other.grad_norm[k], rel=1e-6)
    alone = steps_of(config(lanes=(BETWEEN[1],)))
    np.testing.assert_allclose([s.loss[1] for s in wide], [s.loss[0] for s in alone], rtol=1e-6)


def test_rank_and_alpha_do_not_matter():
    its = replace(BETWEEN[1], r=2, alpha=7.0, rslora=True)
    both = config(lanes=(BETWEEN[1], its))
    running, steps = raced(both)
    assert all(step.loss[0] == step.loss[1] for step in steps)
    assert torch.equal(*running.lanes.theta.detach())
    weights = sum(out * into for out, into in running.lanes.plan.shapes.values())
    assert running.lanes.plan.parameters == (weights, weights)
    assert running.lanes.theta.shape == (2, weights)
    assert int(running.lanes.trained().sum()) == 2 * weights
    assert display_names([Lane("lora", r=4), its, Lane("lora")]) == ("LoRA r 4", "Full fine-tuning", "LoRA r 8")


def test_it_resumes_bitwise_and_its_gradients_are_measured():
    assert list(resumed(config(), 2)) == steps_of(config())[2:]
    lanes = raced(config())[0].lanes
    norms = segment_norms(lanes.theta - lanes.start, lanes.sizes).detach().unflatten(1, (-1, 2))
    assert norms[1, :, 0].all()
    assert not norms[1, :, 1].any()


def test_a_layer_that_it_leaves_out_is_unchanged_and_others_keep_theirs():
    targets = ("down_proj",)
    lanes = attach(tiny("llama"), [replace(BETWEEN[1], targets=targets), Lane("lora", r=2)])
    assert {name.rpartition(".")[2] for name in lanes.plan.layers_of(0)} == set(targets)
    left_out = next(name for name in lanes.layers if "down" not in name)
    assert lanes.factors(left_out, 0).A.shape[0] == 0
    assert not lanes.delta(left_out, 0).any()
    lanes.model(input_ids=IDS.repeat(2, 1)).logits.sum().backward()
    assert not lanes.gradient(left_out, 0).A.any()
    assert lanes.gradient(lanes.plan.layers_of(0)[0], 0).A.any()


@pytest.mark.parametrize("lanes", [[Lane("full")], [Lane("olora", r=2), Lane("full")]], ids=len)
def test_its_spectra_are_those_of_the_whole_update(lanes):
    its = attach(tiny("llama", torch.float64), lanes)
    k = len(lanes) - 1
    updates, found = moved(its, k), update_spectra(its)
    for i, update in enumerate(updates.values()):
        sigma = np.linalg.svd(update.numpy(), compute_uv=False)
        np.testing.assert_allclose(found.sigma[k, i, : len(sigma)], sigma, rtol=1e-9)
        assert not found.sigma[k, i, len(sigma) :].any()
        np.testing.assert_allclose(found.norm[k, i], np.linalg.norm(update), rtol=1e-9)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_it_is_exported_and_read_back(family, tmp_path):
    lanes = attach(tiny(family), [Lane("olora", r=2), Lane("full", alpha=3.0, rslora=True)])
    updates = moved(lanes, 1)
    write_peft(lanes, 1, tmp_path / "adapter")
    found = read_back(lanes, 1, tmp_path / "adapter")
    assert found.by.startswith("PEFT")
    assert not found.problem
    lanes.detach()
    again = read_peft(lanes.model, tmp_path / "adapter")
    for name, update in updates.items():
        torch.testing.assert_close(again.delta(name, 0), update, rtol=1e-6, atol=1e-7)


def test_it_is_merged_into_a_whole_model(tmp_path):
    lanes, (_, tokenizer) = raced(config())[0].lanes, load_model("glassllm")
    write_merged(lanes, 1, tokenizer, tmp_path / "merged")
    assert not read_back_merged(lanes, 1, tmp_path / "merged").problem


def test_its_memory_is_counted_before_it_is_taken(monkeypatch):
    model = tiny("llama")
    plans = [plan_adapters(model, [Lane("lora", r=r, lr=1e-3)]) for r in (1, 4)]
    dense = plan_adapters(model, [Lane("full")])
    beside = plan_adapters(model, [Lane("lora", r=4), Lane("full")])
    sizes = [adapter_bytes(plan) for plan in (*plans, dense, beside)]
    assert sizes == sorted(sizes)
    assert adapter_bytes(dense) == 10 * 4 * dense.parameters[0]
    passes = [footprint.known_cost("evaluation", p, footprint._evaluate) for p in (dense, beside)]
    size = footprint.PROBE_SIZES[-1]
    assert 0 < passes[0].bytes(size) <= passes[1].bytes(size)
    monkeypatch.setattr(memory, "available_memory", lambda _: 10**7)
    with pytest.raises(ValueError, match=r"1 lane, 1 of full fine-tuning, on .* needs .*MB"):
        race(config(lanes=(Lane("full"),)))
    race(config(lanes=(Lane("lora", r=2),)))


def test_what_needs_an_adapter_is_refused():
    with pytest.raises(ValueError, match=r"dropout 0.1 is not possible for full"):
        Lane("full", dropout=0.1)
    with pytest.raises(ValueError, match="cannot train lane 'full', since full fine-tuning has no"):
        peft_script(config())
    lanes = attach(tiny("llama"), [Lane("full")])
    with pytest.raises(ValueError, match="form 'olora' needs a lane initialized by olora"):
        write_peft(lanes, 0, "nowhere", form="olora")


def test_in_a_study_it_races_apart_so_that_no_adapter_is_padded_to_its_size():
    study = Study(tune={"lr": (1e-3,)}, compare=("lora", "full", "olora"), seeds=3)
    trials = [
        trial for cell in study.cells() for init in study.compare for trial in study.trials(cell, init, study.lrs)
    ]
    groups = races(study, trials, most=len(trials))
    assert [{trial.method for trial in group} for group in groups] == [{"lora", "olora"}, {"full"}]
    assert sum(map(len, groups)) == len(trials)

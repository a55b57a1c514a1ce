"""Races on a base in four bits: a model with rounded weights is the oracle, and turns by hand that of LoftQ."""

import gc
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from support.races import resumed, small, steps_of
from support.tiny import tiny

import olora_viz as ov
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.layers import adaptable_layers, bytes_of, float_bytes_of, named_layers, pack_base, weight_of
from olora_viz.lanes.passes import logits_of
from olora_viz.machine.four_bit import BLOCK, FourBitLayer, nf4
from olora_viz.models import load_model
from olora_viz.races.export import export_lane
from olora_viz.races.race import Race, race
from olora_viz.races.script import peft_script

STARTS = [name for name, start in ov.INITIALIZERS.items() if start.keeps_function]
RESIDUAL = (
    Lane("pissa", r=2, alpha=5, start_from="residual"),
    Lane("milora", r=3, start_from="residual", targets=("q_proj", "down_proj")),
    Lane("loftq", r=2, alpha=4, iterations=3, start_from="residual"),
)
LANES = (Lane("lora", r=2), Lane("pissa", r=2, start_from="full"), *RESIDUAL, Lane("full", lr=1e-4))
FOUR_BITS = partial(small, base="nf4", dtype="float64")
IDS = torch.tensor([[3, 9, 4, 20, 7, 1, 30, 2]])


def rounded(model: torch.nn.Module) -> torch.nn.Module:
    """Return a model with each linear layer but its head rounded to four bits."""
    for layer in adaptable_layers(model).values():
        with torch.no_grad():
            weight_of(layer).copy_(nf4(weight_of(layer), double=True))
    return model


def logits(racing: Race, k: int | None) -> torch.Tensor:
    with torch.no_grad(), racing.lanes.apart(None if k is None else slice(k, k + 1)):
        return logits_of(racing.model, IDS)


@pytest.mark.parametrize("family", ["llama", "gemma", "gpt2", "opt"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_packed_model_computes_with_the_weights_that_rounding_leaves(family, dtype):
    packed, other = (tiny(family).to(dtype) for _ in range(2))
    head = packed.get_output_embeddings()
    pack_base(packed, family)
    assert torch.equal(logits_of(packed, IDS), logits_of(rounded(other), IDS))
    assert not isinstance(head, FourBitLayer)
    layers = [layer for layer in packed.modules() if isinstance(layer, FourBitLayer)]
    assert len(layers) == len(adaptable_layers(other))
    assert float_bytes_of(packed) == bytes_of(other)
    saved = sum(layer.shape.numel() for layer in layers) * (dtype.itemsize - 0.5)
    assert 0 < bytes_of(packed) - (bytes_of(other) - saved) < 0.1 * saved  # the scales


def test_a_race_on_four_bits_is_bitwise_that_on_the_rounded_model():
    lanes = (Lane("lora", r=2), Lane("olora", r=2, dropout=0.2), Lane("pissa", r=3, seed=1), Lane("full", lr=1e-4))
    model, tokenizer = load_model("glassllm")
    config = small(lanes, eval_every=2, gradients_every=1, curvature_every=2, keep="auto")
    on_model = list(race(config, model=rounded(model), tokenizer=tokenizer))
    assert steps_of(replace(config, base="nf4")) == on_model
    assert not np.array_equal(next(race(small(lanes))).loss, on_model[0].loss)


@pytest.mark.parametrize("start_from", ["base", "full"])
@pytest.mark.parametrize("init", [name for name in STARTS if name != "loftq"])
def test_a_lane_begins_as_the_base_in_four_bits_bit_for_bit(init, start_from):
    racing = race(FOUR_BITS((Lane(init, r=2, start_from=start_from), Lane("lora", r=2)), dtype="float32"))
    assert torch.equal(logits(racing, 0), logits(racing, None))
    assert np.isfinite([step.loss for step in racing]).all()


def test_what_a_start_reads_is_what_its_key_says():
    full = named_layers(load_model("glassllm")[0])
    lanes = tuple(Lane("olora", r=2, start_from=which) for which in ("base", "full", "residual"))
    racing = race(FOUR_BITS(lanes, dtype="float32"))
    for name in racing.lanes.layers:
        W = weight_of(full[name]).detach()
        for k, read in enumerate((nf4(W, double=True), W, W)):
            assert torch.equal(racing.lanes.factors(name, k).A, ov.olora(read, 2).A)


def by_hand(W: np.ndarray, lane: Lane) -> np.ndarray:
    """Return what a lane with a base of its own computes with, in NumPy but for the rounding to four bits."""

    def part(X: np.ndarray) -> np.ndarray:
        U, S, Vh = np.linalg.svd(X, full_matrices=False)
        at = slice(-lane.r, None) if lane.init == "milora" else slice(lane.r)
        return U[:, at] * S[at] @ Vh[at]

    def rounds(X: np.ndarray) -> np.ndarray:
        return nf4(torch.tensor(X), double=True).numpy()

    if lane.init != "loftq":
        return rounds(W - part(W)) + part(W)
    BA = Q = 0.0 * W
    for _ in range(lane.iterations):
        Q = rounds(W - BA)
        BA = part(W - Q)
    return Q + BA


@pytest.mark.parametrize("k", range(len(RESIDUAL)))
def test_a_base_of_its_own_is_that_of_qpissa_and_loftq(k):
    racing, full = race(FOUR_BITS(RESIDUAL)), named_layers(load_model("glassllm", dtype=torch.float64)[0])
    merged, lane = named_layers(racing.lanes.merge(k)), RESIDUAL[k]
    for name in racing.lanes.layers:
        W = weight_of(full[name]).detach().numpy()
        ours = weight_of(merged[name]).numpy()
        if name not in racing.lanes.plan.layers_of(k):
            np.testing.assert_array_equal(ours, nf4(torch.tensor(W), double=True).numpy())
            continue
        wanted, error = by_hand(W, lane), np.linalg.norm(ours - W)
        # a weight between two values may get either, and so may a scale
        assert np.linalg.norm(ours - wanted) < 0.05 * error
        assert error == pytest.approx(np.linalg.norm(wanted - W), rel=1e-3)
    assert not torch.equal(logits(racing, k), logits(racing, None))
    np.testing.assert_allclose(logits(racing, k), logits_of(racing.lanes.merge(k), IDS), atol=1e-9)


def test_a_lane_on_a_base_of_its_own_trains_as_on_that_base_alone():
    lane = replace(RESIDUAL[0], lr=3e-3)
    racing = race(FOUR_BITS((lane,), eval_every=1))
    model, tokenizer = load_model("glassllm", dtype=torch.float64)
    starts = {name: racing.lanes.factors(name, 0) for name in racing.lanes.layers}
    for name, start in starts.items():
        W = weight_of(named_layers(model)[name])
        with torch.no_grad():
            W.copy_(nf4(W - lane.scale * start.B @ start.A, double=True))
    config = small((Lane("olora_unsubtracted", lr=3e-3, r=2, alpha=5),), eval_every=1)
    alone = race(config, model=model, tokenizer=tokenizer)
    for name, start in starts.items():
        alone.lanes.put(name, 0, start)
    for one, other in zip(racing, alone, strict=True):
        np.testing.assert_allclose(one.eval_loss, other.eval_loss, rtol=1e-9)
        np.testing.assert_allclose(one.loss, other.loss, rtol=1e-9)


def test_other_lanes_have_the_bits_that_they_have_beside_plain_ones():
    plain = tuple(replace(lane, start_from="full", r=2) if lane.has_own_base else lane for lane in LANES)
    mixed, others = (race(FOUR_BITS(lanes, gradients_every=1)) for lanes in (LANES, plain))
    kept = [k for k, lane in enumerate(LANES) if not lane.has_own_base]
    for one, other in zip(mixed, others, strict=True):
        assert one.loss[kept].tolist() == other.loss[kept].tolist()
    for k in range(len(LANES)):
        alone, beside = ([step.loss for step in steps_of(FOUR_BITS(lanes))] for lanes in ((LANES[k],), LANES))
        np.testing.assert_allclose([loss[0] for loss in alone], [loss[k] for loss in beside], rtol=1e-9)


def test_no_weight_of_the_blocks_is_kept_for_the_backward_pass():
    racing = race(FOUR_BITS((Lane("lora", r=2),), dtype="float32"))
    shape = racing.lanes.plan.shapes["model.layers.0.mlp.down_proj"]

    def alive() -> set[int]:
        tensors = [each for each in gc.get_objects() if type(each) is torch.Tensor and each.is_floating_point()]
        return {id(each) for each in tensors if each.shape in (shape, shape[::-1])}

    before, saved = alive(), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        found = racing.model(input_ids=IDS).logits.sum()
    assert {each.shape for each in saved}.isdisjoint({shape, shape[::-1]})
    assert alive() <= before
    found.backward()
    assert racing.lanes.theta.grad.any()


def test_the_summary_has_the_memory_before_and_after():
    summary, plain = (race(small(base=base)).summary() for base in ("nf4", "float"))
    frozen = summary["frozen"]
    assert frozen["float_bytes"] == plain["frozen"]["bytes"] == 4 * plain["coverage"]["weights"]
    adapted, others = (summary["coverage"][name] for name in ("adapted_weights", "weights"))
    assert summary["coverage"] == plain["coverage"]
    assert 0 < frozen["bytes"] - (adapted / 2 + 4 * (others - adapted)) < 0.02 * adapted + 28 * 64
    assert frozen["base"] == "nf4"


def test_a_race_goes_on_from_its_folder_bitwise(tmp_path):
    config = FOUR_BITS(LANES, eval_every=2, keep_best=True)
    whole = list(race(config))
    going_on = resumed(config, 2)
    assert [*going_on] == whole[2:]
    ended = race(config)
    list(ended)
    ended.save(tmp_path / "run")
    loaded = ov.load_run(tmp_path / "run")
    assert loaded.config.base == "nf4"
    assert {path.name for path in (tmp_path / "run/adapters").iterdir()} == {
        label for label, lane in zip(config.labels, config.lanes, strict=True) if not lane.has_own_base
    }


def test_an_adapter_of_a_shared_base_runs_on_it_in_peft_and_one_of_its_own_base_merges(tmp_path):
    lanes = (Lane("olora", r=2, lr=1e-2), Lane("pissa", r=2, lr=1e-2, start_from="residual"))
    racing = race(small(lanes, base="nf4"))
    list(racing)
    written = export_lane(racing, 0, tmp_path / "adapter")
    assert written.check.problem == ""
    on_rounded = PeftModel.from_pretrained(rounded(load_model("glassllm")[0]), tmp_path / "adapter")
    np.testing.assert_allclose(logits_of(on_rounded, IDS), logits(racing, 0), atol=1e-4)
    with pytest.raises(ValueError, match="has a base of its own, by start_from=residual, which no adapter holds: exp"):
        export_lane(racing, 1, tmp_path / "other")
    with pytest.raises(ValueError, match="PEFT would round W − B⁰A⁰ anew"):
        export_lane(racing, 0, tmp_path / "again", form="olora")
    merged = export_lane(racing, 1, tmp_path / "merged", form="merged")
    assert merged.check.problem == ""
    model, _ = load_model(str(tmp_path / "merged"))
    np.testing.assert_allclose(logits_of(model, IDS), logits(racing, 1), atol=1e-4)


def test_a_chain_on_four_bits_merges_into_the_one_base_and_refuses_others():
    chain = ov.chain(small(base="nf4", steps=2), ["number-words", "uppercase"])
    assert all(np.isfinite(step.loss).all() for link in chain for step in link)
    with pytest.raises(ValueError, match="start_from=residual is for one race"):
        ov.chain(FOUR_BITS(RESIDUAL), ["number-words", "uppercase"])


def test_what_cannot_be_gets_a_sentence():
    model, tokenizer = load_model("glassllm")
    for make, sentence in (
        (lambda: small(RESIDUAL), "start_from=residual is for a base in four bits: set base to nf4"),
        (
            lambda: small((Lane("loftq"),), base="nf4"),
            "loftq starts from what four bits lose .* add start_from=residual",
        ),
        (lambda: small(base="int8"), "unknown base 'int8'"),
        (
            lambda: race(small(base="nf4"), model=model, tokenizer=tokenizer),
            "base nf4 is for a model that the race loads",
        ),
        (lambda: ov.attach(model, list(RESIDUAL)), "start_from=residual is for a race on a base in four bits"),
        (lambda: Lane("olora", start_from="weights"), "unknown start_from 'weights'"),
        (lambda: Lane("olora", iterations=2), "iterations 2 is not a key of olora: it goes with loftq"),
        (lambda: Lane("loftq", iterations=0), "iterations must be a whole number from 1"),
        (lambda: Lane("olora", start_from="full", fair=True), "start_from=full and a fair rate do not go together"),
        (lambda: Lane("olora_unsubtracted", start_from="full"), "olora_unsubtracted, which changes the base's func"),
        (lambda: peft_script(small(base="nf4")), "cannot keep the base in nf4"),
    ):
        with pytest.raises(ValueError, match=sentence):
            make()
    small_layer = torch.nn.Sequential(torch.nn.Linear(7, 9, bias=False))
    with pytest.raises(ValueError, match=f"blocks of {BLOCK} weights, and '0' of a model has 63: leave it float"):
        pack_base(small_layer, "a model")


def test_the_command_line_says_what_the_weights_take(tmp_path, capsys):
    from olora_viz.__main__ import main

    lanes = ("--lane", "lora:r=2", "--lane", "loftq:r=2,iterations=2,start_from=residual")
    more = ("--task", "number-words", "--steps", "2", "--base", "nf4", "--run", str(Path(tmp_path / "run")))
    assert main(["race", *lanes, *more]) == 0
    assert "the frozen weights take 0.9 MB in nf4, and 3.4 MB without" in capsys.readouterr().out

"""Races, runs and files of adapters on the experts of a mixture."""

import copy
import json

import numpy as np
import peft
import pytest
import torch
from support.mixtures import EXPERTS, MIXED, MIXTURES, close, disturb, logits, mixture
from support.races import small
from support.tiny import tiny_tokenizer, tokens
from support.verbs import run

from olora_viz.lanes.adapters import attach
from olora_viz.lanes.generation import greedy
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.layers import expert_layers, target_layers
from olora_viz.lanes.peft import read_back, read_peft, write_peft
from olora_viz.measures.truncation import layers_like
from olora_viz.races.race import race
from olora_viz.races.script import peft_script


def racing(**changes):
    config = small(MIXED[:2], steps=4, max_length=40, targets=EXPERTS, **changes)
    return race(config, model=mixture("mixtral"), tokenizer=tiny_tokenizer(pad_token="<pad>"))


def test_a_race_on_experts_learns_is_measured_and_resumes_bitwise():
    every = {"gradients_every": 1, "spectra_every": 1, "curvature_every": 4}
    whole, halves = racing(**every), [racing(**every), racing(**every)]
    steps = list(whole)
    assert (steps[-1].loss < steps[0].loss).all()
    for _ in range(2):
        next(halves[0])
    halves[1].restore(halves[0].snapshot())
    assert np.array_equal([step.loss for step in halves[1]], [step.loss for step in steps[2:]])
    assert torch.equal(whole.lanes.theta, halves[1].lanes.theta)
    assert steps[0].gradients.layers == whole.lanes.layers
    assert np.isfinite(steps[-1].curvature.lambda_max).all()
    for k in range(2):
        for i, name in enumerate(whole.lanes.layers):
            sigma = torch.linalg.svdvals(whole.lanes.delta(name, k))
            found = steps[-1].update_spectra.sigma[k, i]
            assert np.allclose(found[: len(sigma)], sigma[: len(found)], atol=1e-5)


def test_one_lane_adapts_the_experts_and_another_the_queries_as_each_does_alone(tmp_path):
    pair = (Lane("olora", r=2, targets=EXPERTS), Lane("lora", r=4, lr=1e-2, targets=("q_proj",), dropout=0.1))
    both, *alone = (
        race(
            small(lanes, steps=3, max_length=40), model=mixture("mixtral"), tokenizer=tiny_tokenizer(pad_token="<pad>")
        )
        for lanes in (pair, pair[:1], pair[1:])
    )
    for step, *own in zip(both, *alone, strict=True):
        np.testing.assert_allclose(step.loss, [its.loss[0] for its in own], rtol=1e-5)
    for k in range(2):
        write_peft(both.lanes, k, tmp_path / str(k))
        assert read_back(both.lanes, k, tmp_path / str(k)).problem == ""
    with pytest.raises(ValueError, match=r"dropout 0\.1 is not possible on experts"):
        attach(mixture("mixtral"), [Lane("lora", targets=EXPERTS, dropout=0.1), pair[1]])


def test_answers_of_all_lanes_are_those_of_each_alone():
    lanes = attach(mixture("qwen3_moe"), MIXED, EXPERTS)
    disturb(lanes)
    prompts = [tokens(1, length, seed=length)[0].tolist() for length in (2, 7, 12)]
    together = greedy(lanes.model, prompts, 6, len(MIXED), 0)
    for k, said in enumerate(together):
        with lanes.only(k):
            assert said == greedy(lanes.model, prompts, 6, 1, 0)[0]


def test_spectra_find_the_matrices_of_experts_where_no_linear_layer_has_the_name():
    model = mixture("gpt_oss")
    assert list(layers_like(model)) == list(target_layers(model))
    found = layers_like(model, "layers.1.*.down_proj.3")
    assert list(found) == ["model.layers.1.mlp.experts.down_proj.3"]
    assert found.popitem()[1].shape == (24, 40)


@pytest.mark.parametrize("targets", [EXPERTS, (*EXPERTS, "q_proj"), ("experts.down_proj",)])
@pytest.mark.parametrize("family", MIXTURES)
def test_peft_reads_back_adapters_on_experts(family, targets, tmp_path):
    lanes = attach(mixture(family), MIXED, targets)
    disturb(lanes)
    for k in range(len(MIXED)):
        write_peft(lanes, k, tmp_path / "a")
        found = read_back(lanes, k, tmp_path / "a")
        assert (found.by[:6], found.problem) == ("PEFT 0", "")
        ours = read_peft(lanes.base(), tmp_path / "a")
        assert ours.layers == lanes.layers
        for name in lanes.layers:
            close(ours.delta(name, 0), lanes.delta(name, k))


@pytest.mark.filterwarnings("ignore:The following alpha_pattern")  # which PEFT applies all the same
def test_what_peft_saves_of_experts_is_read(tmp_path):
    model = mixture("qwen3_moe")
    config = peft.LoraConfig(
        r=2, lora_alpha=6, init_lora_weights=False, target_modules=["q_proj"],
        target_parameters=["experts.gate_up_proj", "experts.down_proj"],
        alpha_pattern={"experts.down_proj": 3},
    )  # fmt: skip
    theirs = peft.get_peft_model(copy.deepcopy(model), config).eval()
    theirs.save_pretrained(tmp_path)
    lanes = read_peft(model, tmp_path)
    assert len(lanes.layers) == 2 + len(expert_layers(model))
    close(logits(model), logits(theirs), tolerance=1e-4)


def test_an_adapter_of_another_number_of_experts_or_of_a_router_is_refused(tmp_path):
    lanes = attach(mixture("mixtral"), [Lane("lora", r=2)], ["experts.down_proj"])
    write_peft(lanes, 0, tmp_path / "a")
    lanes.detach()
    with pytest.raises(ValueError, match=r"has 6 experts, which cannot share 8 rows of A"):
        read_peft(mixture("qwen3_moe"), tmp_path / "a")
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    config["target_parameters"] = ["mlp.gate.weight"]
    (tmp_path / "a" / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"changes the parameter 'model.layers.0.mlp.gate.weight'"):
        read_peft(lanes.model, tmp_path / "a")


def test_what_peft_has_no_start_for_is_refused_with_a_sentence(tmp_path):
    lanes = attach(mixture("mixtral"), [Lane("olora", r=2)], EXPERTS)
    with pytest.raises(ValueError, match="form 'olora' is not possible on experts; PEFT cannot"):
        write_peft(lanes, 0, tmp_path / "a", form="olora")
    with pytest.raises(ValueError, match=r"adapters on experts, as the target 'experts\.gate_up"):
        peft_script(small(targets=EXPERTS))
    with pytest.raises(ValueError, match=r"adapters on experts, as the target 'experts\.gate_up"):
        peft_script(small((Lane("lora"), Lane("olora", targets=EXPERTS))))


def test_a_run_on_experts_resumes_and_exports_on_the_command_line(tmp_path):
    folder, out = tmp_path / "model", tmp_path / "run"
    mixture("mixtral").save_pretrained(folder)
    tiny_tokenizer(pad_token="<pad>", eos_token="</s>").save_pretrained(folder)
    given = ["--model", str(folder), "--lane", "olora:r=2", "--max-length", "40"]
    targets = ["--target", EXPERTS[0], "--target", EXPERTS[1]]
    done = run("race", *given, *targets, "--steps", "2", "--run", str(out), "--eval-size", "4", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])["summary"]
    assert summary["adapted"].startswith("every lane adapts 16 expert matrices, ")
    assert summary["coverage"]["expert_matrices"] == 16
    for form in ("lora", "merged"):
        to = ["--out", str(tmp_path / form), "--form", form]
        found = run("export", str(out), "--lane", "olora", *to)
        assert found.returncode == 0, found.stderr
        assert "reads it back with the lane's logits" in found.stderr + found.stdout

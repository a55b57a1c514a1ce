"""What a race adapts of its model, and what it leaves out, is counted once and said everywhere."""

import json

import pytest
import torch
import transformers as hf
from support.races import raced, small
from support.tiny import FAMILIES, VOCABULARY, tiny, tiny_tokenizer

from olora_viz.__main__ import main
from olora_viz.background.race import BackgroundRace
from olora_viz.background.record import ready_race
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.layers import coverage_of, target_layers, worded
from olora_viz.lanes.plan import plan_adapters
from olora_viz.races import run as runs
from olora_viz.races.race import race
from olora_viz.views.race import race_view


@pytest.mark.parametrize("family", FAMILIES)
def test_every_weight_is_adapted_or_left_out_and_counts_once(family):
    model = tiny(family)
    found = coverage_of(model, target_layers(model))
    assert found.weights == sum(p.numel() for p in model.parameters())
    assert found.adapted == sum(layer.weight.numel() for layer in target_layers(model).values())
    assert found.layers == len(target_layers(model))
    assert list(found.left_out.values()) == sorted(found.left_out.values(), reverse=True)


def mixtral() -> hf.PreTrainedModel:
    sizes = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2}
    config = hf.MixtralConfig(
        **sizes, vocab_size=VOCABULARY, num_attention_heads=4, num_key_value_heads=2,
        num_local_experts=4, max_position_embeddings=64, head_dim=8,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return hf.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def test_experts_routers_and_layers_that_are_not_targets_are_named():
    model = mixtral()
    found = plan_adapters(model, [Lane("lora", r=2)], ["q_proj"]).coverage
    experts = sum(p.numel() for n, p in model.named_parameters() if "experts" in n)
    assert found.adapted == 2 * 24 * 32
    assert found.left_out["3-D experts"] == experts
    assert found.left_out["routers"] == 2 * 4 * 24
    assert found.left_out["embeddings"] == found.left_out["output head"] == VOCABULARY * 24
    assert found.left_out["other linear layers"] == 2 * (2 * 24 * 16 + 24 * 32)
    assert worded(found, {None: found}).startswith(
        "every lane adapts 2 layers, 4.9% of the weights; left out: 3-D experts"
    )
    assert list(found.left_out)[-1] == "norms and biases"


def test_what_got_no_gradient_is_named_and_no_more_than_three_layers_of_it():
    found = coverage_of(tiny("llama"), target_layers(tiny("llama")))
    whole = found, {None: found}
    assert "gradient" not in worded(*whole, [])
    assert worded(*whole) == worded(*whole, [])
    assert worded(*whole, ["a", "b"]).endswith("; no gradient in the first step: a, b")
    assert worded(*whole, list("abcde")).endswith("first step: a, b, c and 2 more")


def test_a_layer_without_a_gradient_is_found_in_the_first_step():
    model, tokenizer = mixtral(), tiny_tokenizer(pad_token="<pad>")
    name = "model.layers.1.self_attn.o_proj"
    layer = model.get_submodule(name)
    layer.register_forward_hook(lambda *given: given[-1].detach())
    running = race(small(max_length=40), model=model, tokenizer=tokenizer)
    assert running.without_gradient is None
    next(running)
    assert running.without_gradient == [f"model.layers.1.self_attn.{part}_proj" for part in ("q", "k", "v", "o")]
    assert "no gradient in the first step: model.layers.1.self_attn.q_proj" in running.adapted


@pytest.mark.parametrize("init", ["lora", "olora", "mica", "eva"])
def test_no_start_is_taken_for_a_layer_without_a_gradient(init):
    running, _ = raced(small((Lane(init, r=2),), steps=1))
    assert running.without_gradient == []


def test_it_is_said_on_the_command_line_and_in_the_summary(tmp_path, capsys):
    given = ["race", "--lane", "lora:r=2", "--steps", "1", "--eval-size", "4", "--test-size", "4"]
    assert main([*given, "--run", str(tmp_path / "run"), "--json"]) == 0
    said = capsys.readouterr()
    summary = json.loads(said.out.splitlines()[-1])["summary"]
    assert summary["adapted"].startswith("every lane adapts 28 layers, ")
    assert summary["adapted"] in said.err.splitlines()
    assert summary["coverage"]["layers"] == 28
    assert summary["without_gradient"] == []
    assert summary.pop("verdict") is None  # of one lane; it is not kept
    assert runs.read_summary(tmp_path / "run") == summary
    for verb in ("gradients", "curvature"):
        assert main([verb, "--lane", "lora:r=2", "--batch-size", "2", "--json"]) == 0
        assert summary["adapted"] in capsys.readouterr().err.splitlines()


def test_it_is_a_remark_under_the_results_of_page_panel_and_report():
    config = small((Lane("lora", r=2),), steps=1)
    job = BackgroundRace("a", config, None, ready_race(config).styles)
    job.compute()
    assert job.record().adapted == raced(config)[0].adapted
    assert f"E{job.record().adapted[1:]}." in race_view(job.record()).results

"""An adapter is merged into the files of a model, tensor by tensor, as PEFT merges it in memory."""

import re
from dataclasses import replace

import peft
import pytest
import torch
import transformers as hf
from support.mixtures import EXPERTS, close, mixture
from support.mixtures import logits as mixed_logits
from support.model_folders import contents, loaded, train
from support.pefts import logits
from support.verbs import objects, run

import olora_viz as ov
from olora_viz.lanes.layers import target_layers
from olora_viz.lanes.merged_folder import merge_folder
from olora_viz.lanes.started_folder import start_folder
from olora_viz.machine.files import read_tensors, write_tensors


@pytest.mark.parametrize(("family", "init", "has_rest"), [("llama", "olora", False), ("gpt2", "sketch", True)])
def test_an_adapter_is_merged_into_a_folder_as_peft_merges_it_in_memory(family, init, has_rest, saved, tmp_path):
    rest = tmp_path / "rest" if has_rest else None
    started = start_folder(saved(family), ov.Lane(init, r=4, alpha=6), tmp_path / "adapter", rest)
    train(started.out)
    trained = loaded(started)
    (started.out / "start.json").unlink()  # as `save_pretrained` leaves it
    inspected = run("inspect", str(started.out))
    assert ("holds W − s B⁰A⁰, so that ΔW is s B⁰A⁰ and" in inspected.stderr) is has_rest
    if has_rest:
        refused = run("export", str(started.out), "--form", "merged", "--out", "x", "--model", str(saved(family)))
        assert (refused.returncode, "was made for" in refused.stderr) == (2, True), refused.stderr
    done = run("export", str(started.out), "--form", "merged", "--out", str(tmp_path / "merged"), "--json")
    assert done.returncode == 0
    assert objects(done.stdout)[0]["layers"] == started.layers
    merged = hf.AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(merged), logits(trained), rtol=1e-4, atol=1e-4)
    whole = trained.merge_and_unload().state_dict()
    for name, W in merged.state_dict().items():
        torch.testing.assert_close(W, whole[name], rtol=1e-5, atol=1e-5)
    assert (logits(merged) - logits(hf.AutoModelForCausalLM.from_pretrained(saved(family)))).abs().max() > 0.1
    again = run("export", str(started.out), "--form", "merged", "--out", str(tmp_path / "merged"))
    assert (again.returncode, f"already in {tmp_path / 'merged'}: nothing to do" in again.stdout) == (0, True)


def test_experts_are_merged_and_what_cannot_be_is_refused(saved, tmp_path):
    model, lane = tmp_path / "model", ov.Lane("lora", r=2, targets=EXPERTS)
    mixture("gpt_oss").save_pretrained(model)
    of_experts = "no linear layer's name ends in 'gate_up_proj'; of experts, 'experts.gate_up_proj' does; choose from"
    with pytest.raises(ValueError, match=of_experts):
        start_folder(model, replace(lane, targets=("gate_up_proj",)), tmp_path / "adapter")
    adapter = start_folder(model, lane, tmp_path / "adapter").out
    train(adapter)
    merge_folder(adapter, model, tmp_path / "merged")
    merge_folder(adapter, model, tmp_path / "by-two", workers=2)
    assert contents(tmp_path / "by-two") == contents(tmp_path / "merged")
    merged = hf.AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    close(mixed_logits(merged), mixed_logits(ov.read_peft(mixture("gpt_oss"), adapter).model), 1e-4)

    merge = ("export", str(adapter), "--out", str(tmp_path / "again"))
    for words, sentence in (
        ((), "is an adapter already: write it as a model by --form merged"),
        (("--form", "merged", "--lane", "olora"), "--lane is for run folders"),
        (("--form", "merged", "--model", "nowhere"), "'nowhere' is not a folder on this machine"),
        (("--form", "merged", "--model", str(saved("llama"))), f"was made for '{model}', not for"),
        (("--form", "merged", "--out", str(model)), "model' is named twice"),
    ):
        answer = run(*merge, *words)
        assert (answer.returncode, sentence in answer.stderr) == (2, True), answer.stderr
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(
    ("family", "more"),
    [
        ("gpt2", {"use_dora": True, "bias": "all", "init_lora_weights": False}),
        ("phi3", {"use_dora": True, "modules_to_save": ["lm_head", "embed_tokens", "norm"], "use_rslora": True}),
        ("phi3", {"use_dora": True, "init_lora_weights": "olora"}),
    ],
)
def test_dora_biases_and_what_was_trained_in_full_are_merged_as_by_peft(family, more, saved, tmp_path):
    base = hf.AutoModelForCausalLM.from_pretrained(saved(family))
    targets = list(target_layers(base))
    config = peft.LoraConfig(r=4, lora_alpha=6, target_modules=targets, fan_in_fan_out=family == "gpt2", **more)
    model = peft.get_peft_model(base, config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in filter(lambda each: each.requires_grad, model.parameters()):
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(tmp_path / "adapter")
    words = ("--form", "merged", "--out", str(tmp_path / "merged"), "--workers", "2")
    done = run("export", str(tmp_path / "adapter"), *words)
    assert done.returncode == 0, done.stderr
    merged, whole = hf.AutoModelForCausalLM.from_pretrained(tmp_path / "merged").state_dict(), model.merge_and_unload()
    plain = hf.AutoModelForCausalLM.from_pretrained(saved(family)).state_dict()
    changed = {name for name, W in merged.items() if not torch.equal(W, plain[name])}
    assert {f"{name}.weight" for name in targets} <= changed
    assert any(name.endswith("bias") for name in changed) is ("bias" in more)
    assert ("lm_head.weight" in changed and "model.embed_tokens.weight" in changed) is ("modules_to_save" in more)
    for name, W in whole.state_dict().items():
        torch.testing.assert_close(merged[name], W, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("key", "size", "sentence"),
    [
        ("lm_head.weight", (64, 24), "which the model ties to 'model.embed_tokens.weight'"),
        ("model.norm.weight", (25,), "which is (25,), but (24,) in the model's files"),
        ("model.embed_tokens.trainable_tokens_delta", (2, 24), "which has no place in the model's files"),
    ],
)
def test_what_has_no_place_in_the_files_is_left_to_peft(key, size, sentence, saved, tmp_path):
    adapter = start_folder(saved("llama"), ov.Lane("lora", r=2), tmp_path / "adapter").out
    file, key = adapter / "adapter_model.safetensors", f"base_model.model.{key}"
    write_tensors(file, read_tensors(file) | {key: torch.ones(size)})
    with pytest.raises(
        ValueError, match=re.escape(f"{key!r}, {sentence}: merge this adapter in memory, by merge_and")
    ):
        merge_folder(adapter, saved("llama"), tmp_path / "merged")
    assert not (tmp_path / "merged").exists()

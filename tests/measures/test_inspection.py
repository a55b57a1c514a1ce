"""An adapter on disk, or two, inspected: PEFT's merged weights are the truth."""

import json
import re

import numpy as np
import peft
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from support.inspected import lines, saved
from support.tiny import tiny

import olora_viz as ov
from olora_viz.__main__ import main
from olora_viz.lanes.layers import named_layers, weight_of
from olora_viz.models import load_model

WEIGHTS = "adapter_model.safetensors"


def tiny_saved(folder, family, targets, seed=0, **config):
    """Save an adapter of a tiny model with PEFT, moved at random; return the ΔW it merges."""
    olora = config.get("init_lora_weights") == "olora"
    model = tiny(family, torch.float32 if olora else torch.float64)  # PEFT's has float32 only
    base = {name: weight_of(model.get_submodule(name)).clone() for name in targets}
    made = peft.get_peft_model(model, peft.LoraConfig(target_modules=targets, **config))
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in made.named_parameters():
        if "lora_" in name:
            parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    made.save_pretrained(folder)
    merged = made.merge_and_unload()
    return {n: (weight_of(merged.get_submodule(n)) - W).double().numpy() for n, W in base.items()}


@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("llama", {}),
        ("llama", {"use_rslora": True, "lora_alpha": 6}),
        ("llama", {"init_lora_weights": "olora", "lora_alpha": 3}),
        ("llama", {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"down_proj": 5}}),
        ("gpt2", {"fan_in_fan_out": True}),
    ],
    ids=["plain", "rslora", "olora", "patterns", "conv1d"],
)
def test_of_dora_the_dense_update_is_inspected_that_peft_merges(tmp_path, family, config):
    block = {"llama": "model.layers.{}.", "gpt2": "transformer.h.{}."}[family].format
    parts = {"llama": ("self_attn.q_proj", "mlp.down_proj"), "gpt2": ("attn.c_attn", "mlp.c_fc")}
    targets = [block(n) + part for n in (0, 1) for part in parts[family]]
    moved = tiny_saved(tmp_path, family, targets, r=4, use_dora=True, **config)
    found = ov.inspect_adapter(tiny(family, torch.float64), tmp_path)
    assert [one.layer for one in found] == targets
    for one in found:
        dense = np.linalg.svd(moved[one.layer], compute_uv=False)
        np.testing.assert_allclose(one.sigma, dense, atol=1e-5)
        assert one.rank == len(one.sigma) == min(moved[one.layer].shape)
        np.testing.assert_allclose(one.norm, np.linalg.norm(dense), rtol=1e-5)
        assert one.direction_norm > 0
        assert 0 < one.magnitude_change < 1


def test_the_two_parts_of_dora_are_those_of_its_files(capsys, tmp_path):
    saved(tmp_path / "adapter", r=4, lora_alpha=8, use_dora=True)
    tensors = load_file(tmp_path / "adapter" / WEIGHTS)
    model, _ = load_model("glassllm")
    found = lines(capsys, "inspect", str(tmp_path / "adapter"), "--model", "glassllm")
    for one in found:
        name = f"base_model.model.{one['layer']}"
        product = 2 * tensors[f"{name}.lora_B.weight"] @ tensors[f"{name}.lora_A.weight"]
        np.testing.assert_allclose(one["direction_norm"], product.norm(), rtol=1e-4)
        rows = model.get_submodule(one["layer"]).weight.norm(dim=1)
        change = (tensors[f"{name}.lora_magnitude_vector"] - rows).norm() / rows.norm()
        np.testing.assert_allclose(one["magnitude_change"], change, rtol=1e-3)
    assert main(["inspect", str(tmp_path / "adapter"), "--model", "glassllm", "--html", str(tmp_path / "a.html")]) == 0
    out = capsys.readouterr().out
    assert "‖sBA‖" in out
    assert "DoRA's ΔW = m (W + sBA) / ‖W + sBA‖ − W has no low rank" in out
    assert "<p>DoRA&#39;s ΔW" in (tmp_path / "a.html").read_text("utf-8")


def test_tensors_trained_in_full_are_named_and_left_out(capsys, tmp_path):
    folder = tmp_path / "adapter"
    moved = saved(folder, r=4, bias="lora_only", modules_to_save=["lm_head", "embed_tokens"])
    with pytest.raises(ValueError, match="which is not part of a LoRA adapter"):
        ov.read_peft(load_model("glassllm")[0], folder)
    assert main(["inspect", str(folder), "--model", "glassllm", "--json"]) == 0
    out, err = capsys.readouterr()
    found = [json.loads(line) for line in out.splitlines()]
    assert [one["layer"] for one in found] == list(moved)
    for one in found:
        np.testing.assert_allclose(one["norm"], np.linalg.norm(moved[one["layer"]]), rtol=1e-3)
    assert "left out, since they are no low-rank update of a linear layer: " in err
    for name in ("lm_head.weight", "model.embed_tokens.weight"):
        assert name in err
    with pytest.warns(UserWarning, match="left out, since they are no low-rank update"):
        ov.inspect_adapter(load_model("glassllm")[0], folder)


def compared(capsys, *folders):
    return lines(capsys, "inspect", *map(str, folders), "--model", "glassllm")


def overlap(U, P, k):
    return np.linalg.norm(U[:, :k].T @ P[:, :k]) ** 2 / k


@pytest.mark.parametrize("dora", [False, True])
def test_two_adapters_agree_as_their_dense_updates_do(tmp_path, dora):
    targets = [f"model.layers.{n}.{part}" for n in (0, 1) for part in ("self_attn.q_proj", "mlp.down_proj")]
    first = tiny_saved(tmp_path / "a", "llama", targets, r=4, lora_alpha=8, use_dora=dora)
    second = tiny_saved(tmp_path / "b", "llama", targets, 1, r=3, init_lora_weights="olora")
    model = tiny("llama", torch.float64)
    found = ov.compare_adapters(model, tmp_path / "a", tmp_path / "b")
    assert [one.layer for one in found] == targets
    for one in found:
        pair = first[one.layer], second[one.layer]
        (U, s, Vh), (P, t, Qh) = (np.linalg.svd(dW, full_matrices=False) for dW in pair)
        inner = (pair[0] * pair[1]).sum()
        np.testing.assert_allclose(one.cosine, inner / np.linalg.norm(s) / np.linalg.norm(t), atol=1e-5)
        ranks = [np.exp(-(p * np.log(p + 1e-300)).sum()) for p in (s / s.sum(), t / t.sum())]
        np.testing.assert_allclose([one.first.effective_rank, one.second.effective_rank], ranks, rtol=1e-3)
        assert one.leading == np.ceil(min(ranks))
        np.testing.assert_allclose(one.left_overlap, overlap(U, P, one.leading), atol=1e-3)
        np.testing.assert_allclose(one.right_overlap, overlap(Vh.T, Qh.T, one.leading), atol=1e-3)
        out, into = pair[0].shape
        np.testing.assert_allclose(one.chance, one.leading * (1 / out + 1 / into) / 2)


def test_an_adapter_agrees_with_itself_and_a_layer_that_one_leaves_out_has_no_number(capsys, tmp_path):
    saved(tmp_path / "a", r=4)
    for one in compared(capsys, tmp_path / "a", tmp_path / "a"):
        assert one["first"] == one["second"]
        assert {"rank", "sigma", "effective_rank", "norm"} <= set(one["first"])
        np.testing.assert_allclose([one["cosine"], one["left_overlap"], one["right_overlap"]], 1.0, rtol=1e-9)
    on_queries = peft.LoraConfig(target_modules=["q_proj"])
    made = peft.get_peft_model(load_model("glassllm")[0], on_queries)
    made.save_pretrained(tmp_path / "zero")
    found = compared(capsys, tmp_path / "a", tmp_path / "zero")
    assert [one["second"] is None for one in found] == [False, True] * 4
    assert all(one["cosine"] is one["left_overlap"] is None for one in found)


def test_a_comparison_has_a_table_a_report_and_a_picture(capsys, tmp_path):
    for name in "ab":
        saved(tmp_path / name, r=4, trained=0.02 if name == "a" else 0.05)
    report, picture = tmp_path / "report.html", tmp_path / "both.png"
    both = str(tmp_path / "a"), str(tmp_path / "b")
    assert main(["inspect", *both, "--model", "glassllm", "--html", str(report), "--png", str(picture)]) == 0
    out = capsys.readouterr().out
    assert f"1: {both[0]}; 2: {both[1]}" in out
    assert re.search(r"over all layers: [\d.]+ and [\d.]+; the cosine of both: 0\.\d{3}", out)
    html = report.read_text(encoding="utf-8")
    assert html.count("<svg") == 16
    assert both[1] in html
    assert not re.search(r"<script|https?://|src=|@import", html)
    with Image.open(picture) as image:
        assert image.size[0] == 1720


def test_adapters_of_two_models_are_not_compared(capsys, tmp_path):
    for name in ("a", "b"):
        saved(tmp_path / name, r=4)
        path = tmp_path / name / "adapter_config.json"
        config = json.loads(path.read_text()) | {"base_model_name_or_path": name}
        path.write_text(json.dumps(config))
    assert main(["inspect", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert "only adapters of one model can be compared" in capsys.readouterr().err


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """An adapter on the query projections, and what its file holds."""
    folder = tmp_path_factory.mktemp("plain")
    made = peft.get_peft_model(load_model("glassllm")[0], peft.LoraConfig(r=4, target_modules=["q_proj"]))
    made.save_pretrained(folder)
    return (folder / "adapter_config.json").read_bytes(), load_file(folder / WEIGHTS)


A, B = (f"base_model.model.model.layers.2.self_attn.q_proj.lora_{part}.weight" for part in "AB")


def holed(tensor, *values):
    tensor = tensor.clone()
    tensor.view(-1)[: len(values)] = torch.tensor(values)
    return tensor


DAMAGES = {
    "nan": (
        lambda its: its | {A: holed(its[A], torch.nan)},
        r"^lora_A of layer 'model\.layers\.2\.self_attn\.q_proj' in .* has 1 of 512 values that "
        r"are NaN or infinite$",
    ),
    "inf": (
        lambda its: its | {B: holed(its[B], torch.inf, -torch.inf), A: its[A] * torch.nan},
        r"^lora_A of layer .* has 512 of 512 values .*, and 1 more tensor has such values$",
    ),
    "bfloat16": (lambda its: its | {B: holed(its[B], torch.inf).bfloat16()}, "^lora_B of layer"),
    "a head": (
        lambda its: its | {"base_model.model.lm_head.weight": torch.full((3, 3), torch.nan)},
        r"^'base_model\.model\.lm_head\.weight' in .* has 9 of 9 values",
    ),
    "int8": (lambda its: its | {A: its[A].to(torch.int8)}, "^lora_A of layer .* is of int8, not"),
    "a vector": (lambda its: its | {A: its[A][0]}, r"^A \(128,\) and B \(128, 4\) of layer"),
    "ranks": (lambda its: its | {A: its[A][:3]}, r"^A \(3, 128\) and B \(128, 4\) of layer"),
    "another rank": (
        lambda its: its | {A: its[A][:3], B: its[B][:, :3].contiguous()},
        r"has rank 3 in .* but 4 in its adapter_config\.json",
    ),
    "a width": (
        lambda its: its | {A: its[A][:, :100].contiguous()},
        r"is \(128, 128\) in the model, \(128, 100\) in the adapter",
    ),
    "no B": (lambda its: {k: v for k, v in its.items() if k != B}, "lacks lora_B of layer"),
    "nothing": (lambda its: {}, "has no A and B of any layer: no tensors$"),
    "only others": (lambda its: {f"x.{n}": torch.ones(1) for n in range(900)}, "of any layer: x.0, .* more$"),
    "a norm": (
        lambda its: {k.replace("self_attn.q_proj", "input_layernorm"): its[k] for k in (A, B)},
        r"^'model\.layers\.2\.input_layernorm' is no linear layer of the model",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_tensors_that_no_adapter_can_have_are_named_in_a_sentence(capsys, plain, damage, tmp_path):
    config, tensors = plain
    change, message = DAMAGES[damage]
    (tmp_path / "adapter_config.json").write_bytes(config)
    save_file(change(tensors), tmp_path / WEIGHTS)
    model, _ = load_model("glassllm")
    for read in (ov.inspect_adapter, ov.read_peft):
        with pytest.raises(ValueError, match=message) as caught:
            read(model, tmp_path)
        assert len(str(caught.value)) < 700
    assert main(["inspect", str(tmp_path), "--model", "glassllm"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"r": 0}, "^r in .* must be a number from 1, not 0"),
        ({"r": True}, "^r in .* must be a number from 1, not True"),
        ({"lora_alpha": None}, "^lora_alpha in .* must be a number, not None"),
        ({"lora_alpha": float("nan")}, "^lora_alpha in .* must be a number, not nan"),
        ({"rank_pattern": [8]}, "^rank_pattern in .* must be a JSON object, not a list"),
        ({"rank_pattern": {"q_proj": "8"}}, "^q_proj in .* must be a number from 1, not '8'"),
        ({"alpha_pattern": {"q_proj": "8"}}, "^q_proj in .* must be a number, not '8'"),
        ({"alpha_pattern": {"q_(": 8}}, r"^'q_\(' in .* is no pattern: "),
        ({"target_parameters": 3}, "^target_parameters in .* must be a list of names"),
        ({"peft_type": ["LORA"]}, r"is an adapter of type \['LORA'\]; only LORA"),
        ({"init_lora_weights": {}}, "started as {}, which changed the base"),
        ({"use_dora": True}, "lacks lora_magnitude_vector of layer 'model.layers.0.self"),
    ],
)
def test_settings_that_no_adapter_can_have_are_named_in_a_sentence(plain, changes, message, tmp_path):
    config, tensors = plain
    text = json.dumps(json.loads(config) | changes)
    (tmp_path / "adapter_config.json").write_text(text)
    save_file(tensors, tmp_path / WEIGHTS)
    with pytest.raises(ValueError, match=message):
        ov.inspect_adapter(load_model("glassllm")[0], tmp_path)


def test_a_base_model_with_nan_is_named(capsys, plain, tmp_path):
    config, tensors = plain
    model, tokenizer = load_model("glassllm")
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    weights = load_file(tmp_path / "base/model.safetensors")
    name = "model.layers.1.self_attn.q_proj"
    weights[f"{name}.weight"][3, 4] = torch.nan
    save_file(weights, tmp_path / "base/model.safetensors", metadata={"format": "pt"})
    (tmp_path / "adapter_config.json").write_bytes(config)
    save_file(tensors, tmp_path / WEIGHTS)
    base = "--model", str(tmp_path / "base")
    capsys.readouterr()
    few = "--steps", "1", "--batch-size", "2", "--eval-size", "2"
    for arguments in (
        ("inspect", str(tmp_path), *base),
        ("spectrum", *base, "--layer", "layers.1.self_attn"),
        ("race", *base, *few),
        ("gradients", *base),
    ):
        assert main(arguments) == 2
        out, err = capsys.readouterr()
        assert (out, err) == ("", f"error: the model's weight {name!r} holds NaN or infinity\n")
    assert main(["spectrum", *base, "--layer", "layers.0.self_attn.q_proj", "--json"]) == 0
    broken = ov.load_model(str(tmp_path / "base"))[0]
    with pytest.raises(ValueError, match="holds NaN or infinity"):
        ov.read_peft(broken, tmp_path)
    with pytest.raises(ValueError, match="not finite"):
        ov.truncation(named_layers(broken)[name].weight, r=2)

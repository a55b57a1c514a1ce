"""A start on a model's folder, layer by layer, is that of the model in memory; what is interrupted goes on."""

import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from copy import deepcopy
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import peft
import pytest
import torch
import transformers as hf
from support.mixtures import EXPERTS, MIXTURES, close, mixture
from support.mixtures import logits as mixed_logits
from support.pefts import logits
from support.tiny import tiny, tiny_tokenizer
from support.verbs import below, forked, objects, run
from support.waiting import wait_until

import olora_viz as ov
from olora_viz import models
from olora_viz.lanes import stored_weights
from olora_viz.lanes.layers import target_layers
from olora_viz.lanes.merged_folder import merge_folder
from olora_viz.lanes.started_folder import FolderStart, start_folder
from olora_viz.machine import files
from olora_viz.machine.files import read_tensors, write_tensors
from olora_viz.machine.process import StoppedEarlyError
from olora_viz.measures.truncation import Weight, layers_like, to_json, truncation, truncations
from olora_viz.models import shards
from olora_viz.models.four_bit import PARTS, dequantized
from olora_viz.models.shards import StoredTensor, read_shards
from olora_viz.studies.claims import subset
from olora_viz.views.spectrum import Lab

STARTS = [e.name for e in ov.INITIALIZERS.values() if not e.dense and not e.needs]
SUBTRACTS = [n for n in STARTS if ov.INITIALIZERS[n].keeps_function and not ov.INITIALIZERS[n].zero_product]
FUSED = hf.Phi3Config(
    vocab_size=64, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, pad_token_id=0,
)  # fmt: skip


@cache
def model_of(family: str, dtype: torch.dtype = torch.float32) -> hf.PreTrainedModel:
    if family in MIXTURES:
        return mixture(family, dtype)
    if family == "phi3":
        torch.manual_seed(0)
        return hf.AutoModelForCausalLM.from_config(FUSED, dtype=dtype).eval()
    return tiny(family, dtype)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a model's folder, of several files."""

    @cache
    def saved(family: str, dtype: torch.dtype = torch.float32) -> Path:
        path = tmp_path_factory.mktemp(family)
        model_of(family, dtype).save_pretrained(path, max_shard_size="20KB")
        return path

    return saved


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() if file.is_file() else b"" for file in path.iterdir()}


def tensors_of(path: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for shard in read_shards(path) for name, tensor in read_tensors(shard.file).items()}


def in_memory(family: str, dtype: torch.dtype, lane: ov.Lane) -> torch.nn.Module:
    base = model_of(family, dtype)
    config = {"r": lane.r, "lora_alpha": lane.alpha, "fan_in_fan_out": family == "gpt2"}
    base = type(base)(base.config).to(dtype)
    base.load_state_dict(model_of(family, dtype).state_dict())
    model = peft.get_peft_model(base, peft.LoraConfig(**config, target_modules=list(target_layers(base))))
    ov.start_peft(model, lane.init, seed=lane.seed)
    return model.get_base_model()


@pytest.mark.parametrize(
    ("family", "dtype", "init"),
    [
        *((family, torch.float32, init) for family in ("llama", "gpt2") for init in STARTS),
        *(("phi3", dtype, init) for dtype in (torch.bfloat16, torch.float16) for init in ("lora", "olora", "pissa")),
    ],
)
def test_a_start_on_a_folder_has_the_bits_of_that_in_memory(family, dtype, init, folder, tmp_path):
    lane = ov.Lane(init, r=4, alpha=6, seed=3)
    rest = tmp_path / "rest" if init in SUBTRACTS else None
    started = start_folder(folder(family, dtype), lane, tmp_path / "out", rest)
    adapter, stored = read_tensors(tmp_path / "out/adapter_model.safetensors"), tensors_of(rest or started.base)
    model, plain = in_memory(family, dtype, lane), tensors_of(started.base)
    targets = list(target_layers(model_of(family, dtype)))
    assert len(adapter) == 2 * len(targets) == 2 * started.layers
    for name in targets:
        layer = model.get_submodule(name)
        for letter in "AB":
            here = adapter[f"base_model.model.{name}.lora_{letter}.weight"]
            theirs = getattr(layer, f"lora_{letter}")["default"].weight
            assert here.dtype == torch.float32
            assert torch.equal(here, theirs)
        W = stored.pop(f"{name}.weight")
        assert W.dtype == dtype
        assert torch.equal(W, layer.get_base_layer().weight)
        assert torch.equal(W, plain[f"{name}.weight"]) == (rest is None)
    assert all(torch.equal(tensor, plain[name]) for name, tensor in stored.items())


def loaded(started: FolderStart) -> torch.nn.Module:
    """Load an adapter by PEFT, on the model that it names."""
    config = peft.PeftConfig.from_pretrained(str(started.out))
    base = hf.AutoModelForCausalLM.from_pretrained(config.base_model_name_or_path)
    return peft.PeftModel.from_pretrained(base, started.out, is_trainable=True).eval()


@pytest.mark.parametrize("family", ["llama", "gpt2", "phi3"])
@pytest.mark.parametrize("init", ["lora", "olora", "pissa", "sketch", "mica", "olora_unsubtracted"])
def test_peft_loads_it_and_it_says_whether_the_function_is_kept(family, init, folder, tmp_path):
    lane, model = ov.Lane(init, r=4, alpha=6), folder(family)
    plain = logits(hf.AutoModelForCausalLM.from_pretrained(model))
    alone = start_folder(model, lane, tmp_path / "alone")
    difference = (logits(loaded(alone)) - plain).abs().max()
    assert alone.keeps_function == (init in ("lora", "mica") or (init in ("olora", "pissa") and alone.by_peft == init))
    assert difference < 1e-4 if alone.keeps_function else difference > 1e-2
    if init in SUBTRACTS:
        beside = start_folder(model, lane, tmp_path / "beside", tmp_path / "rest")
        assert beside.keeps_function
        torch.testing.assert_close(logits(loaded(beside)), plain, rtol=1e-4, atol=1e-4)
        assert hf.AutoConfig.from_pretrained(tmp_path / "rest").model_type == family
    if init == "mica":
        trained = {name.split(".")[-3] for name, p in loaded(alone).named_parameters() if p.requires_grad}
        assert trained == {"lora_A"}


def test_experts_in_one_tensor_start_each_for_itself_and_those_in_several_are_named(tmp_path):
    model, lane = mixture("gpt_oss"), ov.Lane("olora", r=2, alpha=5, targets=(*EXPERTS, "q_proj"))
    model.save_pretrained(tmp_path / "model")
    plain = mixed_logits(model)
    lanes = ov.attach(model, [lane])
    started = start_folder(tmp_path / "model", lane, tmp_path / "out", tmp_path / "rest")
    assert started.layers == len(lanes.layers)
    read = ov.read_peft(mixture("gpt_oss"), started.out)
    for name in lanes.layers:
        ours, theirs = read.factors(name, 0), lanes.start_factors(name, 0)
        torch.testing.assert_close(ours.B @ ours.A, lane.scale * theirs.B @ theirs.A)
    close(mixed_logits(loaded(started)), plain, 1e-4)

    mixture("mixtral").save_pretrained(tmp_path / "mixtral")
    with pytest.raises(ValueError, match=r"no tensor .*experts\.down_proj.: where a model makes it of others"):
        start_folder(tmp_path / "mixtral", lane, tmp_path / "experts")
    assert start_folder(tmp_path / "mixtral", replace(lane, targets=None), tmp_path / "rest-of-it").layers == 8


def test_what_is_beside_the_weights_is_copied_and_what_peft_refuses_gets_no_adapter(tmp_path):
    model, adapter, rest = tmp_path / "model", tmp_path / "adapter", tmp_path / "rest"
    kind = hf.MambaConfig(vocab_size=64, hidden_size=16, state_size=4, num_hidden_layers=1, expand=2, time_step_rank=4)
    hf.MambaForCausalLM(kind).save_pretrained(model)
    for name in ("code.py", "words.tiktoken", "additional_chat_templates/t.jinja", "merge.json", ".git/x", "a.pth"):
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_text("{}")
    started = start_folder(model, ov.Lane("olora", r=2, alpha=4), adapter, rest)
    assert contents(rest).keys() == {
        "additional_chat_templates", "code.py", "config.json", "generation_config.json", "model.safetensors",
        "start.json", "words.tiktoken",
    }  # fmt: skip
    assert [file.name for file in (rest / "additional_chat_templates").iterdir()] == ["t.jinja"]
    torch.testing.assert_close(
        logits(loaded(started)), logits(hf.AutoModelForCausalLM.from_pretrained(model)), rtol=1e-4, atol=1e-4
    )


def test_names_without_the_base_model_s_prefix_are_found(folder, tmp_path):
    from safetensors.torch import save_file

    stored = {name.removeprefix("transformer."): tensor for name, tensor in tensors_of(folder("gpt2")).items()}
    (tmp_path / "model").mkdir()
    save_file(stored, tmp_path / "model/model.safetensors")
    (tmp_path / "model/config.json").write_bytes((folder("gpt2") / "config.json").read_bytes())
    lane = ov.Lane("olora", r=4)
    start_folder(tmp_path / "model", lane, tmp_path / "bare")
    start_folder(folder("gpt2"), lane, tmp_path / "out")
    bare, full = (read_tensors(tmp_path / name / "adapter_model.safetensors") for name in ("bare", "out"))
    assert bare.keys() == full.keys()
    assert all(torch.equal(bare[name], full[name]) for name in full)


@pytest.mark.parametrize("has_rest", [True, False])
def test_what_was_interrupted_at_any_byte_goes_on_bitwise(has_rest, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "BLOCK", 1000)
    model, lane = folder("llama"), ov.Lane("olora", r=4)
    whole = start_folder(model, lane, tmp_path / "whole", tmp_path / "whole-rest" if has_rest else None)
    out, rest = tmp_path / "out", tmp_path / "rest" if has_rest else None

    def interrupted_after(reports: int) -> bool:
        def stop(part: float, words: str) -> None:
            nonlocal reports
            reports -= 1
            assert 0 < part <= 1
            assert re.fullmatch(r"\d+\.\d of 4\d\.\d kB at \d+\.\d\d kB/s, 5 s left", words)
            if not reports:
                raise StoppedEarlyError

        try:
            start_folder(model, lane, out, rest, stop)
        except StoppedEarlyError:
            return True
        return False

    attempts = 1
    while interrupted_after(4 * attempts):
        assert not out.exists()
        with pytest.raises(ValueError, match=r"beginning of work with r 4, not 3: repeat that, or delete"):
            start_folder(model, replace(lane, r=3), out, rest)
        attempts += 1
    assert attempts > 3
    weights = "adapter_model.safetensors"
    assert contents(out)[weights] == contents(whole.out)[weights]
    if rest and whole.residual:
        here, there = contents(rest), contents(whole.residual)
        assert here.pop("start.json") != there.pop("start.json")  # which names the folders
        assert here == there
    assert not list(tmp_path.rglob("*.partial"))
    before = [(file, file.stat().st_mtime_ns) for file in tmp_path.rglob("*")]
    assert start_folder(model, lane, out, rest).layers == whole.layers
    with pytest.raises(ValueError, match=r"'.*out' is already there, written with r 4, not 3: use another, or delete"):
        start_folder(model, replace(lane, r=3), out, rest)
    assert [(file, file.stat().st_mtime_ns) for file in tmp_path.rglob("*")] == before
    if rest:
        shutil.rmtree(rest)
        with pytest.raises(ValueError, match=r"out' is already there, but '.*rest' is not: delete it and repeat"):
            start_folder(model, lane, out, rest)


def test_a_disk_without_room_is_named_and_what_is_written_stays(folder, tmp_path, monkeypatch):
    def stop(*_: object) -> None:
        raise StoppedEarlyError

    start = partial(start_folder, folder("llama"), ov.Lane("olora", r=4))
    with pytest.raises(StoppedEarlyError):
        start(tmp_path / "out", tmp_path / "rest", progress=stop)
    begun = sorted(tmp_path.rglob("*"))
    with monkeypatch.context() as patch:
        patch.setattr(files, "free_disk", lambda _: 1000)
        for name in ("out", "other"):
            with pytest.raises(files.DiskFullError, match=r"MB of disk in .* but only 0 MB are free"):
                start(tmp_path / name, tmp_path / "rest" if name == "out" else None)
    assert sorted(tmp_path.rglob("*")) == begun
    assert start(tmp_path / "out", tmp_path / "rest").keeps_function


def train(adapter: Path) -> None:
    """Change the factors of an adapter, as training would."""
    file = adapter / "adapter_model.safetensors"
    generator = torch.Generator().manual_seed(0)
    factors = {n: f + 0.05 * torch.randn(f.shape, generator=generator) for n, f in sorted(read_tensors(file).items())}
    write_tensors(file, factors)


@pytest.mark.parametrize(("family", "init", "has_rest"), [("llama", "olora", False), ("gpt2", "sketch", True)])
def test_an_adapter_is_merged_into_a_folder_as_peft_merges_it_in_memory(family, init, has_rest, folder, tmp_path):
    rest = tmp_path / "rest" if has_rest else None
    started = start_folder(folder(family), ov.Lane(init, r=4, alpha=6), tmp_path / "adapter", rest)
    train(started.out)
    trained = loaded(started)
    (started.out / "start.json").unlink()  # as `save_pretrained` leaves it
    inspected = run("inspect", str(started.out))
    assert ("holds W − s B⁰A⁰, so that ΔW is s B⁰A⁰ and" in inspected.stderr) is has_rest
    if has_rest:
        refused = run("export", str(started.out), "--form", "merged", "--out", "x", "--model", str(folder(family)))
        assert (refused.returncode, "was made for" in refused.stderr) == (2, True), refused.stderr
    done = run("export", str(started.out), "--form", "merged", "--out", str(tmp_path / "merged"), "--json")
    assert done.returncode == 0
    assert objects(done.stdout)[0]["layers"] == started.layers
    merged = hf.AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(merged), logits(trained), rtol=1e-4, atol=1e-4)
    whole = trained.merge_and_unload().state_dict()
    for name, W in merged.state_dict().items():
        torch.testing.assert_close(W, whole[name], rtol=1e-5, atol=1e-5)
    assert (logits(merged) - logits(hf.AutoModelForCausalLM.from_pretrained(folder(family)))).abs().max() > 0.1
    again = run("export", str(started.out), "--form", "merged", "--out", str(tmp_path / "merged"))
    assert (again.returncode, f"already in {tmp_path / 'merged'}: nothing to do" in again.stdout) == (0, True)


def test_experts_are_merged_and_what_cannot_be_is_refused(folder, tmp_path):
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
        (("--form", "merged", "--model", str(folder("llama"))), f"was made for '{model}', not for"),
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
def test_dora_biases_and_what_was_trained_in_full_are_merged_as_by_peft(family, more, folder, tmp_path):
    base = hf.AutoModelForCausalLM.from_pretrained(folder(family))
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
    plain = hf.AutoModelForCausalLM.from_pretrained(folder(family)).state_dict()
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
def test_what_has_no_place_in_the_files_is_left_to_peft(key, size, sentence, folder, tmp_path):
    adapter = start_folder(folder("llama"), ov.Lane("lora", r=2), tmp_path / "adapter").out
    file, key = adapter / "adapter_model.safetensors", f"base_model.model.{key}"
    write_tensors(file, read_tensors(file) | {key: torch.ones(size)})
    with pytest.raises(
        ValueError, match=re.escape(f"{key!r}, {sentence}: merge this adapter in memory, by merge_and")
    ):
        merge_folder(adapter, folder("llama"), tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_weights_that_look_like_targets_but_are_no_layers_are_named(folder, tmp_path):
    shutil.copytree(folder("llama"), tmp_path / "model")
    config = hf.AutoConfig.from_pretrained(tmp_path / "model")
    config.num_hidden_layers = 1
    config.save_pretrained(tmp_path / "model")
    answer = run("start", "--model", str(tmp_path / "model"), "--out", str(tmp_path / "out"), "--target", "v_proj")
    assert answer.returncode == 0
    note, _ = answer.stderr.splitlines()
    assert note.endswith("are no layers of the model by its config: model.layers.1.self_attn.v_proj.weight")


READ = {
    "llama": "layers.1.*.q_proj",
    "gpt2": "h.1.attn.c_attn",  # stored as (in, out)
    "phi3": "layers.1.*.qkv_proj",  # three in one
    "mixtral": "layers.1.*.q_proj",  # beside experts that are stored in other tensors than the model has
    "gpt_oss": "layers.1.*.down_proj.2",  # in a 3-D tensor
}
"""A layer of each family."""


@pytest.mark.parametrize(("family", "layer"), READ.items())
def test_inspect_and_spectrum_read_the_layers_of_a_folder_and_load_no_model(
    family, layer, folder, tmp_path, monkeypatch
):
    model = folder(family)
    adapters = [
        start_folder(model, ov.Lane(init, r=r, alpha=6), tmp_path / init).out
        for init, r in (("pissa", 4), ("lora", 2))
    ]
    for adapter in adapters:
        train(adapter)
    monkeypatch.setattr(models, "load_model", None)
    names = list(map(str, adapters))
    one = objects(run("inspect", names[0], "--json").stdout)
    assert one == [each.to_json() for each in ov.inspect_adapter(model_of(family), adapters[0])]
    both = objects(run("inspect", *names, "--json").stdout)
    assert both == [each.to_json() for each in ov.compare_adapters(model_of(family), *adapters)]
    spectra = objects(run("spectrum", "--model", str(model), "--layer", layer, "--rank", "4", "--json").stdout)
    wanted = truncations(
        model_of(family), layer, 4, ("pissa", "olora", "olora_pivoted", "sketch", "random_orthonormal")
    )
    for ours, theirs in zip(spectra, (to_json(*each) for each in wanted), strict=True):
        if family != "gpt_oss":  # of an expert up to rounding: its matrix lies elsewhere in memory
            assert ours == theirs
        assert ours["layer"] == theirs["layer"]
        for key in ("energy", "sigma_W", "sigma_BA"):
            assert ours[key] == pytest.approx(theirs[key], rel=1e-9)
    (claim,) = objects(run("claims", "--only", "subset", "--model", str(model), "--json").stdout)
    least = min(min(W.shape) for W in layers_like(model_of(family)).values())
    ranks = [r for r in (2, 8, 32) if r <= least]
    counted = subset.judge(each for r in ranks for _, each in truncations(model_of(family), "*", r, ["olora"]))
    assert claim["numbers"] == pytest.approx(counted.numbers, rel=1e-6)


@pytest.mark.parametrize(
    ("family", "dtype"), [*((family, torch.float32) for family in READ), ("phi3", torch.bfloat16)]
)
def test_the_page_s_numbers_of_a_folder_are_those_of_the_model_and_each_layer_is_read_when_it_is_looked_at(
    family, dtype, folder, monkeypatch
):
    names, read, whole = [], StoredTensor.read, layers_like(model_of(family, dtype))
    monkeypatch.setattr(models, "load_model", None)
    monkeypatch.setattr(StoredTensor, "read", lambda tensor: names.append(tensor.name) or read(tensor))
    lab = Lab({"mine": folder(family, dtype)})
    assert {name: W.shape for name, W in lab.layers("mine").items()} == {name: W.shape for name, W in whole.items()}
    assert names == []
    for name, W in list(whole.items())[:3]:
        weight, exact = lab.weight("mine", name), Weight(W)
        assert torch.equal(weight.W, exact.W)
        assert torch.equal(weight.sigma, exact.sigma)
        for init in ("olora", "pissa", "random_orthonormal"):
            ours, theirs = lab.truncation(("mine", name), weight, 4, init), truncation(exact, 4, init)
            torch.testing.assert_close(ours.sigma_BA, theirs.sigma_BA, rtol=1e-9, atol=1e-9)
            torch.testing.assert_close(ours.angles, theirs.angles, rtol=1e-6, atol=1e-6)
            assert ours.energy == pytest.approx(theirs.energy, abs=1e-9)
        lab.weight("mine", name)
    assert names == [f"{name}.weight" for name in list(whole)[:3]]
    energies = lab.energy_map("mine", 4, "olora")
    assert energies == {name: pytest.approx(truncation(W, 4).energy, abs=1e-9) for name, W in whole.items()}


def test_a_folder_whose_layers_are_made_of_several_tensors_is_loaded(tmp_path):
    mixture("mixtral").save_pretrained(tmp_path)
    tiny_tokenizer(pad_token="<pad>", eos_token="</s>").save_pretrained(tmp_path)
    model, read = stored_weights.model_of(str(tmp_path))
    assert read is None
    assert not next(model.parameters()).is_meta


def in_four_bits(plain: Path, folder: Path) -> None:
    """Write a model as bitsandbytes would, with numbers of no meaning, and its matrices as `plain`."""
    model, generator = deepcopy(model_of("llama", torch.bfloat16)), torch.Generator().manual_seed(0)
    layers = target_layers(model)
    files: list[dict[str, torch.Tensor]] = [{}, {}]
    shutil.copytree(plain, folder)
    for i, (name, W) in enumerate(tensors_of(plain).items()):
        if name.removesuffix(".weight") not in layers:
            files[i % 2][name] = W
            continue
        values, scales = torch.randn(16, generator=generator), torch.rand(-(-W.numel() // 64), generator=generator)
        codes = torch.randint(16, W.shape, generator=generator)
        state = json.dumps({"blocksize": 64, "dtype": "bfloat16", "shape": list(W.shape), "quant_type": "nf4"})
        first, second = codes.flatten().view(-1, 2).T
        files[i % 2][name] = (16 * first + second).to(torch.uint8)[:, None]
        files[1 - i % 2] |= {
            f"{name}.absmax": scales,
            f"{name}.quant_map": values,
            f"{name}.quant_state.bitsandbytes__nf4": torch.tensor(list(state.encode()), dtype=torch.uint8),
        }
        W = torch.tensor([float(values[code]) for code in codes.flatten()])
        W *= torch.tensor([float(scales[i // 64]) for i in range(W.numel())])
        layers[name.removesuffix(".weight")].weight.data = W.view(codes.shape).bfloat16()
    model.save_pretrained(plain)
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for file, tensors in zip(names, files, strict=True):
        write_tensors(folder / file, tensors)
    places = {name: file for file, tensors in zip(names, files, strict=True) for name in tensors}
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    quantization = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    edit(folder / "config.json", quantization_config=quantization)


def edit(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_a_model_in_four_bits_is_read_as_the_matrices_that_it_stands_for(tmp_path):
    plain, four = tmp_path / "plain", tmp_path / "four"
    model_of("llama", torch.bfloat16).save_pretrained(plain)
    in_four_bits(plain, four)
    for folder in (plain, four):
        out, rest = (folder.with_name(f"{folder.name}-{what}") for what in ("out", "rest"))
        start_folder(folder, ov.Lane("olora", r=4, alpha=6), out, rest, workers=1 + (folder == four))
        train(out)
        edit(out / "adapter_config.json", base_model_name_or_path=str(folder))
        assert merge_folder(out, folder, folder.with_name(f"{folder.name}-merged")) == 14
    for what in ("out", "rest", "merged"):
        ours, theirs = (
            dict(item for file in tmp_path.glob(f"{name}-{what}/*.safetensors") for item in read_tensors(file).items())
            for name in ("four", "plain")
        )
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    for what in ("rest", "merged"):
        folders = [tmp_path / f"{name}-{what}" for name in ("four", "plain")]
        assert torch.equal(*(logits(hf.AutoModelForCausalLM.from_pretrained(path)) for path in folders))
    inspected, spectra = (
        [run(*words, *more, "--json").stdout for words in ((*verb, str(tmp_path / name)) for name in names)]
        for verb, names, more in (
            (("inspect",), ("four-out", "plain-out"), ()),
            (("spectrum", "--model"), ("four", "plain"), ("--layer", "layers.1.*.q_proj", "--rank", "2")),
        )
    )
    assert inspected[0] == inspected[1] != ""
    assert spectra[0] == spectra[1] != ""
    alone = start_folder(four, ov.Lane("olora", r=4, alpha=6), tmp_path / "alone")
    assert (alone.by_peft, alone.keeps_function) == (True, False)


def test_four_bits_are_what_bitsandbytes_takes_them_for():
    stored = read_tensors(Path(__file__).parents[1] / "data/four_bit.safetensors")  # made by version 0.50.2
    for kind in ("nf4", "fp4"):
        parts = {name: stored[f"{kind}.{name}"] for name in PARTS if f"{kind}.{name}" in stored}
        state = json.loads(bytes(stored[f"{kind}.quant_state.bitsandbytes__{kind}"].tolist()))
        ours = dequantized(stored[kind].flatten(), parts, state, torch.bfloat16)
        assert torch.equal(ours, stored[f"{kind}.dequantized"])
    assert len(parts) == 2  # the scales of the first one are quantized too


@pytest.mark.parametrize("method", ["gptq", "awq", "fp8", "mxfp4", "bitsandbytes"])
def test_other_quantizations_are_named_by_every_verb(method, folder, tmp_path):
    model, adapter = tmp_path / "model", str(tmp_path / "adapter")
    shutil.copytree(folder("llama"), model)
    start_folder(model, ov.Lane("lora", r=2), Path(adapter))
    edit(model / "config.json", quantization_config={"quant_method": method, "load_in_8bit": True})
    for words in (
        ("start", "--model", str(model), "--out", str(tmp_path / "out")),
        ("export", adapter, "--form", "merged", "--out", str(tmp_path / "out")),
        ("inspect", adapter),
        ("spectrum", "--model", str(model), "--layer", "q_proj", "--rank", "2"),
    ):
        answer = run(*words)
        assert answer.returncode == 2
        assert f"is quantized (quant_method {method!r}); adapters need its plain weights" in answer.stderr


@pytest.mark.parametrize("fault", ["nan", "shape", "vector", "dtype", "header", "shard"])
def test_a_damaged_model_is_named(fault, folder, tmp_path):
    model, name = tmp_path / "model", "model.layers.1.mlp.down_proj.weight"
    shutil.copytree(folder("llama"), model)
    (file,) = (shard.file for shard in read_shards(model) if name in {tensor.name for tensor in shard.tensors})
    tensors = read_tensors(file)
    W = tensors[name]
    if fault == "shard":
        file.unlink()
    elif fault == "header":
        file.write_bytes(file.read_bytes()[:-9])
    else:
        write_tensors(
            file,
            tensors
            | {name: {"nan": W / 0, "shape": W[:, 1:].clone(), "vector": W[:, 0].clone(), "dtype": W.char()}[fault]},
        )
    sentence = {
        "nan": r"weight 'model.layers.1.mlp.down_proj' holds NaN or infinity",
        "shape": r"is \(24, 39\), but \(24, 40\) by its config",
        "vector": r"is \(24,\), but \(24, 40\) by its config",
        "dtype": r"is stored as I8; adapters need one of F64, F32, F16, BF16",
        "header": r"is damaged",
        "shard": r"is missing '.*', which its index lists",
    }[fault]
    with pytest.raises(ValueError, match=sentence):
        start_folder(model, ov.Lane("olora", r=4), tmp_path / "out", tmp_path / "rest")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    refused = run("spectrum", "--model", str(model), "--layer", "layers.1.mlp.down_proj")
    assert (refused.returncode, bool(re.search(sentence, refused.stderr))) == (2, True), refused.stderr
    with pytest.raises(ValueError, match=sentence):
        Lab().weight(str(model), "model.layers.1.mlp.down_proj")


def test_a_file_that_is_lost_while_its_model_is_open_is_told_without_its_path(folder, tmp_path):
    shutil.copytree(folder("llama"), tmp_path / "model")
    lab = Lab({"mine": tmp_path / "model"})
    name = next(iter(lab.layers("mine")))
    for file in (tmp_path / "model").glob("*.safetensors"):
        file.write_bytes(b"")
    with pytest.raises(ValueError, match=f"weight {name!r} cannot be read: it ends within the tensor") as caught:
        lab.weight("mine", name)
    assert str(tmp_path) not in str(caught.value)


def test_ctrl_c_ends_the_command_and_the_same_command_goes_on(folder, tmp_path, monkeypatch):
    command = (
        "start",
        "--model",
        str(folder("llama")),
        "--out",
        str(tmp_path / "out"),
        "--residual",
        str(tmp_path / "r"),
    )
    with monkeypatch.context() as patch:
        patch.setattr(shards, "BLOCK", 1)  # which takes its time
        with forked(*command, temporary=tmp_path / "tmp") as (process, _):
            while not list(tmp_path.glob(".r.partial/*")):
                time.sleep(0.01)
            began = time.monotonic()
            os.kill(process.pid, signal.SIGINT)
            assert process.wait() == 130
            assert time.monotonic() - began < 5
    assert not (tmp_path / "out").exists()
    again = run(*command, "--json")
    assert again.returncode == 0
    (summary,) = objects(again.stdout)
    assert summary["keeps_function"]
    assert summary["init"] == "olora"
    assert "computes at step 0" in again.stderr
    for options, code, sentence in (
        ((), 0, "out is already there: nothing to do"),
        (("--r", "4"), 2, "with r 8, not 4"),
    ):
        repeated = run(*command, *options)
        assert (repeated.returncode, sentence in repeated.stdout + repeated.stderr) == (code, True), repeated


@pytest.mark.parametrize("has_rest", [True, False])
def test_workers_write_the_same_bytes_also_after_they_were_stopped_and_killed(has_rest, folder, tmp_path):
    start = partial(start_folder, folder("llama"), ov.Lane("pissa_fast", r=4, alpha=6))
    start(tmp_path / "whole", tmp_path / "whole-rest" if has_rest else None)
    where, parts = (tmp_path / "out", tmp_path / "rest" if has_rest else None), list[float]()

    def stop(part: float, words: str) -> None:
        parts.append(part)
        if len(parts) == 4:
            raise StoppedEarlyError

    def kill(part: float, words: str) -> None:
        assert part >= parts[-2]
        for process in multiprocessing.active_children():
            process.kill()

    with pytest.raises(StoppedEarlyError):
        start(*where, stop, workers=2)
    with pytest.raises(ChildProcessError, match=r"a process was killed, .* the same command goes on"):
        start(*where, kill, workers=2)
    assert start(*where, workers=2).layers == 14
    for name in ("out", *["rest"] * has_rest):
        ours, theirs = contents(tmp_path / name), contents(tmp_path / ("whole" if name == "out" else "whole-rest"))
        assert ours.keys() == theirs.keys()
        assert all(ours[file] == theirs[file] for file in ours if file.endswith("safetensors"))
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a list of the processes")
def test_ctrl_c_ends_all_workers(tmp_path):
    sizes = {"hidden_size": 1024, "intermediate_size": 1024, "num_hidden_layers": 4, "vocab_size": 64}
    hf.LlamaForCausalLM(hf.LlamaConfig(**sizes)).bfloat16().save_pretrained(tmp_path / "model")
    out = tmp_path / "out"
    command = f"start --model {tmp_path / 'model'} --init pissa --r 8 --out {out} --workers 2".split()
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background job ignores it
    words = [sys.executable, "-m", "olora_viz", *command]
    with subprocess.Popen(words, stderr=subprocess.PIPE, preexec_fn=heard) as process:
        try:
            wait_until(lambda: len(below(process.pid)) >= 4)  # both, what they come from, and what counts resources
            workers = below(process.pid)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=10) == 130
            wait_until(lambda: not any(Path(f"/proc/{pid}").is_dir() for pid in workers), seconds=10)
        finally:
            process.kill()
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--workers 0", "workers must be at least 1, not 0"),
        ("--workers 2 --ray auto", "workers is 2, but on a Ray cluster the cores say how many run at once"),
        ("--model nowhere", "'nowhere' is not a folder on this machine"),
        ("--model {tmp}", "is not a Hugging Face model folder"),
        ("--init olra", "unknown initialization 'olra'; did you mean 'olora'"),
        ("--init eva", "'eva' needs the inputs of W over some data"),
        ("--init full", "'full' has no A and B"),
        ("--init lora --residual {tmp}/rest", "'lora' subtracts nothing from W"),
        ("--r 17", "rank 17 exceeds min(out, in) = 16"),
        ("--init orthogonal --r 3", "rank 3 is odd"),
        ("--target nothing", "no linear layer's name ends in 'nothing'"),
        ("--out {model}", "needs folders apart"),
        ("--out {tmp}/full", "must be new or empty"),
        ("--out {tmp}/file", "must be new or empty"),
        ("--residual {tmp}/full", "must be new or empty"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(options, sentence, folder, tmp_path):
    (tmp_path / "full").mkdir()
    for file in ("full/a", "file"):
        (tmp_path / file).write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    words = options.format(tmp=tmp_path, model=folder("llama")).split()
    answer = run("start", "--model", str(folder("llama")), "--out", str(tmp_path / "out"), *words)
    assert answer.returncode == 2
    assert sentence in answer.stderr
    assert answer.stderr.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before

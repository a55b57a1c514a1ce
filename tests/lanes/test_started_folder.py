"""A start on a model's folder, layer by layer, is that of the model in memory; what is interrupted goes on."""

import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import peft
import pytest
import torch
import transformers as hf
from support.mixtures import EXPERTS, close, mixture
from support.mixtures import logits as mixed_logits
from support.model_folders import contents, loaded, model_of, tensors_of
from support.pefts import logits
from support.verbs import below, forked, objects, run
from support.waiting import wait_until

import olora_viz as ov
from olora_viz.lanes.layers import target_layers
from olora_viz.lanes.started_folder import start_folder
from olora_viz.machine import files
from olora_viz.machine.files import read_tensors, write_tensors
from olora_viz.machine.process import StoppedEarlyError
from olora_viz.models import shards
from olora_viz.models.shards import read_shards
from olora_viz.views.spectrum import Lab

STARTS = [e.name for e in ov.INITIALIZERS.values() if not e.dense and not e.needs]
SUBTRACTS = [n for n in STARTS if ov.INITIALIZERS[n].keeps_function and not ov.INITIALIZERS[n].zero_product]


def in_memory(family: str, dtype: torch.dtype, lane: ov.Lane) -> torch.nn.Module:
    base = model_of(family, dtype)
    config = {"r": lane.r, "lora_alpha": lane.lora_alpha, "fan_in_fan_out": family == "gpt2"}
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
def test_a_start_on_a_folder_has_the_bits_of_that_in_memory(family, dtype, init, saved, tmp_path):
    lane = ov.Lane(init, r=4, alpha="3r/2", seed=3)
    rest = tmp_path / "rest" if init in SUBTRACTS else None
    started = start_folder(saved(family, dtype), lane, tmp_path / "out", rest)
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


@pytest.mark.parametrize("family", ["llama", "gpt2", "phi3"])
@pytest.mark.parametrize("init", ["lora", "olora", "pissa", "sketch", "mica", "olora_unsubtracted"])
def test_peft_loads_it_and_it_says_whether_the_function_is_kept(family, init, saved, tmp_path):
    lane, model = ov.Lane(init, r=4, alpha=6), saved(family)
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


def test_names_without_the_base_model_s_prefix_are_found(saved, tmp_path):
    from safetensors.torch import save_file

    stored = {name.removeprefix("transformer."): tensor for name, tensor in tensors_of(saved("gpt2")).items()}
    (tmp_path / "model").mkdir()
    save_file(stored, tmp_path / "model/model.safetensors")
    (tmp_path / "model/config.json").write_bytes((saved("gpt2") / "config.json").read_bytes())
    lane = ov.Lane("olora", r=4)
    start_folder(tmp_path / "model", lane, tmp_path / "bare")
    start_folder(saved("gpt2"), lane, tmp_path / "out")
    bare, full = (read_tensors(tmp_path / name / "adapter_model.safetensors") for name in ("bare", "out"))
    assert bare.keys() == full.keys()
    assert all(torch.equal(bare[name], full[name]) for name in full)


@pytest.mark.parametrize("has_rest", [True, False])
def test_what_was_interrupted_at_any_byte_goes_on_bitwise(has_rest, saved, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "BYTES_AT_ONCE", 1000)
    model, lane = saved("llama"), ov.Lane("olora", r=4)
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


def test_a_disk_without_room_is_named_and_what_is_written_stays(saved, tmp_path, monkeypatch):
    def stop(*_: object) -> None:
        raise StoppedEarlyError

    start = partial(start_folder, saved("llama"), ov.Lane("olora", r=4))
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


def test_weights_that_look_like_targets_but_are_no_layers_are_named(saved, tmp_path):
    shutil.copytree(saved("llama"), tmp_path / "model")
    config = hf.AutoConfig.from_pretrained(tmp_path / "model")
    config.num_hidden_layers = 1
    config.save_pretrained(tmp_path / "model")
    answer = run("start", "--model", str(tmp_path / "model"), "--out", str(tmp_path / "out"), "--target", "v_proj")
    assert answer.returncode == 0
    note, _ = answer.stderr.splitlines()
    assert note.endswith("are no layers of the model by its config: model.layers.1.self_attn.v_proj.weight")


@pytest.mark.parametrize("fault", ["nan", "shape", "vector", "dtype", "header", "shard"])
def test_a_damaged_model_is_named(fault, saved, tmp_path):
    model, name = tmp_path / "model", "model.layers.1.mlp.down_proj.weight"
    shutil.copytree(saved("llama"), model)
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


def test_ctrl_c_ends_the_command_and_the_same_command_goes_on(saved, tmp_path, monkeypatch):
    command = (
        "start",
        "--model",
        str(saved("llama")),
        "--out",
        str(tmp_path / "out"),
        "--residual",
        str(tmp_path / "r"),
    )
    with monkeypatch.context() as patch:
        patch.setattr(shards, "BYTES_AT_ONCE", 1)  # which takes its time
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
def test_workers_write_the_same_bytes_also_after_they_were_stopped_and_killed(has_rest, saved, tmp_path):
    start = partial(start_folder, saved("llama"), ov.Lane("pissa_fast", r=4, alpha=6))
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


@pytest.mark.nightly
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
        ("--workers 0", "workers must be from 1 to 1024, not 0"),
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
def test_bad_input_is_one_sentence_and_leaves_nothing(options, sentence, saved, tmp_path):
    (tmp_path / "full").mkdir()
    for file in ("full/a", "file"):
        (tmp_path / file).write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    words = options.format(tmp=tmp_path, model=saved("llama")).split()
    answer = run("start", "--model", str(saved("llama")), "--out", str(tmp_path / "out"), *words)
    assert answer.returncode == 2
    assert sentence in answer.stderr
    assert answer.stderr.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before

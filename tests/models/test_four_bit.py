"""Models in four bits are read as what they stand for; other quantizations are named."""

import json
import shutil
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import transformers as hf
from support.model_folders import edit, model_of, tensors_of, train
from support.pefts import logits
from support.tiny import tiny_tokenizer
from support.verbs import run

import olora_viz as ov
from olora_viz.lanes.layers import target_layers
from olora_viz.lanes.merged_folder import merge_folder
from olora_viz.lanes.started_folder import start_folder
from olora_viz.machine.files import read_tensors, write_tensors
from olora_viz.machine.four_bit import TENSORS_BESIDE, dequantized, dynamic_map, nf4


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


def test_a_model_in_four_bits_is_read_as_the_matrices_that_it_stands_for(tmp_path):
    plain, four = tmp_path / "plain", tmp_path / "four"
    model_of("llama", torch.bfloat16).save_pretrained(plain)
    tiny_tokenizer().save_pretrained(plain)
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
    loaded, read = (ov.load_model(str(tmp_path / name), dtype=torch.bfloat16)[0] for name in ("four", "plain"))
    assert torch.equal(logits(loaded), logits(read))
    lane, rows = ov.Lane("olora", r=2), [{"prompt": f"a{n}", "answer": f"b{n % 3}"} for n in range(20)]
    config = ov.RaceConfig(model=str(four), lanes=(lane,), steps=2, keep="none", device="cpu")
    of_four, of_plain = (
        [step.loss.tolist() for step in ov.race(config.replace(model=str(tmp_path / name)), task=rows)]
        for name in ("four", "plain")
    )
    assert of_four == of_plain
    with pytest.raises(ValueError, match="are in four bits already, and nf4 would round again: leave base out"):
        ov.race(config.replace(base="nf4"), task=rows)
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
        parts = {name: stored[f"{kind}.{name}"] for name in TENSORS_BESIDE if f"{kind}.{name}" in stored}
        state = json.loads(bytes(stored[f"{kind}.quant_state.bitsandbytes__{kind}"].tolist()))
        ours = dequantized(stored[kind].flatten(), parts, state, torch.bfloat16)
        assert torch.equal(ours, stored[f"{kind}.dequantized"])
    assert len(parts) == 2  # the scales of the first one are quantized too


def test_weights_whose_scales_are_quantized_too_are_bitwise_those_of_bitsandbytes():
    stored = read_tensors(Path(__file__).parents[1] / "data/four_bit.safetensors")  # on a CPU, by version 0.50.2
    parts = {name: stored[f"double.{name}"] for name in TENSORS_BESIDE}
    state = json.loads(bytes(stored["double.quant_state.bitsandbytes__nf4"].tolist()))
    i = torch.arange(70 * 300, dtype=torch.float64).view(70, 300)
    W = ((i * 7919 % 2003 - 1001) / 1001 * ((i // 64) * 37 % 101 + 1) / 101).float()
    assert torch.equal(dynamic_map(), parts["nested_quant_map"])
    assert torch.equal(nf4(W, double=True), dequantized(stored["double"].flatten(), parts, state, torch.float32))
    assert not torch.equal(nf4(W, double=True), nf4(W))
    assert torch.equal(nf4(torch.zeros(3, 50), double=True), torch.zeros(3, 50))


@pytest.mark.parametrize("method", ["gptq", "awq", "fp8", "mxfp4", "bitsandbytes"])
def test_other_quantizations_are_named_by_every_verb(method, saved, tmp_path):
    model, adapter = tmp_path / "model", str(tmp_path / "adapter")
    shutil.copytree(saved("llama"), model)
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

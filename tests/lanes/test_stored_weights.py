"""Layers that are read one by one from a model's files have the numbers of the model."""

import shutil
import weakref

import pytest
import torch
from support.mixtures import mixture
from support.model_folders import model_of, train
from support.tiny import tiny_tokenizer
from support.verbs import objects, run

import olora_viz as ov
from olora_viz import models
from olora_viz.lanes import stored_weights
from olora_viz.lanes.started_folder import start_folder
from olora_viz.measures.truncation import Weight, layers_like, to_json, truncation, truncations
from olora_viz.models.shards import StoredTensor
from olora_viz.notebook import SpectrumPanel
from olora_viz.studies.claims import subset
from olora_viz.views import spectrum as spectrum_view
from olora_viz.views.spectrum import Lab

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
    family, layer, saved, tmp_path, monkeypatch
):
    model = saved(family)
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
    family, dtype, saved, monkeypatch
):
    names, read, whole = [], StoredTensor.read, layers_like(model_of(family, dtype))
    monkeypatch.setattr(models, "load_model", None)
    monkeypatch.setattr(StoredTensor, "read", lambda tensor: names.append(tensor.name) or read(tensor))
    lab = Lab({"mine": saved(family, dtype)})
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


@pytest.mark.parametrize("by", ["panel", "truncations"])
def test_of_large_layers_one_is_in_memory(by, saved, monkeypatch):
    monkeypatch.setattr(spectrum_view, "LARGE", 1)
    earlier, alive, whole, read = [], [], Weight.__init__, StoredTensor.read
    monkeypatch.setattr(Weight, "__init__", lambda self, *of: earlier.append(weakref.ref(self)) or whole(self, *of))
    monkeypatch.setattr(
        StoredTensor, "read", lambda of: alive.append([each() is not None for each in earlier]) or read(of)
    )
    folder = str(saved("llama"))
    if by == "panel":
        panel = SpectrumPanel(folder, ["olora"], r=2)
        panel.layer = panel.layer.replace("q_proj", "k_proj")
        assert panel.found["olora"].weight is panel.weight
    else:
        model, of_layer = stored_weights.model_of(folder)
        for _, compared in truncations(model, "layers.0.self_attn.[qk]_proj", 2, ["olora", "pissa"], read=of_layer):
            del compared
    assert len(alive) == 2
    assert alive[1]
    assert not any(alive[1])


def test_a_folder_whose_layers_are_made_of_several_tensors_is_loaded(tmp_path):
    mixture("mixtral").save_pretrained(tmp_path)
    tiny_tokenizer(pad_token="<pad>", eos_token="</s>").save_pretrained(tmp_path)
    model, read = stored_weights.model_of(str(tmp_path))
    assert read is None
    assert not next(model.parameters()).is_meta


def test_a_file_that_is_lost_while_its_model_is_open_is_told_without_its_path(saved, tmp_path):
    shutil.copytree(saved("llama"), tmp_path / "model")
    lab = Lab({"mine": tmp_path / "model"})
    name = next(iter(lab.layers("mine")))
    for file in (tmp_path / "model").glob("*.safetensors"):
        file.write_bytes(b"")
    with pytest.raises(ValueError, match=f"weight {name!r} cannot be read: it ends within the tensor") as caught:
        lab.weight("mine", name)
    assert str(tmp_path) not in str(caught.value)

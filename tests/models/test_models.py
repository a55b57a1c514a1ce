"""Models: the named ones are what they claim to be, and the rest is refused in one sentence."""

import itertools
import re

import glassllm
import numpy as np
import pytest
import torch
from glassllm.model import GlassLM
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny import FAMILIES, tiny, tokens

from olora_viz.machine.devices import accelerator, devices, resolve_device, resolve_dtype
from olora_viz.models import MODELS, load_model
from olora_viz.models.offline import LANGUAGES
from olora_viz.models.taught import TAUGHT
from olora_viz.races.config import RaceConfig


@pytest.fixture(scope="module", params=[name for name in LANGUAGES if name not in TAUGHT])
def name(request):
    return request.param


@pytest.fixture(scope="module")
def glass(name):
    return load_model(name)


@pytest.fixture(scope="module")
def package(name):
    return glassllm.load_pretrained(LANGUAGES[name])


TEXTS = [
    "",
    " ",
    "\n",
    "Alice was beginning to get very tired",
    "  two  spaces   three\n\n\nlines \n end ",
    "3 + 4 = 7, 12 and 1024",
    "café cafe\u0301 Æsop naïve ù",
    "tab\tand\r\nreturn and \u00a0 no-break",
    "unknown: 中文 🙂 ß <eos> <pad> ▁ ▁▁x",
    "“‘quoted’” — it’s (here); [there] {x} *y* _z_",
    "Não me lembra se chorou: creio que não. Coração, pão e água.",
]


def test_glassllm_gives_the_logits_of_the_numpy_package(glass, package):
    ids = np.random.default_rng(0).integers(0, 1024, (3, 128))
    with glassllm.no_grad():
        want = package[0].forward(ids).data
    with torch.no_grad():
        got = glass[0](torch.from_numpy(ids)).logits.numpy()
    assert np.abs(got - want).max() <= 1e-5 * max(1.0, np.abs(want).max())


def test_glassllm_differs_from_the_package_by_rounding_alone(name):
    # In float64 what is left is transformers' float32 RoPE angles and norms.
    from importlib import resources

    stored = resources.files("glassllm") / "weights" / f"{LANGUAGES[name]}.npz"
    with resources.as_file(stored) as path:
        numpy_model = GlassLM.load(path, dtype=np.float64)
    model, _ = load_model(name, dtype=torch.float64)
    ids = np.random.default_rng(1).integers(0, 1024, (2, 64))
    with glassllm.no_grad():
        want = numpy_model.forward(ids).data
    with torch.no_grad():
        got = model(torch.from_numpy(ids)).logits.numpy()
    assert np.abs(got - want).max() <= 1e-5


@pytest.mark.parametrize("text", TEXTS)
def test_glassllm_tokenizes_as_the_package_does(glass, package, text):
    assert glass[1](text)["input_ids"] == package[1].encode(text)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab ehtouw\n\t.,’“'▁éù中0123\u0301Æ<>"), max_size=60) | st.text(max_size=40))
def test_glassllm_tokenizes_any_text_as_the_package_does(glass, package, text):
    assert glass[1](text)["input_ids"] == package[1].encode(text)


@pytest.mark.parametrize("text", TEXTS)
def test_glassllm_decodes_as_the_package_does(glass, package, text):
    ids = package[1].encode(text)
    decoded = glass[1].decode(ids).replace("<unk>", "⁇")
    assert decoded == package[1].decode(ids)


def test_glassllm_offsets_point_at_the_text_of_each_token(glass):
    text = "What is  two and\n\nthree? five."
    encoded = glass[1](text, return_offsets_mapping=True)
    spans = encoded["offset_mapping"]
    assert spans[0][0] == 0
    assert spans[-1][1] == len(text)
    assert all(left[1] == right[0] for left, right in itertools.pairwise(spans))
    for i, (start, end) in zip(encoded["input_ids"], spans, strict=True):
        assert glass[1].decode([i]) == text[start:end]


def test_glassllm_survives_saving_and_loading(glass, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = glass
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
    ids = torch.randint(0, 1024, (1, 20), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        reloaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
        assert torch.equal(reloaded(ids).logits, model(ids).logits)


def test_loading_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    want = torch.rand(4)
    torch.manual_seed(3)
    load_model("glassllm")
    assert torch.equal(torch.rand(4), want)


def test_a_loaded_model_is_frozen_padded_and_within_its_card(name):
    model, tokenizer = load_model(name)
    card = MODELS[name]
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    assert sum(p.numel() for p in model.parameters()) == card.parameters
    assert model.config.max_position_embeddings == card.context
    assert model.config._attn_implementation == "sdpa"
    assert model.config.use_cache
    assert tokenizer.is_fast
    assert tokenizer.pad_token_id is not None
    assert tokenizer.eos_token_id is not None


def test_a_model_can_be_had_in_bfloat16():
    model, _ = load_model("glassllm", dtype=torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_an_unknown_model_is_answered_with_the_nearest_names():
    with pytest.raises(ValueError, match=r"unknown model 'glasslm'.*glassllm.*folder"):
        load_model("glasslm")


@pytest.mark.parametrize("path", ["gone/model", "./glassllm", "/glassllm", "glassllm/"])
def test_a_path_without_a_folder_is_told_as_such(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ValueError, match=f"^'{path}' is not a folder on this machine, nor is it the name of a model: "
    ):
        load_model(path)
    (tmp_path / "weights.safetensors").write_text("")
    with pytest.raises(ValueError, match="is a file, not a model's folder"):
        load_model("./weights.safetensors")


def test_auto_takes_what_the_machine_has():
    assert resolve_device("auto").type == (accelerator() or torch.device("cpu")).type
    assert resolve_device("cpu").type == "cpu"
    assert resolve_dtype("auto", "cpu") == torch.float32
    assert resolve_dtype("auto", "cuda") == torch.bfloat16
    assert resolve_dtype("bfloat16", "cpu") == torch.bfloat16


@pytest.mark.parametrize("name", ["cuda:7", "mps:7", "xpu:7"])
def test_a_device_that_is_not_here_is_refused_in_a_sentence_with_those_that_are(name: str) -> None:
    here = re.escape(" and ".join(devices()))
    with pytest.raises(ValueError, match=rf"device '{name}' is not available: this machine has {here}"):
        resolve_device(name)


def test_unknown_devices_and_dtypes_are_refused():
    for name in ("gpu", "cpu:1", "meta", "cuda:", "cuda:-1", "cuda:x", ""):
        with pytest.raises(ValueError, match=rf"unknown device '{name}': it is auto, cpu"):
            resolve_device(name)
    for device in (None, torch.device("cpu")):
        with pytest.raises(ValueError, match="unknown device "):
            RaceConfig(device=device)
    with pytest.raises(ValueError, match=r"unknown dtype 'bfloat'; did you mean 'bfloat16'"):
        resolve_dtype("bfloat", "cpu")


@pytest.mark.parametrize("family", FAMILIES)
def test_tiny_models_are_seeded_and_exact_in_float64(family):
    ids = tokens()
    with torch.no_grad():
        once, twice = tiny(family)(ids).logits, tiny(family)(ids).logits
        exact = tiny(family, torch.float64)(ids).logits
    assert torch.equal(once, twice)
    torch.testing.assert_close(exact.float(), once, atol=1e-5, rtol=1e-5)
    assert sum(p.numel() for p in tiny(family).parameters()) < 20_000

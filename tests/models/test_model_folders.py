"""Local folders: what is a safe causal language model loads, all else is refused in a sentence."""

import json
import os
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny import FAMILIES, VOCABULARY, tiny, tiny_folder, tokens

from olora_viz.machine.files import cache_folder, check_free_disk
from olora_viz.machine.memory import available_memory, check_memory
from olora_viz.models import load_model
from olora_viz.models.folder import check_folder


@pytest.fixture
def folder(tmp_path):
    return tiny_folder("llama", tmp_path / "model")


def edit(path, **changes):
    """Change keys of a JSON file; None takes a key away."""
    content = json.loads(path.read_text())
    content.update(changes)
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_of_every_family_loads_with_its_own_logits(family, tmp_path):
    model, tokenizer = load_model(str(tiny_folder(family, tmp_path / family)))
    with torch.no_grad():
        assert torch.equal(model(tokens()).logits, tiny(family)(tokens()).logits)
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    assert model.config._attn_implementation == "sdpa"
    assert tokenizer.decode(tokenizer("a b")["input_ids"]) == "a b"


def test_shards_load_like_one_file(tmp_path):
    tiny_folder("mistral", tmp_path)
    whole, _ = load_model(str(tmp_path))
    whole.save_pretrained(tmp_path, max_shard_size="20KB")
    (tmp_path / "model.safetensors").unlink(missing_ok=True)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    sharded, _ = load_model(str(tmp_path))
    with torch.no_grad():
        assert torch.equal(sharded(tokens()).logits, whole(tokens()).logits)
    next(tmp_path.glob("model-*.safetensors")).unlink()
    with pytest.raises(ValueError, match="which its index lists"):
        load_model(str(tmp_path))


@pytest.mark.parametrize(
    ("special", "pad"), [({"eos_token": "</s>"}, 2), ({"unk_token": "<s>"}, 0), ({"pad_token": "b"}, 5)]
)
def test_a_missing_padding_token_is_made_up(special, pad, tmp_path):
    _, tokenizer = load_model(str(tiny_folder("gpt2", tmp_path, **special)))
    assert tokenizer.pad_token_id == pad


def test_weights_come_in_the_dtype_asked_for(folder):
    model, _ = load_model(str(folder), dtype=torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_a_pickle_is_never_opened(folder):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(folder / "ran"),))

    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match=r"as a pickle \(pytorch_model.bin\).*safetensors"):
        load_model(str(folder))
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_of_the_folder_is_never_run(file, folder):
    (folder / "own.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    edit(folder / file, auto_map={"AutoModelForCausalLM": "own.Model"})
    with pytest.raises(ValueError, match="needs its own code"):
        load_model(str(folder))
    assert not (folder / "ran").exists()


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"model_type": "bert", "architectures": ["BertModel"]}, "BertModel"),
        ({"model_type": "t5", "architectures": None}, "'t5'"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "LlamaForSequenceClassification"),
        ({"model_type": None}, "no model_type"),
        ({"model_type": ["llama"]}, "unknown model_type"),
        ({"model_type": "lama"}, "unknown model_type 'lama'; did you mean 'llama'"),
        ({"model_type": "nothing-known", "architectures": "x"}, "'nothing-known'"),
    ],
)
def test_what_is_no_causal_language_model_is_refused(changes, what, folder):
    edit(folder / "config.json", **changes)
    with pytest.raises(ValueError, match=f"causal language model: .*{what}"):
        load_model(str(folder))


def test_a_quantized_model_is_refused(folder):
    edit(folder / "config.json", quantization_config={"quant_method": "gptq"})
    with pytest.raises(ValueError, match="is quantized"):
        load_model(str(folder))


def test_an_adapter_is_told_from_a_model(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match="PEFT adapter, not a model"):
        load_model(str(tmp_path))


def test_an_adapter_beside_a_model_is_never_loaded_into_it(folder):
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"adapter next to its model .*folder of its own") as said:
        load_model(str(folder))
    assert "\n" not in str(said.value)
    (folder / "adapter_config.json").unlink()
    load_model(str(folder))


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no config\.json"):
        load_model(str(tmp_path))


@pytest.mark.parametrize("text", ["{", "[]", "\x00"])
def test_a_broken_config_is_refused_in_a_sentence(text, folder):
    (folder / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json"):
        load_model(str(folder))


def test_missing_weights_are_refused_and_never_drawn_at_random(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"missing model\.layers\.1\.mlp\.up_proj\.weight"):
        load_model(str(folder))


def test_weights_of_another_shape_are_refused(folder):
    edit(folder / "config.json", intermediate_size=48)
    with pytest.raises(ValueError, match=r"cannot load|do not fit"):
        load_model(str(folder))


@pytest.mark.parametrize("keep", [0, 7, 100, 30_000])
def test_half_written_weights_are_never_used(keep, folder):
    weights = folder / "model.safetensors"
    assert check_folder(folder) == sum(w.numel() for w in load_file(weights).values())
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(ValueError, match="is damaged"):
        check_folder(folder)
    with pytest.raises(ValueError, match="is damaged"):
        load_model(str(folder))


@pytest.mark.parametrize("text", ['{"a":', "", "\x00", "[1]", "null"])
@pytest.mark.parametrize("file", ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"])
def test_broken_json_is_named_with_its_file(file, text, folder):
    (folder / file).write_text(text)
    with pytest.raises(ValueError, match=rf"{file}' (is not JSON|must hold a JSON object)"):
        load_model(str(folder))


def test_a_tokenizer_of_another_kind_of_json_is_refused_in_a_sentence(folder):
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"cannot load .*: 'added_tokens' is missing"):
        load_model(str(folder))


def test_a_folder_without_a_tokenizer_is_refused(folder):
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match="no tokenizer"):
        load_model(str(folder))


def test_a_tokenizer_with_more_tokens_than_embeddings_is_refused(folder):
    _, tokenizer = load_model("glassllm")
    tokenizer.save_pretrained(folder)
    with pytest.raises(ValueError, match=f"token 1023, .*for {VOCABULARY} only"):
        load_model(str(folder))


def test_loading_says_nothing_on_standard_output(folder, capfd):
    load_model(str(folder))
    out, err = capfd.readouterr()
    assert out == ""
    assert err == ""


def test_a_model_larger_than_the_memory_is_refused_before_it_is_loaded():
    cpu = torch.device("cpu")
    check_memory(4000, cpu, "small")
    if available_memory(cpu) is not None:
        with pytest.raises(ValueError, match=r"huge needs 1000000\.0 GB of memory, but only"):
            check_memory(10**15, cpu, "huge")


def test_no_free_disk_is_said_in_a_sentence(tmp_path):
    check_free_disk(tmp_path / "not" / "there", 1, "a trifle")
    with pytest.raises(ValueError, match=r"a lot needs 1,000,000,000,000 MB .* are free"):
        check_free_disk(tmp_path, 10**18, "a lot")


def test_the_cache_is_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("OLORA_VIZ_CACHE", raising=False)
    assert cache_folder() == tmp_path / "xdg" / "olora_viz"
    monkeypatch.setenv("OLORA_VIZ_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    assert (tmp_path / "own").is_dir()


def test_a_cache_that_cannot_be_made_is_said_in_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("OLORA_VIZ_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ValueError, match=r"cannot create the cache folder .*OLORA_VIZ_CACHE"):
        cache_folder()

"""Adapters as files: ours in PEFT, and PEFT's here."""

import itertools
import json
import math

import peft
import pytest
import torch
from support.pefts import IDS, logits, peft_model
from support.starts import told
from support.tiny import FAMILIES, tiny

from olora_viz.lanes.adapters import attach
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.layers import is_transposed
from olora_viz.lanes.peft import read_peft, write_peft


def trained(family: str, lane: Lane, dtype=torch.float64):
    """A tiny model with one lane, some steps away from where it started."""
    model = tiny(family, dtype)
    lanes = attach(model, [lane], calibration=told(model))
    optimizer = torch.optim.AdamW([lanes.theta], lr=lane.lr)
    for _ in range(3):
        optimizer.zero_grad()
        model(input_ids=IDS).logits.log_softmax(-1)[..., 5].mean().neg().backward()
        optimizer.step()
    return model, lanes


EXPORTED = [
    *itertools.product(FAMILIES, ("lora", "olora", "pissa", "orthogonal")),
    *itertools.product(("llama", "gpt2"), ("lora_ga", "lora_one", "eva", "corda", "mica")),
]


@pytest.mark.parametrize(("family", "init"), EXPORTED)
def test_an_exported_adapter_gives_the_same_logits_in_peft(family, init, tmp_path):
    model, lanes = trained(family, Lane(init, lr=1e-2, r=4, alpha="5r/2", rslora=init == "lora"))
    write_peft(lanes, 0, tmp_path / "adapter")
    theirs = peft.PeftModel.from_pretrained(tiny(family, torch.float64), tmp_path / "adapter")
    assert theirs.peft_config["default"].r == (4 if init in ("lora", "eva", "mica") else 8)
    torch.testing.assert_close(logits(model), logits(theirs), rtol=1e-9, atol=1e-9)
    assert (logits(model) - logits(tiny(family, torch.float64))).abs().max() > 0.01
    merged = theirs.merge_and_unload()
    torch.testing.assert_close(logits(lanes.merge(0)), logits(merged), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "gpt2"])
def test_the_olora_form_is_completed_by_peft_from_the_base(family, rslora, tmp_path):
    model, lanes = trained(family, Lane("olora", lr=1e-2, r=4, alpha=10, rslora=rslora), torch.float32)
    write_peft(lanes, 0, tmp_path, form="olora")
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["r"] == 4
    assert config["init_lora_weights"] == "olora"
    theirs = peft.PeftModel.from_pretrained(tiny(family), tmp_path)
    torch.testing.assert_close(logits(model), logits(theirs), rtol=1e-3, atol=1e-3)
    assert (logits(model) - logits(tiny(family))).abs().max() > 0.01


@pytest.mark.parametrize(
    ("family", "init", "form"),
    [
        ("llama", "lora", "lora"),
        ("llama", "olora", "lora"),
        ("llama", "olora", "olora"),
        ("gpt2", "lora", "lora"),
        ("gpt2", "olora", "lora"),
        ("llama", "corda", "lora"),
        ("gpt2", "mica", "lora"),
    ],
)
def test_what_was_written_reads_back(family, init, form, tmp_path):
    model, lanes = trained(family, Lane(init, lr=1e-2, r=4, alpha=10), torch.float32)
    write_peft(lanes, 0, tmp_path, form=form)
    again = tiny(family)
    read_peft(again, tmp_path)
    torch.testing.assert_close(logits(again), logits(model), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rslora", [False, True])
def test_an_adapter_saved_by_peft_reads_back_with_its_patterns(rslora, tmp_path):
    config = peft.LoraConfig(
        r=4,
        lora_alpha=6,
        use_rslora=rslora,
        target_modules=["q_proj", "down_proj"],
        rank_pattern={"layers.0.self_attn.q_proj": 2},
        alpha_pattern={"down_proj": 9},
        init_lora_weights=False,
    )
    theirs = peft.get_peft_model(tiny("llama"), config).eval()
    theirs.save_pretrained(tmp_path)
    model = tiny("llama")
    lanes = read_peft(model, tmp_path)
    assert len(lanes.layers) == 4
    torch.testing.assert_close(logits(model), logits(theirs), rtol=1e-4, atol=1e-4)


def test_an_olora_adapter_saved_by_peft_reads_back(tmp_path):
    lane = Lane("olora", r=4, alpha=10)
    theirs = peft_model(lane, ["q_proj", "up_proj"], tiny("llama"), "olora").eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "lora_" in name:
                parameter.add_(0.1)
    theirs.save_pretrained(tmp_path)
    model = tiny("llama")
    read_peft(model, tmp_path)
    torch.testing.assert_close(logits(model), logits(theirs), rtol=1e-3, atol=1e-3)


def saved_by_peft(folder, init, family="llama", targets=("q_proj", "up_proj"), **changes):
    """An adapter that PEFT started, trained for some steps, and saved; the init as it is given."""
    config = peft.LoraConfig(
        **{"r": 4, "lora_alpha": 10, "target_modules": list(targets), **changes},
        init_lora_weights=init,
        task_type="CAUSAL_LM",
    )
    theirs = peft.get_peft_model(tiny(family), config)
    trainable = [p for p in theirs.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        theirs(input_ids=IDS).logits.log_softmax(-1)[..., 5].mean().neg().backward()
        optimizer.step()
    theirs.save_pretrained(folder)
    return theirs.eval()


@pytest.mark.parametrize(
    ("family", "init", "changes"),
    [
        ("llama", "olora", {}),
        ("llama", "OLoRA", {}),
        ("llama", "OLORA", {"use_rslora": True}),
        ("llama", "pissa", {}),
        ("llama", "pissa", {"use_rslora": True, "rank_pattern": {"q_proj": 2}}),
        ("gpt2", "pissa", {"targets": ("c_attn", "mlp.c_proj"), "fan_in_fan_out": True}),
        ("llama", "orthogonal", {}),
        ("llama", "mica", {}),
        ("llama", "gaussian", {}),
    ],
)
def test_an_adapter_trained_by_peft_reads_back_from_every_start_that_can(family, init, changes, tmp_path):
    theirs = saved_by_peft(tmp_path, init, family, **changes)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["init_lora_weights"] == init
    model = tiny(family)
    lanes = read_peft(model, tmp_path)
    torch.testing.assert_close(logits(model), logits(theirs), rtol=1e-3, atol=1e-3)
    with lanes.off():
        base = logits(model)
    assert torch.equal(base, logits(tiny(family)))
    assert (logits(model) - base).abs().max() > 0.01


def test_an_eva_adapter_reads_back_with_the_ranks_that_peft_dealt_out(tmp_path):
    """EVA leaves the base as it is, but gives each layer a rank of its own."""
    config = peft.LoraConfig(
        r=3,
        lora_alpha=6,
        target_modules=["q_proj", "o_proj", "up_proj"],
        init_lora_weights="eva",
        eva_config=peft.EvaConfig(rho=2.0),
    )
    theirs = peft.get_peft_model(tiny("llama"), config)
    peft.initialize_lora_eva_weights(theirs, [{"input_ids": IDS}], show_progress_bar=False)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.05)
    theirs.eval().save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "adapter_config.json").read_text())
    assert saved["init_lora_weights"] == "eva"
    assert len(set(saved["rank_pattern"].values())) > 0
    model = tiny("llama")
    read_peft(model, tmp_path)
    assert (logits(model) - logits(tiny("llama"))).abs().max() > 0.01
    torch.testing.assert_close(logits(model), logits(theirs), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("init", ["pissa_niter_4", "corda", "loftq", "lora_ga", "a new one"])
def test_a_start_that_changed_the_base_beyond_recall_is_refused(init, tmp_path):
    saved_by_peft(tmp_path, True)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"init_lora_weights": init}))
    model = tiny("llama")
    with pytest.raises(ValueError, match=f"started as '{init}', which changed the base model"):
        read_peft(model, tmp_path)
    assert torch.equal(logits(model), logits(tiny("llama")))


def test_a_lane_that_does_not_exist_or_is_not_finite_is_not_written(tmp_path):
    lanes = attach(tiny("llama"), [Lane("lora", r=2), Lane("olora", r=2)])
    for k in (2, 5, -1):
        with pytest.raises(ValueError, match=f"lane {k} does not exist; there are lanes 0 to 1"):
            write_peft(lanes, k, tmp_path / "a")
    for k, sentence in (
        ("olra", "unknown lane 'olra'; did you mean 'olora'"),
        (None, "number or its label, not None"),
    ):
        with pytest.raises(ValueError, match=sentence):
            write_peft(lanes, k, tmp_path / "a")
    with torch.no_grad():
        lanes.theta[1, -1] = math.nan
    with pytest.raises(ValueError, match="lane 'olora' holds NaN or infinity in layer 'model"):
        write_peft(lanes, 1, tmp_path / "a")
    assert not list(tmp_path.iterdir())
    files = [write_peft(lanes, k, tmp_path / str(k)) / "adapter_model.safetensors" for k in (0, "lora")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_damaged_adapter_is_refused_in_a_sentence(tmp_path):
    lanes = attach(tiny("llama"), [Lane("lora", r=2)])
    write_peft(lanes, 0, tmp_path)
    lanes.detach()
    config, tensors = tmp_path / "adapter_config.json", tmp_path / "adapter_model.safetensors"
    model = tiny("llama")
    whole = tensors.read_bytes()
    for part in (whole[:500], whole[:-4], b""):
        tensors.write_bytes(part)
        with pytest.raises(ValueError, match=r"adapter_model\.safetensors' is damaged"):
            read_peft(model, tmp_path)
    tensors.write_bytes(whole)
    values = json.loads(config.read_text())
    for text, message in (
        ('"x"', "must hold a JSON object"),
        ("{", "is not JSON"),
        (json.dumps({k: v for k, v in values.items() if k != "r"}), "^r in .* must be a number"),
    ):
        config.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_peft(model, tmp_path)
    assert torch.equal(logits(model), logits(tiny("llama")))


def test_forms_that_cannot_be_written_are_refused(tmp_path):
    lanes = attach(tiny("llama"), [Lane("lora", r=2)])
    with pytest.raises(ValueError, match="form must be lora or olora, not 'dora'"):
        write_peft(lanes, 0, tmp_path / "a", form="dora")
    with pytest.raises(ValueError, match="initialized by olora, not by lora"):
        write_peft(lanes, 0, tmp_path / "a", form="olora")
    lanes = attach(tiny("gpt2"), [Lane("olora", r=2)])
    assert all(is_transposed(lanes.model.get_submodule(n)) for n in lanes.layers)
    with pytest.raises(ValueError, match="not possible on Conv1D"):
        write_peft(lanes, 0, tmp_path / "a", form="olora")
    assert not (tmp_path / "a").exists()


def test_a_folder_that_holds_something_else_is_not_overwritten(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    lanes = attach(tiny("llama"), [Lane("lora", r=2)])
    with pytest.raises(ValueError, match="holds something that is not an adapter"):
        write_peft(lanes, 0, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_adapters_that_cannot_be_read_are_refused_and_pickles_never_loaded(tmp_path):
    model = tiny("llama")
    with pytest.raises(ValueError, match=r"no adapter_config\.json"):
        read_peft(model, tmp_path)
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    (tmp_path / "adapter_model.bin").write_bytes(b"not even a pickle")
    with pytest.raises(ValueError, match="pickled weights"):
        read_peft(model, tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"peft_type": "IA3"}))
    with pytest.raises(ValueError, match="'IA3'"):
        read_peft(model, tmp_path)
    lanes = attach(tiny("gpt2"), [Lane("lora", r=2)])
    write_peft(lanes, 0, tmp_path / "gpt2")
    with pytest.raises(ValueError, match=r"no layer 'transformer\.h\.0"):
        read_peft(model, tmp_path / "gpt2")
    assert torch.equal(logits(model), logits(tiny("llama")))

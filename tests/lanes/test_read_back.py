"""Every export is loaded again by the rules of who will load it, and its logits are compared."""

import json
from importlib.util import find_spec

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from support.starts import told
from support.tiny import FAMILIES, VOCABULARY, tiny, tiny_tokenizer

from olora_viz.__main__ import main
from olora_viz.lanes import peft as reading
from olora_viz.lanes.adapters import Lanes, attach
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.passes import logits_of, sample
from olora_viz.lanes.peft import read_back, read_back_merged, write_merged, write_peft

FEW = ("--eval-size", "4", "--test-size", "4")

SIZES = {"vocab_size": VOCABULARY, "hidden_size": 24, "num_hidden_layers": 2, "pad_token_id": 0}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 4, "intermediate_size": 40}
DEEPSEEK = {
    **SIZES, **HEADS, "moe_intermediate_size": 16, "n_routed_experts": 4, "num_experts_per_tok": 2,
    "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "kv_lora_rank": 8, "q_lora_rank": 8,
    "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8, "n_shared_experts": 1,
    "max_position_embeddings": 64,
}  # fmt: skip


def moved(model, *lanes: Lane, by: float = 0.05) -> Lanes:
    """Return lanes on a model, away from where they started."""
    made = attach(model, lanes, calibration=told(model))
    with torch.no_grad():
        made.theta += by * torch.randn(made.theta.shape, generator=torch.manual_seed(1))
    return made


def made(config: hf.PretrainedConfig) -> hf.PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = hf.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return model.eval().requires_grad_(False)


DEEPSEEK_V3 = hf.DeepseekV3Config(**DEEPSEEK)
MAMBA = hf.MambaConfig(**SIZES, state_size=4, time_step_rank=4)


@pytest.mark.parametrize("init", ["lora", "olora", "mica"])
@pytest.mark.parametrize("family", FAMILIES)
def test_peft_reads_back_every_family(family, init, tmp_path):
    lanes = moved(tiny(family), Lane("pissa", r=2), Lane(init, r=2, alpha=6))
    before = {name: p.clone() for name, p in lanes.model.named_parameters()}
    write_peft(lanes, 1, tmp_path / "a")
    found = read_back(lanes, 1, tmp_path / "a")
    assert found.by.startswith("PEFT 0.")
    assert found.problem == ""
    assert found.difference < 1e-4
    assert all(torch.equal(p, before[name]) for name, p in lanes.model.named_parameters())
    assert "reads it back with the lane's logits, " in found.sentence
    assert found.warning == ""


def test_the_olora_form_is_read_back_without_touching_the_base(tmp_path):
    lanes = moved(tiny("llama"), Lane("olora", r=2))
    before = {name: p.clone() for name, p in lanes.model.named_parameters()}
    write_peft(lanes, 0, tmp_path / "a", form="olora")
    assert read_back(lanes, 0, tmp_path / "a").problem == ""
    assert all(torch.equal(p, before[name]) for name, p in lanes.model.named_parameters())


@pytest.fixture
def without_peft(monkeypatch):
    monkeypatch.setattr(reading, "find_spec", lambda name: name != "peft" and find_spec(name))


@pytest.mark.parametrize("config", [DEEPSEEK_V3, MAMBA], ids=lambda config: config.model_type)
def test_without_peft_the_package_reads_it_itself_and_says_that_peft_did_not(config, tmp_path, without_peft):
    lanes = moved(made(config), Lane("olora", r=2))
    write_peft(lanes, 0, tmp_path / "a")
    found = read_back(lanes, 0, tmp_path / "a")
    assert (found.by, found.problem) == (reading.OWN_NAME, "")
    assert found.sentence.startswith("olora_viz reads it back with the lane's logits, ")
    assert "; not checked with PEFT, which runs adapters of most models: it is not installed;" in found.sentence
    write_merged(lanes, 0, tiny_tokenizer(pad_token="<pad>"), tmp_path / "merged")
    assert read_back_merged(lanes, 0, tmp_path / "merged").warning == ""


def test_without_peft_a_run_and_an_export_say_that_the_adapters_were_not_checked(tmp_path, capsys, without_peft):
    run, out = str(tmp_path / "run"), str(tmp_path / "out")
    lanes = ["--lane", "lora:r=2", "--lane", "olora:r=2"]
    assert main(["race", *lanes, "--steps", "1", *FEW, "--run", run]) == 0
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if "adapters:" in line] == [f"adapters: {reading.UNCHECKED}"]
    assert main(["export", run, "--lane", "olora", "--out", out]) == 0
    assert reading.UNCHECKED in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (DEEPSEEK_V3, "adapts other layers than those trained, such as 'model.layers.0.mlp.down"),
        (MAMBA, "rejects it ([PEFT:PeftType.LORA] Module 'out_proj' is incompatible with Mamba"),
    ],
    ids=lambda value: getattr(value, "model_type", ""),
)
def test_what_peft_cannot_run_is_said_with_the_form_that_works(config, problem, tmp_path):
    lanes = moved(made(config), Lane("olora", r=2))
    write_peft(lanes, 0, tmp_path / "a")
    found = read_back(lanes, 0, tmp_path / "a")
    assert found.problem.startswith(problem)
    assert found.by_ours
    assert "--form merged, or load it with olora_viz.read_peft, which" in found.sentence
    tokenizer = tiny_tokenizer(pad_token="<pad>")
    write_merged(lanes, 0, tokenizer, tmp_path / "merged")
    assert read_back_merged(lanes, 0, tmp_path / "merged").problem == ""


@pytest.mark.parametrize("peft", [True, False])
def test_an_adapter_of_other_numbers_is_noticed(peft, tmp_path, monkeypatch):
    if not peft:
        monkeypatch.setattr(reading, "find_spec", lambda _: None)
    lanes = moved(tiny("llama"), Lane("lora", r=2))
    write_peft(lanes, 0, tmp_path / "a")
    file = tmp_path / "a" / "adapter_model.safetensors"
    save_file({name: 1.5 * tensor for name, tensor in load_file(file).items()}, file)
    found = read_back(lanes, 0, tmp_path / "a")
    assert "gives logits that differ by" in found.problem
    assert found.sentence.endswith(": export it with --form merged")


def test_of_a_lane_that_diverged_no_other_form_is_recommended(tmp_path):
    lanes = moved(tiny("llama"), Lane("lora", r=2, lr=1e30), by=1e30)
    write_peft(lanes, 0, tmp_path / "a")
    found = read_back(lanes, 0, tmp_path / "a")
    assert found.sentence == found.warning == reading.WHY_DIVERGED
    assert "--form" not in found.sentence


def test_a_run_on_such_a_model_says_it_once_at_its_end(tmp_path, capsys):
    made(DEEPSEEK_V3).save_pretrained(tmp_path / "model")
    tiny_tokenizer(pad_token="<pad>", eos_token="</s>").save_pretrained(tmp_path / "model")
    given = ["--model", str(tmp_path / "model"), "--max-length", "60", *FEW]
    lanes = ["--lane", "lora:r=2", "--lane", "olora:r=2"]
    assert main(["race", *given, *lanes, "--steps", "2", "--run", str(tmp_path / "run")]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "adapters: PEFT" in line]
    assert len(said) == 1
    assert "adapts other layers than those trained" in said[0]
    out = ["--out", str(tmp_path / "out")]
    assert main(["export", str(tmp_path / "run"), "--lane", "olora", *out, "--json"]) == 0
    assert "adapts other layers" in json.loads(capsys.readouterr().out)["read_back"]["problem"]


def test_what_was_found_is_kept_beside_the_adapter(tmp_path):
    lanes = moved(tiny("llama"), Lane("lora", r=2))
    write_peft(lanes, 0, tmp_path / "a")
    assert reading.ReadBack.read(tmp_path / "a") is None
    found = read_back(lanes, 0, tmp_path / "a")
    found.write(tmp_path / "a")
    assert reading.ReadBack.read(tmp_path / "a") == found
    assert logits_of(lanes.model, sample(lanes.model)).isfinite().all()

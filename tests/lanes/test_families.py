"""Targets by family: attention and mlp, in every architecture."""

from dataclasses import replace

import numpy as np
import peft
import pytest
import torch
import transformers as hf
from support.mixtures import MIXTURES, mixture
from support.races import small, steps_of
from support.tiny import FAMILIES as TINY
from support.tiny import tiny, tiny_folder
from support.verbs import run

import olora_viz as ov
from olora_viz.background.record import RaceRecord
from olora_viz.cli.race import print_summary
from olora_viz.lanes.adapters import attach
from olora_viz.lanes.lane import Lane, labels
from olora_viz.lanes.lane_spec import parse_lanes
from olora_viz.lanes.layers import target_layers
from olora_viz.lanes.peft import write_peft
from olora_viz.lanes.started_folder import start_folder
from olora_viz.lanes.stored_adapter import read_config
from olora_viz.views.race import race_view

QKVO, GATED = "q_proj k_proj v_proj o_proj", "gate_proj up_proj down_proj"
SIZES = {
    "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40,
    "max_position_embeddings": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip

LAYERS = {
    "llama": (QKVO, GATED),
    "mistral": (QKVO, GATED),
    "gemma": (QKVO, GATED),
    "gemma3_text": (QKVO, GATED),
    "qwen2": (QKVO, GATED),
    "qwen3": (QKVO, GATED),
    "smollm3": (QKVO, GATED),
    "olmo2": (QKVO, GATED),
    "gpt2": ("c_attn c_proj", "c_fc c_proj"),
    "opt": ("q_proj k_proj v_proj out_proj", "fc1 fc2"),
    "phi": ("q_proj k_proj v_proj dense", "fc1 fc2"),
    "phi3": ("qkv_proj o_proj", "gate_up_proj down_proj"),
    "gpt_neox": ("query_key_value dense", "dense_h_to_4h dense_4h_to_h"),
    "bloom": ("query_key_value dense", "dense_h_to_4h dense_4h_to_h"),
    "gptj": ("q_proj k_proj v_proj out_proj", "fc_in fc_out"),
    "mpt": ("Wqkv out_proj", "up_proj down_proj"),
    "starcoder2": (QKVO, "c_fc c_proj"),
    "qwen2_moe": (QKVO, f"{GATED} shared_expert_gate"),
    "deepseek_v3": ("q_a_proj q_b_proj kv_a_proj_with_mqa kv_b_proj o_proj", GATED),
    "falcon_h1": (QKVO, GATED),
}
"""The last parts of the names of a model's attention and of its MLP, from its source, by its type."""

HYBRID = ("falcon_h1",)
"""Models with linear layers that are of neither family."""


def built(kind: str) -> hf.PreTrainedModel:
    with torch.device("meta"):
        return hf.AutoModelForCausalLM.from_config(hf.CONFIG_MAPPING[kind](**SIZES))


@pytest.mark.parametrize("kind", LAYERS)
def test_a_family_is_what_the_architecture_calls_so(kind):
    model = built(kind)
    every = {*target_layers(model)}
    found = []
    for family, names in zip(("attention", "mlp"), LAYERS[kind], strict=True):
        layers = {*target_layers(model, [family])}
        assert {name.rpartition(".")[2] for name in layers} == {*names.split()}
        assert layers <= every
        found.append(layers)
    assert {*target_layers(model, ["all"])} == every
    if kind not in HYBRID:
        attention, mlp = found
        assert not attention & mlp
        assert attention | mlp == every == {*target_layers(model, ["attention", "mlp"])}


def test_a_family_that_a_model_lacks_is_one_sentence():
    kind = "mamba"
    for family in ("attention", "mlp"):
        with pytest.raises(ValueError, match=rf"^MambaForCausalLM has no linear layer of the family '{family}'$"):
            target_layers(built(kind), [family])
    assert target_layers(built(kind), ["all"]).keys() == target_layers(built(kind)).keys()


@pytest.mark.parametrize("kind", MIXTURES)
def test_of_experts_that_are_parameters_the_sentence_names_the_target(kind):
    model = mixture(kind)
    with pytest.raises(ValueError, match=r"no linear layer of the family 'mlp'; its experts are targets such as"):
        target_layers(model, ["mlp"])
    assert target_layers(model, ["attention"]).keys() == target_layers(model).keys()


@pytest.mark.parametrize("kind", TINY)
def test_peft_adapts_the_layers_of_an_exported_family(kind, tmp_path):
    for family in ("attention", "mlp"):
        model = tiny(kind)
        lanes = attach(model, [Lane("lora", r=2, targets=(family,)), Lane("lora", r=2, targets=("all",))])
        names = set(lanes.plan.layers_of(0))
        assert names == {*target_layers(tiny(kind), [family])}
        folder = write_peft(lanes, 0, tmp_path / family)
        assert {*read_config(folder)["target_modules"]} == names
        theirs = peft.PeftModel.from_pretrained(tiny(kind), folder)
        adapted = {n for n, m in theirs.base_model.model.named_modules() if isinstance(m, peft.tuners.lora.LoraLayer)}
        assert adapted == names


def test_a_lane_of_a_family_races_bitwise_as_one_of_its_layers():
    named = {"attention": tuple(QKVO.split()), "mlp": tuple(GATED.split()), "all": (*QKVO.split(), *GATED.split())}
    lanes = [Lane("olora", r=2, targets=(family,)) for family in named]
    one = steps_of(small(tuple(lanes), targets=("q_proj",)))
    other = steps_of(small(tuple(replace(lane, targets=named[lane.targets[0]]) for lane in lanes)))
    for step, same in zip(one, other, strict=True):
        np.testing.assert_array_equal(step.loss, same.loss)
        np.testing.assert_array_equal(step.grad_norm, same.grad_norm)
    of_race = steps_of(small((Lane("olora", r=2), Lane("olora", r=2)), targets=("attention", "gate_proj")))
    by_name = steps_of(small((Lane("olora", r=2), Lane("olora", r=2)), targets=(*QKVO.split(), "gate_proj")))
    assert of_race == by_name


def test_a_family_is_a_name_in_specs_labels_and_on_the_command_line(tmp_path):
    lanes = parse_lanes("lora:targets=attention/mlp/all/attention+gate_proj")
    assert [lane.targets for lane in lanes] == [("attention",), ("mlp",), ("all",), ("attention", "gate_proj")]
    assert labels(lanes)[:2] == ("lora@targets=attention", "lora@targets=mlp")
    words = "race --task number-words --keep none --steps 1 --eval-size 4 --lane lora --lane lora:targets=mlp".split()
    done = run(*words, "--target", "attention", "--run", str(tmp_path / "run"))
    assert done.returncode == 0
    assert "lanes on mlp adapt 12 layers" in done.stderr
    assert ov.load_run(tmp_path / "run").config.targets == ("attention",)


def test_a_folder_is_started_on_a_family_as_on_its_layers(tmp_path):
    model = tiny_folder("llama", tmp_path / "model")
    for family, names in (("attention", QKVO), ("mlp", GATED)):
        one, other = (
            start_folder(model, Lane("olora", r=2, targets=targets), tmp_path / f"{family} {targets[0]}")
            for targets in ((family,), tuple(names.split()))
        )
        assert (one.layers, one.note) == (other.layers, other.note)
        weights = [(each.out / "adapter_model.safetensors").read_bytes() for each in (one, other)]
        assert weights[0] == weights[1]
        assert read_config(one.out)["target_modules"] == read_config(other.out)["target_modules"]


def test_the_number_of_trained_parameters_stands_wherever_lanes_are_compared(tmp_path):
    lanes = tuple(parse_lanes("lora:r=2,targets=attention/mlp,seed=0-1") + parse_lanes("mica:r=2"))
    racing = ov.race(small(lanes))
    list(racing)
    factors = [[racing.lanes.factors(n, k) for n in racing.lanes.plan.layers_of(k)] for k in range(len(lanes))]
    counts = [
        sum(each.A.numel() + each.B.numel() * (lane.init != "mica") for each in of_lane)
        for lane, of_lane in zip(lanes, factors, strict=True)
    ]
    assert len(set(counts)) == 3
    racing.save(tmp_path / "run")
    for source in (racing, tmp_path / "run"):
        frame = ov.steps_frame(source)
        assert frame["parameters"].tolist() == counts * 4
        assert {*frame["targets"]} == {"attention", "mlp", "all"}
    record = RaceRecord.of(racing)
    assert RaceRecord.of_run(ov.load_run(tmp_path / "run")).parameters == record.parameters == tuple(counts)
    assert RaceRecord.from_json(record.to_json()).parameters == record.parameters
    tables = str(race_view(replace(record, steps=tuple(racing.steps))).results)
    assert ">trained</th>" in tables
    for count in set(counts):
        assert f"<td>{count:,}</td>" in tables
    alike = ov.race(small((Lane("lora", r=2), Lane("olora", r=2)), steps=1))
    view = race_view(replace(RaceRecord.of(alike), steps=tuple(alike)))
    assert f"Every lane trains {alike.lanes.plan.parameters[0]:,} parameters." in str(view.results)
    assert ">trained</th>" not in str(view.results)


def test_the_command_line_s_table_has_the_number_of_trained_parameters(capsys):
    racing = ov.race(small(tuple(parse_lanes("lora:r=2,targets=attention/mlp")), steps=1))
    list(racing)
    print_summary(racing.summary())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[-1] == "trained"
    told = {line.split()[0]: line.split()[-1] for line in lines[1:3]}
    counts = zip(racing.lanes.labels, racing.lanes.plan.parameters, strict=True)
    assert told == {label: f"{count:,}" for label, count in counts}

"""The files of a recipe: PEFT's script has the race's losses, and the others only keys that their tools know."""

import ast
import json
import re
import runpy
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import yaml
from support.chats import PLAIN
from support.races import small
from support.tiny import tiny_folder
from transformers import AutoModelForCausalLM, Seq2SeqTrainingArguments, TrainingArguments

from olora_viz.__main__ import main
from olora_viz.initializers import INITIALIZERS
from olora_viz.lanes.lane import Lane, parse_lanes
from olora_viz.lanes.layers import target_layers
from olora_viz.models import load_model
from olora_viz.races.config import RaceConfig
from olora_viz.races.data import task_of, training_batches
from olora_viz.races.race import race
from olora_viz.races.recipe_files import FILES, ROWS, START, recipe_files

KEYS = json.loads((Path(__file__).parents[1] / "data/toolkit_keys.json").read_text("utf-8"))
"""The keys of each tool, read from its sources at the version in the same file."""

OF_TRAINER = {field.name for field in fields(TrainingArguments)}


def files_of(config: RaceConfig) -> dict[str, str]:
    return recipe_files(config, task_of(config), *load_model(config.model))


def written(config: RaceConfig, folder: Path) -> Path:
    for name, text in files_of(config).items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def lane_race(lane: Lane, **changes: Any) -> RaceConfig:
    return small((lane,), device="cpu", dtype="float32", **changes)


SPECS = [
    "lora:lr=3e-3", "olora:lr=3e-3,alpha=2r,clip=0.5", "pissa:lr=1e-3,weight_decay=0.1", "milora:lr=1e-3",
    "lora:lr=3e-3,targets=q_proj+layers.[01].*,rslora=1,schedule=cosine,warmup=3", "eva:lr=1e-3",
]  # fmt: skip


@pytest.mark.parametrize("spec", SPECS)
def test_peft_s_script_has_the_losses_of_the_race_over_twenty_steps(spec, tmp_path, capsys) -> None:
    config = lane_race(*parse_lanes(spec), steps=20, seed=3, split_seed=1, batches="by-seed")
    written(config, tmp_path)
    capsys.readouterr()
    runpy.run_path(str(tmp_path / "peft.py"), run_name="__main__")
    found = re.findall(r" step \d+ loss (\S+) gradient", capsys.readouterr().out)
    np.testing.assert_allclose(np.array(found, float), [step.loss[0] for step in race(config)], atol=1e-4, rtol=0)
    assert max(map(float, found)) - min(map(float, found)) > 0.5


def chat_folder(folder: Path) -> Path:
    chat = tiny_folder("llama", folder / "chat")
    template = PLAIN.replace("message['role']", "'u'").replace("assistant:", "u:")
    (chat / "chat_template.jinja").write_text(template, encoding="utf-8")
    return chat


def kinds(folder: Path) -> Iterator[tuple[str, RaceConfig]]:
    """A race of every kind that a decision may end in."""
    file = folder / "mine.jsonl"
    rows = [{"prompt": f"{n} “is”", "answer": (" even", " odd")[n % 2]} for n in range(40)]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    for init in INITIALIZERS:
        yield init, lane_race(Lane(init, lr=1e-5))
    for spec in (*SPECS, "lora:lora_plus=4,dropout=0.1", "pissa:dropout=0.1,clip=2"):
        yield spec, lane_race(*parse_lanes(spec), steps=9)
    yield "own file", lane_race(Lane("olora"), task=str(file))
    yield "plain text", lane_race(Lane("olora"), task="text", max_length=48)
    yield "bfloat16", small((Lane("lora"),), dtype="bfloat16", schedule="linear", warmup=2)
    yield "chat", lane_race(Lane("olora"), model=str(chat_folder(folder)), task=str(file), chat=True)


@pytest.fixture(scope="module")
def every(tmp_path_factory) -> dict[str, tuple[RaceConfig, dict[str, str]]]:
    return {name: (config, files_of(config)) for name, config in kinds(tmp_path_factory.mktemp("kinds"))}


def test_every_key_of_axolotl_s_settings_is_one_that_it_documents(every) -> None:
    for config, files in every.values():
        settings = yaml.safe_load(files["axolotl.yaml"])
        assert {*settings} <= {*KEYS["axolotl"]["keys"]}
        (rows,) = settings["datasets"]
        assert {*rows} <= {*KEYS["axolotl"]["datasets"]}
        (lane,) = config.lanes
        assert (settings["learning_rate"], settings["max_steps"]) == (lane.lr, config.steps)
        assert settings["micro_batch_size"] * settings["gradient_accumulation_steps"] == config.batch_size
        assert ("adapter" in settings) != lane.is_dense


def test_every_key_of_llama_factory_s_settings_is_one_that_it_documents(every) -> None:
    known = {*KEYS["llamafactory"]["keys"]} | {field.name for field in fields(Seq2SeqTrainingArguments)}
    for config, files in every.values():
        settings = yaml.safe_load(files["llamafactory.yaml"])
        assert {*settings} <= known
        (lane,) = config.lanes
        assert settings["learning_rate"] == lane.lr
        assert settings.get("lora_alpha", lane.lora_alpha) == lane.lora_alpha
        assert settings["max_grad_norm"] == (lane.clip or 0)
        assert json.loads(files["dataset_info.json"])[settings["dataset"]]["file_name"] == ROWS


def test_every_argument_of_unsloth_s_script_is_one_that_it_has(every) -> None:
    known = {
        "from_pretrained": {*KEYS["unsloth"]["from_pretrained"]}, "SFTConfig": {*KEYS["trl"]["keys"]} | OF_TRAINER,
        "get_peft_model": {*KEYS["unsloth"]["get_peft_model"]},
    }  # fmt: skip
    for config, files in every.values():
        calls: dict[str, set[str | None]] = {}
        for node in ast.walk(ast.parse(files["unsloth.py"])):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                calls.setdefault(name, set()).update(word.arg for word in node.keywords)
        for name in known.keys() & calls.keys():
            assert calls[name] <= known[name] | {"is_trainable"}, name
        assert {"from_pretrained", "SFTConfig"} <= {*calls}
        assert ("get_peft_model" in calls) <= (not config.lanes[0].is_dense)


def test_every_file_says_what_it_holds_for_and_where_its_tool_lacks_the_start(every) -> None:
    for config, files in every.values():
        (lane,) = config.lanes
        for name in FILES:
            assert config.model in files[name]
            assert f"{len(task_of(config).train):,} rows of {ROWS}" in files[name]
            lacks = f"lacks the start {lane.init}" in files[name]
            computed = INITIALIZERS[lane.init].needs
            assert (START in files[name]) == (lacks and not computed)
        assert f"lacks the start {lane.init}" not in files["peft.py"]
        assert ("lacks the start" in files["unsloth.py"]) == (lane.init not in ("lora", "gaussian", "full"))
        native = yaml.safe_load(files["axolotl.yaml"]).get("peft_init_lora_weights", True)
        peft.LoraConfig(init_lora_weights=native, target_modules=["q_proj"])  # PEFT takes it


@pytest.mark.parametrize("targets", [None, ("all",), ("attention", "mlp")])
def test_all_layers_are_all_in_every_file(targets) -> None:
    files = files_of(lane_race(Lane("lora", targets=targets)))
    assert yaml.safe_load(files["axolotl.yaml"])["lora_target_linear"] is True
    assert yaml.safe_load(files["llamafactory.yaml"])["lora_target"] == "all"


def test_the_rows_of_each_tool_are_those_of_the_race(every) -> None:
    for config, files in every.values():
        examples = task_of(config).train
        rows = [json.loads(line) for line in files[ROWS].splitlines()]
        assert [(row["prompt"], row["answer"]) for row in rows] == [(each.prompt, each.answer) for each in examples]
        for row, example in zip(rows, examples, strict=True):
            if config.chat:
                assert row["conversation"][-1] == {"role": "assistant", "content": example.answer}
            else:
                text = "".join(part["text"] for part in row["segments"])
                assert example.prompt + example.answer in text
                assert text.endswith(row["completion"])


OF_TARGETS = [("q_proj", "layers.[01].*"), ("attention",), ("mlp", "v_proj"), ("q_proj", "v_proj"), ("layers.3.*",)]


@pytest.mark.parametrize("targets", OF_TARGETS)
def test_families_and_wildcards_are_the_same_layers_in_every_file(targets) -> None:
    files = files_of(lane_race(Lane("lora", targets=targets)))
    layers = {*target_layers(load_model("glassllm")[0], targets)}
    factory = yaml.safe_load(files["llamafactory.yaml"])["lora_target"].split(",")
    for names in (yaml.safe_load(files["axolotl.yaml"])["lora_target_modules"], factory):
        model, _ = load_model("glassllm")
        adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules=names)).get_base_model()
        assert {name for name, module in adapted.named_modules() if hasattr(module, "lora_A")} == layers


@pytest.mark.parametrize("name", ["unsloth.py", "llamafactory.yaml"])
def test_the_adapter_to_start_from_trains_as_the_race_does(name, tmp_path, monkeypatch) -> None:
    config = lane_race(Lane("milora", lr=3e-3, alpha="2r"), steps=6)
    written(config, tmp_path)
    monkeypatch.chdir(tmp_path)
    comments = [line[2:].strip() for line in (tmp_path / name).read_text("utf-8").splitlines() if line[:2] == "# "]
    (command,) = [line for line in comments if line.startswith("python -m olora_viz start")]
    exec("\n".join(line for line in comments if line.startswith(("import ", "model."))))
    assert main(command.split()[3:]) == 0
    model = AutoModelForCausalLM.from_pretrained("residual")
    adapted = peft.PeftModel.from_pretrained(model, "start", is_trainable=True).eval()
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=3e-3, weight_decay=0.0)
    _, tokenizer = load_model("glassllm")
    for batch, step in zip(training_batches(config, tokenizer), race(config), strict=True):
        optimizer.zero_grad()
        loss = adapted(**batch).loss
        loss.backward()
        optimizer.step()
        assert abs(loss.item() - step.loss[0]) < 1e-4

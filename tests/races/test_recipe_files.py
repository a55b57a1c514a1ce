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
from support.nightly import at_night
from support.races import small
from support.tiny import tiny_folder
from transformers import AutoModelForCausalLM, Seq2SeqTrainingArguments, TrainingArguments

from olora_viz.__main__ import main
from olora_viz.initializers import INITIALIZERS
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.lane_spec import parse_lanes
from olora_viz.lanes.layers import target_layers
from olora_viz.models import load_model
from olora_viz.races.config import RaceConfig
from olora_viz.races.data import task_of
from olora_viz.races.own_loop import training_batches
from olora_viz.races.race import race
from olora_viz.races.recipe_files import FILES, ROWS_FILE, START_AT, recipe_files
from olora_viz.tasks.encoding import encode
from olora_viz.tasks.losses import context_of

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


DAILY = [
    "olora:lr=3e-3,alpha=2r,clip=0.5", "pissa:lr=1e-3,weight_decay=0.1", "eva:lr=1e-3",
    "lora:lr=3e-3,targets=q_proj+layers.[01].*,rslora=1,schedule=cosine,warmup=3",
    "olora_unsubtracted:lr=1e-3,alpha=4", "olora:lr=3e-3,dora=1", "milora:lr=3e-3,dora=1",
]  # fmt: skip
"""Lanes that together have every kind of start and every setting."""
SPECS = ["lora:lr=3e-3", "milora:lr=1e-3", "pissa:lr=1e-3,rslora=1", *DAILY]


@pytest.mark.parametrize("spec", [*DAILY, *at_night(*SPECS[:3])])
def test_peft_s_script_has_the_losses_of_the_race_over_twenty_steps_and_its_adapter(
    spec, tmp_path, capsys, monkeypatch
) -> None:
    config = lane_race(*parse_lanes(spec), steps=20, seed=3, split_seed=1, batches="by-seed")
    written(config, tmp_path)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    runpy.run_path(str(tmp_path / "peft.py"), run_name="__main__")
    found = re.findall(r" step \d+ loss (\S+) gradient", capsys.readouterr().out)
    racing = race(config)
    np.testing.assert_allclose(np.array(found, float), [step.loss[0] for step in racing], atol=1e-4, rtol=0)
    assert max(map(float, found)) - min(map(float, found)) > 0.5
    ids = torch.arange(40).reshape(2, 20) * 7 % 60 + 4
    with torch.no_grad():
        with racing.lanes.only(0):
            raced = racing.model(input_ids=ids).logits
        racing.lanes.detach()
        base, _ = load_model(config.model)
        untrained = base(input_ids=ids).logits
        loaded = peft.PeftModel.from_pretrained(base, "adapter").eval()(input_ids=ids).logits
    assert (loaded - raced).abs().max() < 0.01 * (raced - untrained).abs().max()


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
    for spec in (*SPECS, "lora:lora_plus=4,dropout=0.1", "pissa:dropout=0.1,clip=2", "olora:dim=64"):
        yield spec, lane_race(*parse_lanes(spec), steps=9)
    yield "replay", lane_race(Lane("lora", replay=0.05), keep="auto")
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
        assert json.loads(files["dataset_info.json"])[settings["dataset"]]["file_name"] == ROWS_FILE


OF_TRL = {*KEYS["trl"]["keys"]} | OF_TRAINER
KNOWN = {
    "unsloth.py": {
        "from_pretrained": {*KEYS["unsloth"]["from_pretrained"]}, "SFTConfig": OF_TRL,
        "get_peft_model": {*KEYS["unsloth"]["get_peft_model"]},
    },
    "trl.py": {
        "from_pretrained": {"dtype"}, "SFTConfig": OF_TRL, "get_peft_model": set(),
        "LoraConfig": {field.name for field in fields(peft.LoraConfig)},
        "save_pretrained": {"path_initial_model_for_weight_conversion"},
    },
}  # fmt: skip
"""The arguments of what each script calls."""


def calls_in(script: str) -> dict[str, dict[str, Any]]:
    """The named arguments of every call, by its name."""
    calls: dict[str, dict[str, Any]] = {}
    for node in ast.walk(ast.parse(script)):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            calls.setdefault(name, {}).update({str(word.arg): word.value for word in node.keywords})
    return calls


@pytest.mark.parametrize("script", KNOWN)
def test_every_argument_of_a_script_with_trl_is_one_that_its_tool_has(script: str, every) -> None:
    for config, files in every.values():
        calls, (lane,) = calls_in(files[script]), config.lanes
        for name in KNOWN[script].keys() & calls.keys():
            assert calls[name].keys() <= KNOWN[script][name] | {"is_trainable"}, name
        assert {"from_pretrained", "SFTConfig"} <= {*calls}
        assert ("get_peft_model" in calls) <= (not lane.is_dense)
        plain = {name: value for name, value in calls["SFTConfig"].items() if isinstance(value, ast.Constant)}
        settings = {name: ast.literal_eval(value) for name, value in plain.items()}
        schedule, warmup = config.schedule_of(lane)
        assert settings["lr_scheduler_type"] in (schedule, f"{schedule}_with_warmup")
        assert (settings["learning_rate"], settings["max_steps"], settings["warmup_steps"], settings["seed"]) == (
            lane.lr, config.steps, warmup, lane.seed,
        )  # fmt: skip
        assert settings["per_device_train_batch_size"] * settings["gradient_accumulation_steps"] == config.batch_size
        assert settings["bf16"] == (config.dtype == "bfloat16"), "TRL's default is true"
        plain_text = task_of(config).plain_text
        assert settings.get("completion_only_loss") is (None if plain_text else True)


def test_trl_s_script_trains_on_the_tokens_of_the_race(every) -> None:
    compared = 0
    for config, files in every.values():
        function = [node for node in ast.parse(files["trl.py"]).body if isinstance(node, ast.FunctionDef)]
        assert bool(function) != config.chat
        model, tokenizer = load_model(config.model)
        task, space = task_of(config), {"tokenizer": tokenizer}
        for node in function:
            exec(ast.unparse(node), space)
            read = [space["tokens_of"](json.loads(line)) for line in files[ROWS_FILE].splitlines()]
            encoded = encode(task.train, tokenizer, context=context_of(model) or 2048, ends=task.ends).kept
            for tokens, example in zip(read, encoded, strict=True):
                assert tuple(tokens["input_ids"]) == example.ids
                if not task.plain_text:
                    places = range(len(example.ids))
                    assert tokens["completion_mask"] == [int(place >= example.supervised_from) for place in places]
                assert ("completion_mask" in tokens) != task.plain_text
                compared += 1
    assert compared > 1000


def test_trl_s_script_trains_the_lane_s_adapter_and_saves_it_for_the_base_model_as_it_was(every) -> None:
    for config, files in every.values():
        calls, (lane,) = calls_in(files["trl.py"]), config.lanes
        if "LoraConfig" in calls:
            settings = {name: ast.literal_eval(value) for name, value in calls["LoraConfig"].items()}
            assert peft.LoraConfig(**settings).r == lane.r
            assert (settings["lora_alpha"], settings["lora_dropout"]) == (lane.lora_alpha, lane.dropout)
            assert settings["use_rslora"] is lane.rslora
            assert settings["use_dora"] is lane.dora
        moves = not INITIALIZERS[lane.init].zero_product and not INITIALIZERS[lane.init].needs
        assert (moves and not lane.is_dense and not (lane.dora and "LoraConfig" in calls)) <= (
            "path_initial_model_for_weight_conversion" in calls["save_pretrained"]
        )


def test_every_file_says_what_it_holds_for_and_where_its_tool_lacks_the_start(every) -> None:
    for config, files in every.values():
        (lane,) = config.lanes
        for name in FILES:
            assert config.model in files[name]
            assert f"{len(task_of(config).train):,} rows of {ROWS_FILE}" in files[name]
            lacks = f"lacks the start {lane.init}" in files[name]
            computed = INITIALIZERS[lane.init].needs
            assert (START_AT in files[name]) == (lacks and not computed)
        assert f"lacks the start {lane.init}" not in files["peft.py"]
        assert ("lacks the start" in files["unsloth.py"]) == (lane.init not in ("lora", "gaussian", "full"))
        for name, key in {"axolotl.yaml": "peft_use_dora", "llamafactory.yaml": "use_dora"}.items():
            has_it = yaml.safe_load(files[name]).get(key, False)
            assert lane.dora == (has_it or "It trains A and B alone: an adapter" in files[name])
        assert lane.dora == ("It trains A and B alone: " in files["unsloth.py"])
        native = yaml.safe_load(files["axolotl.yaml"]).get("peft_init_lora_weights", True)
        peft.LoraConfig(init_lora_weights=native, target_modules=["q_proj"])  # PEFT takes it


@pytest.mark.parametrize("targets", [None, ("all",), ("attention", "mlp")])
def test_all_layers_are_all_in_every_file(targets) -> None:
    files = files_of(lane_race(Lane("lora", targets=targets)))
    assert yaml.safe_load(files["axolotl.yaml"])["lora_target_linear"] is True
    assert yaml.safe_load(files["llamafactory.yaml"])["lora_target"] == "all"


def test_the_tools_train_each_answer_of_a_conversation_in_one_row_alone(tmp_path) -> None:
    said = [[("user", f"{n}?"), ("assistant", f"{n}"), ("user", "more?"), ("assistant", "no")] for n in range(40)]
    turns = [[{"role": role, "content": text} for role, text in each] for each in said]
    file = tmp_path / "chats.jsonl"
    file.write_text("\n".join(json.dumps({"messages": each}) for each in turns), encoding="utf-8")
    config = lane_race(Lane("olora"), model=str(chat_folder(tmp_path)), task=str(file), chat=True)
    files = files_of(config)
    rows = [json.loads(line)["conversation"] for line in files[ROWS_FILE].splitlines()]
    (dataset,) = yaml.safe_load(files["axolotl.yaml"])["datasets"]
    trained = [  # as Axolotl says: the field of a message, and without it those of the roles
        [turn.get(dataset["message_field_training"], turn["role"] in dataset["roles_to_train"]) for turn in row]
        for row in rows
    ]
    assert trained == [[False] * (len(row) - 1) + [True] for row in rows]
    assert {len(row) for row in rows} == {2, 4}
    assert yaml.safe_load(files["llamafactory.yaml"])["mask_history"] is True


def test_the_rows_of_each_tool_are_those_of_the_race(every) -> None:
    for config, files in every.values():
        examples = task_of(config).train
        rows = [json.loads(line) for line in files[ROWS_FILE].splitlines()]
        assert [(row["prompt"], row["answer"]) for row in rows] == [(each.prompt, each.answer) for each in examples]
        for row, example in zip(rows, examples, strict=True):
            if config.chat:
                *before, last = row["conversation"]
                assert last == {"role": "assistant", "content": example.answer}
                assert not any(turn["training"] for turn in before)
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

"""Recipes: the defaults of toolkits as lanes."""

import datetime
import itertools
import re
from dataclasses import replace

import peft
import pytest
from support.races import small, steps_of
from transformers import TrainingArguments

from olora_viz.lanes.lane import Lane, display_names, labels
from olora_viz.lanes.lane_spec import parse_lanes, read_lanes, write_lanes
from olora_viz.lanes.layers import target_layers
from olora_viz.lanes.recipes import OF_A_LANE, RECIPES
from olora_viz.lanes.schedule import SCHEDULES
from olora_viz.lanes.targets import FAMILIES
from olora_viz.models import load_model
from olora_viz.studies.contest import seed_groups

LLAMA = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}

each = pytest.mark.parametrize("name", RECIPES)


@each
def test_a_recipe_says_where_and_when_it_was_read(name: str) -> None:
    recipe = RECIPES[name]
    assert datetime.date.fromisoformat(recipe.read) <= datetime.date.today()
    assert recipe.version
    assert recipe.note
    assert all(re.fullmatch(r"https://\S+/blob/([0-9a-f]{40}|v[\d.]+)/\S+", source) for source in recipe.sources)
    assert recipe.schedule in SCHEDULES
    assert set(recipe.targets) <= LLAMA | set(FAMILIES)


@each
def test_a_recipe_is_a_lane_with_all_that_a_lane_can_have(name: str) -> None:
    (lane,) = parse_lanes(f"recipe:{name}")
    assert lane.label == name
    for key in OF_A_LANE:
        own = getattr(RECIPES[name], key)
        assert getattr(lane, key) == (None if key == "warmup" and own >= 1 else own)
    assert [lane] == parse_lanes({"init": f"recipe:{name}"}) == [*read_lanes([f"recipe:{name}"])]
    assert parse_lanes(*write_lanes([lane])) == [lane]


@each
def test_keys_take_the_place_of_a_recipe_s_own_and_stand_in_its_label(name: str) -> None:
    for key, text, value in (("lr", "0.02", 0.02), ("alpha", "3", 3.0), ("targets", "k_proj", ("k_proj",))):
        (lane,) = parse_lanes(f"recipe:{name},{key}={text}")
        (own,) = parse_lanes(f"recipe:{name}")
        assert lane == replace(own, **{key: value}, label=f"{name}@{key}={text}")
    (called,) = parse_lanes(f"recipe:{name},label=mine,r=3")
    assert (called.label, called.r) == ("mine", 3)
    (own,) = parse_lanes(f"recipe:{name}", weight_decay=0.3, clip=0.2, lr=1.0, dropout=0.4)
    assert own == parse_lanes(f"recipe:{name}")[0]  # what is set for all lanes is for those that do not say


def test_a_label_that_seeds_share_is_one_contender_s_name() -> None:
    specs = ("recipe:trl,seed=0-2", "recipe:trl,lr=1e-3,seed=0-2", "lora:label=mine,seed=4/5")
    lanes = [lane for spec in specs for lane in parse_lanes(spec)]
    names = [*labels(lanes)]
    assert names[:4] == ["trl@seed=0", "trl@seed=1", "trl@seed=2", "trl@lr=1e-3,seed=0"]
    assert len({*names}) == len({*display_names(lanes)}) == len(lanes)
    groups = [group.lane for group in seed_groups(lanes)]
    assert display_names(groups) == ("trl", "trl@lr=1e-3", "mine")
    assert [*itertools.chain(*map(parse_lanes, write_lanes(lanes)))] == lanes


@pytest.mark.parametrize(
    "lanes",
    [
        [Lane("lora", label="x"), Lane("lora", label="x")],
        [Lane("lora", label="x"), Lane("lora", lr=0.1, label="x", seed=1)],
    ],
)
def test_a_label_stands_for_one_contender(lanes: list[Lane]) -> None:
    with pytest.raises(ValueError, match="two lanes are labelled 'x'; labels must differ"):
        labels(lanes)


@pytest.mark.parametrize(
    "spec", ["recipe", "recipe:", "recipe:unslot", "recipe:unsloth:lr=1e-3", {"init": "recipe:x"}]
)
def test_an_unknown_recipe_gets_a_sentence_with_the_names(spec: str) -> None:
    with pytest.raises(ValueError, match=r"unknown recipe '.*'; .*unsloth"):
        parse_lanes(spec)


def test_all_recipes_race_side_by_side() -> None:
    lanes = tuple(lane for name in RECIPES for lane in parse_lanes(f"recipe:{name}"))
    *_, last = steps_of(small(lanes=lanes, steps=3))
    assert (last.loss < 20).all()
    model, _ = load_model("glassllm")
    counts = {name: len(target_layers(model, RECIPES[name].targets)) for name in RECIPES}
    assert counts == {"unsloth": 28, "axolotl": 28, "llamafactory": 28, "trl": 8, "torchtune": 24, "peft": 8}


def test_the_recipe_of_peft_is_peft_s_lora_config() -> None:
    config, recipe = peft.LoraConfig(), RECIPES["peft"]
    assert (config.r, config.lora_alpha, config.lora_dropout, config.use_rslora, config.init_lora_weights) == (
        recipe.r, recipe.alpha, recipe.dropout, recipe.rslora, True,
    )  # fmt: skip
    model, _ = load_model("glassllm")
    adapted = peft.get_peft_model(model, config)
    assert adapted.peft_config["default"].target_modules == set(recipe.targets)


def test_what_recipes_leave_to_transformers_are_its_defaults() -> None:
    of = TrainingArguments
    plain = {key: getattr(of, key) for key in ("weight_decay", "max_grad_norm", "warmup_steps", "num_train_epochs")}
    trl = RECIPES["trl"]
    assert plain == {
        "weight_decay": trl.weight_decay, "max_grad_norm": trl.clip, "warmup_steps": trl.warmup,
        "num_train_epochs": float(trl.length.split()[0]),
    }  # fmt: skip
    assert (of.lr_scheduler_type, of.per_device_train_batch_size) == (trl.schedule, trl.batch_size)
    assert {recipe.clip for name, recipe in RECIPES.items() if name != "torchtune"} == {of.max_grad_norm}

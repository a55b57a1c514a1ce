"""The numbers of a race in files: nothing lost, nothing that a spreadsheet would execute."""

import csv
import io
import json
import math
from dataclasses import fields, replace

import pytest
from support.races import small
from support.steps import a_step

import olora_viz as ov
from olora_viz.lanes.lane import Lane
from olora_viz.races.config import RaceConfig
from olora_viz.races.step import Step
from olora_viz.races.tables import NO_COLUMN, STEP_COLUMNS, race_json, safe, steps_csv

CONFIG = small((Lane("lora"), Lane("olora", lr=3e-3)), steps=3)


def made() -> list[Step]:
    def of(number: int, loss: list[float], held: list[float] | None = None) -> Step:
        return a_step(
            number, loss, [0.5, 1 / 3], [1e-3, 3e-3], 0.25 * number, 40 * number,
            eval_loss=held, eval_accuracy=[0.25, math.nan] if held else None,
        )  # fmt: skip

    return [of(1, [5.0, 5.1]), of(2, [4.0, 4.1]), of(3, [3.0, math.nan], [2.9, math.nan])]


def test_the_table_has_a_row_for_every_step_and_lane_with_every_digit():
    text = steps_csv(CONFIG.labels, made())
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert tuple(rows[0]) == STEP_COLUMNS
    assert [(row["step"], row["lane"]) for row in rows] == [
        (str(n), label) for n in (1, 2, 3) for label in ("lora", "olora")
    ]
    assert float(rows[1]["grad_norm"]) == 1 / 3
    assert rows[0]["eval_loss"] == rows[5]["loss"] == rows[5]["eval_loss"] == ""
    assert [rows[4][name] for name in ("eval_loss", "eval_accuracy", "seconds", "tokens")] == [
        "2.9", "0.25", "0.75", "120",
    ]  # fmt: skip


@pytest.mark.parametrize("label", ["=HYPERLINK(1)", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_label_is_never_a_formula(label):
    text = steps_csv([label, 'a "b", c'], made())
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert {row["lane"] for row in rows} == {f"'{label}", 'a "b", c'}
    assert safe("olora@lr=3e-3") == "olora@lr=3e-3"


def test_json_gives_the_set_up_and_the_steps_back():
    told = json.loads(race_json(CONFIG, made(), {"device": "CPU"}))
    assert RaceConfig.from_json(told["config"]) == CONFIG
    assert [Step.from_json(line, CONFIG.labels) for line in told["steps"]] == made()
    assert told["summary"]["device"] == "CPU"
    lanes = told["summary"]["lanes"]
    assert lanes["lora"] == {
        "status": "racing", "diverged_at": None, "eval_step": 3, "eval_loss": 2.9,
        "eval_accuracy": 0.25, "eval_boilerplate_loss": None, "train_loss": 3.0, "first_grad_norm": 0.5,
        "diverged_why": None,
    }  # fmt: skip
    assert (lanes["olora"]["status"], lanes["olora"]["diverged_at"]) == ("diverged", 3)
    assert lanes["olora"]["eval_loss"] is None


def test_a_race_without_steps_has_a_head_and_no_rows():
    assert steps_csv(CONFIG.labels, []).splitlines() == [",".join(STEP_COLUMNS)]
    assert json.loads(race_json(CONFIG, []))["steps"] == []


KEYS = {
    "seed": (0, 3), "weight_decay": (0.0, 0.1), "clip": (None, 1.0), "rslora": (False, True), "beta1": (0.9, 0.8),
    "beta2": (0.999, 0.99), "lora_plus": (1.0, 4.0), "dropout": (0.0, 0.1), "schedule": (None, "cosine"),
    "warmup": (None, 1), "targets": (("q_proj",), ("q_proj", "v_proj")), "lr": (1e-3, 3e-3),
    "dim": (None, 4), "replay": (0.0, 0.05), "replay_from": ("text", "base"), "keep_kl": (0.0, 0.1),
    "beta": (0.1, 0.5), "kl": (0.0, 0.1), "advantage": ("mean", "normalized"),
    "opt": ("adamw", "sgd"), "momentum": (None, 0.5), "damping": (0.01, 1.0), "rank_by": (None, "energy"),
    "dora": (False, True), "start_from": ("base", "full"), "iterations": (1, 2),
}  # fmt: skip


@pytest.mark.parametrize(
    "key", [each.name for each in fields(Lane) if each.name not in ("init", "label", "fair", "params")]
)
def test_a_table_of_steps_has_a_column_for_every_key_in_which_lanes_differ(key):
    values = {"r": (8, 4), "alpha": (None, "2r")}.get(key) or KEYS[key]
    opt = {"momentum": {"opt": "sgd"}, "damping": {"opt": "riemannian"}}.get(key, {})
    init = "loftq" if key == "iterations" else "olora"
    lanes = tuple(Lane(init, **opt, **{key: value}) for value in values)
    base = "nf4" if key == "start_from" else "float"
    frame = ov.steps_frame(made(), small(lanes, steps=3, keep="auto", base=base))
    others = [name for name in frame if name not in STEP_COLUMNS]
    assert others == ["init", "r", "alpha", *({"lr": ["peak_lr"], "r": [], "alpha": []}.get(key, [key]))]
    of_lanes = frame.groupby("lane", observed=True)[others].nunique(dropna=False)
    assert (of_lanes == 1).all(axis=None)
    told = frame[frame["step"] == 1]["peak_lr" if key == "lr" else key].tolist()
    words = ["+".join(value) if isinstance(value, tuple) else value for value in values]
    expected = {"alpha": [8, 16], "schedule": ["constant", "cosine"], "warmup": [0, 1]}.get(key, words)
    assert [None if value is None or value != value else value for value in told] == expected


def test_every_key_of_a_lane_is_among_those():
    assert {"r", "alpha", *KEYS, *NO_COLUMN} == {each.name for each in fields(Lane)}


def test_full_fine_tuning_has_neither_rank_nor_alpha_in_a_table():
    frame = ov.steps_frame(made(), small((Lane("full"), Lane("lora", r=4, alpha="r/2")), steps=3))
    first = frame[frame["step"] == 1]
    assert first["init"].tolist() == ["full", "lora"]
    assert math.isnan(first["r"].iloc[0])
    assert first[["r", "alpha"]].iloc[1].tolist() == [4, 2]


def test_settings_are_replaced_by_name_in_a_set_up_and_in_a_lane():
    config = small(steps=3)
    assert config.replace(steps=7) == replace(config, steps=7)
    assert config.replace(epochs=2).replace(steps=3) == config
    assert Lane("lora", alpha="2r").replace(r=64).lora_alpha == 128
    for one, wrong in ((config, {"step": 3}), (Lane("lora"), {"rank": 3})):
        with pytest.raises(ValueError, match=r"^unknown (setting 'step'|lane key 'rank'); did you mean '(steps|r)'"):
            one.replace(**wrong)


def test_a_race_has_all_its_steps_so_far():
    race = ov.race(small(steps=3))
    assert race.steps == []
    first = next(race)
    assert race.steps == [first]
    assert [first, *race] == race.steps

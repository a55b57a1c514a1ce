"""The numbers of a race in files: nothing lost, nothing that a spreadsheet would execute."""

import csv
import io
import json
import math

import pytest
from support.races import small
from support.steps import a_step

from olora_viz.lanes.lane import Lane
from olora_viz.races.config import RaceConfig
from olora_viz.races.step import Step
from olora_viz.races.tables import COLUMNS, race_json, safe, steps_csv

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
    assert tuple(rows[0]) == COLUMNS
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
    assert steps_csv(CONFIG.labels, []).splitlines() == [",".join(COLUMNS)]
    assert json.loads(race_json(CONFIG, []))["steps"] == []

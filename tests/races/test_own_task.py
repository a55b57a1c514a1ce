"""A task of one's own from Python: raced like any other, and asked for when its run is resumed."""

import json
import re
from dataclasses import replace

import datasets
import numpy as np
import pandas as pd
import pytest
from support.races import small

import olora_viz as ov
from olora_viz.__main__ import main
from olora_viz.models import load_model
from olora_viz.races import run as runs
from olora_viz.tasks.files import own_task

ROWS = [{"prompt": f"{a} plus {b} is", "answer": str(a + b)} for a in range(12) for b in range(a)]
CONFIG = small(steps=3)


def losses(race):
    return np.array([step.loss for step in race])


def test_a_dataset_races_as_the_file_of_its_rows_does(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    whole = replace(CONFIG, task=str(path))
    of_file = losses(ov.race(whole))
    for own in (datasets.Dataset.from_list(ROWS), ROWS, pd.DataFrame(ROWS)):
        race = ov.race(CONFIG, task=own)
        assert np.array_equal(losses(race), of_file)
        assert race.summary()["examples"] == ov.race(whole).summary()["examples"]


def test_a_dataset_may_have_choices_and_columns_of_its_own():
    rows = [
        {"id": k, "instruction": f"Is {k} odd?", "output": "yes" if k % 2 else "no", "choices": ["yes", "no"]}
        for k in range(30)
    ]
    task = own_task(datasets.Dataset.from_list(rows))
    assert {example.choices for example in task.examples} == {("yes", "no")}


def test_a_missing_cell_of_a_table_is_no_value():
    rows = [*ROWS, {"instruction": "Say no.", "output": "no"}]
    assert own_task(pd.DataFrame(rows)) == own_task(rows)


def test_a_task_keeps_its_parts():
    train = tuple(ov.Example(f"{k} and one:", f" {k + 1}") for k in range(20))
    task = ov.Task("mine", "My own.", train, train[:3], test=train[3:5])
    race = ov.race(CONFIG, task=task)
    assert race.task == task
    assert len(list(race)) == 3
    summary = race.summary()
    assert summary["task"] == race.config.task == "mine"
    assert summary["examples"] == {"train": 20, "held_out": 3, "test": 2}
    json.dumps(race.config.to_json())


def test_its_batches_are_those_of_the_race():
    tokenizer = load_model("glassllm")[1]
    batches = list(ov.training_batches(CONFIG, tokenizer, task=ROWS))
    race = ov.race(CONFIG, task=ROWS)
    for number, batch in enumerate(batches, start=1):
        tokens = int(batch["attention_mask"].sum())
        assert tokens == race.data.tokens(number, CONFIG.seed)


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ("addition", "task must be a Task or rows, such as a datasets.Dataset, not str"),
        ({"train": ROWS}, "not dict .pass one split of several"),
        (7, "task must be a Task or rows, such as a datasets.Dataset, not 7"),
        (pd.DataFrame({"prompt": ["a"], "anwser": ["b"]}), "row 1: the field 'answer' is missing; is it 'anwser'?"),
        ([], "the task has too few examples, 0: at least two are needed"),
        (["3 plus 4"], "row 1 is not a mapping but str"),
        ([*ROWS, {"prompt": "a", "anwser": "b"}], f"row {len(ROWS) + 1}: the field 'answer' is"),
        (ov.Task("mine", "", (ov.Example("a", " b"),), ()), "'mine' needs training and held-out"),
    ],
)
def test_what_is_no_task_is_refused_in_one_sentence(own, said):
    with pytest.raises(ValueError, match=said):
        ov.race(CONFIG, task=own)


@pytest.fixture
def stopped(tmp_path):
    """The folder of a run on rows of one's own, stopped after its first step."""
    run = runs.start(CONFIG, tmp_path / "run", task=ROWS)
    steps = iter(run)
    next(steps)
    steps.close()
    return tmp_path / "run"


def test_its_run_is_resumed_with_it_and_to_the_same_numbers(stopped):
    again = [step.loss for step in ov.resume_run(stopped, task=ROWS)]
    assert np.array_equal(again, losses(ov.race(CONFIG, task=ROWS))[1:])
    assert ov.load_run(stopped).summary["status"] == "finished"
    assert runs.restored(stopped, task=ROWS).done == 3


def test_its_run_is_not_resumed_without_it_or_with_another(stopped, tmp_path, capsys):
    assert main(["race", "--resume", str(stopped)]) == 2
    said = capsys.readouterr().err
    assert "trains on a task of your own, 'rows', which is not in the" in said
    assert set(re.findall(r"\bov\.(\w+)", said)) == {"resume_run"}
    with pytest.raises(ValueError, match="the task of your own, 'rows', has changed since the run"):
        runs.resume_run(stopped, task=ROWS[1:])
    list(runs.start(CONFIG, tmp_path / "named"))
    with pytest.raises(ValueError, match="trains on 'number-words', not on a task of your own"):
        runs.resume_run(tmp_path / "named", task=ROWS)

"""The test part: evaluated once, when a race is finished, and never before."""

import json
import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from support.races import raced
from support.races import small as of_few

from olora_viz.__main__ import main
from olora_viz.background.race import BackgroundRace
from olora_viz.background.record import ready_race
from olora_viz.lanes.lane import Lane
from olora_viz.races import run as runs
from olora_viz.races.race import race
from olora_viz.tasks import Task, collate, load_task
from olora_viz.tasks.losses import lane_losses
from olora_viz.views.race import race_view
from olora_viz.views.reports import report
from olora_viz.web.parts.export import EXPORTS

TASK = "number-words"
small = partial(of_few, test_size=1000)
COMMAND = "race --model glassllm --steps 2 --batch-size 4 --eval-every 0 --lane lora --lane olora"


def lines(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


@pytest.fixture
def files(tmp_path):
    """A task file and a test file, which repeat two prompts of the task, one in other words."""
    rows = [{"prompt": f"{a} plus {b} is", "answer": str(a + b)} for a in range(9) for b in range(a)]
    test = [{"prompt": "8 plus 3 is", "answer": "11"}, {"prompt": "5 plus 6 IS", "answer": "11"}]
    test += [{"prompt": f"10 plus {b} is", "answer": f"1{b}"} for b in range(7)]
    return lines(tmp_path / "task.jsonl", rows), lines(tmp_path / "test.jsonl", test)


def test_the_finished_lanes_are_evaluated_on_it():
    running, _ = raced(small(task=TASK))
    summary = running.summary()
    assert summary["examples"] == {"train": 268, "held_out": 4, "test": 64}
    assert summary["duplicates"] == {"exact": 0, "near": 0}
    examples = running.data.test
    for k, lane in enumerate(summary["lanes"].values()):
        with running.lanes.only(k):
            batch = collate(examples, 0)
            loss = float(lane_losses(running.model, batch, 1)[0].detach())
        assert lane["test_loss"] == pytest.approx(loss, rel=1e-4)
        assert 0 <= lane["test_accuracy"] <= 1
    with running.lanes.off():
        loss = float(lane_losses(running.model, collate(examples, 0), 1)[0].detach())
    assert summary["base"]["test_loss"] == pytest.approx(loss, rel=1e-4)


def test_nothing_is_known_of_it_before_the_end():
    running = race(small(task=TASK))
    next(running)
    for stop in (lambda: None, running.close):
        stop()
        lanes = running.summary()["lanes"].values()
        assert {lane["test_loss"] for lane in lanes} == {None}


def test_a_lane_that_diverged_has_no_result():
    running, _ = raced(small((Lane("lora", lr=1e30), Lane("lora", lr=1e-3)), task=TASK))
    gone, stayed = running.summary()["lanes"].values()
    assert gone["test_loss"] is None
    assert np.isfinite(stayed["test_loss"])


def test_its_results_outlive_the_lanes_and_a_checkpoint(tmp_path):
    run = runs.start(small(task=TASK), tmp_path / "run")
    list(run)
    summary = runs.read_summary(tmp_path / "run")
    run.race.lanes.detach()
    assert run.race.summary() == summary
    again = runs.restored(tmp_path / "run").summary()
    assert again["lanes"] == summary["lanes"]


def test_a_file_takes_the_place_of_the_tasks_own(files):
    path, test = files
    running = race(replace(small(task=path), test=test))
    task, own = running.task, load_task(path)
    assert [example.prompt for example in task.test][:2] == ["8 plus 3 is", "5 plus 6 IS"]
    assert task.held_out == own.held_out
    trained = {example.prompt for example in task.train}
    assert not trained & {"8 plus 3 is", "6 plus 5 is"}
    before = {example.prompt for example in own.train + own.test}
    assert trained == before - {"8 plus 3 is", "6 plus 5 is"}
    assert task.duplicates.exact + task.duplicates.near == len(before) - len(trained)
    assert running.data.about_held_out.test == 9


def test_at_most_so_many_are_evaluated():
    running = race(replace(small(task=TASK), test_size=5))
    assert running.data.about_held_out.test == 5


def test_the_command_says_the_counts_and_judges_by_the_file(files, capsys):
    path, test = files
    assert main([*COMMAND.split(), "--task", path, "--test", test, "--json"]) == 0
    out, err = capsys.readouterr()
    summary = json.loads(out.splitlines()[-1])["summary"]
    assert summary["examples"]["test"] == 9
    assert {type(lane["test_loss"]) for lane in summary["lanes"].values()} == {float}
    train, held_out = summary["examples"]["train"], summary["examples"]["held_out"]
    assert f"{train} training examples, {held_out} held out, 9 for the test at the end." in err
    assert main([*COMMAND.split(), "--task", path, "--test", test]) == 0
    assert "test loss" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("test", "said"), [("nowhere.jsonl", "there is no file nowhere.jsonl"), ("x.txt", "there is no file x.txt")]
)
def test_a_file_that_is_not_there_is_refused(test, said, capsys):
    assert main([*COMMAND.split(), "--task", TASK, "--test", test]) == 2
    assert said in capsys.readouterr().err


def test_a_run_whose_test_file_has_changed_is_not_resumed(files, tmp_path):
    path, test = files
    list(runs.start(replace(small(task=path), test=test), tmp_path / "run"))
    with open(test, "a", encoding="utf-8") as file:
        file.write('\n{"prompt": "new", "answer": "one"}')
    with pytest.raises(ValueError, match=r"the test file '.*test.jsonl' has changed since the run"):
        runs.resume_run(tmp_path / "run")
    assert runs.read_config(tmp_path / "run").test == test


@pytest.fixture
def untested(tmp_path):
    """A file of two rows, of which one is held out and none is left for a test."""
    return lines(tmp_path / "task.jsonl", [{"prompt": f"{n} and {n} is", "answer": f"{n + n}"} for n in (1, 2)])


def test_a_task_without_a_test_part_has_no_such_results(untested):
    running, _ = raced(small(task=untested))
    summary = running.summary()
    assert summary["examples"]["test"] == 0
    assert "test_loss" not in summary["base"]
    assert isinstance(running.task, Task)


def shown(config):
    """A finished race as the page, the panel and the report see it."""
    race = BackgroundRace("id", config, None, ready_race(config).styles)
    race.run()
    return race.record()


def cells(view):
    """The rows of the table of the test, by the lane's name: accuracy and loss as they are read."""
    table = view.results.partition("<summary>Test ")[2]
    rows = re.findall(r'<tr(?: class="base")?><th scope="row">(.*?)</th>(.*?)</tr>', table)
    return {
        re.sub(r"<.*?>", "", name): [re.sub(r"<.*?>", "", cell) for cell in re.findall(r"<td.*?>(.*?)</td>", rest)]
        for name, rest in rows
    }


def test_the_results_and_the_report_show_it_with_its_number_once_the_race_is_finished():
    record = shown(small(task=TASK))
    view = race_view(record)
    summary = raced(small(task=TASK))[0].summary()
    assert "on 64 test prompts, once, at the end" in view.results
    read = cells(view)
    assert list(read) == ["OLoRA", "LoRA", "base model"]
    theirs = (*reversed(summary["lanes"].values()), summary["base"])
    for name, its in zip(read, theirs, strict=True):
        accuracy, loss = read[name]
        assert accuracy.split()[0] == f"{its['test_accuracy']:.0%}"
        assert loss == f"{its['test_loss']:.2f}"
    assert view.results in report(record)["body"]
    assert "<summary>Test " not in race_view(record, upto=3).results


def test_seeds_are_shown_as_their_mean_and_a_diverged_lane_as_such():
    lanes = (Lane("lora", seed=0), Lane("lora", seed=1), Lane("lora", lr=1e30))
    record = shown(small(lanes, task=TASK))
    read = cells(race_view(record))
    loss = record.tested.lanes.loss
    assert np.isnan(loss[2])
    assert read["LoRA 1e-3"][1].startswith(f"{loss[:2].mean():.2f} ±")
    assert read["LoRA 1e30"] == ["DNF at step 2"]


def test_the_file_of_a_run_on_the_page_has_it():
    record = shown(small(task=TASK))
    summary = json.loads(EXPORTS["json"].make(record))["summary"]
    theirs = raced(small(task=TASK))[0].summary()
    for label, lane in theirs["lanes"].items():
        assert summary["lanes"][label]["test_loss"] == pytest.approx(lane["test_loss"])
    assert summary["base"]["test_accuracy"] == theirs["base"]["test_accuracy"]


def test_a_race_without_a_test_part_shows_no_table_of_one(untested):
    record = shown(small(task=untested))
    assert "<summary>Test " not in race_view(record).results

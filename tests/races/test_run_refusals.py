"""Run folders that cannot be written, read or resumed, each with one sentence."""

import json
from dataclasses import replace

import pytest
import torch
from support.run_folders import CONFIG, stopped

from olora_viz.lanes.lane import Lane
from olora_viz.machine.files import read_tensors, write_tensors
from olora_viz.races import export as saving
from olora_viz.races import run as runs
from olora_viz.races.config import RaceConfig
from olora_viz.races.data import ModelCache
from olora_viz.races.race import Race


def cut(path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def empty(path) -> None:
    path.write_bytes(b"")


def other_rank(path) -> None:
    values = json.loads(path.read_text())
    values["lanes"][1]["r"] = 5
    path.write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("checkpoint.safetensors", empty, "checkpoint.safetensors' is damaged"),
        ("checkpoint.safetensors", cut, "checkpoint.safetensors' is damaged"),
        ("config.json", empty, "config.json' is not the set-up of a race"),
        ("config.json", lambda path: path.write_text('"x"'), 'must hold a JSON object, not "x"'),
        ("config.json", lambda path: path.write_text("{}"), "is not the set-up of a race: 'lanes'"),
        ("config.json", other_rank, r"does not fit the run's config.json: 'theta' is \(2, \d+\)"),
        ("steps.jsonl", lambda path: path.write_text("{}\n"), "line 1 is not a step"),
    ],
)
def test_a_damaged_folder_is_refused_in_a_sentence_that_names_the_file(tmp_path, file, damage, message):
    stopped(tmp_path, after=1)
    damage(tmp_path / file)
    kept = ModelCache()
    with pytest.raises(ValueError, match=message):
        runs.resume_run(tmp_path, cache=kept)
    if damage is other_rank:
        Race(CONFIG, cache=kept).lanes.detach()  # the model that is kept has no lanes
    if file != "steps.jsonl":
        with pytest.raises(ValueError, match=message):
            runs.restored(tmp_path)


def test_a_run_that_was_killed_before_its_set_up_was_written_can_start_anew(tmp_path, monkeypatch):
    folder = tmp_path / "run"

    def killed(path, values):
        path.with_name("config.json.partial").write_text('{"model": "gl')
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(saving, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            runs.start(CONFIG, folder)
    assert [p.name for p in folder.iterdir()] == ["config.json.partial"]
    stopped(folder, after=1)
    assert len(runs.read_steps(folder)) == 1
    assert not (folder / "config.json.partial").exists()


def test_a_wrong_set_up_leaves_no_folder_behind(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(ValueError, match="rank 999 exceeds"):
        runs.start(RaceConfig(lanes=(Lane("olora", r=999),)), folder)
    assert not folder.exists()


def test_a_folder_that_holds_something_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match="must be new or empty"):
        runs.start(CONFIG, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_folder_that_holds_no_run_cannot_be_resumed(tmp_path):
    with pytest.raises(ValueError, match=r"is not a run folder: it has no config\.json"):
        runs.resume_run(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is not the set-up of a race"):
        runs.resume_run(tmp_path)


def test_a_race_on_a_file_that_changed_cannot_go_on(tmp_path):
    rows = [{"prompt": f"{n} is", "answer": f" {n}"} for n in range(20)]
    file = tmp_path / "task.json"
    file.write_text(json.dumps(rows))
    config = RaceConfig(task=str(file), lanes=(Lane("lora"),), steps=2, batch_size=2, eval_every=0, eval_size=2)
    list(runs.start(config, tmp_path / "run"))
    file.write_text(json.dumps(rows[:-1]))
    with pytest.raises(ValueError, match="has changed since the run"):
        runs.resume_run(tmp_path / "run")


def test_a_file_with_the_name_of_a_built_in_task_is_not_the_task(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stopped(tmp_path / "run", after=1)
    (tmp_path / CONFIG.task).write_text("a note of mine")
    assert next(iter(runs.resume_run(tmp_path / "run"))).step == 2


def test_a_task_file_in_the_home_folder_is_watched_too(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "task.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"{n} is", "answer": f" {n}"}) + "\n" for n in range(9)))
    config = replace(CONFIG, task="~/task.jsonl", steps=1, eval_size=1)
    list(runs.start(config, tmp_path / "run"))
    file.write_text(file.read_text() + '{"prompt": "a", "answer": " b"}\n')
    with pytest.raises(ValueError, match="has changed since the run"):
        runs.resume_run(tmp_path / "run")
    file.unlink()
    with pytest.raises(ValueError, match=r"task.jsonl' is missing, so the run in .* cannot"):
        runs.resume_run(tmp_path / "run")


def test_a_full_disk_is_noticed_before_anything_is_written(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(saving.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(saving.DiskFullError, match=r"the run needs \d+ MiB on disk, .* has 0 MiB free") as refused:
        runs.start(CONFIG, tmp_path / "run")
    usage.free = refused.value.needed - 1
    with pytest.raises(ValueError, match=r"the run needs (\d+) MiB on disk, .* has (?!\1)\d+ MiB free"):
        runs.start(CONFIG, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("config.json", {"lanes": [1]}, "is not the set-up of a race: 'int' object"),
        ("config.json", {"task": {}}, "is not the set-up of a race: task must be the name of a task"),
        ("config.json", {"lanes": None}, "is not the set-up of a race: 'NoneType' object"),
        ("checkpoint.safetensors", torch.int8, "'last_loss' is of int8 in the snapshot, not of"),
    ],
)
def test_what_no_race_has_written_is_refused_in_a_sentence(tmp_path, file, change, message):
    stopped(tmp_path / "run", after=2)
    path = tmp_path / "run" / file
    if isinstance(change, dict):
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    else:
        tensors = read_tensors(path)
        write_tensors(path, tensors | {"last_loss": tensors["last_loss"].to(change)})
    with pytest.raises(ValueError, match=message):
        runs.resume_run(tmp_path / "run")
    path.unlink()
    path.mkdir()
    if file.endswith("safetensors"):
        with pytest.raises(IsADirectoryError, match="checkpoint"):
            runs.resume_run(tmp_path / "run")

"""A run folder is read back as it was written, without its model, and drawn like its race."""

import json
import re
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
from support.races import small, steps_of

import olora_viz as ov
from olora_viz.races import run as runs

CONFIG = small(eval_every=2, dtype="float32")


@pytest.fixture
def folder(tmp_path) -> Path:
    list(runs.start(CONFIG, tmp_path / "run"))
    return tmp_path / "run"


def without_models(monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    for name in ("race.RaceData", "data.load_model"):
        monkeypatch.setattr(f"olora_viz.races.{name}", refuse)


def test_a_saved_run_is_what_its_race_was(folder, monkeypatch):
    steps = steps_of(CONFIG)
    without_models(monkeypatch)
    run = ov.load_run(str(folder))
    assert run.config == CONFIG
    assert run.labels == CONFIG.labels
    assert list(run.steps) == steps
    assert run.summary == json.loads((folder / "summary.json").read_text())
    with pytest.raises(FrozenInstanceError):
        run.steps = ()


def test_tables_and_figures_take_a_saved_run_in_place_of_steps(folder, monkeypatch):
    without_models(monkeypatch)
    run = ov.load_run(folder)
    table = ov.steps_frame(run)
    np.testing.assert_array_equal(table["loss"], np.ravel([step.loss for step in run.steps]))
    assert table["lane"].cat.categories.tolist() == list(CONFIG.labels)
    for draw in (ov.plot_race, ov.plot_rates):
        assert draw(run).to_plotly_json() == draw(folder).to_plotly_json()


def test_a_run_that_stopped_or_was_killed_can_be_read(tmp_path):
    steps = iter(runs.start(CONFIG, tmp_path))
    next(steps), next(steps)
    killed = ov.load_run(tmp_path)
    assert (len(killed.steps), killed.summary) == (2, None)
    steps.close()
    stopped = ov.load_run(tmp_path)
    assert stopped.summary is not None
    assert (stopped.steps, stopped.summary["status"]) == (killed.steps, "stopped")


def test_a_folder_has_a_format_and_is_of_the_first_without_one(folder):
    path = folder / "config.json"
    values = json.loads(path.read_text())
    assert values.pop("format") == 1
    path.write_text(json.dumps(values))
    assert ov.load_run(folder).config == CONFIG


@pytest.mark.parametrize("version", [2, 0, "1", True])
def test_a_folder_of_a_newer_format_is_refused_with_its_number(folder, version):
    path = folder / "config.json"
    path.write_text(json.dumps({"format": version, "unknown": []}))
    rule = f"'{path}' has format {version!r}, and this version of olora_viz reads up to format 1: use a newer version"
    for read in (ov.load_run, ov.resume_run):
        with pytest.raises(ValueError, match=f"^{re.escape(rule)}$"):
            read(folder)


def test_a_run_is_read_after_its_task_file_has_changed_or_gone(tmp_path):
    file = tmp_path / "task.jsonl"
    rows = [{"prompt": f"{n} is", "answer": f" {n}"} for n in range(20)]
    file.write_text("\n".join(map(json.dumps, rows)))
    list(runs.start(small(task=str(file), steps=2), tmp_path / "run"))
    file.unlink()
    assert len(ov.load_run(tmp_path / "run").steps) == 2


def test_what_is_no_run_gets_a_sentence(folder):
    with pytest.raises(ValueError, match=r"'nowhere' is not a run folder: it has no config\.json"):
        ov.load_run("nowhere")
    lines = (folder / "steps.jsonl").read_text().splitlines()
    for damaged in ("{}", "[]", '{"step"'):
        (folder / "steps.jsonl").write_text("\n".join([lines[0], damaged, *lines[2:]]) + "\n")
        with pytest.raises(ValueError, match=r"steps\.jsonl' is damaged: line 2 is not a step"):
            ov.load_run(folder)

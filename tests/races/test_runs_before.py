"""Run folders that the version before wrote are read, drawn, exported and resumed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import olora_viz as ov
from olora_viz.__main__ import main
from olora_viz.machine.files import read_tensors
from olora_viz.races import old_names
from olora_viz.races import run as runs
from olora_viz.races.step import Step

BEFORE = Path(__file__).parents[1] / "data" / "runs-before"
FOLDERS = ("finished", "stopped", "diverged")
PRINTED = (BEFORE / "finished.out").read_text(encoding="utf-8").splitlines()
"""What ``race --json`` printed for the finished one."""


@pytest.fixture
def copy(tmp_path):
    def of(name):
        return Path(shutil.copytree(BEFORE / name, tmp_path / name))

    return of


def test_the_finished_one_holds_what_was_printed():
    config, steps = runs.read_config(BEFORE / "finished"), runs.read_steps(BEFORE / "finished")
    assert (config.spectra_every, config.gradients_every, config.curvature_every) == (2, 2, 4)
    lines = [old_names.step_of(json.loads(line)) for line in PRINTED[:-1]]
    assert [step.to_json(config.labels) for step in steps] == lines
    assert [step.step for step in steps if step.update_spectra] == [2, 4]
    assert [step.step for step in steps if step.gradients] == [1, 2, 4]
    assert [step.step for step in steps if step.curvature] == [4]
    spectra = steps[-1].update_spectra
    assert np.isfinite(spectra.orthogonality_error).all()
    assert np.isfinite(spectra.max_principal_angle[config.labels.index("olora")]).all()
    assert runs.read_summary(BEFORE / "finished") == json.loads(PRINTED[-1])["summary"]


def test_only_the_new_names_are_written():
    labels = runs.read_config(BEFORE / "finished").labels
    text = "".join(json.dumps(step.to_json(labels)) for step in runs.read_steps(BEFORE / "finished"))
    assert not [name for name in ('"trace":{"layers', '"turned"', '"defect"') if name in text]
    assert "trace_every" not in runs.read_config(BEFORE / "finished").to_json()


@pytest.mark.parametrize("name", FOLDERS)
def test_each_is_drawn_and_tabled(name):
    frame = ov.steps_frame(BEFORE / name)
    config, steps = runs.read_config(BEFORE / name), runs.read_steps(BEFORE / name)
    assert len(frame) == len(steps) * len(config.lanes)
    assert frame["lane"].cat.categories.tolist() == list(config.labels)
    drawn = {trace.name for trace in ov.plot_race(BEFORE / name).data}
    assert drawn


def test_the_lane_that_diverged_still_has():
    steps = runs.read_steps(BEFORE / "diverged")
    assert [step.status[0] for step in steps] == ["racing", "diverged", "diverged"]
    assert np.isnan(steps[-1].loss[0])


@pytest.mark.parametrize("name", FOLDERS)
def test_a_lane_of_each_is_exported_as_it_was(name, copy, tmp_path, capsys):
    folder = copy(name)
    (adapter,) = (folder / "adapters").iterdir()
    out = tmp_path / "exported"
    assert main(["export", str(folder), "--lane", adapter.name, "--out", str(out)]) == 0
    then, now = (read_tensors(f / "adapter_model.safetensors") for f in (adapter, out))
    assert then.keys() == now.keys()
    for key in then:
        torch.testing.assert_close(now[key], then[key])


def test_the_stopped_one_goes_on_to_the_numbers_that_it_came_to_then(copy):
    folder = copy("stopped")
    new = list(runs.resume(folder))
    assert [step.step for step in new] == [4, 5, 6]
    steps = runs.read_steps(folder)
    assert [step.step for step in steps] == [1, 2, 3, 4, 5, 6]
    assert all(isinstance(step, Step) for step in steps)
    summary = json.loads((BEFORE / "stopped-resumed.json").read_text())["summary"]
    found = runs.read_summary(folder)
    assert found["tokens"] == summary["tokens"]
    for label, then in summary["lanes"].items():
        now = found["lanes"][label]
        assert now.keys() >= then.keys()
        for key in ("final_loss", "final_accuracy", "train_loss", "first_grad_norm"):
            assert now[key] == pytest.approx(then[key], rel=1e-4), key
        assert now["status"] == then["status"] == "finished"

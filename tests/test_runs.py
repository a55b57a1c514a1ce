"""A run on disk: complete however it ends, and resumed bitwise."""

import json
import resource
import signal
import subprocess
import sys

import pytest
import torch

from olora_viz import runs
from olora_viz.lane import Lane
from olora_viz.models import load_model
from olora_viz.peft_format import read_peft
from olora_viz.race import race
from olora_viz.race_config import RaceConfig

CONFIG = RaceConfig(
    lanes=(Lane("lora", r=2), Lane("olora", r=4, lr=1e-3)),
    steps=12,
    batch_size=4,
    eval_every=5,
    eval_size=8,
)


@pytest.fixture(scope="module")
def whole():
    return list(race(CONFIG))


def test_a_finished_run_holds_what_the_contract_says(tmp_path, whole):
    folder = tmp_path / "runs" / "first"
    assert list(runs.start(CONFIG, folder)) == whole
    assert runs.read_steps(folder) == whole
    assert runs.read_config(folder) == CONFIG
    summary = runs.read_summary(folder)
    assert summary["status"] == "finished"
    assert {k: v["status"] for k, v in summary["lanes"].items()} == {
        "lora": "finished",
        "olora": "finished",
    }
    assert summary["lanes"]["olora"]["final_loss"] == whole[-1].eval_loss[1]
    assert sorted(p.name for p in folder.iterdir()) == [
        "adapters", "checkpoint.safetensors", "config.json", "steps.jsonl", "summary.json",
    ]  # fmt: skip
    model, _ = load_model("glassllm")
    for k, label in enumerate(CONFIG.labels):
        lanes = read_peft(model, folder / "adapters" / label)
        raced = runs.restored(folder).lanes
        for name in raced.layers:
            torch.testing.assert_close(lanes.delta(name, 0), raced.delta(name, k))
        lanes.detach()


@pytest.mark.parametrize("stop_after", [1, 7])
def test_a_stopped_run_says_so_and_goes_on_bitwise(tmp_path, whole, stop_after):
    folder = tmp_path / "run"
    steps = iter(runs.start(CONFIG, folder))
    for _ in range(stop_after):
        next(steps)
    steps.close()
    assert runs.read_summary(folder)["status"] == "stopped"
    assert runs.read_steps(folder) == whole[:stop_after]
    assert list(runs.resume(folder)) == whole[stop_after:]
    assert runs.read_steps(folder) == whole
    assert runs.read_summary(folder)["status"] == "finished"


def test_steps_between_the_checkpoint_and_the_crash_are_not_reported_twice(tmp_path, whole):
    folder = tmp_path / "run"
    run = runs.start(CONFIG, folder)
    steps = iter(run)
    for _ in range(4):
        next(steps)
    run.checkpoint()
    saved = (folder / "checkpoint.safetensors").read_bytes()
    for _ in range(3):
        next(steps)
    steps.close()
    # What a crash at step 7 leaves: the old checkpoint, all lines, half a line, no summary.
    (folder / "checkpoint.safetensors").write_bytes(saved)
    (folder / "summary.json").unlink()
    with (folder / "steps.jsonl").open("a") as lines:
        lines.write('{"step": 8, "loss": {"lo')
    assert runs.read_steps(folder) == whole[:7]
    assert list(runs.resume(folder)) == whole[7:]
    assert runs.read_steps(folder) == whole


def test_a_run_that_is_finished_has_nothing_left_to_do(tmp_path, whole):
    list(runs.start(CONFIG, tmp_path))
    assert list(runs.resume(tmp_path)) == []
    assert runs.read_steps(tmp_path) == whole
    assert runs.read_summary(tmp_path)["status"] == "finished"


@pytest.mark.parametrize("reported", [0, 3])
def test_after_a_kill_what_was_reported_is_on_disk_and_resume_goes_on(tmp_path, whole, reported):
    folder = tmp_path / "run"
    command = [
        sys.executable, "-m", "olora_viz", "race", "--json", "--run", str(folder),
        "--lane", "lora:r=2", "--lane", "olora:r=4,lr=1e-3", "--steps", "12", "--batch-size", "4",
        "--eval-every", "5", "--eval-size", "8",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        lines = [process.stdout.readline() for _ in range(reported + 1)]
        process.send_signal(signal.SIGKILL)
    told = [json.loads(line) for line in lines]
    assert [line["step"] for line in told] == list(range(1, reported + 2))
    on_disk = runs.read_steps(folder)
    assert len(on_disk) >= len(told)
    assert on_disk == whole[: len(on_disk)]
    list(runs.resume(folder))
    assert runs.read_steps(folder) == whole
    assert runs.read_summary(folder)["status"] == "finished"


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
    with pytest.raises(ValueError, match=r"holds no run: there is no config\.json"):
        runs.resume(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is not the set-up of a race"):
        runs.resume(tmp_path)


def test_a_race_on_a_file_that_changed_cannot_go_on(tmp_path):
    rows = [{"prompt": f"{n} is", "answer": f" {n}"} for n in range(20)]
    file = tmp_path / "task.json"
    file.write_text(json.dumps(rows))
    config = RaceConfig(
        task=str(file), lanes=(Lane("lora"),), steps=2, batch_size=2, eval_every=0, eval_size=2
    )
    list(runs.start(config, tmp_path / "run"))
    file.write_text(json.dumps(rows[:-1]))
    with pytest.raises(ValueError, match="is not the one that the run"):
        runs.resume(tmp_path / "run")


def test_a_file_that_cannot_be_written_is_one_sentence_and_the_last_checkpoint_stays(
    tmp_path, whole
):
    run = runs.start(CONFIG, tmp_path)
    steps = iter(run)
    next(steps)
    run.checkpoint()
    saved = (tmp_path / "checkpoint.safetensors").read_bytes()
    next(steps)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(saved) // 2, hard))
    try:
        with pytest.raises(OSError, match=r"cannot write .*checkpoint\.safetensors"):
            run.checkpoint()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.glob("*.partial"))
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == saved
    steps.close()
    assert runs.read_steps(tmp_path) == whole[:2]


def test_a_full_disk_is_noticed_before_anything_is_written(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(runs.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ValueError, match=r"the run needs \d+ MiB on disk, .* has 0 MiB free"):
        runs.start(CONFIG, tmp_path / "run")
    assert not (tmp_path / "run").exists()

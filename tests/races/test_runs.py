"""A run on disk: complete however it ends, and resumed bitwise."""

import json
import resource
import signal
from dataclasses import replace
from functools import partial

import pytest
import torch
from support.nightly import at_night
from support.races import steps_of
from support.run_folders import CONFIG, stopped
from support.verbs import forked, victim

from olora_viz.lanes.lane import Lane
from olora_viz.lanes.peft import ReadBack, read_peft
from olora_viz.models import load_model
from olora_viz.races import run as runs
from olora_viz.races.race import race
from olora_viz.tasks import evaluation


@pytest.fixture(scope="module")
def whole():
    return steps_of(CONFIG)


def test_a_finished_run_holds_what_the_contract_says(tmp_path, whole):
    folder = tmp_path / "runs" / "first"
    assert list(runs.start(CONFIG, folder)) == whole
    assert runs.read_steps(folder) == whole
    assert runs.read_config(folder) == replace(CONFIG, dtype="float32")
    summary = runs.read_summary(folder)
    assert summary["status"] == "finished"
    assert {k: v["status"] for k, v in summary["lanes"].items()} == {"lora": "finished", "olora": "finished"}
    assert summary["lanes"]["olora"]["final_loss"] == whole[-1].eval_loss[1]
    assert sorted(p.name for p in folder.iterdir()) == [
        "adapters", "checkpoint.safetensors", "config.json", "steps.jsonl", "summary.json",
    ]  # fmt: skip
    model, _ = load_model("glassllm")
    assert runs.adapter_warnings(folder) == []
    for k, label in enumerate(CONFIG.labels):
        assert ReadBack.read(folder / "adapters" / label).problem == ""
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
    assert list(runs.resume_run(folder)) == whole[stop_after:]
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
    assert list(runs.resume_run(folder)) == whole[7:]
    assert runs.read_steps(folder) == whole


def test_a_run_that_is_finished_has_nothing_left_to_do(tmp_path, whole):
    list(runs.start(CONFIG, tmp_path))
    assert list(runs.resume_run(tmp_path)) == []
    assert runs.read_steps(tmp_path) == whole
    assert runs.read_summary(tmp_path)["status"] == "finished"


@pytest.mark.parametrize("reported", [0, 3])
def test_after_a_kill_what_was_reported_is_on_disk_and_resume_goes_on(tmp_path, whole, reported):
    folder = tmp_path / "run"
    verb = (
        "race", "--json", "--run", str(folder), "--lane", "lora:r=2", "--lane", "olora:r=4,lr=1e-3",
        "--steps", "12", "--batch-size", "4", "--eval-every", "5", "--eval-size", "8",
        "--test-size", "4", "--task", "number-words", "--keep", "none",
    )  # fmt: skip
    with forked(*verb, temporary=tmp_path / "tmp") as (process, out):
        lines = [out.readline() for _ in range(reported + 1)]
        process.kill()
    told = [json.loads(line) for line in lines]
    assert [line["step"] for line in told] == list(range(1, reported + 2))
    on_disk = runs.read_steps(folder)
    assert len(on_disk) >= len(told)
    assert on_disk == whole[: len(on_disk)]
    list(runs.resume_run(folder))
    assert runs.read_steps(folder) == whole
    assert runs.read_summary(folder)["status"] == "finished"


def race_with_checkpoints(folder, say):
    """Race with a checkpoint after every step, up to the sixth."""
    runs.CHECKPOINT_SECONDS = 0.0
    for step in runs.start(CONFIG, folder):
        say("step")
        if step.step == 6:
            signal.pause()


def test_after_a_kill_a_run_goes_on_from_its_checkpoint_and_before_in_no_other_process(tmp_path, whole):
    folder = tmp_path / "run"
    with victim(partial(race_with_checkpoints, folder), tmp_path / "tmp") as process:
        assert process.heard("step", 6)
        with pytest.raises(ValueError, match="another process races in"):
            runs.resume_run(folder)
        process.kill()
    assert process.status == -signal.SIGKILL
    assert not (folder / "summary.json").exists()
    run = runs.resume_run(folder)
    assert 5 <= run.race.done < 12
    before = len(runs.read_steps(folder))
    assert list(run) == whole[before:]
    assert runs.read_steps(folder) == whole
    assert runs.read_summary(folder)["status"] == "finished"


def test_a_run_that_was_opened_twice_goes_on_in_one_of_them_alone(tmp_path, whole):
    stopped(tmp_path, 3)
    first, second = runs.resume_run(tmp_path), runs.resume_run(tmp_path)
    assert list(second) == whole[3:]
    with pytest.raises(ValueError, match="has other steps than when it was opened"):
        list(first)
    assert runs.read_steps(tmp_path) == whole


def interrupted(folder, monkeypatch, at: int):
    """Race in a new folder until Ctrl-C comes in the middle of the evaluation of a step."""
    evaluate, calls = evaluation.evaluate, iter(range(1000))  # the 0th is that of the base model

    def interrupt(*given, **more):
        if next(calls) == at:
            raise KeyboardInterrupt
        return evaluate(*given, **more)

    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "evaluate", interrupt)
        with pytest.raises(KeyboardInterrupt):
            list(runs.start(replace(CONFIG, eval_every=1), folder))


def test_a_step_that_was_cut_short_leaves_the_last_whole_one_in_the_folder(tmp_path, monkeypatch):
    interrupted(tmp_path / "run", monkeypatch, at=3)
    assert len(runs.read_steps(tmp_path / "run")) == 2
    files = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert files == ["checkpoint.safetensors", "config.json", "steps.jsonl"]
    list(runs.resume_run(tmp_path / "run"))
    assert runs.read_steps(tmp_path / "run") == list(race(replace(CONFIG, eval_every=1)))


MEASURED = replace(
    CONFIG, eval_every=4, gradients_every=3, keep_best=True, lanes=(*CONFIG.lanes, Lane("olora_unsubtracted", r=2))
)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "measured"
    list(runs.start(MEASURED, folder))
    return folder


@pytest.mark.parametrize(("evaluation_number", "made"), [(1, 3), (4, 11), *at_night((3, 11), (5, 11))])
def test_a_run_that_is_stopped_in_an_evaluation_says_so_and_goes_on_to_the_same_end(
    evaluation_number, made, measured, monkeypatch, tmp_path
):
    """The evaluations after the set-up are those of the steps 4, 8 and 12, and two of the test."""
    folder, evaluate, calls = tmp_path / "run", evaluation.evaluate, iter(range(1, 1000))
    run = runs.start(MEASURED, folder)

    def stopping(*given, **more):
        if next(calls) == evaluation_number:
            run.race.close()
        return evaluate(*given, **more)

    monkeypatch.setattr(evaluation, "evaluate", stopping)
    assert len(list(run)) == made
    assert next(calls) == evaluation_number + 1
    monkeypatch.undo()
    stopped = runs.read_summary(folder)
    assert (stopped["status"], stopped["steps"]) == ("stopped", made)
    assert sorted(path.name for path in (folder / "adapters").iterdir()) == sorted(MEASURED.labels)
    for lane in stopped["lanes"].values():
        assert lane["adapter_step"] == (lane["best_step"] or made + 1)
    list(runs.resume_run(folder))
    assert runs.read_steps(folder) == runs.read_steps(measured)
    assert {**runs.read_summary(folder), "seconds": 0} == {**runs.read_summary(measured), "seconds": 0}
    weights = [name for name in contents(measured) if name.endswith("model.safetensors")]
    assert len(weights) == 3
    for name in weights:
        assert contents(folder)[name] == contents(measured)[name]


def contents(folder) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_a_run_said_when_it_stopped_is_gone_once_it_goes_on(tmp_path):
    stopped(tmp_path, after=4)
    assert runs.read_summary(tmp_path)["steps"] == 4
    steps = iter(runs.resume_run(tmp_path))
    next(steps)
    assert runs.read_summary(tmp_path) is None
    steps.close()
    assert runs.read_summary(tmp_path)["steps"] == 5


def test_an_interruption_while_steps_are_made_again_leaves_the_folder_as_it_was(tmp_path, whole):
    stopped(tmp_path, after=7)
    (tmp_path / "checkpoint.safetensors").unlink()
    before = contents(tmp_path)
    run = runs.resume_run(tmp_path)
    original = run.race._trainer.update

    def closing(number, state):
        if number == 3:
            run.race.close()
        return original(number, state)

    run.race._trainer.update = closing
    assert list(run) == []
    assert run.race.done == 3
    assert contents(tmp_path) == before
    assert list(runs.resume_run(tmp_path)) == whole[7:]


def test_lines_that_a_power_cut_took_are_written_again(tmp_path, whole):
    stopped(tmp_path, after=7)
    lines = (tmp_path / "steps.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "steps.jsonl").write_text("".join(lines[:5]))
    assert list(runs.resume_run(tmp_path)) == whole[5:]
    assert runs.read_steps(tmp_path) == whole


def test_a_lane_whose_update_is_not_finite_has_no_adapter_and_the_others_have(tmp_path):
    lanes = (Lane("lora", r=2), Lane("olora", r=2, lr=1e30), Lane("olora", r=2, lr=1e39, label="x"))
    config = replace(CONFIG, lanes=lanes, steps=4)
    steps = iter(runs.start(config, tmp_path))
    next(steps)
    old = tmp_path / "adapters" / "olora"
    old.mkdir(parents=True)  # as if an earlier interruption had written it
    assert len(list(steps)) == 3
    assert runs.read_summary(tmp_path)["lanes"]["olora"]["status"] == "diverged"
    assert sorted(p.name for p in (tmp_path / "adapters").iterdir()) == ["lora", "x"]


def test_a_run_without_any_step_can_be_read_and_resumed(tmp_path, whole):
    runs.start(CONFIG, tmp_path)  # and killed before it began
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]
    assert runs.read_steps(tmp_path) == []
    assert list(runs.resume_run(tmp_path)) == whole


def test_a_file_that_cannot_be_written_is_one_sentence_and_the_last_checkpoint_stays(tmp_path, whole):
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

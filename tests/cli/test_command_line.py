"""The command line: in a process of its own where that matters, by its entry point elsewhere."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest
from PIL import Image
from support.races import small, steps_of
from support.verbs import RACE, objects, run
from transformers import AutoModelForCausalLM

from olora_viz.cli import console
from olora_viz.cli.race import print_summary
from olora_viz.lanes.lane import Lane
from olora_viz.machine import process as progress
from olora_viz.races import run as runs
from olora_viz.races.config import RaceConfig
from olora_viz.tasks import evaluation


@pytest.mark.parametrize(
    ("verb", "names"),
    [
        ("models", {"glassllm", "smollm2-135m"}),
        ("tasks", {"addition", "number-words", "sentiment", "uppercase", "text"}),
        ("initializers", {"lora", "gaussian", "olora", "olora_pivoted", "pissa", "milora"}),
        ("recipes", {"unsloth", "axolotl", "llamafactory", "trl", "torchtune", "peft"}),
    ],
)
def test_the_lists_list_everything_as_a_table_and_as_json(verb, names):
    table, lines = run(verb), run(verb, "--json")
    assert table.returncode == lines.returncode == 0
    listed = {row["name"] for row in objects(lines.stdout)}
    assert names <= listed
    assert all(name in table.stdout for name in listed)
    assert lines.stderr == ""


def test_help_and_version_of_the_command_line_load_no_torch():
    words = [["--help"], ["--version"], ["show", "--help"], ["decide", "--help"], ["study", "--help"]]
    for each in words:
        code = f"import atexit, sys; atexit.register(lambda: print('torch' in sys.modules)); sys.argv[1:] = {each!r}"
        ran = f"{code}; import runpy; runpy.run_module('olora_viz', run_name='__main__')"
        done = subprocess.run([sys.executable, "-c", ran], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith("\nFalse\n"), each


def test_ctrl_c_while_the_libraries_of_a_verb_load_is_one_word(monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("olora_viz.cli.race.add_intervals", interrupted)
    done = run("race", "--steps", "1")
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_race_with_json_prints_json_only_one_step_a_line_and_the_summary_last():
    spec = "olora:lr=3e-4/1e-3,r=4"
    done = run(*RACE, "--json", "--lane", spec, "--lane", "lora:label=plain")
    assert done.returncode == 0, done.stderr
    *steps, last = objects(done.stdout)
    labels = ["olora@lr=3e-4", "olora@lr=1e-3", "plain"]
    assert [step["step"] for step in steps] == [1, 2, 3, 4]
    for step in steps:
        for key in ("loss", "grad_norm", "lr"):
            assert list(step[key]) == labels
        assert ("eval_loss" in step) == (step["step"] % 2 == 0)
    assert list(last["summary"]["lanes"]) == labels
    assert last["summary"]["epochs"] == pytest.approx(4 * 4 / last["summary"]["examples"]["train"], rel=1e-3)
    for label, lane in last["summary"]["lanes"].items():
        assert lane["status"] == "finished"
        assert lane["final_loss"] == steps[-1]["eval_loss"][label]
    assert "4/4" in done.stderr  # the progress bar


def test_race_without_json_prints_the_standing():
    done = run(*RACE, "--lane", "lora", "--lane", "olora")
    assert done.returncode == 0
    assert "(base model)" in done.stdout
    assert re.search(r"finished after 4 steps \(0\.\d+ epochs\) in ", done.stdout)


def test_a_diverged_lane_is_said_to_be_so_and_json_stays_json():
    done = run(*RACE, "--json", "--lane", "lora", "--lane", "olora:lr=1e30")
    assert done.returncode == 0
    assert "NaN" not in done.stdout
    *steps, last = objects(done.stdout)
    assert steps[-1]["loss"]["olora"] is None
    assert steps[-1]["diverged"] == ["olora"]
    assert last["summary"]["lanes"]["olora"]["status"] == "diverged"
    assert last["summary"]["lanes"]["lora"]["status"] == "finished"


def test_divergence_in_the_last_update_is_reported_as_such():
    done = run(
        "race", "--steps", "1", "--eval-every", "1", "--batch-size", "4", "--eval-size", "8",
        "--test-size", "8", "--lane", "olora:lr=1e30", "--lane", "lora", "--json",
    )  # fmt: skip
    step, last = objects(done.stdout)
    assert step["diverged"] == ["olora"]
    assert step["eval_loss"]["olora"] is None
    lanes = last["summary"]["lanes"]
    assert (lanes["olora"]["status"], lanes["olora"]["final_loss"]) == ("diverged", None)
    assert (lanes["lora"]["status"], lanes["lora"]["diverged_at"]) == ("finished", None)
    assert "held-out loss nan" not in done.stderr
    assert f"held-out loss {step['eval_loss']['lora']:.3f}" in done.stderr


@pytest.mark.parametrize(("number", "times"), [(signal.SIGINT, 1), (signal.SIGTERM, 1), (signal.SIGTERM, 2)])
def test_a_signal_in_the_evaluation_of_a_step_is_answered_at_once_and_the_step_is_not_lost(
    number, times, tmp_path, monkeypatch
):
    folder = tmp_path / "run"
    evaluate, calls = evaluation.evaluate, []

    def interrupted(*given, **more):
        calls.append(number)
        if len(calls) == 4:  # the 1st is that of the base model, so this is the one of step 3
            for _ in range(times):
                os.kill(os.getpid(), number)
        return evaluate(*given, **more)

    config = small((Lane("olora", r=4, lr=1e-3), Lane("lora", r=4)), steps=5, eval_every=1, eval_size=8)
    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "evaluate", interrupted)
        done = run(
            "race", "--json", "--run", str(folder), "--lane", "olora:r=4,lr=1e-3",
            "--lane", "lora:r=4", "--steps", "5", "--batch-size", "4", "--eval-every", "1",
            "--eval-size", "8", "--test-size", "4", "--task", "number-words", "--keep", "none",
        )  # fmt: skip
    assert done.returncode == 130, done.stderr
    told = objects(done.stdout)
    lines = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    if times == 1:
        *told, last = told
        assert (last["summary"]["status"], last["summary"]["steps"]) == ("stopped", 2)
        assert {lane["adapter_step"] for lane in last["summary"]["lanes"].values()} == {3}
        assert last["summary"].pop("verdict")["certainty"] == "one run"
        assert json.loads((folder / "summary.json").read_text()) == last["summary"]
    else:
        assert "interrupted" in done.stderr
        assert not (folder / "summary.json").exists()
    assert told == lines
    assert [step["step"] for step in told] == [1, 2]
    resumed = run("race", "--resume", str(folder), "--json")
    assert resumed.returncode == 0, resumed.stderr
    assert runs.read_steps(folder) == steps_of(config)


def test_a_log_names_what_is_evaluated_from_time_to_time_and_how_far_it_is(monkeypatch):
    monkeypatch.setattr(console, "IN_LOG", 0.0)
    monkeypatch.setattr(progress, "LONG_AFTER", 0.0)
    monkeypatch.setattr(progress, "REPORT_EVERY", 0.0)
    lanes = ("--lane", "lora:r=2", "--lane", "olora_unsubtracted:r=2", "--lane", "olora:r=2")
    done = run(*RACE, *lanes, "--eval-size", "40", "--test-size", "6")
    assert done.returncode == 0, done.stderr
    before, after = done.stderr.split("training examples")
    assert "evaluating the base model: 40%" in before
    assert "evaluating 40 held-out examples: 40%" in before
    assert "evaluating 40 held-out examples, 40%" in after
    assert "evaluating 6 test examples, 0%" in after


def test_an_interrupted_race_in_a_process_of_its_own_is_stopped(tmp_path):
    folder = str(tmp_path / "run")
    command = [sys.executable, "-m", "olora_viz", *RACE, "--json", "--run", folder]
    command += ["--lane", "lora:r=2", "--lane", "olora:r=2", "--batch-size", "2"]
    command[command.index("--steps") + 1] = "400"
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.stdout.read(), process.stderr.read()  # communicate() skips what was buffered
    process.wait(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert f"stopping after this step, or in its evaluation, then saving it in {folder!r}; " in err
    *steps, last = objects(first + out)
    assert last["summary"]["status"] == "stopped"
    assert {lane["status"] for lane in last["summary"]["lanes"].values()} == {"stopped"}
    assert last["summary"]["steps"] == steps[-1]["step"] < 400
    saved = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert saved["status"] == "stopped"
    assert len((tmp_path / "run" / "steps.jsonl").read_text().splitlines()) == len(steps)


def test_resume_and_export_as_a_person_would(tmp_path):
    folder = str(tmp_path / "run")
    lanes = ("--lane", "olora:r=4", "--lane", "lora:r=4")
    assert run(*RACE, *lanes, "--run", folder).returncode == 0
    resumed = run("race", "--resume", folder, "--json")
    assert resumed.returncode == 0
    (summary,) = objects(resumed.stdout)
    assert summary["summary"]["status"] == "finished"
    for form in ("lora", "olora", "merged"):
        out = tmp_path / form
        done = run("export", folder, "--lane", "olora", "--out", str(out), "--form", form)
        assert done.returncode == 0, done.stderr
        loader = "transformers 5" if form == "merged" else "PEFT 0"
        assert loader in done.stderr
        assert "reads it back with the lane's logits, " in done.stderr
    assert (tmp_path / "olora" / "adapter_model.safetensors").is_file()
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert merged.config.hidden_size == 128
    again = run("race", "--model", str(tmp_path / "merged"), *RACE[1:], "--lane", "lora", "--json")
    assert again.returncode == 0, again.stderr
    first = objects(again.stdout)[-1]["summary"]
    assert first["base"]["loss"] == pytest.approx(summary["summary"]["lanes"]["olora"]["final_loss"], rel=1e-4)


def test_export_into_the_folder_where_one_stands(tmp_path, monkeypatch):
    folder = str(tmp_path / "run")
    assert run(*RACE, "--lane", "lora:r=2", "--run", folder).returncode == 0
    for form, weights in (("merged", "model.safetensors"), ("lora", "adapter_model.safetensors")):
        here = tmp_path / form
        here.mkdir()
        monkeypatch.chdir(here)
        done = run("export", folder, "--lane", "lora", "--out", ".", "--form", form, "--json")
        assert done.returncode == 0, done.stderr
        assert objects(done.stdout)[0]["out"] == "."
        assert (here / weights).is_file()
        assert here.samefile(".")
        again = run("export", folder, "--lane", "lora", "--out", ".", "--form", form)
        assert again.returncode == 2
        assert "--out '.' must be new or empty" in again.stderr


def test_held_out_examples_that_are_left_out_are_counted_for_the_reader(tmp_path):
    done = run(*RACE, "--lane", "lora", "--task", "number-words", "--max-length", "8", "--json")
    summary = objects(done.stdout)[-1]["summary"]
    for kind, key in (("training", "left_out"), ("held-out", "held_out_left_out")):
        assert summary[key] > 0
        assert f"{summary[key]} {kind} examples are longer than 8 tokens" in done.stderr


def test_a_run_without_any_lanes_named_races_the_default_ones(tmp_path):
    done = run(*RACE, "--json", "--eval-size", "2")
    assert tuple(objects(done.stdout)[-1]["summary"]["lanes"]) == RaceConfig().labels


def test_a_race_is_saved_as_a_picture_also_of_lanes_without_factors(tmp_path):
    heights = []
    for lanes in (("--lane", "lora", "--lane", "olora"), ("--lane", "full:lr=1e-4")):
        done = run(*RACE, "--eval-size", "2", *lanes, "--png", str(tmp_path / "race.png"))
        assert done.returncode == 0, done.stderr
        heights.append(Image.open(tmp_path / "race.png").height)
    assert "no A and B to draw" in done.stderr
    assert heights[0] > 2 * heights[1]  # W and two adapters below the three charts


def test_figures_that_are_not_there_are_a_dash_in_the_table(capsys):
    lane = {"status": "diverged", "diverged_at": 1, "final_loss": None, "final_accuracy": None, "parameters": 9600}
    lane["diverged_why"] = "loss or gradient was no longer finite"
    print_summary(
        {
            "base": {"loss": None, "accuracy": None},
            "frozen": {"base": "float"},
            "lanes": {"lora": {**lane, "first_grad_norm": None}},
            **{"status": "diverged", "steps": 1, "epochs": 0.02, "seconds": 0.1, "device": "cpu", "dtype": "float32"},
        }
    )
    header, lora, base, why, end = capsys.readouterr().out.splitlines()
    assert lora.split() == ["lora", "diverged", "at", "step", "1", "–", "–", "–", "9,600"]
    assert base.split() == ["(base", "model)", "–", "–"]
    assert header.startswith("lane")
    assert why == "lora is out of the race: its loss or gradient was no longer finite"
    assert end == "diverged after 1 steps (0.02 epochs) in 0.1 s on cpu (float32)"

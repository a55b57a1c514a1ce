"""The command line, run as a person runs it: in a process of its own."""

import json
import signal
import subprocess
import sys

import pytest
from transformers import AutoModelForCausalLM

RACE = ("race", "--steps", "4", "--batch-size", "4", "--eval-every", "2", "--eval-size", "8")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "olora_viz", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def objects(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("verb", "names"),
    [
        ("models", {"glassllm", "smollm2-135m"}),
        ("tasks", {"addition", "number-words", "sentiment", "uppercase", "text"}),
        ("initializers", {"lora", "gaussian", "olora", "olora_pivoted", "pissa", "milora"}),
    ],
)
def test_the_lists_list_everything_as_a_table_and_as_json(verb, names):
    table, lines = run(verb), run(verb, "--json")
    assert table.returncode == lines.returncode == 0
    listed = {row["name"] for row in objects(lines.stdout)}
    assert names <= listed
    assert all(name in table.stdout for name in listed)
    assert lines.stderr == ""


def test_race_with_json_prints_json_only_one_step_a_line_and_the_summary_last():
    done = run(*RACE, "--json", "--lane", "olora:lr=3e-4/1e-3,r=4", "--lane", "lora:label=plain")
    assert done.returncode == 0, done.stderr
    *steps, last = objects(done.stdout)
    labels = ["olora@lr=3e-4", "olora@lr=1e-3", "plain"]
    assert [step["step"] for step in steps] == [1, 2, 3, 4]
    for step in steps:
        for key in ("loss", "grad_norm", "lr"):
            assert list(step[key]) == labels
        assert ("eval_loss" in step) == (step["step"] % 2 == 0)
    assert list(last["summary"]["lanes"]) == labels
    for label, lane in last["summary"]["lanes"].items():
        assert lane["status"] == "finished"
        assert lane["final_loss"] == steps[-1]["eval_loss"][label]
    assert "4/4" in done.stderr  # the progress bar


def test_race_without_json_prints_the_standing():
    done = run(*RACE, "--lane", "lora", "--lane", "olora")
    assert done.returncode == 0
    assert "(base model)" in done.stdout
    assert "finished after 4 steps" in done.stdout


def test_a_diverged_lane_is_said_to_be_so_and_json_stays_json():
    done = run(*RACE, "--json", "--lane", "lora", "--lane", "olora:lr=1e30")
    assert done.returncode == 0
    assert "NaN" not in done.stdout
    *steps, last = objects(done.stdout)
    assert steps[-1]["loss"]["olora"] is None
    assert steps[-1]["diverged"] == ["olora"]
    assert last["summary"]["lanes"]["olora"]["status"] == "diverged"
    assert last["summary"]["lanes"]["lora"]["status"] == "finished"


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupted_race_is_stopped_and_its_run_goes_on(name, tmp_path):
    folder = str(tmp_path / "run")
    command = [sys.executable, "-m", "olora_viz", *RACE, "--json", "--run", folder]
    command[command.index("--steps") + 1] = "400"
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    first = process.stdout.readline()
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
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
    assert (tmp_path / "olora" / "adapter_model.safetensors").is_file()
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert merged.config.hidden_size == 128
    again = run("race", "--model", str(tmp_path / "merged"), *RACE[1:], "--lane", "lora", "--json")
    assert again.returncode == 0, again.stderr
    first = objects(again.stdout)[-1]["summary"]
    assert first["base"]["loss"] == pytest.approx(
        summary["summary"]["lanes"]["olora"]["final_loss"], rel=1e-4
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("race", "--lane", "olra"), "unknown initialization 'olra'; did you mean 'olora'"),
        (
            ("race", "--lane", "olora:r=999"),
            "rank 999 exceeds min(out, in) = 128 of 'model.layers.0",
        ),
        (("race", "--lane", "olora:lr=-1"), "learning rate must be a positive number, not -1.0"),
        (("race", "--model", "glasllm"), "glassllm"),
        (("race", "--task", "adition"), "'addition'"),
        (("race", "--task", "missing.json"), "missing.json"),
        (("race", "--steps", "0"), "steps must be a whole number from 1"),
        (("race", "--steps", "ten"), "invalid int value: 'ten'"),
        (("race", "--max-length", "4096"), "4096"),
        (("race", "--target", "qproj"), "no linear layer's name ends in 'qproj'"),
        (("race", "--resume", "nowhere"), "'nowhere' holds no run"),
        (("race", "--resume", "nowhere", "--steps", "5"), "--resume takes the set-up from"),
        (("export", "nowhere", "--lane", "x", "--out", "y"), "'nowhere' holds no run"),
        (("rase",), "rase"),
        ((), "VERB"),
    ],
)
def test_bad_input_ends_with_code_2_and_one_sentence(arguments, message, tmp_path):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    (sentence,) = done.stderr.replace("\r", "").strip().splitlines()
    assert message in sentence
    assert "Traceback" not in done.stderr


def test_a_run_without_any_lanes_named_races_the_default_five(tmp_path):
    done = run(*RACE, "--json")
    labels = ["lora@lr=1e-3", "lora@lr=3e-3", "olora@lr=1e-3", "olora@lr=3e-3", "pissa"]
    assert list(objects(done.stdout)[-1]["summary"]["lanes"]) == labels


def test_a_broken_task_file_is_named_with_its_line(tmp_path):
    file = tmp_path / "task.jsonl"
    file.write_text('{"prompt": "a", "answer": " b"}\n{"prompt": "c"\n')
    done = run("race", "--task", str(file), "--run", str(tmp_path / "run"))
    assert done.returncode == 2
    assert "line 2" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_prompt_longer_than_the_context_is_named(tmp_path):
    file = tmp_path / "task.jsonl"
    rows = [{"prompt": "a", "answer": " b"}] * 9 + [{"prompt": "long " * 200, "answer": " b"}]
    file.write_text(
        "".join(
            json.dumps(row | {"prompt": f"{i} {row['prompt']}"}) + "\n"
            for i, row in enumerate(rows)
        )
    )
    done = run("race", "--task", str(file))
    assert done.returncode == 2
    assert "128" in done.stderr
    assert "line 10" in done.stderr

"""A metric is a function of a file that is typed on the command line; nothing else reads a function from a file."""

import inspect
import json
import shlex
from contextlib import suppress
from pathlib import Path

import pytest
from support.races import small

import olora_viz as ov
from olora_viz.__main__ import main
from olora_viz.races.chain import is_chain
from olora_viz.races.run import read_config

REWARDED = (
    "race --task sentiment --objective reinforce --samples 3 --steps 3 --batch-size 4 --eval-size 4 --test-size 4 "
)
REWARDED += "--eval-every 0 --keep none --lane lora:r=2 --lane olora:r=2 --json"
SETTINGS = {"task": "sentiment", "objective": "reinforce", "samples": 3, "steps": 3}


def vowels(answer, right):
    return sum(letter in "aeiou" for letter in answer) / max(1, len(answer))


@pytest.fixture
def rewards(tmp_path, monkeypatch) -> Path:
    """A file of functions in the current folder, which notes that it was run."""
    monkeypatch.chdir(tmp_path)
    lines = ["open('was-run', 'a').close()", "from olora_viz.tasks.metrics import exact", "LIMIT = 3"]
    file = Path("rewards.py")
    file.write_text("\n".join([*lines, inspect.getsource(vowels)]), encoding="utf-8")
    return file


def told(capsys, words: str) -> list[dict]:
    """The lines of JSON of a command, without times."""
    assert main(shlex.split(words)) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    lines[-1] = {"lanes": lines[-1]["summary"]["lanes"], "base": lines[-1]["summary"]["base"]}
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def refusal(capsys, words: str) -> str:
    """The sentence with which a command ends."""
    with suppress(SystemExit):  # of the parser
        assert main(shlex.split(words)) == 2
    shown = capsys.readouterr()
    assert not shown.out
    (sentence,) = [line for line in shown.err.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in shown.err
    return sentence


def test_a_file_s_function_trains_bitwise_as_the_same_one_in_python(rewards, capsys) -> None:
    *steps, summary = told(capsys, f"{REWARDED} --metric rewards.py:vowels")
    race = ov.race(small(metric=vowels, **SETTINGS))
    assert [{k: v for k, v in step.to_json(race.lanes.labels).items() if k != "seconds"} for step in race] == steps
    assert summary == {"lanes": race.summary()["lanes"], "base": race.summary()["base"]}
    assert Path("was-run").exists()
    assert 0 < steps[0]["reward"]["lora"] < 1
    assert summary["base"]["test_score"] is not None


def test_the_function_of_a_name_trains_bitwise_as_the_name(rewards, capsys) -> None:
    words = f"{REWARDED} --model glassllm-sentiment --metric"
    of_file, of_name = told(capsys, f"{words} rewards.py:exact"), told(capsys, f"{words} exact")
    assert of_file == of_name
    assert 0 < of_file[0]["reward"]["lora"] < 1


@pytest.mark.parametrize(
    ("text", "metric", "said"),
    [
        ("", "nope.py:score", "'nope.py' does not load: FileNotFoundError: No such file or directory"),
        ("import nosuch", "mine.py:score", "'mine.py' does not load: ModuleNotFoundError: No module named 'nosuch'"),
        ("x = (", "mine.py:score", "'mine.py' does not load: SyntaxError: '(' was never closed (mine.py, line 1)"),
        ("raise SystemExit(0)", "mine.py:score", "'mine.py' does not load: SystemExit: 0"),
        ("def score(a, b): return 1", "mine.py:scor", "in 'mine.py': unknown function 'scor'; did you mean 'score'?"),
        ("def score(a, b): return 1", "mine.py", "in 'mine.py': unknown function ''; choose from score"),
        ("score = 3\nother = len", "mine.py:score", "in 'mine.py': unknown function 'score'; choose from other"),
    ],
    ids=["no-file", "import", "syntax", "exit", "no-function", "no-name", "not-callable"],
)
def test_what_is_no_function_of_a_file_is_refused_in_a_sentence(
    text, metric, said, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(text, encoding="utf-8")
    for verb in ("race", "study --out x"):
        assert refusal(capsys, f"{verb} --metric {metric}") == f"error: argument --metric: {said}"


@pytest.mark.parametrize(
    ("body", "said"), [("2", "must return a number from 0 to 1, not 2"), ("{}[0]", "raised KeyError: 0")]
)
def test_a_function_that_fails_is_named_with_the_answer(body, said, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(f"def score(answer, right): return {body}", encoding="utf-8")
    sentence = refusal(capsys, f"{REWARDED} --metric mine.py:score")
    assert sentence.startswith("error: the metric 'score', on the answer ")
    assert sentence.endswith(said)


def test_a_set_up_in_toml_and_a_run_folder_load_no_file(rewards, capsys) -> None:
    unknown = "unknown metric 'rewards.py:vowels'; choose from auto"
    for text, verb in (
        ("", "race set-up.toml --lane lora"),
        ("", "study set-up.toml --out study"),
        ("minutes = 1\n", "decide set-up.toml --out decision"),
    ):
        Path("set-up.toml").write_text(f'{text}metric = "rewards.py:vowels"\n', encoding="utf-8")
        assert unknown in refusal(capsys, verb)
        Path("set-up.toml").write_text(f'{text}task = "sentiment"\nmetric = "python:vowels"\n', encoding="utf-8")
        assert "the metric 'vowels' was a Python function, and only its name is kept" in refusal(capsys, verb)
    race = ov.race(small())
    next(race)
    race.save("run")
    planned = Path("run/config.json")
    planned.write_text(
        planned.read_text("utf-8").replace('"metric": "auto"', '"metric": "rewards.py:vowels"'), "utf-8"
    )
    assert unknown in refusal(capsys, "race --resume run")
    assert not Path("was-run").exists()


def test_a_run_that_is_saved_goes_on_with_the_function_of_a_file(rewards, capsys) -> None:
    whole = told(capsys, f"{REWARDED} --metric rewards.py:vowels")
    assert main(shlex.split(f"{REWARDED} --steps 2 --metric rewards.py:vowels --run run --track tensorboard")) == 0
    assert read_config("run").metric == "python:vowels"
    assert "reports nothing more" not in capsys.readouterr().err
    assert "--metric FILE.py:vowels" in refusal(capsys, "race --resume run --steps 3")
    assert "pass no other options than --steps or --metric" in refusal(capsys, "race --resume run --seed 3")
    assert told(capsys, "race --resume run --steps 3 --metric rewards.py:vowels --json") == whole[2:]


def test_a_chain_and_a_study_take_the_function_of_a_file_and_go_on_with_it(rewards, capsys) -> None:
    links = REWARDED.replace("--task sentiment", "--chain --task sentiment,uppercase")
    assert main(shlex.split(f"{links} --metric rewards.py:vowels --run chain")) == 0
    assert is_chain(Path("chain"))
    assert main(shlex.split("race --resume chain --metric rewards.py:vowels")) == 0
    study = (
        "study --task sentiment --init lora,olora --lr 1e-3 --steps 1 --eval-size 4 --test-size 4 --out study --yes"
    )
    assert main(shlex.split(f"{study} --seeds 1 --metric rewards.py:vowels")) == 0
    assert 'metric = "python:vowels"' in Path("study/study.toml").read_text("utf-8")
    capsys.readouterr()
    assert main(["study", "study"]) == 0, "which only reads"
    capsys.readouterr()
    assert "'vowels' was a Python function" in refusal(capsys, "study study --seeds 2 --yes")
    more = "study study --seeds 2 --yes --metric rewards.py:vowels"
    assert "scores in one process: give 1 worker" in refusal(capsys, f"{more} --workers 2")
    before = rewards.read_text("utf-8")
    rewards.write_text(before.replace("aeiou", "aeiouy"), encoding="utf-8")
    assert "'python:vowels' has changed in the study" in refusal(capsys, more)
    rewards.write_text(before, encoding="utf-8")
    assert main(shlex.split(more)) == 0
    assert len(list(Path("study/runs").glob("*.parquet"))) == 4

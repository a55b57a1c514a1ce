"""A run that gets another number of steps: bitwise one planned so, or a sentence why not."""

import json
import os
import shutil
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from reliability.laws import contents
from reliability.victims import Say, victim
from support.races import PAIR, small
from support.verbs import objects, run

import olora_viz as ov
from olora_viz.machine.files import read_tensors, write_tensors
from olora_viz.races import run as runs

SHORT, LONG = 5, 9
LANES = (*PAIR, ov.Lane("lora", lr=0.3, r=2, seed=1))
"""The last one soon gets worse."""

CONFIGS = {
    "evaluated at the old end": {"eval_every": 5},
    "evaluated at the end only": {"eval_every": 0},
    "between two evaluations": {"eval_every": 3, "gradients_every": 2, "warmup": 3},
    "the best are kept": {"eval_every": 2, "keep_best": True},
    "the best are kept, of the old end too": {"eval_every": 1, "keep_best": True},
    "patience": {"eval_every": 2, "patience": 1, "batches": "by-seed"},
    "patience ran out before the old end": {"eval_every": 1, "patience": 1, "lanes": LANES[2:]},
}


def planned(steps: int, **changes) -> ov.RaceConfig:
    return small(**{"lanes": LANES, "steps": steps, **changes})


def lines(folder: Path) -> list[dict]:
    text = (folder / "steps.jsonl").read_text(encoding="utf-8")
    return [{**line, "seconds": 0} for line in objects(text)]


def summary(folder: Path) -> dict:
    found = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return {**found, "seconds": 0}


def check_same(folder: Path, whole: Path) -> None:
    """Check that a run is bitwise another one, but for the time it took."""
    assert lines(folder) == lines(whole)
    assert summary(folder) == summary(whole)
    ours, theirs = (read_tensors(each / "checkpoint.safetensors") for each in (folder, whole))
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        if name.endswith("clock"):  # its second number is the time
            tensor[1] = theirs[name][1]
        assert torch.equal(tensor.nan_to_num(), theirs[name].nan_to_num()), name
    ours, theirs = contents(folder), contents(whole)
    assert ours.keys() == theirs.keys()
    for name in ("config.json", *(name for name in ours if name.startswith("adapters/"))):
        assert ours[name] == theirs[name], name


@pytest.mark.parametrize("name", CONFIGS)
def test_a_finished_run_that_goes_on_is_bitwise_one_that_was_planned_so(name, tmp_path):
    list(runs.start(planned(LONG, **CONFIGS[name]), tmp_path / "whole"))
    list(runs.start(planned(SHORT, **CONFIGS[name]), tmp_path / "run"))
    list(ov.resume_run(tmp_path / "run", steps=LONG))
    check_same(tmp_path / "run", tmp_path / "whole")


@pytest.mark.parametrize("steps", [4, LONG])
def test_a_stopped_run_may_end_earlier_or_later_than_planned(steps, tmp_path):
    list(runs.start(planned(steps, eval_every=2), tmp_path / "whole"))
    begun = iter(runs.start(planned(SHORT, eval_every=2), tmp_path / "run"))
    for _ in range(3):
        next(begun)
    begun.close()
    list(runs.resume_run(tmp_path / "run", steps=steps))
    check_same(tmp_path / "run", tmp_path / "whole")


def test_the_command_goes_on_to_another_number_of_steps_and_says_so_in_its_summary(tmp_path):
    folder = tmp_path / "run"
    list(runs.start(planned(SHORT), folder))
    done = run("race", "--resume", str(folder), "--steps", str(LONG), "--json")
    assert done.returncode == 0, done.stderr
    *steps, last = objects(done.stdout)
    assert [step["step"] for step in steps] == list(range(SHORT + 1, LONG + 1))
    assert (last["summary"]["steps"], last["summary"]["status"]) == (LONG, "finished")
    again = run("race", "--resume", str(folder), "--steps", str(LONG), "--json")
    assert (again.returncode, len(objects(again.stdout))) == (0, 1)


@pytest.mark.parametrize(
    ("changes", "steps", "sentence"),
    [
        ({"schedule": "linear"}, LONG, "has a linear schedule, whose rates depend on the number"),
        ({"schedule": "cosine"}, LONG, "has a cosine schedule, whose rates depend on the number"),
        ({"lanes": (*PAIR, ov.Lane("lora", schedule="cosine"))}, LONG, "has a cosine schedule, whose rates"),
        ({}, SHORT - 1, "has made 5 steps: it cannot end after 4"),
        ({}, 0, "steps must be a whole number from 1"),
    ],
)
def test_a_run_that_cannot_have_the_steps_is_refused_and_left_alone(changes, steps, sentence, tmp_path):
    list(runs.start(planned(SHORT, **changes), tmp_path))
    before = contents(tmp_path)
    done = run("race", "--resume", str(tmp_path), "--steps", str(steps))
    assert (done.returncode, done.stdout) == (2, "")
    (said,) = done.stderr.strip().splitlines()
    assert sentence in said
    assert contents(tmp_path) == before


@pytest.mark.parametrize("at", ["runs/0001", "final"])
def test_a_run_of_a_study_is_refused(at, tmp_path):
    list(runs.start(planned(SHORT), tmp_path / at))
    (tmp_path / "study.toml").touch()
    with pytest.raises(ValueError, match="belongs to a study, whose races all have 5 steps"):
        runs.resume_run(tmp_path / at, steps=LONG)


@pytest.mark.parametrize("at", ["runs/mine", "out/0001", "mine"])
def test_a_run_that_only_lies_beside_a_study_gets_more_steps(at, tmp_path):
    list(runs.start(planned(SHORT), tmp_path / at))
    (tmp_path / "study.toml").touch()
    assert [step.step for step in runs.resume_run(tmp_path / at, steps=LONG)] == [*range(SHORT + 1, LONG + 1)]


CHANGES = {"open", "os.remove", "os.rename", "os.truncate"}


def test_a_run_that_is_killed_while_it_gets_more_steps_is_whole_and_goes_on(tmp_path):
    changes = {"eval_every": 3, "keep_best": True}
    list(runs.start(planned(LONG, **changes), tmp_path / "whole"))
    list(runs.start(planned(SHORT, **changes), tmp_path / "short"))

    def extend(folder: Path, number: int, say: Say) -> None:
        left = number

        def hook(event: str, given: tuple) -> None:
            nonlocal left
            writes = event != "open" or (given[1] and given[1] != "r" and given[1] != "rb")
            if event in CHANGES and writes and str(folder) in str(given[0]):
                left -= 1
                if left < 0:
                    os._exit(9)

        sys.addaudithook(hook)
        runs.resume_run(folder, steps=LONG)
        say("extended")

    number, ended, seen = 0, False, set()
    while not ended:
        folder = tmp_path / f"{number}"
        shutil.copytree(tmp_path / "short", folder)
        with victim(partial(extend, folder, number), tmp_path / "tmp") as process:
            ended = process.wait() == 0
        saved = ov.load_run(folder)
        assert len(saved.steps) == SHORT
        seen.add(saved.config.steps)
        list(runs.resume_run(folder, steps=LONG))
        check_same(folder, tmp_path / "whole")
        number += 1
    assert number > 3
    assert seen == {SHORT, LONG}


def test_a_checkpoint_that_does_not_know_what_was_best_before_its_end_is_not_gone_on_from(tmp_path):
    changes = {"eval_every": 3, "keep_best": True}
    list(runs.start(planned(LONG, **changes), tmp_path / "whole"))
    list(runs.start(planned(SHORT, **changes), tmp_path / "run"))
    path = tmp_path / "run" / "checkpoint.safetensors"
    tensors = read_tensors(path)  # as an older version wrote it
    write_tensors(path, {k: v for k, v in tensors.items() if not k.startswith("shorter_")})
    list(runs.resume_run(tmp_path / "run", steps=LONG))
    check_same(tmp_path / "run", tmp_path / "whole")

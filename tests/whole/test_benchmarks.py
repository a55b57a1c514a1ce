"""The benchmarks run: what they measure is nobody's test, that they measure is this one's."""

import json
import runpy
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from support import served
from support.served import inherited, serve

from olora_viz.studies.run import run_study
from olora_viz.studies.study import Study

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

SMALL = {
    "curvature.py": "--model glassllm --lanes 2 --rank 4 --steps 3",
    "decide.py": "--model glassllm --minutes 0.5",
    "fair_rate.py": "--tasks addition --seeds 1 --inits lora olora --rates 1e-3 1e-2 --steps 2",
    "init.py": "--model glassllm --rank 4 --init olora lora --wide 256 128 4",
    "race.py": "--model glassllm --lanes 2 --dtypes float32 --steps 1",
    "server.py": "--visits 1 --steps 2",
    "spectra.py": "--model glassllm",
    "start.py": "--gigabytes 0.001 --inits olora --peft --rank 4",
    "peft_form.py": "{study} --rates 1e-3",
    "memory.py": "--models glassllm --kinds spectra",
    "measures.py": "--model glassllm --lanes 2 --rank 4",
    "study.py": "--inits 2 --lr 1e-3 --seeds 1 --steps 2 --workers 1 --threads 1",
    "threads.py": "--threads 1 --busy 0 --steps 1 --repeats 1 --waiting default",
    "ui.py": "--visits 1 --steps 2 --moves 1",
    "visitors.py": "--visitors 2 --steps 2 --within 0 --only link",
}
"""How each is tried. The prompts and ranks are the defaults: glassllm reads 128 tokens, its narrowest layers have 64
rows, and both have to fit."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server for all that measure one."""
    with serve(tmp_path_factory.mktemp("app"), inherited()) as running:
        yield running


def run(name, options, monkeypatch):
    """Run a benchmark as a script of this process, which saves loading the libraries again."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setattr(sys, "argv", [str(BENCHMARKS / name), *options.split()])
    runpy.run_path(str(BENCHMARKS / name), run_name="__main__")


def test_every_benchmark_is_tried():
    assert {path.name for path in BENCHMARKS.glob("*.py")} == set(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_a_benchmark_prints_one_object_a_line(name, monkeypatch, capsys, request, tmp_path):
    monkeypatch.setattr(served, "serve", lambda *_, **__: nullcontext(request.getfixturevalue("server")))
    options = SMALL[name]
    if "{study}" in options:
        small = Study().changed(race={"steps": 2, "eval_every": 0}, tune={"lr": (1e-3, 2e-3)}, seeds=1, threads=1)
        list(run_study(small, tmp_path / "study"))
        options = options.format(study=tmp_path / "study")
    run(name, f"{options} --json", monkeypatch)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows
    assert all(isinstance(row, dict) and len(row) > 4 for row in rows)


def test_an_unknown_model_is_said_to_be_one_before_anything_is_measured(monkeypatch):
    with pytest.raises(ValueError, match="unknown model 'glasllm'"):
        run("race.py", "--model glasllm", monkeypatch)

"""Recorded findings are those that were measured, and the commands beside them repeat them."""

import argparse
import ast
import json
import math
import re
import shlex
from dataclasses import fields, replace
from pathlib import Path

import pytest
from support.planted_losses import STUDY, gaining, study
from support.study_folders import written

from olora_viz.cli import study as study_verb
from olora_viz.initializers import INITIALIZERS, label_of
from olora_viz.lanes.optimizers import OPTIMIZERS
from olora_viz.learn.gallery import claims, judge
from olora_viz.learn.gallery.claims import (
    CellVerdict,
    RecordedClaims,
    RecordedFinding,
    cells_of,
    read_claims,
    recorded_claims,
    write_claims,
)
from olora_viz.learn.gallery.recording import MOST_RECORDED
from olora_viz.machine.devices import DTYPES
from olora_viz.races.fields import OBJECTIVE_NAMES
from olora_viz.studies import choices, forgetting, objectives, rows, sentences
from olora_viz.studies import claims as claims_of_papers
from olora_viz.studies.axes import AXES
from olora_viz.studies.claims import CLAIMS, optimizer_levels
from olora_viz.studies.claims.claim import VERDICTS, Bar, Finding
from olora_viz.studies.claims.commands import command_of_claim, command_of_study, setup_words
from olora_viz.studies.claims.evidence import ClaimEvidence
from olora_viz.studies.method import method_name
from olora_viz.studies.statistics import Interval
from olora_viz.studies.study import Study

FINDING = Finding(
    verdict="mixed", words="Two numbers.", seeds=5, unit="nats",
    numbers={"cells": 2, "share": 0.25, "gain": Interval(-0.5, -1.0, math.inf, 0.5)},
    bars=(Bar("LoRA", 1.5, 1.0, 2.0), Bar("cells", 2), Bar("far", math.nan)),
)  # fmt: skip
TOLD = RecordedFinding("result", "glassllm", "sentiment", "first", "5 seeds", "2026-11-26", FINDING,
                       "python -m olora_viz claims")  # fmt: skip


def test_a_finding_comes_back_from_json_with_its_numbers_and_bars() -> None:
    values = json.loads(json.dumps(FINDING.to_json(), allow_nan=False))
    back = Finding.from_json(values)
    assert back.to_json() == values
    assert replace(back, numbers={}, bars=()) == replace(FINDING, numbers={}, bars=())
    gain = back.numbers["gain"]
    assert isinstance(gain, Interval)
    assert gain[:3] == (-0.5, -1.0, math.inf)
    assert back.bars[:2] == FINDING.bars[:2]
    assert math.isnan(back.bars[2].value)
    assert [type(back.numbers[name]) for name in ("cells", "share")] == [int, float]


def test_what_is_recorded_is_read_back_and_newer_findings_take_their_place(tmp_path: Path) -> None:
    path = tmp_path / "claims.json"
    cell = CellVerdict("glassllm", "sentiment", 8, "better", "undecided", "2 of 3 seeds", 2, 60)
    known = RecordedClaims((TOLD,), (cell,))
    write_claims(known, path)
    back = read_claims(path)
    assert back.cells == known.cells
    assert [one.to_json() for one in back.findings] == [TOLD.to_json()]
    newer = replace(TOLD, finding=replace(FINDING, verdict="holds"))
    other = replace(TOLD, study="second")
    both = known.with_newer([newer, other], [replace(cell, seeds=5)])
    assert both.of("result") == [newer, other]
    assert [one.seeds for one in both.cells] == [5]


@pytest.mark.parametrize(
    "damage",
    [
        lambda values: values.pop("cells"),
        lambda values: values["findings"][0].pop("command"),
        lambda values: values["findings"][0].update(model=7),
        lambda values: values["findings"][0]["finding"].update(verdict="great"),
        lambda values: values["findings"][0]["finding"].update(bars=[["LoRA", 1]]),
        lambda values: values["cells"][0].update(at_one_rate="won"),
    ],
)
def test_a_damaged_file_is_refused_in_a_sentence(damage, tmp_path: Path) -> None:
    path = tmp_path / "claims.json"
    cell = CellVerdict("glassllm", "sentiment", 8, "better", "level", "", 5, 60)
    write_claims(RecordedClaims((TOLD,), (cell,)), path)
    values = json.loads(path.read_text())
    damage(values)
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"^'claims.json' does not hold findings on claims: .+"):
        read_claims(path)


def test_findings_that_grew_too_large_are_not_written(tmp_path: Path) -> None:
    many = replace(TOLD, command="x" * MOST_RECORDED)
    with pytest.raises(ValueError, match="more than 300,000"):
        write_claims(RecordedClaims((many,)), tmp_path / "claims.json")
    assert not list(tmp_path.iterdir())


def test_what_the_package_brings_is_small_and_of_claims_that_there_are() -> None:
    assert claims.CLAIMS_FILE.stat().st_size <= MOST_RECORDED
    known = recorded_claims()
    assert known.findings
    for one in known.findings:
        assert one.claim in CLAIMS
        assert one.finding.verdict in VERDICTS
        assert one.model
        assert one.task or CLAIMS[one.claim].of_weights
        assert "/" not in one.model + one.task
        assert all(line.startswith("python -m olora_viz ") for line in one.command.splitlines())
        assert bool(one.study) == CLAIMS[one.claim].needs_study


def texts_of(path: Path) -> set[str]:
    """The texts in a module, those between the values of f-strings among them."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    texts = (node.value for node in nodes if isinstance(node, ast.Constant))
    return {text for text in texts if isinstance(text, str) and len(text) > 1}


@pytest.mark.parametrize("claim", sorted({one.claim for one in recorded_claims().findings}))
def test_what_is_recorded_is_worded_as_its_judge_words_it_today(claim: str) -> None:
    folder = Path(claims_of_papers.__file__).parent
    own = (folder / f"{name}.py" for name in (claim.replace("-", "_"), "beside", "claim"))
    names = *own, *(module.__file__ for module in (choices, forgetting, objectives, optimizer_levels, rows, sentences))
    axes = (name.replace("_", " ") for name in AXES)
    said = {*VERDICTS, *DTYPES, *OBJECTIVE_NAMES, *axes, *map(label_of, INITIALIZERS)}.union(
        (each.label for each in OPTIMIZERS.values()), *map(texts_of, map(Path, names))
    )
    for one in recorded_claims().of(claim):
        left = one.finding.words
        # Of equally long ones always in the same order: one may end where another begins.
        methods = re.findall(r"--compare (\S+)", one.command)
        parts = filter(None, (*said, *map(method_name, methods), one.model, one.task, *re.split(", | and ", one.task)))
        for text in sorted(parts, key=lambda part: (len(part), part), reverse=True):
            left = left.replace(text, " | ")
        assert re.findall(r"[a-zA-Z]{2,}", left) == []


def test_the_cells_of_a_study_are_those_in_which_both_have_run() -> None:
    found = study(gaining(0.3), STUDY.changed(across={"r": (2, 16)}))
    assert [(one.r, one.at_best_rates, one.seeds) for one in cells_of(found)] == [(2, "better", 5), (16, "better", 5)]
    half = {trial: row for trial, row in found.rows.items() if trial.cell.r == 2}
    assert [one.r for one in cells_of(type(found)(found.study, found.each[:2], half))] == [2]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tune": {"lr": (2e-4, 1e-3)}, "across": {"r": (4, 16)}, "seeds": 8, "coarse": 2, "margin": 0.01},
        {"across": {"task": ("sentiment", "addition"), "alpha": 4.0}, "compare": ("lora", "olora", "pissa"),
         "threads": 2, "race": {"steps": 7, "eval_size": 9, "schedule": "linear", "max_length": 64}},
        {"compare": ("olora", "lora:alpha=16", "lora:targets=q_proj+v_proj,rslora=true"), "equal": "steps",
         "across": {"dropout": (0.0, 0.1), "truncate": (True, False)}, "tune": {"batch_size": (8, 32)}},
    ],
    ids=str,
)  # fmt: skip
def test_the_command_of_a_study_gives_its_set_up_back(changes: dict[str, object]) -> None:
    its = Study().changed(**changes)
    parser = argparse.ArgumentParser()

    def verb(name: str, run: object, text: str) -> argparse.ArgumentParser:
        return parser

    study_verb.add_verbs(verb)
    words = shlex.split(command_of_study(its, Path("studies/first")))
    options = parser.parse_args(words[words.index("study") + 1 :])
    assert Study().changed(**study_verb.settings_of(options)) == its
    assert options.out == Path("studies/first")


def test_paths_are_told_by_their_names() -> None:
    task = "/somewhere/of mine/questions.jsonl"
    evidence = ClaimEvidence("/somewhere/weights", task)
    finding = replace(FINDING, words=f"Less on {evidence.model}, {task}.")
    told = replace(TOLD, finding=finding, command=command_of_claim(CLAIMS["depth"], evidence, minutes=3))
    said = judge.without_folders(told, [evidence.model, task])
    assert said.finding.words == "Less on weights, questions.jsonl."
    assert "somewhere" not in json.dumps(said.to_json())
    assert "--minutes 3" in said.command


def test_a_study_is_judged_on_all_claims_that_it_decides_and_nothing_is_measured_twice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("olora_viz.studies.claims.evidence.SAMPLES", 1)
    found = study(gaining(0.3), STUDY.changed({"task": "sentiment", "batch_size": 2}))
    at_start = [
        replace(TOLD, claim=name, task="" if its.of_weights else "sentiment", study="")
        for name, its in CLAIMS.items()
        if not its.needs_study
    ]
    known = RecordedClaims(tuple(at_start))
    assert list(judge.at_start(ClaimEvidence("glassllm", "sentiment"), (), known)) == []
    of_rows = {name for name, its in CLAIMS.items() if its.needs_study} - {"regularizes"}
    folder = written(found, tmp_path / "first")
    (weights,) = judge.of_study(folder, ["subset"], RecordedClaims())
    assert weights.key == ("subset", "glassllm", "", "")
    told = list(judge.of_study(folder, of_rows, known))
    assert {"result", "level-at-best"} <= {one.claim for one in told} <= of_rows
    for one in told:
        assert (one.model, one.task, one.study) == ("glassllm", "sentiment", "first")
        assert str(tmp_path) not in json.dumps(one.to_json())
        first, second = one.command.splitlines()
        assert "--out studies/first" in first
        assert "--study studies/first" in second
        assert one.setup.startswith("5 seeds, 3 rates from 1e-3 to 4e-3, rank 8, ")
    assert list(judge.at_start(ClaimEvidence(), ["convergence"], RecordedClaims())) == []
    assert setup_words(CLAIMS["depth"], ClaimEvidence()) == "rank 8, batches of 8 prompts"
    assert {each.name for each in fields(RecordedFinding)} == set(TOLD.to_json())

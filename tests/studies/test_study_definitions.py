"""Runs of two definitions of one start or measurement are never pooled, and a study opens without their code."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from support.verbs import run as verb

import olora_viz as ov
from olora_viz.studies import definitions
from olora_viz.studies.folder import Ledger, part_of, write_parquet


def register(gain: float) -> None:
    """Register a start, as the cell of a notebook does that is run again with another number."""

    def rows(W, r):
        return ov.Start(A=gain * W[:r], B=torch.zeros(len(W), r))

    ov.register(ov.Initializer("mine", "Mine", rows, "A is W's first rows.", "a notebook"), replace=True)


def register_size(power: int) -> None:
    def size(race):
        return race.lanes.theta.detach().norm(dim=1) ** power

    ov.register_measure(ov.Measure(key="size", title="Size", unit="x", scale="log", compute=size), replace=True)


@pytest.fixture
def study() -> Iterator[ov.Study]:
    register(1.0)
    register_size(1)
    yield ov.Study().changed(
        race={"steps": 1, "batch_size": 4, "eval_size": 4, "test_size": 4},
        across={"r": (2,)},
        tune={"lr": (1e-3,)},
        compare=("lora", "mine"),
        seeds=2,
        threads=1,
    )
    for name, remove in (("mine", ov.unregister), ("size", ov.unregister_measure)):
        if name in ov.INITIALIZERS or name in ov.MEASURES:
            remove(name)


CHANGES = {"start 'mine'": lambda: register(2.0), "measurement 'size'": lambda: register_size(2)}


@pytest.mark.parametrize("what", CHANGES)
def test_what_is_registered_again_after_half_of_the_runs_is_refused_with_the_seeds_of_each(
    what: str, study: ov.Study, tmp_path: Path
) -> None:
    study.preregister(tmp_path)
    running = ov.run_study(study, tmp_path, most=2)
    next(running)
    CHANGES[what]()
    rule = rf"the {what} has changed in the study in .* never pooled: seed 0 of (\w+) and seed 1 of (?!\1)\w+; give"
    with pytest.raises(ValueError, match=rule):
        next(running)  # in the loop that runs
    with pytest.raises(ValueError, match=rule):
        list(ov.run_study(study, tmp_path))  # in another one
    assert ov.verdicts(tmp_path).deviations == []
    register(1.0)
    register_size(1)
    list(ov.run_study(None, tmp_path))
    assert len(pd.read_parquet(tmp_path / "lanes.parquet")) == 4


def test_rows_of_two_definitions_are_not_read_as_those_of_one(study: ov.Study, tmp_path: Path) -> None:
    list(ov.run_study(study, tmp_path, most=2))
    path = part_of(tmp_path / "runs" / "0002")
    write_parquet(pd.read_parquet(path).assign(definition="olora_viz 0.0.1"), path)
    version = definitions.definition_of("lora")
    rule = f"'lora' has changed .*: seed 0 of {version} and seed 1 of olora_viz 0.0.1"
    with pytest.raises(ValueError, match=rule):
        ov.verdicts(tmp_path)


def test_another_definition_than_the_planned_one_is_a_deviation(study: ov.Study, tmp_path: Path) -> None:
    path = study.preregister(tmp_path)
    assert study.preregister(tmp_path) == path
    register(2.0)
    with pytest.raises(ValueError, match="holds another plan"):
        study.preregister(tmp_path)
    list(ov.run_study(study, tmp_path))
    (differing,) = ov.verdicts(tmp_path).deviations or ()
    now = definitions.definition_of("mine")
    assert differing.startswith("the start 'mine' was planned as ")
    assert differing.endswith(f" and ran as {now} with seeds 0 and 1")


def test_every_row_has_the_definition_of_its_start_and_of_the_measurements(study: ov.Study, tmp_path: Path) -> None:
    list(ov.run_study(study, tmp_path))
    rows = pd.read_parquet(tmp_path / "lanes.parquet")
    for init, its in rows.groupby("init"):
        assert set(its["definition"]) == {definitions.definition_of(str(init))}
    assert set(map(len, map(json.loads, rows["measure_definitions"]))) == {1}
    for run in ("0001", "0002"):
        assert set(json.loads((tmp_path / "runs" / run / "config.json").read_text())["definitions"]) == {
            "start", "measurement",
        }  # fmt: skip


def test_a_study_opens_without_the_code_of_its_start_and_does_not_run(study: ov.Study, tmp_path: Path) -> None:
    list(ov.run_study(study, tmp_path / "study"))
    with_code = ov.verdicts(tmp_path / "study")
    ov.unregister("mine")
    assert ov.verdicts(tmp_path / "study").table().equals(with_code.table())
    assert "Mine is our own: its code is not here." in ov.verdicts(tmp_path / "study").methods()
    more = replace(with_code.study, seeds=3)
    with pytest.raises(ValueError, match="the start 'mine' is not registered here: without it, what has run can only"):
        list(ov.run_study(more, tmp_path / "study"))
    assert len(ov.load_run(tmp_path / "study" / "runs" / "0001").steps) == 1
    with pytest.raises(ValueError, match="the start 'mine' is not registered here"):
        list(ov.race(ov.load_run(tmp_path / "study" / "runs" / "0001").config))
    said = verb("study", str(tmp_path / "study"), "--png", str(tmp_path / "a.png"))
    assert said.returncode == 0, said
    assert "mine" in said.stdout


def test_a_folder_of_an_earlier_version_has_no_definitions_and_goes_on(study: ov.Study, tmp_path: Path) -> None:
    list(ov.run_study(replace(study, seeds=1), tmp_path))
    for path in tmp_path.glob("runs/*.parquet"):
        pd.read_parquet(path).drop(columns=list(definitions.DEFINED)).to_parquet(path)
    register(2.0)
    list(ov.run_study(study, tmp_path))
    rows = Ledger(tmp_path).rows()
    assert rows.groupby("seed")["definition"].agg(lambda its: sum(map(bool, its))).tolist() == [0, 2]
    assert set(rows.loc[rows["seed"] == 0, "measure_definitions"]) == {""}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.usefixtures("study")
def test_a_run_whose_own_start_or_measurement_has_changed_is_not_resumed(what: str, tmp_path: Path) -> None:
    lanes = ov.Lane("lora", r=2), ov.Lane("mine", r=2)
    race = ov.race(ov.RaceConfig(lanes=lanes, steps=2, batch_size=4, eval_size=4))
    next(race)
    race.save(tmp_path / "run")
    race.close()
    shutil.copytree(tmp_path / "run", tmp_path / "as it was")
    CHANGES[what]()
    with pytest.raises(ValueError, match=rf"the {what} has changed since the run in .* started, from \w+ to \w+, so"):
        ov.resume_run(tmp_path / "run")
    register(1.0)
    register_size(1)
    assert [step.step for step in ov.resume_run(tmp_path / "as it was")] == [2]

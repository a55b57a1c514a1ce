"""However a decision ends, its verdicts, its recommendation and its tables say the same of the same runs."""

import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import yaml
from markupsafe import escape
from reliability.victims import victim
from support.nightly import at_night

import olora_viz as ov
from olora_viz.machine.process import StoppedEarlyError
from olora_viz.races.recipe_files import FILES, ROWS_FILE
from olora_viz.races.step import DIVERGED, Step
from olora_viz.studies import decide as deciding
from olora_viz.studies.budget import Plan
from olora_viz.studies.decide import RECIPE_FOLDER, Decision, decide
from olora_viz.studies.folder import Ledger
from olora_viz.studies.study import Study
from olora_viz.views import decision
from olora_viz.views.reports import report_html

STUDY = Study().changed(
    race={"task": "sentiment", "steps": 2, "batch_size": 4, "eval_size": 24, "test_size": 24, "eval_every": 0},
    across={"r": (2,)},
    tune={"lr": (1e-3, 3e-2)},
    compare=("lora", "milora"),
    seeds=3,
    coarse=1,
    threads=1,
)
PLAN = Plan(STUDY, minutes=60, seconds=10, final=1, most=4)
SAID = ("test_loss", "test_accuracy", "difference", "interval", "over_rates", "seeds", "valid_examples")
"""What a recommendation and the verdict on its method both have."""


def check_agreement(known: Decision) -> None:
    """Check that all that is written of a decision is of the runs that have ended."""
    folder = known.folder
    written = json.loads((folder / "verdicts.json").read_text())["verdicts"]
    ledger = Ledger(folder)
    assert written == [json.loads(json.dumps(each.to_json())) for each in known.verdicts.each]
    assert written == [json.loads(json.dumps(each.to_json())) for each in ov.verdicts(folder).each]
    assert len(pd.read_parquet(folder / "lanes.parquet")) == len(ledger.trials()) == known.lanes
    for entry in written:
        runs = {trial: row["status"] for trial, row in ledger.trials().items() if trial.method == entry["init"]}
        assert (entry["best_lr"] is None) == (DIVERGED in runs.values() or not runs)
        assert entry["seeds"] == 0 or "diverged" not in entry["why"]
    record = json.loads((folder / "decision.json").read_text())["decision"]
    assert record == json.loads(json.dumps(known.to_json()))
    report = report_html(known, STUDY.race.task, STUDY.race.keep)
    assert decision.starts(known) in report
    assert {*known.recipe} == ({*FILES} if known.taken else set())
    assert all(escape(text) in report for text in known.recipe.values())
    if known.taken is None:
        return
    settings = yaml.safe_load(known.recipe["axolotl.yaml"])
    assert (settings["learning_rate"], settings["lora_r"]) == (record["lr"], record["r"])
    assert all(known.taken.headline in text for text in known.recipe.values())
    rows = (folder / RECIPE_FOLDER / ROWS_FILE).read_text("utf-8").splitlines()
    assert f"{len(rows):,} rows of {ROWS_FILE}" in known.recipe["peft.py"]
    (entry,) = (each for each in written if (each["init"], each["r"]) == (record["init"], record["r"]))
    assert {name: entry[name] for name in SAID} == {name: record[name] for name in SAID}
    assert entry["best_lr"] == record["lr"]
    assert entry["seeds"] >= known.verdicts.study.seeds


@pytest.mark.parametrize("by", ["Ctrl-C", *at_night("time", "stop")])
def test_wherever_it_is_cut_off_and_gone_on_with_all_that_is_written_agrees(
    by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part is cut off after its third step, in the search, in the first finals and in more seeds."""
    folder, seeds, seen = tmp_path / "out", set(), 0

    def watched(_: Step) -> bool:
        nonlocal seen
        seen += 1
        return by != "stop" or seen < 3

    def interrupted(*_: object) -> None:
        if by == "Ctrl-C" and seen >= 3:
            raise StoppedEarlyError

    over = SimpleNamespace(monotonic=lambda: 1e6 if by == "time" and seen >= 3 else 0.0)
    monkeypatch.setattr(deciding, "time", over)
    while not seeds >= {1, 3}:
        seen, each = 0, []
        with suppress(StoppedEarlyError):
            each.extend(decide(folder, minutes=60, plan=PLAN, watch=watched, progress=interrupted))
        check_agreement(each[-1])
        seeds.add(each[-1].verdicts.study.seeds)


def test_after_a_kill_what_was_written_agrees_and_so_it_does_at_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "out"

    def killed(_: Step) -> bool:
        if len(list((folder / "runs").glob("*.parquet"))) == 2:
            os._exit(9)
        return True

    with victim(lambda _: list(decide(folder, plan=PLAN, watch=killed)), tmp_path / "temporary") as process:
        assert process.wait() == 9
    record = json.loads((folder / "decision.json").read_text())["decision"]
    entry, _ = json.loads((folder / "verdicts.json").read_text())["verdicts"]
    assert (entry["best_lr"], entry["seeds"]) == (record["lr"], 1)
    resumed = decide(folder, watch=lambda _: False)
    check_agreement(list(resumed)[-1])


@pytest.mark.parametrize(
    "change",
    [
        {"tune": {"lr": (1e-3,)}, "seeds": 1},
        {"tune": {"lr": (1e30, 1e31)}},  # all diverge, on any processor: the product of the factors overflows
        {"across": {"r": (2, 4)}, "seeds": 1},
    ],
    ids=["one seed", "diverging", "two ranks"],
)
def test_what_is_written_agrees_where_nothing_can_be_decided(change: dict[str, Any], tmp_path: Path) -> None:
    *_, known = decide(tmp_path / "out", plan=replace(PLAN, study=STUDY.changed(**change)))
    check_agreement(known)
    assert (known.taken is None) == ("diverged" in known.verdicts.each[1].why) == (1e30 in STUDY.changed(**change).lrs)


def test_a_study_that_has_begun_says_that_runs_are_lacking_and_not_that_they_diverged(tmp_path: Path) -> None:
    whole = ov.run_study(replace(STUDY, coarse=None), tmp_path, most=2)
    next(whole)
    whole.close()
    first, second = ov.verdicts(tmp_path).each
    assert (first.seeds, second.seeds) == (0, 0)
    assert second.why == "no rate of milora and lora has finished with every seed"

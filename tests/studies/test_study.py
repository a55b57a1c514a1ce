"""A study: what it runs, that it goes on after any end, and that nothing else changes its table."""

import json
import re
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from support.verbs import forked
from support.waiting import wait_until

import olora_viz as ov
from olora_viz.__main__ import main
from olora_viz.machine import process as progress
from olora_viz.machine.files import read_tensors
from olora_viz.machine.memory import available_memory
from olora_viz.races import run as runs
from olora_viz.races.step import Step
from olora_viz.studies.folder import Ledger, verdicts
from olora_viz.studies.run import run_study
from olora_viz.studies.search import best as best_rate
from olora_viz.studies.search import finalists, most_trials, needed, races
from olora_viz.studies.study import Study, Trial
from olora_viz.studies.timing import Estimate, alike

SMALL = Study().changed(
    race={"task": "addition", "steps": 3, "batch_size": 4, "eval_size": 8, "test_size": 8, "eval_every": 2},
    across={"r": (2,)},
    tune={"lr": (1e-3, 3e-3)},
    seeds=2,
    threads=1,
)
KEYS = ["model", "task", "method", "r", "lr", "seed"]
BESIDE = ["seconds", "run"]
"""Columns that depend on when a race ran, and in which folder."""


def finished(study: Study | None, out: Path, workers: int = 1) -> pd.DataFrame:
    """Run a study to its end; return its table."""
    list(run_study(study, out, workers=workers))
    return table(out)


def table(out: Path) -> pd.DataFrame:
    """Return the table on disk, in an order of its own, without clocks."""
    found = pd.read_parquet(out / "lanes.parquet").drop(columns=BESIDE)
    return found.sort_values(KEYS, ignore_index=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that ran without an interruption."""
    out = tmp_path_factory.mktemp("study") / "whole"
    finished(SMALL, out)
    return out


def losses_of(study: Study, best: dict[str, float]) -> dict[Trial, float]:
    """Run a study on losses known beforehand: parabolas in the logarithm of the rate."""
    losses: dict[Trial, float] = {}
    while todo := needed(study, losses):
        for one in todo:
            losses[one] = float(np.log(one.lr / best[one.method]) ** 2) + 0.01 * one.seed
    return losses


def rates(losses: dict[Trial, float], init: str) -> list[float]:
    return sorted({trial.lr for trial in losses if trial.method == init})


def test_every_method_gets_the_same_grid_and_half_steps_around_its_best() -> None:
    study = Study(tune={"lr": (1e-3, 2e-3, 4e-3)}, seeds=2)
    losses = losses_of(study, {"lora": 2.1e-3, "olora": 1.9e-3})
    assert rates(losses, "lora") == rates(losses, "olora")
    assert rates(losses, "lora") == [1e-3, 1.41e-3, 2e-3, 2.83e-3, 4e-3]
    assert len(losses) == 2 * 5 * 2


def test_the_grid_grows_beyond_its_edge_for_all_methods_until_the_best_rate_is_inside() -> None:
    study = Study(tune={"lr": (1e-3, 2e-3, 4e-3)}, seeds=2)
    losses = losses_of(study, {"lora": 8.1e-3, "olora": 2e-3})
    assert {8e-3, 16e-3} <= set(rates(losses, "olora")) & set(rates(losses, "lora"))
    assert 32e-3 not in rates(losses, "lora")
    far = losses_of(study, {"lora": 1.0, "olora": 2e-3})
    assert max(rates(far, "lora")) == 64e-3  # four rates beyond, and no more


def test_after_a_coarse_pass_all_seeds_race_at_each_methods_best_rate_and_around_it_only() -> None:
    study = Study(tune={"lr": (1e-3, 2e-3, 4e-3, 8e-3)}, seeds=3, coarse=1)
    losses = losses_of(study, {"lora": 4e-3, "olora": 2.7e-3})
    for init, best in {"lora": 4e-3, "olora": 2.83e-3}.items():
        seeds = {lr: sum(t.method == init and t.lr == lr for t in losses) for lr in study.lrs}
        finals = [at.lr for at in finalists(study, study.cells()[0], init, losses)]
        assert {lr for lr, n in seeds.items() if n == 3} == set(finals) & set(study.lrs)
        assert set(seeds.values()) == {1, 3}
        chosen = best_rate(study, study.cells()[0], init, losses)
        assert chosen is not None
        assert (chosen.at.lr, chosen.is_inside) == (best, True)
    assert len(losses) == most_trials(study)


def test_a_watcher_ends_a_study_which_then_goes_on_to_the_same_table(whole: Path, tmp_path: Path) -> None:
    seen: list[int] = []

    def until_the_second_step(step: Step) -> bool:
        seen.append(step.step)
        return len(seen) < 2

    assert not list(run_study(SMALL, tmp_path / "out", most=4, watch=until_the_second_step))
    assert seen == [1, 2]
    pd.testing.assert_frame_equal(finished(None, tmp_path / "out"), table(whole))


def test_a_study_that_is_stopped_in_an_evaluation_goes_on_to_the_same_table(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LONG_AFTER", 0.0)

    def stop(part: float, words: str) -> None:
        if words == "evaluating 8 held-out examples":
            raise progress.StoppedEarlyError

    with pytest.raises(progress.StoppedEarlyError):
        list(run_study(SMALL, tmp_path / "out", progress=stop))
    (folder,) = (path for path in (tmp_path / "out" / "runs").iterdir() if path.is_dir())
    assert runs.read_steps(folder)[-1].step == 1
    assert "trained_loss" in read_tensors(folder / runs.CHECKPOINT)
    pd.testing.assert_frame_equal(finished(None, tmp_path / "out"), table(whole))


def test_races_hold_lanes_of_one_model_task_and_rank_and_at_most_64() -> None:
    study = Study(across={"task": ("sentiment", "addition"), "r": (4, 8)}, compare=("lora", "olora", "pissa"))
    groups = races(study, needed(study, {}))
    assert [len(group) for group in groups] == [45] * (2 * 2 * 2)
    for group in groups:
        assert len(group) <= 64
        assert len({trial.cell for trial in group}) == 1


def test_races_that_are_timed_together_are_of_one_model_and_dense_or_not() -> None:
    study = SMALL.changed(
        across={"model": ("glassllm", "glassllm-pt"), "task": ("addition", "sentiment")},
        compare=("lora", "olora", "full"),
    )
    groups = races(study, needed(study, {}))
    kinds = [
        {(one.cell.model, one.method == "full") for group in its for one in group} for its in alike(study, groups)
    ]
    assert all(len(kind) == 1 for kind in kinds)
    assert len(set().union(*kinds)) == len(kinds) == 4
    assert sum(map(len, alike(study, groups))) == len(groups)


def test_the_table_has_every_lane_with_the_results_of_its_run(whole: Path) -> None:
    rows = pd.read_parquet(whole / "lanes.parquet")
    assert not rows.duplicated(KEYS).any()
    assert set(rows["init"]) == {"lora", "olora"}
    assert set(rows["status"]) == {"finished"}
    for folder, its in rows.groupby("run"):
        summary = runs.read_summary(whole / "runs" / str(folder))
        assert summary is not None
        finals = [lane["final_loss"] for lane in summary["lanes"].values()]
        assert its["valid_loss"].tolist() == finals
        tested = [lane["test_loss"] for lane in summary["lanes"].values()]
        assert its["test_loss"].tolist() == tested
    for one in verdicts(whole).each:
        its = rows[(rows["method"] == one.method) & (rows["lr"] == one.best_lr)].sort_values("seed")
        assert tuple(its["steps_to_reference"]) == one.reached_at
        share = its["steps_to_reference"] / its["steps"]
        assert np.allclose(its["tokens_to_reference"], share * its["tokens"])
    examples = pd.read_parquet(whole / "examples.parquet")
    for part, its in examples.groupby("part"):
        results = its.groupby(KEYS)[["loss", "right"]].mean()
        of_lanes = rows.set_index(KEYS).loc[results.index]
        assert np.allclose(results["loss"], of_lanes[f"{part}_loss"], rtol=1e-4)
        assert np.allclose(results["right"], of_lanes[f"{part}_accuracy"], rtol=1e-4)


def test_two_workers_fill_the_same_table(whole: Path, tmp_path: Path) -> None:
    pd.testing.assert_frame_equal(finished(SMALL, tmp_path / "two", workers=2), table(whole))


def test_a_measurement_that_the_workers_do_not_know_is_missed_before_the_first_race(tmp_path: Path) -> None:
    size = ov.Measure(
        key="size", title="Size", unit="‖θ‖", scale="linear", compute=lambda race: race.lanes.theta.norm(dim=1)
    )
    ov.register_measure(size)
    try:
        with pytest.raises(
            ValueError, match="does not know the measurement 'size': register it at the top of a script"
        ):
            finished(SMALL, tmp_path / "own", workers=2)
    finally:
        ov.unregister_measure("size")
    assert not list((tmp_path / "own" / "runs").glob("*.parquet"))


def test_a_killed_study_goes_on_and_fills_the_same_table(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    Ledger(out, SMALL).open()
    for at in (1, 2):
        with forked("study", str(out), temporary=tmp_path / "tmp") as (process, _):
            steps = out / "runs" / f"{at:04d}" / "steps.jsonl"
            wait_until(steps.exists)
            process.kill()
        assert process.status == -signal.SIGKILL
    pd.testing.assert_frame_equal(finished(None, out), table(whole))


def test_a_study_that_grows_runs_only_what_is_new(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "grown"
    first = replace(SMALL, seeds=1)
    before = finished(first, out)
    stamps = {path: path.stat().st_mtime_ns for path in out.glob("runs/*.parquet")}
    after = finished(SMALL, out)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    kept = after.merge(before[KEYS], on=KEYS)
    reach = ["steps_to_reference", "tokens_to_reference"]  # the reference has more seeds now
    pd.testing.assert_frame_equal(kept.drop(columns=reach), before.drop(columns=reach))
    both = after.merge(table(whole)[KEYS], on=KEYS)
    expected = table(whole).merge(after[KEYS], on=KEYS)
    # Beside other lanes a lane is the same up to rounding, which training magnifies.
    pd.testing.assert_frame_equal(both, expected, rtol=1e-2)


def test_runs_of_another_set_up_are_refused_and_the_difference_is_named(whole: Path) -> None:
    with pytest.raises(ValueError, match=r"steps is 3 in .* but 5 here"):
        Ledger(whole, SMALL.changed({"steps": 5}))
    Ledger(whole, replace(SMALL, seeds=9, margin=0.1))
    with pytest.raises(ValueError, match="not the folder of a study"):
        Ledger(whole / "runs")
    with pytest.raises(ValueError, match="must be new or empty"):
        Ledger(whole / "runs", SMALL)


def test_a_study_is_written_as_toml_and_read_back() -> None:
    assert Study.from_toml(SMALL.to_toml()) == SMALL
    crossed = '[across]\ntargets = ["q_proj+v_proj", "none"]\n'
    text = f'task = "addition"\n[tune]\nlr = [1, 2e-3]\nbatch_size = 8\n{crossed}'
    study = Study.from_toml(text)
    assert (study.values("task"), study.lrs, study.values("batch_size")) == (("addition",), (2e-3, 1.0), (8,))
    assert study.values("targets") == (("q_proj", "v_proj"), None)
    assert Study.from_toml(study.to_toml()) == study


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('compare = ["lora", "olora"]\nseeds = [1e-3,\n', "line 2"),
        ("seeds = 5\nlrs = [1e-3]\n", "line 2 of the study: unknown setting 'lrs'; did you mean 'lr'?"),
        ('task = "addition"\n\nstepss = 5\n', "line 3 of the study: unknown setting 'stepss'; did you mean 'steps'"),
        ("seeds = 3\n\nsteps = 2.5\n", "line 3 of the study: steps must be a whole number, not 2.5"),
        ('seeds = 5\n\n[tune]\nlr = ["a"]\n', "line 4 of the study: lr must be a positive number, or fair, not 'a'"),
        ("seeds = 0\n", "line 1 of the study: seeds must be a whole number from 1"),
        ('seeds = 5\ncompare = ["lora"]\n', "line 2 of the study: compare must name at least two methods"),
        ('compare = ["lora", "olra"]\n', "unknown initialization 'olra'"),
        ("[seeds]\nfirst = 1\n", "line 1 of the study: seeds must be a whole number, not {"),
        ("[tune]\nlr = [1e-3, 1e-3]\n", "line 2 of the study: lr names 0.001 twice"),
    ],
)
def test_a_malformed_study_names_the_line(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        Study.from_toml(text)


def test_a_folder_has_a_format_and_a_newer_one_is_refused_with_its_number(tmp_path: Path) -> None:
    Ledger(tmp_path, Study()).open()
    path = tmp_path / "study.toml"
    first, _, rest = path.read_text().partition("\n")
    assert first == "format = 1"
    path.write_text(rest)
    assert Ledger(tmp_path).study == Study().fixed()
    path.write_text("format = 2\n" + rest)
    rule = f"'{path}' has format 2, and this version of olora_viz reads up to format 1: use a newer version"
    for open_study in (lambda: Ledger(tmp_path), lambda: verdicts(tmp_path)):
        with pytest.raises(ValueError, match=f"^{re.escape(rule)}$"):
            open_study()


def test_the_command_prints_the_verdicts_and_a_summary(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", str(whole), "--json"]) == 0
    *found, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert [(one["method"], one["verdict"]) for one in found] == [("lora", "level"), ("olora", "undecided")]
    assert {"best_lr", "interval", "p_value", "verdict_shared_rate", "seeds"} <= set(found[1])
    assert found[1]["seeds"] == 2
    assert "too few seeds, 2 of at least 3" in found[1]["why"] or "edge" in found[1]["why"]
    assert last["summary"]["lanes"] == len(table(whole))
    assert Path(last["summary"]["table"]).exists()


def test_a_plan_runs_nothing_and_a_large_study_wants_a_yes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "planned"
    small = ["study", "--task", "addition", "--steps", "3", "--batch-size", "4", "--out", str(out)]
    assert main([*small, "--plan", "--workers", "2"]) == 0
    planned = capsys.readouterr().err
    assert "measured on the first steps" in planned
    assert "times its standard deviation over the seeds" in planned
    count = re.search(r"([\d,]+) training examples.* A lane sees ([\d.]+) epochs \(12 of ([\d,]+) rows\)", planned)
    assert count
    rows = int(count[1].replace(",", ""))
    assert (count[3], float(count[2])) == (count[1], pytest.approx(12 / rows, rel=0.1))
    assert re.search(r"up to [\d.]+ (GB|MB) of memory per race, [\d.]+ (GB|MB) with 2 workers", planned)
    assert main([*small, "--seeds", "60"]) == 2
    assert "--yes" in capsys.readouterr().err
    assert not out.exists()


def test_workers_that_do_not_fit_into_memory_are_refused_with_the_number_that_does() -> None:
    free = available_memory(torch.device("cpu"))
    assert free
    found = Estimate(1, 1, 1.0, memory=free / 2.5, device=torch.device("cpu"))
    found.check_fits(1)
    with pytest.raises(ValueError, match=r"9 races at once may need .* only .* free: 2 would fit"):
        found.check_fits(9)
    with pytest.raises(ValueError, match=r"1 race at once may need .* not even one fits"):
        replace(found, memory=9.0 * free).check_fits(1)

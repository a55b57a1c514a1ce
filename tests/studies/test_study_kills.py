"""A study that is killed after any of its races ends with the numbers of one that nobody killed."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from olora_viz.machine.files import read_json_object
from olora_viz.studies import run
from olora_viz.studies.budget import Plan
from olora_viz.studies.decide import DONE, decide
from olora_viz.studies.folder import Ledger
from olora_viz.studies.run import run_study
from olora_viz.studies.study import Study

SMALL = Study().changed(
    race={"steps": 2, "batch_size": 4, "eval_size": 8, "test_size": 8, "eval_every": 1},
    across={"task": ("addition", "sentiment"), "r": (2,)},
    tune={"lr": (1e-3, 3e-3)},
    seeds=2,
    threads=1,
)
ONE = SMALL.changed({"task": "sentiment"}, tune={"lr": (1e-3,)})
GROWN = {"seeds": replace(ONE, seeds=4), "rates": ONE.changed(tune={"lr": (1e-3, 3e-3)})}
OF_LANE = ["model", "task", "method", "r", "lr", "seed"]
DECIDED = ONE.changed({"eval_size": 24, "test_size": 24}, tune={"lr": (1e-3, 3e-2, 1.0)}, seeds=3, coarse=1)
PLAN = Plan(DECIDED, minutes=60, seconds=10, final=1, most=4)


def results(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
    """Return every number that a study has written, and which lanes raced together, without clocks."""
    lanes = pd.read_parquet(folder / "lanes.parquet").sort_values(OF_LANE, ignore_index=True)
    examples = pd.read_parquet(folder / "examples.parquet")
    examples = examples.sort_values([*OF_LANE, "part", "example"], ignore_index=True)
    return lanes.drop(columns="seconds"), examples, read_json_object(folder / "verdicts.json")["verdicts"]


def assert_equal(folder: Path, whole: Path) -> None:
    ours, theirs = results(folder), results(whole)
    for part, other in zip(ours[:2], theirs[:2], strict=True):
        pd.testing.assert_frame_equal(part, other, check_exact=True)
    assert ours[2] == theirs[2]


def kept_after_every_race(study: Study, folder: Path, copies: Path) -> Iterator[Path]:
    """Run a study to its end; yield its folder as a kill after each race would leave it, but the last."""
    for number, ended in enumerate(run_study(study, folder)):
        if ended.left or number == 0:
            shutil.copytree(folder, copies / f"{number}")
    yield from sorted(copies.iterdir())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that nobody has killed, and beside it what a kill after each race would have left."""
    folder = tmp_path_factory.mktemp("whole")
    assert len(list(kept_after_every_race(SMALL, folder / "study", folder / "killed"))) > 4
    return folder


def test_a_study_that_is_killed_after_any_race_has_the_numbers_of_one_that_is_not(whole: Path) -> None:
    for killed in sorted((whole / "killed").iterdir()):
        list(run_study(None, killed))
        assert_equal(killed, whole / "study")


def test_so_has_one_that_is_killed_between_a_race_s_end_and_its_rows(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(run, "write_rows", killed)
        with pytest.raises(KeyboardInterrupt):
            list(run_study(SMALL, tmp_path / "study"))
    list(run_study(None, tmp_path / "study"))
    assert_equal(tmp_path / "study", whole / "study")


def test_so_has_one_that_goes_on_with_two_workers(tmp_path: Path) -> None:
    (killed,) = kept_after_every_race(GROWN["seeds"], tmp_path / "study", tmp_path / "killed")
    list(run_study(None, killed, workers=2))
    assert_equal(killed, tmp_path / "study")


@pytest.mark.parametrize("more", GROWN)
def test_so_has_one_that_grows_in_the_middle_of_a_stage_or_at_its_end(more: str, tmp_path: Path) -> None:
    (first,) = kept_after_every_race(ONE, tmp_path / "study", tmp_path / "first")
    for killed in kept_after_every_race(GROWN[more], tmp_path / "study", tmp_path / "killed"):
        list(run_study(None, killed))
        assert_equal(killed, tmp_path / "study")
    list(run_study(GROWN[more], first))
    assert_equal(first, tmp_path / "study")


def test_a_study_that_shrinks_does_not_run_what_it_has_left_out(tmp_path: Path) -> None:
    study = run_study(replace(ONE, seeds=3), tmp_path)
    next(study)
    study.close()
    list(run_study(replace(ONE, seeds=1), tmp_path))
    assert not Ledger(tmp_path).needed()
    assert set(Ledger(tmp_path).rows()["seed"]) < {0, 1, 2}


def test_so_has_a_decision_that_is_killed_after_any_race(tmp_path: Path) -> None:
    ended = 0
    for known in decide(tmp_path / "whole", plan=PLAN):
        if known.lanes and known.stage != DONE:
            ended += 1
            shutil.copytree(tmp_path / "whole", tmp_path / f"{ended}")
    assert ended > 4
    for number in range(1, ended + 1):
        *_, last = decide(tmp_path / f"{number}", minutes=60)
        assert_equal(tmp_path / f"{number}", tmp_path / "whole")
        assert (last.stage, last.sentence) == (DONE, known.sentence)

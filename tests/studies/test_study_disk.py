"""A disk that fills under a study: one sentence, nothing reported is lost, and it goes on."""

import resource
import signal
import threading
from pathlib import Path

import pandas as pd
import pytest
from reliability.disturbances import check_fails, small_disk
from reliability.victims import Say, apart
from support.waiting import wait_until

from olora_viz.__main__ import main
from olora_viz.studies.folder import COLUMNS, Ledger, row_of, write_parquet
from olora_viz.studies.run import run_study
from olora_viz.studies.study import Study

STUDY = Study().changed(
    race={"steps": 20, "batch_size": 4, "eval_size": 8, "test_size": 8, "eval_every": 10},
    across={"task": ("sentiment", "addition"), "r": (2,)},
    tune={"lr": (3e-3,)},
    seeds=1,
    threads=1,
)
BESIDE = ["seconds", "run"]


def table(folder: Path) -> pd.DataFrame:
    found = Ledger(folder).rows().drop(columns=BESIDE)
    return found.sort_values(["task", "init"], ignore_index=True)


def fill(disk: Path) -> Path:
    """Write a file until there is no more room."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as out:
        try:
            while True:
                out.write(bytes(1024))
        except OSError:
            return filler


def stops(folder: Path) -> None:
    """Let a study go on; check that it stops with a sentence, and leaves nothing half."""
    said = check_fails(lambda: list(run_study(STUDY, folder)))
    assert "o space left" in said or "MiB free" in said
    for path in folder.rglob("*"):
        assert not path.name.endswith(".partial")
        if path.suffix == ".parquet":
            pd.read_parquet(path)


def test_a_study_outlives_a_full_disk_in_and_between_its_races(tmp_path: Path) -> None:
    list(run_study(STUDY, tmp_path / "whole"))
    with small_disk(tmp_path / "disk", 16) as mounted:
        if not mounted:
            pytest.skip("no right to mount")
        folder = tmp_path / "disk" / "study"

        def fill_in_mid_race() -> None:
            wait_until((folder / "runs/0001/steps.jsonl").exists)
            fill(tmp_path / "disk")

        filling = threading.Thread(target=fill_in_mid_race)
        filling.start()
        stops(folder)
        filling.join()
        (tmp_path / "disk" / "filler").unlink()
        reported = next(races := run_study(None, folder))
        races.close()
        full = fill(tmp_path / "disk")
        stops(folder)
        assert len(table(folder)) == reported.lanes
        full.unlink()
        list(run_study(None, folder))
        pd.testing.assert_frame_equal(table(folder), table(tmp_path / "whole"))
        assert len(pd.read_parquet(folder / "lanes.parquet")) == len(table(folder))


def test_a_table_that_cannot_be_written_leaves_the_older_one(tmp_path: Path) -> None:
    path = tmp_path / "lanes.parquet"
    write_parquet(pd.DataFrame({"x": [1]}), path)

    def limited(say: Say) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
        large = pd.DataFrame({"x": range(100_000)})
        say(check_fails(lambda: write_parquet(large, path)))

    said = apart(limited, tmp_path / "tmp")
    assert "oo large" in said
    assert pd.read_parquet(path)["x"].tolist() == [1]
    assert [one.name for one in tmp_path.glob("*lanes*")] == ["lanes.parquet"]


@pytest.mark.parametrize("damage", ["empty", "cut", "columns", "values", "curves", "no curve"])
def test_a_damaged_table_of_a_race_is_named_with_what_to_do(damage: str, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, STUDY)
    ledger.open()
    path = ledger.runs / "0001.parquet"
    curve = {"evaluated": [1, 2], "valid_losses": [2.0, 1.0]}
    trial = next(STUDY.trials(STUDY.cells()[0], "lora", STUDY.candidates()))
    rows = pd.DataFrame([dict.fromkeys(COLUMNS, 0.0) | row_of(trial) | curve])
    write_parquet(rows, path)
    assert len(Ledger(tmp_path).trials()) == 1
    if damage == "columns":
        rows.drop(columns=["lr"]).to_parquet(path)
    elif damage == "values":
        rows.assign(valid_loss=None, status=None).to_parquet(path)
    elif damage == "curves":
        rows.assign(evaluated=[[1]]).to_parquet(path)
    elif damage == "no curve":
        rows.assign(valid_losses=None).to_parquet(path)
    else:
        path.write_bytes(path.read_bytes()[: 400 * (damage == "cut")])
    with pytest.raises(ValueError, match=r"0001\.parquet' is damaged: .*; without it, the study"):
        Ledger(tmp_path).trials()
    assert main(["study", str(tmp_path)]) == 2

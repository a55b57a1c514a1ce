"""A study in a tracker: trackio reads its lanes and tables back, and nothing leaves the machine."""

import json
import math
import socket
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from olora_viz.__main__ import main
from olora_viz.machine.numbers import compact
from olora_viz.studies.tracking import measured

ASKED = (
    "study --task sentiment --init lora,olora --lr 3e-3 --seeds 2 --steps 4 --batch-size 4 "
    "--eval-size 8 --test-size 8 --eval-every 2 --r 2 --threads 1 --track trackio --json --out"
).split()


@pytest.fixture(scope="module")
def trackio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """Trackio with a folder of its own, which it reads when it is imported."""
    home = tmp_path_factory.mktemp("trackio")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACKIO_DIR", str(home))
        for name in ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "HF_TOKEN"):
            patch.delenv(name, raising=False)
        import trackio

        assert home == trackio.utils.TRACKIO_DIR
        yield trackio


def test_trackio_reads_back_each_lane_once_and_the_tables(
    trackio: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked_for: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda _, where: asked_for.append(where))
    out = tmp_path / "tracked"
    for arguments in ([*ASKED, str(out)], ["study", str(out), "--track", "trackio", "--json"]):
        assert main(arguments) == 0
        for line in capsys.readouterr().out.splitlines():
            json.loads(line)
    assert asked_for == []

    lanes = pd.read_parquet(out / "lanes.parquet")
    runs = {run.name: run for run in trackio.Api().runs("tracked")}
    assert len(trackio.Api().runs("tracked")) == len(runs) == len(lanes) + 1
    for row in lanes.to_dict("records"):
        rate = compact(row["lr"])
        run = runs[f"glassllm sentiment r2 {row['init']} {rate} seed {row['seed']}"]
        assert run.config["_Group"] == f"{row['init']} {rate}"
        assert run.config["lr"] == row["lr"]
        logged = trackio.SQLiteStorage.get_logs("tracked", run.name, run_id=run.id)
        assert [one["step"] for one in logged] == [0, *row["evaluated"]]
        valid = [one["valid_loss"] for one in logged]
        assert valid == [row["base_valid_loss"], *row["valid_losses"]]
        assert logged[-1]["test_loss"] == row["test_loss"]
    (last,) = trackio.SQLiteStorage.get_logs("tracked", "study", run_id=runs["study"].id)[-1:]
    table = pd.DataFrame(last["lanes"]["_value"])
    assert table["test_loss"].tolist() == lanes["test_loss"].tolist()
    verdicts = json.loads((out / "verdicts.json").read_text("utf-8"))["verdicts"]
    assert last["verdicts"]["_value"] == verdicts


def test_a_diverged_lane_has_no_numbers_after_its_last() -> None:
    row = {
        "base_valid_loss": 4.0, "base_test_loss": 4.1, "evaluated": [2, 4], "steps": 4,
        "valid_losses": [5.0, math.nan], "valid_loss": math.nan, "valid_accuracy": math.nan,
        "test_loss": None, "test_accuracy": None, "first_grad_norm": 0.5, "tokens": 100,
    }  # fmt: skip
    assert measured(row) == {
        0: {"valid_loss": 4.0, "test_loss": 4.1},
        2: {"valid_loss": 5.0},
        4: {"first_grad_norm": 0.5, "tokens": 100},
    }

"""Studies and races in trackers: each reads its runs back, and nothing leaves the machine."""

import json
import math
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.races import small
from support.tracked import READERS, Kept, in_tensorboard
from support.verbs import RACE
from torch.utils.tensorboard import SummaryWriter

from olora_viz.__main__ import main
from olora_viz.lanes.lane import Lane
from olora_viz.machine.trackers import TRACKERS, Tracker
from olora_viz.machine.wording import compact
from olora_viz.races import run as runs
from olora_viz.races.config import RaceConfig
from olora_viz.races.run import RaceTracker
from olora_viz.studies.run import measured

STUDY = (
    "study --task sentiment --init lora,olora --lr 3e-3 --seeds 2 --steps 4 --batch-size 4 "
    "--eval-size 8 --test-size 8 --eval-every 2 --r 2 --threads 1 --json --out"
).split()


@pytest.fixture(scope="module", autouse=True)
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[socket.socket]:
    """A home without accounts; what asks another machine, in any process, asks here."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch, socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        asked.listen()
        asked.setblocking(False)
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            patch.setenv(name, f"http://127.0.0.1:{asked.getsockname()[1]}")
            patch.delenv(name.lower(), raising=False)
        patch.setenv("HOME", str(home))
        patch.setenv("NETRC", str(home / "netrc"))
        patch.setenv("TRACKIO_DIR", str(home / "trackio"))  # read when trackio is imported
        for name in (
            "TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "HF_TOKEN", "WANDB_API_KEY", "WANDB_MODE",
            "WANDB_DIR", "WANDB_PROJECT", "WANDB_ERROR_REPORTING", "NO_PROXY", "no_proxy",
        ):  # fmt: skip
            patch.delenv(name, raising=False)
        yield asked
        if "wandb" in sys.modules:
            sys.modules["wandb"].teardown()


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that has run."""
    out = tmp_path_factory.mktemp("studies") / "tracked"
    assert main([*STUDY, str(out)]) == 0
    return out


def close_to(kept: dict[str, float], numbers: dict[str, float], tracker: str) -> bool:
    """Whether numbers are those that were reported; TensorBoard keeps float32."""
    exact = np.float32 if tracker == "tensorboard" else float
    return kept == {name: exact(number) for name, number in numbers.items()}


@pytest.mark.parametrize("tracker", TRACKERS)
def test_each_tracker_reads_back_each_lane_once_and_the_tables(
    tracker: str, out: Path, proxy: socket.socket, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, away = socket.socket.connect, []

    def connect_here(sock: socket.socket, where: Any) -> None:
        if isinstance(where, tuple) and where[0] != "127.0.0.1":
            away.append(where)
        connect(sock, where)

    monkeypatch.setattr(socket.socket, "connect", connect_here)
    for _ in range(2):
        assert main(["study", str(out), "--track", tracker, "--json"]) == 0
        printed = capsys.readouterr()
        assert all(json.loads(line) for line in printed.out.splitlines())
        assert f"reports to {tracker}: " in printed.err
        assert len(printed.err.splitlines()) == 5  # with the plan's lines, and no banner
    assert away == []
    with pytest.raises(BlockingIOError):
        proxy.accept()

    table = pd.read_parquet(out / "lanes.parquet")
    found = [(name, kept) for name, kept in READERS[tracker](out) if name != "study"]
    lanes = dict(found)
    assert len(found) == len(lanes) == len(table)
    for row in table.to_dict("records"):
        rate = compact(row["lr"])
        kept = lanes[f"glassllm sentiment r2 {row['init']} {rate} seed {row['seed']}"]
        assert list(kept.steps) == [0, *row["evaluated"]]
        valid = [numbers["valid_loss"] for numbers in kept.steps.values()]
        assert np.allclose(valid, [row["base_valid_loss"], *row["valid_losses"]], rtol=1e-7)
        for step, numbers in measured(row).items():
            assert close_to(kept.steps[step], numbers, tracker)
    *_, (_, tables) = (one for one in READERS[tracker](out) if one[0] == "study")
    verdicts = json.loads((out / "verdicts.json").read_text("utf-8"))["verdicts"]
    check_tables(tracker, tables, table, verdicts)


def check_tables(tracker: str, kept: Kept, lanes: pd.DataFrame, verdicts: list[dict]) -> None:
    tables = kept.tables
    if tracker == "trackio":
        assert pd.DataFrame(tables["lanes"])["test_loss"].tolist() == lanes["test_loss"].tolist()
        assert tables["verdicts"] == verdicts
    elif tracker == "wandb":
        rows = pd.DataFrame(tables["lanes"]["data"], columns=tables["lanes"]["columns"])
        assert rows["test_loss"].tolist() == lanes["test_loss"].tolist()
        assert [row[:4] for row in tables["verdicts"]["data"]] == [list(one.values())[:4] for one in verdicts]
    else:
        head, _, *rows = tables["lanes"].splitlines()
        at = head.split(" | ").index("test_loss")
        assert [float(row.split(" | ")[at]) for row in rows] == lanes["test_loss"].tolist()
        assert len(tables["verdicts"].splitlines()) == 2 + len(verdicts)


@pytest.mark.parametrize("tracker", TRACKERS)
def test_the_lanes_of_a_race_are_runs_that_a_resumed_race_continues(tracker: str, tmp_path: Path) -> None:
    folder = tmp_path / f"race-{tracker}"
    lanes = tuple(Lane(init, lr=lr, r=2) for init in ("lora", "olora") for lr in (1e-3, 3e-3))
    config = small(lanes, eval_every=2)
    run = runs.start(config, folder, adapters=False)
    tracked = RaceTracker(Tracker(tracker, folder, print), config)
    steps = iter(run)
    for _ in range(2):
        tracked.report(next(steps))
    steps.close()
    tracked.close()
    assert main(["race", "--resume", str(folder), "--track", tracker]) == 0

    found: dict[str, dict[int, dict[str, float]]] = {}
    for name, kept in READERS[tracker](folder):
        assert not found.get(name, {}).keys() & kept.steps.keys()
        found.setdefault(name, {}).update(kept.steps)
    summary = runs.read_summary(folder)
    assert summary is not None
    assert set(found) == set(config.labels)
    for k, label in enumerate(config.labels):
        for step in runs.read_steps(folder):
            numbers = {
                key: float(values[k])
                for key, values in step.measures.items()
                if key in ("loss", "grad_norm", "lr", "eval_loss", "eval_accuracy")
            }
            if step.step == 4:
                results = summary["lanes"][label]
                numbers |= {key: results[key] for key in ("test_loss", "test_accuracy")}
            assert close_to(found[label][step.step], numbers, tracker)


def test_the_option_of_a_race_reports_it_as_it_runs(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    lanes = ("--lane", "lora", "--lane", "olora", "--track", "tensorboard")
    assert main([*RACE, *lanes, "--run", str(folder)]) == 0
    assert {name for name, _ in in_tensorboard(folder)} == {"lora", "olora"}
    assert all(list(kept.steps) == [1, 2, 3, 4] for _, kept in in_tensorboard(folder))


def test_a_tracker_that_fails_is_said_once_and_loses_no_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    add, calls = SummaryWriter.add_scalar, []

    def on_a_full_disk(self: SummaryWriter, *arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) > 12:
            raise OSError(28, "No space left on device")
        add(self, *arguments)

    out, race = tmp_path / "study", tmp_path / "race"
    with monkeypatch.context() as patch:
        patch.setattr(SummaryWriter, "add_scalar", on_a_full_disk)
        assert main([*STUDY, str(out), "--track", "tensorboard"]) == 0
        assert capsys.readouterr().err.count("No space left on device") == 1
        calls.clear()
        lanes = ("--lane", "lora", "--lane", "olora")
        assert main([*RACE, *lanes, "--run", str(race), "--track", "tensorboard"]) == 0
        assert capsys.readouterr().err.count("No space left on device") == 1
    assert set(pd.read_parquet(out / "lanes.parquet")["status"]) == {"finished"}
    assert len(runs.read_steps(race)) == 4
    assert main(["study", str(out), "--track", "tensorboard"]) == 0  # the disk has space again
    rows = pd.read_parquet(out / "lanes.parquet")
    found = [kept for name, kept in in_tensorboard(out) if name != "study"]
    assert sorted(len(kept.steps) for kept in found) == [3] * len(rows)


def test_what_is_in_a_trackers_way_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str], out: Path) -> None:
    folder = tmp_path / "run"
    tracker = Tracker("tensorboard", folder, print)
    folder.write_text("a file where a folder should be")
    tracked = RaceTracker(tracker, RaceConfig())
    tracked.close()
    assert tracker.has_failed
    assert capsys.readouterr().out.count("tensorboard: reports nothing more") == 1


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_tracker_that_is_not_installed_is_named_before_anything_runs(
    tracker: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, tracker, None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard")
    for command in ([*STUDY, str(tmp_path / "out")], [*RACE, "--run", str(tmp_path / "run")]):
        assert main([*command, "--track", tracker]) == 2
        (sentence,) = capsys.readouterr().err.splitlines()
        assert sentence.endswith(f"which is not installed: pip install {tracker}")
    assert not list(tmp_path.iterdir())


def test_wandb_asks_no_other_machine_not_even_when_it_ends(tmp_path: Path, proxy: socket.socket) -> None:
    code = (
        "import sys, pathlib, olora_viz.machine.trackers as trackers\n"
        "tracker = trackers.Tracker('wandb', pathlib.Path(sys.argv[1]), print)\n"
        "run = tracker.start('lane', 'group', {'lr': 1e-3})\n"
        "run.log({'loss': 1.0}, 1)\n"
        "run.table('lanes', [{'lr': 1e-3}])\n"
        "run.close()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert (len(done.stdout.splitlines()), done.stderr) == (1, "")
    ((name, _),) = READERS["wandb"](tmp_path / "run")
    assert name == "lane"
    with pytest.raises(BlockingIOError):
        proxy.accept()


def test_modes_of_wandb_that_would_report_nothing_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    for mode, why in (("disabled", "WANDB_MODE is disabled"), ("online", "there is no API key")):
        wandb.teardown()
        monkeypatch.setenv("WANDB_MODE", mode)
        with pytest.raises(ValueError, match=why):
            Tracker("wandb", tmp_path / "run", print)
    wandb.teardown()
    monkeypatch.setenv("WANDB_MODE", "offline")
    heard: list[str] = []
    Tracker("wandb", tmp_path / "run", heard.append)
    assert f"wandb sync {tmp_path}/run/wandb/offline-run-*" in heard[0]
    wandb.teardown()


def test_what_a_tracker_warns_of_is_said_once_and_what_it_prints_is_no_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heard: list[str] = []
    tracker = Tracker("tensorboard", tmp_path, heard.append)

    def report() -> None:
        print("a banner")
        warnings.warn("the server\nis slow", stacklevel=1)

    for _ in range(2):
        tracker.attempt(report)
    assert heard[1:] == ["tensorboard: the server is slow"]
    assert capsys.readouterr().out == ""


def test_a_race_without_a_folder_is_not_tracked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["race", "--track", "trackio"]) == 2
    assert "--track trackio needs --run DIR" in capsys.readouterr().err


def test_a_diverged_lane_has_no_numbers_after_its_last() -> None:
    row = {
        "base_valid_loss": 4.0, "base_test_loss": 4.1, "evaluated": [2, 4], "steps": 4,
        "valid_losses": [5.0, math.nan], "valid_loss": math.nan, "valid_accuracy": math.nan,
        "test_loss": None, "test_accuracy": None, "text_loss": math.nan, "drift": None,
        "first_grad_norm": 0.5, "tokens": 100,
    }  # fmt: skip
    assert measured(row) == {
        0: {"valid_loss": 4.0, "test_loss": 4.1},
        2: {"valid_loss": 5.0},
        4: {"first_grad_norm": 0.5, "tokens": 100},
    }

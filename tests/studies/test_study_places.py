"""On a Ray cluster that loses a machine, a study fills the same table as in one process."""

import json
import socket
import sys
import threading
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from support.machines import lose_a_machine, two_machines
from support.tiny import tiny

from olora_viz.__main__ import main
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.started_folder import start_folder
from olora_viz.machine.on_ray import RayPool
from olora_viz.studies.folder import has_ended
from olora_viz.studies.run import Planned, run_race, run_study
from olora_viz.studies.study import Study

STUDY = Study().changed(
    race={"steps": 15, "batch_size": 4, "eval_size": 8, "test_size": 8, "eval_every": 5},
    across={"task": ("sentiment", "addition", "uppercase"), "r": (2,)},
    tune={"lr": (3e-3,)},
    seeds=2,
    threads=1,
)
KEYS = ["model", "task", "init", "r", "lr", "seed"]
BESIDE = ["seconds", "run"]
"""Columns that depend on when a race ran, and in which folder."""


def table(out: Path) -> pd.DataFrame:
    found = pd.read_parquet(out / "lanes.parquet").drop(columns=BESIDE)
    return found.sort_values(KEYS, ignore_index=True)


def decided(out: Path) -> list[dict]:
    return json.loads((out / "verdicts.json").read_text("utf-8"))["verdicts"]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose races ran in this process, one after the other."""
    out = tmp_path_factory.mktemp("study") / "here"
    list(run_study(STUDY, out))
    return out


def check_same(out: Path, here: Path) -> None:
    pd.testing.assert_frame_equal(table(out), table(here))
    assert decided(out) == decided(here)
    assert not list((out / "runs").glob("*.lock"))


@pytest.fixture
def cluster(ray: ModuleType, head: Any) -> Iterator[Any]:
    with two_machines(ray, head) as made:
        yield made


def racing(out: Path) -> list[Path]:
    """Return the runs that have begun and not ended."""
    begun = [steps.parent for steps in out.glob("runs/*/steps.jsonl")]
    return [run for run in begun if not has_ended(run)]


def test_a_cluster_that_loses_a_machine_fills_the_same_table(cluster: Any, here: Path, tmp_path: Path) -> None:
    out, lost, ended = tmp_path / "cluster", threading.Event(), threading.Event()

    def lose() -> None:
        """End a machine while both are in mid-race, or on a busy one after the first race."""
        while len(racing(out)) < 2 and not any(out.glob("runs/*.parquet")):
            if ended.wait(0.002):
                return
        lose_a_machine(cluster)
        lost.set()

    killer = threading.Thread(target=lose)
    killer.start()
    try:
        found = list(run_study(STUDY, out, ray=cluster.address))
    finally:
        ended.set()
        killer.join()
    assert lost.is_set()
    assert sum(one.lanes for one in found) == len(table(here))
    check_same(out, here)


def test_a_start_on_a_folder_has_the_same_bytes_where_a_machine_is_lost(cluster: Any, tmp_path: Path) -> None:
    tiny("llama").save_pretrained(tmp_path / "model", max_shard_size="20KB")
    start, calls = partial(start_folder, tmp_path / "model", Lane("pissa", r=4)), count()

    def lose(part: float, words: str) -> None:
        if next(calls) == 0:
            lose_a_machine(cluster)

    start(tmp_path / "here", tmp_path / "here-rest")
    start(tmp_path / "there", tmp_path / "there-rest", lose, ray=cluster.address)
    assert next(calls) > 1
    for end in ("", "-rest"):
        here, there = (sorted(tmp_path.glob(f"{name}{end}/*.safetensors")) for name in ("here", "there"))
        assert [file.read_bytes() for file in here] == [file.read_bytes() for file in there] != []


@pytest.mark.parametrize(
    ("address", "why"),
    [("127.0.0.1:1", "Connection refused"), ("nonsense", "an address is HOST:PORT"), ("local", "of one that runs")],
)
def test_a_cluster_that_is_not_there_is_a_sentence_and_nothing_is_written(
    ray: ModuleType, tmp_path: Path, address: str, why: str
) -> None:
    with pytest.raises(ValueError, match=f"no Ray cluster to join at '{address}': .*{why}"):
        list(run_study(STUDY, tmp_path / "study", ray=address))
    assert not (tmp_path / "study").exists()


def test_another_server_is_not_a_cluster(ray: ModuleType) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        answer = threading.Thread(target=lambda: server.accept()[0].sendall(b"HTTP/1.1 400"), daemon=True)
        answer.start()
        with pytest.raises(ValueError, match="another kind of server answers"):
            RayPool(f"127.0.0.1:{server.getsockname()[1]}", threads=1)


def test_a_machine_that_does_not_see_the_study_says_so(tmp_path: Path) -> None:
    planned = Planned(
        tmp_path / "elsewhere" / "runs" / "0001", STUDY.config([*STUDY.trials(STUDY.cells()[0], "lora", STUDY.lrs)])
    )
    with pytest.raises(ValueError, match="does not see the study in"):
        run_race(planned, 1)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--workers 0", "workers must be from 1 to 1024, not 0"),
        ("--workers 99999999999", "workers must be from 1 to 1024, not 99999999999"),
        ("--workers 2 --ray auto", "workers is 2, but on a Ray cluster the cores say"),
        ("--ray 127.0.0.1:6379", "need Ray, which is not installed: pip install ray"),
    ],
)
def test_where_races_run_is_checked_before_anything_is_timed(
    options: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["study", "--out", str(tmp_path / "out"), *options.split()]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert sentence in error


def test_a_cluster_that_is_not_there_is_missed_before_anything_is_timed(
    ray: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", "--out", str(tmp_path / "out"), "--ray", "127.0.0.1:1"]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert "there is no Ray cluster to join at '127.0.0.1:1'" in error

"""The folder of a server: one server at a time, and only what a server wrote."""

import stat
from contextlib import closing
from pathlib import Path

import pytest

from olora_viz.web.jobs.job import ASIDE
from olora_viz.web.jobs.queue import Jobs, usual


def test_a_user_s_own_files_stay_whatever_they_are_called(tmp_path: Path) -> None:
    name = "my-notes-of-2026-11-26"  # as long as an id
    mine = [tmp_path / f"{name}{ending}" for ending in ("", ".txt", ".csv", ".task", ".zips")]
    for path in mine:
        path.write_text("mine")
    (tmp_path / f"{'m' * 22}.task").mkdir()
    (tmp_path / f"{'m' * 22}.txt").write_text("mine")
    with closing(Jobs(folder=tmp_path)):
        assert [path.read_text() for path in mine] == ["mine"] * 5
        assert [path.name for path in tmp_path.glob(f"{'m' * 22}*")] == [f"{'m' * 22}.txt"]
        assert not (tmp_path / ASIDE).exists()


def test_nobody_else_on_the_machine_sees_the_names_of_the_runs(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir(mode=0o755)
    for folder in (there, tmp_path / "new" / "runs"):
        with closing(Jobs(folder=folder)):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_is_one_server_s_at_a_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = Jobs(folder=tmp_path / "runs")
    second = Jobs(folder=tmp_path / "runs")
    assert second.folder != first.folder
    assert "another server uses the runs folder" in caplog.text
    temporary = second.folder
    second.close()
    assert not temporary.exists()
    first.close()
    third = Jobs(folder=tmp_path / "runs")
    assert third.folder == first.folder
    third.close()
    assert first.folder.is_dir()


def test_the_folder_is_the_one_that_the_variable_names_or_in_the_cache_or_a_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OLORA_VIZ_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OLORA_VIZ_RUNS", str(tmp_path / "mine"))
    assert usual() == [tmp_path / "mine", tmp_path / "cache" / "runs"]
    monkeypatch.delenv("OLORA_VIZ_RUNS")
    with closing(Jobs()) as jobs:
        assert jobs.folder == tmp_path / "cache" / "runs"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OLORA_VIZ_RUNS", str(tmp_path / "file"))
    monkeypatch.setenv("OLORA_VIZ_CACHE", str(tmp_path / "file"))
    with closing(Jobs()) as jobs:
        assert jobs.folder.is_dir()
        assert jobs.folder.name.startswith("olora-viz-")
    assert "cannot be used" in caplog.text

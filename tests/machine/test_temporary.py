"""Temporary folders of processes that were killed: the next start deletes them, and no others."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from olora_viz.machine import files as temporary
from olora_viz.machine.files import LOCK, clear_dead, temporary_folder
from olora_viz.web.guard.limits import Limits
from olora_viz.web.guard.visitor_files import VisitorFiles
from olora_viz.web.jobs.queue import Jobs

OTHER = """
import runpy, sys, time
module = runpy.run_path(sys.argv[1])
folder, _ = module["temporary_folder"](module["lock_folder"], "files")
(folder / "large").write_bytes(bytes(10_000))
print(folder, flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@contextmanager
def another_process(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """Yield the folder of another process, and that process."""
    with subprocess.Popen(
        [sys.executable, "-c", OTHER, str(temporary.__file__)],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(tmp_path)},
    ) as process:  # fmt: skip
        try:
            assert process.stdout
            yield Path(process.stdout.readline().strip()), process
        finally:
            process.kill()


def test_what_a_killed_process_leaves_goes_with_the_next_start(tmp_path: Path) -> None:
    with another_process(tmp_path) as (folder, process):
        owner = Limits()
        mine, _ = temporary_folder(owner, "files")
        assert (folder / "large").is_file(), "its process lives"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (folder / "large").is_file(), "nobody could delete it"
        temporary_folder(owner, "files")
        assert not folder.exists()
    assert mine.parent == tmp_path


def test_nothing_else_is_deleted(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    stay = [tmp_path / name for name in ("olora-viz-notes", "other", "elsewhere", "Olora-viz-x")]
    for folder in stay:
        folder.mkdir()
        (folder / "file").write_text("mine")
    for folder in stay[1:]:
        (folder / LOCK).touch()
    (tmp_path / "olora-viz-link").symlink_to(target)
    (tmp_path / "olora-viz-file").write_text("mine")
    (tmp_path / "olora-viz-odd").mkdir()
    (tmp_path / "olora-viz-odd" / LOCK).symlink_to(target / LOCK)
    before = sorted(tmp_path.rglob("*"))
    clear_dead(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before
    (stay[0] / LOCK).touch()
    clear_dead(tmp_path)
    assert not stay[0].exists()


def test_a_folder_goes_with_its_owner_and_all_of_a_server_s_are_locked(tmp_path: Path) -> None:
    files, runs = VisitorFiles(Limits()), Jobs(folder=tmp_path / "runs")
    with closing(Jobs(folder=tmp_path / "runs")) as others:
        made = sorted(tmp_path.glob("olora-viz-*"))
        assert {others.folder} < set(made)
        assert len(made) == 2
        assert all((folder / LOCK).is_file() for folder in made)
        clear_dead(tmp_path)
        assert sorted(tmp_path.glob("olora-viz-*")) == made
    del files
    assert not list(tmp_path.glob("olora-viz-*"))
    runs.close()

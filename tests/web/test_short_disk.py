"""A disk with little room: old races make way for new ones, and no message names a path."""

import errno
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.queued import asked, lane, wait

from olora_viz.background.race import BackgroundRace
from olora_viz.machine.files import DiskFullError, folder_size
from olora_viz.views.race import race_view
from olora_viz.web.guard.limits import Limits
from olora_viz.web.guard.visitor_files import VisitorFiles
from olora_viz.web.jobs.job import DISK_FULL
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts.export import adapter_zip

MIB = 2**20


@pytest.fixture
def shrink(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], Jobs]:
    """Return a function that makes a queue on a disk of so many MiB."""

    def to(mib: float) -> Jobs:
        def usage(_: object) -> SimpleNamespace:
            total = int(mib * MIB)
            return SimpleNamespace(total=total, free=max(0, total - folder_size(tmp_path)))

        monkeypatch.setattr(shutil, "disk_usage", usage)
        return Jobs(folder=tmp_path / "runs")

    return to


def test_on_a_disk_for_two_races_every_race_finishes_and_the_oldest_make_way(
    shrink: Callable[[float], Jobs], tmp_path: Path
) -> None:
    with closing(shrink(1000)) as jobs:
        alone = wait(jobs.start(asked(steps=1)))
        size = folder_size(alone.folder)
        jobs._drop(jobs._jobs[alone.id])
    most = 4 * size / MIB + 2
    with closing(shrink(most)) as jobs:
        made = [wait(jobs.start(asked(steps=1))) for _ in range(5)]
        assert [job.state for job in made] == ["finished"] * 5, made[-1].note
        assert folder_size(tmp_path) < most * MIB
        kept = [jobs.get(job.id) is not None for job in made]
        assert kept == sorted(kept), "the oldest go first"
        assert kept[-1]
        assert not kept[0]
        assert adapter_zip(made[-1], 0).is_file()
        assert not list(jobs.folder.glob(f"{made[0].id}*"))


def test_a_race_without_room_fails_with_a_sentence_that_names_no_path_and_no_id(
    shrink: Callable[[float], Jobs],
) -> None:
    with closing(shrink(0.5)) as jobs:
        job = wait(jobs.start(asked(steps=1)))
        assert (job.state, job.note) == ("failed", DISK_FULL)
        for said in (race_view(job.record()).status, race_view(job.record()).results):
            assert job.id not in said
            assert str(jobs.folder) not in said


def failed(error: Exception, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, list[BaseException | None]]:
    """Race until an error; return what its page says, and the errors whose tracebacks the server logs."""

    def fails(race: BackgroundRace) -> bool:
        raise error

    logged: list[BaseException | None] = []
    monkeypatch.setattr(BackgroundRace, "run", fails)
    monkeypatch.setattr("threading.excepthook", lambda thrown: logged.append(thrown.exc_value))
    with closing(Jobs(folder=folder / "runs")) as jobs:  # its end waits for its threads
        note = wait(jobs.start(asked(steps=1, lanes=lane()))).note
    return note, logged


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/srv/runs/somebody"),
        OSError(errno.EDQUOT, "cannot write '/srv/runs/somebody/steps.jsonl'"),
        DiskFullError("the run needs 3 MiB on disk, and '/srv/runs/x' has 0 MiB free", 3 * MIB),
    ],
)
def test_a_disk_that_fills_during_a_race_is_said_to_be_full(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged = [error] if isinstance(error, OSError) else []  # what the package itself says needs no traceback
    assert failed(error, tmp_path, monkeypatch) == (DISK_FULL, logged)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("cannot write into '/srv/a/.cache/it': no", "cannot write into a file of this server: no"),
        ("see https://host/of/it, 3/4 and/or 1 / 2", "see https://host/of/it, 3/4 and/or 1 / 2"),
    ],
)
def test_no_sentence_on_a_page_has_a_path_of_the_server(
    said: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert failed(ValueError(said), tmp_path, monkeypatch) == (shown, []), "and a refusal is no fault to log"


def test_a_visitor_s_file_on_a_full_disk_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    files = VisitorFiles(Limits())
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ValueError, match="the server's disk is full: try again later"):
        files.bring("page", "mine.csv", "prompt,answer\n")

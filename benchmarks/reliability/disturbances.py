"""A full disk, a read-only folder, a jumping clock, files that change or vanish under a run."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from support.races import small

from olora_viz.races import run as runs
from olora_viz.races.config import RaceConfig
from olora_viz.web.guard.limits import Limits
from olora_viz.web.jobs.queue import Jobs
from reliability.laws import check_same, contents, numbers
from reliability.tally import Tally
from reliability.victims import Say, apart

STEPS = 8
CONFIG = small(task="addition", steps=STEPS, eval_every=4)
NOBODY = 65534


def check_fails(work: Callable[[], object], *words: str) -> str:
    """Check that something fails with an error of one sentence that has these words."""
    try:
        work()
    except (OSError, ValueError) as error:
        said = str(error)
        assert "\n" not in said, said
        assert all(word in said for word in words), f"{said!r} lacks one of {words}"
        return said
    raise AssertionError("it did not fail")


def goes_on(folder: Path, config: RaceConfig) -> None:
    """Let a run go on, and check that it is the undisturbed one."""
    whole = folder.with_name("whole")
    list(runs.start(config, whole))
    list(runs.resume_run(folder))
    check_same(folder, whole)


def begun(folder: Path, config: RaceConfig = CONFIG, steps: int = 3) -> Iterator:
    """Start a run and make its first steps; return the rest."""
    rest = iter(runs.start(config, folder))
    for _ in range(steps):
        next(rest)
    return rest


@contextmanager
def small_disk(folder: Path, mib: int) -> Iterator[bool]:
    """Mount a small disk at a folder; yield whether this user may."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder)]
    try:
        may = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        may = False
    try:
        yield may
    finally:
        if may:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def a_disk_that_fills_under_a_run(home: Path) -> str:
    """Fill a disk between two steps, and let the run go on when there is room again."""
    with small_disk(home / "disk", 16) as mounted:
        if not mounted:
            return "not tried: no right to mount"
        folder = home / "disk" / "run"
        rest = begun(folder)
        filler = home / "disk" / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as out:
            while True:
                out.write(bytes(1024))
        check_fails(lambda: list(rest), "o space left")
        assert len(runs.read_steps(folder)) >= 3
        filler.unlink()
        goes_on_elsewhere(folder, home / "moved")
    return "one sentence; with room again the run goes on, bit for bit"


def goes_on_elsewhere(folder: Path, moved: Path) -> None:
    """Let a copy of a run go on, and check that it is the undisturbed one."""
    shutil.copytree(folder, moved)
    goes_on(moved, CONFIG)


def a_limit_on_the_size_of_files(home: Path) -> str:
    """Refuse large files, as a quota does: the checkpoint at the end cannot be written."""
    folder = home / "run"

    def limited(say: Say) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        rest = begun(folder)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        say(check_fails(lambda: list(rest), "oo large"))

    apart(limited, home / "tmp")
    assert runs.read_summary(folder) is None
    goes_on(folder, CONFIG)
    return "one sentence, no summary; without the limit the run goes on, bit for bit"


def a_folder_that_becomes_read_only(home: Path) -> str:
    """Take the right to write into the run's folder away between two steps."""
    folder = home / "run"

    def unprivileged(say: Say) -> None:
        os.chdir(home)  # whose parents may be closed to others
        here = Path(folder.name)
        rest = begun(here)
        for path in (here, *here.rglob("*")):
            path.chmod(0o555)
        before = contents(here)
        if os.geteuid() == 0:
            os.seteuid(NOBODY)  # nothing is read-only for root
        check_fails(lambda: list(rest), "ermission denied")
        say(str(before.keys() == contents(here).keys()))

    home.chmod(0o755)
    said = apart(unprivileged, home / "tmp")
    assert said.strip() == "True", said
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
    goes_on(folder, CONFIG)
    return "one sentence, no file is lost; writable again, the run goes on, bit for bit"


def a_clock_that_jumps(home: Path) -> str:
    """Let the wall clock jump by up to a year at every look, for a run, a queue and a restart."""
    whole = home / "whole"
    list(runs.start(CONFIG, whole))

    def jumping(say: Say) -> None:
        drawn, true = random.Random(0), time.time
        time.time = lambda: true() + drawn.uniform(-3e7, 3e7)
        list(runs.start(CONFIG, home / "run"))
        check_same(home / "run", whole)
        with closing(Jobs(Limits(grace_seconds=300), folder=home / "jobs")) as jobs:
            made = [jobs.start(CONFIG) for _ in range(3)]
            assert all(job.wait(120) for job in made)
            assert {job.state for job in made} == {"finished"}, [job.note for job in made]
        for path in (home / "jobs").rglob("*"):
            os.utime(path, (true() + drawn.uniform(-3e7, 3e7),) * 2)
        with closing(Jobs(folder=home / "jobs")) as jobs:
            for job in made:
                found = jobs.get(job.id)
                assert found is not None, "a race is lost"
                assert found.complete
                assert numbers(found.folder) == numbers(whole)

    apart(jumping, home / "tmp")
    return "a run, three races of a queue and its restart are the same, bit for bit"


def rows(count: int) -> str:
    """Return the text of a task file."""
    made = ({"prompt": f"{n} and one is", "answer": f"{n + 1}"} for n in range(count))
    return "\n".join(map(json.dumps, made))


def a_task_file_that_changes(home: Path) -> str:
    """Change the task's file under a run: it keeps what it read, and resumes only with it."""
    file = home / "task.jsonl"
    file.write_text(rows(40), "utf-8")
    config = replace(CONFIG, task=str(file))
    list(runs.start(config, home / "whole"))
    rest = begun(home / "run", config)
    stopped = begun(home / "stopped", config)
    file.write_text(rows(30), "utf-8")
    list(rest)
    check_same(home / "run", home / "whole")
    stopped.close()  # type: ignore[attr-defined]
    check_fails(lambda: runs.resume_run(home / "stopped"), "has changed since the run")
    file.unlink()
    check_fails(lambda: runs.resume_run(home / "stopped"), "is missing, so the run", "cannot be resumed")
    file.write_text(rows(40), "utf-8")
    list(runs.resume_run(home / "stopped"))
    check_same(home / "stopped", home / "whole")
    return "the run ends undisturbed; a resume is refused until the file is as it was"


def a_run_folder_that_vanishes(home: Path) -> str:
    """Delete a run's folder under a queue: its race fails with a sentence, the next one runs."""

    def queue(say: Say) -> None:
        with closing(Jobs(folder=home / "jobs")) as jobs:
            job = jobs.start(replace(CONFIG, steps=400))
            while len(job.steps) < 3:
                time.sleep(0.01)
            shutil.rmtree(job.folder)
            jobs.stop(job)
            assert job.wait(120)
            assert job.state == "failed", job.state
            assert str(home) not in job.note, job.note
            after = jobs.start(CONFIG)
            assert after.wait(120)
            assert after.state == "finished", after.note

    apart(partial(queue), home / "tmp")
    return "the race fails with a sentence that names no path, and the next one finishes"


ALL = (
    a_disk_that_fills_under_a_run, a_limit_on_the_size_of_files, a_folder_that_becomes_read_only,
    a_clock_that_jumps, a_task_file_that_changes, a_run_folder_that_vanishes,
)  # fmt: skip


def campaign(tally: Tally, home: Path, count: int, start: int) -> None:
    """Disturb in every way, so often."""
    for number in range(count):
        for disturbance in ALL:
            if tally.is_over:
                return
            name = disturbance.__name__.replace("_", " ")
            place = home / f"{number} {name}"
            place.mkdir()
            with tally.trying(name):
                tally.note(f"{name}: {disturbance(place)}")

"""What a server finds of its races when it starts again, whatever ended it."""

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from support.races import small
from support.waiting import wait_until

from olora_viz.background.race import BackgroundRace
from olora_viz.lanes.lane import Lane
from olora_viz.races import run as runs
from olora_viz.views.race import race_view
from olora_viz.web.decide import put
from olora_viz.web.guard.limits import Limits
from olora_viz.web.guard.visitor_files import FilesOfPage, VisitorFiles
from olora_viz.web.jobs.job import ASIDE, RESTARTED, own_folder, record_of
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts.export import adapter_zip, find

STEPS = 40
config = partial(small, task="addition", steps=STEPS, eval_every=10)


def numbers(job: BackgroundRace) -> list[dict]:
    """Return the lines of a race on the disk, without how long they took."""
    lines = (job.folder / "steps.jsonl").read_text("utf-8").splitlines()
    return [{**json.loads(line), "seconds": 0} for line in lines]


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    """The server that will be killed: what a test copies of its folder is what it leaves."""
    made = Jobs(folder=tmp_path_factory.mktemp("before"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def whole(before: Jobs) -> BackgroundRace:
    """A race from its beginning to its end, without a rest."""
    job = before.start(config())
    assert isinstance(job, BackgroundRace)
    job.key = ""  # no other race is to show its steps
    assert job.wait(60)
    return job


@pytest.fixture
def again(before: Jobs, whole: BackgroundRace, tmp_path: Path) -> Iterator[Callable[..., Jobs]]:
    """Start a server on a copy of the folder as it is now."""
    made: list[Jobs] = []

    def start(damage: Callable[[Path], object] = lambda folder: None, **options) -> Jobs:
        folder = tmp_path / "after"
        # A file that is being replaced meanwhile may be gone before it is copied.
        shutil.copytree(before.folder, folder, ignore=shutil.ignore_patterns("*.partial"))
        damage(folder)
        made.append(Jobs(folder=folder, **options))
        return made[0]

    yield start
    for jobs in made:
        jobs.close()


def found(jobs: Jobs, job: BackgroundRace) -> BackgroundRace:
    """Find a race of the server before."""
    there = jobs.get(job.id)
    assert there is not None
    return there


def test_a_race_that_was_computing_is_paused_and_goes_on_bitwise(
    before: Jobs, whole: BackgroundRace, again: Callable[..., Jobs]
) -> None:
    going = before.start(config())
    wait_until(lambda: len(going.steps) >= 5)
    jobs = again()
    assert going.wait(60)
    job = found(jobs, going)
    made = len(job.steps)
    assert (job.state, job.note, job.complete) == ("paused", RESTARTED, False)
    assert 5 <= made < STEPS
    assert job.steps[:5] == whole.steps[:5]
    view = race_view(job.record())
    assert RESTARTED in view.status
    assert "resume" in view.commands
    jobs.resume(job)
    assert job.wait(60)
    assert (job.state, len(job.steps)) == ("finished", STEPS)
    assert numbers(job) == numbers(whole)
    assert job.steps[made:] == whole.steps[made:]
    assert job.record().answers == whole.record().answers
    assert adapter_zip(job, 1).is_file()


def test_a_race_that_has_ended_comes_back_with_all_that_its_page_shows(
    whole: BackgroundRace, again: Callable[..., Jobs]
) -> None:
    jobs = again()
    job = found(jobs, whole)
    assert (job.state, job.complete, job.steps) == ("finished", True, whole.steps)
    assert job.record().tested
    for name in ("status", "results", "story", "answers"):
        assert getattr(race_view(job.record()), name) == getattr(race_view(whole.record()), name)
    taken = find(jobs, [job.id, 0])
    assert taken["found"]
    assert "url" in taken


def test_a_race_that_waited_with_a_visitor_s_own_files_is_paused_and_still_has_them(
    before: Jobs, tmp_path: Path, again: Callable[..., Jobs]
) -> None:
    file = tmp_path / "your-file.jsonl"
    rows = [{"prompt": f"{a} and one is", "answer": f"{a + 1}"} for a in range(12)]
    file.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    text = tmp_path / "your-text.txt"
    text.write_text("The old king walked to the sea and counted white birds. " * 30, "utf-8")
    first = before.start(config(steps=2000))
    waiting = before.start(config(task=str(file), keep=str(text), steps=2))
    jobs = again()
    for job in (first, waiting):
        before.stop(job)
    file.unlink()
    text.unlink()
    job = found(jobs, waiting)
    assert (job.state, job.note, job.steps) == ("paused", RESTARTED, [])
    assert (job.config.task, job.config.keep) == (file.name, text.name)
    jobs.resume(job)
    assert job.wait(60)
    assert (job.state, job.note, len(job.steps)) == ("finished", "", 2)
    assert own_folder(job.folder).is_dir()
    jobs._jobs[job.id].remove()
    assert not list(jobs.folder.glob(f"{job.id}*"))


def test_a_race_that_was_cut_off_and_is_stopped_has_its_adapters(before: Jobs, again: Callable[..., Jobs]) -> None:
    going = before.start(config())
    wait_until(lambda: len(going.steps) >= 3)
    jobs = again()
    assert going.wait(60)
    job = found(jobs, going)
    made = len(job.steps)
    jobs.stop(job)
    assert job.wait(60)
    assert (job.state, len(job.steps)) == ("stopped", made + 1)
    assert job.record().answers
    assert adapter_zip(job, 1).is_file()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def lose_a_line(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3] + lines[4:]))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda folder: cut(folder / "config.json"), "is not JSON"),
        (lambda folder: (folder / "config.json").unlink(), "it has no config.json"),
        (lambda folder: (folder / "steps.jsonl").unlink(), f"has 0 of its {STEPS} steps"),
        (lambda folder: lose_a_line(folder / "steps.jsonl"), "step 4 is missing"),
        (lambda folder: (folder / "steps.jsonl").write_bytes(b"\x00\xff\n"), "line 1 is not a step"),
        (lambda folder: record_of(folder).write_text("[1]"), "must hold a JSON object"),
        (lambda folder: record_of(folder).write_text('{"state": 3}'), "is missing"),
    ],
)
def test_a_half_written_race_is_set_aside_with_a_sentence_and_the_others_are_served(
    before: Jobs,
    whole: BackgroundRace,
    again: Callable[..., Jobs],
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], object],
    sentence: str,
) -> None:
    broken = "b" * 22

    def spoil(folder: Path) -> None:
        shutil.copytree(folder / whole.id, folder / broken)
        shutil.copy(record_of(folder / whole.id), record_of(folder / broken))
        damage(folder / broken)
        (folder / "a-run-of-my-own").mkdir()

    with caplog.at_level(logging.WARNING):
        jobs = again(spoil)
    (said,) = caplog.messages
    assert broken in said
    assert sentence in said
    assert "\n" not in said
    assert jobs.get(broken) is None
    assert (jobs.folder / ASIDE / broken).is_dir()
    assert (jobs.folder / ASIDE / f"{broken}.record").is_file()
    assert not list(jobs.folder.glob(f"{broken}*"))
    assert found(jobs, whole).complete
    assert (jobs.folder / "a-run-of-my-own").is_dir()


def test_what_a_killed_decision_leaves_is_removed_without_a_word(
    again: Callable[..., Jobs], before: Jobs, whole: BackgroundRace, caplog: pytest.LogCaptureFixture
) -> None:
    files = FilesOfPage(VisitorFiles(Limits()), "a page")
    work = put(before, Limits(), files, ["glassllm", "sentiment", 1, ["olora"], 4, []])
    while not (work.folder / "study.toml").exists():
        work.newer(work.version, 1)
    jobs = again()
    before.stop(work)
    assert jobs.get(work.id) is None
    assert found(jobs, whole).complete
    assert not [*jobs.folder.glob(f"{work.id}*")]
    assert not (jobs.folder / ASIDE).exists()
    assert not caplog.text


def test_a_damaged_checkpoint_of_a_paused_race_sets_it_aside(before: Jobs, again: Callable[..., Jobs]) -> None:
    job = before.start(config(), goal=2)
    wait_until(lambda: job.state == "paused")
    jobs = again(lambda folder: cut(folder / job.id / "checkpoint.safetensors"))
    assert jobs.get(job.id) is None
    assert (jobs.folder / ASIDE / job.id).is_dir()


def test_a_server_that_is_asked_to_end_pauses_its_races_with_nothing_to_repeat(tmp_path: Path) -> None:
    with closing(Jobs(folder=tmp_path)) as jobs:
        going, waiting = jobs.start(config(steps=2000)), jobs.start(config(steps=1))
        wait_until(lambda: len(going.steps) >= 3)
    with closing(Jobs(folder=tmp_path)) as jobs:
        job = found(jobs, going)
        assert (job.state, job.note, job.cut_off) == ("paused", RESTARTED, False)
        assert (job.folder / "checkpoint.safetensors").is_file()
        assert found(jobs, waiting).state == "paused"
        jobs.stop(job)
        assert job.complete
        assert adapter_zip(job, 0).is_file()


def test_the_longest_unseen_race_goes_first_also_after_a_restart(tmp_path: Path) -> None:
    with closing(Jobs(folder=tmp_path)) as jobs:
        made = [jobs.start(config(steps=1, lanes=(Lane("lora", r=2),))) for _ in range(3)]
        assert all(job.wait(60) for job in made)
    for age, job in zip((20, 5, 10), made, strict=True):
        os.utime(record_of(job.folder), (time.time() - age,) * 2)
    (tmp_path / f"{'m' * 22}.task").mkdir()  # of a measurement
    with closing(Jobs(Limits(keep_races=2), folder=tmp_path)) as jobs:
        assert [jobs.get(job.id) is None for job in made] == [True, False, False]
    assert {path.name.partition(".")[0] for path in tmp_path.iterdir()} == {"in-use", made[1].id, made[2].id}
    with closing(Jobs(Limits(keep_mib=0), folder=tmp_path)) as jobs:
        assert jobs._jobs == {}
        first, second = (jobs.start(config(steps=1, lanes=(Lane("lora", r=2),))) for _ in range(2))
        wait_until(lambda: jobs.get(first.id) is None)
        assert second.wait(60)
        assert jobs.get(second.id) is second, "the latest stays, whatever its size"


def test_a_run_of_the_command_line_is_shown_and_goes_on_only_when_asked(tmp_path: Path) -> None:
    of_whole = config(steps=3, lanes=(Lane("lora", r=2, weight_decay=0.1), Lane("olora", r=2)))
    whole = list(runs.start(of_whole, tmp_path / "whole"))
    run = runs.start(of_whole, tmp_path / "cut")
    next(iter(run))
    run.race.lanes.detach()
    left = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with closing(Jobs(Limits(keep_races=1), folder=tmp_path / "runs")) as jobs:
        ended, paused = jobs.open(tmp_path / "whole"), jobs.open(tmp_path / "cut")
        assert (ended.state, ended.complete, len(ended.steps)) == ("finished", True, 3)
        assert "Ranking at step 3" in race_view(ended.record()).results
        assert adapter_zip(ended, 0).is_relative_to(jobs.folder)
        assert (paused.state, len(paused.steps)) == ("paused", 1)
        assert "resume" in race_view(paused.record()).commands
        assert {path: path.stat().st_mtime_ns for path in left} == left
        jobs.resume(paused)
        assert paused.wait(60)
        assert (paused.state, len(paused.steps)) == ("finished", 3)
        assert paused.steps[1:] == whole[1:]
        for _ in range(2):
            assert jobs.start(config(steps=1)).wait(60)
        assert jobs.get(ended.id) is ended
    assert runs.read_summary(tmp_path / "cut")


def test_what_is_no_run_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model": "x"}')
    with closing(Jobs(folder=tmp_path / "runs")) as jobs:
        for folder in (tmp_path, tmp_path / "none"):
            with pytest.raises(ValueError, match=r"config\.json"):
                jobs.open(folder)

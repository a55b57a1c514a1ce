"""Races that pause, step, go on and stop, alone and beside others."""

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.queued import FEW
from support.waiting import wait_until

from olora_viz.background import work
from olora_viz.background.race import BackgroundRace
from olora_viz.races.config import RaceConfig
from olora_viz.web.guard.config import checked_config
from olora_viz.web.guard.limits import Limits
from olora_viz.web.jobs import job as asked_for
from olora_viz.web.jobs import queue
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts.export import adapter_zip

LANES = [{"init": init, "r": 4, "alpha": "", "lr": "1e-3", "seed": 0} for init in ("lora", "olora")]


def asked(steps: int = 20) -> RaceConfig:
    config = checked_config(Limits(), model="glassllm", task="addition", steps=steps, batch=4, lanes=LANES)
    return replace(config, **FEW)


def rest(job: BackgroundRace) -> BackgroundRace:
    wait_until(lambda: job.state == "paused")
    return job


QUEUE = Limits(keep_races=3, max_waiting=2)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackgroundRace]:
    """A race from beginning to end, without a rest."""
    with closing(Jobs(folder=tmp_path_factory.mktemp("whole"))) as jobs:
        job = jobs.start(asked())
        wait_until(lambda: job.complete)
        yield job


def test_single_steps_and_pauses_change_no_bit_of_a_race(jobs: Jobs, whole: BackgroundRace) -> None:
    job = rest(jobs.start(asked(), goal=1))
    assert len(job.steps) == 1
    jobs.resume(job, goal=2)
    wait_until(lambda: len(job.steps) == 2 and job.state == "paused")
    jobs.resume(job)
    wait_until(lambda: len(job.steps) > 4)
    jobs.pause(job)
    reached = len(rest(job).steps)
    wait_until(lambda: not jobs._line.running)
    assert len(job.steps) == reached < 20
    assert not job.complete
    jobs.resume(job)
    wait_until(lambda: job.complete)
    assert job.state == "finished"
    assert job.steps == whole.steps
    assert job.record().answers == whole.record().answers


def test_a_race_whose_memory_another_one_took_goes_on_bitwise_from_disk(jobs: Jobs, whole: BackgroundRace) -> None:
    job = rest(jobs.start(asked(), goal=7))
    assert job.racing is not None
    other = jobs.start(asked(2))
    wait_until(lambda: other.complete)
    assert job.racing is None
    assert job.state == "paused"
    jobs.resume(job)
    wait_until(lambda: job.complete)
    assert job.steps == whole.steps


def test_a_paused_race_stops_with_its_adapters(jobs: Jobs) -> None:
    in_memory = rest(jobs.start(asked(), goal=3))
    jobs.stop(in_memory)
    wait_until(lambda: in_memory.complete)
    assert (in_memory.state, len(in_memory.steps)) == ("stopped", 3)
    assert in_memory.record().answers
    assert adapter_zip(in_memory, 1).exists()

    on_disk = rest(jobs.start(asked(), goal=3))
    other = jobs.start(asked(1))
    wait_until(lambda: other.complete)
    jobs.stop(on_disk)
    assert (on_disk.state, on_disk.complete) == ("stopped", True)
    assert adapter_zip(on_disk, 1).exists()


def test_a_race_that_waits_pauses_at_once_and_keeps_nobody_waiting(jobs: Jobs) -> None:
    first = jobs.start(asked(2000))
    wait_until(lambda: len(first.steps) > 0)
    second = jobs.start(asked(1))
    assert jobs.before(second).places == 1
    jobs.pause(second)
    assert second.state == "paused"
    jobs.pause(first)
    rest(first)
    jobs.resume(second)
    wait_until(lambda: second.complete)
    assert second.state == "finished"
    assert first.state == "paused"


def test_a_race_that_nobody_watches_rests_and_goes_on_when_somebody_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=0.0)
    clocks = SimpleNamespace(monotonic=lambda: clock.now)
    for module in (work, asked_for, queue):
        monkeypatch.setattr(module, "time", clocks)
    jobs = Jobs(Limits(grace_seconds=90), folder=tmp_path / "jobs")
    try:
        job = jobs.start(asked(2000))
        for _ in range(3):
            assert jobs.get(job.id) is job
            clock.now += 60
            reached = len(job.steps)
            wait_until(lambda reached=reached: len(job.steps) > reached + 1)
        assert job.state == "racing"
        clock.now += 60
        rest(job)
        assert job.note == "no page watched it for 90 seconds"
        assert (job.folder / "checkpoint.safetensors").exists()
        reached = len(job.steps)
        jobs.resume(job)
        wait_until(lambda: len(job.steps) > reached)
    finally:
        jobs.close()


def test_a_race_without_a_lane_left_says_which_went_first(jobs: Jobs) -> None:
    wild = [{**lane, "lr": rate} for lane, rate in zip(LANES, ("1e30", "1e38"), strict=True)]
    config = checked_config(Limits(), model="glassllm", task="addition", steps=9, batch=4, lanes=wild)
    job = jobs.start(config)
    wait_until(lambda: job.complete)
    assert job.state == "diverged"
    assert re.match(r"no lane is left: at step \d LoRA .*'s loss or gradient was no longer finite", job.note)


def test_paused_races_that_are_too_many_end_the_longest_unseen_first(jobs: Jobs) -> None:
    made = [rest(jobs.start(asked(), goal=1)) for _ in range(5)]
    wait_until(lambda: made[0].state == "stopped")
    assert made[-1].state == "paused"

"""Races whose steps are made in another process: bitwise the same, and they rest when told to."""

import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from queue import Empty

import pytest
import torch
from races import small, steps_of
from waiting import wait_until

from olora_viz.lanes.lane import Lane
from olora_viz.races.config import RaceConfig
from olora_viz.races.step import Step
from olora_viz.web.export.take import adapter_zip
from olora_viz.web.jobs import accelerator
from olora_viz.web.jobs.accelerator import Ended, Opened, forked, seconds_needed, turn, wish
from olora_viz.web.jobs.job import Job, Work
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.jobs.zero_gpu_job import ZeroGpuJob

CONFIG = small(task="addition", steps=8, eval_every=4, eval_size=8)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Compute as a forked process does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def whole(one_thread: None) -> list[Step]:
    """The steps of the race in this process."""
    return steps_of(CONFIG)


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    made = Jobs(folder=tmp_path / "jobs", races=ZeroGpuJob)
    yield made
    made.close()


def until(job: Work, *states: str) -> None:
    wait_until(lambda: job.state in states)


def test_steps_of_a_forked_process_are_bitwise_those_of_this_one_and_files_pause_and_stop_it(
    tmp_path: Path, whole: list[Step]
) -> None:
    fork, folder, wishes = multiprocessing.get_context("fork"), tmp_path / "run", tmp_path / "wish"

    def elsewhere(done: int, goal: float, after: int = -1, what: str = "") -> list:
        news = fork.Queue()

        def take() -> None:
            for k, one in enumerate(forked(CONFIG, folder, wishes, done, goal, 2)):
                news.put(one)
                if k == after:
                    wish(wishes, what)
            news.put(None)

        process = fork.Process(target=take, daemon=True)
        process.start()
        found = []
        try:
            while (one := news.get(timeout=60)) is not None:
                found.append(one)
        except Empty:
            pytest.fail(f"the forked process said nothing after {found}")
        finally:
            process.kill()
        return found

    first = elsewhere(0, 3)
    assert isinstance(first[0], Opened)
    assert first[0].device == "CPU"
    assert first[1:] == whole[:3]
    second = elsewhere(3, float("inf"), after=2, what="pause")
    assert second[1:] == whole[3:5]
    wish(wishes, "")
    third = elsewhere(5, float("inf"), after=1, what="stop")
    *steps, ended = third[1:]
    assert steps == whole[5:6]
    assert isinstance(ended, Ended)
    assert (ended.status, len(ended.answers)) == ("stopped", 2)
    assert (folder / "adapters" / "olora").is_dir()


def test_a_turn_that_is_too_short_ends_on_a_checkpoint_from_which_the_next_goes_on(
    tmp_path: Path, whole: list[Step], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accelerator, "seconds_needed", lambda config: 0)
    found, turns = [], 0
    while len(found) < 3:
        news = list(turn(CONFIG, tmp_path / "run", tmp_path / "wish", len(found), 9.0, 2))
        found += [one for one in news if isinstance(one, Step)]
        turns += 1
    assert turns == 3
    assert found == whole[:3]


def test_a_job_of_turns_is_paused_stepped_and_finished_as_any_other(jobs: Jobs) -> None:
    plain = Jobs(folder=jobs.folder / "plain")
    expected = plain.start(CONFIG)
    job = jobs.start(CONFIG, goal=2)
    until(job, "paused")
    assert len(job.steps) == 2
    jobs.go_on(job, goal=3)
    until(job, "paused")
    assert len(job.steps) == 3
    jobs.go_on(job)
    assert job.wait(60)
    assert expected.wait(60)
    assert isinstance(job, Job)
    assert job.steps == expected.steps
    assert job.answers == expected.answers
    assert (job.device, job.note, job.complete) == ("CPU", "", True)
    assert adapter_zip(job, 1).is_file()
    plain.close()


def test_a_paused_job_of_turns_that_is_stopped_asks_its_lanes_and_ends(jobs: Jobs) -> None:
    job = jobs.start(CONFIG, goal=2)
    until(job, "paused")
    jobs.stop(job)
    until(job, "stopped")
    assert len(job.steps) == 2
    job.remove()
    assert not list(jobs.folder.glob(f"{job.id}*"))


def test_the_time_asked_for_grows_with_the_race_and_the_default_s_is_far_inside_a_minute() -> None:
    assert seconds_needed(RaceConfig()) < 30
    needs = [seconds_needed(RaceConfig(steps=steps)) for steps in (1, 100, 400, 2000)]
    assert needs == sorted(needs)
    assert needs[0] >= accelerator.LEAST_SECONDS
    assert needs[-1] <= accelerator.MOST_SECONDS
    model = "smollm2-135m"
    assert seconds_needed(RaceConfig(model=model)) > seconds_needed(RaceConfig())
    assert seconds_needed(RaceConfig(curvature_every=10)) > seconds_needed(RaceConfig())
    one, many = ((Lane("lora"),) * count for count in (1, 40))
    assert seconds_needed(RaceConfig(lanes=many)) > seconds_needed(RaceConfig(lanes=one))


def test_elsewhere_nothing_is_lent_and_nothing_is_needed() -> None:
    assert accelerator.on_zero_gpu({"SPACES_ZERO_GPU": "true"})
    assert not accelerator.on_zero_gpu({})
    assert accelerator.taken is turn
    assert accelerator.here(CONFIG) is CONFIG

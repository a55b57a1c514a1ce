"""Races whose steps are made in another process: bitwise the same, and they rest when told to."""

import math
import multiprocessing
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path
from queue import Empty
from typing import Any

import gradio as gr
import pytest
import torch
from support.races import small, steps_of
from support.waiting import wait_until

from olora_viz.background.race import FINAL_ANSWERS, BackgroundRace
from olora_viz.background.record import RaceRecord
from olora_viz.background.work import BackgroundWork
from olora_viz.lanes.lane import Lane
from olora_viz.machine.memory import available_memory
from olora_viz.races.config import RaceConfig
from olora_viz.races.step import Step
from olora_viz.web import page
from olora_viz.web.guard.limits import Limits
from olora_viz.web.guard.visitor_files import VisitorFiles
from olora_viz.web.jobs import accelerator
from olora_viz.web.jobs.accelerator import (
    LEAST_SECONDS,
    MOST_SECONDS,
    ZeroGpu,
    forked,
    request,
    requested,
    seconds_needed,
    turn,
)
from olora_viz.web.jobs.job import here, on_zero_gpu, readers_key, requests_of
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts.export import adapter_zip
from olora_viz.web.race.events import Commands

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
    made = Jobs(folder=tmp_path / "jobs", executor=ZeroGpu())
    yield made
    made.close()


def until(job: BackgroundWork, *states: str) -> None:
    wait_until(lambda: job.state in states)


def test_steps_of_a_forked_process_are_bitwise_those_of_this_one_and_files_pause_and_stop_it(
    tmp_path: Path, whole: list[Step]
) -> None:
    fork, folder, requests = multiprocessing.get_context("fork"), tmp_path / "run", tmp_path / "wish"

    def elsewhere(done: int, goal: float, after: int = -1, what: str = "") -> list:
        news = fork.Queue()

        def take() -> None:
            for k, one in enumerate(forked(CONFIG, folder, requests, done, goal)):
                news.put(one)
                if k == after:
                    request(requests, what)
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
    assert isinstance(first[0], RaceRecord)
    assert first[0].device == "CPU"
    assert first[1:] == whole[:3]
    second = elsewhere(3, float("inf"), after=2, what="pause")
    assert second[1:] == whole[3:5]
    request(requests, "")
    third = elsewhere(5, float("inf"), after=1, what="stop")
    *steps, ended = third[1:]
    assert steps == whole[5:6]
    assert isinstance(ended, RaceRecord)
    assert (ended.state, len(ended.answers)) == ("stopped", FINAL_ANSWERS)
    assert (folder / "adapters" / "olora").is_dir()


def test_a_turn_that_is_too_short_ends_on_a_checkpoint_from_which_the_next_goes_on(
    tmp_path: Path, whole: list[Step], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accelerator, "seconds_needed", lambda *_: 0)
    found, turns = [], 0
    while len(found) < 3:
        news = list(turn(CONFIG, tmp_path / "run", tmp_path / "wish", len(found), 9.0))
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
    jobs.resume(job, goal=3)
    until(job, "paused")
    assert len(job.steps) == 3
    jobs.resume(job)
    assert job.wait(60)
    assert expected.wait(60)
    assert isinstance(job, BackgroundRace)
    assert job.steps == expected.steps
    assert job.record().answers == expected.record().answers
    assert (job.record().device, job.note, job.complete) == ("CPU", "", True)
    assert adapter_zip(job, 1).is_file()
    plain.close()


def test_a_paused_job_of_turns_that_is_stopped_asks_its_lanes_and_ends(jobs: Jobs) -> None:
    job = jobs.start(CONFIG, goal=2)
    until(job, "paused")
    jobs.stop(job)
    until(job, "stopped")
    assert len(job.steps) == 2
    jobs._jobs[job.id].remove()
    assert not list(jobs.folder.glob(f"{job.id}*"))


def test_the_time_asked_for_grows_with_the_race_and_is_never_more_than_a_slice() -> None:
    assert seconds_needed(RaceConfig()) < MOST_SECONDS == 30
    needs = [seconds_needed(RaceConfig(steps=steps)) for steps in (1, 60, 100, 2000)]
    assert needs == sorted(needs)
    assert (needs[0], needs[-1]) == (LEAST_SECONDS, MOST_SECONDS)
    short = {"steps": 60, "lanes": (Lane("lora"),)}
    model = seconds_needed(RaceConfig(model="smollm2-135m", **short))
    measured = seconds_needed(RaceConfig(curvature_every=1, **short))
    one, many = (seconds_needed(RaceConfig(lanes=(Lane("lora"),) * k)) for k in (1, 15))
    assert seconds_needed(RaceConfig(**short)) < min(model, measured)
    assert one < many


def test_the_last_slice_of_a_race_and_a_single_step_ask_for_no_more_than_they_need() -> None:
    config = RaceConfig(steps=2000)
    assert seconds_needed(config, done=1995) == LEAST_SECONDS
    assert seconds_needed(config, done=100, goal=101) == LEAST_SECONDS


def test_a_step_that_alone_needs_more_than_a_slice_is_asked_for() -> None:
    large = RaceConfig(model="qwen2.5-0.5b", lanes=(Lane("lora"),) * 64, batch_size=64)
    assert seconds_needed(large) > MOST_SECONDS
    assert seconds_needed(large) == seconds_needed(large, done=20)


def test_elsewhere_nothing_is_lent_and_nothing_is_needed() -> None:
    assert on_zero_gpu({"SPACES_ZERO_GPU": "true"})
    assert not on_zero_gpu({})
    assert accelerator.turn_on_gpu is turn
    assert here(CONFIG) is CONFIG


# What ZeroGPU lends, refuses and takes back ------------------------------------------------------


QUOTA = gr.Error(
    "You have exceeded your free ZeroGPU quota (30s requested vs. 12s left). Try again in 1 day, 5:07:09. ",
    title="ZeroGPU quota exceeded",
)
ABORTED = gr.Error("GPU task aborted", title="ZeroGPU worker error")


class Lender:
    """Stands in for the package ``spaces``: lends this process, refuses or takes back."""

    def __init__(self) -> None:
        self.declared: list[int] = []
        self.refuses: Exception | None = None
        self.takes_back_after: int | None = None

    def GPU(self, duration: Callable[..., int]) -> Callable[..., Any]:
        def decorated(task: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
            def lent(*arguments: Any) -> Iterator[Any]:
                self.declared.append(duration(*arguments))
                if self.refuses is not None:
                    raise self.refuses
                for k, news in enumerate(task(*arguments)):
                    if k == self.takes_back_after:
                        raise ABORTED
                    yield news

            return lent

        return decorated


@pytest.fixture
def lender(monkeypatch: pytest.MonkeyPatch) -> Lender:
    """The server as it is on ZeroGPU."""
    lender = Lender()
    monkeypatch.setitem(sys.modules, "spaces", lender)
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setattr(torch.cuda, "is_available", torch.cuda.is_available)
    monkeypatch.setattr(accelerator, "turn_on_gpu", accelerator.lent())
    return lender


def test_a_race_in_many_slices_is_bitwise_the_race_and_each_asks_for_a_slice(
    jobs: Jobs, lender: Lender, whole: list[Step], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accelerator, "BEGINNING_SECONDS", MOST_SECONDS)  # a slice is over at once
    job = jobs.start(CONFIG)
    assert job.wait(60)
    assert job.steps == whole
    assert len(lender.declared) == len(whole)
    assert max(lender.declared) <= MOST_SECONDS


REFUSALS = [
    (QUOTA, "12 s are left of your time for today, and the race asks for 30 s at once; "
     "there is more in 1 day, 5:07:09"),
    (gr.Error("You have exceeded your GPU quota (60s left vs. 90s requested). Try again in "
              "0:12:00", title="ZeroGPU quota exceeded"),
     "60 s are left of your time for today, and the race asks for 90 s at once; "
     "there is more in 0:12:00"),
    (gr.Error("Space app has reached its GPU limit. Try re-running outside of examples if it "
              "happened after clicking one", title="ZeroGPU quota exceeded"), "is used up"),
    (gr.Error("The requested GPU duration (300s) is larger than the maximum allowed",
              title="ZeroGPU illegal duration"), "a step of this race takes longer"),
    (gr.Error("No GPU was available after 60s. <a>Subscribe to Pro</a>",
              title="ZeroGPU queue timeout"), "none was free within a minute"),
    (gr.Error("No GPU was available", title="ZeroGPU client error"), "none is free now"),
    (gr.Error("Expired ZeroGPU proxy token", title="ZeroGPU client error"), "reload it"),
    (RuntimeError("ZeroGPU API /schedule error: 500 (Internal Server Error)"), "/schedule"),
]  # fmt: skip


def test_a_refusal_pauses_the_race_with_a_sentence_and_it_goes_on_when_it_may(
    jobs: Jobs, lender: Lender, whole: list[Step]
) -> None:
    job = jobs.start(CONFIG, goal=3)
    until(job, "paused")
    for error, sentence in REFUSALS:
        lender.refuses = error
        jobs.resume(job)
        until(job, "paused")
        assert (job.steps, job.note) == (whole[:3], "no GPU now")
        assert sentence in job.refused
        assert "<" not in job.refused
    lender.refuses = None
    jobs.resume(job)
    assert job.wait(60)
    assert (job.steps, job.refused) == (whole, "")


def test_a_race_that_is_refused_is_raced_anew_on_the_cpu_in_this_process(
    jobs: Jobs, lender: Lender, whole: list[Step]
) -> None:
    limits = Limits()
    commands = Commands(jobs, limits, VisitorFiles(limits))
    lender.refuses = QUOTA
    job = jobs.start(CONFIG)
    until(job, "paused")
    shown = commands.show(job.id)
    assert shown is not None
    assert shown.refused == job.refused != ""
    readers = commands.show(readers_key(job.id))
    assert readers is not None
    assert readers.refused == ""
    with pytest.raises(ValueError, match="only a race that waits for a GPU"):
        commands.start_on_cpu("nobody's")
    other = jobs.get(commands.start_on_cpu(job.id))
    assert other is not None
    assert other.wait(60)
    assert (other.steps, other.config.device, len(lender.declared)) == (whole, "cpu", 1)
    assert adapter_zip(other, 1).is_file()
    assert job.state == "paused"
    with pytest.raises(ValueError, match="only a race that waits for a GPU"):
        commands.start_on_cpu(other.id)


def test_a_gpu_that_is_taken_back_costs_no_step_and_a_paused_race_can_be_stopped(
    jobs: Jobs, lender: Lender, whole: list[Step]
) -> None:
    lender.takes_back_after = 4
    job = jobs.start(CONFIG)
    until(job, "paused")
    assert "taken its GPU back" in job.refused
    assert [step.step for step in job.steps] == [1, 2, 3, 4]  # the last one was made, not sent
    lender.takes_back_after = None
    jobs.resume(job, goal=6)
    until(job, "paused")
    assert job.steps == whole[:6]
    jobs.stop(job)
    until(job, "stopped")
    assert adapter_zip(job, 0).is_file()


def test_a_race_that_is_stopped_while_no_gpu_is_lent_ends(jobs: Jobs, lender: Lender) -> None:
    def stopped_meanwhile(*_: object) -> Iterator[Any]:
        job.stop()
        raise QUOTA
        yield

    job = jobs.start(CONFIG, goal=1)
    until(job, "paused")
    accelerator.turn_on_gpu = stopped_meanwhile
    jobs.resume(job)
    until(job, "stopped")
    assert job.refused == ""


def test_requests_of_two_threads_at_once_are_all_written(jobs: Jobs, lender: Lender) -> None:
    job = jobs.start(CONFIG, goal=1)
    until(job, "paused")

    def asks(_: int) -> None:
        for _ in range(200):
            job.pause()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(asks, range(4)))
    assert requested(requests_of(job.run_folder)) == "pause"


def test_time_counts_as_that_of_the_page_that_asked_last(
    jobs: Jobs, lender: Lender, monkeypatch: pytest.MonkeyPatch
) -> None:
    page: ContextVar[str] = ContextVar("page")
    asked: list[str] = []
    lent = accelerator.turn_on_gpu

    def taken(*arguments: Any) -> Iterator[Any]:
        asked.append(page.get())
        yield from lent(*arguments)

    monkeypatch.setattr(accelerator, "turn_on_gpu", taken)
    page.set("the first")
    job = jobs.start(CONFIG, goal=1)
    until(job, "paused")
    page.set("after a reload")
    jobs.resume(job, goal=2)
    wait_until(lambda: len(job.steps) == 2)
    assert asked == ["the first", "after a reload"]


def test_an_error_of_the_race_itself_is_its_own_sentence_also_from_a_forked_process(
    jobs: Jobs, lender: Lender
) -> None:
    job = jobs.start(small((Lane("lora", r=4000),), task="addition"))
    until(job, "failed")
    assert "rank 4000" in job.note
    lender.refuses = gr.Error("OutOfMemoryError", title="ZeroGPU worker error")
    with warnings.catch_warnings(action="ignore"):  # the thread's, for the operator
        job = jobs.start(CONFIG)
        until(job, "failed")
    assert "OutOfMemoryError" in job.note


def test_only_the_main_thread_sees_the_gpu_that_zero_gpu_emulates(
    lender: Lender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    accelerator.lent()
    seen: list[bool] = []
    thread = threading.Thread(target=lambda: seen.append(torch.cuda.is_available()))
    thread.start()
    thread.join()
    assert torch.cuda.is_available()
    assert seen == [False]


def test_a_model_that_was_warmed_up_is_not_loaded_again_and_the_race_is_the_same(
    tmp_path: Path, whole: list[Step], monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr("olora_viz.races.data.resolve_device", lambda name: cpu)
    monkeypatch.setattr(accelerator, "_warm", {})
    accelerator.warm_up()
    assert "glassllm" in accelerator._warm
    monkeypatch.setattr("olora_viz.races.data.load_model", None)
    found: list[Step] = []
    for goal in (3, math.inf):
        news = forked(CONFIG, tmp_path / "run", tmp_path / "wish", len(found), goal)
        found += [one for one in news if isinstance(one, Step)]
    assert found == whole


def test_what_is_free_on_an_emulated_gpu_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(device: torch.device) -> None:
        raise RuntimeError("Low-level CUDA init (`torch._C._cuda_init`) reached.")

    monkeypatch.setattr(torch.cuda, "mem_get_info", raises)
    assert available_memory(torch.device("cuda")) is None


def test_the_events_of_a_page_fit_into_the_queue_on_zero_gpu_as_anywhere(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    most = page.build(Limits(), jobs)._queue.max_size
    assert most is not None
    assert most > 100

"""The races that a server's pages start: one at a time, stopped in time, kept for a while."""

import html
import re
import threading
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import peft
import pytest
from support.queued import LANES, asked, lane, wait
from support.waiting import wait_until

from olora_viz import load_model
from olora_viz.background import work as computed
from olora_viz.initializers import INITIALIZERS
from olora_viz.lanes.generation import Answer
from olora_viz.races import run as runs
from olora_viz.races.race import Race
from olora_viz.tasks import TASKS, Example, Task
from olora_viz.views.race import RaceView, race_view
from olora_viz.web.guard.limits import Limits
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts.export import adapter_zip
from olora_viz.web.race.controls import buttons
from olora_viz.web.race.settings import lane_table, marks


def can_press(shown: RaceView) -> tuple[bool, bool]:
    """Whether Race and Stop can be pressed."""
    its = buttons(shown)
    return its.race["interactive"], its.stop["interactive"]


QUEUE = Limits(keep_races=1, max_waiting=2)


def test_pages_do_not_wait_while_the_folder_of_an_old_race_is_deleted(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = wait(jobs.start(asked(steps=1)))
    wait(jobs.start(asked(steps=1)))
    deleting, answered = threading.Event(), threading.Event()
    job = jobs._jobs[old.id]
    remove = job.remove

    def slowly() -> None:
        deleting.set()
        assert answered.wait(20), "a page waited for the disk"
        remove()

    def ask() -> None:
        deleting.wait(20)
        jobs.before(old)
        answered.set()

    monkeypatch.setattr(job, "remove", slowly)
    asking = threading.Thread(target=ask)
    asking.start()
    jobs.start(asked(steps=1))
    asking.join()
    assert not old.folder.exists()
    assert jobs.get(old.id) is None


def test_a_race_in_the_background_finishes_with_answers_and_adapters_that_peft_loads(
    jobs: Jobs, tmp_path: Path
) -> None:
    job = wait(jobs.start(asked(lanes=[*LANES, *lane(init="olora")])))
    assert (job.state, job.note, len(job.steps)) == ("finished", "", 5)
    assert len(job.record().answers[0].lanes) == 2
    model, _ = load_model("glassllm")
    for k in range(2):
        with zipfile.ZipFile(adapter_zip(job, k)) as archive:
            archive.extractall(tmp_path / str(k))
        (folder,) = (tmp_path / str(k)).iterdir()
        peft.PeftModel.from_pretrained(model, str(folder)).unload()
    with pytest.raises(ValueError, match="lane 2 must be from 0 to 1"):
        adapter_zip(job, 2)


def test_the_page_s_table_races_every_start_that_there_is(jobs: Jobs) -> None:
    limits = Limits()
    offered = lane_table(limits, (), elem_id="lanes").props["starts"]
    assert list(offered) == list(INITIALIZERS)
    rows = [row for init in offered for row in lane(init=init)]
    assert not any(mark["wrong"] for mark in marks(limits, rows))
    job = wait(jobs.start(asked(steps=2, lanes=rows)))
    assert (job.state, job.note, len(job.steps)) == ("finished", "", 2)
    assert race_view(job.record()).results.count("EVA") >= 1


def test_stop_ends_a_race_within_a_step_and_keeps_what_was_done(jobs: Jobs) -> None:
    job = jobs.start(asked(steps=400))
    wait_until(lambda: len(job.steps) >= 3)
    jobs.stop(job)
    done = len(job.steps)
    wait(job)
    assert job.state == "stopped"
    assert done <= len(job.steps) <= done + 1
    assert "stopped" in race_view(job.record()).status
    assert "finished" not in race_view(job.record()).status
    assert adapter_zip(job, 0).exists()


def test_one_race_trains_at_a_time_and_the_others_wait_their_turn(jobs: Jobs) -> None:
    first = jobs.start(asked(steps=400))
    wait_until(lambda: first.steps)
    second, third = jobs.start(asked(steps=400)), jobs.start(asked(steps=400))
    assert (second.state, third.state) == ("waiting", "waiting")
    before = jobs.before(third)
    assert (jobs.before(second).places, before.places) == (1, 2)
    assert before.seconds is None, "no race has ended here"
    assert "waiting" in race_view(third.record(), before=before).status
    assert "2 races before yours" in race_view(third.record(), before=before).status
    with pytest.raises(ValueError, match="2 races are already waiting"):
        jobs.start(asked())
    jobs.stop(second)
    assert not first.ended
    assert (second.state, second.complete, second.steps) == ("stopped", True, [])
    assert "stopped" in race_view(second.record()).status
    assert jobs.before(third).places == 1
    fourth = jobs.start(asked(steps=1))
    for job in (first, third):
        jobs.stop(job)
    assert wait(fourth).state == "finished"
    assert (first.state, third.state) == ("stopped", "stopped")


def test_one_who_waits_reads_the_time_of_all_that_is_before_once_a_race_has_ended_here(jobs: Jobs) -> None:
    assert jobs.speeds.forecast(asked()) is None
    wait(jobs.start(asked(steps=2)))
    first = jobs.start(asked(steps=400))
    wait_until(lambda: first.steps)
    second, third = jobs.start(asked(steps=100)), jobs.start(asked(steps=1))
    (of_second, least), (of_third, more) = jobs.before(second)[:2], jobs.before(third)[:2]
    assert (of_second, of_third) == (1, 2)
    assert least
    assert more
    own = jobs.speeds.forecast(second.config)
    assert own
    assert least < more <= least + own.seconds
    shown = race_view(third.record(), before=jobs.before(third))
    assert re.search(r"2 races before yours: about [\d.]+ (s|minutes|hours)", shown.status)
    assert "Training" not in str(shown.verdict)
    jobs.pause(first)
    wait_until(lambda: jobs.before(third).places == 1)
    for job in (first, second, third):
        jobs.stop(job)


def test_a_race_that_takes_too_long_is_stopped_and_its_page_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(computed, "time", SimpleNamespace(monotonic=lambda: clock.now))
    jobs = Jobs(Limits(max_seconds=1800), folder=tmp_path / "jobs")
    try:
        job = jobs.start(asked(steps=400))
        wait_until(lambda: len(job.steps) >= 3)
        clock.now += 1801
        assert wait(job).state == "stopped"
        assert 3 <= len(job.steps) < 400
        assert job.note == "stopped after 30 minutes, this server's limit"
        shown = html.unescape(race_view(job.record()).status)
        assert re.search(r">stopped<.*stopped after 30 minutes, this server's limit", shown)
        assert "finished" not in shown
        assert adapter_zip(job, 0).exists()
        assert wait(jobs.start(asked())).state == "finished"
    finally:
        jobs.close()


def test_loading_a_model_counts_as_time_too(tmp_path: Path) -> None:
    jobs = Jobs(Limits(max_seconds=0), folder=tmp_path / "jobs")
    try:
        job = wait(jobs.start(asked()))
        assert (job.state, job.steps) == ("stopped", [])
        assert job.note == "stopped after 0 seconds, this server's limit"
    finally:
        jobs.close()


def test_race_can_be_pressed_again_when_the_lanes_have_answered(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    asking, go_on, answers = threading.Event(), threading.Event(), Race.answers

    def slow(race: Race, count: int) -> list[Answer]:
        if count > 1:  # at the end; during the race one prompt is answered
            asking.set()
            go_on.wait(60)
        return answers(race, count)

    monkeypatch.setattr(Race, "answers", slow)
    job = jobs.start(asked(steps=2))
    assert asking.wait(60)
    try:
        shown = race_view(job.record())
        assert ">finished<" in shown.status
        assert "generating answers" in shown.status
        assert can_press(shown) == (False, False)
    finally:
        go_on.set()
    shown = race_view(wait(job).record())
    assert "asking" not in shown.status
    assert can_press(shown) == (True, False)


def test_hub_tasks_leave_out_what_does_not_fit_and_say_how_much(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [Example(f"{n} and {n} make", f" {2 * n}") for n in range(12)]
    long = [Example("and " * 200 + f"{n}", " much") for n in range(3)]
    task = Task("boolq", "Sums.", tuple(rows[:8] + long), (*rows[8:], Example("or " * 200, " so")))
    card = replace(TASKS["boolq"], load=lambda seed: task)
    monkeypatch.setitem(TASKS, "boolq", card)
    assert asked(task="boolq").max_length == 128
    assert asked(task="boolq", model="smollm2-135m").max_length == 512
    assert asked(task="addition").max_length is None
    job = wait(jobs.start(asked(task="boolq")))
    assert (job.state, job.record().left_out) == ("finished", 3)
    parts = "3 training examples and 1 held-out example"
    sentence = f"Left out, as longer than 128 tokens: {parts}."
    assert sentence in race_view(job.record()).results
    assert "Left out" not in race_view(wait(jobs.start(asked())).record()).results


def test_old_races_are_forgotten_with_their_folders(jobs: Jobs) -> None:
    first, second = wait(jobs.start(asked(steps=1))), wait(jobs.start(asked(steps=1)))
    third = wait(jobs.start(asked(steps=1)))
    assert jobs.get(first.id) is None
    assert not first.folder.exists()
    assert jobs.get(second.id) is second
    assert jobs.get(third.id) is third
    assert jobs.get(None) is None
    assert jobs.get({"id": 3}) is None


def test_what_the_core_refuses_fails_with_the_same_sentence(jobs: Jobs) -> None:
    job = wait(jobs.start(asked(lanes=lane(r=200))))
    assert job.state == "failed"
    assert "rank 200 exceeds min(out, in)" in job.note
    shown = race_view(job.record())
    assert "rank 200 exceeds" in shown.status
    assert "rank 200 exceeds" in shown.results
    assert can_press(shown)[0]


def test_what_nobody_foresaw_is_one_line_for_the_page_and_a_traceback_for_the_server(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no such kernel\n  at line 3 of /home/secret.py")

    logged: list[object] = []
    monkeypatch.setattr(threading, "excepthook", logged.append)
    monkeypatch.setattr(runs, "start", fail)
    job = wait(jobs.start(asked()))
    assert (job.state, job.note) == ("failed", "RuntimeError: no such kernel")
    shown = race_view(job.record())
    assert "no such kernel" in shown.status
    assert "secret" not in str(shown)
    wait_until(lambda: logged)
    wait_until(lambda: logged)  # after the page is told
    assert len(logged) == 1

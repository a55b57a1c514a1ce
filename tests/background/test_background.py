"""One background run: commands, news for whoever waits, checkpoints, and a clean end."""

import dataclasses
import json
import re
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from support.races import small, steps_of

import olora_viz as ov
from olora_viz.background.race import BackgroundRace
from olora_viz.background.record import MOST_EARLY, RaceRecord, ready_race
from olora_viz.background.work import BackgroundWork
from olora_viz.learn.gallery import GALLERY
from olora_viz.machine import process as progress
from olora_viz.machine import threads
from olora_viz.races.race import Race
from olora_viz.races.run import Run
from olora_viz.views.race import race_view

CONFIG = small(steps=6, batch_size=2, eval_every=3)
LONG = small(steps=100_000, batch_size=2)


def made(config: ov.RaceConfig = CONFIG, folder=None, **more) -> BackgroundRace:
    return BackgroundRace("id", config, folder, ready_race(config).styles, **more)


def until(job: BackgroundWork, holds) -> None:
    """Follow a run by its cursor until something holds."""
    cursor = 0
    while not holds():
        found = job.newer(cursor, 60)
        assert found > cursor, (job.state, job.note)
        cursor = found


def test_it_is_a_record_and_makes_the_steps_of_the_race() -> None:
    job = made()
    assert isinstance(job.record(), RaceRecord)
    job.start()
    assert job.wait(60)
    assert job.steps == steps_of(CONFIG)
    assert (job.state, job.note, job.complete) == ("finished", "", True)
    assert len(job.record().answers) == 4
    assert job.racing is not None
    first = job.record().early_answers[0]  # later ones may be left out for their time
    assert (first.step, first.prompt) == (3, job.record().answers[0].prompt)
    for step, when in ((2, ""), (4, "at step 3"), (6, "at step 6")):
        shown = race_view(job.record(), upto=step).answers
        assert (first.prompt in shown) == bool(when)
        assert f">{when}<" in shown


def test_of_many_early_answers_every_second_one_is_kept_and_the_last_one_before_a_step_is_shown() -> None:
    record = GALLERY["first"]
    assert [answer.step for answer in record.early_answers] == list(range(5, 61, 5))
    assert [record.answers_at(step)[0].step for step in (5, 9, 10, 59)] == [5, 5, 10, 55]
    assert record.answers_at(4) == ()
    assert record.answers_at(60) == record.answers
    assert replace(record, early_answers=()).answers_at(4) == record.answers
    for step in range(65, 1000, 5):
        record = replace(record, early_answers=record.answered(replace(record.early_answers[0], step=step)))
        kept = [answer.step for answer in record.early_answers]
        assert len(kept) <= MOST_EARLY
        assert kept == sorted(kept)
        assert kept[-1] == step


@pytest.mark.parametrize("name", GALLERY)
def test_a_record_is_read_back_from_its_json_and_its_steps(name: str) -> None:
    record = GALLERY[name]
    values = json.loads(json.dumps(record.to_json()))
    again = RaceRecord.from_json(values, record.steps)
    assert json.loads(json.dumps(again.to_json())) == values
    unsaved = {"name": record.name, "recorded": True}
    for field in dataclasses.fields(RaceRecord):
        if field.name not in ("baseline", "tested"):  # arrays, which their JSON has compared
            value = unsaved.get(field.name, getattr(again, field.name))
            assert value == getattr(record, field.name), field.name


@pytest.mark.parametrize("on_disk", [False, True])
def test_pauses_and_single_steps_change_no_bit(on_disk: bool, tmp_path) -> None:
    job = made(folder=tmp_path / "run" if on_disk else None)
    job.goal = 2
    job.start()
    job.wait_for_pause()
    assert (job.state, len(job.steps)) == ("paused", 2)
    job.step()
    until(job, lambda: len(job.steps) == 3 and job.state == "paused")
    if on_disk:
        job.release()
        assert job.racing is None
    job.resume()
    assert job.wait(60)
    assert job.steps == steps_of(CONFIG)
    assert (job.racing is None) == on_disk


def test_a_race_that_is_released_goes_on_waiting_for_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = made(folder=tmp_path / "run")
    job.goal = 2
    job.start()
    job.wait_for_pause()
    waiting: list[bool] = []
    checkpoint = Run.checkpoint
    monkeypatch.setattr(Run, "checkpoint", lambda run: (waiting.append(job.pauses()), checkpoint(run)))
    job.release()
    assert waiting == [True]
    job.resume()
    assert job.wait(60)


def test_whoever_waits_hears_of_every_change_and_never_of_none() -> None:
    job = made()
    seen: list[tuple[int, str, int]] = []

    def follow() -> None:
        cursor = 0
        while not job.complete:
            cursor = job.newer(cursor)
            seen.append((cursor, job.state, len(job.steps)))

    follower = threading.Thread(target=follow)
    follower.start()
    job.start()
    assert job.wait(60)
    follower.join(10)
    assert not follower.is_alive()
    cursors = [cursor for cursor, _, _ in seen]
    assert cursors == sorted(set(cursors))
    assert seen[-1][2] == 6
    assert job.newer(0) == job.version == job.newer(job.version, 0.01)


def test_whoever_listens_has_heard_of_the_end_before_those_who_wait_go_on() -> None:
    heard = []
    job = made(CONFIG)
    job.listen = lambda: heard.append((job.state, job.complete))
    job.start()
    assert job.wait(60)
    assert heard[-1] == ("finished", True)


def test_stop_ends_it_after_its_step_and_says_why() -> None:
    job = made(LONG)
    job.start()
    until(job, lambda: len(job.steps) >= 3)
    job.stop("somebody else is in a hurry")
    assert job.wait(60)
    assert (job.state, job.note) == ("stopped", "somebody else is in a hurry")
    assert job.steps[-1].step == len(job.steps)


@pytest.fixture
def at_once(monkeypatch) -> None:
    """Report the progress of everything, however short it is."""
    monkeypatch.setattr(progress, "LONG_AFTER", 0.0)
    monkeypatch.setattr(progress, "REPORT_EVERY", 0.0)
    monkeypatch.setattr(threads, "REPORT_EVERY", 1e-4)


EVALUATING = "evaluating 4 held-out examples"


def commanded(command, folder) -> tuple[BackgroundRace, list[str]]:
    """Race with a command in the first evaluation; return the job and what it said from then on."""
    job, said = made(folder=folder), []

    def listen() -> None:
        if said or (job.state == "racing" and job.note.startswith(EVALUATING)):
            said.append(f"{job.state}: {job.note}")
        if len(said) == 1:
            command(job)

    job.listen = listen
    job.start()
    return job, said


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_pause_in_an_evaluation_waits_for_one_block_and_changes_no_bit(at_once, on_disk: bool, tmp_path) -> None:
    job, said = commanded(BackgroundRace.pause, tmp_path / "run" if on_disk else None)
    job.wait_for_pause()
    assert (job.state, len(job.steps)) == ("paused", 2)
    assert sum(EVALUATING in words for words in said) <= 3, said
    if on_disk:
        job.release()
    job.resume()
    assert job.wait(60)
    assert job.steps == steps_of(CONFIG)


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_stop_in_an_evaluation_waits_for_one_block_and_keeps_the_adapters(at_once, on_disk: bool, tmp_path) -> None:
    job, said = commanded(BackgroundRace.stop, tmp_path / "run" if on_disk else None)
    assert job.wait(60)
    words = "in the evaluation of step 3: answers and adapters are of that step"
    assert (job.state, job.note, len(job.steps)) == ("stopped", words, 2)
    assert words in race_view(job.record()).status
    assert sum(EVALUATING in words for words in said) <= 3, said
    assert len(job.record().answers) == 4
    assert {answer.step for answer in job.record().answers} == {3}
    if on_disk:
        assert any(words.startswith("stopped: writing the adapters, ") for words in said)
        assert sorted(path.name for path in tmp_path.glob("run/adapters/*")) == ["lora", "olora"]
        assert list(ov.resume_run(tmp_path / "run")) == steps_of(CONFIG)[2:]


def test_its_status_says_what_is_evaluated_and_how_far_it_is(at_once) -> None:
    job = made(small(steps=2, batch_size=2, eval_every=1, eval_size=40))
    seen: set[str] = set()
    job.listen = lambda: seen.add(str(race_view(job.record()).status))
    job.start()
    assert job.wait(60)
    loading = r"role=.status.>loading<.*evaluating the base model, \d\d%"
    assert any(re.search(loading, line) for line in seen), seen
    going = r"<b>1</b> / 2 ·</span> .* left ·</span> .*evaluating<.*> 40 held-out examples</span>, \d\d%</span>"
    assert any(re.search(going, line) for line in seen), seen
    assert "evaluating" not in str(race_view(job.record()).status)


def test_stop_while_the_base_model_is_evaluated_ends_it_there(at_once) -> None:
    job = made(LONG)
    job.listen = lambda: job.stop() if "evaluating the base model" in job.note else None
    job.start()
    assert job.wait(60)
    assert (job.state, job.steps, job.racing) == ("stopped", [], None)


def test_stop_while_it_loads_leaves_no_step() -> None:
    job = made(LONG)
    job.listen = lambda: job.stop() if job.state == "loading" else None
    job.start()
    assert job.wait(60)
    assert (job.state, job.steps) == ("stopped", [])


def test_what_goes_wrong_is_a_sentence(monkeypatch) -> None:
    job = made(small((ov.Lane("olora", r=999),)))
    job.start()
    assert job.wait(60)
    assert job.state == "failed"
    assert "rank 999 exceeds" in job.note

    def fail(*_: object) -> None:
        raise RuntimeError("no such kernel\n  at line 3")

    monkeypatch.setattr(Race, "__next__", fail)
    job = made()
    job.start()
    assert job.wait(60)
    assert (job.state, job.note) == ("failed", "RuntimeError: no such kernel")
    assert isinstance(job.error, RuntimeError)
    assert job.racing is None


def test_an_interrupted_wait_does_not_take_the_race_for_ended() -> None:
    job = made(LONG)
    job.start()
    until(job, lambda: bool(job.steps))
    assert not job.wait(0.05)
    job.pause("the kernel was interrupted")
    job.wait_for_pause()
    assert (job.state, job.note, job.complete) == ("paused", "the kernel was interrupted", False)
    job.stop()
    assert job.wait(60)


@pytest.mark.nightly
def test_the_interpreter_ends_while_a_race_goes_on() -> None:
    code = """
import olora_viz as ov
from olora_viz.background.race import BackgroundRace
from olora_viz.background.record import ready_race
config = ov.RaceConfig(
    task="addition", lanes=(ov.Lane("lora", r=2),), steps=100_000, batch_size=2, eval_every=0,
    eval_size=2, test_size=2,
)
job = BackgroundRace("id", config, None, ready_race(config).styles)
job.start()
cursor = 0
while len(job.steps) < 2:
    cursor = job.newer(cursor)
print("leaving")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "leaving\n"
    assert "Fatal" not in done.stderr

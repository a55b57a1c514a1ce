"""What a page may ask for, and what becomes of the races it starts."""

import re
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import peft
import pytest

from olora_viz import load_model
from olora_viz.race_config import RaceConfig
from olora_viz.tasks import TASKS
from olora_viz.theme import looks
from olora_viz.web import fragments
from olora_viz.web.jobs import Job, Jobs
from olora_viz.web.lane_table import marks
from olora_viz.web.limits import Limits, checked_config, from_environment
from olora_viz.web.race_view import view

LANES = [{"init": "lora", "r": 4, "alpha": "", "lr": "1e-3", "seed": 0}]
ASKED = {"model": "glassllm", "task": "addition", "steps": 5, "batch": 4, "lanes": LANES}


def asked(**changes: object) -> RaceConfig:
    return checked_config(Limits(max_steps=400), **(ASKED | changes))


def lane(**changes: object) -> list[dict[str, object]]:
    return [LANES[0] | changes]


def wait(job: Job, seconds: float = 60) -> Job:
    end = time.monotonic() + seconds
    while not job.complete and time.monotonic() < end:
        time.sleep(0.02)
    assert job.complete
    return job


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    made = Jobs(keep=1, max_waiting=2, folder=tmp_path / "jobs")
    yield made
    made.close()


def test_what_a_page_sends_as_text_becomes_a_race() -> None:
    config = asked(steps="5", lanes=lane(r="8", alpha="16", lr="3e-3", seed="7"))
    assert config.steps == 5
    made = config.lanes[0]
    assert (made.r, made.alpha, made.lr, made.seed) == (8, 16.0, 3e-3, 7)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"steps": 401}, "steps must be a whole number from 1 to 400, not 401"),
        ({"steps": None}, "steps must be a whole number from 1 to 400, not None"),
        ({"steps": float("nan")}, "steps must be a whole number"),
        ({"steps": 2.5}, "steps must be a whole number from 1 to 400, not 2.5"),
        ({"batch": 0}, "prompts a step must be a whole number from 1 to 64, not 0"),
        ({"model": "glasslm"}, "unknown model 'glasslm'; did you mean 'glassllm'"),
        ({"model": "../../etc"}, "unknown model '../../etc'"),
        ({"model": "/"}, "unknown model '/'"),
        ({"model": ["glassllm"]}, "unknown model"),
        ({"task": "/etc/passwd"}, "unknown task '/etc/passwd'"),
        ({"lanes": []}, "a race takes 1 to 64 lanes, not 0"),
        ({"lanes": LANES * 65}, "a race takes 1 to 64 lanes, not 65"),
        ({"lanes": "lora"}, "a race takes 1 to 64 lanes"),
        ({"lanes": ["lora"]}, "a lane is a row"),
        ({"lanes": lane(init="olra")}, "unknown initialization 'olra'; did you mean"),
        ({"lanes": lane(r=999)}, "rank must be a whole number from 1 to 256, not 999"),
        ({"lanes": lane(r="1e400")}, "rank must be a whole number from 1 to 256"),
        ({"lanes": lane(lr="fast")}, "learning rate must be a positive number, not 'fast'"),
        ({"lanes": lane(lr="-1")}, "learning rate must be a positive number, not '-1'"),
        ({"lanes": lane(lr="inf")}, "learning rate must be a positive number, not 'inf'"),
        ({"lanes": lane(alpha="0")}, "alpha must be a positive number, not '0'"),
        ({"lanes": lane(seed=-1)}, "seed must be a whole number from 0"),
    ],
)
def test_bad_values_are_refused_with_the_value_and_the_rule(
    changes: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)) as caught:
        asked(**changes)
    assert "\n" not in str(caught.value)


def test_the_server_s_environment_sets_the_limits() -> None:
    limits = from_environment(
        {"OLORA_VIZ_MAX_STEPS": "9", "OLORA_VIZ_MODELS": "glassllm", "OTHER": "x"}
    )
    assert (limits.max_steps, limits.models) == (9, ("glassllm",))
    for bad in ({"OLORA_VIZ_MAX_RANK": "many"}, {"OLORA_VIZ_MODELS": "glassllm,nothing"}):
        with pytest.raises(ValueError, match=r"many|nothing"):
            from_environment(bad)


def test_the_largest_models_are_offered_only_where_the_server_names_them() -> None:
    assert "mistral-7b" not in Limits().models
    assert {"glassllm", "smollm2-135m"} <= set(Limits().models)
    assert "mistral-7b" in from_environment({"OLORA_VIZ_MODELS": "mistral-7b"}).models


def test_marks_follow_the_rows_and_say_what_is_wrong_with_one() -> None:
    rows = [*lane(lr="1e-3"), *lane(lr="oops"), *lane(lr="3e-3")]
    found = marks(Limits(), rows)
    assert [mark["dash"] for mark in found] == ["dot", "unknown", "solid"]
    assert found[1]["wrong"] == "learning rate must be a positive number, not 'oops'"
    assert marks(Limits(), "nonsense") == []


def test_a_race_in_the_background_finishes_with_answers_and_adapters_that_peft_loads(
    jobs: Jobs, tmp_path: Path
) -> None:
    job = wait(jobs.start(asked(lanes=[*LANES, *lane(init="olora")])))
    assert (job.state, job.note, len(job.steps)) == ("finished", "", 5)
    assert len(job.answers[0].lanes) == 2
    model, _ = load_model("glassllm")
    for k in range(2):
        with zipfile.ZipFile(job.adapter_zip(k)) as archive:
            archive.extractall(tmp_path / str(k))
        (folder,) = (tmp_path / str(k)).iterdir()
        peft.PeftModel.from_pretrained(model, str(folder)).unload()
    with pytest.raises(ValueError, match="lane 2 must be from 0 to 1"):
        job.adapter_zip(2)


def test_stop_ends_a_race_within_a_step_and_keeps_what_was_done(jobs: Jobs) -> None:
    job = jobs.start(asked(steps=400))
    while len(job.steps) < 3:
        time.sleep(0.005)
    job.stop()
    done = len(job.steps)
    wait(job)
    assert job.state == "stopped"
    assert done <= len(job.steps) <= done + 1
    assert "stopped" in view(job).status
    assert "finished" not in view(job).status
    assert job.adapter_zip(0).exists()


def test_one_race_trains_at_a_time_and_the_others_wait_their_turn(jobs: Jobs) -> None:
    first = jobs.start(asked(steps=400))
    while not first.steps:
        time.sleep(0.01)
    second, third = jobs.start(asked(steps=400)), jobs.start(asked(steps=400))
    assert (second.state, third.state) == ("waiting", "waiting")
    assert (jobs.before(second), jobs.before(third)) == (1, 2)
    assert "waiting" in view(third, 2).status
    assert "2 races before yours" in view(third, 2).status
    with pytest.raises(ValueError, match="2 races wait already"):
        jobs.start(asked())
    second.stop()
    first.stop()
    third.stop()
    assert wait(second).state == "stopped"
    assert second.steps == []
    wait(third)


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
    shown = view(job)
    assert "rank 200 exceeds" in shown.status
    assert "rank 200 exceeds" in shown.results
    assert "Traceback" not in "".join(map(str, shown))


def test_text_from_elsewhere_is_escaped() -> None:
    evil = "<img src=x onerror=alert(1)>"
    look = looks(asked().lanes, [evil])
    pieces = (
        fragments.problem(evil)
        + fragments.answers(look, [0], [fragments.Answer(evil, evil, evil, (evil,))], False)
        + fragments.mark(look[0])
    )
    assert "<img" not in pieces


@pytest.mark.parametrize("name", TASKS)
def test_every_task_shows_an_example(name: str) -> None:
    assert TASKS[name].summary.split()[0] in fragments.sample(TASKS[name])

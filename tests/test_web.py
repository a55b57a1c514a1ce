"""What a page may ask for, and what becomes of the races it starts."""

import html
import re
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import httpx
import peft
import pytest
from served import launched

from olora_viz import load_model
from olora_viz.figures import theme
from olora_viz.figures.live.serving import served
from olora_viz.figures.theme import lane_styles
from olora_viz.initializers import INITIALIZERS
from olora_viz.lanes.lane import Lane, parse_lanes
from olora_viz.races import run as runs
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import Race
from olora_viz.tasks import TASKS, Example, Task
from olora_viz.views import html as fragments
from olora_viz.views.race import RaceView, race_view
from olora_viz.web import page
from olora_viz.web.export.take import adapter_list, find
from olora_viz.web.guard.config import checked_config
from olora_viz.web.guard.limits import Limits, from_environment
from olora_viz.web.jobs import job as computed
from olora_viz.web.jobs.queue import Job, Jobs
from olora_viz.web.race.controls import buttons
from olora_viz.web.race.lane_table import lane_table, marks

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


def wait_for_steps(job: Job, count: int = 1) -> None:
    end = time.monotonic() + 60
    while len(job.steps) < count:
        assert time.monotonic() < end
        time.sleep(0.005)


def can_press(shown: RaceView) -> tuple[bool, bool]:
    """Whether Race and Stop can be pressed."""
    its = buttons(shown)
    return its.race["interactive"], its.stop["interactive"]


@contextmanager
def visited(demo: gr.Blocks) -> Iterator[httpx.Client]:
    """Serve pages in this process, and yield a visitor's client."""
    with launched(demo) as url, httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    made = Jobs(keep=1, max_waiting=2, folder=tmp_path / "jobs")
    yield made
    made.close()


def test_pages_do_not_wait_while_the_folder_of_an_old_race_is_deleted(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = wait(jobs.start(asked(steps=1)))
    wait(jobs.start(asked(steps=1)))
    deleting, answered = threading.Event(), threading.Event()
    remove = old.remove

    def slowly() -> None:
        deleting.set()
        assert answered.wait(20), "a page waited for the disk"
        remove()

    def ask() -> None:
        deleting.wait(20)
        jobs.before(old)
        answered.set()

    monkeypatch.setattr(old, "remove", slowly)
    asking = threading.Thread(target=ask)
    asking.start()
    jobs.start(asked(steps=1))
    asking.join()
    assert not old.folder.exists()
    assert jobs.get(old.id) is None


def test_what_a_page_sends_as_text_becomes_a_race() -> None:
    config = asked(steps="5", lanes=lane(r="8", alpha="16", lr="3e-3", seed="7"))
    assert config.steps == 5
    made = config.lanes[0]
    assert (made.r, made.alpha, made.lr, made.seed) == (8, 16.0, 3e-3, 7)


@pytest.mark.parametrize("steps", [1, 7, 50, 51, 99, 1999, 2000])
def test_a_race_of_the_page_looks_at_its_first_gradients_and_at_most_fifty_more(
    steps: int,
) -> None:
    config = checked_config(Limits(), **(ASKED | {"steps": steps}))
    styles = sum(config.is_due("gradients", number) for number in range(1, steps + 1))
    assert config.is_due("gradients", 1)
    assert min(steps, 25) <= styles <= 51


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"steps": 401}, "steps must be a whole number from 1 to 400, not 401"),
        ({"steps": float("nan")}, "steps must be a whole number"),
        ({"steps": 10**400}, "steps must be a whole number from 1 to 400, not 1000"),
        ({"steps": 10**5000}, "steps must be a whole number from 1 to 400, not a number too long"),
        ({"steps": True}, "steps must be a whole number from 1 to 400, not True"),
        ({"steps": None}, "steps must be a whole number from 1 to 400, but its field is empty"),
        ({"batch": " "}, "prompts per step must be a whole number from 1 to 64, but its field is"),
        ({"steps": 3.7}, "steps must be a whole number from 1 to 400, not 3.7"),
        ({"lanes": lane(lr="1e-3/x")}, "learning rate must be a positive number, not 'x'"),
        ({"lanes": lane(lr="1/2", seed="/".join("1" * 40))}, "its lists make 80 lanes"),
        ({"lanes": lane(seed="/".join("1" * 60)) * 2}, "a race takes 1 to 64 lanes, not 120"),
        ({"steps": 2.5}, "steps must be a whole number from 1 to 400, not 2.5"),
        ({"batch": 0}, "prompts per step must be a whole number from 1 to 64, not 0"),
        ({"model": "glasslm"}, "unknown model 'glasslm'; did you mean 'glassllm'"),
        ({"model": "../../etc"}, "unknown model '../../etc'"),
        ({"model": "/"}, "unknown model '/'"),
        ({"model": ["glassllm"]}, "unknown model"),
        ({"task": ["addition"]}, "unknown task \"['addition']\""),
        ({"task": {}}, "unknown task '{}'"),
        ({"task": None}, "unknown task 'None'"),
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
        ({"lanes": lane(lr=10**400)}, "learning rate must be a positive number, not 1000"),
        ({"lanes": lane(alpha=[])}, "alpha must be a positive number, not []"),
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


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ValueError, match="steps must") as caught:
        asked(steps=0, batch=0, lanes=lane(lr=0))
    assert str(caught.value).count(" must be ") == 3


def test_a_cell_of_the_table_takes_what_a_link_takes() -> None:
    lanes = asked(lanes=lane(init="olora", lr="1e-3/3e-3", r="2/4", alpha="")).lanes
    assert lanes == tuple(parse_lanes("olora:lr=1e-3/3e-3,r=2/4"))
    assert asked(lanes=lane(init="olora", lr="fair", r=4)).lanes == tuple(
        parse_lanes("olora:lr=fair,r=4")
    )


def test_the_server_s_environment_sets_the_limits() -> None:
    limits = from_environment(
        {
            "OLORA_VIZ_MAX_STEPS": "9", "OLORA_VIZ_MODELS": "glassllm", "OTHER": "x",
            "OLORA_VIZ_MAX_SECONDS": "60",
        }
    )  # fmt: skip
    assert (limits.max_seconds, Limits().max_seconds) == (60, 1800)
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


def test_the_page_s_table_races_every_start_that_there_is(jobs: Jobs) -> None:
    limits = Limits()
    offered = lane_table(limits, (), elem_id="lanes").props["starts"]
    assert list(offered) == list(INITIALIZERS)
    rows = [row for init in offered for row in lane(init=init)]
    assert not any(mark["wrong"] for mark in marks(limits, rows))
    job = wait(jobs.start(asked(steps=2, lanes=rows)))
    assert (job.state, job.note, len(job.steps)) == ("finished", "", 2)
    assert race_view(job).results.count("EVA") >= 1


def test_stop_ends_a_race_within_a_step_and_keeps_what_was_done(jobs: Jobs) -> None:
    job = jobs.start(asked(steps=400))
    wait_for_steps(job, 3)
    jobs.stop(job)
    done = len(job.steps)
    wait(job)
    assert job.state == "stopped"
    assert done <= len(job.steps) <= done + 1
    assert "stopped" in race_view(job).status
    assert "finished" not in race_view(job).status
    assert job.adapter_zip(0).exists()


def test_one_race_trains_at_a_time_and_the_others_wait_their_turn(jobs: Jobs) -> None:
    first = jobs.start(asked(steps=400))
    wait_for_steps(first)
    second, third = jobs.start(asked(steps=400)), jobs.start(asked(steps=400))
    assert (second.state, third.state) == ("waiting", "waiting")
    assert (jobs.before(second), jobs.before(third)) == (1, 2)
    assert "waiting" in race_view(third, before=2).status
    assert "2 races before yours" in race_view(third, before=2).status
    with pytest.raises(ValueError, match="2 races are already waiting"):
        jobs.start(asked())
    jobs.stop(second)
    assert not first.ended
    assert (second.state, second.complete, second.steps) == ("stopped", True, [])
    assert "stopped" in race_view(second).status
    assert jobs.before(third) == 1
    fourth = jobs.start(asked(steps=1))
    for job in (first, third):
        jobs.stop(job)
    assert wait(fourth).state == "finished"
    assert (first.state, third.state) == ("stopped", "stopped")


def test_a_race_that_takes_too_long_is_stopped_and_its_page_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(computed, "time", SimpleNamespace(monotonic=lambda: clock.now))
    jobs = Jobs(folder=tmp_path / "jobs", max_seconds=1800)
    try:
        job = jobs.start(asked(steps=400))
        wait_for_steps(job, 3)
        clock.now += 1801
        assert wait(job).state == "stopped"
        assert 3 <= len(job.steps) < 400
        assert job.note == "stopped after 30 minutes, this server's limit"
        shown = html.unescape(race_view(job).status)
        assert re.search(r">stopped<.*stopped after 30 minutes, this server's limit", shown)
        assert "finished" not in shown
        assert job.adapter_zip(0).exists()
        assert wait(jobs.start(asked())).state == "finished"
    finally:
        jobs.close()


def test_loading_a_model_counts_as_time_too(tmp_path: Path) -> None:
    jobs = Jobs(folder=tmp_path / "jobs", max_seconds=0)
    try:
        job = wait(jobs.start(asked()))
        assert (job.state, job.steps) == ("stopped", [])
        assert job.note == "stopped after 0 seconds, this server's limit"
    finally:
        jobs.close()


def test_race_can_be_pressed_again_when_the_lanes_have_answered(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking, go_on, answers = threading.Event(), threading.Event(), Race.answers

    def slow(race: Race, count: int) -> list[fragments.Answer]:
        asking.set()
        go_on.wait(60)
        return answers(race, count)

    monkeypatch.setattr(Race, "answers", slow)
    job = jobs.start(asked(steps=2))
    assert asking.wait(60)
    try:
        shown = race_view(job)
        assert ">finished<" in shown.status
        assert "generating answers" in shown.status
        assert can_press(shown) == (False, False)
    finally:
        go_on.set()
    shown = race_view(wait(job))
    assert "asking" not in shown.status
    assert can_press(shown) == (True, False)


def test_hub_tasks_leave_out_what_does_not_fit_and_say_how_much(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [Example(f"{n} and {n} make", f" {2 * n}") for n in range(12)]
    long = [Example("and " * 200 + f"{n}", " much") for n in range(3)]
    task = Task("boolq", "Sums.", tuple(rows[:8] + long), tuple(rows[8:]))
    card = replace(TASKS["boolq"], load=lambda seed, split: task)
    monkeypatch.setitem(TASKS, "boolq", card)
    assert asked(task="boolq").max_length == 128
    assert asked(task="boolq", model="smollm2-135m").max_length == 512
    assert asked(task="addition").max_length is None
    job = wait(jobs.start(asked(task="boolq")))
    assert (job.state, job.left_out) == ("finished", 3)
    sentence = "Left out of training: 3 examples of more than 128 tokens."
    assert sentence in race_view(job).results
    assert "Left out" not in race_view(wait(jobs.start(asked()))).results


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
    shown = race_view(job)
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
    shown = race_view(job)
    assert "no such kernel" in shown.status
    assert "secret" not in str(shown)
    assert len(logged) == 1


def test_the_pages_take_no_files() -> None:
    with visited(page.build(Limits())) as visitor:
        assert visitor.get("/").status_code == 200
        upload = visitor.post("/gradio_api/upload", files={"files": ("a.txt", b"ab")})
        assert upload.status_code == 413


def test_every_lane_s_adapter_can_be_fetched_where_lanes_are_equal(tmp_path: Path) -> None:
    jobs = Jobs(folder=tmp_path / "a #folder")
    with gr.Blocks(analytics_enabled=False) as demo:
        adapter_list(jobs, elem_id="adapters")
    try:
        job = wait(jobs.start(asked(steps=1, lanes=lane(init="olora") * 2)))
        assert job.config.labels == ("olora", "olora#2")
        with visited(demo) as visitor:
            for k, name in enumerate(["olora", "olora-2"]):
                found = find(jobs, [job.id, k])
                assert found["name"] == f"glassllm-addition-{name}.zip"
                assert "reads it back with the lane's logits" in found["found"]
                fetched = visitor.get(found["url"])
                assert fetched.status_code == 200
                assert fetched.content == job.adapter_zip(k).read_bytes()
    finally:
        jobs.close()


def test_an_address_is_quoted() -> None:
    assert served(Path("/a b/c#2?.zip")) == "/gradio_api/file=/a%20b/c%232%3F.zip"


def test_an_adapter_that_cannot_be_had_is_a_sentence(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = wait(jobs.start(asked(steps=1)))
    for wrong in (None, 7, [], [job.id], [job.id, "x"], [job.id, None], [job.id, float("inf")],
                  [job.id, 1], [job.id, 10**400], ["other", 0], [[], 0]):  # fmt: skip
        found = find(jobs, wrong)
        assert list(found) == ["problem"]
        assert found["problem"]

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = sorted(job.folder.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "write", full)
        found = find(jobs, [job.id, 0])
    assert found == {"problem": "the adapter could not be zipped: No space left on device"}
    assert sorted(job.folder.iterdir()) == before
    assert "url" in find(jobs, [job.id, 0])


@pytest.mark.parametrize("name", theme.THEMES)
def test_a_placeholder_of_the_lane_table_can_be_read(name: str) -> None:
    rule = re.search(r"\.lanes input::placeholder \{([^}]*)\}", page.css())
    assert rule
    assert "color: var(--mute)" in rule[1]
    opacity = re.search(r"opacity: ([\d.]+)", rule[1])
    share = float(opacity[1]) if opacity else 1.0
    colors = theme.palette(name)
    for behind in (colors["card"], colors["bg"]):
        channels = zip(*(bytes.fromhex(c[1:]) for c in (colors["mute"], behind)), strict=True)
        seen = "#" + "".join(f"{round(share * a + (1 - share) * b):02x}" for a, b in channels)
        assert theme.contrast(seen, behind) >= 4.5


def test_a_screen_reader_is_told_the_state_and_not_every_step() -> None:
    shown = fragments.status("racing", "3 / 9", progress=1 / 3)
    assert re.findall(r'<span class="state" role="status">(.*?)</span>', shown) == ["racing"]
    assert shown.count("role=") == 1


def test_gradio_notes_a_call_on_one_part_and_not_on_all_that_it_fills() -> None:
    calls = page.build(Limits()).fns.values()
    assert len({part.elem_id for call in calls for part in call.show_progress_on}) == 2
    assert all(len(call.show_progress_on) == 1 for call in calls)


def test_text_from_elsewhere_is_escaped() -> None:
    evil = "<img src=x onerror=alert(1)>"
    style = lane_styles(asked().lanes, [evil])
    pieces = (
        fragments.problem(evil)
        + fragments.answers(style, [0], [fragments.Answer(evil, evil, evil, (evil,))], False)
        + fragments.mark(style[0])
    )
    assert "<img" not in pieces


@pytest.mark.parametrize(("count", "folded"), [(9, 0), (10, 2), (20, 12)])
def test_of_many_answers_the_right_one_and_the_base_model_s_are_in_sight(count, folded) -> None:
    said = tuple(f"answer {k}" for k in range(count - 1))
    lanes = lane_styles((Lane("lora"),) * len(said))
    of_them = fragments.Answer("prompt", said[-1], "the base says", said)
    shown = fragments.answers(lanes, range(len(said)), [of_them], False)
    assert re.findall(r"<summary>(\d+) other answers", shown) == ([str(folded)] if folded else [])
    in_sight = re.sub(r"<details>.*?</details>", "", shown)
    assert in_sight.count("<li>") == count - folded
    assert in_sight.index(said[-1]) < in_sight.index(said[0]) < in_sight.index("the base says")
    assert all(one in shown for one in said)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_shows_an_example(name: str) -> None:
    card = TASKS[name]
    shown = html.unescape(re.sub(r"<[^>]*>", "", fragments.sample(card)))
    sample = f"“{card.prompt.strip()}” → “{card.answer.strip()}”"
    assert shown == (sample if card.prompt else card.summary)

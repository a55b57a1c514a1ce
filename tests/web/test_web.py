"""What a page may ask for, and what becomes of the races it starts."""

import html
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gradio as gr
import httpx
import pytest
from support.queued import ASKED, LANES, asked, lane, wait
from support.served import launched

from olora_viz.figures import theme
from olora_viz.figures.live.serving import served
from olora_viz.figures.theme import lane_styles
from olora_viz.lanes.generation import Answer
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.lane_spec import parse_lanes
from olora_viz.studies.contest import seed_groups
from olora_viz.tasks import TASKS
from olora_viz.views import html as fragments
from olora_viz.views.html import answers
from olora_viz.views.runs import task_sample
from olora_viz.web import page
from olora_viz.web.guard.config import checked_config
from olora_viz.web.guard.limits import Limits, from_environment
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts.export import adapter_list, adapter_zip, find
from olora_viz.web.race.settings import marks


@contextmanager
def visited(demo: gr.Blocks) -> Iterator[httpx.Client]:
    """Serve pages in this process, and yield a visitor's client."""
    fresh = httpx.Limits(max_keepalive_connections=0)  # an idle connection may be ended when it is used again
    with launched(demo) as url, httpx.Client(base_url=url, trust_env=False, timeout=30, limits=fresh) as client:
        yield client


QUEUE = Limits(keep_races=1, max_waiting=2)


def test_what_a_page_sends_as_text_becomes_a_race() -> None:
    config = asked(steps="5", lanes=lane(r="8", alpha="16", lr="3e-3", seed="7"))
    assert config.steps == 5
    made = config.lanes[0]
    assert (made.r, made.alpha, made.lr, made.seed) == (8, 16.0, 3e-3, 7)
    of_rank = asked(lanes=lane(r="4/16", alpha="8/2r/r/4"))
    assert [made.alpha for made in of_rank.lanes] == [8.0, "2r", "r/4"] * 2
    assert [made.scale for made in of_rank.lanes] == [2.0, 2.0, 0.25, 0.5, 2.0, 0.25]


@pytest.mark.parametrize("steps", [1, 7, 50, 51, 99, 1999, 2000])
def test_a_race_of_the_page_looks_at_its_first_gradients_and_at_most_fifty_more(steps: int) -> None:
    config = checked_config(Limits(), **(ASKED | {"steps": steps}))
    styles = sum(config.is_due("gradients", number) for number in range(1, steps + 1))
    assert config.is_due("gradients", 1)
    assert min(steps, 25) <= styles <= 51


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"steps": 10_001}, "steps must be a whole number from 1 to 10000, not 10001"),
        ({"steps": float("nan")}, "steps must be a whole number"),
        ({"steps": 10**400}, "steps must be a whole number from 1 to 10000, not 1000"),
        ({"steps": 10**5000}, "steps must be a whole number from 1 to 10000, not a number too long"),
        ({"steps": True}, "steps must be a whole number from 1 to 10000, not True"),
        ({"steps": None}, "steps must be a whole number from 1 to 10000, but its field is empty"),
        ({"batch": " "}, "prompts per step must be a whole number from 1 to 64, but its field is"),
        ({"steps": 3.7}, "steps must be a whole number from 1 to 10000, not 3.7"),
        ({"lanes": lane(lr="1e-3/x")}, "learning rate must be a positive number, not 'x'"),
        ({"lanes": lane(lr="1/2", seed="/".join("1" * 40))}, "its lists make 80 lanes"),
        ({"lanes": lane(seed="/".join("1" * 60)) * 2}, "a race takes 1 to 64 lanes, not 120"),
        ({"steps": 2.5}, "steps must be a whole number from 1 to 10000, not 2.5"),
        ({"batch": 0}, "prompts per step must be a whole number from 1 to 64, not 0"),
        ({"model": "glasslm"}, "unknown model 'glasslm'; did you mean 'glassllm'"),
        ({"model": "../../etc"}, "unknown model '../../etc'"),
        ({"model": "/"}, "unknown model '/'"),
        ({"model": ["glassllm"]}, "unknown model"),
        ({"task": ["addition"]}, "unknown task \"['addition']\""),
        ({"task": {}}, "unknown task '{}'"),
        ({"task": None}, "unknown task 'None'"),
        ({"task": "/etc/passwd"}, "unknown task '/etc/passwd'"),
        ({"task": "hf:owner/name"}, "unknown task 'hf:owner/name'"),
        ({"lanes": []}, "a race takes 1 to 64 lanes, not 0"),
        ({"lanes": LANES * 65}, "a race takes 1 to 64 lanes, not 65"),
        ({"lanes": "lora"}, "a race takes 1 to 64 lanes"),
        ({"lanes": ["lora"]}, "a lane is a row"),
        ({"lanes": lane(init="olra")}, "unknown initialization 'olra'; did you mean"),
        ({"lanes": lane(r=999)}, "rank must be a whole number from 1 to 256, not 999"),
        ({"lanes": lane(r="1e400")}, "rank must be a whole number from 1 to 256"),
        ({"lanes": lane(lr="fast")}, "learning rate must be a positive number, not 'fast'"),
        ({"lanes": lane(lr="1e-3, 3e-3")}, "several have / between them, as 1e-3/3e-3: '1e-3, 3e-3' has a comma"),
        ({"lanes": lane(lr="-1")}, "learning rate must be a positive number, not '-1'"),
        ({"lanes": lane(lr="inf")}, "learning rate must be a positive number, not 'inf'"),
        ({"lanes": lane(lr=10**400)}, "learning rate must be a positive number, not 1000"),
        ({"lanes": lane(alpha=[])}, "alpha must be a positive number, not []"),
        ({"lanes": lane(alpha="0")}, "alpha must be a positive number, not '0'"),
        ({"lanes": lane(alpha="2r+")}, "alpha must be a positive number, or a multiple of r or sqrt(r) such as 2r"),
        ({"lanes": lane(rest="params=200k")}, "a lane of the page has a rank, not a number of parameters"),
        ({"lanes": lane(rest="opt=adam")}, "unknown optimizer 'adam'; did you mean 'adamw'?"),
        ({"lanes": lane(rest="momentum=0.5")}, "momentum 0.5 is not a key of opt adamw: it goes with sgd and muon"),
        (
            {"lanes": lane(rest="opt=adamw/sgd", r="1/2/3/4/5/6/7/8", lr="1/2/3/4/5")},
            "its lists make 80 lanes; a race takes at",
        ),
        ({"lanes": lane(seed=-1)}, "seed must be a whole number from 0"),
    ],
)
def test_bad_values_are_refused_with_the_value_and_the_rule(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)) as caught:
        asked(**changes)
    assert "\n" not in str(caught.value)


def test_lists_of_other_keys_multiply_with_those_of_columns() -> None:
    config = asked(lanes=lane(rest="opt=adamw/sgd, dropout=0.1", r="2/4"))
    assert [(each.opt, each.r, each.dropout) for each in config.lanes] == [
        ("adamw", 2, 0.1), ("adamw", 4, 0.1), ("sgd", 2, 0.1), ("sgd", 4, 0.1),
    ]  # fmt: skip


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ValueError, match="steps must") as caught:
        asked(steps=0, batch=0, lanes=lane(lr=0))
    assert str(caught.value).count(" must be ") == 3


def test_a_cell_of_the_table_takes_what_a_link_takes() -> None:
    lanes = asked(lanes=lane(init="olora", lr="1e-3/3e-3", r="2/4", alpha="")).lanes
    assert lanes == tuple(parse_lanes("olora:lr=1e-3/3e-3,r=2/4"))
    assert asked(lanes=lane(init="olora", lr="fair", r=4)).lanes == tuple(parse_lanes("olora:lr=fair,r=4"))


def test_the_server_s_environment_sets_the_limits() -> None:
    limits = from_environment(
        {"OLORA_VIZ_MAX_STEPS": "9", "OLORA_VIZ_MODELS": "glassllm", "OTHER": "x", "OLORA_VIZ_MAX_SECONDS": "60"}
    )
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


def test_every_lane_s_adapter_can_be_fetched_where_lanes_are_equal(tmp_path: Path) -> None:
    jobs = Jobs(folder=tmp_path / "a #folder")
    with gr.Blocks(analytics_enabled=False) as demo:
        adapter_list(jobs)
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
                assert fetched.content == adapter_zip(job, k).read_bytes()
    finally:
        jobs.close()


def test_an_address_is_quoted() -> None:
    assert served(Path("/a b/c#2?.zip")) == "/gradio_api/file=/a%20b/c%232%3F.zip"


def test_an_adapter_that_cannot_be_had_is_a_sentence(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_gradio_notes_a_call_on_one_part_and_not_on_all_that_it_fills(jobs: Jobs) -> None:
    calls = page.build(Limits(), jobs).fns.values()
    assert len({part.elem_id for call in calls for part in call.show_progress_on}) == 1
    assert all(len(call.show_progress_on) == 1 for call in calls)


def test_text_from_elsewhere_is_escaped() -> None:
    evil = "<img src=x onerror=alert(1)>"
    style = lane_styles(asked().lanes, [evil])
    pieces = (
        fragments.problem(evil)
        + answers(style, seed_groups(asked().lanes), [0], [Answer(evil, evil, evil, (evil,))], False)
        + fragments.mark(style[0])
    )
    assert "<img" not in pieces


@pytest.mark.parametrize(("count", "folded"), [(9, 0), (10, 2), (20, 12)])
def test_of_many_answers_the_right_one_and_the_base_model_s_are_in_sight(count, folded) -> None:
    said = tuple(f"answer {k}" for k in range(count - 1))
    lanes = [Lane("lora", lr=1e-3 * (k + 1)) for k in range(len(said))]
    of_them, order = Answer("prompt", said[-1], "the base says", said), range(len(said))
    shown = answers(lane_styles(lanes), seed_groups(lanes), order, [of_them], plain_text=True)
    assert re.findall(r"<summary>(\d+) other answers", shown) == ([str(folded)] if folded else [])
    in_sight = re.sub(r"<details>.*?</details>", "", shown)
    assert in_sight.count("<li>") == count - folded
    assert in_sight.index(said[-1]) < in_sight.index(said[0]) < in_sight.index("the base says")
    assert all(one in shown for one in said)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_shows_an_example(name: str) -> None:
    card = TASKS[name]
    shown = html.unescape(re.sub(r"<[^>]*>", "", task_sample(card)))
    sample = f"“{card.prompt.strip()}” → “{card.answer.strip()}”"
    assert shown == (sample if card.prompt else card.summary)

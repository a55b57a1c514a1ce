"""What a page shows and holds when it is opened, reloaded, or comes from a link."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gradio as gr
import pytest
import torch
from support.tiny import tiny_folder
from support.wired import CSV, LIMITS, LONG, SETUP

from olora_viz.background.race import BackgroundRace
from olora_viz.learn.gallery import load_recording
from olora_viz.models import loading, offline
from olora_viz.web.guard.visitor_files import TEXT, VisitorFiles
from olora_viz.web.jobs.accelerator import seconds_needed
from olora_viz.web.jobs.job import readers_key
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.page import build
from olora_viz.web.parts.setup import YOUR_FILE, SetUp, first_recording
from olora_viz.web.race.arrival import FIRST_RECORDED, arrive
from olora_viz.web.race.presets import PRESETS, filled

FILES = VisitorFiles(LIMITS)
STORY = " ".join(f"On day {n} the old king walked to the sea and counted {n} white birds." for n in range(30))


def start(jobs: Jobs, setup: SetUp) -> BackgroundRace:
    return jobs.start(setup.to_config(LIMITS, FILES))


def test_a_new_page_shows_the_recorded_race_and_a_reload_its_own_run(jobs: Jobs) -> None:
    first = arrive(LIMITS, jobs, FILES, None, [], {"query": "", "own": False})
    assert (first.run, first.setup, first.words) == (FIRST_RECORDED, SetUp.first(LIMITS), "")
    job = start(jobs, SETUP)
    mine = [{"id": job.id, "name": "mine", "pinned": False, "overlaid": False}]
    reload = arrive(LIMITS, jobs, FILES, job.id, mine, {"query": LONG.to_query(), "own": True})
    assert (reload.run, reload.setup) == (job.id, LONG)
    assert arrive(LIMITS, jobs, FILES, job.id, mine, {"query": ""}).setup == SETUP
    # A new tab finds the newest run of its browser, unless another tab shows it.
    assert arrive(LIMITS, jobs, FILES, None, mine, {"query": ""}).run == job.id
    elsewhere = {"query": "", "elsewhere": [job.id]}
    assert arrive(LIMITS, jobs, FILES, None, mine, elsewhere).run == FIRST_RECORDED
    older = [{"id": start(jobs, SETUP).id, "name": "older"}]
    assert arrive(LIMITS, jobs, FILES, None, mine + older, elsewhere).run == FIRST_RECORDED
    # After Reset, and where the server has forgotten it, the first screen is not empty.
    for gone in ("", "forgotten", 7):
        assert arrive(LIMITS, jobs, FILES, gone, [], {"query": ""}).run == FIRST_RECORDED


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Let this server seem to have a GPU; return where the weights of SmolLM2 would be."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("OLORA_VIZ_CACHE", str(tmp_path))
    monkeypatch.setattr(loading, "snapshot", lambda _: None)
    first_recording.cache_clear()
    yield tmp_path / offline.MODEL_FOLDER
    first_recording.cache_clear()


def test_on_a_gpu_the_first_screen_is_the_recorded_race_of_smollm2_and_its_set_up(jobs: Jobs, on_gpu: Path) -> None:
    tiny_folder("llama", on_gpu)
    first = arrive(LIMITS, jobs, FILES, None, [], {"query": ""})
    assert (first.run, first.setup, first.words) == ("recorded:smollm2", SetUp.first(LIMITS), "")
    config = SetUp.first(LIMITS).to_config(LIMITS)
    recorded = load_recording("smollm2").config
    for name in ("model", "task", "lanes", "steps", "batch_size", "seed"):
        assert getattr(config, name) == getattr(recorded, name)
    assert seconds_needed(config) == 28  # the conservative estimate on a GPU, with its start
    blocks = {block.elem_id: block for block in build(LIMITS, jobs).blocks.values()}
    model = blocks["setup-model"]
    assert (model.value, model.choices[0][1]) == ("smollm2-135m", "glassllm")
    assert "adapter that learns to add numbers" in str(blocks["guide"].value)
    # What links leave out means the same on every server.
    assert SetUp.from_query(LIMITS, "steps=7") == replace(SetUp.of_links(LIMITS), steps=7)
    assert SetUp.first(replace(LIMITS, max_lanes=4)).model == "glassllm"


def test_on_a_gpu_without_smollm2_or_on_zero_gpu_the_first_screen_is_that_of_a_cpu(
    jobs: Jobs, on_gpu: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unreachable(*_: object) -> None:
        raise ValueError("no network")

    monkeypatch.setattr(loading, "fetch", unreachable)
    monkeypatch.setattr(loading, "from_package", unreachable)
    first = arrive(LIMITS, jobs, FILES, None, [], {"query": ""})
    assert (first.run, first.setup.model) == (FIRST_RECORDED, "glassllm")
    assert "the page begins with glassllm: no network" in caplog.text
    tiny_folder("llama", on_gpu)
    first_recording.cache_clear()
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    assert arrive(LIMITS, jobs, FILES, None, [], {"query": ""}) == first


def test_a_set_up_in_a_link_wins_over_the_run_and_starts_once(jobs: Jobs) -> None:
    job = start(jobs, SETUP)
    other = arrive(LIMITS, jobs, FILES, job.id, [], {"query": LONG.to_query(), "own": False})
    assert (other.run, other.setup) == (None, LONG)
    same = arrive(LIMITS, jobs, FILES, job.id, [], {"query": SETUP.to_query(), "own": False})
    assert same.run == job.id
    begun = arrive(LIMITS, jobs, FILES, None, [], {"query": f"{SETUP.to_query()}&start=1"})
    assert (begun.run, begun.setup, begun.starts) == (None, SETUP, True)
    assert not same.starts, "a set-up alone starts nothing"
    away = arrive(LIMITS, jobs, FILES, None, [], {"query": f"task={YOUR_FILE}&start=1"})
    assert not away.starts, "there is no file to race on"
    refused = arrive(LIMITS, jobs, FILES, None, [], {"query": "steps=x"})
    assert "This link cannot be opened" in refused.words
    assert "The page shows its default set-up." in refused.words
    seen = arrive(LIMITS, jobs, FILES, "recorded:fair-rates", [], {"query": "steps=x"})
    assert "The page shows a recorded race and its set-up." in seen.words
    kept = arrive(LIMITS, jobs, FILES, job.id, [], {"query": "steps=x"})
    assert (kept.run, kept.setup) == (job.id, SETUP)
    assert "The page shows your latest run and its set-up." in kept.words
    twice = arrive(LIMITS, jobs, FILES, None, [], {"query": "steps=x&batch=0&lane=olra"})
    for wrong in ("steps must be", "prompts per step must be", "unknown initialization"):
        assert wrong in twice.words
    assert refused.run == FIRST_RECORDED


def test_what_is_gone_is_said(jobs: Jobs) -> None:
    job = start(jobs, SETUP)
    rows = [{"id": name, "name": name, "pinned": False, "overlaid": False} for name in (job.id, "gone", "gone too")]
    here = arrive(LIMITS, jobs, FILES, job.id, rows, {"query": ""})
    assert "2 runs of this visit are no longer on the server" in here.words
    lost = arrive(LIMITS, jobs, FILES, "gone", rows[:2], {"query": LONG.to_query(), "own": True})
    assert "The race that this tab showed is no longer on the server" in lost.words
    assert lost.setup == LONG
    assert arrive(LIMITS, jobs, FILES, job.id, rows[:1], {"query": ""}).words == ""


def test_a_visitor_s_own_file_survives_a_reload_a_restart_and_a_new_tab(jobs: Jobs) -> None:
    sent = {"name": "mine.csv", "text": CSV}
    mine = replace(SETUP, task=YOUR_FILE)
    address = {"query": mine.to_query(), "own": True}
    without = arrive(LIMITS, jobs, FILES, None, [], address)
    assert "choose it again" in without.words
    assert without.setup.to_controls().task == gr.skip()
    found = arrive(LIMITS, jobs, FILES, None, [], address | {"file": sent})
    assert found.brought is not None
    assert found.setup == replace(mine, task=found.brought.token)
    assert "choose it again" not in found.words
    # Another task is chosen: the file is on the server, and not in the set-up.
    other = arrive(LIMITS, jobs, FILES, None, [], {"query": SETUP.to_query(), "file": sent})
    assert (other.setup, other.brought is None) == (SETUP, False)
    # A new tab has no file of its own: the run's is taken.
    job = jobs.start(replace(mine, task=other.brought.token).to_config(LIMITS, FILES))
    rows = [{"id": job.id, "name": "mine", "pinned": False, "overlaid": False}]
    tab = arrive(LIMITS, jobs, FILES, None, rows, {"query": ""}, "another page")
    assert tab.run == job.id
    assert tab.brought.path.read_text("utf-8") == CSV
    assert tab.setup.task == tab.brought.token


def test_a_visitor_s_text_to_keep_survives_a_reload_a_restart_and_a_new_tab(jobs: Jobs) -> None:
    sent = {"name": "mine.txt", "text": STORY}
    mine = SETUP.keeping(YOUR_FILE)
    address = {"query": mine.to_query(), "own": True}
    assert "keep=your-file" in address["query"]
    without = arrive(LIMITS, jobs, FILES, None, [], address)
    assert "choose it again under “Your own text to keep…”" in without.words
    assert without.setup == SETUP.keeping("auto")
    found = arrive(LIMITS, jobs, FILES, None, [], address | {"text": sent})
    assert "choose it again" not in found.words
    token = found.setup.settings.keep
    assert found.setup == SETUP.keeping(token)
    assert FILES.find(token, TEXT).read_text("utf-8") == STORY
    job = jobs.start(found.setup.to_config(LIMITS, FILES))
    rows = [{"id": job.id, "name": "mine", "pinned": False, "overlaid": False}]
    tab = arrive(LIMITS, jobs, FILES, None, rows, {"query": ""}, "another page")
    assert tab.run == job.id
    assert FILES.find(tab.setup.settings.keep, TEXT).read_text("utf-8") == STORY
    for page in (tab, found):  # links say only that there is one
        assert page.setup.to_query() == address["query"]
    reader = arrive(LIMITS, jobs, FILES, None, [], {"query": "", "run": readers_key(job.id)}, "a reader")
    assert reader.words.count("text to keep of this run is its owner&#39;s own file") == 1
    assert reader.setup == SETUP.keeping("auto")
    pressed = SetUp.from_controls(LIMITS, tab.setup.to_controls(), FILES)
    assert pressed == tab.setup


def test_beside_somebody_s_run_on_their_file_the_set_up_never_passes_for_its_own(jobs: Jobs) -> None:
    file = FILES.bring("theirs", "theirs.csv", CSV)
    job = jobs.start(replace(SETUP, task=file.token).to_config(LIMITS, FILES))
    key = readers_key(job.id)
    opened = arrive(LIMITS, jobs, FILES, None, [], {"query": "", "run": key})
    assert opened.setup.to_controls().task == gr.skip()
    reload = arrive(LIMITS, jobs, FILES, key, [], {"query": SETUP.to_query(), "own": True})
    for page in (opened, reload):
        assert (page.run, page.words.count("owner&#39;s own file")) == (key, 1)
        assert "choose it again" not in page.words


@pytest.mark.parametrize("file", [7, {}, {"name": "x.exe", "text": "a"}, {"name": 1, "text": 2}])
def test_a_file_that_is_none_is_not_taken(jobs: Jobs, file: object) -> None:
    found = arrive(LIMITS, jobs, FILES, None, [], {"query": "", "file": file})
    assert (found.run, found.brought) == (FIRST_RECORDED, None)


def test_a_preset_keeps_a_visitor_s_own_file() -> None:
    for preset in PRESETS:
        assert filled(LIMITS, preset, "file:abc").task == gr.skip()
        assert filled(LIMITS, preset, "addition").task == preset.task

"""The page Decide: what it takes from a visitor, what it shows, and what goes home."""

import pickle
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import gradio as gr
import pytest
from support.races import small
from support.small_decision import STUDY

from olora_viz.background import study as background
from olora_viz.background.measurement import Slicing
from olora_viz.background.pace import Speed, Speeds
from olora_viz.background.race import BackgroundRace
from olora_viz.background.record import FAILED
from olora_viz.background.study import BackgroundStudy, Deciding
from olora_viz.figures.theme import lane_styles
from olora_viz.races.config import Settings
from olora_viz.races.step import FINISHED, STOPPED
from olora_viz.studies.budget import Plan
from olora_viz.studies.decide import decide
from olora_viz.tasks import TASKS
from olora_viz.views import reports
from olora_viz.web import claims
from olora_viz.web.conditioning import measure
from olora_viz.web.decide import ahead, download_of, minutes_within, put, view
from olora_viz.web.guard.limits import Limits
from olora_viz.web.guard.visitor_files import DOWNLOADS, TEXT, FilesOfPage, VisitorFiles
from olora_viz.web.jobs.job import own_folder
from olora_viz.web.jobs.queue import Jobs

PLAN = Plan(STUDY, minutes=60, seconds=10, final=1, most=64)
LIMITS = Limits()
DECIDING = Deciding({"search": ()}, of_set_up=True)
ASKED = ["glassllm", "sentiment", 1, ["olora"], 2, []]
CLAIMED = ["glassllm", "sentiment", 0]


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    made = Jobs(folder=tmp_path_factory.mktemp("jobs"))
    yield made
    made.close()


def files(limits: Limits = LIMITS) -> FilesOfPage:
    return FilesOfPage(VisitorFiles(limits), "a page")


@pytest.fixture(scope="module")
def ended(jobs: Jobs) -> BackgroundStudy:
    """A decision that went its road, with an own text to keep: its races ran before its turn in the queue."""
    name = "decided-decided-decide"
    brought, copy = jobs.folder / "your-text.txt", own_folder(jobs.folder / name) / "your-text.txt"
    copy.parent.mkdir()
    for path in (brought, copy):
        path.write_text("The old king walked to the sea. " * 60)
    brought.with_name("your-text.txt.name").write_text("my diary.txt")
    study = STUDY.changed({"keep": str(copy)})
    config = study.config(one for i in study.compare for one in study.trials(study.cells()[0], i, [1e-3], 1))
    config = replace(config, keep=str(brought))
    for _ in decide(jobs.folder / name, plan=replace(PLAN, study=study)):
        pass
    work = BackgroundStudy(name, config, jobs.folder / name, lane_styles(config.lanes), minutes=5, question=DECIDING)
    assert jobs.put(work).wait(120)
    return work


def test_its_end_fills_every_output_and_its_report_and_adapter_go_home_for_its_owner_alone(
    jobs: Jobs, ended: BackgroundStudy
) -> None:
    assert ended.state == FINISHED, ended.note
    shown = view(ended, 0, last=True)
    assert shown.take == {"ready": True, "adapter": True}
    assert shown.minutes == ended.minutes
    for part in (shown.headline, shown.starts, shown.answers, shown.plan):
        assert ended.id not in str(part)
        assert str(jobs.folder) not in str(part)
    urls = [download_of(jobs, ended.id, kind)["url"] for kind in ("adapter", "report")]
    paths = [DOWNLOADS.find(url.rpartition("/")[2]) for url in urls]
    assert paths[0] is not None
    assert paths[1] is not None
    assert "adapter/adapter_config.json" in ZipFile(paths[0]).namelist()
    report = paths[1].read_text()
    assert "Before and after" in report
    assert all("What a merge costs" in text for text in (shown.headline, report))
    assert "--keep &#39;my diary.txt&#39;" in report
    assert "your-text.txt" not in report
    assert ended.id not in report
    assert str(jobs.folder) not in report
    for key in (ended.name, "guess", None, 3):
        assert "problem" in download_of(jobs, key, "report")


def test_it_lets_others_take_their_turn_and_goes_on_to_its_end(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "TURN", 0.0)
    cell, name = STUDY.cells()[0], "in-turn-in-turn-in-tur"
    config = STUDY.config(one for i in STUDY.compare for one in STUDY.trials(cell, i, [1e-3], 1))
    known = next(decide(jobs.folder / name, plan=PLAN))
    styles = lane_styles(config.lanes)
    work = BackgroundStudy(name, config, jobs.folder / name, styles, minutes=60, known=known, question=DECIDING)
    ends: list[str] = []
    work.listen = lambda: ends.append("decision") if work.complete else None
    jobs.put(work)
    race = jobs.start(small(task="sentiment"))
    race.listen = lambda: ends.append("race") if race.complete else None
    assert work.wait(120)
    assert race.complete
    assert ends.index("race") < ends.index("decision")
    assert work.state == FINISHED, work.note
    assert work.known is not None
    assert work.known.adapter is not None


@pytest.mark.parametrize(
    ("at", "value", "sentence"),
    [
        (0, "/etc", "unknown model"),
        (1, "/etc/passwd", "unknown task"),
        (1, "hf:owner/name", "unknown task"),
        (2, 1e9, "minutes must be one of 1, 2, 5, 10, 20, not"),
        (2, None, "minutes must be one of"),
        (2, [1], "minutes must be one of"),
        (3, [], "choose 1 to 8 starts"),
        (3, "olora", "choose 1 to 8 starts"),
        (3, ["lora"], "choose a start to compare with plain LoRA"),
        (3, ["olora", {"init": "x"}], "unknown initialization"),
        (3, ["olora", "../x"], "unknown initialization"),
        (4, 0, "rank must be a whole number from 1"),
        (4, "nan", "rank must be a whole number from 1"),
        (5, None, "search must be a list of choices, not None"),
        (5, ["clip"], "unknown choice to search 'clip'"),
        (5, [{"r": 2}], "unknown choice to search"),
        (6, {"chat": "yes"}, "chat must be 0 or 1, not 'yes'"),
        (7, -1, "what may be forgotten, in nats, must be a number of at least 0, not -1"),
        (7, "much", "what may be forgotten, in nats, must be a number of at least 0, not 'much'"),
        (7, 0.1, "a limit on what may be forgotten needs a text to keep: choose one under More settings"),
    ],
)
def test_a_visitor_s_values_are_checked_on_the_server(jobs: Jobs, at: int, value: Any, sentence: str) -> None:
    asked: list[Any] = [*ASKED, {"keep": "none"}, None]
    asked[at] = value
    with pytest.raises(ValueError, match=sentence):
        put(jobs, LIMITS, files(), asked)


def test_a_limit_and_its_text_reach_the_decision(jobs: Jobs) -> None:
    work = put(jobs, LIMITS, files(), [*ASKED, {"keep": "auto"}, "0.25"])
    jobs.stop(work)
    arguments = work.question.arguments(work)
    assert {name: arguments[name] for name in ("keep", "forget")} == {"keep": "auto", "forget": 0.25}
    free = put(jobs, LIMITS, files(), [*ASKED, {"keep": "none"}, ""])
    jobs.stop(free)
    arguments = free.question.arguments(free)
    assert {name: arguments[name] for name in ("keep", "forget")} == {"keep": "none", "forget": None}


def test_a_decision_has_the_settings_of_its_examples_and_no_others(jobs: Jobs) -> None:
    settings = Settings(warmup=9, truncate=True, chat=True).values()
    work = put(jobs, LIMITS, files(), [*ASKED, settings])
    assert (work.config.truncate, work.config.chat, work.config.warmup) == (True, True, 0)
    assert work.wait(120)
    assert work.note == "the model 'glassllm' has no chat template: race it without chat"


def test_what_goes_to_a_worker_has_nothing_of_the_page(jobs: Jobs) -> None:
    """It would import Gradio there."""
    measured = measure(jobs, small())
    slices = Slicing("", measured.config, None, measured.styles, measured=measured)
    for work in (measured, slices, put(jobs, LIMITS, files(), ASKED), claims.put(jobs, LIMITS, files(), CLAIMED)):
        jobs.stop(work)
        assert b"olora_viz.web" not in pickle.dumps(work)


def test_the_minutes_stay_within_the_server_s_limit() -> None:
    assert minutes_within(Limits(max_seconds=400)) == [1, 2, 5]
    assert minutes_within(Limits(max_seconds=20)) == [1]


def test_a_decision_that_nobody_follows_ends_and_says_so(jobs: Jobs) -> None:
    work = put(jobs, LIMITS, files(), ASKED)
    work.grace = -1.0
    assert work.wait(120)
    assert work.state == STOPPED
    assert "nobody follows it" in work.note
    assert view(work, 0, last=True).stop == gr.update(interactive=False)


def test_an_own_file_is_decided_upon_and_its_path_stays_on_the_server(jobs: Jobs, tmp_path: Path) -> None:
    rows = [f'{{"prompt": "{a} and one make", "answer": "{a + 1}"}}' for a in range(300)]
    brought = VisitorFiles(LIMITS)
    token = brought.bring("a page", "sums.jsonl", "\n".join(rows)).token
    keep = brought.bring("a page", "diary.txt", "The old king walked to the sea. " * 60, kind=TEXT).token
    work = put(
        jobs, LIMITS, FilesOfPage(brought, "a page"), ["glassllm", token, 20, ["olora"], 2, ["alpha"], {"keep": keep}]
    )
    assert work.question.arguments(work)["keep"] == str(work.own_files["keep"])
    while not work.complete and work.known is None:
        work.newer(work.version, 1)
    jobs.stop(work)
    assert work.wait(60)
    assert work.known is not None, work.note
    assert "training examples" in str(view(work, 0, last=True).plan)
    assert work.known.plan.study.race.keep == str(work.own_files["keep"])
    repeated = reports._repeat(work.known, work.config.task, work.config.keep)
    assert "--keep your-text.txt" in repeated
    for part in (*view(work, 0, last=True), repeated):
        assert str(work.own_files["task"]) not in str(part)
        assert "/" + str(jobs.folder).strip("/") not in str(part)


def test_too_few_rows_are_refused_in_a_sentence_that_has_the_file_s_own_name(jobs: Jobs, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("prompt,answer\n" + "".join(f"{n} and 2 make,{n + 2}\n" for n in range(60)))
    asked = put(jobs, LIMITS, files(), ASKED)
    jobs.stop(asked)
    asked.wait(60)
    folder = jobs.folder / "rows-rows-rows-rows-ro"
    config = replace(asked.config, task=str(path))
    work = BackgroundStudy(folder.name, config, folder, asked.styles, minutes=1, question=asked.question)
    assert jobs.put(work).wait(60)
    assert (work.state, work.known) == (FAILED, None)
    assert re.match("'mine.csv' has [0-9]+ test examples, and a verdict needs at least 20: ", work.note), work.note


@pytest.mark.parametrize("known", [False, True])
def test_what_is_known_before_never_fails_on_what_the_page_offers_and_computes_nothing(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("it loads no model")

    speeds = Speeds()
    monkeypatch.setattr(jobs, "speeds", speeds)
    monkeypatch.setattr("olora_viz.races.data.ModelCache.load", refuse)
    if known:
        speeds._speeds[BackgroundRace, "glassllm"] = Speed(0.2, 2e-4, timed=True)
    for model in LIMITS.models:
        for task in TASKS:
            asked = [model, task, 2, ["olora"], 4, ["r", "steps"]]
            said = str(ahead(jobs, LIMITS, files(), None, asked))
            began = time.perf_counter()
            assert str(ahead(jobs, LIMITS, files(), None, asked)) == said
            assert time.perf_counter() - began < 1.0  # a tenth of it, where the machine is at rest
            assert "problem" not in said
            assert ("epoch" in said) == (known and model == "glassllm" and TASKS[task].offline)
    for at, wrong in ((0, "/etc"), (2, 1e9), (3, []), (4, "nan"), (5, ["clip"])):
        values: list[Any] = [*ASKED]
        values[at] = wrong
        said = str(ahead(jobs, LIMITS, files(), None, values))
        assert said.count("problem") == 1

"""The owner's key commands a run, the readers' key shows it, and what is saved holds neither."""

import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.queued import asked, lane, wait
from support.served import Visitor, launched
from support.waiting import wait_until

from olora_viz.background.race import BackgroundRace
from olora_viz.figures.live.bundle import pack
from olora_viz.learn.gallery import GALLERY
from olora_viz.views.inside import inside_view
from olora_viz.views.layers import curvature_view, gradients_view, spectra_view
from olora_viz.views.race import watching_words
from olora_viz.views.results import rates_view
from olora_viz.web import page
from olora_viz.web.guard.limits import Limits
from olora_viz.web.guard.visitor_files import VisitorFiles
from olora_viz.web.jobs.job import derived, new_key, readers_key
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts.export import EXPORTS, adapter_zip, export, find
from olora_viz.web.parts.setup import SetUp
from olora_viz.web.race import shelf
from olora_viz.web.race.arrival import FIRST_RECORDED, NOT_HERE, arrive
from olora_viz.web.race.controls import RACE, buttons
from olora_viz.web.race.events import Commands

LIMITS = Limits()
SWEEP = lane(lr="1e-3/1e-2/3e-2", r=2) + lane(init="olora", lr="1e-3/1e-2/3e-2", r=2)
SECRET = "words of the owner"
ROWS = "prompt,answer\n" + "".join(f"{SECRET} number {n},{SECRET} {n % 7}\n" for n in range(30))


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    made = Jobs(Limits(keep_races=20), folder=tmp_path_factory.mktemp("keys") / "jobs")
    yield made
    made.close()


@pytest.fixture(scope="module")
def ended(jobs: Jobs) -> BackgroundRace:
    """A race with everything that can be measured."""
    return wait(jobs.start(asked(steps=2, lanes=SWEEP, curvature=1)))


@pytest.fixture(scope="module")
def of_own(jobs: Jobs, tmp_path_factory: pytest.TempPathFactory) -> BackgroundRace:
    """A race on a visitor's own file."""
    file = tmp_path_factory.mktemp("own") / "your-file.csv"
    file.write_text(ROWS, "utf-8")
    return wait(jobs.start(replace(asked(steps=2), task=str(file))))


@pytest.fixture
def commands(jobs: Jobs) -> Commands:
    return Commands(jobs, LIMITS, VisitorFiles(LIMITS))


def readers(job: BackgroundRace) -> str:
    return readers_key(job.id)


def test_no_key_leads_to_the_owner_s_and_whatever_else_opens_nothing(jobs: Jobs, ended: BackgroundRace) -> None:
    key, read = ended.id, readers(ended)
    assert len({key, read, ended.name}) == 3
    assert len(read) == len(key) == 22
    uses = (b"read", b"name")
    assert len({derived(str(k), use, 9) for use in uses for k in range(50)}) == 100
    shown = jobs.opened(read)
    assert shown is not None
    assert (shown.race, shown.owned, shown.readers_key) == (ended, False, read)
    found = jobs.opened(key)
    assert found is not None
    assert (found.race, found.owned, found.readers_key) == (ended, True, read)
    others = (
        ended.name, derived(read, b"read", 16), new_key(), key[:-1], key + "A", key.swapcase(),
        f" {key}",
        read[:-1], "", "ä" * 22, "x" * 10_000, None, 7, [key], {"key": read}, b"k",
        f"../{key}", f"recorded:{read}",
    )  # fmt: skip
    for other in others:
        assert jobs.opened(other) is None
        assert jobs.shown(other) is None
        assert jobs.get(other) is None
    assert jobs.get(read) is None, "commands look a run up with `get`"


def test_readers_follow_a_run_and_command_nothing(jobs: Jobs, commands: Commands) -> None:
    job = jobs.start(asked(steps=400))
    wait_until(lambda: len(job.steps) > 2)
    for what in ("pause", "step", "resume", "stop"):
        assert not commands.do(readers(job), what)
    assert job.state == "racing"
    view = commands.show(readers(job))
    assert view is not None
    assert view.steps_done > 2
    assert "racing" in view.status
    its = buttons(view)
    enabled = {name: button["interactive"] for name, button in its._asdict().items()}
    assert enabled == {"race": True, "pause": False, "step": True, "stop": False, "reset": True}
    assert view.whose == watching_words(view.race.config.task) != ""
    commands.do(job.id, "pause")
    wait_until(lambda: job.state == "paused")
    view = commands.show(readers(job))
    assert view is not None
    assert buttons(view).race["value"] == RACE, "it would not resume this run"
    setup = replace(SetUp.first(LIMITS), steps=1, lanes=job.config.lanes)
    mine = commands.press("resume", readers(job), setup.to_controls())
    other = jobs.get(mine.run)
    assert other not in (None, job)
    assert job.state == "paused"
    jobs.stop(job)


def test_an_adapter_is_its_owner_s(jobs: Jobs, ended: BackgroundRace, commands: Commands) -> None:
    assert "url" in find(jobs, [ended.id, 0])
    refused = find(jobs, [readers(ended), 0])
    assert refused == find(jobs, [new_key(), 0])
    assert list(refused) == ["problem"]
    for key, lanes in ((ended.id, 6), (readers(ended), 0)):
        view = commands.show(key)
        assert view is not None
        assert view.adapters is not None
        assert len(view.adapters["lanes"]) == lanes


def test_readers_see_nothing_that_quotes_the_owner_s_own_file(
    jobs: Jobs, of_own: BackgroundRace, commands: Commands
) -> None:
    assert SECRET in str(export(jobs, [of_own.id, "report"]))
    for kind in EXPORTS:
        said = export(jobs, [readers(of_own), kind])
        assert "problem" not in said
        assert SECRET not in str(said)
        assert "prompt" not in said.get("text", "").split("\n")[0].split(",")
    view = commands.show(readers(of_own))
    assert view is not None
    told = [view.story, view.results, view.answers, view.status, *map(str, view.figures.values())]
    assert not any(SECRET in str(part) for part in told)
    assert len(view.whose) > len(watching_words("sentiment"))  # its examples are not shown
    files = VisitorFiles(LIMITS)
    address = {"query": "", "run": readers(of_own)}
    found = arrive(LIMITS, jobs, files, None, [], address, "reader")
    assert (found.run, found.brought) == (readers(of_own), None)
    assert "owner&#39;s own file" in found.words
    owner = arrive(LIMITS, jobs, files, of_own.id, [], {"query": ""}, "owner")
    assert owner.brought is not None


def test_readers_see_no_adapter_of_the_owner_s_own_file(
    jobs: Jobs, of_own: BackgroundRace, ended: BackgroundRace
) -> None:
    mine, theirs, public = (jobs.shown(key) for key in (of_own.id, readers(of_own), readers(ended)))
    assert mine
    assert theirs
    assert public
    assert any(step.factors for step in mine.steps)
    assert not any(step.factors for step in theirs.steps)
    assert [inside_view(record) is None for record in (mine, theirs, public)] == [False, True, False]
    assert [step.loss.tolist() for step in theirs.steps] == [step.loss.tolist() for step in mine.steps]
    assert '"factors"' not in export(jobs, [readers(of_own), "json"])["text"]


def test_an_address_opens_a_run_for_reading_except_to_its_owner(jobs: Jobs, ended: BackgroundRace) -> None:
    files = VisitorFiles(LIMITS)
    row = {"id": ended.id, "name": "mine", "pinned": False, "overlaid": False}

    def opened(wanted: Any, run: Any = None, visit: Any = ()) -> Any:
        return arrive(LIMITS, jobs, files, run, list(visit), {"query": "", "run": wanted})

    for key in (readers(ended), ended.id):  # older links hold the owner's key
        assert opened(key).run == readers(ended)
        assert opened(key, visit=[row]).run == ended.id
        assert opened(key, run=ended.id).run == ended.id
        assert opened(key, run="gone").run == readers(ended)
    for unknown in ("x" * 22, ended.name, "x", 7):
        assert NOT_HERE in opened(unknown).words
        assert opened(unknown).run == FIRST_RECORDED


def test_a_list_of_runs_links_to_them_for_reading_alone(jobs: Jobs, ended: BackgroundRace) -> None:
    mine = shelf.added(jobs, [], ended.id)
    assert [row["id"] for row in mine] == [ended.id]
    assert [row["link"] for row in shelf.listed(jobs, mine, ended.id)] == [readers(ended)]
    theirs = shelf.added(jobs, [], readers(ended))
    listed = shelf.listed(jobs, theirs, readers(ended))
    assert [(row["id"], row["link"], row["current"]) for row in listed] == [(readers(ended), readers(ended), True)]
    assert shelf.added(jobs, [], FIRST_RECORDED) == []


def test_the_keys_open_a_run_after_a_restart_and_nothing_once_it_is_dropped(tmp_path: Path) -> None:
    with closing(Jobs(folder=tmp_path)) as jobs:
        job = wait(jobs.start(asked(steps=1)))
    with closing(Jobs(Limits(keep_races=1), folder=tmp_path)) as jobs:
        again = jobs.opened(readers(job))
        assert again is not None
        assert (again.record.name, again.owned) == (job.name, False)
        wait(jobs.start(asked(steps=1)))
        wait(jobs.start(asked(steps=1)))
        assert jobs.opened(readers(job)) is None


def test_nothing_that_is_shown_or_saved_holds_a_key(jobs: Jobs, ended: BackgroundRace) -> None:
    drawn: list[Any] = [view(ended.record()) for view in (curvature_view, spectra_view, gradients_view, rates_view)]
    assert all(drawn)
    rows = shelf.added(jobs, shelf.added(jobs, [], ended.id), wait(jobs.start(asked(steps=1))).id)
    overlay = shelf.compared(jobs, [row | {"overlaid": True} for row in rows], ended.id)[1]
    archive = zipfile.ZipFile(io.BytesIO(adapter_zip(ended, 0).read_bytes()))
    with launched(page.build(Limits(), jobs)) as url:
        visitor = Visitor(url, "owner")
        for _ in visitor.heard({visitor.follow(ended.id): "follow"}):
            pass
        sent = dict(visitor.shown)
        drawing = [fn for fn in visitor.functions.values() if visitor.parts(fn)[0:1] == ["held-run"]]
        cards = [fn for fn in drawing if fn["api_name"].startswith("show") and fn["inputs"][1:]]
        assert len(cards) == 3
        for fn in cards:
            sent[fn["api_name"]] = visitor.call(fn["api_name"], [ended.id, *visitor.payload(fn)[1:]])
        gone = visitor.ask("adapter", [ended.id, 99])
        found = visitor.ask("adapter", [ended.id, 0])
    assert ended.name in sent["loss-figure"]["layout"]["uirevision"]
    assert sent["show-run"] == readers(ended)
    keys = {ended.id, *(row["id"] for row in rows)}
    told = {
        **{kind: export(jobs, [ended.id, kind]) for kind in EXPORTS},
        **{f"sent {name}": what for name, what in sent.items()},
        **{f"in the zip: {name}": archive.read(name) for name in archive.namelist()},
        "drawn": drawn, "overlay": overlay, "adapter": found, "problem": gone,
        "config": visitor.config, "folder": (ended.folder / "config.json").read_text("utf-8"),
        "steps": (ended.folder / "steps.jsonl").read_text("utf-8"),
        "link": SetUp.of(ended.config).to_query(),
    }  # fmt: skip
    for name, what in told.items():
        text = what if isinstance(what, str | bytes) else json.dumps(what, default=repr)
        for key in keys:
            assert (key.encode() if isinstance(text, bytes) else key) not in text, name
        if name != "sent show-run":
            key = readers(ended)
            assert (key.encode() if isinstance(text, bytes) else key) not in text, name


def test_a_recorded_race_is_everybody_s(jobs: Jobs) -> None:
    name = next(iter(GALLERY))
    found = jobs.opened(f"recorded:{name}")
    assert found is not None
    assert (found.race, found.readers_key) == (None, "")
    assert pack(curvature_view(found.record).sharpness)

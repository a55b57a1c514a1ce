"""Models and tasks that are not on this machine: the lists say so, and a failure has one line in the top bar."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants
from support.served import Visitor, launched
from support.tiny import tiny_folder
from support.waiting import wait_until
from support.wired import LIMITS, SETUP

from olora_viz.background.record import FAILED
from olora_viz.models import MODELS
from olora_viz.models.loading import is_here, load_model
from olora_viz.models.offline import LANGUAGES
from olora_viz.tasks import TASKS
from olora_viz.tasks.hub import SOURCES, Source
from olora_viz.views.html import gist
from olora_viz.views.race import race_view
from olora_viz.views.runs import TO_DOWNLOAD, model_words
from olora_viz.web import page
from olora_viz.web.decide import put, view
from olora_viz.web.guard.visitor_files import FilesOfPage, VisitorFiles
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.race.settings import task_choices

BOOLQ = next(source for source in SOURCES if source.name == "boolq")
"""A task whose data set has no other."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without models from elsewhere, and without the hub; return where these would be."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("OLORA_VIZ_CACHE", str(tmp_path / "cache"))
    return tmp_path / "hub"


def downloaded(hub: Path, name: str) -> None:
    tiny_folder("gpt2", hub / f"models--{MODELS[name].hub_id.replace('/', '--')}" / "snapshots" / "0123")


def brought(hub: Path, source: Source) -> None:
    """Leave what the hub's library leaves of a data set that it has downloaded."""
    head = hub / f"datasets--{source.repository.replace('/', '--')}" / "refs" / "main"
    head.parent.mkdir(parents=True)
    head.write_text("0123")


def test_the_list_says_of_each_model_whether_it_must_be_downloaded(hub: Path) -> None:
    assert [name for name in MODELS if not model_words(name).endswith(TO_DOWNLOAD)] == list(LANGUAGES)
    for name in MODELS:
        assert is_here(name) == (name in LANGUAGES)
        if name not in LANGUAGES:
            downloaded(hub, name)
            assert not model_words(name).endswith(TO_DOWNLOAD)


def test_the_list_says_of_each_task_whether_it_must_be_downloaded(hub: Path) -> None:
    def absent() -> list[str]:
        return [name for words, name in task_choices() if words.endswith(TO_DOWNLOAD)]

    assert absent() == [name for name, card in TASKS.items() if not card.offline]
    brought(hub, BOOLQ)
    assert absent() == [name for name, card in TASKS.items() if not card.offline and name != BOOLQ.name]


def test_a_page_that_is_opened_later_hears_of_what_is_here_by_then(hub: Path, jobs: Jobs) -> None:
    with launched(page.build(LIMITS, jobs)) as url:

        def absent(visitor: Visitor) -> set[str]:
            opened = visitor.functions["opened"]
            values = visitor.call("opened", [None, [], {"query": ""}])
            names: set[str] = set()
            for part in visitor.config["components"]:
                if part["props"].get("elem_id") in ("setup-model", "setup-task"):
                    sent = values[opened["outputs"].index(part["id"])]
                    listed = sent.get("choices") or part["props"]["choices"]
                    names |= {name for words, name in listed if words.endswith(TO_DOWNLOAD)}
            return names

        before = absent(Visitor(url, "first"))
        assert {"gpt2", "distilgpt2", BOOLQ.name} <= before
        downloaded(hub, "gpt2")
        brought(hub, BOOLQ)
        assert absent(Visitor(url, "second")) == before - {"gpt2", BOOLQ.name}


def test_a_model_that_cannot_be_had_fails_in_one_short_line_and_in_full_where_there_is_room(
    hub: Path, jobs: Jobs
) -> None:
    race = jobs.start(replace(SETUP, model="gpt2").to_config(LIMITS))
    decision = put(
        jobs, LIMITS, FilesOfPage(VisitorFiles(LIMITS), "a page"), ["gpt2", "sentiment", 1, ["olora"], 2, []]
    )
    for work in (race, decision):
        wait_until(lambda work=work: work.complete, 120)
        assert work.state == FAILED
    shown = race_view(race.record())
    decided = view(decision, jobs.before(decision), last=True)
    for work, line, room in ((race, shown.status, shown.results), (decision, decided.status, decided.headline)):
        assert line.unescape().endswith(f'<span class="word">{gist(work.note)}</span></div>')
        assert work.note in room.unescape()
        assert len(gist(work.note)) < 80


@pytest.mark.parametrize("name", [name for name in MODELS if name not in LANGUAGES])
def test_the_gist_of_why_a_model_cannot_be_had_names_it_in_one_line(hub: Path, name: str, monkeypatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr("olora_viz.models.loading.check_memory", lambda *_: None)
    with pytest.raises(ValueError, match=re.escape(name)) as refused:
        load_model(name)
    line = gist(str(refused.value))
    assert len(line) < 110

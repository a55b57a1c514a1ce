"""Equal studies are one: who asks second follows the first, and nothing is lost when one is stopped."""

from contextlib import closing
from dataclasses import replace
from typing import Any
from zipfile import ZipFile

from pandas import DataFrame
from pandas.testing import assert_frame_equal
from support.queued import asked as set_up
from support.small_decision import STUDY
from support.waiting import wait_until

from olora_viz.background.study import BackgroundStudy, Deciding
from olora_viz.figures.theme import lane_styles
from olora_viz.races.step import FINISHED, STOPPED
from olora_viz.studies.budget import Plan
from olora_viz.studies.decide import decide
from olora_viz.studies.folder import Ledger
from olora_viz.web.claims import JUDGING
from olora_viz.web.decide import download_of, view
from olora_viz.web.guard.limits import Limits, Visitor
from olora_viz.web.guard.visitor_files import DOWNLOADS
from olora_viz.web.jobs.job import new_key, study_folder
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.jobs.shared import study_key

PLAN = Plan(STUDY, minutes=60, seconds=10, final=1, most=9)
CONFIG = STUDY.config(one for init in STUDY.compare for one in STUDY.trials(STUDY.cells()[0], init, [1e-3], 1))


def asked(jobs: Jobs, page: str, minutes: float = 60) -> BackgroundStudy:
    """Let a page ask for the decision, with the plan that a timing would give."""
    name = new_key()
    folder = study_folder(jobs.folder / name)
    known = replace(next(decide(jobs.folder / f"plan of {page}", plan=PLAN)), folder=folder)
    work = BackgroundStudy(
        name, CONFIG, folder, lane_styles(CONFIG.lanes), minutes=minutes, known=known,
        question=Deciding({"search": ()}, of_set_up=True),
    )  # fmt: skip
    return jobs.study(work, study_key("decision", CONFIG, minutes), Visitor(page))


def end(work: BackgroundStudy) -> BackgroundStudy:
    """Look at a decision, as a page does, until its end."""
    wait_until(lambda: work.see() or work.complete, 60)
    return work


def some_lanes(work: BackgroundStudy, count: int = 1) -> None:
    wait_until(lambda: work.see() or (work.known is not None and work.known.lanes >= count), 60)


def taken(jobs: Jobs, work: BackgroundStudy) -> bytes:
    """Take the adapter home, and return its weights."""
    path = DOWNLOADS.find(download_of(jobs, work.id, "adapter")["url"].rpartition("/")[2])
    assert path is not None
    return ZipFile(path).read("adapter/adapter_model.safetensors")


def rows(work: BackgroundStudy) -> DataFrame:
    return Ledger(work.folder).rows().drop(columns="seconds")


def verdicts(work: BackgroundStudy) -> list[dict[str, Any]]:
    return [each.to_json() for each in work.known.verdicts.each]


def test_who_asks_second_sees_and_takes_what_the_first_one_decides(jobs: Jobs) -> None:
    first, second = asked(jobs, "a"), asked(jobs, "b")
    assert second.source is first
    some_lanes(second)
    assert second.known is first.known or second.known.lanes <= first.known.lanes
    assert not second.folder.exists(), "nothing is computed for it"
    end(second)
    assert (second.state, second.source) == (first.state, None) == (FINISHED, None), second.note
    assert second.known.sentence == first.known.sentence
    assert second.known.adapter.is_relative_to(second.folder)
    late = asked(jobs, "c")
    assert late.complete, "of one that has ended, the end"
    before = taken(jobs, first)
    jobs._drop(jobs._jobs[first.id])
    assert not first.folder.exists()
    assert taken(jobs, second) == taken(jobs, late) == before
    assert view(late, 0, last=True).headline == view(second, 0, last=True).headline
    for work in (second, late):
        report = DOWNLOADS.find(download_of(jobs, work.id, "report")["url"].rpartition("/")[2])
        assert report is not None
        assert "Before and after" in report.read_text()
        zipped = ZipFile(work.folder / "adapter.zip")
        taken_home = [
            report.read_bytes(),
            *map(zipped.read, zipped.namelist()),
            str(view(work, 0, last=True)).encode(),
        ]
        assert not any(first.id.encode() in each for each in taken_home), "the first one's key is its owner's"
        assert "another page began it" in str(view(work, 0, last=True).status)
    again = asked(jobs, "b")
    assert again.source is None, "a page that shows the end and asks again gets another"
    assert not again.complete
    some_lanes(again, 3)
    jobs.stop(again)
    assert end(again).state == STOPPED
    resumed = asked(jobs, "b")
    assert resumed.seat.resumed_at == again.known.lanes >= 3, "what was stopped is not computed again"
    some_lanes(resumed, resumed.seat.resumed_at + 1)
    assert f"was stopped after {resumed.seat.resumed_at} lanes" in str(view(resumed, 0, last=True).status)
    assert end(resumed).state == FINISHED, resumed.note
    assert taken(jobs, resumed) == before
    assert_frame_equal(rows(resumed), rows(second))
    assert verdicts(resumed) == verdicts(second)


def test_what_its_owner_stops_goes_on_for_those_who_follow(jobs: Jobs) -> None:
    first, second, third = asked(jobs, "a"), asked(jobs, "b"), asked(jobs, "c")
    some_lanes(third, 3)
    jobs.stop(first)
    end(first)
    assert first.state == STOPPED
    before = first.known.lanes
    third.see()
    second.see()
    # The server itself lets one go on as soon as nobody computes, whoever looks first.
    goes_on, follows = (third, second) if third.source is None else (second, third)
    assert (goes_on.source, follows.source) == (None, goes_on), "one of them computes, and the other one follows it"
    assert goes_on.known.lanes >= before
    end(follows)
    assert (second.state, third.state) == (FINISHED, FINISHED), second.note
    assert taken(jobs, second) == taken(jobs, third)
    assert "another page" not in str(view(goes_on, 0, last=True).status)


def test_who_follows_what_waits_has_a_place_of_its_own_from_when_it_asked(jobs: Jobs) -> None:
    computing = jobs.start(set_up(steps=10_000))
    wait_until(lambda: computing.steps)
    leads, before = asked(jobs, "a"), asked(jobs, "other", minutes=30)
    follows, after = asked(jobs, "b"), asked(jobs, "z", minutes=20)
    assert follows.source is leads
    jobs.stop(leads)
    follows.see()
    assert follows.source is None
    assert [jobs.before(work).places for work in (before, follows, after)] == [1, 2, 3]
    for work in (before, follows, after, computing):
        jobs.stop(work)


def test_who_goes_on_alone_needs_a_place_of_its_own_and_keeps_what_is_known(tmp_path) -> None:
    with closing(Jobs(Limits(page_waiting=1), folder=tmp_path)) as jobs:
        computing = jobs.start(set_up(steps=10_000))
        wait_until(lambda: computing.steps)
        leads, mine, follows = asked(jobs, "a"), asked(jobs, "b", minutes=30), asked(jobs, "b")
        jobs.stop(leads)
        follows.see()
        assert (follows.state, follows.complete, follows.known.lanes) == (STOPPED, True, 0)
        assert "the maximum for one page" in follows.note
        for work in (mine, computing):
            jobs.stop(work)


def test_who_stops_following_keeps_what_is_known_and_the_first_one_goes_on(jobs: Jobs) -> None:
    first, second = asked(jobs, "a"), asked(jobs, "b")
    some_lanes(second, 3)
    jobs.stop(second)
    assert (second.state, second.note, second.complete) == (STOPPED, "without an adapter, which is trained last", True)
    known = second.known
    assert known.folder == second.folder
    assert "url" in download_of(jobs, second.id, "report")
    assert end(first).state == FINISHED
    assert second.known is known
    assert asked(jobs, "b").state == FINISHED, "who has stopped it and asks again sees the end of the first one"


def test_others_ask_for_other_things(jobs: Jobs) -> None:
    keys = {
        study_key(kind, config, minutes)
        for kind in ("Deciding", "Judging")
        for config in (CONFIG, replace(CONFIG, forget=0.1, keep="auto"), replace(CONFIG, chat=True))
        for minutes in (1, 2)
    }
    assert len(keys) == 12
    assert study_key("Deciding", replace(CONFIG, task="mine.jsonl"), 1) == ""
    first = asked(jobs, "a", minutes=60)
    assert asked(jobs, "b", minutes=30).source is None
    own = [replace_key(jobs, page, key="") for page in "cd"]
    assert [work.source for work in own] == [None, None], "nobody shares a visitor's own file"
    for work in (first, *own):
        jobs.stop(work)


def replace_key(jobs: Jobs, page: str, key: str) -> BackgroundStudy:
    name = new_key()
    folder = study_folder(jobs.folder / name)
    work = BackgroundStudy(name, CONFIG, folder, lane_styles(CONFIG.lanes), question=JUDGING)
    return jobs.study(work, key, Visitor(page))

"""Guides speak of what is there, ask before they tell, and a lesson's begins before its result."""

import re

import gradio as gr
import pytest

from olora_viz.initializers import INITIALIZERS, label_of
from olora_viz.learn.gallery import load_recording
from olora_viz.learn.lessons import LESSONS
from olora_viz.learn.lessons.lesson import FIRST_GUIDE, FIRST_ON_GPU, Awaited, Guide
from olora_viz.views.bet import question_of
from olora_viz.web import page
from olora_viz.web.guard.limits import Limits, from_environment
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.learn import guided_card
from olora_viz.web.parts import guide as strips
from olora_viz.web.race import arrival

GUIDES = [FIRST_GUIDE, FIRST_ON_GPU, *(lesson.guide for lesson in LESSONS.values())]
EVERY = pytest.mark.parametrize("guide", GUIDES, ids=["first", "first-on-gpu", *LESSONS])


@pytest.fixture(scope="module")
def ids(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """All ids of the pages: of components, and in their HTML."""
    demo = page.build(Limits(), Jobs(folder=tmp_path_factory.mktemp("jobs")))
    texts = [
        str(text)
        for block in demo.blocks.values()
        if isinstance(block, gr.HTML)
        for text in (block.value, block.html_template)
    ]
    return {str(block.elem_id) for block in demo.blocks.values()} | set(
        re.findall(r'\bid="([\w-]+)"', " ".join(texts))
    )


@EVERY
def test_a_guide_frames_and_waits_for_what_the_pages_have(guide: Guide, ids: set[str]) -> None:
    for step in guide.steps:
        assert step.page in ("", *page.PAGES)
        assert step.where in ids | {""}
        assert step.do
        if step.waits:
            assert step.waits.words
            assert set(re.findall(r"#([\w-]+)", re.sub(r"\[[^]]*\]", "", step.waits.of))) <= ids


@EVERY
def test_its_strip_has_every_sentence_and_lanes_in_their_colours(guide: Guide) -> None:
    html = strips.strip(guide)
    assert html.count('class="step"') == len(guide.steps)
    for step in guide.steps:
        for init in re.findall(r"\{(\w+)\}", step.says + step.do + step.then):
            assert init in INITIALIZERS
            assert f'style="--lane:var(--{init}-text)"' in html
            assert label_of(init) in html
    assert "{" not in re.sub(r'data-waits="[^"]*"', "", html)


@EVERY
def test_until_the_bet_has_ended_results_are_hidden(guide: Guide) -> None:
    kinds = [step.waits.kind if step.waits else "" for step in guide.steps]
    if "bet" not in kinds:
        return
    asked = kinds.index("bet")
    ended = next(i for i, kind in enumerate(kinds) if i > asked and kind in ("ended", "step"))
    assert all(step.hides for step in guide.steps[asked : ended + 1])
    assert not any(step.hides for step in guide.steps[ended + 1 :])
    assert guide.steps[asked].opens, "the race that is bet on is not shown with its end"
    assert guide.steps[asked].where == "bet-card"
    assert guide.steps[ended].then


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_on_how_a_race_ends_begins_with_a_bet_and_each_ends_with_its_question(name: str) -> None:
    lesson = LESSONS[name]
    first, last = lesson.guide.steps[0], lesson.guide.steps[-1]
    bets = bool(first.waits and first.waits.kind == "bet")
    assert bets == (lesson.page == "race" and lesson.recording is not None and not lesson.plays)
    assert bets or not lesson.outcome, "told before a bet that nobody asks for"
    assert last.waits
    assert last.waits.of == "[data-question]"
    assert last.waits.of.strip("[]") in guided_card(from_environment(), lesson)
    assert lesson.do in [step.do for step in lesson.guide.steps]
    assert lesson.see in [text for step in lesson.guide.steps for text in (step.says, step.then)]
    if bets and lesson.recording:
        race = load_recording(lesson.recording).config
        assert question_of(race.lanes, race.steps) is not None


def test_a_link_names_a_guide_and_a_step_and_nothing_of_it_is_unknown() -> None:
    link = arrival.read(from_environment(), "guide=first&at=3")
    assert link == arrival.Link()


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"kind": "value", "of": "#a", "low": 3.0, "high": 2.0}, "low must be at most high: 3 > 2"),
        ({"kind": "pressed"}, "a selector belongs to pressed and value"),
        ({"kind": "bet", "of": "#a"}, "not to bet with '#a'"),
    ],
)
def test_a_wait_that_cannot_come_true_is_refused(wrong: dict, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        Awaited(words="", **wrong)

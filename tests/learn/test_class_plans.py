"""The plans for a class take the time that they say, begin before the reveal, and print with their answers."""

from olora_viz.learn.class_plans import LESSONS_ON_PAPER, PLANS
from olora_viz.learn.lessons import LESSONS
from olora_viz.learn.terms import sentence
from olora_viz.web import learn
from olora_viz.web.handout import handout


def test_a_plan_takes_45_minutes_and_another_one_90_and_each_link_begins_before_the_reveal() -> None:
    assert [plan.minutes for plan in PLANS] == [45, 90]
    opened = [part.lesson for plan in PLANS for part in plan.parts if part.lesson]
    assert set(opened) == set(LESSONS_ON_PAPER)
    for name in opened:
        first, second, *_ = LESSONS[name].guide.steps
        assert first.opens == "rewind"
        assert first.hides == second.hides == (not LESSONS[name].plays), "results are hidden that are bet on"


def test_the_handout_has_the_links_the_questions_and_once_their_answers() -> None:
    html = handout(lambda lesson: f"./{learn.class_link(lesson)}&class=ours")
    for name in LESSONS_ON_PAPER:
        lesson = LESSONS[name]
        assert f'href="./{learn.class_link(lesson)}&class=ours"'.replace("&", "&amp;") in html
        assert html.count(sentence(lesson.ask)) == html.count(sentence(lesson.answer)) == 1
        assert all(sentence(words) in html for words in lesson.lettered.values())

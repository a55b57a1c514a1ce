"""Text from outside is escaped exactly once where it meets HTML."""

from dataclasses import replace

import numpy as np
import pytest
from markupsafe import escape

from olora_viz.figures.theme import lane_styles
from olora_viz.lanes.generation import Answer
from olora_viz.learn.gallery import load_recording
from olora_viz.machine.wording import Sentence
from olora_viz.measures.inspection import LayerInspection
from olora_viz.tasks import TASKS
from olora_viz.views import html as fragments
from olora_viz.views.html import TableCell, table
from olora_viz.views.race import race_view
from olora_viz.views.reports import adapter_page, report
from olora_viz.views.runs import differences, task_sample

EVIL = """<script>alert(1)</script>"&'"""


def is_escaped_once(html: str) -> bool:
    """Whether the text is in the HTML, and would be shown literally everywhere."""
    once = str(escape(EVIL))
    twice = ("&amp;lt;", "&amp;amp;", "&amp;#")
    return once in html and "<script" not in html and not any(bad in html for bad in twice)


@pytest.fixture(scope="module")
def record():
    """Return a recorded race in which every text from outside has HTML in it."""
    race = load_recording("one-rate")
    config = replace(race.config, model=f"mine/{EVIL}", task=f"{EVIL}.jsonl")
    said = Answer(EVIL, EVIL, EVIL, tuple(f"{k}{EVIL}" for k in range(len(config.lanes))))
    styles = lane_styles(config.lanes, [f"{k}{EVIL}" for k in range(len(config.lanes))])
    return replace(race, title=EVIL, config=config, styles=styles, answers=(said,))


@pytest.mark.parametrize("part", ["story", "results", "answers", "status"])
def test_of_a_race(record, part):
    assert is_escaped_once(getattr(race_view(record), part))


def test_of_what_is_said_of_a_race():
    assert is_escaped_once(fragments.sentences([Sentence(EVIL, EVIL)], EVIL))
    assert fragments.sentences([Sentence(EVIL, EVIL)], EVIL).count(str(escape(EVIL))) == 3


def test_a_rate_in_a_sentence_stays_on_one_line():
    said = fragments.paragraphs([Sentence("OLoRA 1e-3 did better.", "LoRA 2.5e-4 <b> did not.")])
    assert said.count('<span class="word">') == 2
    assert '<span class="word">2.5e-4</span> &lt;b&gt; did not.' in said
    assert said.striptags() == "OLoRA 1e-3 did better. LoRA 2.5e-4 <b> did not."


def test_of_a_report(record):
    page = report(record)
    assert is_escaped_once(page["body"])
    assert EVIL in page["title"]  # text, which the browser escapes


def test_what_the_browser_makes_into_text_is_not_escaped(record):
    shown = replace(race_view(record), recorded=False, complete=True).adapters
    assert shown
    assert {lane["label"] for lane in shown["lanes"]} == {style.label for style in record.styles}


def test_of_runs_that_are_compared(record):
    plain = load_recording("one-rate")
    html = differences([(EVIL, record.config), ("b", plain.config)])
    assert is_escaped_once(html)
    assert html.count(str(escape(EVIL))) == 3  # a run's name, its model and its task


def test_of_a_task():
    card = replace(next(iter(TASKS.values())), summary=EVIL, prompt=EVIL, answer=EVIL)
    assert is_escaped_once(task_sample(card))


def test_of_an_inspected_adapter():
    layer = LayerInspection(EVIL, 2, np.ones(2), 1.0, 0.1, 2.0, 2.0, 0, np.ones(2))
    assert is_escaped_once(adapter_page(EVIL, EVIL, [layer]))


def test_of_every_place_in_a_table():
    made = table([EVIL, TableCell("a", title=EVIL)], [(EVIL, EVIL)], caption=EVIL, base=[(EVIL, EVIL)])
    assert is_escaped_once(made)
    assert made.count(str(escape(EVIL))) == 7

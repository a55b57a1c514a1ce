"""Lessons as HTML; pure functions of a lesson, every word escaped."""

from __future__ import annotations

from html import escape

from olora_viz.learn.formulas import formula, plain, sentence
from olora_viz.learn.gallery import GALLERY
from olora_viz.learn.glossary import GLOSSARY
from olora_viz.learn.lessons import LESSONS, NAMES, Lesson, beside
from olora_viz.machine.numbers import about
from olora_viz.web.guard.limits import Limits
from olora_viz.web.setup import possible

PAGE_WORDS = {
    "race": "Open the recorded race",
    "conditioning": "Open the Conditioning page",
    "spectrum": "Open the Spectrum page",
}
"""The words on the button that opens a lesson's page, by that page."""


def contents(chosen: str) -> str:
    """Return the list of all lessons, one of them chosen."""
    lines = "".join(
        f'<li><button type="button" data-lesson="{name}"{_current(name == chosen)}>'
        f'<span class="number">{n}</span><span class="title">{escape(lesson.title)}</span>'
        f'<span class="minutes">{lesson.minutes} min</span></button></li>'
        for n, (name, lesson) in enumerate(LESSONS.items(), start=1)
    )
    total = sum(lesson.minutes for lesson in LESSONS.values())
    return (
        f'<h2>Lessons <span class="hint">in reading order, {total} minutes in all</span></h2>'
        f"<nav aria-label='Lessons'><ol>{lines}</ol></nav>"
        '<p class="hint"><a href="#glossary" data-glossary>Glossary</a>: all terms, below every '
        "lesson.</p>"
    )


def text(lesson: Lesson) -> str:
    """Return the text of a lesson."""
    first, *rest = (f"<p>{sentence(paragraph)}</p>" for paragraph in lesson.paragraphs)
    formulas = "".join(
        f'<div class="formula" tabindex="0" role="group" aria-label="formula">{formula(one)}</div>'
        for one in lesson.formulas
    )
    head = f'<p class="hint">{_place(lesson)} · {lesson.minutes} minutes</p>'
    return (
        f'<article>{head}<h2 class="lesson-title">{escape(lesson.title)}</h2>{first}{formulas}'
        f"{''.join(rest)}</article>"
    )


def guide(limits: Limits, lesson: Lesson) -> str:
    """Return what to do, what to see, and where."""
    buttons = ""
    if lesson.page != "learn":
        buttons += (
            f'<button type="button" class="primary" data-open="{lesson.name}" '
            f'data-page="{lesson.page}">{PAGE_WORDS[lesson.page]}</button>'
        )
    link = live(limits, lesson)
    if link and lesson.recording:
        buttons += (
            f'<a class="quiet" href="{escape(link)}">Race it live</a>{_took(lesson.recording)}'
        )
    return f'{_task(lesson)}<div class="ways">{buttons}</div>{_neighbours(lesson)}'


def card(limits: Limits, lesson: Lesson) -> str:
    """Return the guided card, shown on the page that a lesson is about."""
    after = beside(lesson.name)[1]
    link = live(limits, lesson)
    ways = '<a href="#learn">Read it</a>'
    if link and lesson.recording:
        ways += f'<span><a href="{escape(link)}">Race it live</a>{_took(lesson.recording)}</span>'
    if after:
        ways += _opens(after, f"Next: {escape(after.title)} →")
    return (
        f'<section class="guided" data-page="{lesson.page}" aria-label="Lesson">'
        f'<div><p class="hint">{_place(lesson)}</p><h2>{escape(lesson.title)}</h2>'
        f'<p class="ways">{ways}</p></div>'
        f"<div><h3>One thing to do</h3><p>{sentence(lesson.do)} {_show(lesson)}</p></div>"
        f"<div><h3>One thing to see</h3><p>{sentence(lesson.see)}</p></div>"
        '<button type="button" class="close" data-close aria-label="Close the lesson">×</button>'
        "</section>"
    )


def live(limits: Limits, lesson: Lesson) -> str:
    """Return the link that runs a lesson's race live; empty if this server does not allow it."""
    setup = possible(limits, lesson.config) if lesson.config else None
    page = "conditioning" if lesson.page == "conditioning" else "race"
    return f"?{setup.to_query()}&start=1&lesson={lesson.name}#{page}" if setup else ""


def glossary() -> str:
    """Return all terms."""
    terms = "".join(
        f'<div id="term-{escape(_slug(term.word))}"><dt>{escape(term.word)}</dt>'
        f"<dd>{sentence(term.meaning)}"
        + (f' <span class="source">{escape(term.source)}</span>' if term.source else "")
        + "</dd></div>"
        for term in GLOSSARY
    )
    return f'<h2 id="glossary">Glossary</h2><dl class="glossary">{terms}</dl>'


def _took(recording: str) -> str:
    """Say how long to wait for a live race: as long as the recorded one took."""
    race = GALLERY[recording]
    time = about(race.steps[-1].seconds)
    return f' <span class="hint">(when recorded, on a {race.device}: {time})</span>'


def _task(lesson: Lesson) -> str:
    return (
        f'<h3>One thing to do</h3><p class="say">{sentence(lesson.do)}</p>'
        f'<h3>One thing to see</h3><p class="say">{sentence(lesson.see)}</p>'
    )


def _neighbours(lesson: Lesson) -> str:
    before, after = beside(lesson.name)
    made = _turn(before, "← ") if before else "<span></span>"
    made += _turn(after, "", " →") if after else ""
    return f'<div class="neighbours">{made}</div>'


def _turn(lesson: Lesson, left: str, right: str = "") -> str:
    return (
        f'<button type="button" class="quiet" data-lesson="{lesson.name}">'
        f"{left}{escape(plain(lesson.title))}{right}</button>"
    )


def _opens(lesson: Lesson, words: str) -> str:
    return (
        f'<button type="button" class="as-link" data-open="{lesson.name}" '
        f'data-page="{lesson.page}">{words}</button>'
    )


def _show(lesson: Lesson) -> str:
    if not lesson.where:
        return ""
    return (
        f'<button type="button" class="as-link" data-show="{lesson.where}">Show me where ↓</button>'
    )


def _place(lesson: Lesson) -> str:
    return f"Lesson {NAMES.index(lesson.name) + 1} of {len(NAMES)}"


def _current(is_chosen: bool) -> str:
    return ' aria-current="true"' if is_chosen else ""


def _slug(word: str) -> str:
    return word.lower().replace(" ", "-")


__all__ = ["card", "contents", "glossary", "guide", "live", "text"]

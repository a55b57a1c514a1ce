"""Lessons as HTML; pure functions of a lesson."""

from __future__ import annotations

from markupsafe import Markup

from olora_viz.learn.formulas import formula, plain, sentence
from olora_viz.learn.gallery import GALLERY
from olora_viz.learn.glossary import GLOSSARY
from olora_viz.learn.lessons import LESSONS, NAMES, Lesson, beside
from olora_viz.learn.terms import slug, with_terms
from olora_viz.machine.numbers import about
from olora_viz.web.guard.limits import Limits
from olora_viz.web.setup import possible

PAGE_WORDS = {
    "race": "Open the recorded race",
    "conditioning": "Open the Conditioning page",
    "spectrum": "Open the Spectrum page",
}
"""The label of the button that opens a lesson's page, by page."""


def contents(chosen: str) -> Markup:
    """Return the list of all lessons, one of them chosen."""
    line = Markup(
        '<li><button type="button" data-lesson="{}"{}><span class="number">{}</span>'
        '<span class="done" hidden><span aria-hidden="true">✓</span>'
        '<span class="unseen">done: </span></span>'
        '<span class="title">{}</span><span class="minutes">{} min</span></button></li>'
    )
    lines = Markup("").join(
        line.format(name, _current(name == chosen), n, lesson.title, lesson.minutes)
        for n, (name, lesson) in enumerate(LESSONS.items(), start=1)
    )
    return Markup(
        '<h2>Lessons <span class="hint">in reading order, {} minutes in all</span></h2>'
        '<p class="hint count"></p>'
        "<nav aria-label='Lessons'><ol>{}</ol></nav>"
        '<p class="hint"><a href="#glossary" data-glossary>Glossary</a>: all terms, below every '
        'lesson.</p><p class="hint" id="to-teachers"><a href="#teachers" data-teachers>For teachers'
        "</a>: a plan with links for a class.</p>"
    ).format(sum(lesson.minutes for lesson in LESSONS.values()), lines)


def text(lesson: Lesson) -> Markup:
    """Return the text of a lesson."""
    paragraph = Markup("<p>{}</p>")
    display = Markup('<div class="formula" tabindex="0" role="group" aria-label="formula">{}</div>')
    first, *rest = (paragraph.format(sentence(one)) for one in lesson.paragraphs)
    shown = [first, *(display.format(_parts(one)) for one in lesson.formulas), *rest]
    return Markup(
        '<article><p class="hint">{} · {} minutes</p><h2 class="lesson-title">{}</h2>{}</article>'
    ).format(_place(lesson), lesson.minutes, lesson.title, with_terms(Markup("").join(shown)))


def guide(limits: Limits, lesson: Lesson) -> Markup:
    """Return what to do, what to see, and where, and the question that checks the idea."""
    opens = Markup("")
    if lesson.page != "learn":
        opens = Markup(
            '<button type="button" class="primary" data-open="{}" data-page="{}">{}</button>'
        ).format(lesson.name, lesson.page, PAGE_WORDS[lesson.page])
    return Markup(
        '<h3>One thing to do</h3><p class="say">{}</p>'
        '<h3>One thing to see</h3><p class="say">{}</p>'
        '<div class="ways">{}{}</div>{}{}'
    ).format(
        sentence(lesson.do), sentence(lesson.see), opens, _raced(limits, lesson, "quiet"),
        check(lesson), _neighbours(lesson),
    )  # fmt: skip


def check(lesson: Lesson) -> Markup:
    """Return the check question of a lesson; whoever opens its answer has finished the lesson."""
    return Markup(
        '<section class="check"><h3>Check yourself</h3><p class="say">{}</p>{}</section>'
    ).format(sentence(lesson.ask), answer(lesson, finishes=True))


def answer(lesson: Lesson, finishes: bool = False) -> Markup:
    """Return the answer to the check question, folded.

    Parameters
    ----------
    finishes : whether opening it finishes the lesson.
    """
    mark = Markup(' data-finishes="{}"').format(lesson.name) if finishes else ""
    return Markup(
        '<details class="answer"{}><summary>Show the answer</summary><p>{}</p></details>'
    ).format(mark, sentence(lesson.answer))


def card(limits: Limits, lesson: Lesson) -> Markup:
    """Return the guided card, shown on the page that a lesson is about."""
    after = beside(lesson.name)[1]
    raced, onward = _raced(limits, lesson), Markup("")
    if raced:
        raced = Markup("<span>{}</span>").format(raced)
    if after:
        onward = Markup(
            '<button type="button" class="as-link" data-open="{}" data-page="{}">'
            "Next: {} →</button>"
        ).format(after.name, after.page, after.title)
    return Markup(
        '<section class="guided" data-page="{page}" data-where="{where}" aria-label="Lesson">'
        '<div><p class="hint">{place}</p><h2>{title}</h2>'
        '<p class="ways"><a href="#learn" data-lesson="{name}">Read it</a>'
        "{raced}{onward}</p></div>"
        "<div><h3>One thing to do</h3><p>{do} {show}</p></div>"
        '<div><h3>One thing to see</h3><p>{see} '
        '<a class="as-link" href="#learn" data-lesson="{name}" data-question>'
        "Check yourself</a></p></div>"
        '<button type="button" class="close" data-close aria-label="Close the lesson">×</button>'
        "</section>"
    ).format(
        name=lesson.name, page=lesson.page, place=_place(lesson), title=lesson.title, raced=raced,
        where=lesson.where, onward=onward, do=sentence(lesson.do), show=_show(lesson),
        see=sentence(lesson.see),
    )  # fmt: skip


def live(limits: Limits, lesson: Lesson) -> str:
    """Return the link that runs a lesson's race live; empty if this server does not allow it."""
    setup = possible(limits, lesson.config, recorded=True) if lesson.config else None
    page = "conditioning" if lesson.page == "conditioning" else "race"
    return f"?{setup.to_query()}&start=1&lesson={lesson.name}#{page}" if setup else ""


def glossary() -> Markup:
    """Return all terms."""
    entry = Markup('<div id="term-{}"><dt>{}</dt><dd>{}{}</dd></div>')
    source = Markup(' <span class="source">{}</span>')
    terms = Markup("").join(
        entry.format(
            slug(term.word), term.word, sentence(term.meaning),
            source.format(term.source) if term.source else "",
        )
        for term in GLOSSARY
    )  # fmt: skip
    return Markup('<h2 id="glossary">Glossary</h2><dl class="glossary">{}</dl>').format(terms)


def _raced(limits: Limits, lesson: Lesson, kind: str = "") -> Markup:
    """Return the link to race a lesson live, and the time that the recorded race took."""
    link = live(limits, lesson)
    if not link or not lesson.recording:
        return Markup("")
    race = GALLERY[lesson.recording]
    return Markup(
        '<a class="{}" href="{}">Race it live</a>'
        ' <span class="hint">(when recorded, on a {}: {})</span>'
    ).format(kind, link, race.device, about(race.steps[-1].seconds))


def _parts(latex: str) -> Markup:
    """Return a display formula in parts, at its wide spaces: a narrow page breaks lines there."""
    return Markup("").join(formula(part.strip()) for part in latex.split(r"\qquad"))


def _neighbours(lesson: Lesson) -> Markup:
    before, after = beside(lesson.name)
    turn = Markup('<button type="button" class="quiet" data-lesson="{}">{}</button>')
    return Markup('<div class="neighbours">{}{}</div>').format(
        turn.format(before.name, f"← {plain(before.title)}") if before else Markup("<span></span>"),
        turn.format(after.name, f"{plain(after.title)} →") if after else "",
    )


def _show(lesson: Lesson) -> Markup:
    if not lesson.where:
        return Markup("")
    return Markup(
        '<button type="button" class="as-link" data-show="{}">Show me where ↓</button>'
    ).format(lesson.where)


def _place(lesson: Lesson) -> str:
    return f"Lesson {NAMES.index(lesson.name) + 1} of {len(NAMES)}"


def _current(is_chosen: bool) -> Markup:
    return Markup(' aria-current="true"') if is_chosen else Markup("")


__all__ = ["answer", "card", "check", "contents", "glossary", "guide", "live", "text"]

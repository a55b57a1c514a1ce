"""The page Learn: lessons, their guides, and notes for teachers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import gradio as gr
from markupsafe import Markup

from olora_viz.figures.live.serving import live_figure, pack
from olora_viz.learn.class_plans import PLANS
from olora_viz.learn.gallery import GALLERY
from olora_viz.learn.lessons import LESSON_NAMES, LESSONS, Lesson, beside, find
from olora_viz.learn.lessons.lesson import example_matrix
from olora_viz.learn.pictures import hand, picture
from olora_viz.learn.terms import GLOSSARY, formula, plain, sentence, slug, with_terms
from olora_viz.machine.wording import about
from olora_viz.races.config import RaceConfig
from olora_viz.views.html import problem
from olora_viz.web.classroom.votes import HOURS
from olora_viz.web.guard.limits import Limits
from olora_viz.web.parts.card import LATEST_ONLY, UNQUEUED, Desk, again, element, in_card, on_picks
from olora_viz.web.parts.guide import strip
from olora_viz.web.parts.setup import SetUpControls, possible

PAGE_WORDS = {
    "race": "Open the recorded race",
    "learn": "Do it step by step",
    "conditioning": "Open the Conditioning page",
    "spectrum": "Open the Spectrum page",
}
"""The label of the button that opens a lesson's page, by page."""


class Links(NamedTuple):
    """What leads on from a lesson, as HTML: buttons on this page, links on pages without a server."""

    lesson: Callable[[str, object, str], Markup]
    """Leads to the lesson of a name, with a content and further attributes."""
    page: Callable[[Lesson], Markup]
    """Opens what a lesson is about; empty if that is beside its text."""
    race: Callable[[Lesson], Markup]
    """Races what a lesson shows; empty if that is not possible."""


def links(limits: Limits) -> Links:
    """Return the links of this page."""
    turn = Markup('<button type="button" data-lesson="{}"{}>{}</button>')
    opens = Markup('<button type="button" class="primary" data-open="{}" data-page="{}">{}</button>')
    return Links(
        lesson=lambda name, content, more: turn.format(name, Markup(more), content),  # noqa: S704
        page=lambda lesson: opens.format(lesson.name, lesson.page, PAGE_WORDS[lesson.page]),
        race=lambda lesson: _raced(limits, lesson, "quiet"),
    )


def lesson_contents(chosen: str, links: Links) -> Markup:
    """Return the list of all lessons, one of them chosen."""
    inner = Markup(
        '<span class="number">{}</span><span class="done" hidden><span aria-hidden="true">✓</span>'
        '<span class="unseen">done: </span></span><span class="title">{}</span><span class="minutes">{} min</span>'
    )
    lines = Markup("").join(
        Markup("<li>{}</li>").format(
            links.lesson(
                name, inner.format(n, lesson.title, lesson.minutes), ' aria-current="true"' * (name == chosen)
            )
        )
        for n, (name, lesson) in enumerate(LESSONS.items(), start=1)
    )
    return Markup(
        '<h2>Lessons <span class="hint">in reading order, {} minutes in all</span></h2>'
        '<p class="hint count"></p>'
        "<nav aria-label='Lessons'><ol>{}</ol></nav>"
    ).format(sum(lesson.minutes for lesson in LESSONS.values()), lines)


BELOW = Markup(
    '<p class="hint"><a href="#glossary" data-glossary>Glossary</a>: all terms, below every '
    'lesson.</p><p class="hint" id="to-teachers"><a href="#teachers" data-teachers>For teachers'
    "</a>: plans with links, a worksheet, and a class that votes.</p>"
)
"""What stands below the list of lessons."""


def lesson_text(lesson: Lesson) -> Markup:
    """Return the text of a lesson."""
    paragraph, outcome = Markup("<p>{}</p>"), Markup('<p class="outcome">{}</p>')
    display = Markup('<div class="formula" tabindex="0" role="group" aria-label="formula">{}</div>')
    kinds = [outcome if i in lesson.outcome else paragraph for i in range(len(lesson.paragraphs))]
    first, *rest = (kind.format(sentence(text)) for kind, text in zip(kinds, lesson.paragraphs, strict=True))
    if lesson.outcome:
        rest.insert(lesson.outcome[0] - 1, UNTOLD)
    # In parts, at its wide spaces: a narrow page breaks lines there.
    formulas = [Markup("").join(formula(part.strip()) for part in latex.split(r"\qquad")) for latex in lesson.formulas]
    shown = [first, *map(display.format, formulas), *rest]
    race = Markup(' data-race="{}"').format(lesson.recording) if lesson.outcome else ""
    return Markup('<article{}><p class="hint">{} · {} minutes</p><h2 class="lesson-title">{}</h2>{}</article>').format(
        race, place(lesson), lesson.minutes, lesson.title, with_terms(Markup("").join(shown))
    )


UNTOLD = Markup(
    '<p class="untold">How the race ended is told here after your bet. <button type="button" class="as-link" '
    "data-tell>Show it anyway</button></p>"
)
"""What stands in a lesson's text for what it tells of its race; outcome.js shows one of the two."""


def lesson_guide(lesson: Lesson, links: Links) -> Markup:
    """Return what to do, what to see, and where, and the question that checks the idea."""
    opens = links.page(lesson)
    return Markup(
        '<h3>One thing to do</h3><p class="say">{}</p>'
        '<h3>One thing to see</h3><p class="say">{}</p>'
        '<div class="ways">{}{}</div>{}{}'
    ).format(
        sentence(lesson.do), sentence(lesson.see), opens, links.race(lesson),
        check(lesson), _neighbours(lesson, links),
    )  # fmt: skip


def check(lesson: Lesson) -> Markup:
    """Return the check question of a lesson: answers to choose from, each with what is right or wrong in it.

    Whoever chooses the right one has finished the lesson.
    """
    each = Markup(
        '<details class="choice" data-choice="{0}"{1}><summary>{0}. {2}</summary><p><b>{3}</b> {4}</p></details>'
    )
    finishes = Markup(' data-finishes="{}"').format(lesson.name)
    answers = Markup("").join(
        each.format(letter, "", sentence(choice.text), "Not this one.", sentence(choice.why))
        if choice.why
        else each.format(letter, finishes, sentence(choice.text), "Right.", sentence(lesson.answer))
        for letter, choice in zip(lesson.lettered, lesson.choices, strict=True)
    )
    return Markup(
        '<section class="check" id="check" data-check="{}"><h3>Check yourself</h3><p class="say">{}</p>{}</section>'
    ).format(lesson.name, sentence(lesson.ask), answers)


def answer(lesson: Lesson) -> Markup:
    """Return the answer to the check question, folded."""
    return Markup('<details class="answer"><summary>Show the answer</summary><p>{}</p></details>').format(
        sentence(lesson.answer)
    )


def guided_card(limits: Limits, lesson: Lesson) -> Markup:
    """Return the guide of a lesson, which plays on the page that the lesson is about."""
    after = beside(lesson.name)[1]
    reads = Markup(
        '<a href="#learn" data-lesson="{0}">Read it</a><a href="#learn" data-lesson="{0}" data-question>Check '
        "yourself</a>"
    ).format(lesson.name)
    raced = _raced(limits, lesson)
    within = Markup("<span>{}</span>").format(raced) if raced else ""
    onward = Markup('<button type="button" class="as-link" data-open="{}" data-page="{}">Next: {} →</button>')
    ways = reads + within + (onward.format(after.name, after.page, after.title) if after else "")
    return strip(lesson.guide, ways, page=lesson.page, place=place(lesson), race=lesson.recording or "")


def live(limits: Limits, lesson: Lesson) -> str:
    """Return the link that runs a lesson's race live; empty if this server does not allow it."""
    query = starting(limits, lesson.config) if lesson.config else ""
    page = "conditioning" if lesson.page == "conditioning" else "race"
    return f"{query}&lesson={lesson.name}#{page}" if query else ""


def starting(limits: Limits, config: RaceConfig) -> str:
    """Return the query of the link that starts a race; empty if this server does not allow it."""
    setup = possible(limits, config, recorded=True)
    return f"?{setup.to_query()}&start=1" if setup else ""


def by_hand(limits: Limits, lesson: Lesson) -> dict[str, Any] | None:
    """Return what the script of a lesson's hand is given, with links to race it live; None if the lesson has none."""
    what = hand(lesson)
    if what is None:
        return None
    return {"kind": what.kind, **what.given, "live": [starting(limits, race) for race in what.races]}


def glossary() -> Markup:
    """Return all terms."""
    entry = Markup('<div id="term-{}"><dt>{}</dt><dd>{}{}</dd></div>')
    source = Markup(' <span class="source">{}</span>')
    terms = Markup("").join(
        entry.format(slug(one.word), one.word, sentence(one.meaning), source.format(one.source) if one.source else "")
        for one in GLOSSARY
    )
    return Markup('<h2 id="glossary">Glossary</h2><dl class="glossary">{}</dl>').format(terms)


def _raced(limits: Limits, lesson: Lesson, kind: str = "") -> Markup:
    """Return the link to race a lesson live, and the time that the recorded race took."""
    link = live(limits, lesson)
    if not link or not lesson.recording:
        return Markup("")
    race = GALLERY[lesson.recording]
    took = race.steps[-1].seconds
    enough = "the recording is enough; " if took > LONG_LESSON else ""
    words = Markup('<a class="{}" href="{}">Race it live</a> <span class="hint">({}when recorded, on a {}: {})</span>')
    return words.format(kind, link, enough, race.device, about(took))


LONG_LESSON = 40.0
"""Seconds on one core: a race that takes longer is not needed for its lesson, which plays the recording."""


def _neighbours(lesson: Lesson, links: Links) -> Markup:
    before, after = beside(lesson.name)
    quiet = ' class="quiet"'
    return Markup('<div class="neighbours">{}{}</div>').format(
        links.lesson(before.name, f"← {plain(before.title)}", quiet) if before else Markup("<span></span>"),
        links.lesson(after.name, f"{plain(after.title)} →", quiet) if after else "",
    )


def place(lesson: Lesson) -> str:
    """Return where a lesson stands among all, in words."""
    return f"Lesson {LESSON_NAMES.index(lesson.name) + 1} of {len(LESSON_NAMES)}"


HIDDEN = ("setup", "lanes", "presets", "runs", "take", "share", "teachers")
"""Names of `arrival.HIDEABLE` that a class does not need."""

NEEDED = {"export": ("take",)}
"""Those of `HIDDEN` that a lesson is about."""


def class_link(lesson: Lesson) -> str:
    """Return the link that opens a lesson for a class: its page, its race, and nothing to set."""
    needed = NEEDED.get(lesson.name, ())
    return f"?lesson={lesson.name}&hide={','.join(name for name in HIDDEN if name not in needed)}"


def plan() -> Markup:
    """Return the plan, folded."""
    entry = Markup(
        '<li><h3>{} <span class="hint">{} min</span></h3><p>{}</p><p><b>Check:</b> {}</p>{}'
        '<div class="class-link" data-link="{link}"><button type="button" class="quiet">'
        'Copy the link for the class</button> <a href="{link}" target="_blank">See it</a>'
        '<span class="unseen" role="status"></span></div></li>'
    )
    entries = Markup("").join(
        entry.format(
            lesson.title, lesson.minutes, sentence(lesson.idea), sentence(lesson.ask),
            answer(lesson), link=class_link(lesson),
        )
        for lesson in LESSONS.values()
    )  # fmt: skip
    first = next(part.lesson for part in PLANS[0].parts if part.lesson)
    return Markup(
        '<details><summary><h2>For teachers <span class="hint">a class that votes, plans to print, and what each '
        "lesson teaches, with its check question and a link for the class</span></h2></summary>"
        '<p class="for-class"><label>Name of the class '
        '<input maxlength="24" autocomplete="off" spellcheck="false"></label>'
        '<button type="button" class="quiet" data-open-class="{first}">Open the class on this screen</button>'
        '<a href="./for-a-class" target="_blank">Plans of 45 and 90 minutes, and a worksheet, to print</a></p>'
        "<p>A class gathers the bets and answers of everyone with its link, without names, and shows how many chose "
        "what, with a code to join on the projector. It is kept in memory, ends after {} hours or when you end it, "
        "and nothing of it is left.</p>"
        "<p>A link for the class opens the page and the recorded race of its lesson. The names after "
        "<code>hide=</code> are the parts of the page that it hides; add or remove some, and they stay hidden on "
        "every page. With <code>start=1</code> a link with a set-up starts its race when it is opened, but not again "
        "when the page is reloaded. <code>class=1</code> makes text and lines larger, for a projector; "
        "<code>class=NAME</code> is a link into the class.</p>"
        '<ol class="plan">{}</ol></details>'
    ).format(HOURS, entries, first=class_link(LESSONS[first]))


LESSON_OF_LINK = '(asked) => new URLSearchParams(window.location.search).get("lesson") ?? ""'

RANK = 2
"""The initial rank of the QR picture."""


class LessonView(NamedTuple):
    """What the page's outputs show of a lesson, in their order, or their components."""

    contents: Any = gr.skip()
    text: Any = gr.skip()
    picture: Any = gr.skip()
    rank: Any = gr.skip()
    hand: Any = gr.skip()
    guide: Any = gr.skip()


def card() -> gr.HTML:
    """Make the place of a lesson's guide, above all pages; it is empty without a lesson."""
    return element("", elem_id="lesson-card", script="lesson_card.js")


def build(demo: gr.Blocks, card: gr.HTML, desk: Desk, controls: SetUpControls) -> None:
    """Lay the page out in `demo`, and let it show recorded races, with their set-ups, on the page Race."""
    limits = desk.limits
    page = _components(limits)

    def read(lesson: Lesson) -> dict[Any, Any]:
        return dict(zip(page, _read(limits, lesson), strict=True))

    def arrive(name: Any) -> dict[Any, Any]:
        """Show the lesson that the address names, if there is one."""
        lesson = LESSONS.get(name) if isinstance(name, str) else None
        return read(lesson) | {card: guided_card(limits, lesson)} if lesson else gr.skip()

    def press(_request: gr.Request, event: gr.SelectData) -> dict[Any, Any]:
        """Show a lesson, and if it is opened, its recorded race and set-up."""
        value = event.value if isinstance(event.value, dict) else {}
        try:
            lesson = find(str(value.get("lesson"))[:80])
        except ValueError as error:
            return {page.text: problem(str(error))}
        if value.get("open") is not True:
            return read(lesson)
        shown = read(lesson) | {card: guided_card(limits, lesson)}
        race = desk.jobs.shown(lesson.race)
        if race is None:
            return shown
        setup = possible(limits, race.config, recorded=True)
        filled = zip(controls, setup.to_controls(), strict=True) if setup else ()
        return {**shown, desk.run: lesson.race, desk.again: again(), **dict(filled)}

    outputs = [*page, card, desk.run, desk.again, *controls]
    on_picks([part.select for part in (page.contents, page.guide, card)], press, [], outputs)
    page.rank.input(turn_rank, page.rank, page.picture, **LATEST_ONLY)
    address = gr.Textbox(visible=False)
    demo.load(arrive, address, [card, *page], js=LESSON_OF_LINK, **UNQUEUED)


def _components(limits: Limits) -> LessonView:
    """Lay out the page's components, with the first lesson."""
    first = find(LESSON_NAMES[0])
    with gr.Row(elem_classes="page", elem_id="learn-page"):
        with gr.Column(elem_classes="side left", scale=0, min_width=0), gr.Column(elem_classes="card"):
            contents = _pressed("lesson-list", lesson_contents(first.name, links(limits)) + BELOW)
        with gr.Column(elem_classes="middle", min_width=0):
            text = in_card(element, lesson_text(first), elem_id="lesson-text", script="outcome.js")
            with gr.Column(elem_classes="card"):
                drawn = live_figure(picture(first), elem_id="lesson-figure")
                rank = gr.Slider(
                    1, min(example_matrix().shape), value=RANK, step=1, label="Rank r",
                    elem_id="lesson-rank", visible=False,
                )  # fmt: skip
            changed = in_card(
                element, by_hand(limits, first), elem_id="lesson-hand", script="hands/hand.js",
                html_template='<div class="hand"></div>',
            )  # fmt: skip
        with gr.Column(elem_classes="side right", scale=0, min_width=0), gr.Column(elem_classes="card"):
            guide = _pressed("lesson-guide", lesson_guide(first, links(limits)))
        with gr.Column(elem_classes="after", min_width=0):
            with gr.Column(elem_classes="card", elem_id="lesson-glossary", min_width=0):
                element(glossary(), script="terms.js")
            with gr.Column(elem_classes="card", elem_id="lesson-teachers", min_width=0):
                element(plan(), script="teachers.js")
    return LessonView(contents, text, drawn, rank, changed, guide)


def _read(limits: Limits, lesson: Lesson) -> LessonView:
    return LessonView(
        contents=lesson_contents(lesson.name, links(limits)) + BELOW,
        text=lesson_text(lesson),
        picture=pack(picture(lesson, RANK)),
        rank=gr.update(visible=lesson.picture == "qr", value=RANK),
        hand=gr.update(value=by_hand(limits, lesson)),
        guide=lesson_guide(lesson, links(limits)),
    )


def turn_rank(r: Any) -> Any:
    """Draw the QR picture at a rank."""
    most = min(example_matrix().shape)
    if not isinstance(r, int | float) or not 1 <= r <= most:
        return gr.skip()
    return pack(picture(find("qr"), int(r)))


def _pressed(elem_id: str, value: str) -> gr.HTML:
    """Make an HTML component that chooses, opens and closes lessons."""
    return element(value, elem_id=elem_id, script="learn.js")

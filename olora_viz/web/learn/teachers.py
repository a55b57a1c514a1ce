"""The teacher's plan: what each lesson teaches, how long it takes, and a link to it for a class."""

from __future__ import annotations

from markupsafe import Markup

from olora_viz.learn.formulas import sentence
from olora_viz.learn.lessons import LESSONS, Lesson
from olora_viz.web.learn.view import answer

HIDDEN = ("setup", "lanes", "presets", "runs", "take", "share", "teachers")
"""Names of `share.PARTS` that a class does not need."""

NEEDED = {"export": ("take",)}
"""Those of `HIDDEN` that a lesson is about."""


def class_link(lesson: Lesson) -> str:
    """Return the link that opens a lesson for a class: its page, its race, and nothing to set."""
    needed = NEEDED.get(lesson.name, ())
    hidden = ",".join(name for name in HIDDEN if name not in needed)
    return f"?lesson={lesson.name}&hide={hidden}"


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
    return Markup(
        '<details><summary><h2>For teachers <span class="hint">what each lesson teaches, how long '
        "it takes, its check question, and a link for the class</span></h2></summary>"
        "<p>A link for the class opens the page and the recorded race of its lesson. The names "
        "after <code>hide=</code> are the parts of the page that it hides; add or remove some, and "
        "they stay hidden on every page. With <code>start=1</code> a link with a set-up starts its "
        "race when it is opened, but not again when the page is reloaded. <code>class=1</code> "
        "makes text and lines larger, for a projector.</p>"
        '<ol class="plan">{}</ol></details>'
    ).format(entries)

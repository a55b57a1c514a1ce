"""What a teacher prints: the plans, the worksheet and its answers, on one page whose parts print one by one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from olora_viz.figures.theme import css_variables
from olora_viz.learn.class_plans import BETTED, LAST_QUESTION, LESSONS_ON_PAPER, PLANS, ClassPart, ClassPlan
from olora_viz.learn.lessons import Lesson, find
from olora_viz.learn.terms import sentence
from olora_viz.web.classroom.votes import checked_name
from olora_viz.web.learn import class_link

TITLE = "For a class: plans and a worksheet"
HANDOUT_STYLE = Path(__file__).parent / "handout.css"

Link = Callable[[Lesson], str]
"""Returns the address of a lesson, before its result is shown."""

HANDOUT_SHELL = Markup("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><link rel="icon" href="./favicon.ico"><style>{style}</style></head>
<body class="alone"><main><h1>{title}</h1>{body}</main></body></html>
""")


def handout(link: Link) -> Markup:
    """Return the plans, the worksheet and the answers."""
    plans = [(f"plan-{plan.minutes}", plan.title, _plan(plan, link)) for plan in PLANS]
    parts = [*plans, ("worksheet", "Worksheet", _worksheet()), ("answers", "Answers to the worksheet", _answers())]
    listed = Markup("").join(Markup('<li><a href="#{}">{}</a></li>').format(id, title) for id, title, _ in parts)
    whole = Markup('<section id="{}"><h2>{}</h2>{}</section>')
    return Markup(
        '<div class="handout"><header><p>To print one part alone, follow its link before you print; else all are '
        "printed.</p><ul>{}</ul></header>{}</div>"
    ).format(listed, Markup("").join(whole.format(*part) for part in parts))


def _plan(plan: ClassPlan, link: Link) -> Markup:
    begins = 0
    rows = []
    row = Markup("<tr><td>{} to {}</td><td><h3>{}</h3><p>{}</p>{}</td></tr>")
    for part in plan.parts:
        rows.append(row.format(begins, begins + part.minutes, part.title, part.does, _opens(part, link)))
        begins += part.minutes
    return Markup(
        "<p><b>The class can then:</b> {}</p><table><thead><tr><th>Minutes</th><th>What the class does</th></tr>"
        "</thead><tbody>{}</tbody></table>"
    ).format(plan.goal, Markup("").join(rows))


def _opens(part: ClassPart, link: Link) -> Markup:
    if not part.lesson:
        return Markup("")
    lesson = find(part.lesson)
    return Markup('<p class="opens">Opens: <a href="{}">{}</a> <code>?lesson={}</code></p>').format(
        link(lesson), lesson.title, lesson.name
    )


BLANK = Markup('<span class="blank"></span>')


def _worksheet() -> Markup:
    each = Markup("<li><h3>{}</h3>{}<p>{}</p>{}<p>Why? {}</p></li>")
    bet = Markup("<p>{}</p>").format(Markup(BETTED).format(blank=BLANK))  # noqa: S704
    option = Markup('<li><span class="box">{}</span> {}</li>')
    lessons = (find(name) for name in LESSONS_ON_PAPER)
    questions = Markup("").join(
        each.format(
            lesson.title, "" if lesson.plays else bet, sentence(lesson.ask),
            Markup('<ul class="options">{}</ul>').format(
                Markup("").join(option.format(letter, sentence(words)) for letter, words in lesson.lettered.items())
            ),
            Markup('<span class="blank line"></span>'),
        )
        for lesson in lessons
    )  # fmt: skip
    last = Markup('<p>{}<span class="blank line"></span><span class="blank line"></span></p>').format(LAST_QUESTION)
    hint = Markup('<p class="hint">No name is needed. Tick a box before you open an answer.</p>')
    return hint + Markup("<ol>{}</ol>{}").format(questions, last)


def _answers() -> Markup:
    each = Markup("<li><h3>{}</h3><p><b>{}.</b> {}</p><p>The idea: {}</p></li>")
    return Markup("<ol>{}</ol>").format(
        Markup("").join(
            each.format(lesson.title, lesson.right, sentence(lesson.answer), sentence(lesson.idea))
            for lesson in map(find, LESSONS_ON_PAPER)
        )
    )


def route() -> Route:
    """Return the route of the page; with ``class=NAME`` its links lead into this class."""

    async def show(request: Request) -> Response:
        named = request.query_params.get("class", "")
        try:
            within = f"&class={checked_name(named)}" if named else ""
        except ValueError as error:
            return PlainTextResponse(f"{error}", 400)
        return alone(TITLE, handout(lambda lesson: f"./{class_link(lesson)}{within}"))

    return Route("/for-a-class", show)


def alone(title: str, body: Markup) -> HTMLResponse:
    """Return a page of its own beside the application, in its colours and without a script."""
    light, dark = css_variables("light"), css_variables("dark")
    colors = f":root{{{light}}}@media screen and (prefers-color-scheme: dark){{:root{{{dark}}}}}\n"
    style = Markup(colors + HANDOUT_STYLE.read_text("utf-8"))  # noqa: S704
    return HTMLResponse(HANDOUT_SHELL.format(title=title, style=style, body=body))

"""The static pages but those of races: lessons, plans for a class, claims, spectra and studies."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from olora_viz.figures.live.bundle import pack
from olora_viz.figures.plots import study_figures
from olora_viz.learn.gallery.claims import recorded_claims
from olora_viz.learn.lessons import LESSONS, Lesson
from olora_viz.learn.lessons.lesson import example_matrix
from olora_viz.learn.pictures import picture
from olora_viz.studies.claims import CLAIMS
from olora_viz.studies.verdicts import Verdicts
from olora_viz.views.claims import ShownFinding, how, row, wins
from olora_viz.views.decision import choices, forgotten, verdict_rows
from olora_viz.views.html import table
from olora_viz.views.layers import layer_words
from olora_viz.views.spectrum import Lab
from olora_viz.web import handout, learn
from olora_viz.web.claims import intro
from olora_viz.web.guard.limits import Limits
from olora_viz.web.site.live_data import MODEL
from olora_viz.web.site.page import FIRST, Page, card, columns, contents, differing, numbered, places, race_path
from olora_viz.web.site.race import HERE, guide, live_guide, live_link
from olora_viz.web.spectrum import (
    A_LAYER,
    A_MATRIX,
    EXAMPLE_MATRICES,
    SPECTRUM_STARTS,
    Choices,
    as_text,
    read_matrix,
    shown,
)

SITE_RANKS = (1, 2, 4, 8, 16, 32)
"""The ranks of the page Spectrum, whose layers are the model's that the site can train."""


def lesson_pages(*, is_live: bool) -> list[Page]:
    """Return a page for every lesson; `is_live`: whether the site's first page trains where it is read."""
    return [_lesson_page(lesson, _links(is_live=is_live)) for lesson in LESSONS.values()]


def _links(*, is_live: bool) -> learn.Links:
    turn = Markup('<a href="{}.html" data-lesson="{}"{}>{}</a>')
    opens = Markup('<a class="primary" href="{}">{}</a>')
    races = Markup('<a class="quiet" href="../index.html?{}">Race it here</a>')
    return learn.Links(
        lesson=lambda name, content, more: turn.format(name, name, Markup(more), content),  # noqa: S704
        page=lambda lesson: (
            opens.format(_about(lesson), LINK_WORDS[lesson.page]) if lesson.page in LINK_WORDS else Markup("")
        ),
        race=lambda lesson: races.format(link) if (link := _live_link(lesson) if is_live else "") else Markup(""),
    )


def _live_link(lesson: Lesson) -> str:
    return f"{live_link(lesson.config)}&lesson={lesson.name}{HERE}" if live_guide(lesson) else ""


LINK_WORDS = {
    "race": "Open the recorded race",
    "conditioning": "Open the recorded race",
    "spectrum": "Open a spectrum",
}
"""The label of the link to what a lesson is about, by its page."""


def _about(lesson: Lesson) -> str:
    """Return the address of what a lesson is about, from its own page; its guide, if it has one, plays there."""
    if lesson.page == "spectrum":
        return "../spectrum/counterexample.html"
    return f"../{race_path(lesson.recording or FIRST)}{f'?lesson={lesson.name}' * bool(guide(lesson))}"


def _lesson_page(lesson: Lesson, links: learn.Links) -> Page:
    frames = []
    slider: Markup | str = ""
    if lesson.picture == "qr":
        most = min(example_matrix().shape)
        drawn = [(r, {"picture": numbered(pack(picture(lesson, r)))}) for r in range(1, most + 1)]
        frames = differing([{"at": r, "figures": figures} for r, figures in drawn])
        slider = rank_slider([r for r, _ in drawn], learn.RANK)
    body = columns(
        ("side left", card(learn.lesson_contents(lesson.name, links) + TO_HANDOUT, "lesson-list")),
        ("middle", card(learn.lesson_text(lesson), "lesson-text") + Markup(
            '<div class="card" id="lesson-figure"><div data-figure="picture"></div>{}</div>').format(slider)),
        ("side right", card(learn.lesson_guide(lesson, links), "lesson-guide")),
        ("after", card(learn.glossary(), "lesson-glossary")),
    )  # fmt: skip
    main = Markup('<div class="page" id="learn-page">{}</div>').format(body)
    figures = {} if frames else {"picture": picture(lesson)}
    return Page(f"learn/{lesson.name}.html", lesson.title, "learn", main, figures, frames)


HANDOUT = "learn/for-a-class.html"
TO_HANDOUT = Markup('<p class="hint"><a class="quiet" href="for-a-class.html">{}</a></p>').format(handout.TITLE)


def handout_page() -> Page:
    """Return the plans for a class and the worksheet."""
    title = Markup('<h2 class="page-title">{}</h2>').format(handout.TITLE)
    return Page(HANDOUT, handout.TITLE, "learn", title + handout.handout(lambda lesson: f"{lesson.name}.html"))


def rank_slider(ranks: Sequence[int], chosen: int) -> Markup:
    """Return the slider over ranks; without JavaScript it is hidden."""
    return Markup(
        '<label class="ranks" hidden>Rank r <input type="range" min="0" max="{}" value="{}" data-ranks="{}">'
        "<output>{}</output></label>"
    ).format(len(ranks) - 1, list(ranks).index(chosen), ",".join(map(str, ranks)), chosen)


def claims_page() -> Page:
    """Return the claims with what is recorded of each."""
    known = recorded_claims()
    rows = (row(claim, [ShownFinding.of(one) for one in known.of(claim.name)]) for claim in CLAIMS.values())
    listed = Markup("").join(Markup("<div>{}</div>").format(each) for each in rows)
    body = columns(
        ("intro claims-only", intro(known, live=False)),
        ("middle claims-only", Markup('<div class="card" id="claims-list">{}</div>').format(listed)),
        (
            "side right claims-only",
            card(how()) + Markup('<div class="card" id="claims-wins">{}</div>').format(wins(known.cells)),
        ),
    )
    return Page(
        "claims.html", "What papers claim, and what was measured", "claims",
        Markup('<div class="page" id="race-page">{}</div>').format(body),
    )  # fmt: skip


CHARTS = ("singular", "energy", "angles")
FRAMED_CARDS = ("claim", "energies", "factors", "seeing")
"""The charts and the cards of a page Spectrum, in the order of a `SpectrumView`."""


def spectrum_pages(lab: Lab, limits: Limits) -> list[Page]:
    """Return a page for every layer of the smallest model, and for every example matrix, at the usual ranks."""
    layers = [("index", layer_words(layer), layer) for layer in lab.layers(MODEL)]
    layers = [layers[0], *((layer, words, layer) for _, words, layer in layers[1:])]
    matrices = [(example, label, "") for example, (label, _) in EXAMPLE_MATRICES.items()]
    groups = {f"Layers of {MODEL}": layers, A_MATRIX: matrices}
    return [
        _spectrum_page(lab, limits, address, words, layer, _spectrum_contents(groups, address))
        for group in groups.values()
        for address, words, layer in group
    ]


def _spectrum_contents(groups: Mapping[str, Sequence[tuple[str, str, str]]], current: str) -> Markup:
    link = Markup('<li><a href="{}.html"{}>{}</a></li>')
    here = Markup(' aria-current="page"')
    lists = (
        card(
            Markup('<h2>{0}</h2><nav aria-label="{0}"><ol class="layers">{1}</ol></nav>').format(
                title,
                Markup("").join(
                    link.format(address, here if address == current else "", w) for address, w, _ in group
                ),
            )
        )
        for title, group in groups.items()
    )
    return Markup("").join(lists)


def _spectrum_page(lab: Lab, limits: Limits, address: str, words: str, layer: str, listed: Markup) -> Page:
    """Return the page of a layer, or if there is none of the example matrix of this address."""
    text = "" if layer else as_text(address)
    most = min((lab.layers(MODEL)[layer] if layer else read_matrix(text)).shape)
    source, frames = A_LAYER if layer else A_MATRIX, []
    for r in (rank for rank in SITE_RANKS if rank <= most):
        chosen = Choices(source, MODEL, layer, text, r, list(SPECTRUM_STARTS), 0)
        view = shown(lab, limits, chosen, drawn=chosen._replace(rank=None))
        texts = dict(zip(FRAMED_CARDS, map(str, view[3:7]), strict=True))
        frames.append({"at": r, "texts": texts, "figures": dict(zip(CHARTS, map(numbered, view[:3]), strict=True))})
    suitable = 8 if layer else max(1, most // 4)
    first = max((each for each in frames if each["at"] <= suitable), key=lambda each: each["at"])
    slider = rank_slider([each["at"] for each in frames], first["at"])
    cards = (
        card(Markup('<div id="{}">{}</div>').format(key, Markup(first["texts"][key])))  # noqa: S704
        for key in FRAMED_CARDS
    )
    pair = Markup('<div class="two charts">{}</div>').format(places(*CHARTS[:2]))
    side_by_side = columns(
        ("side left", card(slider) + listed), ("middle", pair + places(CHARTS[2])),
        ("side right", Markup("").join(cards)),
    )  # fmt: skip
    title = f"Singular values of {words}{f', {MODEL}' if layer else ''}"
    body = Markup('<h2 class="page-title">{}</h2><div class="page" id="spectrum-page">{}</div>').format(
        title, side_by_side
    )
    return Page(f"spectrum/{address}.html", title, "spectrum", body, {}, differing(frames))


def study_page(name: str, known: Verdicts, titles: Mapping[str, str]) -> Page:
    """Return the page of a finished study: its verdicts, why some are undecided, and its charts; as `race_page`."""
    path = f"studies/{name}.html"
    study = known.study
    head, *rows = verdict_rows(known)
    figures = {f"chart-{i}": figure for i, figure in enumerate(study_figures(known))}
    reasons = Markup("").join(
        Markup('<p class="say"><b>{}</b>, {}: {}.</p>').format(each.method, each.cell.words(), each.why)
        for each in known.each
        if each.why
    )
    title = titles[path]
    verdicts = card(Markup("<h2>Verdicts against {}</h2>").format(study.reference) + table(head, rows, scrolls=True))
    cards = Markup("").join(card(words) for words in (choices(known), reasons, forgotten(known)) if words)
    middle = verdicts + cards + places(*figures)
    side_by_side = columns(("side left", card(contents(titles, path))), ("middle wide", middle))
    body = Markup('<h2 class="page-title">{}</h2><div class="page" id="race-page">{}</div>').format(
        title, side_by_side
    )
    return Page(path, title, "race", body, figures)


def title_of_study(known: Verdicts, name: str) -> str:
    """Return the title of a study: its name, tasks and models, by the last parts of their paths."""
    tasks, models = (", ".join(Path(name).name for name in known.study.values(what)) for what in ("task", "model"))
    return f"{name}: {tasks} on {models}"


def slug(text: str) -> str:
    """Return a text as the last part of an address.

    >>> slug("runs/My run 2")
    'My-run-2'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", Path(text).name).strip("-.") or "run"

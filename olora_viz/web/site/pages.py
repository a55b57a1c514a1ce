"""The static pages: HTML that reads without JavaScript, with the numbers of its charts and of its slider in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

from markupsafe import Markup

from olora_viz.background.record import RaceRecord
from olora_viz.figures.live.bundle import pack
from olora_viz.figures.plots import study_figures
from olora_viz.initializers import label_of
from olora_viz.learn.gallery import Recording
from olora_viz.learn.gallery.claims import recorded_claims
from olora_viz.learn.lessons import LESSONS, Lesson
from olora_viz.learn.lessons.lesson import Guide, example_matrix
from olora_viz.learn.pictures import picture
from olora_viz.learn.terms import with_terms
from olora_viz.machine.tables import folded, one_line
from olora_viz.machine.wording import and_, compact, counted, seconds
from olora_viz.studies.claims import CLAIMS
from olora_viz.studies.contest import seed_groups
from olora_viz.studies.verdicts import Verdicts
from olora_viz.tasks import TASKS
from olora_viz.views.claims import ShownFinding, how, row, wins
from olora_viz.views.decision import choices, forgotten, verdict_rows
from olora_viz.views.html import mark, status, table
from olora_viz.views.inside import inside_view
from olora_viz.views.layers import layer_words
from olora_viz.views.race import RaceView, race_view
from olora_viz.views.reports import MAPS, RUN, all_figures, setup_table
from olora_viz.views.results import group_styles
from olora_viz.views.runs import task_sample
from olora_viz.views.spectrum import Lab
from olora_viz.web import handout, learn
from olora_viz.web.claims import intro
from olora_viz.web.guard.limits import Limits
from olora_viz.web.parts.export import EXPORTS
from olora_viz.web.parts.guide import strip
from olora_viz.web.race.controls import SCRUB
from olora_viz.web.race.inside import INSIDE_HEADING
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

MOST_FRAMES = 120
"""Steps of a race with a frame of their own; of a longer one they are evaluated ones and some between."""

SITE_TITLE = "OLoRA playground"

LIVE = Markup(
    '<p class="hint">Recorded: computed earlier, and replayed here. To race live, on your own model and data, '
    "install it: <code>pip install -r requirements.txt</code>, then <code>python app.py</code>.</p>"
)

SITE_RANKS = (1, 2, 4, 8, 16, 32)
"""The ranks of the page Spectrum."""

MODEL = "glassllm"
"""Its model."""


@dataclass(frozen=True)
class Page:
    """A page of the site."""

    path: str
    """Below the site's root, with the ending html."""
    title: str
    kind: str
    """The page of the playground that it is like: learn, race, claims or spectrum."""
    body: Markup
    figures: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Those that no slider changes, by the name of their place."""
    frames: Sequence[Frame] = ()
    """What its slider shows, see `olora_viz.web.site.pages`."""
    files: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Texts to download, by path."""

    @property
    def root(self) -> str:
        """The way from it to the site's root."""
        return _root(self.path)


def _root(path: str) -> str:
    return "../" * path.count("/")


def places(*names: str) -> Markup:
    """Return a card for each figure, by name."""
    return Markup("").join(_card(_figures([name])) for name in names)


def _figures(names: Sequence[str]) -> Markup:
    return Markup("").join(map(Markup('<div id="{0}-figure" data-figure="{0}"></div>').format, names))


def numbers(figures: Mapping[str, Any], frames: Sequence[Frame] = ()) -> Markup:
    """Return the element that holds what the charts of a page draw."""
    packed = {name: pack(figure) for name, figure in figures.items()}
    text = one_line({"figures": packed, "frames": list(frames)})
    inner = Markup(text.replace("<", "\\u003c"))  # noqa: S704
    return Markup('<script type="application/json" class="olora-viz-numbers">{}</script>').format(inner)


def _columns(*columns: tuple[str, object]) -> Markup:
    """Return columns side by side, each with its classes."""
    column = Markup('<div class="column {}">{}</div>')
    return Markup("").join(column.format(kind, content) for kind, content in columns)


def _card(content: object, id: str = "") -> Markup:
    return Markup('<div class="card"{}>{}</div>').format(Markup(' id="{}"').format(id) if id else "", content)


def lesson_pages() -> list[Page]:
    """Return a page for every lesson."""
    return [_lesson_page(lesson) for lesson in LESSONS.values()]


def _links() -> learn.Links:
    turn = Markup('<a href="{}.html" data-lesson="{}"{}>{}</a>')
    opens = Markup('<a class="primary" href="{}">{}</a>')
    return learn.Links(
        lesson=lambda name, content, more: turn.format(name, name, Markup(more), content),  # noqa: S704
        page=lambda lesson: (
            opens.format(_about(lesson), LINK_WORDS[lesson.page]) if lesson.page in LINK_WORDS else Markup("")
        ),
        race=lambda lesson: Markup(""),
    )


LINK_WORDS = {
    "race": "Open the recorded race",
    "conditioning": "Open the recorded race",
    "spectrum": "Open a spectrum",
}
"""The label of the link to what a lesson is about, by its page."""


FIRST = "first"
"""The recorded race that is the site's first page."""


def race_path(name: str) -> str:
    """Return the path of the page of a race.

    >>> race_path("one-rate")
    'races/one-rate.html'
    """
    return "index.html" if name == FIRST else f"races/{name}.html"


def _about(lesson: Lesson) -> str:
    """Return the address of what a lesson is about, from its own page; its guide, if it has one, plays there."""
    if lesson.page == "spectrum":
        return "../spectrum/counterexample.html"
    return f"../{race_path(lesson.recording)}{f'?lesson={lesson.name}' * bool(guide(lesson))}"


DONE_HERE = ("step", "bet", "hidden")
"""What a guide can wait for on a page of a race."""


def guide(lesson: Lesson) -> Guide | None:
    """Return a lesson's guide for the page of its race, where all charts are open and nothing else can be pressed.

    None if what there is to do cannot be done there.
    """
    *steps, check = (replace(step, page="") for step in lesson.guide.steps)
    if lesson.page != "race" or not steps[-1].where.endswith(("-figure", "scrubber")):
        return None
    do, waits = steps[-1], steps[-1].waits
    if waits and waits.kind not in DONE_HERE:
        steps[-1] = replace(do, says=do.then, waits=None, then="")
    return replace(lesson.guide, steps=(*steps, check))


def _guides(recording: str) -> Markup:
    """Return the guides of the lessons on a recorded race, of which the address names the one that plays."""
    ways = Markup(
        '<a href="{0}learn/{1}.html">Read it</a><a href="{0}learn/{1}.html#check" data-question>Check yourself</a>'
    )
    strips = (
        strip(steps, ways.format(_root(race_path(recording)), name), place=learn.place(lesson))
        for name, lesson in LESSONS.items()
        if lesson.recording == recording and (steps := guide(lesson))
    )
    return Markup('<div id="lesson-card">{}</div>').format(Markup("").join(strips))


def _lesson_page(lesson: Lesson) -> Page:
    links, frames = _links(), []
    slider: Markup | str = ""
    if lesson.picture == "qr":
        most = min(example_matrix().shape)
        drawn = [(r, {"picture": numbered(pack(picture(lesson, r)))}) for r in range(1, most + 1)]
        frames = differing([{"at": r, "figures": figures} for r, figures in drawn])
        slider = rank_slider([r for r, _ in drawn], learn.RANK)
    body = _columns(
        ("side left", _card(learn.lesson_contents(lesson.name, links) + TO_HANDOUT, "lesson-list")),
        ("middle", _card(learn.lesson_text(lesson), "lesson-text") + Markup(
            '<div class="card" id="lesson-figure"><div data-figure="picture"></div>{}</div>').format(slider)),
        ("side right", _card(learn.lesson_guide(lesson, links), "lesson-guide")),
        ("after", _card(learn.glossary(), "lesson-glossary")),
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


def race_page(name: str, record: RaceRecord, titles: Mapping[str, str]) -> Page:
    """Return the page of a finished race, without the controls of one that runs.

    The site's first page has both layouts of the playground's, see ``race/view.js``; the others have all cards.

    Args:
        name: the last part of its address.
        titles: of all races and studies, by path.
    """
    config, path = record.config, race_path(name)
    view = race_view(record, run=RUN)
    figures = all_figures(record, view)
    if config.schedules == {("constant", 0)}:
        del figures["measurement-lr"]  # the set-up says it
    place = {key: Markup('<div id="{}">{}</div>').format(key, text) for key, text in texts_of(view).items()}
    bet = _card(Markup('<div id="bet-ask" hidden></div>') + place["bet-score"], "bet-card") if view.bet else ""
    files = downloads(name, record)
    columns = _columns(
        ("side left", (_sentence(record) if name == FIRST else "") + _workbench(_card(contents(titles, path)))),
        ("middle", _race_charts(record, view, figures)),
        ("side right race-only", _race_words(place, files, path)),
        ("after race-only", _inside_card(record) + _card(LIVE)),
    )
    body = Markup(
        '<div class="column">{}<div class="column top">{}</div>{}<div class="column below">{}</div>'
        '<div class="page" id="race-page">{}</div></div>'
    ).format(
        FIRST_LAYOUT if name == FIRST else "",
        _race_top(record, titles[path], place["verdict"]), _guides(name), bet, columns,
    )  # fmt: skip
    still = {key: figure for key, figure in figures.items() if key not in view.figures}
    title = SITE_TITLE if name == FIRST else titles[path]
    return Page(path, title, "race", body, still, race_frames(record, RUN), dict(files.values()))


FIRST_LAYOUT = Markup(
    "<script>document.currentScript.parentElement.toggleAttribute("
    '"data-first",!/[?&](view=workbench|lesson=)/.test(location.search))</script>'
)
"""Takes the layout of the first screen before anything is drawn."""


def _race_top(record: RaceRecord, title: str, verdict: Markup) -> Markup:
    last = record.steps[-1]
    line = status(
        "recorded", f"{record.config.model}, {record.config.task}", counted(len(record.styles), "lane"),
        f"{last.step} steps in {seconds(last.seconds)}{f' on {record.device}' if record.device else ''}",
    )  # fmt: skip
    return Markup(
        '<h2 class="page-title">{}</h2><div id="status">{}</div><div class="card" id="verdict-card">{}</div>'
    ).format(title, line, verdict)


def _sentence(record: RaceRecord) -> Markup:
    """Return the set-up of a race as the sentence that it is on the first screen."""
    config, groups = record.config, seed_groups(record.config.lanes)
    chip = Markup('<span class="chip">{} {}</span>')
    starts = Markup("").join(
        chip.format(mark(style), label_of(style.init)) for style in group_styles(groups, record.styles)
    )
    rates, ranks = (
        and_([compact(value) for value in dict.fromkeys(values)])
        for values in zip(*((lane.lr, lane.r) for lane in config.lanes), strict=True)
    )
    return Markup(
        '<p class="in-sentence">Teach <b>{}</b> to finish <b>{}</b></p><div id="setup-sample">{}</div>'
        '<p class="in-sentence">starting from</p><div class="lane-line"><span class="chips">{}</span>'
        '<span class="of-all">rate <b>{}</b></span><span class="of-all">rank <b>{}</b></span></div>'
        '<div id="view"><button type="button" class="as-link" id="view-button">more</button></div>'
    ).format(config.model, config.task, task_sample(TASKS[config.task]), starts, rates, ranks)


def _race_charts(record: RaceRecord, view: RaceView, figures: Mapping[str, Any]) -> Markup:
    pair = Markup('<div class="two charts">{}</div>').format(places("loss", "gradient"))
    folds = Markup("")
    for title, (start, fixed) in FOLDED.items():
        if keys := [key for key in figures if key.startswith(start)]:
            hint = Markup('<p class="hint">{} {}</p>').format(fixed, CHOOSE) if fixed else ""
            folds += _card(folded(title, hint + _figures(keys)))
    setup = _card(folded("Set-up", setup_table(record.config, record.styles)))
    hidden = tuple(start for start, _ in FOLDED.values())
    open_figures = [key for key in figures if key not in view.figures and not key.startswith(hidden)]
    scrubber = Markup('<div class="card slim" id="scrubber-card"><div id="scrubber">{}</div></div>').format(SCRUB)
    numbers_kept = _card(view.forgotten_table) if view.forgotten_table else ""
    more = pair + places(*open_figures) + numbers_kept + folds + setup
    return _card(_figures(["accuracy"]), "accuracy-card") + scrubber + _workbench(more)


def _workbench(content: object) -> Markup:
    """Return what the first screen does not show."""
    return Markup('<div class="workbench-only stack">{}</div>').format(content)


def _race_words(place: Mapping[str, Markup], files: Mapping[str, tuple[str, str]], path: str) -> Markup:
    take = Markup('<h2>Take it with you</h2><div class="exports">{}</div>').format(
        Markup("").join(
            Markup('<a class="quiet" href="{}{}" download title="{}">{}</a>').format(
                _root(path), file, EXPORTS[kind].title, EXPORTS[kind].label
            )
            for kind, (file, _) in files.items()
        )
    )
    answers = _card(place["answers"], "answers-card") if "answers" in place else ""
    return (
        _card(place["results"], "standing-card")
        + _card(place["story"], "story-card")
        + answers
        + _card(take, "take-card")
    )


def _inside_card(record: RaceRecord) -> Markup:
    """Return the card of the adapters themselves; empty for a race that did not keep their pictures."""
    if not record.inside or not record.inside.weights:
        return Markup("")
    option = Markup('<option value="{}">{}</option>')
    options = Markup("").join(option.format(layer, layer_words(layer)) for layer in record.inside.ends)
    choice = Markup('<select id="adapter-layer" aria-label="Layer">{}</select>').format(options)
    head = Markup('<div class="head">{}{}</div>').format(INSIDE_HEADING, choice)
    return _card(head + Markup('<div id="adapter-figure"><div class="inside"></div></div>'), "inside-card")


TAKEN_FORMS = ("csv", "code", "peft")
"""The files of a race that its page offers, keys of `EXPORTS`."""


def downloads(name: str, record: RaceRecord) -> dict[str, tuple[str, str]]:
    """Return the files of a race that can be made, by their kind: path and text."""
    files = {}
    for kind in TAKEN_FORMS:
        with suppress(ValueError):  # PEFT cannot train these lanes
            files[kind] = f"races/{name}{EXPORTS[kind].ending}", str(EXPORTS[kind].make(record))
    return files


CHOOSE = "In the playground you choose the lane, the layer and what is shown."
"""What is said where a page without a server has no such menus."""

FOLDED = {
    "Gradients by layer": ("depth", "One kind of layer, after the last measured step."),
    "Spectra of the adapters": ("map-", f"The best {MAPS} lanes, one measure."),
    "Measurements": ("measurement-", ""),
}
"""What a page of a race has folded: by their titles how the names of the figures begin, and which choice of the
playground they show."""


def title_of(record: RaceRecord, name: str) -> str:
    """Return the title of a race: a recording's own, else its name, model and task."""
    config = record.config
    return record.title if isinstance(record, Recording) else f"{name}: {config.task} on {config.model}"


def contents(titles: Mapping[str, str], current: str) -> Markup:
    """Return the list of the races and the studies, one of them the current page; titles and all by path."""
    link = Markup('<li><a href="{}{}"{}>{}</a></li>')
    here = Markup(' aria-current="page"')
    lines = Markup("").join(
        link.format(_root(current), path, here if path == current else "", title) for path, title in titles.items()
    )
    return Markup('<h2>Recorded races</h2><nav aria-label="Recorded races"><ul class="listed">{}</ul></nav>').format(
        lines
    )


def claims_page() -> Page:
    """Return the claims with what is recorded of each."""
    known = recorded_claims()
    rows = (row(claim, [ShownFinding.of(one) for one in known.of(claim.name)]) for claim in CLAIMS.values())
    listed = Markup("").join(Markup("<div>{}</div>").format(each) for each in rows)
    body = _columns(
        ("intro claims-only", intro(known, live=False)),
        ("middle claims-only", Markup('<div class="card" id="claims-list">{}</div>').format(listed)),
        (
            "side right claims-only",
            _card(how()) + Markup('<div class="card" id="claims-wins">{}</div>').format(wins(known.cells)),
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
        _card(
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
        _card(Markup('<div id="{}">{}</div>').format(key, Markup(first["texts"][key])))  # noqa: S704
        for key in FRAMED_CARDS
    )
    pair = Markup('<div class="two charts">{}</div>').format(places(*CHARTS[:2]))
    columns = _columns(
        ("side left", _card(slider) + listed), ("middle", pair + places(CHARTS[2])),
        ("side right", Markup("").join(cards)),
    )  # fmt: skip
    title = f"Singular values of {words}{f', {MODEL}' if layer else ''}"
    body = Markup('<h2 class="page-title">{}</h2><div class="page" id="spectrum-page">{}</div>').format(title, columns)
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
    verdicts = _card(Markup("<h2>Verdicts against {}</h2>").format(study.reference) + table(head, rows, scrolls=True))
    cards = Markup("").join(_card(words) for words in (choices(known), reasons, forgotten(known)) if words)
    middle = verdicts + cards + places(*figures)
    columns = _columns(("side left", _card(contents(titles, path))), ("middle wide", middle))
    body = Markup('<h2 class="page-title">{}</h2><div class="page" id="race-page">{}</div>').format(title, columns)
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


def without_paths(record: RaceRecord) -> RaceRecord:
    """Return a race whose model and task are named by the last parts of their paths."""
    config = record.config
    return replace(record, config=replace(config, model=Path(config.model).name, task=Path(config.task).name))


def texts_of(view: RaceView) -> dict[str, Markup]:
    """Return the cards of a race that change with the step, by the id of their place."""
    texts = {"verdict": with_terms(view.verdict), "story": with_terms(view.story), "results": view.results}
    texts |= {"bet-score": view.bet} if view.bet else {}
    return texts | ({"answers": view.answers} if view.race.answers or view.race.early_answers else {})


Frame = dict[str, Any]
"""What is shown from a position on, ``at``: ``texts``, HTML by the id of its place, ``figures``, packed ones by name
with their traces by number, and ``inside``, the adapters by layer. After the first one a frame has what differs from
the one before it, see `differing`.
"""


def race_frames(record: RaceRecord, run: str) -> list[Frame]:
    """Return a frame for every step of a race.

    Args:
        run: the race's name in its figures.
    """
    frames: list[Frame] = []
    for step in _steps(record):
        view = race_view(record, upto=step, run=run)
        texts = {name: str(text) for name, text in texts_of(view).items()}
        figures = {name: numbered(pack(figure)) for name, figure in view.figures.items()}
        frames.append({"at": step, "texts": texts, "figures": figures, "inside": _inside_frame(record, step)})
    return differing(frames)


def _inside_frame(record: RaceRecord, step: int) -> dict[str, Any]:
    """Return what is inside the adapters at a step, by layer, with the lanes by number."""
    views = {layer: inside_view(record, layer, step) for layer in (record.inside.ends if record.inside else ())}
    return {
        layer: {**view, "lanes": {str(k): lane for k, lane in enumerate(view["lanes"])}}
        for layer, view in views.items()
        if view
    }


def numbered(figure: Mapping[str, Any]) -> dict[str, Any]:
    """Return a packed figure with its traces by number, so that they can differ one by one.

    >>> numbered({"data": [{"y": "1,2"}], "layout": {}})
    {'data': {'0': {'y': '1,2'}}, 'layout': {}}
    """
    return {**figure, "data": {str(i): trace for i, trace in enumerate(figure["data"])}}


def differing(frames: Sequence[Frame]) -> list[Frame]:
    """Return frames with what differs from the ones before them.

    Of a text that has grown, such as the points of a curve, it is the new part, with a plus behind its name; what has
    gone is None.

    >>> differing([{"at": 0, "y": "1,2", "z": "1"}, {"at": 1, "y": "1,2,3"}])
    [{'at': 0, 'y': '1,2', 'z': '1'}, {'at': 1, 'y+': ',3', 'z': None}]
    """
    return [frames[0], *(_new(now, before) for before, now in pairwise(frames))]


def _new(now: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    new: dict[str, Any] = {}
    for key, value in now.items():
        old = before.get(key)
        if value == old:
            continue
        if isinstance(value, dict) and isinstance(old, dict):
            new[key] = _new(value, old)
        elif isinstance(value, str) and isinstance(old, str) and old and value.startswith(old):
            new[f"{key}+"] = value.removeprefix(old)
        else:
            new[key] = value
    return new | dict.fromkeys(before.keys() - now.keys())


def _steps(record: RaceRecord) -> Iterable[int]:
    """Return the steps that have a frame, 0 and the last one among them."""
    last = len(record.steps)
    if last <= MOST_FRAMES:
        return range(last + 1)
    evaluated = [step.step for step in record.steps if step.eval_loss is not None]
    some = evaluated[:: -(-len(evaluated) // MOST_FRAMES)] if evaluated else []
    return sorted({*range(0, last, -(-last // MOST_FRAMES)), *some, last})

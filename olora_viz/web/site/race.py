"""The static page of a race: its verdict, charts, answers and adapters, with a frame for each step of its slider."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from olora_viz.background.record import RaceRecord
from olora_viz.figures.live.bundle import pack
from olora_viz.initializers import INITIALIZERS, label_of
from olora_viz.learn.gallery import Recording
from olora_viz.learn.lessons import LESSONS, Lesson
from olora_viz.learn.lessons.lesson import Awaited, Guide, GuideStep
from olora_viz.learn.terms import with_terms
from olora_viz.machine.tables import folded, one_line
from olora_viz.machine.wording import and_, compact, counted, seconds
from olora_viz.races.config import RaceConfig
from olora_viz.studies.contest import seed_groups
from olora_viz.views.html import mark, status
from olora_viz.views.inside import inside_view
from olora_viz.views.layers import layer_words
from olora_viz.views.race import RaceView, race_view
from olora_viz.views.reports import MAPS, RUN, all_figures, setup_table
from olora_viz.views.results import group_styles
from olora_viz.web import learn
from olora_viz.web.parts.export import EXPORTS
from olora_viz.web.parts.guide import strip
from olora_viz.web.race.controls import SCRUB
from olora_viz.web.race.inside import INSIDE_HEADING
from olora_viz.web.site.live_data import LIVE_TASKS, MODEL
from olora_viz.web.site.page import (
    FIRST,
    SITE_TITLE,
    Frame,
    Page,
    card,
    columns,
    contents,
    differing,
    figure_places,
    numbered,
    places,
    race_path,
    root_of,
)

MOST_FRAMES = 120
"""Steps of a race with a frame of their own; of a longer one they are evaluated ones and some between."""

MOST_DRAWN = 900
"""The same for lanes × steps."""

LIVE = Markup(
    '<p class="hint">Recorded: computed earlier, and replayed here. To race live, on your own model and data, '
    "install it: <code>pip install -r requirements.txt</code>, then <code>python app.py</code>.</p>"
)

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
    if waits and waits.kind not in DONE_HERE and do.where != "adapter-figure":
        steps[-1] = replace(do, says=do.then, waits=None, then="")
    return replace(lesson.guide, steps=(*steps, check))


HERE = "-here"
"""Ends the name of a lesson's guide on the race that its reader's browser trains."""

RACED_HERE = (
    GuideStep(
        "These starts train in your browser, on your own machine: this race is yours alone.",
        "Press Race.",
        Awaited("pressed", "Race", of="#race-button"),
        where="race-button",
    ),
    GuideStep(
        "A minute or two.",
        "Watch the curves until the race has ended.",
        Awaited("ended", "the end of the race"),
        "The race is over. Above the chart stands how it ended, and the slider below it goes back through its steps.",
        where="accuracy-card",
    ),
)
"""The first steps of a lesson there."""

ASKED_HERE = {
    "rates-figure": replace(
        RACED_HERE[0],
        says="All starts had one rate here. At another rate another one may lead.",
        do="Move the rate beside the starts, and race again.",
        then="Compare the two races when this one has ended: a fair comparison takes each start at its better rate.",
    ),
    "forgotten-figure": replace(
        RACED_HERE[0],
        says="What the lanes forgot is not measured here, but they can be asked.",
        do="Give them a prompt of your own that has nothing to do with the task, and race again.",
        then="Compare their answers with the base model's: whoever answers with the words of the task has forgotten "
        "something for it.",
        where="live-prompt",
    ),
    "take": GuideStep(
        "Each start can be taken as a plain LoRA adapter, which PEFT loads.",
        "Take one of them, above the chart.",
        Awaited("pressed", "an adapter", of="#live-take a"),
        "Its adapter_config.json says its rank: compare those of two starts.",
        where="live-take",
    ),
}
"""What is done there instead with what lessons speak of and such a race does not have."""


def live_guide(lesson: Lesson) -> Guide | None:
    """Return a lesson's guide for the first page, where its race is trained; None if it cannot be."""
    if lesson.page != "race" or not live_link(lesson.config):
        return None
    do = GuideStep(lesson.see, lesson.do, where=lesson.where)
    steps = (*RACED_HERE, ASKED_HERE.get(lesson.where, do), lesson.guide.steps[-1])
    return Guide(lesson.name + HERE, lesson.title, tuple(replace(step, page="") for step in steps))


def _guides(recording: str, *, is_live: bool) -> Markup:
    """Return the guides of the lessons on a recorded race, of which the address names the one that plays.

    Args:
        is_live: whether the page also trains, for which any lesson may have a guide.
    """
    ways = Markup(
        '<a href="{0}learn/{1}.html">Read it</a><a href="{0}learn/{1}.html#check" data-question>Check yourself</a>'
    )
    strips = (
        strip(steps, ways.format(root_of(race_path(recording)), name), place=learn.place(lesson))
        for name, lesson in LESSONS.items()
        for steps in (lesson.recording == recording and guide(lesson), is_live and live_guide(lesson))
        if steps
    )
    return Markup('<div id="lesson-card">{}</div>').format(Markup("").join(strips))


def race_page(name: str, record: RaceRecord, titles: Mapping[str, str], *, is_live: bool = False) -> Page:
    """Return the page of a finished race, without the controls of one that runs.

    The site's first page has both layouts of the playground's, see ``race/view.js``; the others have all cards.

    Args:
        name: the last part of its address.
        titles: of all races and studies, by path.
        is_live: whether the first page also trains where it is read, for which the site has a script.
    """
    config, path = record.config, race_path(name)
    view = race_view(record, run=RUN)
    figures = all_figures(record, view)
    if config.schedules == {("constant", 0)}:
        del figures["measurement-lr"]  # the set-up says it
    place = {key: Markup('<div id="{}">{}</div>').format(key, text) for key, text in texts_of(view).items()}
    bet = card(Markup('<div id="bet-ask" hidden></div>') + place["bet-score"], "bet-card") if view.bet else ""
    files = downloads(name, record)
    sentence = _sentence(record, is_live=is_live) if name == FIRST else ""
    side_by_side = columns(
        ("side left", sentence + _workbench(card(contents(titles, path)))),
        ("middle", _race_charts(record, view, figures)),
        ("side right race-only", _race_words(place, files, path)),
        ("after race-only", _inside_card(record) + card(LIVE_HERE if is_live and name == FIRST else LIVE)),
    )
    body = Markup(
        '<div class="column">{}<div class="column top">{}</div>{}<div class="column below">{}</div>'
        '<div class="page" id="race-page">{}</div></div>'
    ).format(
        FIRST_LAYOUT if name == FIRST else "",
        _race_top(record, titles[path], place["verdict"]),
        _guides(name, is_live=is_live and name == FIRST), bet, side_by_side,
    )  # fmt: skip
    still = {key: figure for key, figure in figures.items() if key not in view.figures}
    title = SITE_TITLE if name == FIRST else titles[path]
    return Page(path, title, "race", body, still, race_frames(record, RUN), dict(files.values()))


FIRST_LAYOUT = Markup(
    "<script>document.currentScript.parentElement.toggleAttribute("
    '"data-first",!/[?&]view=workbench/.test(location.search))</script>'
)
"""Takes the layout of the first screen before anything is drawn."""


def _race_top(record: RaceRecord, title: str, verdict: Markup) -> Markup:
    last = record.steps[-1]
    line = status(
        "recorded", f"{record.config.model}, {record.config.task}", counted(len(record.styles), "lane"),
        f"{last.step} steps in {seconds(last.seconds)}{f' on {record.device}' if record.device else ''}",
    )  # fmt: skip
    return Markup(
        '<h2 class="page-title">{}</h2><div id="status">{}</div>'
        '<div class="card" id="verdict-card">{}<p id="live-take"></p></div>'
    ).format(title, line, verdict)


def _sentence(record: RaceRecord, *, is_live: bool) -> Markup:
    """Return the set-up of a race as the sentence that it is on the first screen, to change where it is live."""
    config, groups = record.config, seed_groups(record.config.lanes)
    chip = Markup('<span class="chip">{} {}</span>')
    starts = Markup("").join(
        chip.format(mark(style), label_of(style.init)) for style in group_styles(groups, record.styles)
    )
    rates, ranks = (
        and_([compact(value) for value in dict.fromkeys(values)])
        for values in zip(*((lane.lr, lane.r) for lane in config.lanes), strict=True)
    )
    tasks = Markup("").join(
        Markup('<option value="{}"{}>{}</option>').format(name, Markup(" selected") * (name == config.task), name)
        for name in LIVE_TASKS
    )
    tasks += Markup('<option value="own">rows of your own</option>')
    task = Markup('<select id="live-task" aria-label="Task">{}</select>').format(tasks) if is_live else config.task
    return Markup(
        '<p class="in-sentence">Teach <b>{}</b> to finish <b>{}</b> starting from</p>'
        '<div class="lane-line"><span class="chips">{}</span>'
        '<span class="of-all">rate <b>{}</b></span><span class="of-all">rank <b>{}</b></span></div>{}'
        '<div id="view"><button type="button" class="as-link" id="view-button">more</button></div>'
    ).format(config.model, task, starts, rates, ranks, _offer(record) if is_live else "")


def _offer(record: RaceRecord) -> Markup:
    """Return the place of the race that is trained where it is read, and what its script says of it."""
    config = record.config
    lanes = [seed_group.lane for seed_group in seed_groups(config.lanes)]
    inits = [name for name in INITIALIZERS if name in LIVE_STARTS]
    starts = {
        name: {"label": label_of(name), "short": INITIALIZERS[name].short, "summary": INITIALIZERS[name].summary}
        for name in inits
    }
    offer = {
        "task": config.task, "every": config.eval_every, "starts": starts,
        "rows": [{"init": each.init, "r": str(each.r), "alpha": "", "lr": compact(each.lr)} for each in lanes],
        "layers": {layer: layer_words(layer) for layer in (record.inside.ends if record.inside else ())},
    }  # fmt: skip
    text = Markup(one_line(offer).replace("<", "\\u003c"))  # noqa: S704
    return Markup('<div id="live" hidden></div>{}<script type="application/json" id="live-offer">{}</script>').format(
        _workbench(LIVE_SETTINGS), text
    )


LIVE_STEPS = (30, 60, 120)
"""The steps that a race there may have."""

LIVE_SETTINGS = Markup(
    '<div class="live-settings"><label>steps <select id="live-steps">{}</select></label>'
    '<label>seeds <select id="live-seeds"><option>1</option><option>2</option><option>3</option></select></label>'
    '<label>your own prompt <input id="live-prompt" maxlength="200" autocomplete="off"></label>'
    "<label hidden>your rows: a prompt and an answer each, as CSV or JSON; they stay in this page"
    '<textarea id="live-rows" rows="6" placeholder="prompt,answer&#10;3 and 4 make,7"></textarea></label></div>'
).format(Markup("").join(Markup("<option{}>{}</option>").format(" selected" * (n == 60), n) for n in LIVE_STEPS))
"""What else a race that is trained where it is read may be asked for."""

LIVE_STARTS = ("lora", "olora", "pissa", "milora", "random_orthonormal")
"""The starts that ``live/starts.js`` computes."""


def live_link(config: RaceConfig | None) -> str:
    """Return the query with which the site's first page races like this, at the first rate; empty if it cannot."""
    lanes = [lane for lane in config.lanes if lane.init in LIVE_STARTS] if config else []
    if not config or config.model != MODEL or config.task not in LIVE_TASKS or not lanes:
        return ""
    steps = next((n for n in LIVE_STEPS if n >= config.steps), LIVE_STEPS[-1])
    starts = ",".join(dict.fromkeys(lane.init for lane in lanes))
    first = lanes[0]
    return f"task={config.task}&steps={steps}&starts={starts}&rate={compact(first.lr)}&rank={first.r}"


def _race_charts(record: RaceRecord, view: RaceView, figures: Mapping[str, Any]) -> Markup:
    pair = Markup('<div class="two charts">{}</div>').format(places("loss", "gradient"))
    folds = Markup("")
    for title, (start, fixed) in FOLDED.items():
        if keys := [key for key in figures if key.startswith(start)]:
            hint = Markup('<p class="hint">{} {}</p>').format(fixed, CHOOSE) if fixed else ""
            folds += card(folded(title, hint + figure_places(keys)))
    setup = card(folded("Set-up", setup_table(record.config, record.styles)))
    hidden = tuple(start for start, _ in FOLDED.values())
    open_figures = [key for key in figures if key not in view.figures and not key.startswith(hidden)]
    scrubber = Markup('<div class="card slim" id="scrubber-card"><div id="scrubber">{}</div></div>').format(SCRUB)
    numbers_kept = card(view.forgotten_table) if view.forgotten_table else ""
    more = pair + places(*open_figures) + numbers_kept + folds + setup
    return card(figure_places(["accuracy"]), "accuracy-card") + scrubber + _workbench(more)


def _workbench(content: object) -> Markup:
    """Return what the first screen does not show."""
    return Markup('<div class="workbench-only stack">{}</div>').format(content)


def _race_words(place: Mapping[str, Markup], files: Mapping[str, tuple[str, str]], path: str) -> Markup:
    take = Markup('<h2>Take it with you</h2><div class="exports">{}</div>').format(
        Markup("").join(
            Markup('<a class="quiet" href="{}{}" download title="{}">{}</a>').format(
                root_of(path), file, EXPORTS[kind].title, EXPORTS[kind].label
            )
            for kind, (file, _) in files.items()
        )
    )
    answers = card(place["answers"], "answers-card") if "answers" in place else ""
    return (
        card(place["results"], "standing-card")
        + card(place["story"], "story-card")
        + answers
        + card(take, "take-card")
    )


def _inside_card(record: RaceRecord) -> Markup:
    """Return the card of the adapters themselves; empty for a race that did not keep their pictures."""
    if not record.inside or not record.inside.weights:
        return Markup("")
    option = Markup('<option value="{}">{}</option>')
    options = Markup("").join(option.format(layer, layer_words(layer)) for layer in record.inside.ends)
    choice = Markup('<select id="adapter-layer" aria-label="Layer">{}</select>').format(options)
    head = Markup('<div class="head">{}{}</div>').format(INSIDE_HEADING, choice)
    return card(head + Markup('<div id="adapter-figure"><div class="inside"></div></div>'), "inside-card")


LIVE_HERE = Markup(
    '<p class="hint">Recorded, until you press <b>Race</b>: then your own machine trains this small model, here, '
    "and nothing is sent anywhere. With your own model and data, install it: <code>pip install -r requirements.txt"
    "</code>, then <code>python app.py</code>.</p>"
)

MOST_IN_TABLE = 36
"""Lanes of a race whose table of steps the site has: that of more is hundreds of kilobytes."""

TAKEN_FORMS = ("csv", "code", "peft")
"""The files of a race that its page offers, keys of `EXPORTS`."""


def downloads(name: str, record: RaceRecord) -> dict[str, tuple[str, str]]:
    """Return the files of a race that can be made, by their kind: path and text."""
    files = {}
    for kind in TAKEN_FORMS:
        if kind == "csv" and len(record.config.lanes) > MOST_IN_TABLE:
            continue
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


def without_paths(record: RaceRecord) -> RaceRecord:
    """Return a race whose model and task are named by the last parts of their paths."""
    config = record.config
    return replace(record, config=replace(config, model=Path(config.model).name, task=Path(config.task).name))


def texts_of(view: RaceView) -> dict[str, Markup]:
    """Return the cards of a race that change with the step, by the id of their place."""
    texts = {"verdict": with_terms(view.verdict), "story": with_terms(view.story), "results": view.results}
    texts |= {"bet-score": view.bet} if view.bet else {}
    return texts | ({"answers": view.answers} if view.race.answers or view.race.early_answers else {})


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


def _steps(record: RaceRecord) -> Iterable[int]:
    """Return the steps that have a frame, 0 and the last one among them."""
    last, most = len(record.steps), min(MOST_FRAMES, MOST_DRAWN // len(record.config.lanes))
    if last <= most:
        return range(last + 1)
    evaluated = [step.step for step in record.steps if step.eval_loss is not None]
    some = evaluated[:: -(-len(evaluated) // most)] if evaluated else []
    return sorted({*range(0, last, -(-last // most)), *some, last})

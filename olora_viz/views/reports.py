"""Reports as single HTML files: of a race, of a decision, of an adapter."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from markupsafe import Markup

from olora_viz.background.record import RaceRecord
from olora_viz.figures import theme
from olora_viz.figures.layout import Figure
from olora_viz.figures.live.bundle import pack
from olora_viz.figures.live.standing_alone import plotted
from olora_viz.figures.plots import plot_study
from olora_viz.figures.theme import LaneStyle
from olora_viz.lanes.lane import SHOWN, SHOWN_NAMES, Lane
from olora_viz.machine.files import write_text
from olora_viz.machine.version import versions
from olora_viz.machine.wording import number, percent, seconds
from olora_viz.measures.inspection import DORA, LayerComparison, LayerInspection, LayerUpdate, total_cosine, total_norm
from olora_viz.races.config import RaceConfig, setting_text, setup_facts
from olora_viz.races.recipe_files import FILES
from olora_viz.studies.decide import Decision
from olora_viz.studies.method import METHODS
from olora_viz.studies.recipe_search import planned_study
from olora_viz.tasks.keep import NONE
from olora_viz.views import decision
from olora_viz.views import html as fragments
from olora_viz.views.html import table
from olora_viz.views.layers import curvature_view, gradients_view, spectra_view
from olora_viz.views.race import RaceView, race_view
from olora_viz.views.results import rates_view

STYLES = Path(__file__).parent
"""The folder of the style sheets."""

REPORT_STYLE = (STYLES / "report.css").read_text("utf-8")

REPORT_SHELL = Markup("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{style}</style></head><body><main>{body}</main></body></html>
""")


def page(
    title: str,
    sections: Sequence[object],
    *,
    heading: object = "",
    lead: object = "",
    style: str = REPORT_STYLE,
    figures: Mapping[str, Figure] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return the content of a report, for `whole`, or with figures for `standalone` of figure_export.js.

    Args:
        sections: one below the other; those without content are left out. A figure has a place in them, by its name.
        heading: above them; by default the title.
        lead: a paragraph below the heading.
    """
    lead = Markup("<p>{}</p>").format(lead) if lead else ""
    section = Markup('<section class="card">{}</section>')
    cards = Markup("").join(section.format(content) for content in sections if content)
    body = Markup("<h1>{}</h1>{}{}").format(heading or title, lead, cards)
    packed = {name: pack(figure) for name, figure in figures.items()}
    return {"title": title, "style": style, "body": body, "figures": packed}


def whole(page: Mapping[str, Any]) -> Markup:
    """Return a page without figures as one HTML file, which needs no other."""
    return REPORT_SHELL.format(title=page["title"], style=Markup(page["style"]), body=page["body"])  # noqa: S704


MAPS = 8
"""Maximum number of lanes whose spectra are drawn: of those that differ only in their seed, the best one."""

RUN = "report"
"""The race's name in the figures of every report."""


def report(record: RaceRecord) -> dict[str, Any]:
    """Return the report on a race, see `page`.

    Raises:
        ValueError: there is no measurement yet.
    """
    config, styles = record.config, record.styles
    if not record.steps:
        raise ValueError("nothing to report yet: the race has not completed a step")
    view = race_view(record, run=RUN)
    figures = all_figures(record, view)
    places = [Markup('<div data-figure="{}"></div>').format(name) for name in figures]
    last = record.steps[-1]
    lead = (
        f"{'Recorded: computed earlier' if record.recorded else 'Computed'}"
        f"{f' on {record.device}' if record.device else ''} with olora_viz, {last.step} of {config.steps} steps in "
        f"{seconds(last.seconds)}; {record.state}.{f' {record.note}' if record.recorded and record.note else ''}"
    )
    title = f"{config.model}, {config.task}: {len(styles)} {'lane' if len(styles) == 1 else 'lanes'}"
    answers = view.answers if record.answers else ""
    sections = [
        view.verdict,
        view.story,
        view.results,
        *places,
        view.forgotten_table,
        answers,
        setup_table(config, styles),
    ]
    return page(title, sections, lead=lead, figures=figures)


def all_figures(record: RaceRecord, view: RaceView) -> dict[str, Figure]:
    """Return every figure of a race, by name; all are of the race that the view's are of."""
    figures = {"loss": view.loss, "accuracy": view.accuracy, "gradient": view.gradient}
    if view.news["drift"]:
        figures["forgotten"] = view.forgotten
    figures |= {f"measurement-{key}": figure for key, figure in view.measurements.items()}
    if gradients := gradients_view(record, run=view.run):
        figures["depth"] = gradients.depth
    if view.news["curvature"]:
        figures["sharpness"] = curvature_view(record, run=view.run).sharpness
    for figure in figures.values():
        figure["layout"]["meta"]["race"] = view.run
    if view.news["spectra"]:
        best: dict[Lane, int] = {}
        for k in view.order:
            best.setdefault(replace(record.config.lanes[k], seed=0), k)
        for k in list(best.values())[:MAPS]:
            spectra = spectra_view(record, lane=record.styles[k].label, run=f"{view.run} {k}")
            assert spectra
            figures[f"map-{k}"] = spectra.map
    if sweep := rates_view(record, run=view.run):
        figures["rates"] = sweep.figure
    return figures


def setup_table(config: RaceConfig, styles: Sequence[LaneStyle]) -> Markup:
    """Return the set-up of a race and of every lane, as HTML, with the keys that are not as usual in some lane."""
    fixed = ("lr", "r", "alpha", "rslora", "seed")
    own = {key: {getattr(lane, key) for lane in config.lanes} for key in SHOWN if key not in fixed}
    keys = [key for key, values in own.items() if values != {getattr(Lane, key)}]
    lanes = [
        (
            fragments.lane(style), lane.init, "fair" if lane.fair else f"{lane.lr:g}",
            *(("–", "–") if lane.is_dense else (lane.r, f"{lane.lora_alpha:g}{', rsLoRA' * lane.rslora}")),
            lane.seed, *(setting_text(getattr(lane, key)) or "–" for key in keys),
        )
        for lane, style in zip(config.lanes, styles, strict=True)
    ]  # fmt: skip
    names = [SHOWN_NAMES.get(key) or key.replace("_", " ") for key in keys]
    head = ("lane", "start", "rate", "r", "α", "seed", *names)
    return _facts(setup_facts(config)) + table(head, lanes, scrolls=True)


def _facts(facts: Mapping[str, object]) -> Markup:
    """Return the table of a set-up."""
    return Markup("<h2>Set-up</h2>{}").format(table((), facts.items(), kind="facts"))


FILE_SHOWN = ",".join(f".tabs input:nth-of-type({k}):checked~div:nth-of-type({k})" for k in range(1, len(FILES) + 1))
"""The file of a recipe whose tab is open; all are printed."""

DECISION_STYLE = (
    f":root{{{theme.css_variables('light')}color-scheme:light}}{REPORT_STYLE}"
    + (STYLES / "decision_report.css").read_text("utf-8")
    + f"@media screen{{.tabs div{{display:none}}{FILE_SHOWN}{{display:block}}}}"
)


def write_report(known: Decision, task: str = "", keep: str = "") -> Path:
    """Write ``report.html`` into the folder of a decision; return its path.

    Args:
        task, keep: the names in the report of the task and of the text to keep; by default those of the study.
    """
    path, study = known.folder / "report.html", known.plan.study
    write_text(path, report_html(known, task or study.values("task")[0], keep or study.race.keep))
    return path


def report_html(known: Decision, task: str, keep: str) -> str:
    """Return the report: plan, table, curves, verdicts, answers, versions and commands."""
    forgotten = ["forgotten"] * known.plan.study.keeps_text
    charts = plot_study(known.verdicts, what=["choices", "rates", "differences", *forgotten])
    drawn = Markup(plotted(charts))  # noqa: S704
    sections = [decision.headline(known), decision.starts(known), decision.forgotten(known.verdicts), drawn]
    sections += [decision.searched(known), decision.recipe(known), decision.answers(known), decision.merging(known)]
    sections += [decision.plan(known), _decision_setup(known, task, keep), _repeat(known, task, keep)]
    title = f"Which recipe for {task} on {known.plan.study.values('model')[0]}?"
    return whole(page(title, sections, style=DECISION_STYLE))


def _decision_setup(known: Decision, task: str, keep: str) -> Markup:
    study = known.plan.study
    trials = study.trials(study.cells()[0], study.reference, study.candidates(study.reference)[:1])
    facts = setup_facts(replace(study.config(trials), keep=keep)) | {"task": task}
    tested = next(iter(known.verdicts.rows.values()), {})
    return _facts(
        {
            **{name: facts[name] for name in ("model", "task", "steps", "prompts per step")},
            "rank": ", ".join(map(str, study.values("r"))),
            **{name: facts[name] for name in ("text to keep", "limit", "prompts", "long examples") if name in facts},
            "held-out examples": tested.get("valid_examples", "–"),
            "test examples": tested.get("test_examples", "–"),
            "level": f"within {study.margin:.0%} of the reference's loss reduction",
            "intervals": "95% over seeds and examples, Student's t on paired differences, for the choice of the rates "
            "too; p-values by Holm",
            "versions": ", ".join(map(" ".join, versions("torch", "transformers", "numpy", "scipy").items())),
        }
    )


def _repeat(known: Decision, task: str, keep: str) -> Markup:
    """Return the command that decides again, and plans anew on its own machine."""
    study = planned_study(known.folder)
    words = ["python", "-m", "olora_viz", "decide", "--model", study.values("model")[0], "--task", task]
    words += ["--minutes", f"{known.plan.minutes:g}", "--out", "NEW"]
    if (*study.compare, *known.plan.left_out) != METHODS:
        words += ["--init", *study.compare]
    if study.values("r") != (8,):
        words += ["--r", ",".join(map(str, study.values("r")))]
    if study.race.max_length is not None:
        words += ["--max-length", str(study.race.max_length)]
    if study.race.keep != NONE:
        words += ["--keep", keep]
    if study.race.forget is not None:
        words += ["--forget", f"{study.race.forget:g}"]
    words += [f"--{name}" for name in ("truncate", "chat") if getattr(study.race, name)]
    return Markup(
        "<h2>Do it again</h2><p>Decide anew, with a plan for the machine at hand:</p>"
        "<pre>{}</pre><p>Repeat this very study, from the <code>study.toml</code> of its folder:"
        "</p><pre>python -m olora_viz study study.toml --out NEW</pre>"
    ).format(shlex.join(words))


ADAPTER_STYLE = (
    f":root{{{theme.css_variables('light')}--fonts:{theme.font_family()}}}"
    f"@media (prefers-color-scheme: dark){{:root{{{theme.css_variables('dark')}}}}}"
    + (STYLES / "adapter_report.css").read_text("utf-8")
)

SPARK_WIDTH, HEIGHT = 150, 34

COMPARED_ROWS = (
    "layer", "‖ΔW₁‖", "‖ΔW₂‖", "effective rank 1", "effective rank 2", "cosine", "k",
    "left overlap", "right overlap",
)  # fmt: skip


def comparison_page(
    adapter: str | Path, other: str | Path, base: str, layers: Sequence[LayerComparison], notes: Sequence[str] = ()
) -> Markup:
    """Return the report on two adapters as HTML: a summary with `notes`, both spectra of every layer, a legend."""
    head, *rest = COMPARED_ROWS
    rows = [(layer.layer, _bars(layer.first), _bars(layer.second), *comparison_cells(layer)[1:]) for layer in layers]
    name = Path(base).name
    return _adapter_page(
        f"Two adapters of {name}",
        f"What two adapters do to {name}",
        Markup("<b>1</b>: <q>{}</q>; <b>2</b>: <q>{}</q>.").format(adapter, other),
        [*notes, *comparison_words(layers)],
        table((head, "σ(ΔW₁)", "σ(ΔW₂)", *rest), rows, scrolls=True),
        "Cosine: the Frobenius inner product of both ΔW over the product of their norms. k is the smaller effective "
        "rank, rounded up; overlap: ‖U₁ᵀU₂‖² / k of the k leading singular vectors (Hu et al. 2021, arXiv "
        "2106.09685).",
    )


def comparison_cells(layer: LayerComparison) -> list[str]:
    """Return the cells of `COMPARED_ROWS` for one layer, as text."""
    both = layer.first, layer.second
    norms = (number(update.norm if update else None) for update in both)
    ranks = (number(update.effective_rank if update else None, ".2f") for update in both)
    overlaps = number(layer.left_overlap, ".3f"), number(layer.right_overlap, ".3f")
    leading = str(layer.leading) if layer.leading else "–"
    return [layer.layer, *norms, *ranks, number(layer.cosine, ".3f"), leading, *overlaps]


def comparison_words(layers: Sequence[LayerComparison]) -> list[str]:
    """Return what a comparison says of all layers together, and how its numbers are read."""
    sides = {"first": [layer.first for layer in layers], "second": [layer.second for layer in layers]}
    chances = [layer.chance for layer in layers if layer.chance is not None]
    norms = " and ".join(f"{total_norm(side):.4g}" for side in sides.values())
    cosine = number(total_cosine(layers), ".3f")
    words = [f"‖ΔW‖ over all layers: {norms}; the cosine of both: {cosine}"]
    if chances:
        chance = sum(chances) / len(chances)
        overlap = "overlap of the k leading left or right singular vectors: 1 for the same span; random ones have"
        words.append(f"{overlap} {chance:.3f} on average")
    for name, side in sides.items():
        if None in side:
            words.append(f"the {name} leaves out {side.count(None)} of {len(layers)} layers")
    if any(update and update.magnitude_change is not None for side in sides.values() for update in side):
        words.append(DORA)
    return words


def adapter_page(
    adapter: str | Path, base: str, layers: Sequence[LayerInspection], notes: Sequence[str] = ()
) -> Markup:
    """Return the report on an adapter as HTML: a summary with `notes`, a small spectrum of every layer, a legend."""
    dora = any(layer.magnitude_change is not None for layer in layers)
    strongest = max(layers, key=lambda layer: layer.relative_norm)
    share = sum(layer.effective_rank for layer in layers) / sum(layer.rank for layer in layers)
    name, count = Path(adapter).name, len(layers)
    changed, intruded = percent(strongest.relative_norm, 2), sum(layer.intruders > 0 for layer in layers)
    lead = Markup(
        "It changes <b>{} layers</b> by ‖ΔW‖ = {} in total. The largest relative change is in <b>{}</b> ({} of ‖W‖). "
        "On average the update uses <b>{} of its rank</b> (effective rank against rank). <b>Intruder dimensions</b>, "
        "leading singular vectors dissimilar to all of W's, occur in <b>{} of {}</b> layers."
    ).format(count, f"{total_norm(list(layers)):.4g}", strongest.layer, changed, percent(share), intruded, count)
    head = ("layer", "singular values of ΔW", "rank", "effective rank", "σ₁", "‖ΔW‖", "‖ΔW‖ / ‖W‖")
    rows = [_row(layer, strongest.relative_norm, dora) for layer in layers]
    return _adapter_page(
        f"Adapter {name}",
        Markup("What the adapter <q>{}</q> does to {}").format(name, Path(base).name),
        lead,
        [*notes, *[DORA] * dora],
        table((*head, *["‖sBA‖", "Δm / m"] * dora, "intruders"), rows, scrolls=True),
        f"Intruders: among the {len(layers[0].similarity)} leading left singular vectors of W + ΔW, those whose "
        "cosine with each of W's is below one half (Shuttleworth et al. 2024, arXiv 2410.21228).",
    )


def _adapter_page(
    title: str, heading: object, lead: object, sentences: Sequence[str], layers: Markup, legend: str
) -> Markup:
    paragraphs = Markup("").join(Markup("<p>{}.</p>").format(f"{words[0].upper()}{words[1:]}") for words in sentences)
    hint = Markup(
        '<p class="hint">ΔW = s(BA − B⁰A⁰) is the trained update. Each small chart shows its singular values, '
        "the largest first, from zero. Effective rank: exp of the entropy of σ / Σσ (Roy and Vetterli 2007). {}</p>"
    ).format(legend)
    return whole(page(title, [paragraphs, layers, hint], heading=heading, lead=lead, style=ADAPTER_STYLE))


def _row(layer: LayerInspection, most: float, dora: bool) -> tuple[object, ...]:
    share, norm = 100 * layer.relative_norm / most if most else 0.0, percent(layer.relative_norm, 2)
    bar = Markup('<div class="bar" style="--share:{:.1f}%">{}</div>').format(share, norm)
    sizes = f"{layer.effective_rank:.2f}", f"{layer.sigma[0]:.3g}", f"{layer.norm:.3g}"
    of_dora = [number(layer.direction_norm), percent(layer.magnitude_change, 2)] * dora
    return layer.layer, _bars(layer), layer.rank, *sizes, bar, *of_dora, layer.intruders or "–"


def _bars(update: LayerUpdate | None) -> Markup:
    if update is None:
        return Markup("–")
    top = float(update.sigma[0]) or 1.0
    wide = SPARK_WIDTH / len(update.sigma)
    bar = Markup('<rect x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"/>')
    bars = Markup("").join(
        bar.format(i * wide, HEIGHT * (1 - s / top), 0.8 * wide, HEIGHT * s / top)
        for i, s in enumerate(update.sigma.tolist())
    )
    words = f"{len(update.sigma)} singular values from {update.sigma[0]:.3g} to {update.sigma[-1]:.3g}"
    return Markup('<svg width="{}" height="{}" role="img" aria-label="{words}"><title>{words}</title>{}</svg>').format(
        SPARK_WIDTH, HEIGHT, bars, words=words
    )

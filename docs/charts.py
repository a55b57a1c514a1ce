"""Draws the charts of the documentation, live ones: a hook of mkdocs.

On a line of a page stands ``<!-- race("one-rate", "loss") -->``, a call of one of `CHARTS` with literals, whose chart
takes its place; the browser draws it from numbers that are in the page.

    python docs/charts.py [--means] STUDY …

keeps what the charts of studies need that have just finished here, in ``docs/studies``; with ``--means`` without the
results by example, a tenth of the size, for studies of which no chart draws an interval over examples.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from markupsafe import Markup
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.pages import Page
from start_map import TITLES, start_map_figure

import olora_viz as ov
from olora_viz.figures import theme
from olora_viz.figures.layout import CurveEnd, Figure, axis, layout, line, log_axis, log_range
from olora_viz.figures.live.serving import HERE
from olora_viz.figures.live.standing_alone import PLOTLY_SCRIPT
from olora_viz.figures.plots import PICTURES, study_figures
from olora_viz.figures.spectrum import angles_figure, energy_figure, singular_values_figure
from olora_viz.figures.theme import LaneStyle
from olora_viz.learn.gallery import load_recording
from olora_viz.learn.gallery.__main__ import origin_of
from olora_viz.learn.gallery.recording import Origin
from olora_viz.machine.checks import unknown
from olora_viz.machine.devices import resolve_device
from olora_viz.machine.files import read_json_object, write_json, write_text
from olora_viz.machine.wording import listed
from olora_viz.studies.folder import BY_EXAMPLE, Ledger
from olora_viz.studies.preregistration import SETUP
from olora_viz.views.race import race_view
from olora_viz.views.reports import all_figures
from olora_viz.views.spectrum import Lab
from olora_viz.web.site.page import numbers
from olora_viz.web.site.write import script
from olora_viz.web.spectrum import SPECTRUM_STARTS

DOCS = Path(__file__).parent
STUDIES = DOCS / "studies"

PLACE = re.compile(r"<!-- (\w+\(.*) -->")

ASSETS = "assets/charts"
"""Where a documentation of its own has what draws the charts; that of a site shares the site's."""

STYLE = "assets/charts.css"


class Chart(NamedTuple):
    """A chart and where it comes from."""

    figure: Figure
    source: str
    """In a sentence or two."""


def race(name: str, chart: str = "loss") -> Chart:
    """Return a chart of a recorded race.

    Args:
        name: in the gallery.
        chart: ``loss``, ``accuracy``, ``gradient``, and what else was measured, such as ``rates`` or ``sharpness``.
    """
    recording = load_recording(name)
    figures = all_figures(recording, race_view(recording, run=name))
    if chart not in figures:
        raise ValueError(unknown(f"chart of the race {name!r},", chart, figures))
    config = recording.config
    about = f"“{recording.title}”: {config.model}, {config.task}, {len(recording.styles)} lanes, {config.steps} steps"
    return Chart(figures[chart], f"{about}. {_recorded(recording.origin)}")


def study(name: str, chart: str = "differences") -> Chart:
    """Return a chart of a study that is kept in ``docs/studies``.

    Args:
        name: its folder.
        chart: see `olora_viz.plot_study`; of its first cell.
    """
    known = {folder.name for folder in STUDIES.iterdir()}
    if name not in known:
        raise ValueError(unknown("study", name, known))
    if chart not in PICTURES:
        raise ValueError(unknown("chart of a study,", chart, PICTURES))
    verdicts = ov.verdicts(STUDIES / name)
    setup = verdicts.study
    figure, *_ = study_figures(verdicts, [chart])
    where = f"{listed(setup.values('model'))}, {listed(setup.values('task'))}"
    about = f"{where}, {setup.seeds} seeds, {setup.race.steps} steps"
    origin = Origin(**read_json_object(STUDIES / name / "origin.json"))
    return Chart(figure, f"The study {name}: {about}. {_recorded(origin)}")


def start_map() -> Chart:
    """Return the starts of the studies in ``docs/studies`` against plain LoRA, a row for each circumstance."""
    dates = sorted(read_json_object(STUDIES / name / "origin.json")["date"] for name in TITLES)
    where = f"The studies {listed(TITLES)} of the page Results, recorded from {dates[0]} to {dates[-1]} on CPUs."
    return Chart(start_map_figure({name: ov.verdicts(STUDIES / name) for name in TITLES}), where)


def _recorded(origin: Origin) -> str:
    packages = ", ".join(f"{package} {version}" for package, version in origin.versions.items())
    return f"Recorded on {origin.date}: {origin.device}; {packages}."


_lab = cache(Lab)


def spectrum(model: str, layer: str, rank: int, chart: str = "singular") -> Chart:
    """Return a chart of the singular values of a weight against those of its starts.

    Args:
        model: its name.
        layer: the full name of the weight's layer.
        rank: of the starts.
        chart: ``singular``, of W and of OLoRA's start; ``energy`` or ``angles``, of the starts of the page Spectrum.
    """
    charts = ("singular", "energy", "angles")
    if chart not in charts:
        raise ValueError(unknown("chart of a spectrum,", chart, charts))
    lab, key = _lab(), (model, layer)
    weight = lab.weight(model, layer)
    if chart == "energy":
        ranks = [r for r in lab.ranks(weight) if r <= max(32, 8 * rank)]
        curves = {init: lab.curve(key, weight, init)[: len(ranks)] for init in SPECTRUM_STARTS if init != "pissa"}
        figure = energy_figure(ranks, curves, lab.optimum(weight)[: len(ranks)], weight.W.shape[0], rank, run=layer)
    else:
        inits = SPECTRUM_STARTS if chart == "angles" else ("olora",)
        starts = [lab.truncation(key, weight, rank, init) for init in inits]
        figure = {"singular": singular_values_figure, "angles": angles_figure}[chart](starts, run=layer)
    out, wide = weight.W.shape
    return Chart(figure, f"{model}, {layer}, {out} × {wide}, rank {rank}. Computed when this page was built.")


RANKS = (1, 2, 4, 8, 16, 32, 64)
RATE = 1e-3

SCALINGS = {
    "alpha = rank": lambda r: ov.Lane("lora", r=r),
    "alpha = 16": lambda r: ov.Lane("lora", r=r, alpha=16),
    "alpha = 16, rsLoRA": lambda r: ov.Lane("lora", r=r, alpha=16, rslora=True),
}
"""Three scalings, by the names of their curves, with a lane of each rank."""


def scaling(model: str, layer: str) -> Chart:
    """Return how far one step of AdamW moves a weight with plain LoRA, against the rank, by scaling.

    Args:
        model: its name.
        layer: the full name of the weight's layer.
    """
    W = _lab().weight(model, layer).W
    curves = {name: np.array([_first_step(W, lane(r)) for r in RANKS]) for name, lane in SCALINGS.items()}
    low, high = log_range(list(curves.values()))
    data, ends = [], []
    for (name, values), dash in zip(curves.items(), ("solid", "dash", "dot"), strict=True):
        style = LaneStyle(name, "lora", "@lora", "@lora-text", dash, "circle")
        data.append(line(style, values, 2.2, marks=5, x=list(RANKS)))
        ends.append(CurveEnd.of(style, float(np.log10(RANKS[-1])), float(np.log10(values[-1]))))
    x = axis("rank r", type="log", range=[-0.04, 1.85], tickvals=list(RANKS), ticktext=[str(r) for r in RANKS])
    drawn = layout(
        "How far the first step moves a weight", f"‖ΔW‖ after a step of AdamW at a rate of {RATE:g}; plain LoRA", x=x,
        y=log_axis("‖ΔW‖", low, high), height=230, ends=ends, revision="scaling",
        how="A rate suits a rank if it moves the weight as far as at another rank. A curve that is level keeps its "
        "best rate as the rank grows; one that rises needs a smaller rate for a larger rank.",
    )  # fmt: skip
    where = f"{model}, {layer}, with a random gradient. Computed from the start when this page was built."
    return Chart({"data": data, "layout": drawn}, where)


def _first_step(W: torch.Tensor, lane: ov.Lane) -> float:
    """Return ‖ΔW‖ after AdamW's first step, which moves each number by the rate, against its gradient's sign."""
    start = ov.INITIALIZERS[lane.init].start(W, lane.r, generator=torch.Generator().manual_seed(0))
    G = torch.randn(W.shape, generator=torch.Generator().manual_seed(1), dtype=start.A.dtype)
    A, B = (x - RATE * g.sign() for x, g in ((start.A, start.B.T @ G), (start.B, G @ start.A.T)))
    return lane.scale * float((B @ A - start.B @ start.A).norm())


CHARTS: dict[str, Callable[..., Chart]] = {
    chart.__name__: chart for chart in (race, study, start_map, spectrum, scaling)
}


def chart_of(call: str) -> Chart:
    """Return the chart of a call as it stands on a page.

    Raises:
        ValueError: it is no call of a known chart with literals, or names something unknown.

    >>> chart_of('race("one-rate", "loss")').figure["layout"]["meta"]["title"]
    'Loss'
    """
    name, _, values = call.removesuffix(")").partition("(")
    if name not in CHARTS:
        raise ValueError(unknown("chart", name, CHARTS))
    parameters = inspect.signature(CHARTS[name]).parameters
    least = sum(parameter.default is parameter.empty for parameter in parameters.values())
    try:
        literals = ast.literal_eval(f"[{values}]") if call.endswith(")") else []
    except (SyntaxError, ValueError):
        literals = []
    kinds = [{"str": str, "int": int}[parameter.annotation] for parameter in parameters.values()]
    if not least <= len(literals) <= len(kinds) or not all(map(isinstance, literals, kinds)):
        form = ", ".join(f"{key}: {parameter.annotation}" for key, parameter in parameters.items())
        raise ValueError(f"{call} must be {name}({form}), with literals")
    return CHARTS[name](*literals)


def on_page_content(html: str, page: Page, **_: Any) -> str:
    """Fill the places of a page with charts."""
    names = (f"chart-{i}" for i in range(1, html.count("<!-- ") + 1))
    return PLACE.sub(lambda place: _filled(place, names, page.file.src_uri), html)


def _filled(place: re.Match[str], names: Iterator[str], page: str) -> str:
    try:
        chart = chart_of(place[1])
    except ValueError as error:
        raise PluginError(f"{page}: {error}") from None
    name, meta = next(names), chart.figure["layout"]["meta"]
    words = " ".join(filter(None, (f"{meta['unit']}.", meta["how"])))
    return Markup(
        '<figure class="live-chart"><div data-figure="{}" style="--plot:{}px"><div class="unscripted"><p>'
        "<b>{}</b> {}</p><p>The chart is drawn by JavaScript.</p></div></div><figcaption>{}{}</figcaption></figure>{}"
    ).format(
        name, meta["height"], meta["title"], words, _legend(chart.figure), chart.source, numbers({name: chart.figure})
    )  # fmt: skip


def _legend(figure: Figure) -> Markup:
    """Return the names of the curves, if they are not beside them."""
    if any(label.get("name", "").startswith("end ") for label in figure["layout"].get("annotations", ())):
        return Markup("")
    rows = figure["layout"]["yaxis"].get("ticktext", ())
    curves = (trace for trace in figure["data"] if trace.get("line", {}).get("width") and trace["name"] not in rows)
    lines = {trace["name"]: trace["line"] for trace in curves}
    item = Markup('<li><span class="mark {}" style="--lane:var(--{})"></span> {}</li>')
    items = (item.format(line.get("dash", "solid"), line["color"][1:], name) for name, line in lines.items())
    return Markup("<ul>{}</ul>").format(Markup("").join(items)) if lines else Markup("")


def on_post_page(output: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Link what draws the charts, on pages that have one, and leave out the indentation, a seventh of a page."""
    parts = re.split(r"(<pre.*?</pre>)", output, flags=re.DOTALL)
    output = "".join(part if i % 2 else re.sub(r"\n\s+", "\n", part) for i, part in enumerate(parts))
    if "data-figure=" not in output:
        return output
    root = "../" * page.url.count("/")
    style = f'<link rel="stylesheet" href="{root}{STYLE}">'
    drawing = f'<script defer src="{root}{config.extra.get("assets", ASSETS)}/site.js"></script>'
    return output.replace("</head>", f"{style}</head>", 1).replace("</body>", f"{drawing}</body>", 1)


def on_post_build(config: MkDocsConfig, **_: Any) -> None:
    """Write what draws the charts, beside the pages, unless a site around them has it."""
    site = Path(config.site_dir)
    write_text(site / STYLE, style_sheet())
    if "assets" not in config.extra:
        (site / ASSETS).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PLOTLY_SCRIPT, site / ASSETS / "plotly.min.js")
        write_text(site / ASSETS / "site.js", script())


def style_sheet() -> str:
    """Return the rules of the charts, which leave the rest of the page alone."""
    light, dark = map(theme.css_variables, theme.THEMES)
    rules = "".join(file.read_text("utf-8") for file in (DOCS / "charts.css", HERE / "fragments.css"))
    place = "figure.live-chart"
    return f'{place}{{{light}}}\n[data-md-color-scheme="slate"] {place}{{{dark}}}\n{place}{{\n{rules}}}\n'


def record(folder: Path, *, by_example: bool = True) -> None:
    """Keep what the charts of a finished study need: its set-up, the rows of its races, and where they ran."""
    ledger, place = Ledger(folder), STUDIES / folder.name
    (place / "runs").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / SETUP, place / SETUP)
    packed = {"compression": "zstd", "compression_level": 19, "use_dictionary": False}
    rows = ledger.rows().drop(columns=[] if by_example else [*BY_EXAMPLE])
    rows.to_parquet(place / "runs" / "0001.parquet", index=False, **packed)
    write_json(place / "origin.json", asdict(origin_of(resolve_device(ledger.study.race.device))))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="+", type=Path, metavar="STUDY", help="the folder of a finished study")
    parser.add_argument("--means", action="store_true", help="leave out the results by example")
    options = parser.parse_args()
    for study_folder in options.studies:
        record(study_folder, by_example=not options.means)

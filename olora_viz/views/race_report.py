"""A race as one page to take away: set-up, charts, standings, story and answers of this run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from olora_viz.figures import race as figures
from olora_viz.figures.conditioning import sharpness_figure
from olora_viz.figures.gradients import depth_figure
from olora_viz.figures.live.gradio_figure import pack
from olora_viz.figures.rates import rate_figure
from olora_viz.figures.spectrum import block_and_module
from olora_viz.figures.theme import LaneStyle
from olora_viz.figures.update_spectra import spectra_map
from olora_viz.races.config import RaceConfig
from olora_viz.races.step import Step
from olora_viz.studies import story
from olora_viz.studies.rate_sweep import is_sweep, rate_curves
from olora_viz.views import html as fragments
from olora_viz.views.html import escape
from olora_viz.views.shown import Shown

MAPS = 8
"""The most lanes whose spectra are drawn; the first ones of the standings."""


def report(shown: Shown) -> dict[str, Any]:
    """Return what `standalone` of figure_export.js makes a page of, all from this run.

    Raises
    ------
    ValueError : nothing was measured yet.
    """
    steps, config, styles = list(shown.steps), shown.config, shown.styles
    if not steps:
        raise ValueError("there is nothing to report yet: the race has not made a step")
    base = shown.baseline
    start = (float(base.loss[0]), float(base.accuracy[0])) if base else (None, None)
    rows = story.standings(steps, len(styles))
    order = [row.lane for row in rows]
    held = max((step.step for step in steps if step.eval_loss is not None), default=0)
    drawn = _figures(shown, steps, order, start)
    told = story.tell(config.lanes, styles, steps)
    title = (
        f"{config.model}, {config.task}: {len(styles)} {'lane' if len(styles) == 1 else 'lanes'}"
    )
    answers = (
        fragments.answers(styles, order, shown.answers, shown.plain_text) if shown.answers else ""
    )
    cards = [
        fragments.sentences(told, story.caveat(config.lanes)),
        fragments.results(styles, rows, held, start, shown.plain_text),
        *(f'<div data-figure="{name}"></div>' for name in drawn),
        answers,
        _setup(config, styles),
    ]
    body = "".join(f'<section class="card">{card}</section>' for card in cards if card)
    return {
        "title": title,
        "style": _STYLE,
        "body": f"<h1>{escape(title)}</h1><p>{escape(_origin(shown, steps))}</p>{body}",
        "figures": {name: pack(figure) for name, figure in drawn.items()},
    }


def _origin(shown: Shown, steps: Sequence[Step]) -> str:
    """Say where the numbers come from."""
    last = steps[-1]
    device = f" on {shown.device}" if shown.device else ""
    made = "Recorded: computed earlier" if shown.recorded else "Computed"
    note = f" {shown.note}" if shown.recorded and shown.note else ""
    return (
        f"{made}{device} with olora_viz, {last.step} of {shown.config.steps} steps in "
        f"{last.seconds:.1f} s; {shown.state}.{note}"
    )


def _figures(
    shown: Shown,
    steps: Sequence[Step],
    order: Sequence[int],
    start: tuple[float | None, float | None],
) -> dict[str, figures.Figure]:
    styles, config = shown.styles, shown.config
    common: dict[str, Any] = {"total": config.steps, "run": "report"}
    judged: dict[str, Any] = {"plain_text": shown.plain_text}
    drawn = {
        "loss": figures.loss_figure(styles, steps, start_loss=start[0], **judged, **common),
        "accuracy": figures.accuracy_figure(
            styles, steps, start_accuracy=start[1], **judged, **common
        ),
        "gradient": figures.gradient_figure(styles, steps, **common),
    }
    looked = [(step.step, step.gradients) for step in steps if step.gradients is not None]
    if looked:
        number, found = looked[-1]
        module = block_and_module(found.layers[-1])[1]
        drawn["depth"] = depth_figure(number, found, styles, "input", module, run="report")
    if any(step.curvature is not None for step in steps):
        drawn["sharpness"] = sharpness_figure(styles, steps, **common)
    looked = [(step.step, step.update_spectra) for step in steps if step.update_spectra is not None]
    for k in list(order)[:MAPS] if looked else []:
        numbers, spectra = zip(*looked, strict=True)
        drawn[f"map-{k}"] = spectra_map(numbers, spectra, styles[k], k, "norm", run=f"report {k}")
    for name, figure in drawn.items():
        if not name.startswith("map-"):
            figure["layout"]["meta"]["race"] = "report"
    if is_sweep(config.lanes):  # its curves are starts, not lanes
        curves = rate_curves(config.lanes, steps, "final")
        drawn["rates"] = rate_figure(
            curves, "final", start_loss=start[0], run="report rates", **judged
        )
    return drawn


def _setup(config: RaceConfig, styles: Sequence[LaneStyle]) -> str:
    given = {
        "model": config.model, "task": config.task, "steps": config.steps,
        "prompts a step": config.batch_size, "seed": config.seed,
        "schedule": config.schedule, "warm-up": config.warmup, "precision": config.dtype,
    }  # fmt: skip
    lanes = "".join(
        _row(
            f"{fragments.mark(style)} {fragments.name(style)}",
            map(
                escape,
                (
                    lane.init, "fair" if lane.fair else f"{lane.lr:g}", str(lane.r),
                    f"{lane.r if lane.alpha is None else lane.alpha:g}", str(lane.seed),
                    f"{lane.weight_decay:g}", "–" if lane.clip is None else f"{lane.clip:g}",
                ),
            ),
        )
        for lane, style in zip(config.lanes, styles, strict=True)
    )  # fmt: skip
    head = "".join(
        f'<th scope="col">{word}</th>'
        for word in ("lane", "start", "rate", "r", "α", "seed", "decay", "clip")
    )
    facts = "".join(_row(escape(name), [escape(str(value))]) for name, value in given.items())
    return (
        f'<h2>Set-up</h2><div class="frame"><table class="facts"><tbody>{facts}</tbody></table>'
        f"<table><thead><tr>{head}</tr></thead><tbody>{lanes}</tbody></table></div>"
    )


def _row(head: str, cells: Iterable[str]) -> str:
    inner = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr><th scope="row">{head}</th>{inner}</tr>'


_STYLE = """
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums;width:100%}
td,th{padding:5px 8px;text-align:right;border-bottom:1px solid var(--line);font-weight:400}
thead th{color:var(--mute);font-size:12px}tr>:first-child{text-align:left}
tbody tr:last-child>*{border-bottom:0}.facts{width:auto;margin-bottom:10px}
.frame,.standing-frame{overflow-x:auto}.word{white-space:nowrap}
.foot{color:var(--mute);font-size:12.5px}.say{margin:6px 0;max-width:75ch}.say b{font-weight:650}
.no{color:var(--bad)}.ok{color:var(--ok)}
.mark{display:inline-block;width:10px;height:10px;border-radius:50%;
border:2px solid var(--lane);margin-right:6px}.mark.solid{background:var(--lane)}
.mark.dot{border-style:dotted}.mark.dash{border-style:dashed}
.mark.dashdot{border-style:double;border-width:3px}
.all-asked{display:grid;grid-template-columns:repeat(auto-fit,minmax(290px,1fr));gap:14px 30px;
margin-top:8px}.asked{font-size:13px}.asked .prompt{color:var(--mute)}
.asked ul{list-style:none;margin:5px 0 0;padding:0}
.asked li{display:grid;grid-template-columns:16px minmax(0,5fr) minmax(0,6fr);gap:2px 6px;
padding:4px 0;border-top:1px solid var(--line)}
.asked .who{display:flex;flex-wrap:wrap;gap:1px 12px}.asked .said{overflow-wrap:anywhere}
"""

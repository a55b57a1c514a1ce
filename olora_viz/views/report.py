"""A race as a self-contained page: set-up, charts, standings, story and answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from olora_viz.figures.layout import Figure
from olora_viz.figures.live.packing import pack
from olora_viz.figures.theme import LaneStyle
from olora_viz.machine.numbers import seconds
from olora_viz.races.config import RaceConfig
from olora_viz.studies.study import Study
from olora_viz.views import html as fragments
from olora_viz.views.curvature import curvature_view
from olora_viz.views.gradients import gradients_view
from olora_viz.views.html import table
from olora_viz.views.race import RaceView, race_view
from olora_viz.views.race_record import RaceRecord
from olora_viz.views.rates import rates_view
from olora_viz.views.update_spectra import spectra_view

MAPS = 8
"""Maximum number of lanes whose spectra are drawn, the first ones of the standings."""

RUN = "report"
"""The race's name in the figures of every report."""


def report(record: RaceRecord) -> dict[str, Any]:
    """Return the content of the page that `standalone` of figure_export.js builds.

    Raises
    ------
    ValueError : there is no measurement yet.
    """
    config, styles = record.config, record.styles
    if not record.steps:
        raise ValueError("nothing to report yet: the race has not completed a step")
    view = race_view(record, run=RUN)
    drawn = _figures(record, view)
    title = (
        f"{config.model}, {config.task}: {len(styles)} {'lane' if len(styles) == 1 else 'lanes'}"
    )
    cards = [
        view.verdict,
        view.story,
        view.results,
        *(Markup('<div data-figure="{}"></div>').format(name) for name in drawn),
        view.answers if record.answers else "",
        _setup(config, styles),
    ]
    section = Markup('<section class="card">{}</section>')
    body = Markup("").join(section.format(card) for card in cards if card)
    return {
        "title": title,
        "style": STYLE,
        "body": Markup("<h1>{}</h1><p>{}</p>{}").format(title, _origin(record), body),
        "figures": {name: pack(figure) for name, figure in drawn.items()},
    }


def _origin(record: RaceRecord) -> str:
    """Return how the numbers were computed."""
    last = record.steps[-1]
    device = f" on {record.device}" if record.device else ""
    made = "Recorded: computed earlier" if record.recorded else "Computed"
    note = f" {record.note}" if record.recorded and record.note else ""
    return (
        f"{made}{device} with olora_viz, {last.step} of {record.config.steps} steps in "
        f"{seconds(last.seconds)}; {record.state}.{note}"
    )


def _figures(record: RaceRecord, view: RaceView) -> dict[str, Figure]:
    drawn = {"loss": view.loss, "accuracy": view.accuracy, "gradient": view.gradient}
    drawn |= {f"measurement-{key}": figure for key, figure in view.measurements.items()}
    found = gradients_view(record, run=RUN)
    if found:
        drawn["depth"] = found.depth
    if view.news["curvature"]:
        drawn["sharpness"] = curvature_view(record, run=RUN).sharpness
    for figure in drawn.values():
        figure["layout"]["meta"]["race"] = RUN
    if view.news["spectra"]:
        for k in view.order[:MAPS]:
            spectra = spectra_view(record, lane=record.styles[k].label, run=f"{RUN} {k}")
            assert spectra
            drawn[f"map-{k}"] = spectra.map
    sweep = rates_view(record, run=RUN)
    if sweep:
        drawn["rates"] = sweep.figure
    return drawn


def _setup(config: RaceConfig, styles: Sequence[LaneStyle]) -> Markup:
    given = {
        "model": config.model, "task": config.task, "steps": config.steps,
        "prompts per step": config.batch_size, "seed": config.seed,
        "schedule": getattr(config.schedule, "__name__", config.schedule),
        "warm-up": config.warmup, "precision": config.dtype, "batches": config.batches,
        "target modules": ", ".join(config.targets or ("all linear layers",)),
    }  # fmt: skip
    if config.keep_best:
        given["adapters"] = "of each lane's lowest held-out loss"
    if config.patience:
        given["early stop"] = f"after {config.patience} evaluations without a lower loss"
    given |= examples_words(config)
    lanes = [
        (
            fragments.lane(style), lane.init, "fair" if lane.fair else f"{lane.lr:g}",
            *(("–", "–") if lane.is_dense else (lane.r, f"{lane.alpha or lane.r:g}")), lane.seed,
            f"{lane.weight_decay:g}", "–" if lane.clip is None else f"{lane.clip:g}",
            f"{lane.beta1:g}, {lane.beta2:g}", f"{lane.lora_plus:g}", f"{lane.dropout:g}",
            ", ".join(lane.targets or ("–",)),
        )
        for lane, style in zip(config.lanes, styles, strict=True)
    ]  # fmt: skip
    head = (
        "lane", "start", "rate", "r", "α", "seed", "decay", "clip", "β", "LoRA+", "dropout",
        "targets",
    )  # fmt: skip
    return Markup("<h2>Set-up</h2>{}{}").format(
        table((), given.items(), kind="facts"), table(head, lanes, scrolls=True)
    )


def examples_words(its: RaceConfig | Study) -> dict[str, str]:
    """Return how prompts are written and long examples are cut, if not as by default."""
    words = {}
    if its.chat:
        words["prompts"] = "in the model's chat template"
    if its.truncate:
        words["long examples"] = "cut at the left of their prompt"
    return words


STYLE = """
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums;width:100%}
td,th{padding:5px 8px;text-align:right;border-bottom:1px solid var(--line);font-weight:400}
thead th{color:var(--mute);font-size:12px}tr>:first-child{text-align:left}
tbody tr:last-child>*{border-bottom:0}.facts{width:auto;margin-bottom:10px}
.standing-frame{overflow-x:auto}.word{white-space:nowrap}
.badge{color:var(--mute);font-size:12px;font-weight:400}
.foot{color:var(--mute);font-size:12.5px}.say{margin:6px 0;max-width:75ch}.say b{font-weight:650}
.no{color:var(--bad)}.ok{color:var(--ok)}
.mark{display:inline-block;width:10px;height:10px;border-radius:50%;
border:2px solid var(--lane);margin-right:6px}.mark.solid{background:var(--lane)}
.mark.dot{border-style:dotted}.mark.dash{border-style:dashed}
.mark.dashdot{border-style:double;border-width:3px}
.verdict{display:flex;flex-wrap:wrap;align-items:center;gap:6px 14px;font-size:17px}
.certainty{border:1px solid var(--line);border-radius:99px;padding:1px 9px;font-size:12.5px}
.all-asked{display:grid;grid-template-columns:repeat(auto-fit,minmax(290px,1fr));gap:14px 30px;
margin-top:8px}.asked{font-size:13px}.asked .prompt{color:var(--mute)}
.asked ul{list-style:none;margin:5px 0 0;padding:0}
.asked li{display:grid;grid-template-columns:minmax(0,1fr) auto;gap:2px 10px;
padding:4px 0;border-top:1px solid var(--line)}
.asked .who{display:flex;flex-wrap:wrap;gap:1px 12px}.asked .said{overflow-wrap:anywhere}
"""

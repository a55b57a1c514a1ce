"""Reports as single HTML files: of a race, of a decision, of an adapter."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from olora_viz.background.record import RaceRecord
from olora_viz.figures import theme
from olora_viz.figures.layout import Figure
from olora_viz.figures.live.bundle import pack
from olora_viz.figures.plots import plot_study
from olora_viz.figures.theme import LaneStyle
from olora_viz.machine.files import write_text
from olora_viz.machine.text import number, percent, seconds
from olora_viz.machine.version import versions
from olora_viz.measures.inspection import DORA, LayerComparison, LayerInspection, LayerUpdate, total_cosine, total_norm
from olora_viz.races.config import RaceConfig
from olora_viz.studies.budget import METHODS
from olora_viz.studies.decide import Decision
from olora_viz.studies.study import Study
from olora_viz.views import decision
from olora_viz.views import html as fragments
from olora_viz.views.html import table
from olora_viz.views.layers import curvature_view, gradients_view, spectra_view
from olora_viz.views.race import RaceView, race_view
from olora_viz.views.results import rates_view

MAPS = 8
"""Maximum number of lanes whose spectra are drawn, the first ones of the standings."""

RUN = "report"
"""The race's name in the figures of every report."""


def report(record: RaceRecord) -> dict[str, Any]:
    """Return the content of the page that `standalone` of figure_export.js builds.

    Raises:
        ValueError: there is no measurement yet.
    """
    config, styles = record.config, record.styles
    if not record.steps:
        raise ValueError("nothing to report yet: the race has not completed a step")
    view = race_view(record, run=RUN)
    drawn = _figures(record, view)
    title = f"{config.model}, {config.task}: {len(styles)} {'lane' if len(styles) == 1 else 'lanes'}"
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
    head = ("lane", "start", "rate", "r", "α", "seed", "decay", "clip", "β", "LoRA+", "dropout", "targets")
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


PACKAGES = ("torch", "transformers", "numpy", "scipy")

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>{style}</style>
<body><main><h1>{title}</h1>{body}</main></body></html>
"""

LOOK = """
body{background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,sans-serif;margin:0}
main{max-width:980px;margin:0 auto;padding:20px}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 18px;
margin:14px 0}h1{font-size:22px}h2{font-size:16px;margin:0 0 8px}
.hint{color:var(--mute);font-weight:400;font-size:13px}.decided{font-size:18px;margin:0}
.certainty{border:1px solid;border-radius:12px;padding:1px 9px;font-size:13px;white-space:nowrap}
.better{color:var(--ok)}.worse{color:var(--bad)}.undecided{color:var(--mute)}
.stages{color:var(--mute)}.stages .done::after{content:" ✓";color:var(--ok)}
small{display:block;color:var(--mute)}
.answered td,.answered th{text-align:left}pre{overflow-x:auto;font-size:13px}
"""


def write_report(known: Decision, task: str = "") -> Path:
    """Write ``report.html`` into the folder of a decision; return its path.

    Args:
        task: its name in the report, by default as in the study: a name or a path.
    """
    path = known.folder / "report.html"
    write_text(path, report_html(known, task or known.plan.study.tasks[0]))
    return path


def report_html(known: Decision, task: str) -> str:
    """Return the report: plan, table, curves, verdicts, answers, versions and commands."""
    title = f"Which start for {task} on {known.plan.study.models[0]}?"
    charts = plot_study(known.verdicts, what=("rates", "differences"))
    chart = charts.to_html(full_html=False, include_plotlyjs=True)
    parts = (
        decision.headline(known), decision.starts(known), chart, decision.answers(known),
        decision.plan(known), _decision_setup(known, task), _repeat(known, task),
    )  # fmt: skip
    body = "".join(f"<section>{part}</section>" for part in parts if part)
    style = f":root{{{theme.css_variables('light')}color-scheme:light}}{STYLE}{LOOK}"
    return PAGE.format(title=escape(title), style=style, body=body)


def command(known: Decision, task: str) -> str:
    """Return the command that decides again, and plans anew on its own machine."""
    its = known.plan.study
    words = [
        "python", "-m", "olora_viz", "decide", "--model", its.models[0], "--task", task,
        "--minutes", f"{known.plan.minutes:g}", "--out", "NEW",
    ]  # fmt: skip
    if (*its.inits, *known.plan.left_out) != METHODS:
        words += ["--init", *its.inits]
    if its.ranks != (8,):
        words += ["--r", ",".join(map(str, its.ranks))]
    if its.max_length is not None:
        words += ["--max-length", str(its.max_length)]
    words += [f"--{name}" for name in ("truncate", "chat") if getattr(its, name)]
    return shlex.join(words)


def _decision_setup(known: Decision, task: str) -> Markup:
    its = known.plan.study
    row = next(iter(known.verdicts.rows.values()), {})
    facts = {
        "model": its.models[0], "task": task, "steps": its.steps,
        "prompts per step": its.batch_size, "rank": ", ".join(map(str, its.ranks)),
        **examples_words(its),
        "held-out examples": row.get("valid_examples", "–"),
        "test examples": row.get("test_examples", "–"),
        "level": f"within {its.margin:.0%} of the reference's loss reduction",
        "intervals": "95% over seeds and examples, Student's t on paired differences, for the "
        "choice of the rates too; p-values by Holm",
        "versions": ", ".join(map(" ".join, versions(*PACKAGES).items())),
    }  # fmt: skip
    return Markup("<h2>Set-up</h2>{}").format(table((), facts.items(), kind="facts"))


def _repeat(known: Decision, task: str) -> Markup:
    return Markup(
        "<h2>Do it again</h2><p>Decide anew, with a plan for the machine at hand:</p>"
        "<pre>{}</pre><p>Repeat this very study, from the <code>study.toml</code> of its folder:"
        "</p><pre>python -m olora_viz study study.toml --out NEW</pre>"
    ).format(command(known, task))


WIDTH, HEIGHT = 150, 34

COMPARED = (
    "layer", "‖ΔW₁‖", "‖ΔW₂‖", "effective rank 1", "effective rank 2", "cosine", "k",
    "left overlap", "right overlap",
)  # fmt: skip
"""The columns of a comparison."""


def comparison_page(
    adapter: str | Path, other: str | Path, base: str, found: Sequence[LayerComparison], notes: Sequence[str] = ()
) -> Markup:
    """Return the report on two adapters as HTML: a summary, both spectra of every layer, a legend.

    Args:
        notes: sentences on what is left out.
    """
    head, *rest = COMPARED
    rows = [(one.layer, _bars(one.first), _bars(one.second), *comparison_cells(one)[1:]) for one in found]
    return _PAGE_OF_TWO.format(
        adapter=adapter,
        other=other,
        base=Path(base).name,
        style=Markup(_STYLE),  # noqa: S704
        words=_paragraphs([*notes, *comparison_words(found)]),
        table=table((head, "σ(ΔW₁)", "σ(ΔW₂)", *rest), rows, scrolls=True),
    )


def comparison_cells(one: LayerComparison) -> list[str]:
    """Return the cells of `COMPARED` for one layer, as text."""
    both = one.first, one.second
    return [
        one.layer,
        *(number(its.norm if its else None) for its in both),
        *(number(its.effective_rank if its else None, ".2f") for its in both),
        number(one.cosine, ".3f"),
        str(one.leading) if one.leading else "–",
        number(one.left_overlap, ".3f"),
        number(one.right_overlap, ".3f"),
    ]


def comparison_words(found: Sequence[LayerComparison]) -> list[str]:
    """Return what a comparison says of all layers together, and how its numbers are read."""
    sides = {"first": [one.first for one in found], "second": [one.second for one in found]}
    chances = [one.chance for one in found if one.chance is not None]
    norms = " and ".join(f"{total_norm(side):.4g}" for side in sides.values())
    cosine = number(total_cosine(found), ".3f")
    words = [f"‖ΔW‖ over all layers: {norms}; the cosine of both: {cosine}"]
    if chances:
        chance = sum(chances) / len(chances)
        words.append(
            "overlap of the k leading left or right singular vectors: 1 for the same span; random "
            f"ones have {chance:.3f} on average"
        )
    for name, side in sides.items():
        if None in side:
            words.append(f"the {name} leaves out {side.count(None)} of {len(found)} layers")
    if any(one and one.magnitude_change is not None for side in sides.values() for one in side):
        words.append(DORA)
    return words


def page(adapter: str | Path, base: str, found: Sequence[LayerInspection], notes: Sequence[str] = ()) -> Markup:
    """Return the report as HTML: a summary, a small spectrum of every layer, a legend.

    Args:
        notes: sentences on what is left out.
    """
    dora = any(one.magnitude_change is not None for one in found)
    intruded = sum(one.intruders > 0 for one in found)
    strongest = max(found, key=lambda one: one.relative_norm)
    share = sum(one.effective_rank for one in found) / sum(one.rank for one in found)
    return _PAGE.format(
        adapter=Path(adapter).name,
        base=Path(base).name,
        style=Markup(_STYLE),  # noqa: S704
        layers=len(found),
        norm=f"{total_norm(list(found)):.4g}",
        strongest=strongest.layer,
        relative=percent(strongest.relative_norm, 2),
        share=percent(share),
        intruded=intruded,
        table=table(
            ("layer", "singular values of ΔW", "rank", "effective rank", "σ₁", "‖ΔW‖",
             "‖ΔW‖ / ‖W‖", *["‖sBA‖", "Δm / m"] * dora, "intruders"),
            [_row(one, strongest.relative_norm, dora) for one in found],
            scrolls=True,
        ),
        leading=len(found[0].similarity),
        words=_paragraphs([*notes, *[DORA] * dora]),
    )  # fmt: skip


def _paragraphs(sentences: Sequence[str]) -> Markup:
    return Markup("").join(Markup("<p>{}.</p>").format(f"{words[0].upper()}{words[1:]}") for words in sentences)


def _row(one: LayerInspection, most: float, dora: bool) -> tuple[object, ...]:
    bar = 100 * one.relative_norm / most if most else 0.0
    return (
        one.layer,
        _bars(one),
        one.rank,
        f"{one.effective_rank:.2f}",
        f"{one.sigma[0]:.3g}",
        f"{one.norm:.3g}",
        Markup('<div class="bar" style="--share:{:.1f}%">{}</div>').format(bar, percent(one.relative_norm, 2)),
        *[number(one.direction_norm), percent(one.magnitude_change, 2)] * dora,
        one.intruders or "–",
    )


def _bars(one: LayerUpdate | None) -> Markup:
    if one is None:
        return Markup("–")
    top = float(one.sigma[0]) or 1.0
    wide = WIDTH / len(one.sigma)
    bar = Markup('<rect x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"/>')
    bars = Markup("").join(
        bar.format(i * wide, HEIGHT * (1 - s / top), 0.8 * wide, HEIGHT * s / top)
        for i, s in enumerate(one.sigma.tolist())
    )
    words = f"{len(one.sigma)} singular values from {one.sigma[0]:.3g} to {one.sigma[-1]:.3g}"
    return Markup('<svg width="{}" height="{}" role="img" aria-label="{words}"><title>{words}</title>{}</svg>').format(
        WIDTH, HEIGHT, bars, words=words
    )


_PAGE = Markup("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Adapter {adapter}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{style}</style></head><body><main>
<h1>What the adapter <q>{adapter}</q> does to {base}</h1>
<p>It changes <b>{layers} layers</b> by ‖ΔW‖ = {norm} in total. The
largest relative change is in <b>{strongest}</b>
({relative} of ‖W‖). On average the update uses <b>{share} of
its rank</b> (effective rank against rank). <b>Intruder dimensions</b>, leading singular vectors
dissimilar to all of W's, occur in
<b>{intruded} of {layers}</b> layers.</p>
{words}{table}
<p class="hint">ΔW = s(BA − B⁰A⁰) is the trained update. Each small chart shows its singular values,
the largest first, from zero. Effective rank: exp of the entropy of σ / Σσ (Roy and Vetterli 2007).
Intruders: among the {leading} leading left singular vectors of W + ΔW, those whose
cosine with each of W's is below one half (Shuttleworth et al. 2024, arXiv 2410.21228).</p>
</main></body></html>
""")


_PAGE_OF_TWO = Markup("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Two adapters of {base}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{style}</style></head><body><main>
<h1>What two adapters do to {base}</h1>
<p><b>1</b>: <q>{adapter}</q>; <b>2</b>: <q>{other}</q>.</p>
{words}{table}
<p class="hint">ΔW = s(BA − B⁰A⁰) is the trained update. Each small chart shows its singular values,
the largest first, from zero. Effective rank: exp of the entropy of σ / Σσ (Roy and Vetterli 2007).
Cosine: the Frobenius inner product of both ΔW over the product of their norms. k is the smaller
effective rank, rounded up; overlap: ‖U₁ᵀU₂‖² / k of the k leading singular vectors (Hu et al. 2021,
arXiv 2106.09685).</p>
</main></body></html>
""")


_STYLE = f"""
:root{{{theme.css_variables("light")}}}
@media (prefers-color-scheme: dark){{:root{{{theme.css_variables("dark")}}}}}
body{{margin:0;background:var(--bg);color:var(--ink);font:14px/1.5 {theme.font_family()}}}
main{{max-width:1120px;margin:0 auto;padding:28px 20px}}
h1{{font-size:20px;margin:0 0 10px}}p{{max-width:75ch}}.hint{{color:var(--mute);font-size:12.5px}}
.standing-frame{{overflow-x:auto;background:var(--card);border:1px solid var(--line);
border-radius:12px}}
table{{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:13px}}
th,td{{padding:5px 12px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}}
th{{font-weight:500}}thead th{{color:var(--mute);font-size:12px;position:sticky;top:0}}
tr>:first-child{{text-align:left}}tbody tr:last-child>*{{border-bottom:0}}
rect{{fill:var(--olora)}}svg{{display:block}}
.bar{{background:linear-gradient(90deg,var(--soft) var(--share),transparent 0)}}
"""

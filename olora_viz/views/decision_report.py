"""The report of a decision: one page that stands alone."""

from __future__ import annotations

import shlex
from pathlib import Path

from markupsafe import Markup, escape

from olora_viz.figures import theme
from olora_viz.figures.study_plots import plot_study
from olora_viz.machine.files import write_text
from olora_viz.machine.version import versions
from olora_viz.studies.budget import METHODS
from olora_viz.studies.deciding import Decision
from olora_viz.views import decision
from olora_viz.views.html import table
from olora_viz.views.report import STYLE, examples_words

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

    Parameters
    ----------
    task : its name in the report, by default as in the study: a name or a path.
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
        decision.plan(known), _setup(known, task), _repeat(known, task),
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


def _setup(known: Decision, task: str) -> Markup:
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

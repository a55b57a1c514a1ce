"""Take it with you: the run as numbers, code and a report, and a PEFT adapter of every lane."""

from __future__ import annotations

from typing import Any

import gradio as gr

from olora_viz.figures import theme
from olora_viz.figures.live.gradio_figure import HERE, IMPORT, PLOTLY, installed, served
from olora_viz.views.race import RaceView
from olora_viz.web.export.exports import export
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.race.card import Card

BUTTONS = (
    ("report", "Report", "one page of the whole run that opens anywhere"),
    ("csv", "CSV", "every step and lane, for a spreadsheet"),
    ("json", "JSON", "set-up, steps and results"),
    ("code", "Code (olora_viz)", "a script that repeats this race"),
    ("peft", "Code (peft)", "a script that trains the same lanes with PEFT"),
)
"""The key of each export, its button's label, and its description."""

_ON_LOAD = (
    IMPORT
    + """
const list = element.querySelector(".adapters");
const hint = element.querySelector(".hint");
const buttons = [...element.querySelectorAll(".exports button")];
for (const button of buttons) {
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const { save, standalone } = await load(props.exporter);
      const file = await server.taken([props.value.job, button.dataset.kind]);
      const sources = { plotly: here(props.plotly), module: here(props.module) };
      if (file.problem) hint.textContent = file.problem;
      else if (file.page) {
        const page = { ...file.page, palette: props.palette, sources };
        save(file.name, await standalone(page), file.type);
      } else save(file.name, file.text, file.type);
    } catch (error) {
      hint.textContent = `export failed: ${error.message || "the server does not answer"}`;
    }
    button.disabled = !props.value;
  });
}
const show = () => {
  const { job, lanes, recorded } = props.value || { lanes: [] };
  for (const button of buttons) button.disabled = !job;
  hint.textContent = lanes.length
    ? "PEFT adapters, zipped: load one with peft.PeftModel.from_pretrained."
    : recorded
      ? "A recorded race has no adapters: press Race to train your own."
      : "After the race: every lane as a PEFT adapter that loads anywhere.";
  list.replaceChildren(...lanes.map(({ lane, label, init, dash }) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "quiet";
    button.dataset.lane = lane;
    button.title = `download the adapter of ${label}`;
    const mark = document.createElement("span");
    mark.className = `mark ${dash}`;
    mark.style.setProperty("--lane", `var(--${init})`);
    button.append(mark, label, " ↓");
    button.addEventListener("click", async () => {
      const file = await server.adapter([job, lane]);
      if (!file.url) { hint.textContent = file.problem; return; }
      const link = document.createElement("a");
      link.href = beside(props.sibling, file.url);
      link.download = file.name;
      link.click();
    });
    return button;
  }));
};
show();
watch("value", show);
"""
)


def adapter_list(jobs: Jobs, *, elem_id: str) -> gr.HTML:
    """Make the card's content; its value is what `value` returns."""
    gr.set_static_paths([jobs.folder])

    def adapter(asked: Any) -> dict[str, str]:
        return find(jobs, asked)

    def taken(asked: Any) -> dict[str, Any]:
        return export(jobs, asked)

    buttons = "".join(
        f'<button type="button" class="quiet" data-kind="{kind}" title="{words}" disabled>{name}'
        "</button>"
        for kind, name, words in BUTTONS
    )
    return gr.HTML(
        value=None,
        elem_id=elem_id,
        html_template=(
            f'<h2>Take it with you</h2><div class="exports">{buttons}</div>'
            '<div class="adapters" id="adapters"></div><p class="hint" role="status"></p>'
        ),
        js_on_load=_ON_LOAD,
        apply_default_css=False,
        server_functions=[adapter, taken],
        sibling=installed(HERE / "figure.js"),
        module=installed(HERE / "figure.js"),
        exporter=installed(HERE / "figure_export.js"),
        plotly=installed(PLOTLY),
        palette={name: theme.palette(name) for name in theme.THEMES},
    )


def value(view: RaceView) -> dict[str, Any] | None:
    """Return what the card shows: nothing before the first step, adapters after the end."""
    if not view.made:
        return None
    has_adapters = view.complete and not view.recorded
    lanes = [
        {"lane": k, "label": style.label, "init": style.init, "dash": style.dash}
        for k in (view.order if has_adapters else ())
        for style in [view.styles[k]]
    ]
    return {"job": view.id, "lanes": lanes, "recorded": view.recorded}


def find(jobs: Jobs, asked: Any) -> dict[str, str]:
    """Zip an adapter and return its URL, or the reason why it is not available.

    Parameters
    ----------
    asked : the random id of a race, which grants access to it, and the number of a lane.
    """
    try:
        name, lane = asked
        job = jobs.get(name)
        if job is None:
            raise ValueError("this race is no longer available: run it again for its adapters")
        path = job.adapter_zip(int(lane))
    except OSError as error:
        return {"problem": f"the adapter could not be zipped: {error.strerror or error}"}
    except (ValueError, TypeError, OverflowError) as error:
        return {"problem": str(error)}
    return {"url": served(path), "name": path.name}


CARD = Card(
    "take",
    ("id", "complete", "order"),
    lambda desk: [adapter_list(desk.jobs, elem_id="take")],
    lambda view: [value(view)],
    column="right",
)

"""Take it with you: a button per lane that downloads its PEFT adapter."""

from __future__ import annotations

from typing import Any

import gradio as gr

from olora_viz.live.gradio_figure import HERE, IMPORT, installed, served
from olora_viz.web.jobs import Jobs

_ON_LOAD = (
    IMPORT
    + """
const list = element.querySelector(".adapters");
const hint = element.querySelector(".hint");
const show = () => {
  const { job, lanes } = props.value || { lanes: [] };
  hint.textContent = lanes.length
    ? "PEFT adapters, zipped: load one with peft.PeftModel.from_pretrained."
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
    """Make the list; its value is None or ``{"job", "lanes": [{"lane", "label", …}]}``."""
    gr.set_static_paths([jobs.folder])

    def adapter(asked: Any) -> dict[str, str]:
        return find(jobs, asked)

    return gr.HTML(
        value=None,
        elem_id=elem_id,
        html_template=('<h2>Take it with you</h2><div class="adapters"></div><p class="hint"></p>'),
        js_on_load=_ON_LOAD,
        apply_default_css=False,
        server_functions=[adapter],
        sibling=installed(HERE / "figure.js"),
    )


def find(jobs: Jobs, asked: Any) -> dict[str, str]:
    """Zip an adapter and say where it is, or why it cannot be had.

    Parameters
    ----------
    asked : a race's id, whose randomness is the key to it, and the number of a lane.
    """
    try:
        name, lane = asked
        job = jobs.get(name)
        if job is None:
            raise ValueError("this race is no longer kept: race again to have its adapters")
        path = job.adapter_zip(int(lane))
    except OSError as error:
        return {"problem": f"the adapter could not be zipped: {error.strerror or error}"}
    except (ValueError, TypeError, OverflowError) as error:
        return {"problem": str(error)}
    return {"url": served(path), "name": path.name}

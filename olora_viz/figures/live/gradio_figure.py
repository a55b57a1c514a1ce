"""Live charts in Gradio: a node that persists and receives only new data."""

from __future__ import annotations

from typing import Any

import gradio as gr

from olora_viz.figures.live.packing import pack, pack_all
from olora_viz.figures.live.serving import HERE, charts, script


def live_figure(
    value: dict[str, Any] | None = None, *, elem_id: str, picks: bool = False, **more: Any
) -> gr.HTML:
    """Make the component; its values, here and from events, are packed figures (see `pack`).

    It is a function, not a subclass: Gradio writes a stub file beside every subclass's source.

    Parameters
    ----------
    value : a figure of `olora_viz.figures.race`, or None.
    elem_id : id of the element around Plotly's node.
    picks : whether a click on a map's cell is an event ``select`` with the value
        ``layout.meta.names[y][x]``, or ``layout.meta.rows[y]`` if a whole row has one name.
    more : passed to `gr.HTML`.
    """
    return _charts(
        "chart.js", "live-figure picks" if picks else "live-figure", pack(value) if value else None,
        elem_id=elem_id, **more,
    )  # fmt: skip


def live_figures(*, elem_id: str) -> gr.HTML:
    """Make a component of any number of charts; its values come from `pack_all`."""
    return _charts("charts.js", "live-figures", pack_all({}), elem_id=elem_id)


def _charts(entry: str, classes: str, value: Any, **more: Any) -> gr.HTML:
    return gr.HTML(
        value=value,
        html_template=f'<div class="{classes}"></div>',
        js_on_load=script(HERE / "gradio" / entry, **charts()),
        apply_default_css=False,
        **more,
    )

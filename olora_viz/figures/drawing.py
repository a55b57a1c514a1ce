"""Figures of Plotly, as notebooks and pages without Plotly show them: beside the chart a picture and words."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import plotly.graph_objects as go
from PIL import Image

from olora_viz.figures.layout import Figure, stacked
from olora_viz.figures.png import places, png_bytes

PLOTLY_MIME = "application/vnd.plotly.v1+json"

AS_WIDE_AS_THE_CELL = (
    '<style class="olora-viz-fit">.jp-RenderedPlotly .plot-img{max-width:100%;height:auto}'
    ".jp-OutputArea-child:has(style.olora-viz-fit){display:none}</style>"
)
"""For the PNG of a chart that Plotly's extension of JupyterLab saves, and shows in the reopened notebook at first."""


class Drawing(go.Figure):
    """A Plotly figure, shown with a picture and a text beside Plotly's data; made by `drawing`.

    Pages without Plotly show the picture: GitHub, nbviewer, ``nbconvert`` and front ends without Plotly's extension.
    It is a JPEG, since a PNG is what Plotly's extension of JupyterLab shows in place of the chart until the pointer is
    over it. A figure that was changed after it was made is shown as any other one.
    """

    _figures: Sequence[Figure] = ()
    _theme = "light"

    def _repr_mimebundle_(self, *given: Any, **more: Any) -> dict[str, Any]:
        bundle = super()._repr_mimebundle_(*given, **more)
        if self._figures and self == stacked(self._figures, self._theme):
            picture = BytesIO()
            drawn = Image.open(BytesIO(png_bytes(self._figures, theme_name=self._theme, sharpness=1.5)))
            drawn.convert("RGB").save(picture, "JPEG", quality=90, subsampling=0)
            bundle = self.without_picture()
            bundle["image/jpeg"] = base64.b64encode(picture.getvalue()).decode("ascii")
        return bundle

    def without_picture(self) -> dict[str, Any]:
        """Return Plotly's data and the text, which are made quickly."""
        bundle = super()._repr_mimebundle_()
        if PLOTLY_MIME in bundle:
            bundle.pop("text/html", None)  # a page without scripts would show it, empty
        return bundle | {"text/plain": "\n".join(map(in_words, self._figures))}

    def _ipython_display_(self) -> None:
        from IPython.display import publish_display_data

        bundle = self._repr_mimebundle_()
        if bundle:
            publish_display_data({"text/html": AS_WIDE_AS_THE_CELL, "text/plain": ""})
            publish_display_data(bundle)
        else:  # the renderer opens a window
            super()._ipython_display_()


def drawing(figures: Sequence[Figure], theme_name: str = "light") -> Drawing:
    """Return figures as one, one below the other, in a theme: ``light`` or ``dark``."""
    drawn = Drawing(stacked(figures, theme_name))
    drawn._figures, drawn._theme = tuple(figures), theme_name
    return drawn


def in_words(figure: Figure) -> str:
    """Return a figure in words: its title and unit, and the last point of every named curve, over rates the lowest.

    Of a single mark that has words of its own they are these.

    >>> in_words({"layout": {"meta": {"title": "Loss", "unit": "nats"}},
    ...           "data": [{"name": "OLoRA", "x": [1, 2], "y": [5.0, None]}]})
    'Loss, nats\\n  OLoRA: 5 at 1'
    """
    meta = figure["layout"]["meta"]
    over_rates = meta.get("x") == "learning rate"
    named: dict[str, str] = {}
    for trace in figure["data"]:
        points = zip(places(trace), trace.get("y", ()), strict=False)
        known = [(x, y) for x, y in points if y is not None]
        own = trace.get("text", ()) if str(trace.get("hovertemplate")).startswith("%{text}") else ()
        if trace.get("name") and len(own) == 1 and isinstance(own[0], str):
            named[trace["name"]] = f"  {own[0].replace('<br>', '; ')}"
        elif trace.get("name") and trace.get("hoverinfo") != "skip" and known:
            x, y = min(known, key=lambda point: point[1]) if over_rates else known[-1]
            named[trace["name"]] = f"  {trace['name']}: {_word(y)} at {_word(x)}"
    return "\n".join([", ".join(filter(None, [meta["title"], meta["unit"]])), *named.values()])


def _word(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)

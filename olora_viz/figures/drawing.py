"""Figures for notebooks: Plotly's, which also carry a picture and a text for other readers."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from olora_viz.figures.layout import Figure, stacked
from olora_viz.figures.png import png_bytes

PLOTLY = "application/vnd.plotly.v1+json"


class Drawing(go.Figure):
    """A Plotly figure, shown with a PNG and a text beside Plotly's data; made by `drawing`.

    Pages without Plotly show the picture: GitHub, nbviewer, ``nbconvert`` and front ends without
    Plotly's extension. A figure that was changed after it was made is shown as any other one.
    """

    _figures: Sequence[Figure] = ()
    _theme = "light"

    def _repr_mimebundle_(self, *given: Any, **more: Any) -> dict[str, Any]:
        bundle = super()._repr_mimebundle_(*given, **more)
        if self._figures and self == stacked(self._figures, self._theme):
            picture = png_bytes(self._figures, theme_name=self._theme, sharpness=1.5)
            bundle = self.without_picture()
            bundle["image/png"] = base64.b64encode(picture).decode("ascii")
        return bundle

    def without_picture(self) -> dict[str, Any]:
        """Return Plotly's data and the text, which are made quickly."""
        bundle = super()._repr_mimebundle_()
        if PLOTLY in bundle:
            bundle.pop("text/html", None)  # a page without scripts would show it, empty
        return bundle | {"text/plain": "\n".join(map(told, self._figures))}

    def _ipython_display_(self) -> None:
        from IPython.display import publish_display_data

        bundle = self._repr_mimebundle_()
        if bundle:
            publish_display_data(bundle)
        else:  # the renderer opens a window
            super()._ipython_display_()


def drawing(figures: Sequence[Figure], theme_name: str = "light") -> Drawing:
    """Return figures as one, one below the other.

    Parameters
    ----------
    figures : as returned by the functions of `olora_viz.figures`.
    theme_name : ``light`` or ``dark``.
    """
    made = Drawing(stacked(figures, theme_name))
    made._figures, made._theme = tuple(figures), theme_name
    return made


def told(figure: Figure) -> str:
    """Return a figure in words: its title and unit, and the last point of every named curve.

    >>> told({"layout": {"meta": {"title": "Loss", "unit": "nats"}},
    ...       "data": [{"name": "OLoRA", "x": [1, 2], "y": [5.0, None]}]})
    'Loss, nats\\n  OLoRA: 5 at 1'
    """
    meta = figure["layout"]["meta"]
    last: dict[str, str] = {}
    for trace in figure["data"]:
        points = zip(_places(trace), trace.get("y", ()), strict=False)
        known = [(x, y) for x, y in points if y is not None]
        if trace.get("name") and trace.get("hoverinfo") != "skip" and known:
            x, y = known[-1]
            last[trace["name"]] = f"  {trace['name']}: {_word(y)} at {_word(x)}"
    return "\n".join([", ".join(filter(None, [meta["title"], meta["unit"]])), *last.values()])


def _places(trace: dict[str, Any]) -> Sequence[Any]:
    """Return where the points of a curve are."""
    if trace.get("x") is not None:
        return trace["x"]
    first, apart = trace.get("x0", 0), trace.get("dx", 1)
    return [first + apart * i for i in range(len(trace.get("y", ())))]


def _word(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)

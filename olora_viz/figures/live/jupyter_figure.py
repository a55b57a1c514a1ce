"""A live chart in Jupyter: the page's module in an anywidget that receives only new data."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import anywidget
import plotly

from olora_viz.figures import theme
from olora_viz.figures.live.bundle import bundle
from olora_viz.figures.live.packing import pack
from olora_viz.figures.live.subshells import heard_while_a_cell_runs

HERE = Path(__file__).parent

_DARK = (
    '[data-jp-theme-light="false"]', "[data-vscode-theme-kind*=dark]", 'html[theme="dark"]',
)  # fmt: skip
"""Selectors of the dark themes of JupyterLab, VS Code and Colab."""


def style() -> str:
    """Return the panels' style sheet: both palettes as variables, then the rules."""
    dark = ",".join(f"{where} .olora-viz" for where in _DARK)
    fonts = f"--fonts:{theme.font_family()};"
    rules = (HERE / "jupyter_figure.css").read_text(encoding="utf-8")
    return (
        f".olora-viz{{{theme.css_variables('light')}{fonts}}}\n"
        f"{dark}{{{theme.css_variables('dark')}}}\n{rules}"
    )


@cache
def tools() -> dict[str, str]:
    """Return the module that saves charts, and the chart's own module for self-contained pages."""
    return {
        "module": bundle(HERE / "figure.js"),
        "exporter": bundle(HERE / "figure_export.js"),
    }


@cache
def plotly_source() -> bytes:
    """Return the installed plotly.min.js, compressed."""
    path = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    return gzip.compress(path.read_bytes(), 6)


class LiveFigure(anywidget.AnyWidget):
    """A chart that receives only new data.

    Parameters
    ----------
    figure : a figure returned by a function of `olora_viz.figures`.
    picked : called with the name of a map's cell that was clicked.
    """

    _esm = bundle(HERE / "jupyter_figure.js")
    _css = style()

    def __init__(self, figure: dict[str, Any], picked: Callable[[str], None] | None = None) -> None:
        super().__init__()
        self.figure = figure
        self._packed, self._serial, self._picked = pack(figure), 0, picked
        self._lock = threading.Lock()
        self.on_msg(self._answer)
        heard_while_a_cell_runs(self)

    def draw(self, figure: dict[str, Any]) -> None:
        """Show another figure, or an update of the same one; can be called from any thread."""
        packed = pack(figure)
        with self._lock:
            change = difference(self._packed, packed)
            self.figure, self._packed = figure, packed
            if change == {"data": {}, "layout": {}}:
                return
            self._serial += 1
            self.send({"change": change, "serial": self._serial} if change else self._whole())

    def _whole(self) -> dict[str, Any]:
        tokens = repr(self._packed).split('"@')[1:]
        inits = {
            token.split('"')[0].removesuffix("-text").removesuffix("-band") for token in tokens
        }
        palette = {name: theme.palette(name, sorted(inits)) for name in theme.THEMES}
        return {"whole": self._packed, "palette": palette, "serial": self._serial}

    def _answer(self, _: Any, message: Any, __: Any) -> None:
        """Answer a view of the chart; other messages from a browser are ignored."""
        if not isinstance(message, dict):
            return
        if message.get("want") == "figure":
            with self._lock:
                self.send(self._whole())
        elif message.get("want") == "tools":
            self.send({"tools": tools()}, buffers=[plotly_source()])
        elif isinstance(message.get("picked"), str) and self._picked:
            self._picked(message["picked"])


def difference(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any] | None:
    """Return the changes in a packed figure; None if it has to be sent as a whole.

    Text that has grown at its end is ``{"more": rest}``.

    >>> one = {"data": [{"y": "1,2", "trace": "{}"}], "layout": {"height": "3"}}
    >>> two = {"data": [{"y": "1,2,5", "trace": "{}"}], "layout": {"height": "3"}}
    >>> difference(one, two)
    {'data': {0: {'y': {'more': ',5'}}}, 'layout': {}}
    """
    if len(old["data"]) != len(new["data"]) or old["layout"].keys() != new["layout"].keys():
        return None
    data: dict[int, dict[str, Any]] = {}
    for i, (before, after) in enumerate(zip(old["data"], new["data"], strict=True)):
        if before.keys() != after.keys():
            return None
        news = {
            key: _growth(before[key], value) for key, value in after.items() if before[key] != value
        }
        if news:
            data[i] = news
    layout = {key: value for key, value in new["layout"].items() if old["layout"][key] != value}
    return {"data": data, "layout": layout}


def _growth(before: Any, after: Any) -> Any:
    if isinstance(before, str) and isinstance(after, str) and before and after.startswith(before):
        return {"more": after[len(before) :]}
    return after

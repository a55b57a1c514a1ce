"""The chart in a notebook: what is sent to it, and by which thread."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from olora_viz.figures import theme
from olora_viz.figures.live.bundle import bundle, pack


def heard_while_a_cell_runs(widget: Any) -> None:
    """Handle a widget's messages in the subshell to which the front end sends them.

    ipykernel 7.4 moves them to the shell that used the widget last. For a widget made in a cell that is the main
    shell, where a click would wait for the end of the running cell. Kernels without this rule, and those without
    subshells, are left as they are.

    Args:
        widget: an ipywidgets.Widget whose handlers may run in any thread.
    """
    if hasattr(widget.comm, "_reply_subshell_for"):
        widget.comm._reply_subshell_for = lambda _, subshell: subshell  # the one that the front end named


HERE = Path(__file__).parent

Message = dict[str, Any]


def style() -> str:
    """Return the panels' style sheet; the front end sets the palette's variables."""
    fonts = f".olora-viz {{ --fonts: {theme.font_family()}; }}\n"
    rules, *shared = (
        (HERE / name).read_text(encoding="utf-8")
        for name in ("notebook.css", "fragments.css", "lane_table.css", "adapter.css")
    )
    nested = f".olora-viz {{\n{''.join(shared)}}}\n"
    text = re.sub(r"/\*.*?\*/", "", f"{fonts}{nested}{rules}", flags=re.DOTALL)
    return re.sub(r"\s*([{};,]|\s|:(?=\s))\s*", r"\1", text)


@cache
def tools() -> dict[str, str]:
    """Return the module that saves charts, and the chart's own module for self-contained pages."""
    return {"module": bundle(HERE / "figure.js"), "exporter": bundle(HERE / "figure_export.js")}


class Feed:
    """The values and charts that a panel shows, by name; its messages have only what is new.

    It can be used from any thread.
    """

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        """Texts, HTML and the states of controls."""
        self.figures: dict[str, dict[str, Any]] = {}
        self.lock = threading.RLock()
        """Held while a message is made and sent, so that messages arrive in their order."""
        self._packed: dict[str, dict[str, Any]] = {}
        self._serial = 0

    def news(self, values: Mapping[str, Any], figures: Mapping[str, dict[str, Any]] | None = None) -> Message | None:
        """Take in values and charts; return the message with the changes, None without any."""
        # Plain text in place of Markup, which not every front end's encoder knows.
        plain = {name: str(value) if isinstance(value, str) else value for name, value in values.items()}
        new = {name: value for name, value in plain.items() if name not in self.values or self.values[name] != value}
        self.values |= new
        charts: dict[str, Any] = {}
        for name, figure in (figures or {}).items():
            packed, before = pack(figure), self._packed.get(name)
            change = difference(before, packed) if before else None
            self.figures[name], self._packed[name] = figure, packed
            if change is None:
                charts[name] = {"whole": packed}
            elif change["data"] or change["layout"]:
                charts[name] = {"change": change}
        if not new and not charts:
            return None
        self._serial += 1
        message = {"values": new, "charts": charts, "serial": self._serial}
        if any("whole" in chart for chart in charts.values()):
            message["palette"] = self._palette()
        return message

    def whole(self) -> Message:
        """Return the message with everything."""
        charts = {name: {"whole": packed} for name, packed in self._packed.items()}
        return {"values": dict(self.values), "charts": charts, "serial": self._serial, "palette": self._palette()}

    def _palette(self) -> dict[str, dict[str, str]]:
        tokens = repr(self._packed).split('"@')[1:]
        inits = {token.split('"')[0].removesuffix("-text").removesuffix("-band") for token in tokens}
        return {name: theme.palette(name, sorted(inits)) for name in theme.THEMES}


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
        news = {key: _growth(before[key], value) for key, value in after.items() if before[key] != value}
        if news:
            data[i] = news
    layout = {key: value for key, value in new["layout"].items() if old["layout"][key] != value}
    return {"data": data, "layout": layout}


def _growth(before: Any, after: Any) -> Any:
    if isinstance(before, str) and isinstance(after, str) and before and after.startswith(before):
        return {"more": after[len(before) :]}
    return after

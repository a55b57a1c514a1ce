"""Packing of figures for a browser: points as text that grows, the rest as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from olora_viz.figures.layout import Figure


def pack(figure: dict[str, Any]) -> dict[str, Any]:
    """Pack a figure as a few texts: points and rest of each trace, and the parts of the layout.

    Gradio sends a generator's output as differences, and for text that has grown only the new part.
    Also, Gradio's page copies a value leaf by leaf, several times per event, which for a figure of
    a thousand leaves takes longer than drawing it. ``unpack`` in figure.js is the inverse.

    Raises
    ------
    ValueError
        If a number is not finite; a gap is None.

    >>> pack({"data": [{"y": [1.5, None, 2], "name": "a"}], "layout": {"xaxis": {"title": "step"}}})
    {'data': [{'y': '1.5,,2', 'trace': '{"name":"a"}'}], 'layout': {'xaxis': '{"title":"step"}'}}
    """
    return {
        "data": [_packed(trace) for trace in figure["data"]],
        "layout": {key: _json(part) for key, part in figure["layout"].items()},
    }


def pack_all(figures: Mapping[str, Figure]) -> dict[str, Any]:
    """Pack figures by name, under one key, since Gradio adds its own keys next to it."""
    return {"figures": {name: pack(figure) for name, figure in figures.items()}}


def is_packed(value: Any) -> bool:
    """Whether a value is a packed figure, or several by their names.

    >>> is_packed(pack({"data": [], "layout": {}})), is_packed("text")
    (True, False)
    """
    return isinstance(value, dict) and bool({"data", "figures"} & value.keys())


def _packed(trace: dict[str, Any]) -> dict[str, str]:
    points = {key: _text(trace[key]) for key in ("x", "y") if _is_numeric(trace.get(key))}
    rest = {key: value for key, value in trace.items() if key not in points}
    return {**points, "trace": _json(rest)}


def _is_numeric(values: Any) -> bool:
    return isinstance(values, list) and not any(isinstance(v, str) for v in values[:1])


def _text(numbers: list[float | None]) -> str:
    return ",".join("" if x is None else repr(x) for x in numbers)


def _json(part: Any) -> str:
    return json.dumps(part, ensure_ascii=False, allow_nan=False, separators=(",", ":"))

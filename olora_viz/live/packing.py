"""A figure on its way to a browser: its points as text, which grows at its end."""

from __future__ import annotations

from typing import Any


def pack(figure: dict[str, Any]) -> dict[str, Any]:
    """Write the points of a figure as text, which grows at its end as the race goes on.

    Gradio sends a generator's output as differences, and for text that has grown only the rest.

    >>> pack({"data": [{"y": [1.5, None, 2]}], "layout": {}})
    {'data': [{'y': '1.5,,2'}], 'layout': {}}
    """
    data = [
        {key: _text(v) if key in ("x", "y") and _is_numeric(v) else v for key, v in trace.items()}
        for trace in figure["data"]
    ]
    return {**figure, "data": data}


def _is_numeric(values: Any) -> bool:
    return isinstance(values, list) and not any(isinstance(v, str) for v in values[:1])


def _text(numbers: list[float | None]) -> str:
    return ",".join("" if x is None else repr(x) for x in numbers)

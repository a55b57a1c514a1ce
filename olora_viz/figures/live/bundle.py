"""The chart's JavaScript modules as one text, and figures packed for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from olora_viz.machine.tables import one_line


def pack(figure: dict[str, Any]) -> dict[str, Any]:
    """Pack a figure as a few texts: points and rest of each trace, and the parts of the layout.

    Gradio sends a generator's output as differences, and for text that has grown only the new part. Also, Gradio's
    page copies a value leaf by leaf, several times per event, which for a figure of a thousand leaves takes longer
    than drawing it. ``unpack`` in figure.js is the inverse.

    Raises:
        ValueError: if a number is not finite; a gap is None.

    >>> pack({"data": [{"y": [1.5, None, 2], "name": "a"}], "layout": {"xaxis": {"title": "step"}}})
    {'data': [{'y': '1.5,,2', 'trace': '{"name":"a"}'}], 'layout': {'xaxis': '{"title":"step"}'}}
    """
    return {
        "data": [_packed(trace) for trace in figure["data"]],
        "layout": {key: one_line(part) for key, part in figure["layout"].items()},
    }


def pack_all(figures: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Pack figures by name, under one key, since Gradio adds its own keys next to it."""
    return {"figures": {name: pack(figure) for name, figure in figures.items()}}


def is_packed(value: Any) -> bool:
    """Whether a value is a packed figure, or several by their names.

    >>> is_packed(pack({"data": [], "layout": {}})), is_packed("text")
    (True, False)
    """
    return isinstance(value, dict) and bool({"data", "figures"} & value.keys())


def _packed(trace: dict[str, Any]) -> dict[str, str]:
    points = {}
    for key in ("x", "y"):
        numbers = trace.get(key)
        if isinstance(numbers, list) and not any(isinstance(number, str) for number in numbers[:1]):
            points[key] = ",".join("" if number is None else repr(number) for number in numbers)
    return {**points, "trace": one_line({key: value for key, value in trace.items() if key not in points})}


_IMPORT = re.compile(r'^import \{([^{}]*)\} from "(\.{1,2}/[^"\n]+)";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|class) (\w+))", re.MULTILINE)
_LEFT = re.compile(r"^(?:import\b|export\b[^;]*? from\b).*", re.MULTILINE)
_COMMENT = re.compile(r"^[ \t]*(?://.*|/\*(?:(?!\*/)[\s\S])*\*/[ \t]*)\n", re.MULTILINE)
"""A comment on lines of its own."""
_INDENTATION = re.compile(r"^[ \t]+", re.MULTILINE)


def bundle(entry: Path) -> str:
    """Return a module and everything it imports as one module.

    Each imported module becomes a constant, the value of a function that runs once and returns the module's exports.
    Modules come after those that they import. Comments and indentation are dropped, the latter also in texts of
    several lines.

    Args:
        entry: the module whose exports become those of the result, in any form that names no other file. The other
            modules export functions, constants and classes in their declarations. All modules import names from
            relative paths, in the form of ``import { one, two as other } from "./three.js";``.

    Raises:
        ValueError: a module imports or exports in another form, or the imports are circular.
        OSError: a module does not exist.
    """
    sources: dict[Path, str] = {}
    _collect(entry.resolve(), (), sources)
    names = {path: f"${i}_{path.stem}" for i, path in enumerate(sources)}
    *others, last = (_linked(path, source, names) for path, source in sources.items())
    wrapped = map(_wrapped, sources, others, names.values())
    return "".join((*wrapped, last))


def _collect(path: Path, importers: tuple[Path, ...], sources: dict[Path, str]) -> None:
    """Read a module after its imports."""
    if path in importers:
        circle = " → ".join(one.name for one in (*importers, path))
        raise ValueError(f"modules must not import each other in a circle: {circle}")
    if path in sources:
        return
    source = _INDENTATION.sub("", _COMMENT.sub("", path.read_text(encoding="utf-8")))
    for _, other in _IMPORT.findall(source):
        _collect((path.parent / other).resolve(), (*importers, path), sources)
    sources[path] = source


def _linked(path: Path, source: str, names: dict[Path, str]) -> str:
    """Replace a module's imports by constants."""

    def constants(match: re.Match[str]) -> str:
        wanted = match[1].replace(" as ", ": ")
        return f"const {{{wanted}}} = {names[(path.parent / match[2]).resolve()]};"

    linked = _IMPORT.sub(constants, source)
    if left := _LEFT.search(linked):
        raise ValueError(f"{path.name} must import names from a relative path, not {left[0]!r}")
    return linked


def _wrapped(path: Path, linked: str, name: str) -> str:
    """Return a module as a constant that holds its exports by name."""
    exported = ", ".join(_EXPORT.findall(linked))
    body = _EXPORT.sub("", linked)
    if left := re.search(r"^export\b.*", body, re.MULTILINE):
        raise ValueError(f"{path.name} must export in a declaration, not {left[0]!r}")
    return f"const {name} = (() => {{\n{body}return {{ {exported} }};\n}})();\n"

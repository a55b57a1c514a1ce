"""The chart's JavaScript modules as one text, and figures packed for it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
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


_IMPORT = re.compile(r'^import (?:\{([^{}]*)\}|\* as (\w+)) from "([^"\n]+)";$', re.MULTILINE)
_DECLARED = re.compile(r"^export (?=(?:async )?(?:function|const|class) (\w+))", re.MULTILINE)
_LISTED = re.compile(r"^export \{([^{}]*)\};$", re.MULTILINE)
_LATER = re.compile(r'await import\("([^"\n]+)"\)')
_LEFT = re.compile(r"^(?:import\b(?! *\()|export\b[^;]*? from\b).*", re.MULTILINE)
_COMMENT = re.compile(r"^[ \t]*(?://.*|/\*(?:(?!\*/)[\s\S])*\*/[ \t]*)\n", re.MULTILINE)
"""A comment on lines of its own."""
_INDENTATION = re.compile(r"^[ \t]+", re.MULTILINE)


def bundle(entry: Path) -> str:
    """Return a module and everything it imports as one module, see `joined`.

    Args:
        entry: the module whose exports become those of the result, in any form that names no other file.
    """
    *others, (_, last) = _linked(entry, "$", {})
    return _INDENTATION.sub("", "".join((*(_constant(name, source) for name, source in others), last)))


def joined(entry: Path, name: str, given: Mapping[str, str] | None = None) -> str:
    """Return a module and everything it imports as constants, the last of which is `name`.

    Each module becomes a constant, the value of a function that runs once and returns the module's exports. Modules
    come after those that they import. Comments and indentation are dropped, the latter also in texts of several lines.
    What a module imports only when it runs is there too, before the entry.

    Args:
        entry: like the others, it exports functions, constants and classes in their declarations or in a list, and
            imports names or all of a relative path, as in ``import { one, two as other } from "./three.js";``.
        given: by the name of a package, the constant that holds its exports.

    Raises:
        ValueError: a module imports or exports in another form, or the imports are circular.
        OSError: a module does not exist.
    """
    *others, (_, last) = _linked(entry, name, given or {})
    return _INDENTATION.sub("", "".join(_constant(*each) for each in (*others, (name, last))))


def _linked(entry: Path, start: str, given: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the modules, each after its imports, as names of constants, which begin alike, and sources."""
    sources: dict[Path, str] = {}
    _collect(entry.resolve(), (), sources, given)
    for later in [path.parent / other for path, source in sources.items() for other in _LATER.findall(source)]:
        _collect(later.resolve(), (), sources, given)
    sources[entry.resolve()] = sources.pop(entry.resolve())  # the last one
    names = {path: f"{start}{i}_{re.sub('[^a-z0-9]', '_', path.stem)}" for i, path in enumerate(sources)}

    def constants(here: Path, match: re.Match[str]) -> str:
        wanted = match[2] or f"{{{match[1].replace(' as ', ': ')}}}"
        return f"const {wanted} = {given.get(match[3]) or names[(here / match[3]).resolve()]};"

    for path, source in sources.items():
        text = _IMPORT.sub(lambda match, here=path.parent: constants(here, match), source)
        text = _LATER.sub(lambda match, here=path.parent: names[(here / match[1]).resolve()], text)
        if left := _LEFT.search(text):
            raise ValueError(f"{path.name} must import names from a relative path, not {left[0]!r}")
        yield names[path], text


def _collect(path: Path, importers: tuple[Path, ...], sources: dict[Path, str], given: Mapping[str, str]) -> None:
    """Read a module after its imports."""
    if path in importers:
        circle = " → ".join(one.name for one in (*importers, path))
        raise ValueError(f"modules must not import each other in a circle: {circle}")
    if path in sources:
        return
    source = _COMMENT.sub("", path.read_text(encoding="utf-8"))
    for *_, other in _IMPORT.findall(source):
        if other.startswith("."):
            _collect((path.parent / other).resolve(), (*importers, path), sources, given)
        elif other not in given:
            raise ValueError(f"{path.name} must import names from a relative path, not {other!r}")
    sources[path] = source


def _constant(name: str, linked: str) -> str:
    """Return a module as a constant that holds its exports by name."""
    exported = _DECLARED.findall(linked)
    for pair in ",".join(_LISTED.findall(linked)).split(","):
        inner, _, outer = pair.strip().partition(" as ")
        exported += [f"{outer}: {inner}" if outer else inner] if inner else []
    body = _LISTED.sub("", _DECLARED.sub("", linked))
    if left := re.search(r"^export\b.*", body, re.MULTILINE):
        raise ValueError(f"{name.partition('_')[2]}.js must export in a declaration or a list, not {left[0]!r}")
    return f"const {name} = (() => {{\n{body}return {{ {', '.join(exported)} }};\n}})();\n"

"""The script of a race in the reader's browser: our modules and the library's, joined without any other tool."""

from __future__ import annotations

import json
import re
from pathlib import Path

from olora_viz.machine.files import write_text

HERE = Path(__file__).parent / "live"
LIBRARY = HERE / "jax.js"
"""The library's modules, joined by `keep_library` in an installed package."""
IN_CLONE = Path(__file__).parents[3] / "node_modules" / "@jax-js" / "jax"
"""The library in a clone, where ``npm ci`` puts it."""

_IMPORT = re.compile(r'^import (?:\{([^{}]*)\}|\* as (\w+)) from "([^"\n]+)";$', re.MULTILINE)
_LATER = re.compile(r'await import\("[^"\n]+"\)')
"""An import of WebGPU or WebGL, which a race does not use."""
_DECLARED = re.compile(r"^export (?=(?:async )?(?:function|const|class) (\w+))", re.MULTILINE)
_LISTED = re.compile(r"^export \{([^{}]*)\};$", re.MULTILINE)
_LEFT = re.compile(r"^(?:import\b(?! *\()|export\b).*", re.MULTILINE)
_COMMENT = re.compile(r"^[ \t]*(?://.*|/\*(?:(?!\*/)[\s\S])*\*/[ \t]*)\n", re.MULTILINE)

PROGRAM = """(function live() {{
"use strict";
const parts = {{}};
{modules}parts["program.js"].begin(`(${{live}})()`);
}})();
"""
"""A function that hands its own text to the workers, so that the script also works from a file."""


def live_script() -> str | None:
    """Return the script that offers ``oloraLive.startRace`` in a page, and which its workers run too.

    None if the library is not here.
    """
    library = LIBRARY.read_text("utf-8") if LIBRARY.is_file() else _library()
    return library and PROGRAM.format(modules=library + _joined(HERE / "program.js"))


def keep_library() -> None:
    """Put the library of a clone into the package, for a release.

    Raises:
        ValueError: it is not in the clone.
    """
    library = _library()
    if library is None:
        raise ValueError("the library jax-js is not in the clone: run npm ci there")
    write_text(LIBRARY, f"// @ts-nocheck\n{library}")


def _library() -> str | None:
    """Return the library's modules, joined, with its notice; None if it is not in the clone."""
    if not (IN_CLONE / "package.json").is_file():
        return None
    version = json.loads((IN_CLONE / "package.json").read_text("utf-8"))["version"]
    notice = (IN_CLONE / "LICENSE").read_text("utf-8")
    return f"/*! @jax-js/jax {version}\n{notice}*/\n{_joined(IN_CLONE / 'dist' / 'index.js')}"


def _joined(entry: Path) -> str:
    """Return a module after those that it imports from its folder, each as a function that runs once."""
    modules: dict[str, str] = {}

    def collect(path: Path) -> None:
        if path.name in modules:
            return
        text = _COMMENT.sub("", path.read_text("utf-8"))
        for *_, source in _IMPORT.findall(text):
            if source.startswith("./"):
                collect(path.parent / source)
        modules[path.name] = _wrapped(path.name, text)

    collect(entry)
    return "".join(modules.values())


def _wrapped(name: str, text: str) -> str:
    """Return a module as a part: a function that runs once and returns the exports by name.

    Raises:
        ValueError: it imports or exports in another form.
    """
    exported = _DECLARED.findall(text)
    for pair in ",".join(_LISTED.findall(text)).split(","):
        inner, _, outer = pair.strip().partition(" as ")
        exported += [f"{outer or inner}: {inner}"] if inner else []
    body = _LISTED.sub("", _DECLARED.sub("", _IMPORT.sub(_constants, text)))
    body = _LATER.sub("(() => { throw Error('left out'); })()", body)
    if left := _LEFT.search(body):
        raise ValueError(f"{name} must import and export by name, not as in {left[0]!r}")
    return f"parts[{json.dumps(name)}] = (() => {{\n{body}\nreturn {{ {', '.join(exported)} }};\n}})();\n"


def _constants(match: re.Match[str]) -> str:
    """Return an import as constants; what is not from the same folder is from the library."""
    names, whole, source = match.groups()
    part = source.removeprefix("./") if source.startswith("./") else "index.js"
    wanted = whole or f"{{{names.replace(' as ', ': ')}}}"
    return f"const {wanted} = parts[{json.dumps(part)}];"

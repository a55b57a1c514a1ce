"""The script of a race in the reader's browser: our modules and the library's, joined without any other tool."""

from __future__ import annotations

import json
from pathlib import Path

from olora_viz.figures.live.bundle import joined
from olora_viz.machine.files import write_text

HERE = Path(__file__).parent / "live"
LIBRARY = HERE / "jax.js"
"""The library's modules, joined by `keep_library` in an installed package."""
IN_CLONE = Path(__file__).parents[3] / "node_modules" / "@jax-js" / "jax"
"""The library in a clone, where ``npm ci`` puts it."""

PROGRAM = """(function live() {{
"use strict";
{modules}$program.begin(`(${{live}})()`);
}})();
"""
"""A function that hands its own text to the workers, so that the script also works from a file."""


def live_script() -> str | None:
    """Return the script that offers ``oloraLive.startRace`` in a page, and which its workers run too.

    None if the library is not here.
    """
    library = LIBRARY.read_text("utf-8") if LIBRARY.is_file() else _library()
    ours = joined(HERE / "program.js", "$program", {"@jax-js/jax": "$jax"})
    return library and PROGRAM.format(modules=library + ours)


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
    return f"/*! @jax-js/jax {version}\n{notice}*/\n{joined(IN_CLONE / 'dist' / 'index.js', '$jax')}"

"""Files of installed packages, served to the page."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr
import plotly

from olora_viz.figures.live.bundle import bundle
from olora_viz.machine.temporary import temporary_folder

HERE = Path(__file__).parent
PACKAGE = HERE.parents[1]
PLOTLY = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"


@cache
def installed(path: Path) -> dict[str, Any]:
    """Serve an installed file and return its description, whose URL Gradio completes.

    Gradio puts its root, such as the sub-path of a Space, in front of ``url``. A module of this
    package is served together with all that it imports, as one file: one request, and a browser
    cannot mix the modules of two versions.

    Parameters
    ----------
    path : of a JavaScript file of this package, or of any file of another package.
    """
    if path.is_relative_to(PACKAGE):
        text = bundle(path).encode()
        version = hashlib.sha256(text).hexdigest()[:16]
        path = _bundles() / f"{path.stem}-{version}.js"
        path.write_bytes(text)
    else:
        version = str(path.stat().st_mtime_ns)
    gr.set_static_paths([path])
    url = f"{served(path)}?v={version}"
    return {"path": str(path), "url": url, "meta": {"_type": "gradio.FileData"}}


@cache
def _bundles() -> Path:
    """Make the folder of the served modules, which is deleted when the server ends."""
    return temporary_folder(_bundles, "modules")[0]


def served(path: Path) -> str:
    """Return the address of a file that Gradio serves, below the page's root."""
    return f"/gradio_api/file={quote(path.as_posix())}"

"""Files of installed packages, served to the page."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from urllib.parse import quote

import gradio as gr
import plotly

from olora_viz.figures import theme
from olora_viz.figures.live.bundle import bundle
from olora_viz.machine.temporary import temporary_folder

HERE = Path(__file__).parent
PACKAGE = HERE.parents[1]
PLOTLY = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"


def script(entry: Path, **files: str) -> str:
    """Return the script of a component, which finds the addresses of served files in ``files``.

    Parameters
    ----------
    entry : the component's module, see `bundle`.
    files : addresses below the page's root, see `installed` and `charts`.
    """
    return f"const files = {json.dumps(files)};\n{bundle(entry)}"


def charts() -> dict[str, str]:
    """Serve what draws and exports charts, and return the addresses below the page's root."""
    palette = json.dumps({name: theme.palette(name) for name in theme.THEMES})
    return {
        "module": installed(HERE / "figure.js"),
        "exporter": installed(HERE / "figure_export.js"),
        "plotly": installed(PLOTLY),
        "palette": _generated("palette", f"export const palette = {palette};\n"),
    }


@cache
def installed(path: Path) -> str:
    """Serve an installed file, and return its address below the page's root.

    A module of this package is served together with all that it imports, as one file: one request,
    and a browser cannot mix the modules of two versions.

    Parameters
    ----------
    path : of a JavaScript file of this package, or of any file of another package.
    """
    if path.is_relative_to(PACKAGE):
        return _generated(path.stem, bundle(path))
    return _static(path, str(path.stat().st_mtime_ns))


@cache
def _generated(name: str, text: str) -> str:
    """Serve a module, and return its address below the page's root."""
    data = text.encode()
    version = hashlib.sha256(data).hexdigest()[:16]
    path = _bundles() / f"{name}-{version}.js"
    path.write_bytes(data)
    return _static(path, version)


def _static(path: Path, version: str) -> str:
    gr.set_static_paths([path])
    return f"{served(path)}?v={version}"


@cache
def _bundles() -> Path:
    """Make the folder of the served modules, which is deleted when the server ends."""
    return temporary_folder(_bundles, "modules")[0]


def served(path: Path) -> str:
    """Return the address of a file that Gradio serves, below the page's root."""
    return f"/gradio_api/file={quote(path.as_posix())}"

"""The chart in Gradio and in pages of their own: scripts, and what is served."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr

from olora_viz.figures import theme
from olora_viz.figures.live.bundle import bundle, pack, pack_all
from olora_viz.figures.live.standing_alone import PLOTLY_SCRIPT
from olora_viz.machine.files import temporary_folder

HERE = Path(__file__).parent
PACKAGE = HERE.parents[1]


def script(entry: Path, **files: str) -> str:
    """Return the script of a component's module; it finds the addresses of served files in ``files``."""
    return f"const files = {json.dumps(files)};\n{bundle(entry)}"


def charts() -> dict[str, str]:
    """Serve what draws and exports charts, and return the addresses below the page's root."""
    palette = json.dumps({name: theme.palette(name) for name in theme.THEMES})
    return {
        "module": installed(HERE / "figure.js"),
        "exporter": installed(HERE / "figure_export.js"),
        "plotly": installed(PLOTLY_SCRIPT),
        "palette": _generated("palette", f"export const palette = {palette};\n"),
    }


@cache
def installed(path: Path) -> str:
    """Serve an installed file, and return its address below the page's root.

    A module of this package is served together with all that it imports, as one file: one request, and a browser
    cannot mix the modules of two versions.
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


def live_figure(value: dict[str, Any] | None = None, *, elem_id: str, picks: bool = False, **more: Any) -> gr.HTML:
    """Make the component; its values, here and from events, are packed figures (see `pack`).

    It is a function, not a subclass: Gradio writes a stub file beside every subclass's source.

    Args:
        elem_id: id of the element around Plotly's node.
        picks: whether a click on a map's cell is an event ``select`` with the value ``layout.meta.names[y][x]``, or
            ``layout.meta.rows[y]`` if a whole row has one name.
        more: passed to `gr.HTML`.
    """
    classes = "live-figure picks" if picks else "live-figure"
    return _charts("chart.js", classes, pack(value) if value else None, elem_id=elem_id, **more)


def live_figures(*, elem_id: str) -> gr.HTML:
    """Make a component of any number of charts; its values come from `pack_all`."""
    return _charts("charts.js", "live-figures", pack_all({}), elem_id=elem_id)


def _charts(entry: str, classes: str, value: Any, **more: Any) -> gr.HTML:
    return gr.HTML(
        value=value,
        html_template=f'<div class="{classes}"></div>',
        js_on_load=script(HERE / "gradio" / entry, **charts()),
        apply_default_css=False,
        **more,
    )

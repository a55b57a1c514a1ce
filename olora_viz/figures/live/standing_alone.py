"""Pages with charts that need no other file: Plotly's script is in them, compressed."""

from __future__ import annotations

import base64
import gzip
import json
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import plotly
import plotly.graph_objects as go

from olora_viz.figures import theme
from olora_viz.figures.live.bundle import bundle

HERE = Path(__file__).parent
PLOTLY_SCRIPT = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
"""The content security policy, which blocks every request."""


@cache
def plotly_source() -> bytes:
    """Return the installed plotly.min.js, compressed."""
    return gzip.compress(PLOTLY_SCRIPT.read_bytes(), 6)


def standing_alone(page: dict[str, Any]) -> str:
    """Return what ``standalone`` of figure_export.js makes in a browser, for the same page.

    Args:
        page: title, body (HTML, with a place ``data-figure="name"`` for each figure), figures (packed, by name) and
            style (additional CSS).
    """
    palette = {name: theme.palette(name) for name in theme.THEMES}
    given = json.dumps({"figures": page["figures"], "palette": palette, "style": page["style"]})
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(page['title'])}</title></head><body><main>\n{page['body']}\n</main>\n"
        f"{_scripts(given, 'standing_alone.js')}</body></html>\n"
    )


def plotted(figure: go.Figure) -> str:
    """Return a figure as HTML for a page that needs no other file, and has no other figure."""
    return f'<div id="plot"></div>\n{_scripts(figure.to_json() or "", "plotted.js")}'


def _scripts(given: str, module: str) -> str:
    """Return Plotly, the values in JSON, and the module that draws them."""
    return (
        f'<script type="text/plain" id="plotly">{base64.b64encode(plotly_source()).decode()}</script>\n'
        f'<script type="application/json" id="given">{given.replace("<", chr(92) + "u003c")}</script>\n'
        f'<script type="module">\n{bundle(HERE / module)}</script>\n'
    )

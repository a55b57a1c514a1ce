"""A self-contained page with live charts, made without a browser."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from olora_viz.figures import theme
from olora_viz.figures.live.bundle import bundle
from olora_viz.figures.live.serving import HERE, PLOTLY

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
)
"""The content security policy, which blocks every request."""


def standing_alone(page: dict[str, Any]) -> str:
    """Return what ``standalone`` of figure_export.js makes in a browser, for the same page.

    Parameters
    ----------
    page : title, body (HTML, with a place ``data-figure="name"`` for each figure), figures (packed,
        by name) and style (additional CSS).
    """
    palette = {name: theme.palette(name) for name in theme.THEMES}
    given = json.dumps({"figures": page["figures"], "palette": palette, "style": page["style"]})
    head = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(page['title'])}</title></head><body><main>\n{page['body']}\n</main>\n"
    )
    scripts = (
        f"<script>{PLOTLY.read_text('utf-8')}</script>\n"
        '<script type="application/json" id="given">'
        f"{given.replace('<', chr(92) + 'u003c')}</script>\n"
        f'<script type="module">\n{bundle(HERE / "standing_alone.js")}</script></body></html>\n'
    )
    return head + scripts

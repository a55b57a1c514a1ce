"""Tooltips of Gradio's buttons, which have none of their own."""

from __future__ import annotations

from pathlib import Path

TITLES = (Path(__file__).parent / "titles.js").read_text("utf-8")
"""The script of a `gr.HTML` whose ``titles`` has a sentence for the id of each button."""

"""Keys that run the race, and the help that lists them."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

KEYS = (
    ("Space", "start a race; pause or resume a running one"),
    ("S", "one step"),
    ("?", "this help"),
    ("Esc", "close it"),
)
"""Keys and their descriptions in the help."""

WORDS = (
    "Each lane is one initialization of a LoRA adapter, with its own learning rate and rank. Press "
    "<b>Race</b>: all lanes train at once on one frozen model; those with the same seed see the "
    "same batches. Curves show the loss on the training batches and, as marks, on held-out "
    "prompts. Point at a chart to mark the same step in all charts of the race. Click a lane's "
    "name to hide it, <b>log</b> to change an axis, and drag to zoom. <b>Share</b> copies a link "
    "that opens the same set-up."
)


def help_button() -> gr.HTML:
    """Make the button with its dialog, and listen to the keys."""
    rows = "".join(f"<dt><kbd>{key}</kbd></dt><dd>{does}</dd>" for key, does in KEYS)
    return gr.HTML(
        '<button type="button" class="quiet" id="help-button" aria-label="? Help and keys" '
        'aria-haspopup="dialog" title="Help and keys (?)">?</button>'
        '<dialog id="help" aria-labelledby="help-title"><h2 id="help-title">The playground in a '
        f"minute</h2><p>{WORDS}</p><dl>{rows}</dl>"
        '<form method="dialog"><button class="quiet">Close</button></form></dialog>',
        elem_id="help-part",
        js_on_load=(Path(__file__).parent / "shortcuts.js").read_text("utf-8"),
        apply_default_css=False,
    )

"""The fields of the page, by what the sentence on a refused value calls them."""

import gradio as gr

from olora_viz.races.fields import FIELDS
from olora_viz.web.parts.card import element

INPUTS = {
    "steps": "#setup-steps input",
    "prompts per step": "#setup-batch input",
    "seed of the race": "#setup-seed input",
    "steps between curvature measurements": "#curvature-every input",
    **{
        each.subject: f"#more-settings [name={each.name}]"
        for each in FIELDS
        if not each.choices and each.kind is not bool
    },
    "what may be forgotten, in nats,": "#decide-forget :is(input, textarea)",
}


def refused() -> gr.HTML:
    """Make what marks the fields of refused values as invalid."""
    return element("", fields=INPUTS, script="parts/refused.js", elem_classes="unseen")

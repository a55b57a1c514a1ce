"""The fields of the page, by what the sentence on a refused value calls them."""

import gradio as gr

from olora_viz.web.parts.card import element

FIELDS = {
    "steps": "#setup-steps input",
    "prompts per step": "#setup-batch input",
    "seed of the race": "#setup-seed input",
    "steps between curvature measurements": "#curvature-every input",
    "warm-up steps": "#more-settings [name=warmup]",
    "weight decay": "#more-settings [name=weight_decay]",
    "gradient clipping": "#more-settings [name=clip]",
    "steps between evaluations": "#more-settings [name=eval_every]",
    "held-out examples": "#more-settings [name=eval_size]",
    "evaluations without improvement": "#more-settings [name=patience]",
    "a target module": "#more-settings [name=targets]",
    "what may be forgotten, in nats,": "#decide-forget :is(input, textarea)",
}


def refused() -> gr.HTML:
    """Make what marks the fields of refused values as invalid."""
    return element("", fields=FIELDS, script="parts/refused.js", elem_classes="unseen")

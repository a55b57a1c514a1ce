"""The fold "More settings" of the set-up: native inputs, validated by the server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import gradio as gr
from markupsafe import Markup

from olora_viz.figures.live.bundle import bundle
from olora_viz.machine.checking import Problems
from olora_viz.races.config import BATCHES, BATCHES_WORDS
from olora_viz.races.schedule import SCHEDULES
from olora_viz.races.settings import Settings
from olora_viz.web.guard.config import checked_settings


class Field(NamedTuple):
    """One input."""

    name: str
    """Of the setting."""
    label: str
    title: str
    """What it means, in one line."""
    choices: Mapping[str, str] = MappingProxyType({})
    """The only values, with their words; none for an input of text."""
    empty: str = ""
    """What an empty input means."""
    of_examples: bool = False
    """Whether decisions and claims have it as well."""


FIELDS = (
    Field(
        "schedule", "Schedule", "How the learning rates change after the warm-up",
        {name: name for name in SCHEDULES},
    ),
    Field("warmup", "Warm-up", "Steps over which the learning rates rise to their peak"),
    Field(
        "weight_decay", "Weight decay", "AdamW's decoupled weight decay of A and B, in every lane"
    ),
    Field(
        "clip", "Gradient clipping",
        "The largest norm of a lane's gradient: a longer one is shortened to it", empty="off",
    ),
    Field(
        "eval_every", "Evaluate every",
        "Steps between two evaluations on the held-out examples", empty="automatic",
    ),
    Field("eval_size", "Held-out examples", "The most that an evaluation takes"),
    Field(
        "batches", "Batches",
        BATCHES_WORDS,
        {name: name for name in BATCHES},
    ),
    Field(
        "targets", "Target modules",
        "The layers that are adapted: ends of their names, with commas between them, such as "
        "q_proj, v_proj",
        empty="all linear layers",
    ),
    Field(
        "keep_best", "Adapter from",
        "Which adapter of a lane answers, is tested and can be downloaded at the end: that of its "
        "last step, or of its lowest held-out loss",
        {"0": "the last step", "1": "the best step"},
    ),
    Field(
        "patience", "Early stop after",
        "Evaluations without a lower held-out loss after which a lane stops; the others go on",
        empty="off",
    ),
    Field(
        "chat", "Prompts",
        "How a prompt and its answer are written: as plain text, or as messages in the model's "
        "chat template, with its end-of-turn token",
        {"0": "plain text", "1": "chat template"}, of_examples=True,
    ),
    Field(
        "truncate", "Long examples",
        "What happens to an example that is too long: it is left out, or the beginning of its "
        "prompt is",
        {"0": "left out", "1": "cut at the left"}, of_examples=True,
    ),
)  # fmt: skip
"""The inputs in their order, two in a row."""


def more_settings(settings: Settings) -> gr.HTML:
    """Make the fold; as an event's input its value is the settings' text by name."""

    def seen(asked: Any) -> str:
        return problem_of(*asked) if isinstance(asked, list) and len(asked) == 2 else ""

    return gr.HTML(
        value=settings.values(),
        elem_id="more-settings",
        html_template=_form(),
        js_on_load=bundle(Path(__file__).parent / "more_settings.js"),
        apply_default_css=False,
        server_functions=[seen],
        plain=Settings().values(),
    )


def problem_of(steps: Any, values: Any) -> str:
    """Return what is wrong with the settings, "" if nothing is.

    >>> problem_of("60", {"clip": "-1"})
    "gradient clipping must be a positive number, not '-1'"
    """
    found = Problems()
    number = str(steps)[:9]
    checked_settings(int(number) if number.isascii() and number.isdecimal() else 1, values, found)
    try:
        found.report()
    except ValueError as error:
        return str(error)
    return ""


def _form() -> Markup:
    return Markup(
        '<details><summary>More settings<span class="changed"></span></summary>'
        '<div class="more">{}</div><p class="problem" role="alert" hidden></p></details>'
    ).format(Markup("").join(map(_input, FIELDS)))


def _input(field: Field) -> Markup:
    its = Markup('<input name="{}" placeholder="{}" autocomplete="off" spellcheck="false">').format(
        field.name, field.empty
    )
    if field.choices:
        options = Markup("").join(
            Markup('<option value="{}">{}</option>').format(*its) for its in field.choices.items()
        )
        its = Markup('<select name="{}">{}</select>').format(field.name, options)
    kind = "of-examples" if field.of_examples else "of-races"
    return Markup('<label class="{}" title="{}"><span>{}</span>{}</label>').format(
        kind, field.title, field.label, its
    )

"""The row of tabs, and the tooltips of buttons: those of an `element` with the script titles.js, by their ids."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import gradio as gr
from markupsafe import Markup

from olora_viz.initializers import INITIALIZERS
from olora_viz.web.parts.card import Card, element

BUTTONS = {
    "race-button": "Train all lanes of the set-up side by side",
    "decide-button": "Find the start and the rate for this data, within the time limit",
    "decide-stop-button": "Stop, and keep what is known so far",
    "claims-button": "Repeat the measurements on the model and task of the set-up",
    "claims-stop-button": "Stop, and keep the claims that are judged",
    "permute-button": "Put the columns of W into a random order",
    "restore-button": "Put the columns of W back into their own order",
    "measure-button": "Measure gradient and curvature of every start, before the first step",
    "measure-stop-button": "Stop the measurement",
    "slice-button": "Draw the loss around two starts, on one scale",
    "fair-button": "Set up every start at plain LoRA's rate, and at its own fair one",
}
"""A line on each button of the pages, by its id."""


def button_titles() -> None:
    """Give the buttons of all pages their tooltips, and the starts that boxes offer."""
    starts = {method.label: method.summary for method in INITIALIZERS.values()}
    element("", titles=BUTTONS, starts=starts, script="parts/titles.js", elem_classes="unseen")


class Tab(NamedTuple):
    """A tab."""

    title: str
    what: str
    """The tooltip."""
    empty: str = ""
    """What it says while it has no card to show."""


TABS = {
    "loss": Tab("Loss", "Training and held-out loss over the steps"),
    "gradients": Tab("Gradients", "Norms of the gradients, in all and by layer"),
    "spectra": Tab(
        "Spectra", "How training changes the adapters' singular values",
        "The spectra of the adapters come with the first evaluation.",
    ),
    "rates": Tab(
        "Rates", "Loss against learning rate, a curve for each start",
        "Race a start at several learning rates to see its curve of rates.",
    ),
    "more": Tab(
        "Measurements", "Everything else with one number per lane and step",
        "Nothing else was measured in this race.",
    ),
    "runs": Tab("Earlier runs", "The runs of this visit: name, compare and open them"),
    "words": Tab("In words", "What the results mean, in sentences"),
}  # fmt: skip
"""The tabs by name, in order; the first is open at first. The last is a tab on phones only, where the card that it
opens would be long."""


def tab_row() -> gr.HTML:
    """Make the row of tabs."""
    button = Markup('<button type="button" role="tab" data-tab-name="{}" title="{}">{}</button>')
    nothing = Markup('<p class="hint nothing" data-of="{}">{}</p>')
    row = Markup("").join(button.format(name, tab.what, tab.title) for name, tab in TABS.items())
    empty = Markup("").join(nothing.format(name, tab.empty) for name, tab in TABS.items() if tab.empty)
    return element(
        Markup('<div role="tablist" aria-label="Charts of this race">{}</div>{}').format(row, empty),
        elem_id="tabs",
        script="parts/tabs.js",
    )


def tabs_css(cards: Iterable[Card]) -> str:
    """Return the rules that hide the cards of closed tabs, and tabs without a card."""
    framed = [card for card in cards if card.frame]  # the others belong to these
    rules = []
    for name in TABS:
        closed = f':root:not([data-tab="{name}"])'
        filled = f".middle:has(.tab-{name}:not(.away))"
        rules.append(f"{closed} .tab-{name} {{ display: none !important; }}")
        drawn = f".tab-{name}:not(.away):has(.main-svg)"  # charts draw when they are first seen
        rules.append(f"@media print {{ {drawn} {{ display: flex !important; }} }}")
        rules.append(f":is({closed}, {filled}) [data-of={name}] {{ display: none; }}")
        hidden = "".join(f'[data-hide~="{card.name}"]' for card in framed if card.tab == name)
        rules.append(f"{hidden} [data-tab-name={name}] {{ display: none; }}")
    return "\n".join(rules)

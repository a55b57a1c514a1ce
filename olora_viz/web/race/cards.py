"""The cards of the Race page, in order: this list builds, draws and hides them."""

from __future__ import annotations

from olora_viz.web.export import take
from olora_viz.web.race import (
    controls,
    gradients,
    rates,
    repeat,
    shelf,
    spectra,
)
from olora_viz.web.race.card import chart, charts, words

CARDS = (
    chart("loss", "loss"),
    chart("norms", "gradient", half=True),
    chart("accuracy", "accuracy", half=True),
    controls.SCRUBBER,
    shelf.COMPARISON,
    rates.CARD,
    words("story", "story", "story", below=repeat.build, column="right"),
    words("standing", "results", "results", column="right"),
    take.CARD,
    shelf.CARD,
    words("answers", "answers", "answers", column="after"),
    charts(
        "measurements",
        '<h2>Measurements <span class="hint">one number per lane and step</span></h2>',
        column="after",
    ),
    spectra.CARD,
    gradients.CARD,
)
"""Adding a card is a file that defines it, and a line here."""

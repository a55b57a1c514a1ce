"""The cards of the Race page, in order: this list builds, draws and hides them."""

from __future__ import annotations

from olora_viz.web.export import take
from olora_viz.web.race import ask, controls, gradients, rates, refused, shelf, spectra, verdict
from olora_viz.web.race.card import chart, charts, words

CARDS = (
    verdict.INTRODUCTION,
    refused.CARD,
    verdict.CARD,
    chart("accuracy", "accuracy"),
    controls.SCRUBBER,
    chart("loss", "loss", tab="loss"),
    chart("norms", "gradient", tab="gradients"),
    gradients.CARD,
    spectra.CARD,
    rates.CARD,
    charts(
        "measurements",
        '<h2>Measurements <span class="hint">one number per lane and step</span></h2>',
        tab="more",
    ),
    shelf.COMPARISON,
    shelf.CARD,
    words("story", "story", "story", terms=True, column="after"),
    words("standing", "results", "results", column="right"),
    ask.CARD,
    take.CARD,
)
"""Adding a card is a file that defines it, and a line here."""

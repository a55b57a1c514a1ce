"""The cards of the Race page, in order: this list builds, draws and hides them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import gradio as gr

from olora_viz.figures.live.gradio_figure import live_figure
from olora_viz.figures.live.packing import pack
from olora_viz.views.race import RaceView
from olora_viz.web.export import take
from olora_viz.web.race import gradients, measurements, rates, repeat, scrubber, shelf, spectra
from olora_viz.web.race.card import AWAY, SHOWN, Card, Desk, fact


def chart(name: str, shown: str, *needs: str, **more: Any) -> Card:
    """Make a card of one chart: a figure of the `RaceView`."""
    return Card(
        name,
        ("id", "state", "step", *needs),
        lambda desk: [live_figure(getattr(desk.blank, shown), elem_id=f"{shown}-figure")],
        lambda view: [pack(getattr(view, shown))],
        **more,
    )


def words(name: str, shown: str, elem_id: str, **more: Any) -> Card:
    """Make a card of HTML: a field of the `RaceView`."""
    return Card(
        name,
        (shown,),
        lambda desk: [_html(getattr(desk.blank, shown), elem_id)],
        lambda view: [getattr(view, shown)],
        **more,
    )


def _html(value: str, elem_id: str) -> gr.HTML:
    return gr.HTML(value, elem_id=elem_id, apply_default_css=False)


def _story(desk: Desk) -> list[Any]:
    made = [_html(desk.blank.story, "story")]
    desk.parts["repeat"] = repeat.build()
    return made


def _standing(desk: Desk) -> list[Any]:
    desk.parts["results"] = _html(desk.blank.results, "results")
    return [desk.parts["results"]]


CARDS = (
    chart("loss", "loss"),
    chart("norms", "gradient", half=True),
    chart("accuracy", "accuracy", half=True),
    scrubber.CARD,
    shelf.COMPARISON,
    rates.CARD,
    Card("story", ("story",), _story, lambda view: [view.story], column="right"),
    Card("standing", ("results",), _standing, lambda view: [view.results], column="right"),
    take.CARD,
    shelf.CARD,
    words("answers", "answers", "answers", column="after"),
    measurements.CARD,
    spectra.CARD,
    gradients.CARD,
)
"""Adding a card is a file that defines it, and a line here."""


class Board:
    """The cards of one page with the components that a redraw fills."""

    def __init__(self) -> None:
        self.cards: list[Card] = []
        self.outputs: list[Any] = []
        self._slots: list[slice] = []

    def add(self, card: Card, components: Sequence[Any]) -> None:
        """Register the components that a redraw fills; a card's own column, if hidden, is first."""
        self.cards.append(card)
        self._slots.append(slice(len(self.outputs), len(self.outputs) + len(components)))
        self.outputs += components

    def lay_out(self, desk: Desk, column: str) -> None:
        """Build the cards of a column."""
        cards = [card for card in CARDS if card.column == column]
        while cards:
            count = 2 if cards[0].half else 1
            with _row(count):
                for card in cards[:count]:
                    with _frame(card) as frame:
                        made = card.build(desk)
                    self.add(card, [frame, *made] if card.only_with else made)
            del cards[:count]

    def row(self, view: RaceView, news: Callable[[Card], bool] = lambda _: True) -> list[Any]:
        """Return the values of all outputs; cards without news keep theirs."""
        values = self.nothing()
        for card, slot in zip(self.cards, self._slots, strict=True):
            if not news(card):
                continue
            if not card.only_with:
                values[slot] = card.drawn(view)
            elif view.news[card.only_with]:
                values[slot] = [gr.update(elem_classes=SHOWN), *card.drawn(view)]
            else:
                values[slot.start] = gr.update(elem_classes=AWAY)
        return values

    def nothing(self) -> list[Any]:
        """Return values that leave all outputs unchanged."""
        return [gr.skip()] * len(self.outputs)

    def facts(self, view: RaceView) -> dict[str, Any]:
        """Return the cursor of a page that shows this view."""
        return {need: fact(view, need) for card in self.cards for need in card.needs}


@contextmanager
def _row(count: int) -> Iterator[None]:
    if count == 1:
        yield
        return
    with gr.Row(elem_classes="two charts"):
        yield


@contextmanager
def _frame(card: Card) -> Iterator[gr.Column | None]:
    if not card.frame:
        yield None
        return
    classes = AWAY if card.only_with else [*SHOWN, "slim"] if card.slim else SHOWN
    with gr.Column(elem_classes=classes, elem_id=card.id, min_width=0) as frame:
        yield frame

"""Cards of a page, the events that update them, and what they hold on to."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import gradio as gr
from gradio.block_function import BlockFunction
from gradio.blocks import convert_component_dict_to_list
from gradio.state_holder import SessionState

from olora_viz.figures.live.bundle import bundle, is_packed, pack, pack_all
from olora_viz.figures.live.serving import live_figure, live_figures
from olora_viz.learn.terms import with_terms
from olora_viz.views.race import RaceView
from olora_viz.web.guard.gate import note
from olora_viz.web.guard.limits import Limits

if TYPE_CHECKING:
    from olora_viz.web.jobs.queue import Jobs

PRIVATE: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
"""Of an event that shows no progress and is no part of an API."""

UNQUEUED: dict[str, Any] = {"queue": False, **PRIVATE}
"""The same of one that never waits behind others."""


_NUMBERED = "(number, ...inputs) => [(window.oloraVizCalls = (window.oloraVizCalls ?? 0) + 1), ...inputs]"

C = TypeVar("C")

WEB = Path(__file__).parents[1]


def element(value: Any = None, *, script: str = "", **options: Any) -> gr.HTML:
    """Make an HTML component that the pages' own style sheet styles.

    Args:
        script: path of its JavaScript module below this package, which Gradio runs with ``element``, see `bundle`.
    """
    if script:
        options["js_on_load"] = bundle(WEB / script)
    return gr.HTML(value, apply_default_css=False, **options)


def in_card(make: Callable[..., C], *values: Any, **options: Any) -> C:
    """Make a component in a card of its own."""
    with gr.Column(elem_classes="card"):
        return make(*values, **options)


def small_button(label: str, elem_id: str, **options: Any) -> gr.Button:
    """Make a button no wider than its label."""
    return gr.Button(label, elem_id=elem_id, scale=0, min_width=0, **options)


def picked(_request: gr.Request, event: gr.SelectData) -> Any:
    """Return the text that an event of a chart or a list chose, see `on_picks`."""
    return event.value if isinstance(event.value, str) else gr.skip()


def on_changes(
    parts: Sequence[Any], answer: Callable[..., Any], inputs: Sequence[Any], outputs: Any, after: Any = None
) -> None:
    """Connect a function to the changes of several components, so that the answer to the last one stays.

    A preset or a reload changes several at once, see `_unless_overtaken`.

    Args:
        parts: components whose changes call it.
        answer: takes the request and the inputs.
        after: an event after which it is called, too.
    """
    newest = _unless_overtaken(answer)

    async def answered(request: gr.Request, sent: Any, *inputs: Any) -> Any:
        return await newest(request, sent, request, *inputs)

    _on([part.change for part in parts], answered, answer, inputs, outputs, LATEST_ONLY)
    if after is not None:
        after.then(answered, [gr.Number(0, visible=False), *inputs], outputs, js=_NUMBERED, **UNQUEUED)


def on_picks(picks: Sequence[Any], answer: Callable[..., Any], inputs: Sequence[Any], outputs: Any) -> None:
    """Connect a function to presses that tell what was chosen, so that the answer to the last one stays.

    Gradio forgets what was chosen of a press that it skips or defers, so it sends each, see `_unless_overtaken`.

    Args:
        picks: the events.
        answer: takes the request, the `gradio.SelectData` and the inputs.
    """
    newest = _unless_overtaken(answer)

    async def answered(event: gr.SelectData, request: gr.Request, sent: Any, *inputs: Any) -> Any:
        return await newest(request, sent, request, event, *inputs)

    _on(picks, answered, answer, inputs, outputs, {**UNQUEUED, "trigger_mode": "multiple"})


def _on(
    events: Sequence[Any],
    answered: Callable[..., Any],
    answer: Callable[..., Any],
    inputs: Sequence[Any],
    outputs: Any,
    options: Mapping[str, Any],
) -> None:
    """Connect the answer to events whose calls the page numbers."""
    name = getattr(answer, "__name__", None)
    gr.on(
        events, answered, [gr.Number(0, visible=False), *inputs], outputs, js=_NUMBERED, api_name=name, **options
    )  # fmt: skip


def _unless_overtaken(answer: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """Return a function that answers unless a later call of the same page has come meanwhile.

    Gradio waits for none of several calls at once, and they come, and are answered, in any order. So the page numbers
    its calls, and what a later one has overtaken is left out.
    """
    newest: dict[str | None, float] = {}  # of the pages that called last

    async def answered(request: gr.Request, sent: Any, *given: Any) -> Any:
        page, call = request.session_hash, sent if isinstance(sent, int | float) else 0
        newest[page] = max(call, newest.pop(page, call))
        while len(newest) > 1000:
            del newest[next(iter(newest))]
        value = await asyncio.to_thread(answer, *given)
        return gr.skip() if call < newest.get(page, call) else value

    return answered


def moved(value: Any, shown: Any) -> dict[str, Any]:
    """Return the update of a slider's value, if it is to show another one than it does.

    Else its value stays out of the answer: whoever sees the slider may have moved it meanwhile.

    >>> moved(8, shown=8), moved(64, shown=999)
    ({}, {'value': 64})
    """
    return {} if value == shown else {"value": value}


def held(key: str) -> gr.HTML:
    """Make an id that the tab keeps in its session storage, also after a reload; its value is the id or None."""
    return element(
        elem_id=f"held-{key}", html_template="<span hidden></span>", script="parts/held.js", storage=stored(key)
    )


def stored(key: str) -> str:
    """Return the key of an id in the session storage."""
    return f"olora-viz-{key}"


LATEST_ONLY: dict[str, Any] = {**UNQUEUED, "trigger_mode": "always_last"}
"""Of a card's own events: of several that come while one is on its way, the last one is answered."""


@dataclass
class Desk:
    """The context in which the cards of a page are built."""

    limits: Limits
    jobs: Jobs
    run: gr.HTML
    """The key of the run that the page shows, an input of every event."""
    again: gr.HTML
    """Events that change what the page shows set it to `again()`."""
    blank: RaceView
    """The view of the race that the page opens with, before it has started."""
    parts: dict[str, Any] = field(default_factory=dict)
    """Components that one card creates and another one fills, by name."""


@dataclass(frozen=True)
class Card:
    """One card; a list of them is the page, see `cards.CARDS`."""

    name: str
    """Its name in ``hide=``."""
    needs: tuple[str, ...]
    """Fields of a `RaceView`, or keys of its ``news``; a change of any of them is news."""
    build: Callable[[Desk], Sequence[Any]] = lambda desk: ()
    """Builds the content of the card; returns the components that `draw` fills."""
    draw: Callable[[RaceView], Sequence[Any]] | None = None
    """Returns their values. None if drawing depends on choices that only the page knows; the value is then a text of
    what the card needs, and a change of it triggers the card's own event."""
    only_with: str = ""
    """One of its needs: while that is 0 or empty, the card is hidden and not drawn."""
    column: str = "middle"
    """top, below (the guide), middle, right or after."""
    tab: str = ""
    """The tab that it belongs to, see `cards.TABS`; empty for none."""
    frame: bool = True
    """Whether its column is created around the content of `build`."""
    slim: bool = False
    elem_id: str = ""
    """The id of its element; by default it is derived from the name."""

    def classes(self, *, away: bool = False) -> list[str]:
        """Return the CSS classes of its element; away, its charts stay in the page, or they could not draw."""
        return ["card", *[f"tab-{self.tab}"] * bool(self.tab), *["slim"] * self.slim, *["away"] * away]

    @property
    def id(self) -> str:
        """The id of its element."""
        return self.elem_id or f"{self.name}-card"

    def drawn(self, view: RaceView) -> Sequence[Any]:
        """Return the values of its components."""
        if self.draw is not None:
            return self.draw(view)
        return [" ".join(str(fact(view, need)) for need in self.needs)]

    def news(self, view: RaceView, cursor: Mapping[str, Any]) -> bool:
        """Whether there is something new to draw since the last update, which had these `Board.facts`."""
        return any(need not in cursor or fact(view, need) != cursor[need] for need in self.needs)


def fact(view: RaceView, need: str) -> Any:
    """Return a field of a view, or one of its news."""
    return view.news[need] if need in view.news else getattr(view, need)


def showing(name: str, *shown: str, **more: Any) -> Card:
    """Make a card whose components show fields of the `RaceView` as they are."""
    return Card(name, shown, draw=lambda view: [getattr(view, key) for key in shown], **more)


def chart(name: str, shown: str, *needs: str, below: str = "", **more: Any) -> Card:
    """Make a card of one chart: a figure of the `RaceView`; and `below` it HTML, another field."""

    def build(_: Desk) -> list[Any]:
        # Drawn once the stream says of which race: an empty chart would only delay that.
        figure = live_figure(elem_id=f"{shown}-figure")
        return [figure, element("", elem_id=below.replace("_", "-"))] if below else [figure]

    def draw(view: RaceView) -> list[Any]:
        packed = view.once(f"packed {shown}", lambda: pack(getattr(view, shown)))
        return [packed, *([getattr(view, below)] if below else [])]

    return Card(name, ("name", "state", "step", *needs), build, draw, **more)


def charts(name: str, title: str, *needs: str, **more: Any) -> Card:
    """Make a card of any number of charts: figures by name, a field of the `RaceView` and one of its news."""

    def build(_: Desk) -> list[Any]:
        element(title)
        return [live_figures(elem_id=f"{name.removesuffix('s')}-figures")]

    return Card(
        name,
        ("name", "state", "step", *needs),
        build,
        lambda view: [view.once(f"packed {name}", lambda: pack_all(getattr(view, name)))],
        only_with=name,
        elem_id=f"run-{name}",
        **more,
    )


def words(name: str, shown: str, elem_id: str, *, terms: bool = False, **more: Any) -> Card:
    """Make a card of HTML: a field of the `RaceView`, also the name of its part; `terms` may open the glossary."""

    def build(desk: Desk) -> list[Any]:
        desk.parts[shown] = element(getattr(desk.blank, shown), elem_id=elem_id)
        return [desk.parts[shown]]

    def draw(view: RaceView) -> list[Any]:
        html = getattr(view, shown)
        return [with_terms(html) if terms else html]

    return Card(name, (shown,), build, draw, **more)


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

    def lay_out(self, desk: Desk, cards: Iterable[Card]) -> None:
        """Build the cards of a column."""
        for card in cards:
            classes = card.classes(away=bool(card.only_with))
            column = gr.Column(elem_classes=classes, elem_id=card.id, min_width=0) if card.frame else nullcontext()
            with column as frame:
                components = card.build(desk)
            self.add(card, [frame, *components] if card.only_with else components)

    def row(
        self, view: RaceView, news: Callable[[Card], bool] = lambda _: True, before: Mapping[str, Any] | None = None
    ) -> list[Any]:
        """Return the values of all outputs; cards without news keep theirs.

        Args:
            before: the facts that the page shows; a column that stays is left alone, since Gradio would make it anew.
        """
        values = self.nothing()
        for card, slot in zip(self.cards, self._slots, strict=True):
            if not news(card):
                continue
            if not card.only_with:
                values[slot] = card.drawn(view)
                continue
            there, was = fact(view, card.only_with), (before or {}).get(card.only_with)
            if was is None or bool(was) != bool(there):
                values[slot.start] = gr.update(elem_classes=card.classes(away=not there))
            if there:
                values[slot.start + 1 : slot.stop] = card.drawn(view)
        return values

    def nothing(self) -> list[Any]:
        """Return values that leave all outputs unchanged."""
        return [gr.skip()] * len(self.outputs)

    def sent_again(self, row: list[Any], before: list[Any]) -> list[Any]:
        """Return a row in which charts without news have the values of the row before.

        Gradio sends differences to the row before: of the same value nothing, but after nothing the whole value.
        """
        nothing = gr.skip()
        return [old if new == nothing and is_packed(old) else new for new, old in zip(row, before or row, strict=True)]

    def facts(self, view: RaceView) -> dict[str, Any]:
        """Return the cursor of a page that shows this view."""
        return {need: fact(view, need) for card in self.cards for need in card.needs}


def is_sent_as_it_is(component: Any, value: Any) -> bool:
    """Whether a page is sent the value that a function returned: text, what a script draws, or just its looks."""
    if isinstance(value, dict) and "__type__" in value:
        return value.keys() <= {"__type__", "elem_classes", "interactive"}
    return isinstance(component, gr.HTML | gr.Textbox) and isinstance(value, str | dict | list | None)


class PageBlocks(gr.Blocks):
    """Gradio's blocks, in which the values of most outputs cost nothing, and a failure fills no log.

    Gradio makes the component of each output that keeps its value anew, and looks for files in the others, leaf by
    leaf: half a millisecond on the thread that serves all pages, and an event has up to forty outputs.
    """

    async def postprocess_data(
        self, block_fn: BlockFunction, predictions: Any, state: SessionState | None
    ) -> list[Any]:
        """Return what is sent for the values that a function returned, in order or by their components."""
        outputs = block_fn.outputs
        if isinstance(predictions, dict) and predictions:
            predictions = convert_component_dict_to_list(outputs, predictions)
        if not isinstance(predictions, list | tuple) or len(predictions) != len(outputs) or len(outputs) == 1:
            return await super().postprocess_data(block_fn, predictions, state)
        sent = list(predictions)
        others = [place for place, value in enumerate(sent) if not is_sent_as_it_is(outputs[place], value)]
        if others:
            some = copy(block_fn)
            some.outputs = [outputs[place] for place in others]
            values = [sent[place] for place in others]
            new = await super().postprocess_data(some, values if len(others) > 1 else values[0], state)
            for place, value in zip(others, new, strict=True):
                sent[place] = value
        return sent

    async def process_api(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Call a function of the page; of a failure Gradio prints no traceback, as of each one otherwise."""
        try:
            return await super().process_api(*arguments, **options)
        except gr.Error:
            raise
        except Exception as error:
            note(error)
            raise gr.Error("the server cannot answer this", visible=False, print_exception=False) from error


def again() -> dict[str, str]:
    """Return the value that makes a page follow its run from the start."""
    return {"again": secrets.token_hex(4)}

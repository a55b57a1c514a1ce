"""A panel that compares a model's weights with the starts of adapters."""

from __future__ import annotations

from typing import Any

import traitlets

from olora_viz.initializers import INITIALIZERS, label_of
from olora_viz.machine.checks import expect, unknown
from olora_viz.machine.wording import percent
from olora_viz.measures.truncation import Truncation, Weight
from olora_viz.notebook import setup
from olora_viz.notebook.panel import Panel
from olora_viz.notebook.setup import Node, SettingError, box, card, charts, control, html
from olora_viz.views import spectrum as spectrum_view
from olora_viz.views.html import problem
from olora_viz.views.layers import layer_words
from olora_viz.views.spectrum import MOST_RANK, Lab


def from_weight() -> list[str]:
    """Return the starts that depend on the weight alone."""
    return [name for name, entry in INITIALIZERS.items() if not entry.needs]


class SpectrumPanel(Panel):
    """Choose a layer and a rank, and compare how each start approximates the weight.

    Its traits `layer`, `rank` and `starts` may be set, observed and linked.

    Args:
        model: name of a model, or the path of a local Hugging Face folder, of which the chosen layer alone is read.
        inits: names of the starts that are drawn initially.
        r: initial rank.
        name: see `RacePanel`.

    Examples:
        >>> from olora_viz.notebook import SpectrumPanel
        >>> panel = SpectrumPanel("glassllm", ["olora"], r=4)
        >>> panel.found["olora"].rank
        4
        >>> panel.rank = 6
        >>> panel.found["olora"].rank
        6
    """

    layer = traitlets.Unicode().tag(sync=True)
    rank = traitlets.Int(8).tag(sync=True)
    starts = traitlets.Tuple().tag(sync=True)
    """Names of the starts that are drawn."""

    def __init__(
        self,
        model: str = "glassllm",
        inits: tuple[str, ...] | list[str] = ("olora", "sketch", "pissa"),
        r: int = 8,
        *,
        name: str | None = None,
    ) -> None:
        self._lab, self._model = Lab(), model
        self._layers: tuple[str, ...] = ()
        self._wrong = ""
        super().__init__(name)
        expect(inits, (list, tuple), "a list of initializations, such as ['olora']")
        try:
            setup.checked_starts(inits, from_weight())
            self._layers = tuple(self._lab.layers(model))
            self.layer = self._layers[0]
            with self.hold_trait_notifications():
                self.rank, self.starts = r, tuple(inits) or ("olora",)
        except ValueError as error:
            self._wrong = str(error)
            self._layers = ()
        self.observe(self._changed, ["layer", "rank", "starts"])
        self._show()

    @property
    def weight(self) -> Weight:
        """The chosen layer's weight, in float64."""
        return self._lab.weight(self._model, self.layer)

    @property
    def found(self) -> dict[str, Truncation]:
        """The results of each start that is drawn."""
        return {init: self._at(init) for init in self.starts or ("olora",)} if self._layers else {}

    @traitlets.validate("layer")
    def _check_layer(self, proposal: Any) -> str:
        name = proposal["value"]
        if name not in self._layers:
            raise SettingError(unknown("layer", name, self._layers))
        try:
            self._lab.weight(self._model, name)
        except ValueError as error:
            raise SettingError(str(error)) from error
        return name

    @traitlets.validate("rank")
    def _check_rank(self, proposal: Any) -> int:
        rank, most = proposal["value"], self._most(self.layer)
        if not 1 <= rank <= most:
            raise SettingError(f"rank must be a whole number from 1 to {most}, not {rank!r}")
        return rank

    @traitlets.validate("starts")
    def _check_starts(self, proposal: Any) -> tuple[str, ...]:
        return setup.checked_starts(proposal["value"], from_weight())

    def _most(self, layer: str) -> int:
        """Return the largest rank that the panel offers for a layer."""
        return min(MOST_RANK, len(self._lab.weight(self._model, layer).sigma))

    def _tree(self) -> Node:
        choices = (("select", "layer", "Layer"), ("range", "rank", "Rank"), ("checks", "starts", "Starts"))
        controls = card(*(control(*choice) for choice in choices), kind="first")
        side = box(controls, card(html("verdict")), card(html("energies")), kind="side")
        below = box(card(charts("energy")), card(charts("angles")), kind="two")
        middle = box(card(charts("singular")), below, kind="middle")
        return box(html("problem"), *([box(side, middle, kind="body")] if self._layers else []))

    def _draw(self) -> None:
        sentence = self._wrong or self._problem
        values: dict[str, Any] = {"problem": problem(sentence) if sentence else ""}
        if not self._layers:
            self._tell(values)
            return
        if self.rank > self._most(self.layer):
            self.rank = self._most(self.layer)  # which draws again
            return
        found = list(self.found.values())
        figures = self._lab.figures((self._model, self.layer), self.weight, self.rank, found, run=self.layer)
        self._tell({**values, **self._controls(), **{name: [name] for name in figures}}, figures)
        store = self._keep_soon if self._still else self._keep_still
        store(list(figures.values()), "\n".join([self._words(), *_energies(found)]))

    def _controls(self) -> dict[str, Any]:
        starts = [self._at(init) for init in dict.fromkeys(["olora", *self.starts])]
        layers = [[layer_words(name), name] for name in self._layers]
        return {
            "layer": {"value": self.layer, "options": layers},
            "rank": {"value": self.rank, "min": 1, "max": self._most(self.layer)},
            "starts": {"value": list(self.starts), "options": setup.start_options(from_weight())},
            "verdict": spectrum_view.verdict(self._at("olora")),
            "energies": spectrum_view.energy_table(starts, None),
        }

    def _at(self, init: str) -> Truncation:
        key = (self._model, self.layer)
        return self._lab.truncation(key, self.weight, self.rank, init)

    def _words(self) -> str:
        if self._wrong:
            return f"SpectrumPanel: {self._wrong}"
        return f"SpectrumPanel: {self._model}, {self.layer}, rank {self.rank}"


def _energies(found: list[Truncation]) -> list[str]:
    """Return a line on the energy of each start."""
    return [
        f"{label_of(start.init)}: {percent(start.energy, 1) if start.energy >= 0 else 'nothing'} of ‖W‖², "
        f"where {percent(start.energy_optimal, 1)} is possible"
        for start in found
    ]

"""A panel that compares a model's weights with the starts of adapters."""

from __future__ import annotations

import threading
from typing import Any

import ipywidgets as widgets

from olora_viz.figures import spectrum as spectrum_figures
from olora_viz.figures.layer_grid import block_and_module
from olora_viz.figures.layout import Figure
from olora_viz.figures.live.jupyter_figure import LiveFigure
from olora_viz.initializers import INITIALIZERS, label_of
from olora_viz.machine.naming import unknown
from olora_viz.machine.numbers import percent
from olora_viz.measures.truncation import Truncation, Weight
from olora_viz.notebook.panel import Panel
from olora_viz.views import spectrum as spectrum_view
from olora_viz.views.html import problem
from olora_viz.views.lab import MOST_RANK, Lab


def from_weight() -> list[str]:
    """Return the starts that depend on the weight alone."""
    return [name for name, its in INITIALIZERS.items() if not its.needs]


class SpectrumPanel(Panel):
    """Choose a layer and a rank, and compare how each start approximates the weight.

    Parameters
    ----------
    model : name of a model, or the path of a local Hugging Face folder.
    inits : names of the starts that are drawn initially.
    r : initial rank.
    name : see `RacePanel`.

    Examples
    --------
    >>> panel = SpectrumPanel("glassllm", ["olora"], r=4)
    >>> panel.found["olora"].rank
    4
    """

    found: dict[str, Truncation]
    """The results of each start that is drawn."""
    layer: widgets.Dropdown
    rank: widgets.IntSlider
    starts: widgets.SelectMultiple

    def __init__(
        self,
        model: str = "glassllm",
        inits: tuple[str, ...] | list[str] = ("olora", "sketch", "pissa"),
        r: int = 8,
        *,
        name: str | None = None,
    ) -> None:
        self._lab, self._model, self._lock = Lab(), model, threading.RLock()
        self.found = {}
        self._problem = widgets.HTML()
        layers, self._wrong = self._layers(inits)
        narrow = widgets.Layout(width="98%")
        self.layer = widgets.Dropdown(options=layers, description="Layer", layout=narrow)
        self.rank = widgets.IntSlider(
            value=r, min=1, max=max(r, 1), description="Rank", continuous_update=False,
            layout=narrow,
        )  # fmt: skip
        starts = from_weight()
        known = [init for init in inits if init in starts]
        self.starts = widgets.SelectMultiple(
            options=[(label_of(init), init) for init in starts], value=known or ["olora"],
            rows=len(starts), description="Starts", layout=narrow,
        )  # fmt: skip
        self._charts: list[LiveFigure] = []
        self._verdict, self._table = widgets.HTML(), widgets.HTML()
        first = self._draw() if layers else []
        chart = widgets.Layout(flex="1 1 300px", min_width="0", overflow="hidden")
        self._charts = [LiveFigure(figure) for figure in first]
        for each in self._charts[1:]:
            each.layout = chart
        row = widgets.Layout(flex_flow="row wrap", grid_gap="14px")
        side = widgets.VBox(
            [self.layer, self.rank, self.starts, self._verdict, self._table],
            layout=widgets.Layout(width="330px", flex="0 0 auto"),
        )
        middle = widgets.VBox(
            [*self._charts[:1], widgets.HBox(self._charts[1:], layout=row)],
            layout=widgets.Layout(flex="1 1 480px", min_width="0"),
        )
        children = [side, middle] if layers else []
        super().__init__([self._problem, widgets.HBox(children, layout=row)], name)
        for control in (self.layer, self.rank, self.starts):
            control.observe(self._changed, "value")
        self._keep()

    @property
    def weight(self) -> Weight:
        """The chosen layer's weight, in float64."""
        return self._lab.weight(self._model, str(self.layer.value))

    def end(self, why: str) -> None:
        """Close the panel and its charts."""
        for widget in (*self._charts, self):
            widget.close()

    def _layers(self, inits: Any) -> tuple[list[tuple[str, str]], str]:
        """Return the names of the model's layers, or none and the error message."""
        try:
            for init in inits:
                if init not in from_weight():
                    raise ValueError(unknown("initialization", str(init), from_weight()))
            names = list(self._lab.layers(self._model))
        except ValueError as error:
            self._problem.value = problem(str(error))
            return [], str(error)
        split = [(name, *block_and_module(name)) for name in names]
        return [(f"{b} · {m}" if b else m, name) for name, b, m in split], ""

    def _changed(self, _: Any) -> None:
        with self._lock:
            try:
                figures = self._draw()
            except ValueError as error:
                self._problem.value = problem(str(error))
                return
            self._problem.value = ""
            for chart, figure in zip(self._charts, figures, strict=True):
                chart.draw(figure)
            self._keep()

    def _draw(self) -> list[Figure]:
        layer, lab = str(self.layer.value), self._lab
        key, weight = (self._model, layer), self.weight
        self.rank.max = min(MOST_RANK, len(weight.sigma))
        r = self.rank.value
        chosen = list(self.starts.value) or ["olora"]
        found = {i: lab.truncation(key, weight, r, i) for i in dict.fromkeys(["olora", *chosen])}
        self.found = {init: found[init] for init in chosen}
        ranks = [rank for rank in lab.ranks(weight) if rank <= max(32, 8 * r)]
        curves = {i: lab.curve(key, weight, i)[: len(ranks)] for i in chosen if i != "pissa"}
        run = layer
        drawn = list(self.found.values())
        self._verdict.value = spectrum_view.verdict(found["olora"])
        self._table.value = spectrum_view.energies(list(found.values()), None)
        return [
            spectrum_figures.singular_values_figure(drawn, run=run),
            spectrum_figures.energy_figure(
                ranks, curves, lab.optimum(weight)[: len(ranks)], weight.W.shape[0], r, run=run
            ),
            spectrum_figures.angles_figure(drawn, run=run),
        ]

    def _keep(self) -> None:
        if self._charts:
            figures = [chart.figure for chart in self._charts]
            kept = [
                f"{label_of(init)}: {percent(one.energy, 1)} of ‖W‖², where "
                f"{percent(one.energy_optimal, 1)} is possible"
                for init, one in self.found.items()
            ]
            keep = self._keep_soon if self._still else self._keep_still
            keep(figures, "\n".join([self._words(), *kept]))

    def _words(self) -> str:
        if self._wrong:
            return f"SpectrumPanel: {self._wrong}"
        return f"SpectrumPanel: {self._model}, {self.layer.value}, rank {self.rank.value}"

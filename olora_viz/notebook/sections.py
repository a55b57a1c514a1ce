"""The collapsible sections of a race panel; each is drawn only while it is open."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets

from olora_viz.figures.layout import Figure
from olora_viz.figures.live.jupyter_figure import LiveFigure
from olora_viz.measures.gradients import GRADIENTS
from olora_viz.measures.update_spectra import UPDATE_SPECTRA
from olora_viz.studies.rate_sweep import MEASURES
from olora_viz.views.curvature import curvature_view
from olora_viz.views.gradients import gradients_view
from olora_viz.views.layers import Choices
from olora_viz.views.race import RaceView, race_view
from olora_viz.views.race_record import RaceRecord
from olora_viz.views.rates import WORDS, rates_view
from olora_viz.views.update_spectra import spectra_view

ROW = widgets.Layout(flex_flow="row wrap", grid_gap="4px 14px")


class Section(widgets.Accordion):
    """A collapsible section of a race; hidden if the race has nothing to show in it."""

    TITLE, NEWS = "", ""
    """Its heading, and its key in `RaceView.news`."""

    def __init__(self) -> None:
        self._record: RaceRecord | None = None
        self._news, self._drawn = 0, ("", 0)
        self._lock, self._setting = threading.RLock(), False
        self._charts: list[LiveFigure] = []
        self._place = widgets.HBox(layout=ROW)
        self._body = widgets.VBox(self.controls())
        super().__init__([self._body], titles=(self.TITLE,), selected_index=None)
        self.layout.display = "none"
        self.observe(self._changed, "selected_index")

    @property
    def is_open(self) -> bool:
        """Whether it is open."""
        return self.selected_index == 0

    def show(self, record: RaceRecord, view: RaceView) -> None:
        """Follow a race; can be called from any thread."""
        self._record, self._news = record, view.news[self.NEWS]
        display = "" if self._news else "none"
        if self.layout.display != display:
            self.layout.display = display
        self._draw()

    def close(self) -> None:
        """Close the section and its charts."""
        for chart in self._charts:
            chart.close()
        super().close()

    def controls(self) -> list[widgets.Widget]:
        """Make the widgets above and below the charts' `place`, in a list with it."""
        return [self._place]

    def figures(self, record: RaceRecord) -> Sequence[Figure]:
        """Return the figures of a race, and update the controls."""
        raise NotImplementedError

    def chosen(self, *controls: widgets.Widget) -> None:
        """Redraw after a change of a control."""
        for control in controls:
            control.observe(self._changed, "value")

    def choose(self, control: Any, options: Sequence[Any], value: Any) -> None:
        """Update a control without counting this as a choice of the reader."""
        self._setting = True
        try:
            if tuple(control.options) != tuple(options):
                control.options = options
            if control.value != value:
                control.value = value
        finally:
            self._setting = False

    def _changed(self, _: Any) -> None:
        if not self._setting:
            self._drawn = ("", 0)
            self._draw()

    def _draw(self) -> None:
        with self._lock:
            record = self._record
            if record is None or not self._news or not self.is_open:
                return
            now = (record.name, self._news)
            if now == self._drawn:
                return
            self._drawn = now
            figures = self.figures(record)
            if len(self._charts) != len(figures):
                self._charts = [LiveFigure(each, picked=self.picked) for each in figures]
                for chart in self._charts:
                    chart.layout = widgets.Layout(
                        flex="1 1 340px", min_width="0", overflow="hidden"
                    )
                self._place.children = self._charts
            else:
                for chart, figure in zip(self._charts, figures, strict=True):
                    chart.draw(figure)

    def picked(self, name: str) -> None:
        """Handle a click on a map's cell, given the name of its layer."""


class LayerSection(Section):
    """A section with a lane, a measure and a layer to choose."""

    MEASURES: Sequence[tuple[str, str]] = ()
    FIRST = ""

    def controls(self) -> list[widgets.Widget]:
        """Make the three lists."""
        narrow = {"layout": widgets.Layout(flex="1 1 200px", width="auto")}
        short = {"style": {"description_width": "60px"}, **narrow}
        self.lane = widgets.Dropdown(description="Lane", **short)
        self.measure = widgets.Dropdown(
            options=self.MEASURES, value=self.FIRST, description="Measure", **short
        )
        self.layer = widgets.Dropdown(description="Layer", **short)
        self.chosen(self.lane, self.measure, self.layer)
        return [widgets.HBox([self.lane, self.measure, self.layer], layout=ROW), self._place]

    @property
    def wishes(self) -> dict[str, Any]:
        """The current choice, which may not exist in the current race."""
        return {
            "lane": self.lane.value, "measure": self.measure.value, "layer": self.layer.value,
        }  # fmt: skip

    def update(self, its: Choices) -> None:
        """Fill the lists with the available choices."""
        self.choose(self.lane, its.labels, its.label)
        self.choose(self.layer, its.layers, its.layer)

    def picked(self, name: str) -> None:
        """Show the layer of a cell that was clicked."""
        if name in dict((value, words) for words, value in self.layer.options):
            self.layer.value = name


class SpectraSection(LayerSection):
    """How training changes the adapters."""

    TITLE, NEWS = "Spectra: how training changes the adapters", "spectra"
    MEASURES = tuple((part.words, key) for key, part in UPDATE_SPECTRA.parts.items())
    FIRST = "norm"

    def figures(self, record: RaceRecord) -> Sequence[Figure]:
        """Draw one lane's map, and one layer's singular values."""
        view = spectra_view(record, **self.wishes)
        assert view is not None
        self.update(view.choices)
        return view.map, view.growth


class GradientsSection(LayerSection):
    """The gradient at each layer, and the change in one step."""

    TITLE, NEWS = "Gradients: norms of gradients and updates by layer", "gradients"
    MEASURES = tuple((part.words, key) for key, part in GRADIENTS.parts.items())
    FIRST = "input"

    def controls(self) -> list[widgets.Widget]:
        """Add the slider that goes back through the run."""
        self.step = widgets.SelectionSlider(
            options=[0], description="Depth at step", layout=widgets.Layout(width="98%"),
            style={"description_width": "90px"},
        )  # fmt: skip
        self.chosen(self.step)
        return [*super().controls(), self.step]

    def figures(self, record: RaceRecord) -> Sequence[Figure]:
        """Draw the map, the depth, and one layer's two factors."""
        follows = self.step.value == self.step.options[-1]
        view = gradients_view(record, **self.wishes, step=None if follows else self.step.value)
        assert view is not None
        self.update(view.choices)
        self.choose(self.step, view.numbers, view.step)
        return view.figures


class RatesSection(Section):
    """Loss against the learning rate."""

    TITLE, NEWS = "Learning rates: held-out loss against the rate", "rates"

    def controls(self) -> list[widgets.Widget]:
        """Make the menu of losses, and the place of the text."""
        self.measure = widgets.ToggleButtons(
            options=[(WORDS[key], key) for key in MEASURES], value="final"
        )
        self.words = widgets.HTML()
        self.chosen(self.measure)
        return [self.measure, self._place, self.words]

    def figures(self, record: RaceRecord) -> Sequence[Figure]:
        """Draw a curve for every start."""
        view = rates_view(record, self.measure.value)
        assert view is not None
        self.words.value = view.words
        return (view.figure,)


class CurvatureSection(Section):
    """The curvature of the loss during training."""

    TITLE, NEWS = "Curvature: sharpness, and the rates below 2/λ", "curvature"

    def figures(self, record: RaceRecord) -> Sequence[Figure]:
        """Draw the largest eigenvalue, and the limit that it sets."""
        view = curvature_view(record)
        return view.sharpness, view.stability


class MeasurementsSection(Section):
    """Every other measurement of one number per lane."""

    TITLE, NEWS = "Measurements: one number per lane and step", "measurements"

    def figures(self, record: RaceRecord) -> Sequence[Figure]:
        """Draw a chart of each measurement."""
        return tuple(race_view(record).measurements.values())


SECTIONS: tuple[Callable[[], Section], ...] = (
    RatesSection, MeasurementsSection, SpectraSection, GradientsSection, CurvatureSection,
)  # fmt: skip
"""All sections, in display order."""

"""The sections of a race panel that the reader opens; each is drawn only while it is open."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from olora_viz.figures.layout import Figure
from olora_viz.measures.gradients import GRADIENTS
from olora_viz.measures.update_spectra import UPDATE_SPECTRA
from olora_viz.notebook import tree
from olora_viz.notebook.earlier_runs import EarlierRunsSection
from olora_viz.notebook.export_section import ExportSection
from olora_viz.notebook.section import Drawn, Section
from olora_viz.notebook.take_away import TakeAwaySection
from olora_viz.studies.rate_sweep import MEASURES
from olora_viz.views.curvature import curvature_view
from olora_viz.views.gradients import gradients_view
from olora_viz.views.layers import Choices
from olora_viz.views.race import RaceView, race_view
from olora_viz.views.race_record import RaceRecord
from olora_viz.views.rates import WORDS, rates_view
from olora_viz.views.update_spectra import spectra_view


class LayerSection(Section):
    """A section with a lane, a measure and a layer to choose."""

    PARTS: Mapping[str, Any] = {}
    """What can be shown of a layer, by key."""

    def controls(self) -> list[tree.Node]:
        """Return the menus."""
        return [
            tree.box(
                self.control("select", "lane", "Lane"),
                self.control("select", "measure", "Measure"),
                self.control("select", "layer", "Layer"),
                kind="controls",
            )
        ]

    def menus(self, its: Choices, measure: str) -> dict[str, Any]:
        """Return the available choices, and the current ones."""
        measures = [[part.words, key] for key, part in self.PARTS.items()]
        return {
            "lane": {"value": its.label, "options": [[one, one] for one in its.labels]},
            "measure": {"value": measure, "options": measures},
            "layer": {"value": its.layer, "options": [list(one) for one in its.layers]},
        }

    def picked(self, name: str) -> None:
        """Show the layer of a cell that was clicked."""
        self.wishes["layer"] = name


class SpectraSection(LayerSection):
    """How training changes the adapters."""

    NEWS, TITLE = "spectra", "Spectra: how training changes the adapters"
    PARTS = UPDATE_SPECTRA.parts
    WISHES: ClassVar = {"lane": None, "measure": "norm", "layer": None}

    def draw(self, record: RaceRecord, view: RaceView) -> Drawn:
        """Draw one lane's map, and one layer's singular values."""
        found = spectra_view(record, **self.wishes)
        assert found is not None
        return self.menus(found.choices, found.measure), (found.map, found.growth)


class GradientsSection(LayerSection):
    """The gradient at each layer, and the change in one step."""

    NEWS, TITLE = "gradients", "Gradients: norms of gradients and updates by layer"
    PARTS = GRADIENTS.parts
    WISHES: ClassVar = {"lane": None, "measure": "input", "layer": None, "step": None}

    def controls(self) -> list[tree.Node]:
        """Add the slider that goes back through the run."""
        return [*super().controls(), self.control("range", "step", "Depth at step")]

    def choose(self, name: str, value: Any) -> None:
        """Follow the run while the slider is at its end."""
        is_last = name == "step" and value == self._last
        super().choose(name, None if is_last else value)

    _last = 0

    def draw(self, record: RaceRecord, view: RaceView) -> Drawn:
        """Draw the map, the depth, and one layer's two factors."""
        wishes = dict(self.wishes)
        step = wishes.pop("step")
        found = gradients_view(
            record, **wishes, step=step if isinstance(step, int | float) else None
        )
        assert found is not None
        self._last = found.numbers[-1]
        steps = {"value": found.step, "options": [[str(one), one] for one in found.numbers]}
        return self.menus(found.choices, found.measure) | {"step": steps}, found.figures


class RatesSection(Section):
    """Loss against the learning rate."""

    NEWS, TITLE = "rates", "Learning rates: held-out loss against the rate"
    WISHES: ClassVar = {"measure": "final"}

    def controls(self) -> list[tree.Node]:
        """Return the menu of losses."""
        return [tree.box(self.control("select", "measure", "Held-out loss"), kind="controls")]

    def after(self) -> list[tree.Node]:
        """Return the place of the words."""
        return [tree.html(self.part("words"))]

    def draw(self, record: RaceRecord, view: RaceView) -> Drawn:
        """Draw a curve for every start."""
        found = rates_view(record, self.wishes["measure"])
        assert found is not None
        losses = {"value": found.measure, "options": [[WORDS[key], key] for key in MEASURES]}
        return {"measure": losses, "words": found.words}, (found.figure,)


class CurvatureSection(Section):
    """The curvature of the loss during training."""

    NEWS, TITLE = "curvature", "Curvature: sharpness, and the rates below 2/λ"

    def draw(self, record: RaceRecord, view: RaceView) -> Drawn:
        """Draw the largest eigenvalue, and the limit that it sets."""
        found = curvature_view(record)
        return {}, (found.sharpness, found.stability)


class MeasurementsSection(Section):
    """Every other measurement of one number per lane."""

    NEWS, TITLE = "measurements", "Measurements: one number per lane and step"

    def draw(self, record: RaceRecord, view: RaceView) -> Drawn:
        """Draw a chart of each measurement."""
        figures: Sequence[Figure] = tuple(race_view(record).measurements.values())
        return {}, figures


SECTIONS: tuple[Callable[[], Section], ...] = (
    ExportSection, RatesSection, MeasurementsSection, SpectraSection, GradientsSection,
    CurvatureSection, EarlierRunsSection, TakeAwaySection,
)  # fmt: skip
"""All sections, in display order."""

"""Sections of panels: answers, earlier runs, export."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from markupsafe import Markup

from olora_viz.background.race import BackgroundRace
from olora_viz.background.record import PAUSED, RaceRecord
from olora_viz.figures.layout import Figure
from olora_viz.figures.race import overlay_figure
from olora_viz.lanes.lane import Lane
from olora_viz.machine.files import free_folder
from olora_viz.measures.gradients import GRADIENTS
from olora_viz.measures.update_spectra import UPDATE_SPECTRA
from olora_viz.notebook.setup import Node, box, button, charts, code, control, html, named_options, section
from olora_viz.races.config import RaceConfig
from olora_viz.races.export import MERGED_FORM, export_lane
from olora_viz.races.script import olora_viz_script
from olora_viz.studies.story import WHICH_RESULT
from olora_viz.views.html import problem, remark
from olora_viz.views.inside import inside_view, layers_inside
from olora_viz.views.layers import LayerChoices, curvature_view, gradients_view, spectra_view
from olora_viz.views.race import RaceView
from olora_viz.views.results import LOSS_WORDS, rates_view
from olora_viz.views.runs import OVERLAID, differences, named_run, run_words

Tell = Callable[[Mapping[str, Any]], None]
"""Shows values of the panel's parts at once, by their names."""

Drawn = tuple[dict[str, Any], Sequence[Figure]]
"""What its parts show, by their names within the section, and its charts."""


class Section:
    """A section that the reader opens; hidden if the race has nothing to show in it."""

    NEWS: ClassVar[str] = ""
    """Its name, and its key in `RaceView.news`."""
    TITLE: ClassVar[str] = ""
    WISHES: ClassVar[Mapping[str, Any]] = {}
    """What is shown at first, by the names of its controls."""
    MENUS: ClassVar[Mapping[str, str]] = {}
    TEXTS: ClassVar[Sequence[str]] = ()
    """The names of the texts below its charts."""
    SETTING: ClassVar[str] = ""
    """The field of `RaceConfig` that fills it; a section with one is always there."""

    def __init__(self) -> None:
        self.is_open = False
        self.wishes = dict(self.WISHES)
        """What the reader chose, which the current race may not have."""
        self._drawn: tuple[Any, ...] = ()

    def tree(self) -> Node:
        """Return its parts."""
        empty = [html(self.part("empty"))] * bool(self.SETTING)
        return section(self.NEWS, self.TITLE, *empty, *self.controls(), charts(self.part("charts")), *self.after())

    def part(self, name: str) -> str:
        """Return the name of one of its parts in the whole panel."""
        return f"{self.NEWS}.{name}"

    def control(self, kind: str, name: str, label: str) -> Node:
        """Return one of its controls."""
        return control(kind, self.part(name), label)

    def controls(self) -> list[Node]:
        """Return the parts above its charts."""
        menus = [self.control("select", name, label) for name, label in self.MENUS.items()]
        return [box(*menus, kind="controls")] if menus else []

    def after(self) -> list[Node]:
        """Return the parts below its charts."""
        return [html(self.part(name)) for name in self.TEXTS]

    def news(self, record: RaceRecord, view: RaceView) -> object:
        """Return a value that changes when there is more to show; 0 for nothing."""
        return view.news[self.NEWS]

    def draw(self, record: RaceRecord, view: RaceView) -> Drawn:
        """Return what it shows of a race."""
        raise NotImplementedError

    def choose(self, name: str, value: Any) -> None:
        """Take a choice of the reader."""
        if name in self.wishes:
            self.wishes[name] = value

    def press(self, name: str, race: BackgroundRace | None, view: RaceView, tell: Tell) -> None:
        """Do what one of its buttons says."""

    def picked(self, name: str) -> None:
        """Handle a click on a map's cell, given the name of its layer."""

    def show(self, record: RaceRecord, view: RaceView) -> tuple[dict[str, Any], dict[str, Figure]]:
        """Return the values and charts of its parts; of a closed section only that it is closed."""
        news = self.news(record, view)
        values: dict[str, Any] = {self.NEWS: {"hidden": not (news or self.SETTING), "open": self.is_open}}
        if self.SETTING:
            values[self.part("empty")] = "" if news else self._empty(record.config)
        now = (record.name, news, dict(self.wishes))
        if not news or not self.is_open or now == self._drawn:
            return values, {}
        self._drawn = now
        parts, figures = self.draw(record, view)
        charts = {self.part(str(i)): figure for i, figure in enumerate(figures)}
        values |= {self.part(name): value for name, value in parts.items()}
        return values | {self.part("charts"): list(charts)}, charts

    def _empty(self, config: RaceConfig) -> Markup:
        """Say when there will be something to show, or what to set."""
        every = getattr(config, self.SETTING)
        if every:
            return remark(f"Measured while it races, {'at each step' if every == 1 else f'every {every} steps'}.")
        return remark(f"Not measured: RacePanel({self.SETTING}=5), or the same in a RaceConfig, does every 5 steps.")


MOST_RUNS = 12
"""Maximum number of runs that are kept, without their models; the oldest ones are dropped."""

_lock = threading.Lock()
_runs: dict[str, tuple[str, RaceRecord]] = {}
_numbers: dict[str, int] = {}
"""The runs so far of each model and task."""


def remember(record: RaceRecord) -> None:
    """Keep a race that has ended, for the panels of this kernel."""
    with _lock:
        if record.name in _runs or not record.steps:
            return
        words = f"{record.config.model}, {record.config.task.replace('-', ' ')}"[-34:]
        _numbers[words] = _numbers.get(words, 0) + 1
        _runs[record.name] = f"{words} {_numbers[words]}", record.at_found_rates()
        while len(_runs) > MOST_RUNS:
            del _runs[next(iter(_runs))]


def earlier_runs() -> dict[str, tuple[str, RaceRecord]]:
    """Return the races that are kept and their names, by `RaceRecord.name`, the newest first."""
    with _lock:
        return dict(reversed(_runs.items()))


class EarlierRunsSection(Section):
    """Earlier races of this kernel, to lay over this one."""

    NEWS, TITLE = "runs", "Earlier runs of this kernel, laid over each other"
    WISHES: ClassVar = {"overlaid": ()}
    TEXTS = ("differences",)

    def controls(self) -> list[Node]:
        """Return the boxes to check."""
        return [self.control("checks", "overlaid", "Lay over this race")]

    def news(self, record: RaceRecord, view: RaceView) -> object:
        """Return the other runs, and how far this one is."""
        others = tuple(name for name in earlier_runs() if name != record.name)
        return (others, view.steps_done) if others else 0

    def draw(self, record: RaceRecord, view: RaceView) -> Drawn:
        """Draw the checked runs and this one, and say what differs."""
        runs = earlier_runs()
        others = {name: named for name, named in runs.items() if name != record.name}
        asked = self.wishes["overlaid"]
        wanted = set(asked) if isinstance(asked, list | tuple) else set()
        chosen = [name for name in others if name in wanted][: OVERLAID - 1]
        options = [[title, name, run_words(run)] for name, (title, run) in others.items()]
        values = {"overlaid": {"value": chosen, "options": options}, "differences": ""}
        if not chosen:
            return values, ()
        mine = runs.get(record.name, ("this race", record))
        laid_over = [*([mine] if view.steps_done else []), *(others[name] for name in chosen)]
        drawn = [named_run(title, run) for title, run in laid_over]
        values["differences"] = differences([(title, run.config) for title, run in laid_over])
        revision = " ".join([record.name, *chosen])
        return values, (overlay_figure(drawn, revision=revision),)


class TakeAwaySection(Section):
    """What to write in the next cell, and a script that repeats the race."""

    NEWS, TITLE = "code", "Code: save the run, export an adapter, repeat the race"

    def after(self) -> list[Node]:
        """Return the two pieces of code."""
        return [
            code(self.part("next"), "In the next cell, with your name for the panel"),
            code(self.part("script"), "A script that repeats the race"),
        ]

    def news(self, record: RaceRecord, view: RaceView) -> object:
        """Return the leader, whose adapter is exported, once there is a step."""
        return (view.order[0], view.complete) if view.steps_done else 0

    def draw(self, record: RaceRecord, view: RaceView) -> Drawn:
        """Write the code."""
        best = view.order[0]
        style = view.styles[best]
        lines = (
            'panel.race.save("runs/mine")  # the steps, a checkpoint and all adapters',
            f'ov.write_peft(panel.result(), {best}, "adapters/{style.init}")  # {style.label}',
        )
        try:
            script = olora_viz_script(record.config)
        except ValueError as error:
            script = f"# {error}"
        return {"next": "\n".join(lines), "script": script}, ()


EXPORT_FOLDER = "adapters"
"""Where exports lie by default, a folder for each."""

HINT = Markup('<p class="hint">{}</p>')

BEFORE_EXPORT = HINT.format("In the kernel's folder, and loaded again as a check.")
RACING = HINT.format("Pause or stop the race to export the lanes as they are then.")
WRITING = HINT.format("Writing …")


class ExportSection(Section):
    """A lane, its form and a folder, and a button that exports it."""

    NEWS, TITLE = "export", "Take it with you: export a lane"
    WISHES: ClassVar = {"lane": None, "form": None, "folder": None}

    def __init__(self) -> None:
        super().__init__()
        self.is_open, self._last_words, self._race = True, BEFORE_EXPORT, ""

    def controls(self) -> list[Node]:
        """Return the menus, the folder and the button."""
        return [
            box(
                self.control("select", "lane", "Lane"), self.control("select", "form", "As"),
                self.control("field", "folder", "New folder"),
                button(self.part("write"), "Export", kind="quiet"), kind="export-row",
            ),
            html(self.part("said")),
        ]  # fmt: skip

    def news(self, record: RaceRecord, view: RaceView) -> object:
        """Return the leader, whether the race rests, and what was said last of this race."""
        if record.name != self._race:
            self._race, self._last_words = record.name, BEFORE_EXPORT
        return (view.order[0], _is_at_rest(view), self._last_words) if view.steps_done else 0

    def draw(self, record: RaceRecord, view: RaceView) -> Drawn:
        """Show the choices: the leader, as an adapter, in a folder that is free."""
        config, at_rest = view.race.config, _is_at_rest(view)
        lane, form, folder = self._chosen(view)
        labels = config.labels
        names = [[view.styles[k].label, labels[k]] for k in view.order]
        names[0][0] = f"★ {names[0][0]}, {view.star}"
        values = {
            "lane": {"value": labels[lane], "options": names},
            "form": {"value": form, "options": _forms(config.lanes[lane])},
            "folder": {"value": folder},
            "write": {"disabled": not at_rest},
            "said": self._last_words if at_rest or self._last_words != BEFORE_EXPORT else RACING,
        }
        return values, ()

    def press(self, name: str, race: BackgroundRace | None, view: RaceView, tell: Tell) -> None:
        """Export the chosen lane; say where it lies, or in a sentence why not."""
        if name != "write":
            return
        tell({self.part("said"): WRITING})
        folder = EXPORT_FOLDER
        try:
            if race is None or not view.steps_done:
                raise ValueError("there is nothing to export before the first step")
            lane, form, folder = self._chosen(view)
            with race.held_paused() as racing:
                exported = export_lane(racing, lane, Path(folder).expanduser(), form)
        except ValueError as error:
            self._last_words = problem(str(error))
        except OSError as error:
            self._last_words = problem(f"{folder!r} could not be written: {error.strerror or error}")
        else:
            words = f"{exported.sentence[0].upper()}{exported.sentence[1:]}."
            line = Markup('<p class="say" role="status">{} <span class="hint">{}.</span></p>')
            self._last_words = line.format(words, exported.check.sentence)
            self.wishes["folder"] = None

    def _chosen(self, view: RaceView) -> tuple[int, str, str]:
        """Return the lane's number, the form and the folder; what does not suit is replaced."""
        config, wishes = view.race.config, self.wishes
        labels = config.labels
        lane = labels.index(wishes["lane"]) if wishes["lane"] in labels else view.order[0]
        forms = [form for _, form in _forms(config.lanes[lane])]
        form = wishes["form"] if wishes["form"] in forms else forms[0]
        typed = wishes["folder"]
        if isinstance(typed, str) and typed.strip():
            return lane, form, typed.strip()
        name = labels[lane] + f"-{MERGED_FORM}" * (form == MERGED_FORM)
        return lane, form, str(free_folder(Path(EXPORT_FOLDER) / name))


def _is_at_rest(view: RaceView) -> bool:
    return view.complete or view.state == PAUSED


def _forms(lane: Lane) -> list[list[Any]]:
    """Return the forms of a lane with their names, the usual one first."""
    own = [["OLoRA adapter, which PEFT starts", "olora"]] if lane.init == "olora" else []
    return [["LoRA adapter, for PEFT", "lora"], *own, ["whole model, merged", MERGED_FORM]]


class LayerSection(Section):
    """A section with a lane, a measure and a layer to choose."""

    PARTS: Mapping[str, Any] = {}
    """What can be shown of a layer, by key."""
    MENUS: ClassVar = {"lane": "Lane", "measure": "Measure", "layer": "Layer"}

    def menus(self, chosen: LayerChoices, measure: str) -> dict[str, Any]:
        """Return the available choices, and the current ones."""
        measures = [[part.words, key] for key, part in self.PARTS.items()]
        return {
            "lane": {"value": chosen.label, "options": named_options(chosen.labels)},
            "measure": {"value": measure, "options": measures},
            "layer": {"value": chosen.layer, "options": [list(layer) for layer in chosen.layers]},
        }

    def picked(self, name: str) -> None:
        """Show the layer of a cell that was clicked."""
        self.wishes["layer"] = name


class SpectraSection(LayerSection):
    """How training changes the adapters."""

    NEWS, TITLE = "spectra", "Spectra: how training changes the adapters"
    SETTING = "spectra_every"
    PARTS = UPDATE_SPECTRA.parts
    WISHES: ClassVar = {"lane": None, "measure": "norm", "layer": None}

    def draw(self, record: RaceRecord, view: RaceView) -> Drawn:
        """Draw one lane's map, and one layer's singular values."""
        spectra = spectra_view(record, **self.wishes)
        assert spectra is not None
        return self.menus(spectra.choices, spectra.measure), (spectra.map, spectra.growth)


class GradientsSection(LayerSection):
    """The gradient at each layer, and the change in one step."""

    NEWS, TITLE = "gradients", "Gradients: norms of gradients and updates by layer"
    SETTING = "gradients_every"
    PARTS = GRADIENTS.parts
    WISHES: ClassVar = {"lane": None, "measure": "input", "layer": None, "step": None}

    def controls(self) -> list[Node]:
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
        gradients = gradients_view(record, **wishes, step=step if isinstance(step, int | float) else None)
        assert gradients is not None
        self._last = gradients.numbers[-1]
        steps = {"value": gradients.step, "options": [[str(number), number] for number in gradients.numbers]}
        return self.menus(gradients.choices, gradients.measure) | {"step": steps}, gradients.figures


class InsideSection(Section):
    """The adapters themselves: W, and of each start B, A and what it has learned."""

    NEWS, TITLE = "factors", "Inside the adapters: W, and of each start B, A and what it has learned, ΔW"
    SETTING = "factors_every"
    WISHES: ClassVar = {"layer": None, "step": None}
    MENUS: ClassVar = {"layer": "Layer"}

    def __init__(self) -> None:
        super().__init__()
        self.is_open, self._last = True, 0

    def controls(self) -> list[Node]:
        """Add the slider that goes back through the run."""
        return [*super().controls(), self.control("range", "step", "At step")]

    def after(self) -> list[Node]:
        """Return the pictures."""
        return [{"kind": "inside", "name": self.part("inside")}]

    def choose(self, name: str, value: Any) -> None:
        """Follow the run while the slider is at its end."""
        super().choose(name, None if name == "step" and value == self._last else value)

    def draw(self, record: RaceRecord, view: RaceView) -> Drawn:
        """Draw one layer at one step."""
        layer, step = self.wishes["layer"], self.wishes["step"]
        shown = inside_view(record, layer, step if isinstance(step, int | float) else None)
        assert shown is not None
        steps = [0, *(each.step for each in record.steps if each.factors is not None)]
        self._last = steps[-1]
        layers = [list(each) for each in layers_inside(record)]
        return {
            "layer": {"value": shown["layer"], "options": layers},
            "step": {"value": shown["step"], "options": [[str(number), number] for number in steps]},
            "inside": shown,
        }, ()


class RatesSection(Section):
    """Loss against the learning rate."""

    NEWS, TITLE = "rates", "Learning rates: held-out loss against the rate"
    WISHES: ClassVar = {"measure": "final"}
    MENUS: ClassVar = {"measure": "Held-out loss"}
    TEXTS = ("words",)

    def draw(self, record: RaceRecord, view: RaceView) -> Drawn:
        """Draw a curve for every start."""
        rates = rates_view(record, self.wishes["measure"])
        assert rates is not None
        losses = {"value": rates.measure, "options": [[LOSS_WORDS[key], key] for key in WHICH_RESULT]}
        return {"measure": losses, "words": rates.words}, (rates.figure,)


class CurvatureSection(Section):
    """The curvature of the loss during training."""

    NEWS, TITLE = "curvature", "Curvature: sharpness, and the rates below 2/λ"
    SETTING = "curvature_every"

    def draw(self, record: RaceRecord, view: RaceView) -> Drawn:
        """Draw the largest eigenvalue, and the limit that it sets."""
        curvature = curvature_view(record)
        return {}, (curvature.sharpness, curvature.stability)


class ForgottenSection(Section):
    """What the lanes learned against what they forgot."""

    NEWS, TITLE = "drift", "Forgotten: what the lanes learned against what they forgot"
    TEXTS = ("table",)

    def draw(self, record: RaceRecord, view: RaceView) -> Drawn:
        """Draw every lane's path, and its numbers."""
        return {"table": view.forgotten_table}, (view.forgotten,)


class RanksSection(Section):
    """The ranks by layer of lanes that have them."""

    NEWS, TITLE = "ranks", "Ranks by layer"

    def draw(self, record: RaceRecord, view: RaceView) -> Drawn:
        """Draw a bar for each layer."""
        return {}, (view.ranks_by_layer,)


class MeasurementsSection(Section):
    """Every other measurement of one number per lane."""

    NEWS, TITLE = "measurements", "Measurements: one number per lane and step"

    def draw(self, record: RaceRecord, view: RaceView) -> Drawn:
        """Draw a chart of each measurement."""
        return {}, tuple(view.measurements.values())


SECTIONS: tuple[Callable[[], Section], ...] = (
    InsideSection, RanksSection, ExportSection, ForgottenSection, RatesSection, MeasurementsSection,
    SpectraSection, GradientsSection, CurvatureSection, EarlierRunsSection, TakeAwaySection,
)  # fmt: skip

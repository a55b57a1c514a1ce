"""The section that writes a lane as an adapter or as a whole model, by a button."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from markupsafe import Markup

from olora_viz.lanes.lane import Lane
from olora_viz.machine.files import free_folder
from olora_viz.notebook import tree
from olora_viz.notebook.section import Drawn, Section, Tell
from olora_viz.races.exporting import MERGED, export_lane
from olora_viz.views.background_race import BackgroundRace
from olora_viz.views.html import problem
from olora_viz.views.race import RaceView
from olora_viz.views.race_record import PAUSED, RaceRecord

FOLDER = "adapters"
"""Where exports lie by default, a folder for each."""

HINT = Markup('<p class="hint">{}</p>')

BEFORE = HINT.format("In the kernel's folder, and loaded again as a check.")
RACING = HINT.format("Pause or stop the race to export the lanes as they are then.")
WRITING = HINT.format("Writing …")


class ExportSection(Section):
    """A lane, its form and a folder, and a button that exports it."""

    NEWS: ClassVar[str] = "export"
    TITLE: ClassVar[str] = "Take it with you: export a lane"
    WISHES: ClassVar = {"lane": None, "form": None, "folder": None}

    def __init__(self) -> None:
        super().__init__()
        self.is_open, self._said, self._race = True, BEFORE, ""

    def controls(self) -> list[tree.Node]:
        """Return the menus, the folder and the button."""
        return [
            tree.box(
                self.control("select", "lane", "Lane"), self.control("select", "form", "As"),
                self.control("field", "folder", "New folder"),
                tree.button(self.part("write"), "Export", kind="quiet"), kind="export-row",
            ),
            tree.html(self.part("said")),
        ]  # fmt: skip

    def news(self, record: RaceRecord, view: RaceView) -> object:
        """Return the leader, whether the race rests, and what was said last of this race."""
        if record.name != self._race:
            self._race, self._said = record.name, BEFORE
        return (view.order[0], _rests(view), self._said) if view.made else 0

    def draw(self, record: RaceRecord, view: RaceView) -> Drawn:
        """Show the choices: the leader, as an adapter, in a folder that is free."""
        config, rests = view.race.config, _rests(view)
        lane, form, folder = self._chosen(view)
        labels = config.labels
        names = [[view.styles[k].label, labels[k]] for k in view.order]
        names[0][0] = f"★ {names[0][0]}, which leads"
        values = {
            "lane": {"value": labels[lane], "options": names},
            "form": {"value": form, "options": _forms(config.lanes[lane])},
            "folder": {"value": folder},
            "write": {"disabled": not rests},
            "said": self._said if rests or self._said != BEFORE else RACING,
        }
        return values, ()

    def press(self, name: str, record: RaceRecord, view: RaceView, tell: Tell) -> None:
        """Export the chosen lane; say where it lies, or in a sentence why not."""
        if name != "write":
            return
        tell({self.part("said"): WRITING})
        folder = FOLDER
        try:
            if not isinstance(record, BackgroundRace) or not view.made:
                raise ValueError("there is nothing to export before the first step")
            lane, form, folder = self._chosen(view)
            with record.held_at_rest() as race:
                made = export_lane(race, lane, Path(folder).expanduser(), form)
        except ValueError as error:
            self._said = problem(str(error))
        except OSError as error:
            self._said = problem(f"{folder!r} could not be written: {error.strerror or error}")
        else:
            said = f"{made.sentence[0].upper()}{made.sentence[1:]}."
            self._said = Markup('<p class="say" role="status">{} <span class="hint">{}.</span></p>')
            self._said = self._said.format(said, made.found.sentence)
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
        name = labels[lane] + f"-{MERGED}" * (form == MERGED)
        return lane, form, str(free_folder(Path(FOLDER) / name))


def _rests(view: RaceView) -> bool:
    return view.complete or view.state == PAUSED


def _forms(lane: Lane) -> list[list[Any]]:
    """Return the forms of a lane with their names, the usual one first."""
    own = [["OLoRA adapter, which PEFT starts", "olora"]] if lane.init == "olora" else []
    return [["LoRA adapter, for PEFT", "lora"], *own, ["whole model, merged", MERGED]]

"""The section with the code that keeps a race, exports an adapter and repeats it."""

from __future__ import annotations

from typing import ClassVar

from olora_viz.notebook import tree
from olora_viz.notebook.section import Drawn, Section
from olora_viz.races.script import olora_viz_script
from olora_viz.views.race import RaceView
from olora_viz.views.race_record import RaceRecord


class TakeAwaySection(Section):
    """What to write in the next cell, and a script that repeats the race."""

    NEWS: ClassVar[str] = "code"
    TITLE: ClassVar[str] = "Code: save the run, export an adapter, repeat the race"

    def after(self) -> list[tree.Node]:
        """Return the two pieces of code."""
        return [
            tree.code(self.part("next"), "In the next cell, with your name for the panel"),
            tree.code(self.part("script"), "A script that repeats the race"),
        ]

    def news(self, record: RaceRecord, view: RaceView) -> object:
        """Return the leader, whose adapter is exported, once there is a step."""
        return (view.order[0], view.complete) if view.made else 0

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

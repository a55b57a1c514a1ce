"""The set-up of a race as controls."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import ipywidgets as widgets

from olora_viz.lanes.lane import Lane
from olora_viz.lanes.lane_lists import write_lanes
from olora_viz.lanes.lane_text import parse_lanes
from olora_viz.machine.naming import unknown
from olora_viz.models import MODELS
from olora_viz.races.config import RaceConfig
from olora_viz.tasks import TASKS

LOOKS = 20
"""Approximate number of measurements of spectra and gradients in a race of the default set-up."""

WIDE = widgets.Layout(width="98%")


class SetUp(widgets.VBox):
    """Controls that show and return a set-up; settings without a control are unchanged.

    Parameters
    ----------
    config : the set-up to show.
    """

    def __init__(self, config: RaceConfig) -> None:
        self._config = config
        named = {"style": {"description_width": "64px"}, "layout": WIDE}
        # Free text: the path of a model's folder or of a task file works as well.
        self.model = widgets.Combobox(
            value=config.model, options=list(MODELS), description="Model", **named
        )
        self.task = widgets.Combobox(
            value=config.task, options=list(TASKS), description="Task", **named
        )
        self.steps = widgets.IntText(value=config.steps, description="Steps", **named)
        self.batch_size = widgets.IntText(value=config.batch_size, description="Prompts", **named)
        self.seed = widgets.IntText(value=config.seed, description="Seed", **named)
        self.lanes = widgets.Textarea(
            value="\n".join(write_lanes(config.lanes)),
            rows=max(4, min(10, len(write_lanes(config.lanes)) + 1)), layout=WIDE,
        )  # fmt: skip
        hint = widgets.HTML(
            '<p class="hint">One lane per line: <code>olora:lr=3e-3,r=8</code>; '
            "<code>lr=1e-3/3e-3</code> makes two.</p>"
        )
        super().__init__(
            [self.model, self.task, self.steps, self.batch_size, self.seed,
             widgets.HTML("<h2>Lanes</h2>"), self.lanes, hint],
            layout=widgets.Layout(width="270px", flex="0 0 auto"),
        )  # fmt: skip

    @property
    def config(self) -> RaceConfig:
        """The set-up of the controls.

        Raises
        ------
        ValueError : one sentence with the value and the rule.
        """
        lanes: list[Lane] = []
        for line in self.lanes.value.splitlines():
            if line.strip():
                lanes += parse_lanes(line.strip())
        return replace(
            self._config, model=self.model.value.strip(), task=self.task.value.strip(),
            steps=self.steps.value, batch_size=self.batch_size.value, seed=self.seed.value,
            lanes=tuple(lanes),
        )  # fmt: skip


def set_up(config: RaceConfig | None, settings: dict[str, Any]) -> RaceConfig:
    """Return a set-up with some settings replaced; None is that of the page.

    >>> set_up(RaceConfig(seed=3), {"steps": 20})
    RaceConfig(steps=20, seed=3)

    Raises
    ------
    ValueError : a setting is unknown or invalid.
    """
    every = max(1, RaceConfig.steps // LOOKS)
    config = config or RaceConfig(spectra_every=every, gradients_every=every)
    known = [each.name for each in fields(RaceConfig)]
    for name in settings:
        if name not in known:
            raise ValueError(unknown("setting", name, known))
    return replace(config, **settings)

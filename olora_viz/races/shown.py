"""A race and its set-up as they show themselves in a notebook."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from markupsafe import Markup

from olora_viz.lanes.shown import lanes_table
from olora_viz.machine.numbers import nats, percent
from olora_viz.machine.showing import brief, changed, folded, table

if TYPE_CHECKING:
    from olora_viz.races.config import RaceConfig
    from olora_viz.races.race import Race

OPEN = 8
"""The most lanes whose table is not folded."""


def config_html(config: RaceConfig) -> Markup:
    """Return the settings that differ from their defaults, the lanes, and all settings, folded."""
    its = {name: value for name, value in changed(config).items() if name != "lanes"}
    rows = [(name, brief(value)) for name, value in its.items()]
    every = [(each.name, brief(getattr(config, each.name))) for each in fields(config)]
    every = [row for row in every if row[0] != "lanes"]
    lanes = lanes_table(config.lanes, config.labels)
    return Markup("").join(
        [
            table(["setting", "value"], rows, "RaceConfig") if rows else Markup("RaceConfig"),
            lanes if len(config.lanes) <= OPEN else folded(f"{len(config.lanes)} lanes", lanes),
            folded("All settings", table(["setting", "value"], every)),
        ]
    )


def race_html(race: Race) -> Markup:
    """Return the latest results of each lane, and the set-up, folded."""
    held, base = race.state.of_lanes(race.config.labels, race.status), race.baseline
    rows = [
        (label, nats(its["final_loss"]), percent(its["final_accuracy"]), its["status"])
        for label, its in held.items()
    ]
    start = ("base model", nats(float(base.loss[0])), percent(float(base.accuracy[0])), "")
    at = race.state.last_eval_step
    head = ["", f"held-out loss at step {at}, nats", "held-out accuracy", "status"]
    return table(head, [start, *rows], words(race)) + folded("Set-up", config_html(race.config))


def words(race: Race) -> str:
    """Return what races, and how far it is."""
    config = race.config
    return (
        f"Race on {config.model}, {config.task}: {len(config.lanes)} lanes, step {race.done} of "
        f"{config.steps}, {race.status}"
    )

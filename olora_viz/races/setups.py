"""The differences between the set-ups of several races."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from olora_viz.lanes.lane import Lane
from olora_viz.lanes.lane_text import write_lane
from olora_viz.machine.naming import described, expect
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import Race
from olora_viz.races.saved_run import SavedRun, load_run
from olora_viz.races.source import named

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

Setup = RaceConfig | Race | SavedRun | str
"""A set-up, or something that has one; a string is the path of a run folder."""

WORDS = {"batch_size": "prompts per step", "max_length": "longest example"}
"""Display names of fields that differ from their own."""


def differing(configs: Sequence[RaceConfig]) -> list[tuple[str, list[str]]]:
    """Return the differences between set-ups: the name of a setting, and its value in each.

    Labels of lanes are ignored, since they do not affect a race.

    >>> one = RaceConfig(lanes=(Lane("lora"),), steps=10)
    >>> differing([one, RaceConfig(lanes=(Lane("lora"), Lane("olora")), steps=20)])
    [('steps', ['10', '20']), ('lanes', ['', '+ olora:lr=1e-3,r=8'])]
    """
    rows = []
    for field in fields(RaceConfig):
        values = [_text(getattr(config, field.name)) for config in configs]
        if field.name != "lanes" and len(set(values)) > 1:
            rows.append((WORDS.get(field.name, field.name.replace("_", " ")), values))
    lanes = [[_spec(lane) for lane in config.lanes] for config in configs]
    shared = set(lanes[0]).intersection(*lanes[1:]) if lanes else set()
    own = [", ".join(f"+ {lane}" for lane in its if lane not in shared) for its in lanes]
    if any(own):
        rows.append(("lanes", own))
    return rows


def compare_setups(runs: Sequence[Setup | Path] | Mapping[str, Setup | Path]) -> pd.DataFrame:
    """Return a table of the differences between the set-ups of races; empty if there are none.

    Parameters
    ----------
    runs : two or more set-ups, races, saved runs or run folders: a list, or a dict with a name for
        each.

    Returns
    -------
    pandas.DataFrame
        A row for each setting that is not the same in all of them, and a column for each run. The
        row ``lanes`` holds the lanes that are not in every run, each after a plus.

    Raises
    ------
    ValueError : there are fewer than two, or one has no set-up, such as steps alone.

    Examples
    --------
    >>> short, long = RaceConfig(steps=50), RaceConfig(steps=500, warmup=20)
    >>> compare_setups({"short": short, "long": long})
           short long
    steps     50  500
    warmup     0   20
    """
    import pandas as pd

    expect(runs, Mapping | Sequence, "a list of set-ups, or a dict with a name for each")
    setups = {name: _setup(run) for name, run in named(runs).items()}
    if len(setups) < 2:
        raise ValueError(f"a comparison takes two or more set-ups, not {len(setups)}")
    rows = dict(differing(list(setups.values())))
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(setups))


def _setup(run: Setup | Path) -> RaceConfig:
    if isinstance(run, RaceConfig):
        return run
    if isinstance(run, Race | SavedRun):
        return run.config
    if isinstance(run, str) or hasattr(run, "__fspath__"):
        return load_run(run).config
    raise ValueError(
        f"expected a RaceConfig, a Race, a saved run or its folder, not {described(run)}"
    )


def _text(value: object) -> str:
    """Return a setting as text; a schedule that is a function by its name."""
    return getattr(value, "__name__", str(value))


def _spec(lane: Lane) -> str:
    return write_lane(replace(lane, label=None))

"""That the runs of a study which are taken together are of one start, and of the same measurements."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from olora_viz.initializers import BUILT_IN, definition_of
from olora_viz.machine.wording import and_
from olora_viz.races.config import RaceConfig
from olora_viz.races.data import definitions_of

DEFINED = ("definition", "measure_definitions")
"""The columns of a row that tell its start and its registered measurements from others of their names."""


def version_of(init: str) -> str:
    """Return what tells a built-in start from that of other versions; empty for an own one."""
    return definition_of(init) if init in BUILT_IN else ""


def rows_to_be(configs: Iterable[RaceConfig]) -> list[dict[str, Any]]:
    """Return what `check_one_definition` reads of the rows that races would have by now.

    Raises:
        ValueError: a start is not registered.
    """
    measured = [(config.lanes, json.dumps(definitions_of(config)["measurement"])) for config in configs]
    return [
        {"init": lane.init, "seed": lane.seed, "definition": definition_of(lane.init), "measure_definitions": measures}
        for lanes, measures in measured
        for lane in lanes
    ]


def check_one_definition(rows: Iterable[Mapping[str, Any]], folder: Path) -> None:
    """Check that all rows of a start, and of a registered measurement, are of one definition of it.

    Args:
        rows: with the columns `DEFINED`; where they are empty nothing is known.
        folder: of the study.

    Raises:
        ValueError: there are two; the message has the seeds of each.
    """
    for (what, name), by_definition in seeds_by_definition(rows).items():
        if len(by_definition) > 1:
            each = [f"{seeds_words(its)} of {definition}" for definition, its in by_definition.items()]
            raise ValueError(
                f"the {what} {name!r} has changed in the study in {str(folder)!r}, and two definitions are never "
                f"pooled: {and_(each)}; give the new one a name of its own, or use another folder"
            )


def seeds_by_definition(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], dict[str, set[int]]]:
    """Return the seeds that ran with each definition of every start and registered measurement.

    The keys are what it is, ``start`` or ``measurement``, and its name.
    """
    seeds: dict[tuple[str, str], dict[str, set[int]]] = {}
    for row in rows:
        named = {("start", row["init"]): row.get("definition")}
        measures = json.loads(row.get("measure_definitions") or "{}")
        named |= {("measurement", key): each for key, each in measures.items()}
        for what, definition in named.items():
            if definition:
                seeds.setdefault(what, {}).setdefault(definition, set()).add(int(row["seed"]))
    return seeds


def seeds_words(seeds: Iterable[int]) -> str:
    """Return seeds in words.

    >>> seeds_words({0}), seeds_words([2, 0, 1])
    ('seed 0', 'seeds 0, 1 and 2')
    """
    in_order = sorted(seeds)
    return f"seed{'s' * (len(in_order) > 1)} {and_([*map(str, in_order)])}"

"""The description of a measurement: an entry of the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from olora_viz.machine.numbers import finite_or_none
from olora_viz.measures.record import Record

SHAPES = ("(K,)", "(K, examples)", "(K, layers)", "(K, layers, r)")
"""Of what is measured of K lanes: a number for each lane, or for each held-out example or layer
too, or several."""

SCALES = ("linear", "log")


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A measurement of a race: what it is called, how it is drawn, when and how it is computed.

    Parameters
    ----------
    key : its name in `Step.measures`, in JSON and in tables.
    title, unit : of its chart.
    scale : of its axis, ``linear`` or ``log``.
    compute : called with the `Race` after a step's update; returns one number per lane, (K,), or
        a `record`.
    symbol : name of its axis; by default the unit.
    shape : of what it measures, one of `SHAPES`; the largest array of a record.
    record : what `compute` returns if that is more than (K,).
    columns : fields of the record that are (K,) and are columns of tables under their own names.
    every : field of `RaceConfig` with the number of steps between two measurements, 0 for none;
        ``None``: it is computed in every step.
    at_first, at_last : whether it is computed at the first step too, where `every` is not 0, and
        at the last step in any case.
    cost : what it costs, in a sentence.
    """

    key: str
    title: str
    unit: str
    scale: str
    compute: Callable[[Any], Any]
    symbol: str = ""
    shape: str = "(K,)"
    record: type[Record] | None = None
    columns: tuple[str, ...] = ()
    every: str | None = None
    at_first: bool = False
    at_last: bool = False
    cost: str = ""

    def to_json(self, value: Any, labels: Sequence[str]) -> dict[str, Any]:
        """Return what was measured as plain values by lane; what is not finite is null."""
        return value.to_json(labels) if self.record else by_label(value, labels)

    def from_json(self, values: dict[str, Any], labels: Sequence[str]) -> Any:
        """Read back what `to_json` wrote."""
        return self.record.from_json(values, labels) if self.record else of_label(values, labels)

    def per_lane(self, value: Any) -> dict[str, np.ndarray]:
        """Return its columns in a table, (K,) each, by name."""
        if self.record:
            return {name: getattr(value, name) for name in self.columns}
        return {self.key: value}


def by_label(values: np.ndarray, labels: Sequence[str]) -> dict[str, float | None]:
    """Return one number per lane by its label; null if it is not finite."""
    return {label: finite_or_none(x) for label, x in zip(labels, values, strict=True)}


def of_label(values: dict[str, Any], labels: Sequence[str]) -> np.ndarray:
    """Read back what `by_label` wrote, (K,)."""
    return np.array([values[label] for label in labels], dtype=float)

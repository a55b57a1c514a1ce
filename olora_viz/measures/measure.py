"""The description of a measurement: an entry of the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from olora_viz.machine.numbers import finite_or_none
from olora_viz.measures.record import Record

SHAPES = ("(K,)", "(K, examples)", "(K, layers)", "(K, layers, r)")
"""Shapes of measurements of K lanes: a number per lane, per example, per layer, or r per layer."""

SCALES = ("linear", "log")


@dataclass(frozen=True)
class Part:
    """A quantity of a record with one number per lane and layer."""

    words: str
    """Its name in menus and titles."""
    unit: str
    """What the number means."""
    of: Callable[[Any], np.ndarray]
    """Returns it, (K, layers), from the record."""
    symbol: str = ""
    """Name of its axis; by default the words."""

    @property
    def title(self) -> str:
        """The words with a capital."""
        return self.words[0].upper() + self.words[1:]


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
    shape : of the result, one of `SHAPES`; for a record, that of its largest array.
    record : what `compute` returns if that is more than (K,).
    parts : the quantities of the record that are drawn by layer, in menu order.
    columns : fields of the record of shape (K,) that are table columns under their own names.
    every : field of `RaceConfig` that holds the number of steps between two measurements, 0 for
        none; None to measure every step.
    at_first : whether to measure the first step too, unless the interval is 0.
    at_last : whether to measure the last step in any case.
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
    parts: Mapping[str, Part] = field(default_factory=dict, hash=False)
    columns: tuple[str, ...] = ()
    every: str | None = None
    at_first: bool = False
    at_last: bool = False
    cost: str = ""

    def to_json(self, value: Any, labels: Sequence[str]) -> dict[str, Any]:
        """Return the results as plain values by lane; non-finite values are null."""
        return value.to_json(labels) if self.record else by_label(value, labels)

    def from_json(self, values: dict[str, Any], labels: Sequence[str]) -> Any:
        """Read back what `to_json` wrote."""
        return self.record.from_json(values, labels) if self.record else of_label(values, labels)

    def per_lane(self, value: Any) -> dict[str, np.ndarray]:
        """Return the table columns by name, (K,) each."""
        if self.record:
            return {name: getattr(value, name) for name in self.columns}
        return {self.key: value}


def by_label(values: np.ndarray, labels: Sequence[str]) -> dict[str, float | None]:
    """Return one number per lane by its label; null if it is not finite."""
    return {label: finite_or_none(x) for label, x in zip(labels, values, strict=True)}


def of_label(values: dict[str, Any], labels: Sequence[str]) -> np.ndarray:
    """Read back what `by_label` wrote, (K,)."""
    return np.array([values[label] for label in labels], dtype=float)

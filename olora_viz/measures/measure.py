"""What a measurement is, and how its values are recorded."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from markupsafe import escape
from torch import Tensor

from olora_viz.machine.tables import call, finite_or_none, lane_table, plain

MEASURE_SHAPES = ("(K,)", "(K, examples)", "(K, layers)", "(K, layers, r)")
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

    Args:
        key: its name in `Step.measures`, in JSON and in tables.
        title, unit: of its chart.
        scale: of its axis, ``linear`` or ``log``.
        compute: called with the `Race` after a step's update; returns one number per lane, (K,), or a `record`.
        symbol: name of its axis; by default the unit.
        shape: of the result, one of `MEASURE_SHAPES`; for a record, that of its largest array.
        parts: the quantities of the record that are drawn by layer, in menu order.
        columns: fields of the record of shape (K,) that are table columns under their own names.
        every: field of `RaceConfig` that holds the number of steps between two measurements, 0 for none; None to
            measure every step.
        at_first: whether to measure the first step too, unless the interval is 0.
        at_last: whether to measure the last step in any case.
        apart: minimum steps between two measurements: an interval below it counts by its first multiple from there on.
        of_text: whether it is of the race's text to keep, and not made without one.
        objective: the objective of a race with which alone it is made; empty for any.
        cost: what it costs, in a sentence.

    Examples:
        >>> import olora_viz as ov
        >>> measure = ov.MEASURES["grad_norm"]
        >>> measure.title, measure.unit, measure.shape
        ('Gradient norm', '‖∇‖ before clipping', '(K,)')
        >>> lanes = ov.Lane("lora"), ov.Lane("olora")
        >>> config = ov.RaceConfig(lanes=lanes, steps=1, eval_size=4)
        >>> next(ov.race(config)).measures[measure.key].shape
        (2,)
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
    apart: int = 1
    of_text: bool = False
    objective: str = ""
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


R = TypeVar("R", bound="Record")

SHARED = {"shared": True}
"""Metadata of a field that JSON stores once for all lanes."""


def by_lane(dtype: type = float, *, last_axis: Sequence[str] = ()) -> dict[str, Any]:
    """Return the metadata of a field that holds an array whose first axis is the lane.

    Args:
        dtype: of the array; non-finite values are null in JSON and NaN when read back.
        last_axis: names along the last axis, which are its keys in JSON.
    """
    return {"dtype": dtype, "last_axis": tuple(last_axis)}


@dataclass(frozen=True, eq=False)
class Record:
    """A frozen dataclass of arrays.

    Two records of one class are equal if all compared fields are equal bit for bit; NaN equals NaN. JSON holds the
    fields with metadata `by_lane` or `SHARED`.
    """

    JSON_DIGITS: ClassVar[int | None] = None
    """Significant digits in JSON; None keeps all."""

    def __post_init__(self) -> None:
        """Make the arrays read-only."""
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, np.ndarray):
                value.setflags(write=False)

    def __eq__(self, other: object) -> bool:
        """Compare bit for bit."""
        if type(other) is not type(self):
            return NotImplemented
        return all(same(getattr(self, each.name), getattr(other, each.name)) for each in fields(self) if each.compare)

    __hash__ = None

    def __repr__(self) -> str:
        """Return a few numbers of every field that is there."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return call(self, **{name: value for name, value in values.items() if value is not None})

    def _repr_html_(self) -> str:
        arrays = {name: getattr(self, name) for name in lane_fields(type(self))}
        columns = {name: values for name, values in arrays.items() if values.ndim == 1}
        return lane_table(columns, type(self).__name__) if columns else escape(repr(self))

    def to_json(self, labels: Sequence[str]) -> dict[str, Any]:
        """Return plain values: the fields by lane under the lanes' labels.

        They are the whole object, or its ``lanes`` if it has other fields too.
        """
        rows = {label: self._row(k) for k, label in enumerate(labels)}
        shared = {name: list(getattr(self, name)) for name in _shared(type(self))}
        return {**shared, "lanes": rows} if shared else rows

    @classmethod
    def from_json(cls: type[R], values: dict[str, Any], labels: Sequence[str]) -> R:
        """Read back what `to_json` wrote.

        Raises:
            KeyError: the values have another form.
            TypeError: likewise.
            ValueError: likewise.
        """
        shared = {name: tuple(values[name]) for name in _shared(cls)}
        rows = [(values["lanes"] if shared else values)[label] for label in labels]
        return cls(**shared, **{name: _read(cls, name, rows) for name in lane_fields(cls)})

    def without(self: R, out: np.ndarray) -> R:
        """Return a copy with NaN in the diverged lanes (K,)."""
        gone = {
            name: np.where(out.reshape(-1, *[1] * (values.ndim - 1)), math.nan, values)
            for name in lane_fields(type(self))
            for values in [getattr(self, name)]
        }
        return replace(self, **gone)

    @classmethod
    def joined(cls: type[R], parts: Sequence[R]) -> R:
        """Concatenate records along the lanes."""

        def whole(name: str) -> Any:
            values = [getattr(part, name) for part in parts]
            if isinstance(values[0], Record):
                return type(values[0]).joined(values)
            if isinstance(values[0], np.ndarray):
                return np.concatenate(values)
            return torch.cat(values) if isinstance(values[0], Tensor) else values[0]

        return cls(**{each.name: whole(each.name) for each in fields(cls)})

    def _row(self, k: int) -> dict[str, Any]:
        row: dict[str, Any] = {}
        for name, names in lane_fields(type(self)).items():
            values = getattr(self, name)[k]
            row[name] = (
                {key: _plain(values[..., i], self.JSON_DIGITS) for i, key in enumerate(names)}
                if names
                else _plain(values, self.JSON_DIGITS)
            )
        return row


def lane_fields(cls: type[Record]) -> dict[str, tuple[str, ...]]:
    """Return the names of the fields by lane, with the names along their last axis."""
    return {each.name: each.metadata["last_axis"] for each in fields(cls) if "dtype" in each.metadata}


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal bit for bit; NaN equals NaN."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.array_equal(a, b, equal_nan=a.dtype.kind == b.dtype.kind == "f")
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.equal(a, b)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return bool(a is b or (type(a) is type(b) and a == b))


def _shared(cls: type[Record]) -> list[str]:
    return [each.name for each in fields(cls) if "shared" in each.metadata]


def _plain(values: Any, digits: int | None) -> Any:
    if digits is not None:
        return plain(values, digits)
    if np.ndim(values):
        return [_plain(value, digits) for value in values]
    value = values.item()
    return finite_or_none(value) if isinstance(value, float) else value


def _read(cls: type[Record], name: str, rows: Sequence[dict[str, Any]]) -> np.ndarray:
    declared = next(each for each in fields(cls) if each.name == name).metadata
    names = declared["last_axis"]
    of_lanes = [np.transpose([row[name][key] for key in names]) if names else row[name] for row in rows]
    return np.array(of_lanes, dtype=declared["dtype"])

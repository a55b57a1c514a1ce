"""Frozen records of arrays: read-only, compared bit for bit, and restored from JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from markupsafe import escape
from torch import Tensor

from olora_viz.machine.numbers import finite_or_none, plain
from olora_viz.machine.showing import call, lane_table

R = TypeVar("R", bound="Record")

SHARED = {"shared": True}
"""Metadata of a field that JSON stores once for all lanes."""


def by_lane(dtype: type = float, *, last_axis: Sequence[str] = ()) -> dict[str, Any]:
    """Return the metadata of a field that holds an array whose first axis is the lane.

    Parameters
    ----------
    dtype : of the array; non-finite values are null in JSON and NaN when read back.
    last_axis : names along the last axis, which are its keys in JSON.
    """
    return {"dtype": dtype, "last_axis": tuple(last_axis)}


@dataclass(frozen=True, eq=False)
class Record:
    """A frozen dataclass of arrays.

    Two records of one class are equal if all compared fields are equal bit for bit; NaN equals NaN.
    JSON holds the fields with metadata `by_lane` or `SHARED`.
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
        return all(
            same(getattr(self, each.name), getattr(other, each.name))
            for each in fields(self)
            if each.compare
        )

    __hash__ = None

    def __repr__(self) -> str:
        """Return a few numbers of every field that is there."""
        its = {each.name: getattr(self, each.name) for each in fields(self)}
        return call(self, **{name: value for name, value in its.items() if value is not None})

    def _repr_html_(self) -> str:
        its = {name: getattr(self, name) for name in lane_fields(type(self))}
        columns = {name: values for name, values in its.items() if values.ndim == 1}
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

        Raises
        ------
        KeyError, TypeError, ValueError : the values have another form.
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
    return {
        each.name: each.metadata["last_axis"] for each in fields(cls) if "dtype" in each.metadata
    }


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
    found = [
        np.transpose([row[name][key] for key in names]) if names else row[name] for row in rows
    ]
    return np.array(found, dtype=declared["dtype"])

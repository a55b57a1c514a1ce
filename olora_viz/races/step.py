"""One step of a race: the measurements of every lane."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from olora_viz.measures.curvature import Curvature
from olora_viz.measures.gradients import Gradients
from olora_viz.measures.update_spectra import UpdateSpectra

_PER_LANE = ("loss", "grad_norm", "lr", "eval_loss", "eval_accuracy")


@dataclass(frozen=True, eq=False)
class Step:
    """The measurements of K lanes in one step; lane k is entry k of every array.

    `loss` and `grad_norm` are those of the step's batch before the update; held-out results are
    those after it. A diverged lane has NaN.
    """

    step: int
    """1 for the first."""
    loss: np.ndarray
    """(K,) training loss, nats per supervised token."""
    grad_norm: np.ndarray
    """(K,) Euclidean norm of the gradient over the lane's A and B, before clipping."""
    lr: np.ndarray
    """(K,) learning rate of this step's update."""
    seconds: float
    """Time spent on the race so far, without pauses."""
    tokens: int
    """Training tokens of each lane so far, without padding; the mean over the lanes if their
    batches differ."""
    status: tuple[str, ...]
    """(K) ``racing`` or ``diverged``."""
    eval_loss: np.ndarray | None = None
    """(K,) held-out loss, nats per supervised token; None if the step was not evaluated."""
    eval_accuracy: np.ndarray | None = None
    """(K,) held-out accuracy, in [0, 1]."""
    update_spectra: UpdateSpectra | None = None
    """Spectra of the updates of every lane and layer; None if not measured."""
    curvature: Curvature | None = None
    """Extreme Hessian eigenvalues on the first batch; None if not measured."""
    gradients: Gradients | None = None
    """Norms of this step's gradients and updates by layer; None if not measured."""

    def __post_init__(self) -> None:
        """Make the arrays read-only."""
        for name in _PER_LANE:
            value = getattr(self, name)
            if value is not None:
                value.setflags(write=False)

    def __eq__(self, other: object) -> bool:
        """Compare bit for bit all that was computed; `seconds` are the clock's, not the race's."""
        if not isinstance(other, Step):
            return NotImplemented
        return all(
            _same(getattr(self, f.name), getattr(other, f.name))
            for f in fields(self)
            if f.name != "seconds"
        )

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def to_json(self, labels: Sequence[str]) -> dict[str, Any]:
        """Return the step as a line of ``steps.jsonl``: numbers by label, NaN as null."""
        line: dict[str, Any] = {"step": self.step}
        for name in _PER_LANE:
            value = getattr(self, name)
            if value is not None:
                line[name] = {
                    label: float(x) if math.isfinite(x) else None
                    for label, x in zip(labels, value, strict=True)
                }
        if self.update_spectra is not None:
            line["update_spectra"] = self.update_spectra.to_json(labels)
        if self.curvature is not None:
            line["curvature"] = self.curvature.to_json(labels)
        if self.gradients is not None:
            line["gradients"] = self.gradients.to_json(labels)
        line["seconds"], line["tokens"] = round(self.seconds, 4), self.tokens
        line["diverged"] = [
            label for label, status in zip(labels, self.status, strict=True) if status == "diverged"
        ]
        return line

    @classmethod
    def from_json(cls, line: dict[str, Any], labels: Sequence[str]) -> Step:
        """Read back what `to_json` wrote."""
        arrays = {
            name: np.array(
                [math.nan if line[name][label] is None else line[name][label] for label in labels]
            )
            for name in _PER_LANE
            if name in line
        }
        gradients = line.get("gradients")
        status = tuple("diverged" if label in line["diverged"] else "racing" for label in labels)
        return cls(
            step=line["step"],
            seconds=line["seconds"],
            tokens=line["tokens"],
            status=status,
            update_spectra=UpdateSpectra.from_json(line["update_spectra"], labels)
            if "update_spectra" in line
            else None,
            curvature=Curvature.from_json(line["curvature"], labels)
            if "curvature" in line
            else None,
            gradients=gradients and Gradients.from_json(gradients, labels),
            **arrays,
        )


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.array_equal(a, b, equal_nan=True)
    return bool(a is b or (type(a) is type(b) and a == b))

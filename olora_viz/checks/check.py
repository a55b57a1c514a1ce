"""A check, what it found, and the bench on which checks run: races on the device and, beside them, on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from olora_viz.lanes.lane import Lane
from olora_viz.machine.files import temporary_folder
from olora_viz.machine.process import Progress
from olora_viz.races.config import RaceConfig
from olora_viz.races.data import ModelCache
from olora_viz.races.race import Race
from olora_viz.races.step import Step


@dataclass(frozen=True)
class Outcome:
    """What a check found.

    Attributes:
        holds: None where nothing has to hold: a time that is told, or what cannot be tried here.
        words: what was found, for a reader.
        numbers: the same for a program; finite, or None.
    """

    holds: bool | None
    words: str
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """One row of the table.

    Attributes:
        name: in two or three words.
        must: what must hold, in plain words.
        find: tries it.
        seconds: about how long it takes on two cores, of which the progress bar is made.
    """

    name: str
    must: str
    find: Callable[[Bench], Outcome]
    seconds: float = 5.0


CPU = torch.device("cpu")
STEPS = 20
"""Steps of the races that are compared."""

ROUNDING = 1e-4
"""How far losses in float32 may be apart after `STEPS` steps, relative to the loss, where products are added up in
another order: those of float32 and float64 are 4e-6 apart on a CPU, and an accelerator's sums are longer."""

RACED = RaceConfig(
    lanes=tuple(map(Lane, ("lora", "olora", "pissa"))), steps=STEPS, batch_size=8, eval_every=10, eval_size=16,
    test_size=16, keep="none", dtype="float32",
)  # fmt: skip
"""The race that is compared, with the device yet to be set."""


class Bench:
    """Where checks run.

    Attributes:
        device: that is checked.
        folder: a temporary one, which ends with the bench.
        progress: of the check that runs.
        milliseconds: of a lane's step, as far as they are known.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.cache = device, ModelCache()
        self.folder, self.close = temporary_folder(self, "check")
        self.progress: Progress = lambda part, words: None
        self.milliseconds: dict[str, float] = {}
        self._steps: dict[tuple[str, str], list[Step]] = {}

    @property
    def on_cpu(self) -> bool:
        """Whether the device is the CPU, to which there is nothing to compare it."""
        return self.device.type == "cpu"

    def config(self, device: torch.device | None = None, **changes: Any) -> RaceConfig:
        """Return `RACED` on the device, or on another one, with changes."""
        return RACED.replace(device=str(device or self.device), **changes)

    @contextmanager
    def race(self, device: torch.device | None = None, **changes: Any) -> Generator[Race]:
        """Set up such a race; its lanes are detached in the end."""
        racing = Race(self.config(device, **changes), progress=self.progress, cache=self.cache)
        try:
            yield racing
        finally:
            racing.lanes.detach()

    def raced(self, device: torch.device | None = None, *, again: bool = False, dtype: str = "float32") -> list[Step]:
        """Return the steps of `RACED`, which is raced once for each device and dtype, or again."""
        key = str(device or self.device), dtype
        if again or key not in self._steps:
            with self.race(device, dtype=dtype) as racing:
                self._steps[key] = list(self.told(racing))
        return self._steps[key]

    def told(self, steps: Iterable[Step]) -> Iterator[Step]:
        """Yield the steps of a race of `STEPS`, and tell how many are done."""
        for step in steps:
            self.progress(step.step / STEPS, "racing")
            yield step


def losses(steps: list[Step]) -> np.ndarray:
    """Return the training losses, (steps, K)."""
    return np.array([step.loss for step in steps])


def are_same(one: list[Step], other: list[Step]) -> bool:
    """Whether two races have the same steps with the same bits of losses, gradient norms and held-out results."""
    names = ("loss", "grad_norm", "eval_loss")
    return len(one) == len(other) and all(
        np.array_equal(_array(getattr(a, name)), _array(getattr(b, name)), equal_nan=True)
        for a, b in zip(one, other, strict=True)
        for name in names
    )


def _array(values: object) -> np.ndarray:
    return np.array([] if values is None else values, dtype=float)


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """Return the largest relative difference of numbers, NaN if one is not finite."""
    return float((np.abs(one - other) / np.abs(other)).max())

"""Measurements at initialization, as work for the queue: gradient, curvature and loss slices."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from olora_viz.figures.theme import start_styles
from olora_viz.measures.conditioning import slices
from olora_viz.measures.loss_slice import LossSlice
from olora_viz.races.config import RaceConfig
from olora_viz.races.state import FINISHED
from olora_viz.views.background_measurement import (
    BackgroundMeasurement,
    at_its_start,
    start_config,
)
from olora_viz.web.guard.visitor import NOBODY, Visitor
from olora_viz.web.jobs.accelerator import here
from olora_viz.web.jobs.job import Work, new_key
from olora_viz.web.jobs.queue import Jobs

MAX_NAME = 200
"""Maximum length of a layer's name, in characters."""


@dataclass(eq=False)
class WorkHere(Work):
    """Work of this process, which on ZeroGPU has no GPU."""

    @property
    def raced(self) -> RaceConfig:
        """The set-up to compute with."""
        return here(super().raced)


@dataclass(eq=False)
class Measurement(WorkHere, BackgroundMeasurement):
    """A measurement of a race's start in the queue."""

    rates: tuple[tuple[float, ...], ...] = ()
    """The learning rates that the race would use, for each start."""
    lanes: int = 0
    """Number of lanes of the race."""


@dataclass(eq=False)
class Slicing(WorkHere):
    """The loss on a plane through some starts."""

    source: Measurement | None = None
    """The measurement of the same starts."""
    chosen: tuple[int, ...] = ()
    """Indices of its lanes."""
    slices: list[LossSlice] = field(default_factory=list)

    def run(self) -> None:
        """Build the same race again, and slice it before its first step."""
        assert self.source is not None
        assert self.source.found is not None
        with at_its_start(self) as racing:
            self.become("slicing")
            self.slices = slices(
                racing.lanes, racing.batch(1), self.source.found, self.chosen, progress=self.tell
            )
            self.become(FINISHED)


def measure(
    jobs: Jobs, config: RaceConfig, layer: Any = None, owner: Visitor = NOBODY
) -> Measurement:
    """Put a measurement of a race's start into the queue.

    Lanes that have the same start, see `start_key`, share one measurement.

    Parameters
    ----------
    layer : name of a layer, or nothing for all parameters.
    owner : who asks for it.

    Raises
    ------
    ValueError : the queue is full, or `layer` is not a name.
    """
    if layer is not None and (not isinstance(layer, str) or len(layer) > MAX_NAME):
        raise ValueError(f"the layer must be a name of at most {MAX_NAME} characters")
    starts = start_config(config)
    name = new_key()
    return jobs.put(
        Measurement(
            name, starts, jobs.folder / name, start_styles(starts.lanes),
            rates=tuple(
                tuple(dict.fromkeys(lane.lr for lane in lanes if not lane.fair))
                for lanes in config.starts()
            ),
            lanes=len(config.lanes), layer=(layer or "").strip() or None, owner=owner,
        )
    )  # fmt: skip


def cut(jobs: Jobs, source: Measurement, chosen: list[Any], owner: Visitor = NOBODY) -> Slicing:
    """Put slices through some of the measured starts into the queue.

    Parameters
    ----------
    chosen : indices of lanes; duplicates count once.
    owner : who asks for them.

    Raises
    ------
    ValueError : there is no measurement, or no such lane, or the queue is full.
    """
    if source.found is None:
        raise ValueError("measure the start first: a slice uses the measured directions")
    if source.layer is not None:
        raise ValueError(
            f"only the layer {source.layer!r} was measured, but a slice needs all parameters: "
            "measure again without a layer"
        )
    for k in chosen:
        if not isinstance(k, int) or isinstance(k, bool) or not 0 <= k < len(source.styles):
            raise ValueError(f"a lane must be from 0 to {len(source.styles) - 1}, not {k!r:.40}")
    name = new_key()
    return jobs.put(
        Slicing(
            name, source.raced, jobs.folder / name, source.styles, source=source,
            chosen=tuple(dict.fromkeys(chosen)), owner=owner,
        )
    )  # fmt: skip

"""Measurement of a race's start in the background: gradient and curvature of every lane, and slices of the loss."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from olora_viz.background.record import LOADING, device_words
from olora_viz.background.work import BackgroundWork
from olora_viz.measures.conditioning import KERNEL_BATCHES, Conditioning, LossSlice, conditioning, slices
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import Race, race
from olora_viz.races.step import FINISHED
from olora_viz.tasks.keep import NONE


@dataclass(eq=False)
class BackgroundMeasurement(BackgroundWork):
    """Gradient norm and curvature of every start, on the race's first batch."""

    as_steps = 100
    layer: str | None = None
    """The layer whose parameters are measured; None for all layers."""
    result: Conditioning | None = None
    plain_text: bool = False
    device: str = ""
    """``CPU`` or ``CUDA``; empty while unknown."""
    rates: tuple[tuple[float, ...], ...] = ()
    """The learning rates that the race would use, for each start."""
    lanes: int = 0
    """How many lanes the race would have; 0 if nobody has set one up."""
    recorded: str = ""
    """When it was recorded, in words; empty if it is measured here."""

    def run(self) -> None:
        """Build the race and measure it before its first step."""
        with at_its_start(self) as racing:
            self.plain_text, self.device = racing.task.plain_text, device_words(racing)
            self.become("measuring")
            self.result = conditioning(
                racing.lanes, racing.batch(1), layer=self.layer, progress=self.progress,
                more_batches=[racing.batch(number) for number in range(2, KERNEL_BATCHES + 1)],
            )  # fmt: skip
            self.become(FINISHED)


@dataclass(eq=False)
class Slicing(BackgroundWork):
    """The loss on a plane through some starts."""

    as_steps = 80
    measured: BackgroundMeasurement | None = None
    """The measurement of the same starts."""
    chosen: tuple[int, ...] = ()
    slices: list[LossSlice] = field(default_factory=list)

    def run(self) -> None:
        """Build the same race again, and slice it before its first step."""
        assert self.measured is not None
        assert self.measured.result is not None
        with at_its_start(self) as racing:
            self.become("slicing")
            self.slices = slices(
                racing.lanes, racing.batch(1), self.measured.result, self.chosen, progress=self.progress
            )
            self.become(FINISHED)


def start_config(config: RaceConfig) -> RaceConfig:
    """Return the set-up of a measurement: a lane for each start of a race."""
    # Neither the held-out examples nor the text to keep, replayed or not, say anything about the start.
    lanes = tuple(lane.replace(replay=0.0, replay_from="text", keep_kl=0.0) for lane in config.of_starts().lanes)
    return replace(config, lanes=lanes, eval_size=1, keep=NONE, forget=None)


def rates_in_use(config: RaceConfig) -> tuple[tuple[float, ...], ...]:
    """Return the learning rates that a race uses, for each of its starts; a fair one is not known before it."""
    return tuple(tuple(dict.fromkeys(lane.lr for lane in lanes if not lane.fair)) for lanes in config.starts())


@contextmanager
def at_its_start(work: BackgroundWork) -> Generator[Race]:
    """Build the race of some work, and release its lanes afterwards."""
    work.become(LOADING)
    work.progress(0.0, f"loading {work.config.model}")
    racing = race(work.raced, progress=work.progress)
    try:
        work.part = 0.0
        yield racing
    finally:
        racing.lanes.detach()

"""A run read back from its folder: set-up, steps and summary, without a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from olora_viz.races.config import RaceConfig
from olora_viz.races.run import read_config, read_steps, read_summary
from olora_viz.races.step import Step


@dataclass(frozen=True)
class SavedRun:
    """A run as saved in its folder; made by `load_run`.

    Tables and figures accept it instead of the steps of a race: ``steps_frame(run)``,
    ``plot_race(run)``.
    """

    folder: Path
    config: RaceConfig
    steps: tuple[Step, ...] = field(repr=False)
    """From the first to the last one on disk."""
    summary: dict[str, Any] | None = field(repr=False)
    """The results, as in ``summary.json``; None if the run is still in progress or was killed."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the lanes, in order."""
        return self.config.labels


def load_run(folder: str | Path) -> SavedRun:
    """Read a run folder: its set-up, steps and summary. No model or task is loaded.

    Parameters
    ----------
    folder : written by `Race.save`, or by ``race --run`` on the command line, of a finished,
        stopped or killed run.

    Raises
    ------
    ValueError : the folder holds no run, or a damaged one.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from olora_viz.lanes.lane import Lane
    >>> from olora_viz.races import run as runs
    >>> with TemporaryDirectory() as folder:
    ...     _ = list(runs.start(RaceConfig(lanes=(Lane("lora"),), steps=2), folder))
    ...     saved = load_run(folder)
    >>> [step.step for step in saved.steps], saved.summary["status"]
    ([1, 2], 'finished')
    """
    folder = Path(folder)
    return SavedRun(folder, read_config(folder), tuple(read_steps(folder)), read_summary(folder))

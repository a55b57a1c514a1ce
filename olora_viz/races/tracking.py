"""Reports a race to an experiment tracker: every lane as a run, step by step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from olora_viz.machine.numbers import compact
from olora_viz.machine.trackers import TrackedRun, Tracker
from olora_viz.races.config import RaceConfig
from olora_viz.races.step import Step

RESULTS = ("test_loss", "test_accuracy")
"""The results of a lane's summary that are reported with its last step."""


class RaceTracker:
    """Reports the lanes of a race as runs, grouped by method and rate.

    Parameters
    ----------
    again : whether to continue the runs of a race that is resumed.
    """

    def __init__(self, tracker: Tracker, config: RaceConfig, *, again: bool = False) -> None:
        self._tracker, self._config, self._again = tracker, config, again
        self._runs: list[TrackedRun] = []
        tracker.attempt(self._start)

    def report(self, step: Step) -> None:
        """Report what a step has measured of each lane, in one number."""
        self._tracker.attempt(lambda: self._log(step.step, step.measures))

    def report_results(self, step: int, summary: Mapping[str, Any]) -> None:
        """Report the lanes' results on the test examples, if there are any."""
        lanes = [summary["lanes"][label] for label in self._config.labels]
        results = {
            name: np.array([lane.get(name) for lane in lanes], dtype=float) for name in RESULTS
        }
        self._tracker.attempt(lambda: self._log(step, results))

    def close(self) -> None:
        """Close the runs."""
        self._tracker.attempt(lambda: [run.close() for run in self._runs])

    def _start(self) -> None:
        shared = {name: value for name, value in asdict(self._config).items() if name != "lanes"}
        for lane, label in zip(self._config.lanes, self._config.labels, strict=True):
            group = f"{lane.init} {compact(lane.lr)}"
            run = self._tracker.start(label, group, {**shared, **asdict(lane)}, again=self._again)
            self._runs.append(run)

    def _log(self, step: int, measures: Mapping[str, Any]) -> None:
        per_lane = {name: its for name, its in measures.items() if isinstance(its, np.ndarray)}
        for k, run in enumerate(self._runs):
            numbers = {name: float(values[k]) for name, values in per_lane.items()}
            numbers = {name: number for name, number in numbers.items() if math.isfinite(number)}
            if numbers:
                run.log(numbers, step)

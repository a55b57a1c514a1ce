"""The table of checks, a run of them, and its latest result, which the page shows."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch

from olora_viz.checks.check import Bench, Check, Outcome
from olora_viz.checks.races import RACES
from olora_viz.checks.speed import SPEED
from olora_viz.checks.starts import STARTS
from olora_viz.machine.devices import device_words
from olora_viz.machine.files import A_PATH, cache_folder, read_json_object, reason, write_json
from olora_viz.machine.memory import is_out_of_memory
from olora_viz.machine.process import Progress
from olora_viz.machine.version import versions
from olora_viz.machine.wording import counted

PACKAGES = ("torch", "transformers", "numpy", "scipy", "safetensors")

RIGHT = 1e-5
"""How far a product in float32 may be off, relative to its largest number: sums of 256 with roundings of 6e-8."""


def known(bench: Bench) -> Outcome:
    """Tell versions and device, and compare a product of two matrices with the CPU's in float64."""
    X = torch.randn(256, 256, generator=torch.Generator().manual_seed(0))
    Y, right = X.to(bench.device), X.double() @ X.double()
    off = float(((Y @ Y).cpu().double() - right).abs().max() / right.abs().max())
    its = versions(*PACKAGES)
    threads = counted(torch.get_num_threads(), "thread")
    words = f"{device_words(bench.device)}, {threads if bench.on_cpu else f'beside a CPU with {threads}'}; "
    words += ", ".join(map(" ".join, its.items()))
    return Outcome(off <= RIGHT, words, {"off": off, "device": device_words(bench.device), "versions": its})


CHECKS: tuple[Check, ...] = (
    Check("device", "the device is there, and a product in float32 is right", known, 1), *RACES, *STARTS, *SPEED,
)  # fmt: skip
"""All checks, in the order of the result."""


SUMMARY = ("when", "device", "versions", "seconds", "holds", "falls_short")
"""The keys of `Checking.summary`."""


class Checking:
    """A run of checks on a device.

    Args:
        device: where they run.
        checks: those of the table by default.
    """

    def __init__(self, device: torch.device, checks: Sequence[Check] | None = None) -> None:
        self.device, self.checks = device, CHECKS if checks is None else checks
        self.lines: list[dict[str, Any]] = []
        self._began = time.monotonic()

    def run(self, progress: Progress) -> Iterator[dict[str, Any]]:
        """Try each check in turn, and yield its name, what must hold, and what was found, as plain values.

        One that fails with an error falls short, and the others are tried.
        """
        bench, total = Bench(self.device), sum(check.seconds for check in self.checks)
        ends = accumulate(check.seconds / total for check in self.checks)
        done = 0.0
        try:
            for check, end in zip(self.checks, ends, strict=True):
                bench.progress = partial(_tell, progress, check.name, done, end)
                bench.progress(0.0, "")
                outcome, done = _tried(check, bench), end
                self.lines.append({"name": check.name, "must": check.must} | asdict(outcome))
                yield self.lines[-1]
            progress(1.0, "done")
        finally:
            bench.close()

    @property
    def falls_short(self) -> list[str]:
        """The names of the checks that do not hold."""
        return [line["name"] for line in self.lines if line["holds"] is False]

    def summary(self) -> dict[str, Any]:
        """Return when and where it was, and what falls short, as plain values."""
        return {
            "when": datetime.now(UTC).isoformat(timespec="minutes"),
            "device": device_words(self.device),
            "versions": versions(*PACKAGES),
            "seconds": round(time.monotonic() - self._began, 1),
            "holds": sum(line["holds"] is True for line in self.lines),
            "falls_short": self.falls_short,
        }

    def keep(self) -> None:
        """Keep the result for the page, in place of the one before.

        Raises:
            ValueError, OSError: the cache folder cannot be written.
        """
        write_json(_place(), self.summary() | {"lines": self.lines})


def latest() -> dict[str, Any] | None:
    """Return the result that `Checking.keep` kept last: its summary, and its ``lines``; None if there is none."""
    try:
        result = read_json_object(_place())
    except (OSError, ValueError):
        return None
    return result if result.keys() == {*SUMMARY, "lines"} else None  # of another version


def _tell(progress: Progress, name: str, start: float, end: float, part: float, _: str) -> None:
    """Tell the progress of one check, whose parts may begin again, as that of all."""
    progress(start + (end - start) * min(part, 1.0), name)


def _place() -> Path:
    return cache_folder() / "check.json"


def _tried(check: Check, bench: Bench) -> Outcome:
    """Return what a check finds, whose numbers are finite, or the error with which it fails."""
    try:
        outcome = check.find(bench)
        return replace(outcome, numbers=json.loads(json.dumps(outcome.numbers), parse_constant=lambda _: None))
    except Exception as error:
        if is_out_of_memory(error):
            return Outcome(False, "out of memory")
        return Outcome(False, f"{type(error).__name__}: {A_PATH.sub('a file', reason(error))}")

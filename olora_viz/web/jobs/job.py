"""A race in the background, which open pages can pause, step and stop."""

from __future__ import annotations

import math
import re
import secrets
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

from olora_viz.lanes.read_back import kept
from olora_viz.machine.numbers import duration
from olora_viz.races.race import Race
from olora_viz.views.background_race import BackgroundRace
from olora_viz.web.jobs.work import Work


@dataclass(eq=False)
class Job(Work, BackgroundRace):
    """A race in the queue.

    Between two turns it is paused: on disk as a checkpoint, and on a CPU also in memory until
    another race's turn, so that single steps are quick. A GPU is released immediately.
    """

    grace: float = math.inf
    """Seconds without an open page after which it pauses."""

    def wants_rest(self) -> bool:
        """Whether to pause: on request, at the goal, or without an open page."""
        away = time.monotonic() - self.seen > self.grace
        if away:
            self.why_paused = f"no page watched it for {duration(self.grace)}"
        return away or super().wants_rest()

    def park(self, racing: Race) -> None:
        """Write a checkpoint, and release the GPU."""
        super().park(racing)
        if racing.device.type != "cpu":
            self.release()

    def read_back(self, k: int) -> str:
        """Say what was found when lane k's adapter was read back; empty if it was not."""
        found = kept(self.folder / "adapters" / self.config.labels[k])
        return found.sentence if found else ""

    def adapter_zip(self, k: int) -> Path:
        """Zip lane k's adapter, once, beside the run.

        Raises
        ------
        ValueError : there is no such lane, or its adapter is not written yet.
        """
        labels = self.config.labels
        if not 0 <= k < len(labels):
            raise ValueError(f"lane {k} must be from 0 to {len(labels) - 1}")
        source = self.folder / "adapters" / labels[k]
        if not self.complete or not source.is_dir():
            raise ValueError(f"lane {labels[k]!r} has no adapter yet: the race has not ended")
        name = f"{self.config.model}-{self.config.task}-{labels[k]}".replace("=", "")
        target = self.folder / f"{re.sub(r'[^A-Za-z0-9._+-]', '-', name)}.zip"
        if not target.exists():
            partial = target.with_suffix(f".{secrets.token_hex(4)}")
            try:
                with zipfile.ZipFile(partial, "w") as archive:
                    for path in sorted(source.iterdir()):
                        archive.write(path, f"{target.stem}/{path.name}")
                partial.replace(target)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
        return target

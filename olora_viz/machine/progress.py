"""Progress reports: a bar on standard error, and a callback."""

import math
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from tqdm import tqdm

Progress = Callable[[float, str], None]
"""Callback with the fraction done, in [0, 1], and a short description of the current work.

An exception raised here propagates through the work, so that the caller can cancel it.
"""

LONG, EVERY = 0.5, 0.1
"""Seconds until work counts as long, and between two reports of it."""


class StoppedEarlyError(Exception):
    """Raised inside long work to stop it, at a moment at which nothing is lost."""


class OfLongWork:
    """Progress of work that may be over at once, and then is not reported at all.

    Parameters
    ----------
    progress : called with the rest, a few times a second; None for nobody.
    """

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._last, self._due = (math.inf, ""), math.inf

    def __call__(self, part: float, words: str) -> None:
        """Report it, if that is due."""
        now, last, self._last = time.monotonic(), self._last, (part, words)
        if words != last[1] or part < last[0]:  # other work begins
            self._due = now + LONG
        elif now >= self._due and self._progress is not None:
            self._due = now + EVERY
            self._progress(part, words)


@contextmanager
def reporting(progress: Progress | None) -> Generator[Progress]:
    """Show a bar on standard error while the block runs, and call `progress` as well.

    Parameters
    ----------
    progress : the caller's callback, or None.

    Yields
    ------
    Progress
        A callback that updates both.
    """
    form = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}"
    with tqdm(total=100, bar_format=form, file=sys.stderr, dynamic_ncols=True) as bar:

        def report(fraction: float, words: str) -> None:
            bar.update(100 * min(max(fraction, 0.0), 1.0) - bar.n)  # draws ten times a second
            if words != bar.desc:
                bar.set_description_str(words)  # draws at once
            if progress is not None:
                progress(fraction, words)

        yield report


class Stages:
    """Reports the progress of each stage as progress of the whole.

    Parameters
    ----------
    progress : of the whole, or None.
    done, total : stages that are done already, and their number in all.
    """

    def __init__(self, progress: Progress | None, done: int, total: int) -> None:
        self._progress, self._done, self._total = progress, done, total

    def stage(self, name: str) -> Progress:
        """Begin the next stage, and return its progress callback."""
        done = self._done
        self._done += 1

        def report(part: float, what: str) -> None:
            if self._progress:
                self._progress((done + part) / self._total, f"{name}: {what}")

        return report

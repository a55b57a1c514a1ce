"""What a campaign has tried, seen and found broken, until its time is up."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Tally:
    """The count of a campaign.

    Args:
        name: the campaign.
        minutes: after which it begins nothing new.
    """

    def __init__(self, name: str, minutes: float) -> None:
        self.name, self._begun = name, time.monotonic()
        self._end = self._begun + 60 * minutes
        self.tried: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self.notes: list[str] = []
        self.broken: list[str] = []

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self._end

    @contextmanager
    def trying(self, what: str) -> Iterator[None]:
        """Count one try; an assertion that fails in it is a broken promise, not the end."""
        self.tried[what] += 1
        try:
            yield
        except AssertionError as error:
            self.breach(f"{what}: {error}")

    def breach(self, sentence: str) -> None:
        """Record a broken promise."""
        self.broken.append(sentence)
        print(f"BROKEN: {sentence[:2000]}", flush=True)

    def note(self, sentence: str) -> None:
        """Print what was measured, and keep it for the end."""
        self.notes.append(sentence)
        print(sentence, flush=True)

    def __str__(self) -> str:
        def listed(counts: Counter[str]) -> str:
            return ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))

        seconds = time.monotonic() - self._begun
        return (
            f"{self.name}: tried {listed(self.tried)}; seen {listed(self.seen) or 'nothing else'}; "
            f"{len(self.broken)} promises broken; {seconds:.0f} s"
        )

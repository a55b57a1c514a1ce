"""What one visitor may ask for: sizes, and how often."""

from __future__ import annotations

import math
import os
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from olora_viz.lanes.lane import MAX_LANES
from olora_viz.machine.text import unknown
from olora_viz.models import MODELS
from olora_viz.web.guard.visitor import NOBODY, Visitor

WINDOW = 60.0
"""Seconds over which requests are counted."""


class Rate:
    """Counts the requests of the last minute, by page and by address.

    Args:
        per_page: the most requests.
        per_address: see `per_page`.
        clock: the time in seconds.
    """

    def __init__(self, per_page: int, per_address: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = {"page": per_page, "address": per_address}
        self._clock, self._lock = clock, threading.Lock()
        self._times: dict[tuple[str, str], deque[float]] = defaultdict(deque)

    def count(self, owner: Visitor, what: str) -> None:
        """Count a request.

        Args:
            what: is counted, in the plural.

        Raises:
            ValueError: the visitor has made too many; the message says when to try again.
        """
        if owner == NOBODY:
            return
        with self._lock:
            now = self._clock()
            for key, times in list(self._times.items()):
                while times and times[0] <= now - WINDOW:
                    times.popleft()
                if not times:
                    del self._times[key]
            keys = [("page", owner.page), ("address", owner.address)]
            for kind, name in keys:
                times = self._times.get((kind, name), deque[float]())
                if name and len(times) >= self._most[kind]:
                    wait = math.ceil(times[0] + WINDOW - now)
                    raise ValueError(
                        f"{self._most[kind]} {what} a minute are the most for one {kind}: try again in {wait} s"
                    )
            for key in keys:
                self._times[key].append(now)


def small_models(most: int) -> tuple[str, ...]:
    """Return the names of models with at most so many parameters that anybody may download."""
    return tuple(card.name for card in MODELS.values() if card.parameters <= most and not card.gated)


@dataclass(frozen=True)
class Limits:
    """Limits on what visitors may ask for."""

    max_steps: int = 2000
    """Steps of a race."""
    max_lanes: int = MAX_LANES
    """Lanes of a race."""
    max_batch: int = 64
    """Prompts per step."""
    max_rank: int = 256
    """Rank of a lane."""
    max_tokens: int = 500_000_000
    """Steps x lanes x prompts per step x the longest example of a race; see `tokens_at_most`."""
    max_parameters: int = 600_000_000
    """Weights of a model; larger ones are offered only if ``OLORA_VIZ_MODELS`` names them."""
    max_seconds: int = 1800
    """Computing time of a race or measurement, in seconds."""
    max_waiting: int = 48
    """Races and measurements in the queue; the last third is for visitors who have none in it."""
    page_waiting: int = 3
    """Of these, those of one page."""
    address_waiting: int = 24
    """Of these, those of one address, which an office or a class shares."""
    address_screens: int = 48
    """Pages of one address that follow a race at once; if there are more, the oldest stops."""
    keep_races: int = 60
    """Finished and paused races that are kept for their pages."""
    keep_mib: int = 4000
    """Disk space of those races, in MiB."""
    grace_seconds: int = 300
    """Seconds without a viewer after which a race pauses."""
    max_upload_kib: int = 512
    """Size of a visitor's file, in KiB."""
    max_examples: int = 5000
    """Examples in it."""
    max_characters: int = 4000
    """Characters of each text in it."""
    keep_files: int = 60
    """Visitors' files kept, the newest ones."""
    max_prompt: int = 400
    """Characters of a prompt of a visitor's own to the lanes of a race."""
    page_prompts: int = 10
    """Such prompts of one page, per minute."""
    address_prompts: int = 120
    """The same of one address."""
    models: tuple[str, ...] = small_models(max_parameters)


def from_environment(env: Mapping[str, str] = os.environ) -> Limits:
    """Read the limits of this server.

    >>> from_environment({"OLORA_VIZ_MAX_STEPS": "300"}).max_steps
    300
    """
    values: dict[str, Any] = {}
    for field in fields(Limits):
        name = f"OLORA_VIZ_{field.name.upper()}"
        text = env.get(name, "").strip()
        if not text:
            continue
        if field.name == "models":
            values["models"] = tuple(model.strip() for model in text.split(","))
            for model in values["models"]:
                if model not in MODELS:
                    raise ValueError(unknown("model", model, MODELS) + f" (in {name})")
        else:
            if not (text.isascii() and text.isdecimal() and int(text) > 0):
                raise ValueError(f"{name} must be a whole number of at least 1, not {text!r}")
            values[field.name] = int(text)
    if "models" not in values:
        values["models"] = small_models(values.get("max_parameters", Limits.max_parameters))
        if not values["models"]:
            raise ValueError(f"OLORA_VIZ_MAX_PARAMETERS is {values['max_parameters']}, but every model has more")
    limits = Limits(**values)
    if limits.max_lanes > MAX_LANES:
        raise ValueError(f"OLORA_VIZ_MAX_LANES must be at most {MAX_LANES}")
    return limits

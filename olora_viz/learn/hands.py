"""What lessons let their readers change by hand: numbers for the scripts in `olora_viz/web/hands`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from olora_viz.initializers import label_of
from olora_viz.lanes.lane import Lane
from olora_viz.learn.gallery import load_recording
from olora_viz.learn.lessons import Lesson, qr
from olora_viz.learn.lessons.lesson import RaceNumbers
from olora_viz.machine.text import compact
from olora_viz.races.config import RaceConfig


@dataclass(frozen=True)
class Hand:
    """What one script is given."""

    kind: str
    """Names the script."""
    given: dict[str, Any]
    races: tuple[RaceConfig, ...] = ()
    """Set-ups that the reader may race live, in the order of what is changed."""


def hand(lesson: Lesson) -> Hand | None:
    """Return what a lesson lets its reader change; None if nothing."""
    return HANDS[lesson.name](lesson) if lesson.name in HANDS else None


def _plane(_: Lesson) -> Hand:
    return Hand("plane", {"columns": qr.BY_HAND.T.tolist()})


SHARES = (1.0, 0.5, 0.25, 0.125, 0.0625)
"""The scalings s = α / r of the lesson on one rate."""


def _alpha(lesson: Lesson) -> Hand:
    """Return OLoRA's first gradient at several α: it is proportional to s, since s does not change the model."""
    race = RaceNumbers(load_recording(lesson.recording or ""))
    config = race.recording.config
    (r,) = {lane.r for lane in config.lanes}
    norms = {label_of(init): race.first_gradient(init) for init in ("lora", "olora")}
    lora, olora = (config.lanes[race.lanes(init)[0]] for init in ("lora", "olora"))
    smaller = ([replace(olora, alpha=s * r)] * (s < 1) for s in SHARES)
    races = tuple(_with(config, [lora, olora, *shrunk]) for shrunk in smaller)
    return Hand("alpha", {"rank": r, "shares": SHARES, "norms": norms}, races)


MORE_SEEDS, STEPS = 6, 60
"""Of the live race with more seeds: as many as let chance alone be rarer than one in twenty, and done within 40 s."""


def _luck(lesson: Lesson) -> Hand:
    """Return the differences of OLoRA and LoRA by seed, at every rate."""
    race = RaceNumbers(load_recording(lesson.recording or ""))
    config, final = race.recording.config, race.recording.steps[-1].eval_loss
    assert final is not None
    pairs, races = [], []
    for lr in race.rates("lora"):
        ours, theirs = (race.lanes(init, lr) for init in ("olora", "lora"))
        gaps = [round(float(final[i] - final[j]), 4) for i, j in zip(ours, theirs, strict=True)]
        pairs.append({"rate": compact(lr), "differences": gaps})
        lanes = [
            Lane(init, lr=lr, r=config.lanes[0].r, seed=s) for init in ("lora", "olora") for s in range(MORE_SEEDS)
        ]
        races.append(replace(_with(config, lanes), steps=STEPS))
    names = [label_of(init) for init in ("olora", "lora")]
    return Hand("luck", {"names": names, "pairs": pairs}, tuple(races))


def _with(config: RaceConfig, lanes: Sequence[Lane]) -> RaceConfig:
    return replace(config, lanes=tuple(lanes))


HANDS: dict[str, Callable[[Lesson], Hand]] = {"qr": _plane, "one-rate": _alpha, "fair-rates": _luck}
"""By the name of the lesson."""

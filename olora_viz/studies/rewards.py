"""Lanes that rewards do not teach, as all answers to a prompt earn the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from olora_viz.lanes.lane import Lane, display_names
from olora_viz.machine.wording import Sentence, and_, counted, nats, percent
from olora_viz.races.step import Step

LATE = 10
"""The last steps, over which rewards are averaged."""

FIRST = 5
"""Steps after which it is said that answers never differed in reward."""

FEW_TEACH, FULL = 0.05, 0.95
"""A lane is stuck if answers differ in reward for at most this share of its prompts, and it earns less than this."""

REMEDY = "Take a base model that is sometimes right, a graded reward, or more answers to each prompt."


def late(steps: Sequence[Step], key: str) -> np.ndarray:
    """Return a measure of every step, mean over the last ones: (K,)."""
    return np.mean([step.measures[key] for step in steps[-LATE:]], axis=0)


def stuck(steps: Sequence[Step]) -> list[int]:
    """Return the lanes that hardly learn any more and do not earn the full reward; none where there are no rewards."""
    if len(steps) < LATE or "differing" not in steps[-1].measures:
        return []
    teach, reward = late(steps, "differing"), late(steps, "reward")
    return np.flatnonzero((teach <= FEW_TEACH) & (reward < FULL)).tolist()


def never_taught(steps: Sequence[Step]) -> Sentence | None:
    """Say that no lane has ever had two answers to a prompt that differ in reward, if that is so."""
    if len(steps) < FIRST or "differing" not in steps[-1].measures:
        return None
    if any(np.any(step.measures["differing"] > 0) for step in steps):
        return None
    earned = np.array([step.measures["reward"] for step in steps])
    return Sentence(
        "Rewards teach nothing here:",
        f"in none of {counted(len(steps), 'step')} did two answers to a prompt differ in reward, which was "
        f"{_range(earned)}. {REMEDY}",
    )


def stuck_lanes(lanes: Sequence[Lane], steps: Sequence[Step]) -> list[Sentence]:
    """Say which lanes are stuck; nothing if none is, or if none has ever been taught."""
    those = stuck(steps)
    if not those or never_taught(steps):
        return []
    names = display_names(lanes)
    shown = [names[k] for k in those[:LATE]] + ([f"{len(those) - LATE} more"] if len(those) > LATE else [])
    reward, teach = (late(steps, key)[those] for key in ("reward", "differing"))
    return [
        Sentence(
            f"{and_(shown)} {'are' if len(those) > 1 else 'is'} stuck:",
            f"in the last {LATE} steps the answers differed in reward for {percent(float(teach.mean()))} of the "
            f"prompts, and the reward is {_range(reward)}. A lower rate or a larger kl may keep out of this.",
        )
    ]


def _range(values: np.ndarray) -> str:
    return " to ".join(dict.fromkeys(nats(float(end)) for end in (np.nanmin(values), np.nanmax(values))))

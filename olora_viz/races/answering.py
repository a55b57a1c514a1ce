"""What the lanes of a race answer: held-out prompts, or one of the user's own."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from olora_viz.lanes.answers import Answers
from olora_viz.lanes.eval_mode import EvalMode
from olora_viz.lanes.generation import ask, ask_own
from olora_viz.races.state import RACING

if TYPE_CHECKING:
    from olora_viz.races.race import Race

LONGEST_ANSWER = 40
"""Tokens of an answer to a prompt of the user's own."""


def to_held_out(race: Race, count: int) -> Answers:
    """Return greedy answers of the base model and every lane to `count` held-out prompts."""
    encoded = race.data.held_out[:count]
    with closing(EvalMode(race.model)):
        said = ask(
            race.lanes, race.tokenizer, encoded, race.afterwards, plain_text=race.task.plain_text,
            chat=race.data.chat,
        )  # fmt: skip
    return Answers((replace(answer, step=_step(race)) for answer in said), race.lanes.labels)


def to_own(race: Race, prompt: str) -> Answers:
    """Return greedy answers of the base model and every lane to this text.

    They read exactly it, as a message of the user if the race has a chat template. If the race
    truncates, a longer one is cut at its left, so that prompt and answer are no longer than its
    examples.

    Raises
    ------
    ValueError : the prompt is empty, or too long for the model's context.
    """
    lengths = [len(one.ids) - one.supervised_from for one in race.data.held_out]
    length = LONGEST_ANSWER if race.task.plain_text else min(LONGEST_ANSWER, max(lengths))
    with closing(EvalMode(race.model)):
        said = ask_own(
            race.lanes, race.tokenizer, prompt, length, race.afterwards, chat=race.data.chat,
            limit=race.data.longest if race.config.truncate else math.inf,
        )  # fmt: skip
    return Answers([replace(said, step=_step(race))], race.lanes.labels)


def _step(race: Race) -> int | None:
    """Return the step of the lanes' adapters; None if each has its own best one."""
    return None if race.config.keep_best and race.status != RACING else race.updates

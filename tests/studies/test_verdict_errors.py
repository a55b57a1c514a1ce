"""Equal starts seldom get an order, through the whole rule of a race's verdict."""

import itertools
import re
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from olora_viz.lanes.lane import Lane
from olora_viz.measures.training import Examples
from olora_viz.studies.verdict_line import VerdictLine, verdict_line

STARTS = ("lora", "olora", "pissa", "milora", "sketch", "orthogonal")
RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
SEEDS, EXAMPLES = 3, 64
FIRST_RACES, RACES = 100, 340
"""Races that are simulated at first, and in all if more than 5% of these have an order."""
ORDER = re.compile(r"\b(ahead|behind)\b")


def lanes_of(starts: int) -> list[Lane]:
    every = itertools.product(STARTS[:starts], RATES, range(SEEDS))
    return [Lane(start, lr=lr, seed=seed) for start, lr, seed in every]


def examples_of(rng: np.random.Generator, starts: int, curve: str, gap: float = 0.0, level: float = 0.0) -> Examples:
    """Draw results of starts with the same curve over rates; the second is better by a gap.

    Seeds differ, and examples are hard in another way for every start and rate.
    """
    shape = starts, len(RATES), SEEDS, EXAMPLES
    height = {"flat": 0.0, "steep": 0.5, "cliff": 3.0}[curve]
    over_rates = height * np.abs(np.arange(len(RATES)) - 2)[:, None, None]
    skill = level - over_rates + rng.normal(size=EXAMPLES)
    skill = skill + 0.5 * rng.normal(size=(*shape[:2], 1, EXAMPLES))
    skill = skill + 0.25 * rng.normal(size=(*shape[:3], 1)) + 0.25 * rng.normal(size=shape)
    skill[1] += gap
    loss = np.exp(-0.5 * skill).reshape(-1, EXAMPLES)
    right = (rng.random(shape) < 1 / (1 + np.exp(-skill))).astype(float).reshape(loss.shape)
    unknown = np.full(len(loss), np.nan)
    return Examples(loss, right, unknown, unknown)


def check_seldom_ordered(verdict: Callable[[], VerdictLine | None]) -> None:
    """Check that the orders of simulated races may come from a true rate of 5%.

    Were one race in five ordered, as with seeds alone, this would fail nearly always; were one in ten, in 65 of 100
    runs. With 300 races and no first look, that would be in 60.
    """
    wrong = 0
    for number in range(1, RACES + 1):
        found = verdict()
        assert found is not None
        wrong += bool(ORDER.search(str(found)))
        if number == FIRST_RACES and wrong <= 0.05 * number:
            return
    assert stats.binomtest(wrong, RACES, 0.05, alternative="greater").pvalue > 0.001, wrong


@pytest.mark.parametrize("plain_text", [False, True], ids=["accuracy", "loss"])
@pytest.mark.parametrize("curve", ["flat", "steep", "cliff"])
@pytest.mark.parametrize("starts", [2, 3, 6])
def test_equal_starts_are_ordered_in_at_most_five_of_a_hundred_races(
    starts: int, curve: str, plain_text: bool
) -> None:
    rng, lanes = np.random.default_rng(starts), lanes_of(starts)
    check_seldom_ordered(
        lambda: verdict_line(lanes, examples_of(rng, starts, curve), plain_text=plain_text, ended=True)
    )


@pytest.mark.parametrize("level", [7.0, -7.0], ids=["ceiling", "floor"])
def test_equal_starts_at_a_ceiling_or_floor_are_not_ordered_by_the_loss_either(level: float) -> None:
    rng, lanes = np.random.default_rng(0), lanes_of(3)

    def verdict() -> VerdictLine | None:
        found = verdict_line(lanes, examples_of(rng, 3, "steep", level=level), ended=True)
        assert found is None or found.metric == "loss"
        return found

    check_seldom_ordered(verdict)


@pytest.mark.parametrize("plain_text", [False, True], ids=["accuracy", "loss"])
def test_a_large_difference_is_found(plain_text: bool) -> None:
    rng, lanes, right = np.random.default_rng(1), lanes_of(3), 0
    for _ in range(20):
        examples = examples_of(rng, 3, "cliff", gap=4.0)
        found = verdict_line(lanes, examples, plain_text=plain_text, ended=True)
        assert found is not None
        right += found.leader == "olora"
        assert found.leader in ("olora", "")
    assert right > 10

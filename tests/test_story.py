"""The sentences beside the charts follow from the numbers, also where these change sides."""

import math

import numpy as np
import pytest

from olora_viz import story, theme
from olora_viz.lane import Lane
from olora_viz.step import Step

RATES = (
    Lane("lora", lr=1e-3), Lane("lora", lr=3e-3), Lane("olora", lr=1e-3), Lane("olora", lr=3e-3),
)  # fmt: skip


def steps(*held_out: list[float], first_norms: list[float] | None = None) -> list[Step]:
    """One step per list of held-out losses; an empty list is a step without evaluation."""
    lanes = max(len(losses) for losses in held_out) if any(held_out) else len(first_norms or [])
    made = []
    for n, losses in enumerate(held_out, start=1):
        loss = np.array(losses) if losses else np.full(lanes, 5.0)
        made.append(
            Step(
                step=n, loss=loss.copy(), grad_norm=np.array(first_norms or [1.0] * lanes),
                lr=np.ones(lanes), seconds=float(n), tokens=n, status=("racing",) * lanes,
                eval_loss=loss.copy() if losses else None,
                eval_accuracy=np.exp(-loss) if losses else None,
            )
        )  # fmt: skip
    return made


def told(lanes: tuple[Lane, ...], made: list[Step]) -> str:
    return " ".join(map(str, story.tell(lanes, theme.looks(lanes), made)))


def test_before_the_first_evaluation_it_says_that_all_start_equal() -> None:
    text = told(RATES, steps([], first_norms=[1.0, 1.0, 5.0, 5.0]))
    assert "Every lane starts from the same function" in text
    assert "5.00 nats" in text
    assert "OLoRA's first gradient is 5.0 times LoRA's." in text


def test_a_shared_rate_is_compared_first_and_then_the_rate_that_helps_the_rival() -> None:
    text = told(RATES, steps([0.9, 0.4, 0.4, 0.2]))
    assert "At one shared rate (1e-3) OLoRA is far ahead of LoRA" in text
    assert "0.40 against 0.90 at step 1" in text
    assert "With three times the rate, LoRA keeps up (0.40)." in text
    assert "Each at the best rate tried, OLoRA is far ahead of LoRA" in text


def test_the_story_turns_when_the_numbers_do() -> None:
    text = told(RATES, steps([0.3, 0.2, 0.8, 0.7]))
    assert "At one shared rate (1e-3) OLoRA is far behind LoRA" in text
    assert "Each at the best rate tried, LoRA is far ahead of OLoRA" in text
    assert "With three times" not in text


def test_tiny_losses_are_level_whatever_their_ratio() -> None:
    text = told(RATES, steps([0.012, 0.010, 0.004, 0.001]))
    assert "At one shared rate (1e-3) OLoRA is level with LoRA" in text


def test_it_warns_where_the_best_rate_is_the_largest_one_tried() -> None:
    assert "a larger one may do better" in told(RATES, steps([0.9, 0.4, 0.4, 0.2]))
    assert "a larger one may do better" not in told(RATES, steps([0.4, 0.9, 0.2, 0.4]))


def test_with_one_rate_for_all_the_leader_and_the_next_are_named() -> None:
    lanes = (Lane("pissa"), Lane("milora"), Lane("sketch"))
    assert "Sketch is ahead of PiSSA, the next best" in told(lanes, steps([0.5, 0.9, 0.4]))


def test_one_start_at_several_rates_is_told_too() -> None:
    lanes = (Lane("olora", lr=1e-3), Lane("olora", lr=3e-3))
    assert "OLoRA at the best rate tried: OLoRA 0.30 (at 1e-3)." in told(lanes, steps([0.3, 0.5]))


def test_a_single_lane_tells_without_a_comparison() -> None:
    assert isinstance(told((Lane("olora"),), steps([0.3])), str)


def test_a_diverged_lane_is_named_with_its_step_and_is_never_the_best() -> None:
    nan = math.nan
    made = steps([0.9, 0.4, 0.4, 0.1], [0.9, 0.4, 0.4, nan], [0.8, 0.4, 0.3, nan])
    text = told(RATES, made)
    assert "OLoRA 3e-3 is out of the race at step 2" in text
    assert "OLoRA 0.30 (at 1e-3)" in text
    rows = story.standings(made, 4)
    assert [row.lane for row in rows] == [2, 1, 0, 3]
    assert [row.out_at for row in rows] == [0, 0, 0, 2]


def test_when_all_are_out_it_still_speaks() -> None:
    nan = math.nan
    made = steps([1.0, 1.0], [nan, nan])
    assert "out of the race at step 2" in told((Lane("lora"), Lane("olora")), made)


@pytest.mark.parametrize("losses", [[], [0.4, 0.3, 0.2, 0.1]])
def test_standings_hold_the_newest_evaluation_and_the_first_gradient(losses: list[float]) -> None:
    made = steps([0.5, 0.5, 0.5, 0.4], losses, first_norms=[1, 2, 3, 4])
    rows = {row.lane: row for row in story.standings(made, 4)}
    assert rows[3].loss == pytest.approx(losses[3] if losses else 0.4)
    assert rows[2].first_grad_norm == 3


def test_the_caveat_counts_the_seeds() -> None:
    assert "one seed" in story.caveat([Lane("lora"), Lane("olora")])
    assert "3 seeds" in story.caveat([Lane("lora", seed=s) for s in range(3)])

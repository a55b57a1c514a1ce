"""What is said of lanes that rewards do not teach, in steps made by hand and in real races."""

from collections.abc import Sequence

import numpy as np
import pytest
from support.steps import a_step, judged

import olora_viz as ov
from olora_viz.lanes.lane import Lane, display_names
from olora_viz.races.step import Step
from olora_viz.studies.rewards import FIRST, LATE, never_taught, stuck
from olora_viz.studies.story import story_of
from olora_viz.studies.verdict_line import verdict_line

LANES = (Lane("lora"), Lane("olora"), Lane("pissa"))


def steps(reward: Sequence[float], differing: Sequence[float], count: int = LATE) -> list[Step]:
    """Steps of three lanes with the same rewards, evaluated at the end."""
    more = {"reward": np.array(reward), "differing": np.array(differing)}
    made = [a_step(n, 1 - more["reward"], **more) for n in range(1, count + 1)]
    loss = np.full((3, 40), 2.0)
    return [*made[:-1], judged(made[-1], loss + 1e-3 * np.random.default_rng(0).normal(size=loss.shape))]


def said(made: list[Step]) -> str:
    return " ".join(map(str, story_of(LANES, display_names(LANES), made)))


def headline(made: list[Step], ended: bool = True) -> str:
    line = verdict_line(LANES, made[-1].eval_examples, ended=ended, steps=made)
    assert line is not None
    return line.headline


def test_a_lane_is_stuck_whose_answers_hardly_differ_before_they_earn_everything() -> None:
    made = steps([0.5, 0.99, 0.6], [0.04, 0.0, 0.5])
    assert stuck(made) == [0]
    assert "LoRA is stuck: in the last 10 steps the answers differed in reward for 4% of the prompts" in said(made)
    line = verdict_line(LANES, made[-1].eval_examples, ended=True, steps=made)
    assert line is not None
    assert any("LoRA is stuck" in str(sentence) for sentence in line.sentences)
    both = steps([0.5, 0.99, 0.6], [0.04, 0.0, 0.01])
    assert "LoRA and PiSSA are stuck: " in said(both)
    assert "and the reward is 0.50 to 0.60" in said(both)


@pytest.mark.parametrize("made", [steps([0.5] * 3, [0.04] * 3, LATE - 1), steps([0.5] * 3, [0.2] * 3)])
def test_nothing_is_said_too_early_or_of_lanes_that_learn(made: list[Step]) -> None:
    assert stuck(made) == []
    assert never_taught(made) is None
    assert "stuck" not in said(made)
    assert "train for more steps" in headline(made)


def test_where_no_answers_ever_differ_that_is_the_verdict_and_more_steps_are_not_advised() -> None:
    made = steps([0.0] * 3, [0.0] * 3)
    text = "in none of 10 steps did two answers to a prompt differ in reward, which was 0.00."
    assert text in said(made)
    assert "stuck" not in said(made), "one sentence is enough"
    assert headline(made) == "Rewards teach nothing here."
    assert headline(made, ended=False) == "Rewards teach nothing here."
    assert never_taught(made[: FIRST - 1]) is None
    one = steps([0.0] * 3, [0.0, 0.0, 0.2])
    assert never_taught(one) is None


def test_a_diverged_lane_is_neither_stuck_nor_taught() -> None:
    nan = float("nan")
    assert stuck(steps([nan, 0.5, 0.9], [nan, 0.0, 0.3])) == [1]
    assert never_taught(steps([nan, 0.5, 0.5], [nan, 0.0, 0.0])) is not None


@pytest.mark.parametrize("reward", [0.0, 0.5, 1.0])
def test_a_reward_that_is_the_same_for_every_answer_is_one_sentence_and_keeps_the_race(reward: float) -> None:
    lanes = (ov.Lane("lora", r=2), ov.Lane("olora", r=2))
    config = ov.RaceConfig(
        model="glassllm-sentiment", task="sentiment", lanes=lanes, steps=FIRST, batch_size=2, samples=2,
        eval_every=FIRST, objective="reinforce", metric=lambda answer, right: reward,
    )  # fmt: skip
    racing = ov.race(config)
    done = list(racing)
    racing.lanes.detach()
    assert len(done) == FIRST
    assert all(np.all(step.measures["reward"] == reward) and not step.grad_norm.any() for step in done)
    nothing = never_taught(done)
    assert nothing is not None
    assert f"which was {reward:.2f}. Take a base model that is sometimes right" in str(nothing)

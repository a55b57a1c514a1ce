"""The sentences beside the charts keep to the rules, whatever was measured."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.steps import a_step, judged
from support.told import NAN, first_gradients, told

from olora_viz.initializers import label_of
from olora_viz.lanes.lane import Lane
from olora_viz.machine.wording import compact
from olora_viz.races.step import Step
from olora_viz.studies.contest import fields_of

A_LANE = st.builds(
    Lane,
    init=st.sampled_from(["lora", "olora", "pissa", "gaussian"]),
    lr=st.sampled_from([1e-3, 3e-3, 2.5e-2]),
    r=st.sampled_from([8, 8, 64]),
    alpha=st.sampled_from([None, None, 64.0]),
    seed=st.sampled_from([0, 0, 1]),
    weight_decay=st.sampled_from([0.0, 0.0, 0.1]),
    clip=st.sampled_from([None, None, 1.0]),
)
any_race = given(
    lanes=st.lists(A_LANE, min_size=1, max_size=10).map(tuple),
    seed=st.integers(0, 2**32 - 1),
    scale=st.sampled_from([0.01, 1.0, 20.0]),
)
often = settings(max_examples=200, deadline=None)


def race(lanes: tuple[Lane, ...], seed: int, scale: float) -> list[Step]:
    """One to four steps; some lanes diverge, some steps are evaluated."""
    rng, K = np.random.default_rng(seed), len(lanes)
    out_at = rng.choice([1, 2, 3, 9, 9, 9, 9, 9, 9], K)
    hard = rng.uniform(0.1, 1, 12)
    made = []
    for n in range(1, rng.integers(2, 6)):
        out = out_at <= n
        step = a_step(
            n, np.where(out, NAN, 5.0 if n == 1 else rng.uniform(0.1, 6, K)),
            np.where(out, NAN, 10 ** rng.uniform(-2, 2, K)), seconds=n, tokens=n,
        )  # fmt: skip
        if rng.random() < 0.7:
            means = rng.uniform(0.1, 1, (K, 1)) * np.where(out, NAN, scale)[:, None]
            step = judged(step, means * hard)
        made.append(step)
    return made


@often
@any_race
def test_with_one_seed_nobody_is_ahead_and_orders_are_of_this_run(
    lanes: tuple[Lane, ...], seed: int, scale: float
) -> None:
    one_seed = tuple(dict.fromkeys(lane.__class__(**{**vars(lane), "seed": 0}) for lane in lanes))
    for plain_text in (False, True):
        text = told(one_seed, race(one_seed, seed, scale), plain_text=plain_text)
        assert not re.search(r"\b(is ahead of|is behind)\b(?![^:]*in this run:)", text)


@often
@any_race
def test_every_number_that_is_said_was_measured(lanes: tuple[Lane, ...], seed: int, scale: float) -> None:
    made = race(lanes, seed, scale)
    text = told(lanes, made)
    assert not re.search(r"\b(nan|inf|infinity)\b", text, re.IGNORECASE)
    assert set(re.findall(r"\d[\d.]*e-\d", text)) <= {compact(lane.lr) for lane in lanes}
    assert {int(n) for n in re.findall(r"step (\d+)", text)} <= {step.step for step in made}
    assert text.count("out of the race") == any(np.isnan(made[-1].loss))


@often
@any_race
def test_first_gradients_are_compared_among_lanes_that_are_alike(
    lanes: tuple[Lane, ...], seed: int, scale: float
) -> None:
    made = race(lanes, seed, scale)
    for mine, factor, theirs in first_gradients(lanes, made):
        (field,) = fields_of(lanes)
        of = {
            label_of(init): made[0].grad_norm[[k for group in field.of(init) for k in group.lanes]].mean()
            for init in field.roles
        }
        words = {"twice": 2, "three times": 3, "five times": 5, "ten times": 10}
        ratio = words.get(factor) or float(factor.removesuffix(" times"))
        assert ratio == pytest.approx(of[mine] / of[theirs], rel=0.06)
        assert ratio > 1

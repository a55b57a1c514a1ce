"""A whole story of equal lanes seldom has an order in it, however many comparisons it tells."""

import itertools
import re

import numpy as np
import pytest
from support.steps import a_step, judged

from olora_viz.lanes.lane import Lane, display_names
from olora_viz.studies import story
from olora_viz.studies.contest import contests_of
from olora_viz.studies.statistics import Scores, compare, holm

ORDERED = re.compile(r"ahead of|behind|did better|did worse")
STARTS = ("lora", "olora", "pissa", "milora")


def lanes_of(starts: int, rates: int) -> list[Lane]:
    pairs = itertools.product(STARTS[:starts], np.geomspace(1e-3, 1e-2, rates))
    return [Lane(init, lr=float(lr)) for init, lr in pairs]


def test_a_story_of_equal_lanes_has_an_order_in_at_most_five_of_a_hundred() -> None:
    lanes, rng, trials = lanes_of(2, 3), np.random.default_rng(3), 300
    names, wrong = display_names(lanes), 0
    for _ in range(trials):
        level = rng.normal(size=64) + 0.7 * rng.normal(size=(len(lanes), 64))
        right = rng.random(level.shape) < 1 / (1 + np.exp(-level))
        loss = np.exp(-level)
        step = judged(a_step(1, loss.mean(1)), loss, right.astype(float))
        wrong += bool(ORDERED.search(" ".join(map(str, story.story_of(lanes, names, [step])))))
    # Were each comparison allowed its own five of a hundred, it would be 20 of 300 here.
    assert wrong <= 0.05 * trials


def test_every_comparison_that_is_told_shares_one_error_rate() -> None:
    """The p-values are Holm's over the pairs at best rates and those at every shared rate."""
    lanes, rng = lanes_of(3, 4), np.random.default_rng(4)
    loss = rng.random((len(lanes), 60)) + np.array([i * 0.02 for i in range(len(lanes))])[:, None]
    step = judged(a_step(1, loss.mean(1)), loss)
    (contest,) = contests_of(lanes, step.eval_examples, by_loss=True, most=1)
    assert len(contest.shared) == 4
    comparisons = [contest.pairs[pair] for pair in ((0, 1), (0, 2), (1, 2))]
    comparisons += [each.pairs[each.places["olora"], each.places["lora"]] for each in contest.shared]
    places = {(lane.init, lane.lr): k for k, lane in enumerate(lanes)}
    best = [(group.lane.init, group.lane.lr) for group in contest.contenders]
    plain = [loss[[places[start]], 1::2] for start in best]
    pairs = [(plain[i], plain[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    pairs += [(loss[[4 + k]], loss[[k]]) for k in range(4)]
    raw = [compare(Scores(a), Scores(b)).p_value for a, b in pairs]
    assert [one.p_value for one in comparisons] == pytest.approx(holm(raw))

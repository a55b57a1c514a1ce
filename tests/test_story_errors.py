"""A whole story of equal lanes seldom has an order in it, however many comparisons it tells."""

import itertools
import re

import numpy as np
from steps import a_step, judged

from olora_viz.lanes.labels import display_names
from olora_viz.lanes.lane import Lane
from olora_viz.studies import story
from olora_viz.studies.comparison import fields_of

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
        wrong += bool(ORDERED.search(" ".join(map(str, story.tell(lanes, names, [step])))))
    # Were each comparison allowed its own five of a hundred, it would be 20 of 300 here.
    assert wrong <= 0.05 * trials


def test_a_story_counts_the_comparisons_that_it_tells() -> None:
    assert fields_of(lanes_of(2, 1))[0].told == 1  # one pair
    assert fields_of(lanes_of(3, 1))[0].told == 2  # the main two, and all
    assert fields_of(lanes_of(2, 3))[0].told == 2
    ranks = [Lane(init, r=r) for init in ("lora", "olora") for r in (2, 4, 8, 16)]
    assert {field.told for field in fields_of(ranks)} == {4}

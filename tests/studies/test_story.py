"""The sentences beside the charts follow from the numbers of steps made by hand."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.steps import a_step, judged, without
from support.told import NAN, PAIR, RATES, SEEDS, first_gradients, steps, told

from olora_viz.lanes.lane import Lane, display_names
from olora_viz.races.config import DEFAULT_LANES
from olora_viz.races.step import Step
from olora_viz.studies import story
from olora_viz.studies.ranking import standings
from olora_viz.studies.sentences import MOST_NAMED
from olora_viz.tasks.evaluation import HeldOut

ORDER = re.compile(r"\b(ahead of|behind|differs too little)\b")


def test_before_the_first_evaluation_it_says_that_all_start_equal() -> None:
    made = steps([], first_norms=[1.0, 1.0, 4.7, 4.7])
    text = told(RATES, made)
    assert "as the base model" in text
    assert f"{made[0].loss[0]:.2f} nats" in text
    assert first_gradients(RATES, made) == [("OLoRA", "4.7 times", "LoRA")]
    assert not ORDER.search(text)


def test_one_seed_is_told_as_this_run_with_its_interval_and_examples() -> None:
    text = told(RATES, steps([0.9, 0.5, 0.4, 0.2]))
    assert "OLoRA against LoRA in this run, at one rate: better at 1e-3 and 3e-3" in text
    assert "0.40 against 0.90 nats at 1e-3, 0.20 against 0.50 at 3e-3 (" in text
    assert "40 held-out examples; one seed" in text
    assert "Each at its best rate, OLoRA (3e-3) did better in this run than LoRA (3e-3)" in text
    assert "40 held-out examples, rates chosen on 20 and compared on the others; one seed" in text
    assert "; on the 20 that chose no rate a difference of" in text
    assert not ORDER.search(text)


def test_several_seeds_may_be_ahead() -> None:
    text = told(SEEDS, steps([0.9, 0.92, 0.88, 0.4, 0.41, 0.43], first_norms=[1, 3, 5, 7, 9, 11]))
    assert "At one rate (1e-3) OLoRA is ahead of LoRA" in text
    assert "40 held-out examples; 3 seeds" in text
    assert "OLoRA's first gradient is three times LoRA's." in text


def test_seeds_that_vary_more_than_the_starts_cannot_be_told_apart() -> None:
    text = told(SEEDS, steps([0.9, 0.3, 0.5, 0.4, 0.8, 0.2]))
    assert "OLoRA cannot be told apart from LoRA" in text
    assert not ORDER.search(text)


def test_losses_within_the_margin_are_level_and_it_is_named() -> None:
    text = told(SEEDS, steps([0.90, 0.91, 0.90, 0.905, 0.90, 0.905]))
    assert "OLoRA differs too little from LoRA to matter (less than 0.09 nats)" in text


def test_equal_runs_give_the_same_results() -> None:
    (step,) = steps([0.9])
    loss = np.repeat(step.eval_examples.loss, 2, 0)
    text = told(PAIR, [judged(a_step(1, [1.0, 1.0]), loss)])
    assert "LoRA gives the same results as OLoRA" in text


def test_accuracy_counts_where_there_are_answers_and_the_loss_is_said_beside_it() -> None:
    rng = np.random.default_rng(1)
    loss = np.array([2.0, 1.5])[:, None] + 0.1 * rng.normal(size=(2, 40))
    right = np.zeros((2, 40))
    right[0, :30] = 1
    right[1, 30:] = 1
    made = [judged(a_step(1, loss.mean(1)), loss, right)]
    text = told(PAIR, made, plain_text=False)
    assert "LoRA did better in this run than OLoRA: accuracy 75% against 25%" in text
    right[1] = np.roll(right[0], 1)
    text = told(PAIR, [judged(a_step(1, loss.mean(1)), loss, right)], plain_text=False)
    assert re.search(r"OLoRA (differs too little from|cannot be told apart from) LoRA", text)
    assert "held-out loss" not in text.partition(" By loss, ")[0]
    assert " By loss, OLoRA did better in this run than LoRA: held-out loss 1.49 against 2.00, a difference of" in text
    assert text.count("40 held-out examples; one seed") == 2  # each comparison says what it rests on


def test_with_one_rate_for_all_the_first_is_compared_with_every_other() -> None:
    lanes = tuple(Lane(i, seed=s) for i in ("pissa", "milora", "sketch") for s in range(3))
    text = told(lanes, steps([0.5, 0.51, 0.49, 0.9, 0.91, 0.92, 0.4, 0.405, 0.395]))
    assert "Sketch is ahead of PiSSA and MiLoRA: Sketch 0.40, PiSSA 0.50, MiLoRA 0.91 nats" in text


def test_what_the_shared_rate_has_shown_is_not_said_twice() -> None:
    assert told(SEEDS, steps([0.5] * 3 + [0.4] * 3)).count("LoRA is ") == 1


def test_one_rate_per_start_is_not_called_the_best_of_several() -> None:
    lanes = (Lane("lora", lr=1e-3), Lane("olora", lr=3e-3))
    text = told(lanes, steps([0.9, 0.4]))
    assert "Each at its only rate, OLoRA (3e-3) did better" in text
    assert "best rate" not in text


@pytest.mark.parametrize(
    ("held_out", "end"),
    [([0.9, 0.5, 0.4, 0.2], "largest"), ([0.9, 0.5, 0.2, 0.4], "lowest"), ([0.2, 0.9, 0.5, 0.5], "lowest")],
)
def test_a_best_rate_at_an_end_of_those_tried_is_said(held_out: list[float], end: str) -> None:
    said = told(RATES, steps(held_out))
    assert re.search(rf"LoRA's rate is the {end} one tried|LoRA are the {end} ones tried", said)


def test_one_start_at_several_rates_compares_them() -> None:
    lanes = (Lane("olora", lr=1e-3), Lane("olora", lr=3e-3))
    text = told(lanes, steps([0.3, 0.5]))
    assert "OLoRA 1e-3 did better in this run than OLoRA 3e-3" in text
    assert "differ in rate" in text


def test_a_single_lane_tells_its_results_without_a_comparison() -> None:
    assert told((Lane("olora"),), steps([0.3])) == ("OLoRA: held-out loss 0.30 (40 held-out examples).")


def test_a_start_that_has_lost_a_seed_is_not_compared() -> None:
    lanes = (*SEEDS, *(Lane("pissa", seed=seed) for seed in range(3)))
    text = told(lanes, steps([0.9, 0.4, 0.5, 0.3, 0.2, NAN, 0.1, 0.11, 0.12]))
    assert re.search(r"PiSSA is ahead of LoRA|PiSSA cannot be told apart from LoRA", text)
    assert not re.search(r"OLoRA (is|cannot|did)|(than|of|from) OLoRA", text)


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"r": 64}, "rank"),
        ({"alpha": 16}, "scaling"),
        ({"rslora": True}, "scaling"),
        ({"seed": 1}, "seed"),
        ({"weight_decay": 0.1}, "weight decay"),
        ({"clip": 1.0}, "clipping"),
        ({"beta2": 0.99}, "betas"),
        ({"lora_plus": 16.0}, "LoRA+ ratio"),
        ({"dropout": 0.1}, "dropout"),
        ({"targets": ("q_proj", "v_proj")}, "targets"),
        ({"schedule": "cosine"}, "schedule"),
        ({"warmup": 2}, "warm-up"),
        ({"dim": 64}, "directions"),
        ({"replay": 0.05}, "replay"),
    ],
)
def test_lanes_that_differ_in_more_than_start_and_rate_are_not_compared_as_starts(
    other: dict[str, Any], what: str
) -> None:
    lanes = (Lane("lora"), Lane("olora", **other))
    text = told(lanes, steps([0.9, 0.4], first_norms=[1.0, 5.0]))
    assert "did better in this run than" in text
    assert f"differ in start and {what}" in text
    assert "gradient" not in text

    lanes = (*lanes, Lane("pissa", **other))
    text = told(lanes, steps([0.9, 0.4, 0.1], first_norms=[1.0, 5.0, 10.0]))
    assert re.search(r"Compared here: the lanes with .+, which differ only in start\.", text)
    assert "PiSSA did better in this run than OLoRA: held-out loss 0.10 against 0.40" in text
    assert "PiSSA's first gradient is twice OLoRA's." in text


def test_of_equal_lanes_one_is_compared() -> None:
    text = told((Lane("lora"), Lane("lora"), Lane("olora"), Lane("olora")), steps([0.9, 0.9, 0.4, 0.4]))
    assert "Of lanes that are equal in everything, one is compared." in text
    assert "one seed" in text


def test_every_rank_of_a_race_over_ranks_is_told() -> None:
    lanes = tuple(Lane(init, r=r) for r in (2, 8) for init in ("lora", "olora"))
    text = told(lanes, steps([0.9, 0.4, 0.3, 0.5]))
    assert "With rank 2, OLoRA did better" in text
    assert "With rank 8, LoRA did better" in text


def test_results_without_examples_are_not_compared() -> None:
    made = [without(step, "eval_examples") for step in steps([0.9, 0.4])]
    text = told(PAIR, made)
    assert "held-out loss is LoRA 0.90 and OLoRA 0.40 nats" in text
    assert "not compared" in text


@pytest.mark.parametrize(
    ("norms", "sentence"),
    [
        ([4.9, 141.0], "OLoRA's first gradient is 29 times LoRA, Gaussian A's."),
        ([141.0, 4.9], "LoRA, Gaussian A's first gradient is 29 times OLoRA's."),
        ([1.0, 1.04], "The first gradients of OLoRA and LoRA, Gaussian A are about equally large."),
        ([0.0, 1.0], None),
        ([NAN, 1.0], None),
    ],
)
def test_the_larger_first_gradient_is_said_in_multiples_of_the_smaller(
    norms: list[float], sentence: str | None
) -> None:
    text = told((Lane("gaussian"), Lane("olora")), steps([], first_norms=norms))
    assert ("first gradient" in text) == (sentence is not None)
    assert (sentence or "") in text


def test_the_first_loss_is_that_of_a_lane_that_has_one() -> None:
    assert "the loss is 4.00 nats" in told(PAIR, without_evaluation([NAN, 4.0]))
    assert "as the base model" not in told(PAIR, without_evaluation([NAN, NAN]))
    assert "as the base model" not in told(PAIR, without_evaluation([3.0, 4.0]))


def without_evaluation(loss: list[float]) -> list[Step]:
    return [a_step(1, loss)]


def test_a_diverged_lane_is_named_with_its_step_and_is_never_the_best() -> None:
    made = steps([0.9, 0.4, 0.4, 0.1], [0.9, 0.4, 0.4, NAN], [0.8, 0.4, 0.3, NAN])
    text = told(RATES, made)
    assert "OLoRA 3e-3 (step 2) is out of the race: its loss" in text
    assert "OLoRA (1e-3) did better in this run than LoRA (3e-3)" in text
    rows = standings(made, 4)
    assert [row.lane for row in rows] == [2, 1, 0, 3]
    assert [row.out_at for row in rows] == [0, 0, 0, 2]


@pytest.mark.parametrize("out", range(5))
def test_all_who_are_out_are_told_of_once_and_so_are_those_who_are_left(out: int) -> None:
    text = told(RATES, steps([1.0] * 4, [NAN] * out + [1.0] * (4 - out)))
    assert text.count("out of the race") == (out > 0)
    assert text.count("The others are not affected.") == (0 < out < 4)
    assert text.count("No lane is left.") == (out == 4)
    assert text.count("(step 2)") == (out if out <= MOST_NAMED else MOST_NAMED - 1)
    assert text.count("more are out") == (out > MOST_NAMED)


@pytest.mark.parametrize("lanes", [RATES, SEEDS, DEFAULT_LANES])
def test_the_story_of_a_race_is_short(lanes: tuple[Lane, ...]) -> None:
    rng = np.random.default_rng(3)
    said = story.story_of(
        lanes, display_names(lanes), steps(list(rng.uniform(0.2, 1.5, len(lanes)))), plain_text=False
    )
    assert len(said) <= 6


def test_that_no_lane_does_better_than_guessing_is_said() -> None:
    right = np.zeros((2, 40))
    right[:, :16] = 1
    loss = np.random.default_rng(0).uniform(0.5, 1, (2, 40)) * [[1.0], [3.0]]
    lanes = (Lane("lora"), Lane("olora"))
    steps = [judged(a_step(1, loss.mean(1)), loss, right)]
    about = HeldOut(40, 0.5, "always “true”", 80, 80)

    def told(held_out: HeldOut, *, ended: bool = False) -> str:
        said = story.story_of(lanes, ("LoRA", "OLoRA"), steps, held_out=held_out, ended=ended)
        return " ".join(map(str, said))

    rest = "lane is clearly better than guessing: the best is right in 40% of 40 answers, and always “true” in 50%."
    assert told(about).startswith(f"So far no {rest}")
    assert told(about, ended=True).startswith(f"No {rest}")
    assert "clearly better than guessing" in told(replace(about, guess=0.3)), "40% of 40 may be 30%"
    assert "guessing" not in told(replace(about, guess=0.2))
    assert "guessing" not in told(replace(about, guess=None))

"""A start is called better conditioned only if that holds over the batches."""

import re

import numpy as np
import pytest

from olora_viz.studies.story import compare_conditions, compared_conditions

RNG = np.random.default_rng(0)
EASE = np.exp(RNG.normal(3.0, 1.0, 8))
"""How hard each of eight batches is, for any lane."""


def said(*conditions, lane=1, other=0):
    return str(compared_conditions(np.array(conditions), lane, other, "OLoRA", "LoRA"))


@pytest.mark.parametrize(("ratio", "lead"), [(0.5, "better conditioned than"), (2.0, "worse conditioned than")])
def test_a_ratio_that_holds_on_every_batch_decides(ratio, lead):
    told = said(EASE, EASE * ratio * np.exp(RNG.normal(0.0, 0.05, 8)))
    assert re.search(rf"seed OLoRA is {lead} LoRA: over 8 batches", told)
    assert f"is {ratio:.1g}"[:4] in told


def test_a_ratio_that_turns_from_batch_to_batch_decides_nothing():
    told = said(EASE, EASE * np.array([0.3, 3.0] * 4))
    assert told.startswith("Which is better conditioned differs by batch:")
    assert told.endswith("it is lower on 4 of 8.")


def test_the_first_two_batches_of_the_default_race_decide_nothing():
    told = said([15.0, 64.0], [9.9, 96.0])
    assert told.startswith("Which is better conditioned differs by batch:")
    assert "median of 53 (9.9 to 96) against 39.5 (15 to 64) for LoRA's" in told


def test_one_batch_decides_nothing_however_large_the_ratio():
    told = said([1000.0], [2.0])
    assert told.startswith("One batch does not tell which is better conditioned:")
    assert "2 against 1000" in told


def test_equal_conditions_are_level_and_any_scale_of_all_changes_no_verdict():
    assert "OLoRA is about as well conditioned as LoRA:" in said(EASE, EASE)
    mine = EASE * np.exp(RNG.normal(0.4, 0.2, 8))
    for pair in (np.array([EASE, mine]), 10.0 * np.array([EASE, mine])):
        found = compare_conditions(pair)
        assert found[1, 0].difference == -found[0, 1].difference
        assert found[1, 0].in_these_runs == "behind"


@pytest.mark.parametrize("power", [1.0, 1e3, 1e9])
def test_what_is_about_equal_does_not_depend_on_how_large_the_conditions_are(power):
    unsure, near = (EASE * np.exp(spread * np.array([-1.0, 1.0] * 4)) for spread in (0.6, 0.1))
    assert said(power * EASE, power * unsure).startswith("Which is better conditioned differs")
    assert "OLoRA is about as well conditioned as LoRA" in said(power * EASE, power * near)


def test_a_singular_kernel_has_no_condition_and_the_other_lanes_are_compared():
    singular = np.array([np.inf, *EASE[1:]])
    told = said(EASE, singular)
    assert told.startswith("The tangent kernel of OLoRA has no condition number: on 1 of 8 batches")
    assert said(singular, EASE).startswith("The tangent kernel of LoRA has no condition number")
    found = compare_conditions(np.array([EASE, singular, EASE]))
    assert set(found) == {(0, 2), (2, 0)}
    assert compare_conditions(np.array([singular])) == {}

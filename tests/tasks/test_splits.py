"""Splits: the part of a prompt depends on its words and a seed, and on nothing else."""

import json
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.races import small

from olora_viz.races.race import race
from olora_viz.tasks import Example, load_task
from olora_viz.tasks.task import HELD_OUT_SHARE, by_content, words_of

PARTS = ("train", "held_out", "test")
ROWS = [{"prompt": f"What is the capital of country {i}?", "answer": f"C{i}"} for i in range(327)]


def written(folder, name, rows):
    path = folder / name
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def places(task):
    """The part of every prompt."""
    return {example.prompt: part for part in PARTS for example in getattr(task, part)}


def test_the_name_of_a_file_and_the_order_of_its_rows_change_no_part(tmp_path):
    first = places(load_task(written(tmp_path, "a.jsonl", ROWS)))
    assert places(load_task(written(tmp_path, "b.jsonl", ROWS))) == first
    shuffled = random.Random(0).sample(ROWS, len(ROWS))
    assert places(load_task(written(tmp_path, "a.jsonl", shuffled))) == first


def test_rows_that_are_added_or_removed_change_no_other_part(tmp_path):
    some = places(load_task(written(tmp_path, "a.jsonl", ROWS[100:])))
    every = places(load_task(written(tmp_path, "a.jsonl", ROWS)))
    assert some == {prompt: every[prompt] for prompt in some}


def test_another_seed_splits_otherwise_and_another_order_does_not(tmp_path):
    path = str(written(tmp_path, "a.jsonl", ROWS))
    config = replace(small(), task=path, steps=1, eval_every=0)
    first, ordered, split = (race(replace(config, **change)) for change in ({}, {"seed": 7}, {"split_seed": 7}))
    assert ordered.task == first.task
    assert ordered.batch(1).input_ids.tolist() != first.batch(1).input_ids.tolist()
    assert places(split.task) != places(first.task)


same_words = st.lists(
    st.sampled_from("three four and make, Three FOUR make? five six".split()), min_size=1, max_size=6
)


@given(prompts=st.lists(same_words, min_size=2, max_size=40), seed=st.integers(0, 2**31 - 1))
@settings(max_examples=60, deadline=None)
def test_prompts_of_the_same_words_are_in_one_part(prompts, seed):
    examples = [Example(" ".join(words), " x") for words in prompts]
    if len(set(map(words_of, examples))) < 2:
        with pytest.raises(ValueError, match="all have the same words"):
            by_content(examples, "some", None, seed)
        return
    parts = by_content(examples, "any", None, seed)
    assert sorted(e.prompt for part in parts for e in part) == sorted(e.prompt for e in examples)
    words = [set(map(words_of, part)) for part in parts]
    assert sum(map(len, words)) == len(set.union(*words))
    assert words[0]
    assert words[1]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("three and four make", "Four and THREE make:", True),
        ("twenty-three and four", "twenty-four and three", True),
        ("“Who’s there?”", "who's there", True),
        ("ﬁne Ａ", "fine a", True),
        ("3 + 4 =", "3 - 4 =", False),
        ("3 + 4 =", "3 + 44 =", False),
        ("1.5 x", "15 x", False),
        ("add 3", "add -3", False),
        ("the the cat", "the cat", False),
        ("?", "!", False),
    ],
)
def test_words_are_what_case_order_and_punctuation_leave(one, other, same):
    assert (words_of(Example(one, "a")) == words_of(Example(other, "a"))) == same


def test_the_two_shares_are_shares():
    examples = [Example(f"number {i}", " a") for i in range(20_000)]
    train, held_out, test = by_content(examples, "numbers", None, 3)
    for part in (held_out, test):
        assert len(part) / len(examples) == pytest.approx(HELD_OUT_SHARE, abs=0.01)
    assert len(train) / len(examples) == pytest.approx(1 - 2 * HELD_OUT_SHARE, abs=0.015)


@pytest.mark.parametrize("count", [2, 5])
def test_a_split_leaves_something_on_both_sides(count):
    with pytest.raises(ValueError, match="pairs has too few different prompts to hold out"):
        by_content([Example("a", " b"), Example("c", " d")], "pairs", count, 0)

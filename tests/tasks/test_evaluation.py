"""Held-out scores are those of hand algebra, and a choice that begins another one does not win."""

import numpy as np
import pytest
import torch
from support.races import small

import olora_viz as ov
from olora_viz.tasks.encoding import encode
from olora_viz.tasks.evaluation import evaluate, held_out_of
from olora_viz.tasks.task import Example, Task

YES = tuple(Example(f"Is {n} a number?", " yes sir", choices=(" yes", " yes sir")) for n in range(24))
TRUTH = tuple(
    Example(f"Is {n} even?", f" the correct answer is {word}", choices=())
    for n in range(12)
    for word in ["true" if n % 2 == 0 else "false"]
)
LONG = tuple(
    Example(f"The number after {n} is", f" {n + 1}", choices=(f" {n + 1}", f" not {n}, and not 3"))
    for n in range(10, 22)
)


@pytest.fixture(scope="module")
def glassllm() -> tuple:
    return ov.load_model("glassllm")


def scores_by_hand(model: torch.nn.Module, ids: tuple[int, ...], begin: int) -> np.ndarray:
    """The cross-entropy of every token from a place on, by the plain model."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0].double()
    lost = -torch.log_softmax(logits, -1)
    return np.array([float(lost[at - 1, ids[at]]) for at in range(begin, len(ids))])


def test_a_choice_that_begins_another_one_does_not_win() -> None:
    task = Task("yes", "", train=YES[:16], held_out=YES[16:], ends=True)
    lanes = (ov.Lane("lora", lr=1e-2), ov.Lane("olora", lr=1e-2))
    race = ov.race(small(lanes, steps=25, batch_size=8, eval_size=8), task=task)
    last = list(race)[-1]
    assert last.eval_accuracy.tolist() == [1.0, 1.0]
    assert {answer.lanes for answer in race.answers(3)} == {("yes sir", "yes sir")}


def test_choices_are_scored_by_their_likelihood_and_by_that_of_a_character(glassllm: tuple) -> None:
    model, tokenizer = glassllm
    encoded = encode(LONG, tokenizer, context=128, ends=True).kept
    found = evaluate(model, encoded, 1, pad_id=0, batch_size=5)
    right, normalized = [], []
    for example, its in zip(LONG, encoded, strict=True):
        total = [scores_by_hand(model, c.ids, c.supervised_from).sum() for c in its.choices]
        each = [x / len(c.strip()) for x, c in zip(total, example.choices, strict=True)]
        right.append(np.argmin(total) == its.correct)
        normalized.append(np.argmin(each) == its.correct)
        assert all(c.ids[-1] == tokenizer.eos_token_id for c in its.choices)
    assert found.accuracy[0] == pytest.approx(np.mean(right))
    assert found.accuracy_normalized[0] == pytest.approx(np.mean(normalized))
    assert found.example_right[0].tolist() == [float(one) for one in right]


def test_without_choices_there_is_no_normalized_accuracy(glassllm: tuple) -> None:
    model, tokenizer = glassllm
    encoded = encode(TRUTH, tokenizer, context=128).kept
    found = evaluate(model, encoded, 1, pad_id=0, batch_size=4)
    assert np.isnan(found.accuracy_normalized).all()


def test_the_guess_among_choices_is_the_better_of_the_most_frequent_and_chance(glassllm: tuple) -> None:
    _, tokenizer = glassllm
    often, rarely = encode(YES, tokenizer, context=128), encode(LONG, tokenizer, context=128)
    one = held_out_of(often, often, rarely, (8, 2), (0, 0), plain_text=False)
    assert (one.guess, one.test_guess, one.test) == (1.0, 0.5, 2)
    other = held_out_of(rarely, rarely, often, (8, 8), (0, 0), plain_text=False)
    assert (other.guess, other.guess_words) == (0.5, "at random")
    assert one.without_quotes().guess_words == "always the same answer"
    assert other.without_quotes().guess_words == "at random"

"""Built-in tasks: made from a seed, judged by prompts never trained on, short, and told by name."""

import random
import re

import pytest

from olora_viz.models import load_model
from olora_viz.tasks import TASKS, Example, encode, load_task
from olora_viz.tasks.built_in import HELD_OUT, MAX_TRAIN
from olora_viz.tasks.task import split_by_prompt

BUILT_IN = [name for name, card in TASKS.items() if card.offline]
WITH_PROMPTS = [name for name in BUILT_IN if name != "text"]
DIGITS = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}
NUMBERS = {
    word: n
    for n, word in enumerate("one two three four five six seven eight nine".split(), start=1)
} | {
    word: 10 * n
    for n, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), 2)
}


def all_of(task):
    return task.train + task.held_out


def roman_value(letters):
    values = [DIGITS[letter] for letter in letters]
    return sum(
        -v if any(v < later for later in values[i + 1 : i + 2]) else v for i, v in enumerate(values)
    )


def word_value(word):
    return sum(NUMBERS[part] for part in word.split("-"))


def test_the_catalogue_names_what_the_contract_names():
    assert {"addition", "number-words", "sentiment", "uppercase", "text"} <= set(BUILT_IN)
    hub = set(TASKS) - set(BUILT_IN)
    assert {"arc-easy", "arc-challenge", "boolq", "hellaswag", "openbookqa", "piqa"} <= hub
    assert "alpaca-cleaned" in hub
    assert all(name == card.name for name, card in TASKS.items())
    assert all(card.summary and card.answer for card in TASKS.values())


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_same_seed_gives_the_same_task(name):
    assert load_task(name, 3) == load_task(name, 3)
    assert load_task(name, 3).train != load_task(name, 4).train
    assert set(load_task(name, 3).held_out) != set(load_task(name, 4).held_out)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", BUILT_IN)
def test_no_prompt_is_trained_on_and_held_out(name, seed):
    task = load_task(name, seed)
    trained = {example.prompt or example.answer for example in task.train}
    held_out = {example.prompt or example.answer for example in task.held_out}
    assert not trained & held_out
    assert len(held_out) == len(task.held_out) == HELD_OUT
    assert 200 < len(trained) == len(task.train) <= MAX_TRAIN


@pytest.mark.parametrize("name", WITH_PROMPTS)
def test_the_sample_in_the_catalogue_is_of_the_tasks_form(name):
    card = TASKS[name]
    shape = [len(card.prompt.split()), len(card.answer.split())]
    task = load_task(name)
    shapes = [[len(e.prompt.split()), len(e.answer.split())] for e in all_of(task)]
    assert shape in shapes
    assert card.choices == any(e.choices for e in task.train)


@pytest.mark.parametrize("name", WITH_PROMPTS)
def test_the_answer_carries_the_space(name):
    for example in all_of(load_task(name)):
        assert example.answer[0] == " "
        assert not example.prompt.endswith(" ")
        assert not example.choices or example.answer in example.choices


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_example_is_short_for_the_smallest_model(name):
    model, tokenizer = load_model("glassllm")
    task = load_task(name)
    encoding = encode(
        all_of(task),
        tokenizer,
        context=model.config.max_position_embeddings,
        plain_text=task.plain_text,
    )
    assert max(len(e.ids) for e in encoding.kept) <= (64 if task.plain_text else 24)


def test_answers_are_right():
    for example in all_of(load_task("addition")):
        a, b = map(int, example.prompt.rstrip("=").split("+"))
        assert int(example.answer) == a + b
    for example in all_of(load_task("number-words")):
        a, b = example.prompt.removesuffix(" make").split(" and ")
        assert word_value(example.answer.strip()) == word_value(a) + word_value(b)
    for example in all_of(load_task("uppercase")):
        assert example.answer == " " + example.prompt.removesuffix(" in capitals:").upper()
    for example in all_of(load_task("roman")):
        assert roman_value(example.answer.strip()) == int(example.prompt.split()[0])
    for example in all_of(load_task("bigger")):
        numbers = sorted(map(int, re.findall(r"\d+", example.prompt)))
        assert int(example.answer) == numbers[1]
        assert sorted(map(int, example.choices)) == numbers


def test_roman_numerals_repeat_no_letter_four_times():
    written = [e.answer.strip() for e in all_of(load_task("roman"))]
    assert len(set(written)) == len(written)
    assert not [w for w in written if re.search(r"(.)\1\1\1|VV|LL", w)]
    assert {"IV", "XIV", "XLIX", "XCIX"} <= set(written)


def test_what_makes_a_sum_is_in_training_although_its_prompt_is_new():
    # A held-out sum can be learned: its last digits occur in training with another ten.
    task = load_task("addition")

    def last_digits(example):
        a, b = map(int, example.prompt.rstrip("=").split("+"))
        return a % 10, b

    assert {last_digits(e) for e in task.held_out} <= {last_digits(e) for e in task.train}


def test_plain_text_has_no_prompt_and_no_story_twice():
    task = load_task("text")
    assert task.plain_text
    assert not any(example.prompt for example in all_of(task))
    assert len({e.answer for e in all_of(task)}) == len(all_of(task))
    assert not [e for e in all_of(task) if re.search(r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]", e.answer)]


def test_built_in_answers_do_not_end_the_text():
    assert not any(load_task(name).ends for name in BUILT_IN)


def test_an_unknown_name_says_the_nearest():
    with pytest.raises(ValueError, match="unknown task 'additon'; did you mean 'addition'"):
        load_task("additon")
    with pytest.raises(ValueError, match="did you mean 'arc-easy'"):
        load_task("ARC-easy")
    with pytest.raises(ValueError, match="unknown task ''"):
        load_task("")


def test_a_split_keeps_a_prompts_examples_together():
    examples = [Example(f"p{i % 7}", f" {i}") for i in range(50)]
    train, held_out = split_by_prompt(examples, 3, "a seed")
    assert sorted((*train, *held_out), key=repr) == sorted(examples, key=repr)
    assert len({e.prompt for e in held_out}) == 3
    assert not {e.prompt for e in held_out} & {e.prompt for e in train}


@pytest.mark.parametrize("held_out", [0, 2, 5])
def test_a_split_leaves_something_on_both_sides(held_out):
    with pytest.raises(ValueError, match=f"2 different prompts cannot be split into {held_out}"):
        split_by_prompt([Example("a", " b"), Example("c", " d")], held_out, "")


def test_an_example_is_never_without_an_answer():
    with pytest.raises(ValueError, match="is empty"):
        Example("3 + 4 =", "")
    with pytest.raises(ValueError, match="' 9' is not among its choices"):
        Example("3 + 4 =", " 9", (" 7", " 8"))


def test_a_task_does_not_depend_on_the_order_in_which_it_is_asked_for():
    random.seed(5)
    first = load_task("text", 1)
    load_task("roman")
    random.seed(6)
    assert load_task("text", 1) == first

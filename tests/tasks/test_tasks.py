"""Built-in tasks: made from a seed, judged by prompts never trained on, short, and told by name."""

import random
import re

import pytest

from olora_viz.models import load_model
from olora_viz.tasks import TASKS, Example, encode, generated, load_task
from olora_viz.tasks.built_in import HELD_OUT, MAX_TRAIN
from olora_viz.tasks.task import words_of

BUILT_IN = [name for name, card in TASKS.items() if card.offline]
WITH_PROMPTS = [name for name in BUILT_IN if name != "text"]
DIGITS = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}
NUMBERS = {word: n for n, word in enumerate("one two three four five six seven eight nine".split(), start=1)} | {
    word: 10 * n for n, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), 2)
}


def roman_value(letters):
    values = [DIGITS[letter] for letter in letters]
    return sum(-v if any(v < later for later in values[i + 1 : i + 2]) else v for i, v in enumerate(values))


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
    first = load_task(name, 3)
    generated.cache_clear()
    assert load_task(name, 3) == first
    assert load_task(name, 3).train != load_task(name, 4).train
    assert set(load_task(name, 3).held_out) != set(load_task(name, 4).held_out)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", BUILT_IN)
def test_no_two_parts_hold_prompts_of_the_same_words(name, seed):
    # "three and four make" teaches "four and three make".
    task = load_task(name, seed)
    trained, held_out, tested = (
        {words_of(example) for example in part} for part in (task.train, task.held_out, task.test)
    )
    assert not trained & held_out
    assert not trained & tested
    assert not held_out & tested
    assert len(set(task.held_out)) == len(set(task.test)) == HELD_OUT
    assert 200 < len(set(task.train)) == len(task.train) <= MAX_TRAIN


@pytest.mark.parametrize("name", WITH_PROMPTS)
def test_the_sample_in_the_catalogue_is_of_the_tasks_form(name):
    card = TASKS[name]
    shape = [len(card.prompt.split()), len(card.answer.split())]
    task = load_task(name)
    shapes = [[len(e.prompt.split()), len(e.answer.split())] for e in task.examples]
    assert shape in shapes
    assert card.choices == any(e.choices for e in task.train)


@pytest.mark.parametrize("name", WITH_PROMPTS)
def test_the_answer_carries_the_space(name):
    for example in load_task(name).examples:
        assert example.answer[0] == " "
        assert not example.prompt.endswith(" ")
        assert not example.choices or example.answer in example.choices


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_example_is_short_for_the_smallest_model(name):
    model, tokenizer = load_model("glassllm-pt" if name.endswith("-pt") else "glassllm")
    task = load_task(name)
    encoding = encode(
        task.examples, tokenizer, context=model.config.max_position_embeddings, plain_text=task.plain_text
    )
    assert max(len(e.ids) for e in encoding.kept) <= (64 if task.plain_text else 48 if task.ends else 24)


def test_answers_are_right():
    for example in load_task("addition").examples:
        a, b = map(int, example.prompt.rstrip("=").split("+"))
        assert int(example.answer) == a + b
    for example in load_task("number-words").examples:
        a, b = example.prompt.removesuffix(" make").split(" and ")
        assert word_value(example.answer.strip()) == word_value(a) + word_value(b)
    for example in load_task("uppercase").examples:
        assert example.answer == " " + example.prompt.removesuffix(" in capitals:").upper()
    for example in load_task("roman").examples:
        assert roman_value(example.answer.strip()) == int(example.prompt.split()[0])
    for example in load_task("bigger").examples:
        numbers = sorted(map(int, re.findall(r"\d+", example.prompt)))
        assert int(example.answer) == numbers[1]
        assert sorted(map(int, example.choices)) == numbers
    kinds = {"a": "person", "in": "person", "ton": "place", "ford": "place", "co": "firm", "ers": "firm"}
    for example in load_task("tagging").examples:
        names = re.findall(r"(?<!^)\b[A-Z]\w+|^\w+", example.prompt.removesuffix(" Names:"))
        of_names = (next(kinds[end] for end in sorted(kinds, key=len, reverse=True) if n.endswith(end)) for n in names)
        assert example.answer == " " + "; ".join(map("{}: {}".format, names, of_names))
    for example in load_task("rewriting").examples:
        agent, verb, patient = re.fullmatch(r"The (\w+ \w+) (\w+) the (\w+)\. Before:", example.prompt).groups()
        participle = example.answer.removeprefix(f" The {patient} was ").removesuffix(f" by the {agent}.")
        assert participle.isalpha()
        assert participle[0] == verb[0]
    tens = "vinte trinta quarenta cinquenta sessenta setenta oitenta noventa"
    numbers = {word: n for n, word in enumerate("um dois três quatro cinco seis sete oito nove".split(), start=1)}
    numbers |= {word: 10 * n for n, word in enumerate(tens.split(), start=2)}
    for example in load_task("number-words-pt").examples:
        a, b, made = (
            sum(numbers[word] for word in words.split(" e "))
            for words in (*example.prompt.removesuffix(" são").split(" e mais "), example.answer.strip())
        )
        assert a + b == made
    for example in load_task("plural-pt").examples:
        assert all(word.endswith("s") for word in example.answer.split())


def test_roman_numerals_repeat_no_letter_four_times():
    written = [e.answer.strip() for e in load_task("roman").examples]
    assert len(set(written)) == len(written)
    assert not [w for w in written if re.search(r"(.)\1\1\1|VV|LL", w)]
    assert {"IV", "XIV", "XLIX", "XCIX"} <= set(written)


def test_what_makes_a_sum_is_in_training_although_its_prompt_is_new():
    # A held-out sum can be learned: its last digits occur in training with another ten.
    task = load_task("addition")

    def last_digits(example):
        a, b = map(int, example.prompt.rstrip("=").split("+"))
        return a % 10, b

    for part in (task.held_out, task.test):
        assert {last_digits(e) for e in part} <= {last_digits(e) for e in task.train}


def test_plain_text_has_no_prompt_and_no_story_twice():
    task = load_task("text")
    assert task.plain_text
    assert not any(example.prompt for example in task.examples)
    assert len({e.answer for e in task.examples}) == len(task.examples)
    assert not [e for e in task.examples if re.search(r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]", e.answer)]


def test_built_in_answers_end_the_text_where_a_metric_scores_them_whole():
    for name in BUILT_IN:
        task = load_task(name)
        assert task.ends == (task.metric != "none") == (name in ("tagging", "rewriting"))


def test_an_unknown_name_says_the_nearest():
    with pytest.raises(ValueError, match="unknown task 'additon'; did you mean 'addition'"):
        load_task("additon")
    with pytest.raises(ValueError, match="did you mean 'arc-easy'"):
        load_task("ARC-easy")
    with pytest.raises(ValueError, match="unknown task ''"):
        load_task("")


def test_an_example_is_never_without_an_answer():
    with pytest.raises(ValueError, match="is empty"):
        Example("3 + 4 =", "")
    with pytest.raises(ValueError, match="' 9' is not among its choices"):
        Example("3 + 4 =", " 9", (" 7", " 8"))


def test_a_task_does_not_depend_on_the_order_in_which_it_is_asked_for():
    random.seed(5)
    first = load_task("text", 1)
    generated.cache_clear()
    load_task("roman")
    random.seed(6)
    assert load_task("text", 1) == first

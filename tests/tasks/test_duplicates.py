"""Training examples that repeat an evaluated one, exactly or nearly, are removed and counted."""

import itertools
import random
from collections import Counter

import pytest

from olora_viz.tasks import Example, Task
from olora_viz.tasks.task import NEAR_WORDS, SHORTEST, Duplicates, deduplicated, words_of

LONG = "a lorry of nine tons leaves the harbour before dawn and meets two cyclists near York"


def task_of(train, *judged):
    made = [tuple(Example(text, " x") for text in texts) for texts in (train, judged)]
    return Task("some", "Some.", made[0], made[1][:1], test=made[1][1:])


def kept(task):
    return [example.prompt for example in deduplicated(task).train]


FILLERS = [f"filler{a}{b} nothing alike" for a, b in itertools.product("abcdefgh", repeat=2)]


@pytest.mark.parametrize(
    ("trained", "judged", "exact", "near"),
    [
        ("three and four make", "three and four make", 1, 0),
        ("Three  and four\nmake", "three and four make", 1, 0),
        ("four and three make", "three and four make", 0, 1),
        ("“Three and four”, make:", "three and four make", 0, 1),
        ("three and five make", "three and four make", 0, 0),
        (LONG, LONG.replace("York", "Leeds tonight"), 0, 0),
        (LONG, LONG + " tonight", 0, 1),
        (LONG + " tonight", LONG, 0, 1),
        ("3 + 4 =", "3 - 4 =", 0, 0),
    ],
)
@pytest.mark.parametrize("place", [0, 1])
def test_what_repeats_an_evaluated_prompt_is_removed(trained, judged, exact, near, place):
    evaluated = [FILLERS[0], FILLERS[1]]
    evaluated[place] = judged
    task = task_of([trained, *FILLERS[2:]], *evaluated)
    assert deduplicated(task).duplicates == Duplicates(exact, near)
    assert kept(task) == [trained] * (not exact + near) + FILLERS[2:]


def test_what_a_template_shares_does_not_make_prompts_alike():
    template = "Translate the following word into French and keep the tone of the source: {}"
    words = [f"word{a}{b}" for a, b in itertools.product("abcdefgh", repeat=2)]
    task = task_of([template.format(word) for word in words[2:]], *map(template.format, words[:2]))
    assert deduplicated(task) == task


def jaccard(a, b):
    return sum((a & b).values()) / sum((a | b).values())


def test_the_search_finds_what_comparing_all_pairs_finds():
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghij", k=4)) for _ in range(400)]
    texts = [" ".join(rng.choices(words, k=rng.randint(5, 30))) for _ in range(60)]
    judged = []
    for text in texts:
        its = text.split()
        for place in rng.sample(range(len(its)), rng.randint(0, 3)):
            its[place] = rng.choice(words)
        judged.append(" ".join(rng.sample(its, len(its))))
    task = task_of(texts, *judged)
    bags = [[Counter(words_of(e)) for e in part] for part in (task.train, task.held_out + task.test)]
    wanted = [
        text
        for text, bag in zip(texts, bags[0], strict=True)
        if not any(
            bag == other or (jaccard(bag, other) >= NEAR_WORDS and bag.total() >= SHORTEST) for other in bags[1]
        )
    ]
    assert 10 < len(wanted) < 50
    assert kept(task) == wanted


def test_a_task_of_duplicates_alone_is_refused():
    with pytest.raises(ValueError, match="some: every training prompt is also held out or tested"):
        deduplicated(task_of(["one two"], "two one"))


def test_the_counts_are_said_in_one_sentence():
    assert Duplicates().sentence == ""
    said = (Duplicates(1) + Duplicates(1200, 3)).sentence
    assert said == ("Removed from training: 1,204 examples with a held-out or test prompt (1,201 the same, 3 nearly).")

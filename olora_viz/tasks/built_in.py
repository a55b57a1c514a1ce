"""The built-in tasks: generated from a seed, short, and learned in seconds."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

from olora_viz.tasks.split import Split
from olora_viz.tasks.stories import stories
from olora_viz.tasks.task import Example, Task, TaskCard

HELD_OUT = 64
"""Number of held-out prompts of each built-in task, and number of test prompts."""

MAX_TRAIN = 1500
"""Maximum training examples of a built-in task: races are short, so more would not be seen."""

_UNITS = ["", *"one two three four five six seven eight nine".split()]
_TENS = ["", "", *"twenty thirty forty fifty sixty seventy eighty ninety".split()]
_NUMERALS = {100: "C", 90: "XC", 50: "L", 40: "XL", 10: "X", 9: "IX", 5: "V", 4: "IV", 1: "I"}

_THINGS = "tea cake soup bread game song party dance garden house day walk story book".split()
_GOOD = "nice good lovely sweet beautiful fine splendid delightful pleasant grand".split()
_BAD = "horrid bad ugly nasty dreadful dull awful dirty cold terrible".split()
_PEOPLE = ("She was", "He was", "Alice was", "They were")

_KINDS = (
    "big cold dark dry fine good green high kind long new old poor quick red sad short small soft "
    "tall warm wet wild young"
).split()
_NOUNS = (
    "apple bird boat book cake cat cup dog door fish flower friend garden girl hat hen horse house "
    "key king lamp moon mouse queen rose sea shoe song star stone tree wolf"
).split()


def addition(rng: random.Random) -> list[Example]:
    """Add a digit to a number below 100, without a carry: 550 prompts.

    Every pair of last digits occurs with every ten, so held-out prompts are new combinations.

    >>> addition(random.Random())[31]
    Example(prompt='3 + 4 =', answer=' 7', choices=(), line=0)
    """
    return [Example(f"{a} + {b} =", f" {a + b}") for a, b in _sums()]


def number_words(rng: random.Random) -> list[Example]:
    """Add a digit to a number below 100, without a carry, in words: 396 prompts.

    Zero and the numbers from ten to nineteen have irregular names and are left out.

    >>> number_words(random.Random())[18]
    Example(prompt='three and four make', answer=' seven', choices=(), line=0)
    """
    return [
        Example(f"{_in_words(a)} and {_in_words(b)} make", f" {_in_words(a + b)}")
        for a, b in _sums()
        if a and b and a // 10 != 1
    ]


def sentiment(rng: random.Random) -> list[Example]:
    """Predict how a person felt about something with two good or two bad qualities: 10,080
    prompts."""
    return [
        Example(f"The {thing} was {first} and {second}. {somebody}", feeling)
        for adjectives, feeling in ((_GOOD, " happy"), (_BAD, " sad"))
        for first, second in itertools.permutations(adjectives, 2)
        for thing in _THINGS
        for somebody in _PEOPLE
    ]


def uppercase(rng: random.Random) -> list[Example]:
    """Write two words in capitals: 768 prompts; held-out prompts are new pairs of words.

    >>> uppercase(random.Random())[12]
    Example(prompt='big garden in capitals:', answer=' BIG GARDEN', choices=(), line=0)
    """
    return [
        Example(f"{kind} {noun} in capitals:", f" {kind} {noun}".upper())
        for kind in _KINDS
        for noun in _NOUNS
    ]


def roman(rng: random.Random) -> list[Example]:
    """Write the numbers from 1 to 399 in Roman numerals: 399 prompts.

    >>> roman(random.Random())[13]
    Example(prompt='14 in Roman numerals:', answer=' XIV', choices=(), line=0)
    """
    return [Example(f"{n} in Roman numerals:", f" {_in_roman(n)}") for n in range(1, 400)]


def bigger(rng: random.Random) -> list[Example]:
    """Choose the larger of two different two-digit numbers: 8,010 prompts, two choices."""
    return [
        Example(f"Which is bigger, {a} or {b}?", f" {max(a, b)}", choices=(f" {a}", f" {b}"))
        for a, b in itertools.permutations(range(10, 100), 2)
    ]


def text(rng: random.Random) -> list[Example]:
    """Generate distinct short stories; there is no prompt, and every token is supervised."""
    return [Example("", story) for story in stories(rng, MAX_TRAIN + HELD_OUT)]


def _sums() -> list[tuple[int, int]]:
    return [(a, b) for a in range(100) for b in range(10) if a % 10 + b < 10]


def _in_words(n: int) -> str:
    tens, unit = divmod(n, 10)
    return "-".join(word for word in (_TENS[tens], _UNITS[unit]) if word)


def _in_roman(n: int) -> str:
    letters = ""
    for value, numeral in _NUMERALS.items():
        count, n = divmod(n, value)
        letters += numeral * count
    return letters


def _card(
    make: Callable[[random.Random], list[Example]], summary: str, sample: Example
) -> TaskCard:
    name = make.__name__.replace("_", "-")

    def load(seed: int, split: Split) -> Task:
        made = make(random.Random(f"{name} {seed}"))
        train, held_out, test = split(made, name, HELD_OUT, seed)
        plain = not sample.prompt
        return Task(name, summary, train[:MAX_TRAIN], held_out, plain_text=plain, test=test)

    return TaskCard(
        name,
        summary,
        sample.prompt,
        sample.answer,
        load,
        offline=True,
        choices=bool(sample.choices),
    )


BUILT_IN = (
    _card(addition, "A number plus a digit, in digits.", Example("3 + 4 =", " 7")),
    _card(
        number_words,
        "A number plus a digit, in words.",
        Example("three and four make", " seven"),
    ),
    _card(
        sentiment,
        "Whether a person is happy or sad about something.",
        Example("The tea was horrid and cold. She was", " sad"),
    ),
    _card(uppercase, "Two words in capitals.", Example("big garden in capitals:", " BIG GARDEN")),
    _card(roman, "Numbers up to 399 in Roman numerals.", Example("14 in Roman numerals:", " XIV")),
    _card(
        bigger,
        "The larger of two numbers, as multiple choice.",
        Example("Which is bigger, 37 or 52?", " 52", choices=(" 37", " 52")),
    ),
    _card(
        text,
        "Short stories as plain text: every token is supervised.",
        Example("", "An old fox lived by the river."),
    ),
)
"""The built-in tasks, in display order."""

"""The tasks that come with the program: made from a seed, short, and learned in seconds."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

from olora_viz.tasks.stories import stories
from olora_viz.tasks.task import Example, Task, TaskCard, split_by_prompt

HELD_OUT = 64
"""How many prompts each built-in task holds out; the smallest, of 225 prompts, trains on 161."""

MAX_TRAIN = 1500
"""The most examples a built-in task trains on: races are short, so more would never be seen."""

_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
).split()
_TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()
_NUMERALS = {100: "C", 90: "XC", 50: "L", 40: "XL", 10: "X", 9: "IX", 5: "V", 4: "IV", 1: "I"}

_THINGS = "tea cake soup bread game song party dance garden house day walk story book".split()
_GOOD = "nice good lovely sweet beautiful fine splendid delightful pleasant grand".split()
_BAD = "horrid bad ugly nasty dreadful dull awful dirty cold terrible".split()
_PEOPLE = "She He Alice They".split()

_WORDS = """
    apple arm arrow bag ball banana bank barn basket bath beach bean bear bed bee bell bench bird
    blanket boat bone book boot bottle bowl box boy branch bread brick bridge brother brush bucket
    bus butter button cage cake camel candle card carrot cart castle cat chair cheese cherry chick
    child church circle city clock cloud coat coffee coin collar corn cow cradle cream crow crown
    cup curtain daughter desk dinner dish doctor dog doll door dragon dream dress drum duck eagle
    ear earth egg evening eye face farm farmer father feather fence field finger fire fish flag
    flower fly fog foot forest fork fox friend frog fruit garden gate ghost giant girl glass glove
    goat gold goose grain grape grass green hair hammer hand harbour hat hay head heart hedge hen
    hill honey horn horse house ice ink iron island jacket jam jar jewel judge juice kettle key
    king kitchen kite kitten knee knife knight ladder lady lake lamb lamp lantern leaf leg lemon
    letter light lily lion lock maid mail man map market mask meadow meal milk mill mirror moment
    money monkey moon morning mother mountain mouse mouth music nail name neck needle nest night
    noise north nose nut oak ocean office oil onion orange oven owl paint pan paper parrot path
    peach pear pen pencil pepper picture pie pig pillow pin pipe plant plate plum pocket pond pony
    pool pot potato pump puppy queen question rabbit rain ring river road robin rock roof room root
    rope rose sail salt sand school sea seed shadow sheep shell ship shirt shoe shop shore sister
    sky sleep snail snake snow soap sock song sound soup spade spider spoon spring square stable
    star station steam stick stone storm story stove straw street sugar summer sun swan table tail
    tailor tea teacher tent thread throne thumb ticket tiger toast toe tooth tower town toy train
    tree trumpet turtle uncle valley village violin voice wagon wall water wave wheel whistle
    window wing winter wolf woman wood wool word worm yard year
""".split()


def addition(rng: random.Random) -> list[Example]:
    """Add two numbers from 0 to 19 in digits: 400 prompts.

    >>> addition(random.Random())[64]
    Example(prompt='3 + 4 =', answer=' 7', choices=(), line=0)
    """
    return [Example(f"{a} + {b} =", f" {a + b}") for a in range(20) for b in range(20)]


def number_words(rng: random.Random) -> list[Example]:
    """Add two numbers from 1 to 15 in words: 225 prompts.

    >>> number_words(random.Random())[33]
    Example(prompt='three and four make', answer=' seven', choices=(), line=0)
    """
    return [
        Example(f"{_in_words(a)} and {_in_words(b)} make", f" {_in_words(a + b)}")
        for a in range(1, 16)
        for b in range(1, 16)
    ]


def sentiment(rng: random.Random) -> list[Example]:
    """Say how somebody felt about a thing that was good or bad twice over: 10,080 prompts."""
    return [
        Example(
            f"The {thing} was {first} and {second}. {who} {'were' if who == 'They' else 'was'}",
            feeling,
        )
        for adjectives, feeling in ((_GOOD, " happy"), (_BAD, " sad"))
        for first, second in itertools.permutations(adjectives, 2)
        for thing in _THINGS
        for who in _PEOPLE
    ]


def uppercase(rng: random.Random) -> list[Example]:
    """Write a common word in capitals: one prompt for each of some 380 words.

    >>> uppercase(random.Random())[0]
    Example(prompt='apple in capitals:', answer=' APPLE', choices=(), line=0)
    """
    return [Example(f"{word} in capitals:", f" {word.upper()}") for word in _WORDS]


def roman(rng: random.Random) -> list[Example]:
    """Write the numbers from 1 to 399 in Roman numerals: 399 prompts.

    >>> roman(random.Random())[13]
    Example(prompt='14 in Roman numerals:', answer=' XIV', choices=(), line=0)
    """
    return [Example(f"{n} in Roman numerals:", f" {_in_roman(n)}") for n in range(1, 400)]


def bigger(rng: random.Random) -> list[Example]:
    """Choose the bigger of two different numbers from 0 to 99: 9,900 prompts, two choices."""
    return [
        Example(f"Which is bigger, {a} or {b}?", f" {max(a, b)}", choices=(f" {a}", f" {b}"))
        for a, b in itertools.permutations(range(100), 2)
    ]


def text(rng: random.Random) -> list[Example]:
    """Tell little stories, no two alike; there is no prompt, every token is learned."""
    return [Example("", story) for story in stories(rng, MAX_TRAIN + HELD_OUT)]


def _in_words(n: int) -> str:
    if n < 20:
        return _UNITS[n]
    tens, unit = divmod(n, 10)
    return _TENS[tens] + (f"-{_UNITS[unit]}" if unit else "")


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

    def load(seed: int) -> Task:
        key = f"{name} {seed}"
        train, held_out = split_by_prompt(make(random.Random(key)), HELD_OUT, key)
        return Task(name, summary, train[:MAX_TRAIN], held_out, plain_text=not sample.prompt)

    return TaskCard(
        name,
        summary,
        sample.prompt,
        sample.answer,
        load,
        offline=True,
        choices=bool(sample.choices),
    )


CARDS = (
    _card(addition, "Sums of two numbers up to 19.", Example("3 + 4 =", " 7")),
    _card(number_words, "Sums of two numbers, in words.", Example("three and four make", " seven")),
    _card(
        sentiment,
        "Who is happy, and who is sad, about a thing.",
        Example("The tea was horrid and cold. She was", " sad"),
    ),
    _card(uppercase, "Words in capitals.", Example("garden in capitals:", " GARDEN")),
    _card(roman, "Numbers up to 399 in Roman numerals.", Example("14 in Roman numerals:", " XIV")),
    _card(
        bigger,
        "The bigger of two numbers, as a choice.",
        Example("Which is bigger, 37 or 52?", " 52", choices=(" 37", " 52")),
    ),
    _card(
        text,
        "Little stories, plain text: every token is learned.",
        Example("", "Once a fox lived by the river."),
    ),
)

"""Little stories from a grammar: plain text that the project owns, as much as is asked for."""

from __future__ import annotations

import random

_ANIMALS = "fox hen mouse crow goat duck cat bear frog hare owl sheep".split()
_MANNERS = "old young little clever lazy hungry lonely proud shy merry".split()
_PLACES = "by the river;in the wood;under a hill;near the mill;at the old farm;by the sea".split(
    ";"
)
_TIMES = "One morning;One evening;In the spring;One cold day;After the rain;At noon".split(";")
_THINGS = "a red apple;a silver bell;a bag of corn;a blue cup;a piece of cheese;a warm coat".split(
    ";"
)
_DEEDS = (
    "kept it;took it home;hid it under a stone;showed it to everybody;gave it away;lost it".split(
        ";"
    )
)
_WISHES = "“May I have it?”;“Is that yours?”;“How pretty it is!”;“Let us share it!”".split(";")
_MOODS = "glad;sorry;angry;quite content;too tired to speak;ashamed".split(";")
_LESSONS = (
    "From that day on they were friends.",
    "They never spoke of it again.",
    "In the end they laughed about it together.",
    "So each of them went home alone.",
    "And that is how the winter passed.",
)


def stories(rng: random.Random, count: int) -> list[str]:
    """Make `count` different stories of five sentences, some sixty words each.

    >>> told = stories(random.Random(0), 20)
    >>> len(set(told)), all(story.endswith(".") for story in told)
    (20, True)
    """
    told: dict[str, None] = {}
    while len(told) < count:
        told[_story(rng)] = None
    return list(told)


def _story(rng: random.Random) -> str:
    first, second = rng.sample(_ANIMALS, 2)
    one, other = rng.choice([("he", "she"), ("she", "he")])
    manner, place = rng.choice(_MANNERS), rng.choice(_PLACES)
    return " ".join(
        (
            f"Once {_a(manner)} {first} lived {place}.",
            f"{rng.choice(_TIMES)} {one} found {rng.choice(_THINGS)} and {rng.choice(_DEEDS)}.",
            f"Then {_a(rng.choice(_MANNERS))} {second} came and said, {rng.choice(_WISHES)}",
            f"The {first} was {rng.choice(_MOODS)}, and the {second} was {rng.choice(_MOODS)} too.",
            rng.choice(_LESSONS),
        )
    )


def _a(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"

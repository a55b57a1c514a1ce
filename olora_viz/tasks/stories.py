"""Short stories generated from a grammar, as any amount of plain text."""

from __future__ import annotations

import random

_ANIMALS = "fox hen mouse crow goat duck cat bear frog hare owl sheep dog pig lion bird".split()
_MANNERS = "old young little clever poor hungry lonely proud shy merry queer grave".split()
_PLACES = (
    "by the river;in the wood;under a hill;near the house;in the garden;by the sea;"
    "at the top of a tree;behind the door;in a little room"
).split(";")
_TIMES = "One morning;One day;One evening;After the rain;At last;Just then;Once more".split(";")
_THINGS = (
    "a red apple;a golden key;a bag of tea;a blue cup;a piece of bread;a warm coat;a large book;"
    "a white rose;a silver bell"
).split(";")
_DEEDS = (
    "kept it;took it home;sat down on it;looked at it for a long time;gave it away;lost it again;"
    "began to laugh;went to sleep"
).split(";")
_WORDS = (
    "May I have it?;Is that yours?;How very pretty!;Let us share it!;What a strange thing!;"
    "I want one too!;Who left it there?"
).split(";")
_WAYS = "said;asked;cried;thought;shouted;whispered".split(";")


def stories(rng: random.Random, count: int) -> list[str]:
    """Generate `count` different stories of three sentences, about thirty words each.

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
    manner, place = rng.choice(_MANNERS), rng.choice(_PLACES)
    found = f"{rng.choice(_TIMES)} {rng.choice(('he', 'she'))} found {rng.choice(_THINGS)}"
    said = f"“{rng.choice(_WORDS)}” {rng.choice(_WAYS)} the {second}"
    article = "An" if manner[0] in "aeiou" else "A"
    return f"{article} {manner} {first} lived {place}. {found} and {rng.choice(_DEEDS)}. {said}."

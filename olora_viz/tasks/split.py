"""Splitting of examples by the content of their prompts, whatever their order and file name."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from olora_viz.tasks.task import Example

SHARE = 0.1
"""Share of the prompts that is held out, and also the share for the test."""

# Numbers, words, and signs such as + and = (a minus, but no hyphen); punctuation is skipped.
_WORD = re.compile(
    r"\d+(?:[.,]\d+)*|[^\W\d_]+|(?<!\w)-(?=[\s\d])|[^\w\s.,;:!?…\"'`´()\[\]{}“”„‘’«»–—-]"
)


class Parts(NamedTuple):
    """The parts of a task's examples."""

    train: tuple[Example, ...]
    """The training examples."""
    held_out: tuple[Example, ...]
    """The examples that are evaluated during a race."""
    test: tuple[Example, ...]
    """The examples that are evaluated once, at the end."""


Split = Callable[[Sequence[Example], str, int | None, int], Parts]
"""Divides examples, given the name of their task, the number of held-out prompts (None: a share of
`SHARE`) and a seed."""


def text_of(example: Example) -> str:
    """Return the prompt, or for plain text, which has no prompt, the text."""
    return example.prompt or example.answer


def words_of(example: Example) -> tuple[str, ...]:
    """Return the sorted words of a prompt, which does not depend on case, order or punctuation.

    >>> words_of(Example("Three and four, make", " seven"))
    ('and', 'four', 'make', 'three')
    >>> words_of(Example("4 + 3.5 =", " 7.5"))
    ('+', '3.5', '4', '=')
    """
    text = unicodedata.normalize("NFKC", text_of(example)).casefold()
    return tuple(sorted(_WORD.findall(text))) or (text,)


def by_content(examples: Sequence[Example], name: str, held_out: int | None, seed: int) -> Parts:
    """Divide examples by a hash of the words of their prompts.

    Examples whose prompts have the same words, in whatever order, are in the same part. If
    `held_out` is None, every prompt is assigned independently, so other rows do not change its
    part. If this leaves no prompt held out, the one with the lowest hash is.

    Parameters
    ----------
    examples : in any order
    name : of the task, for messages; it does not influence the split
    held_out : number of held-out examples, and of test examples; None for a share of `SHARE` each
    seed : for the split

    Returns
    -------
    Parts, each in the order of the hashes

    Raises
    ------
    ValueError
        If there are too few different prompts for a held-out and a training example.

    >>> sums = [Example(f"{a} + {b} =", f" {a + b}") for a in range(10) for b in range(10)]
    >>> [len(part) for part in by_content(sums, "sums", 12, seed=0)]
    [76, 12, 12]
    """
    groups: dict[tuple[str, ...], list[Example]] = {}
    for example in examples:
        groups.setdefault(words_of(example), []).append(example)
    if len(groups) < 2:
        raise ValueError(f"the prompts of {name} all have the same words: none can be held out")
    hashed = sorted((_hash(words, seed), words) for words in groups)
    if held_out is None:
        places = _by_share([value for value, _ in hashed])
    else:
        places = _by_count([len(groups[words]) for _, words in hashed], held_out)
    parts: list[list[Example]] = [[], [], []]
    for place, (_, words) in zip(places, hashed, strict=True):
        parts[place] += sorted(groups[words], key=lambda e: (e.prompt, e.answer, e.choices))
    if not parts[0]:
        raise ValueError(f"{name} has too few different prompts to hold out {held_out} of them")
    return Parts(*map(tuple, parts))


def _hash(words: Iterable[str], seed: int) -> float:
    """Return a number in [0, 1) that depends only on the words and the seed."""
    digest = hashlib.blake2b("\n".join(words).encode(), digest_size=8, key=b"%d" % seed).digest()
    return int.from_bytes(digest, "big") / 2**64


def _by_share(hashes: Sequence[float]) -> list[int]:
    """Assign each group by its hash: 1 held out, 2 test, 0 training; at least one is held out."""
    places = [1 if value < SHARE else 2 if value < 2 * SHARE else 0 for value in hashes]
    places[0] = 1
    if 0 not in places:
        places[-1] = 0
    return places


def _by_count(sizes: Sequence[int], count: int) -> list[int]:
    """Fill the held-out part, then the test, with groups that fit, in order."""
    room = {1: count, 2: count}
    places = []
    for size in sizes:
        place = next((part for part in room if size <= room[part]), 0)
        if place:
            room[place] -= size
        places.append(place)
    return places

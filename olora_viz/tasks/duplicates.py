"""Removal of training examples that exactly or nearly repeat a held-out or test example."""

from __future__ import annotations

import math
import unicodedata
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from olora_viz.tasks.split import text_of, words_of
from olora_viz.tasks.task import Duplicates, Example, Task

NEAR = 0.9
"""Prompts with at least this share of common words (Jaccard index of multisets) are near
duplicates."""

SHORTEST = 8
"""Shorter prompts, in words, are near duplicates only if they are reorderings of the same words."""

MOST = 2000
"""Number of examples of each part, the first ones, which a race evaluates, that are searched for
near duplicates. Prompts with the same words are found among all examples."""

Words = frozenset[tuple[str, int]]
"""A multiset: each word with the number of its occurrence."""


def deduplicated(task: Task) -> Task:
    """Remove the training examples that repeat a held-out or test example.

    Raises
    ------
    ValueError
        If no training example is left.

    >>> one, other = Example("Three and four make", " seven"), Example("five and two make", " 7")
    >>> test = (Example("four and three make", " seven"),)
    >>> task = deduplicated(Task("sums", "Sums.", (one, other), (), test=test))
    >>> len(task.train), task.duplicates
    (1, Duplicates(exact=0, near=1))
    """
    judged = task.held_out + task.test
    texts = {_normalized(example) for example in judged}
    bags = {words_of(example) for example in judged}
    alike = _Alike(task.train, task.held_out[:MOST] + task.test[:MOST])
    kept: list[Example] = []
    exact = near = 0
    for example in task.train:
        if _normalized(example) in texts:
            exact += 1
        elif words_of(example) in bags or alike.has(example):
            near += 1
        else:
            kept.append(example)
    if not kept:
        raise ValueError(
            f"{task.name}: every training prompt is also held out or tested, exactly or "
            "nearly, so nothing is left to train on"
        )
    return replace(task, train=tuple(kept), duplicates=task.duplicates + Duplicates(exact, near))


class _Alike:
    """Finds evaluated prompts that share `NEAR` of their words with a given one.

    Words in more than half of the prompts belong to a template and are ignored. If two sets of
    words have a Jaccard index of t or more, then the (1 - t) rarest words of each have one in
    common, so only these are looked up (Bayardo, Ma and Srikant 2007, "Scaling up all pairs
    similarity search").
    """

    def __init__(self, train: Iterable[Example], judged: Iterable[Example]) -> None:
        train, judged = list(train), list(judged)
        counted = Counter(word for e in (*train, *judged) for word in _multiset(e))
        most = (len(train) + len(judged)) / 2
        rarest = sorted((count, word) for word, count in counted.items() if count <= most)
        self._rank = {word: place for place, (_, word) in enumerate(rarest)}
        self._by_word: dict[tuple[str, int], list[Words]] = defaultdict(list)
        for words in sorted({self._words(example) for example in judged}, key=len):
            for word in self._rarest(words):
                self._by_word[word].append(words)

    def has(self, example: Example) -> bool:
        """Whether an evaluated prompt has nearly the same words."""
        words = self._words(example)
        size = len(words)
        for word in self._rarest(words):
            others = self._by_word.get(word, [])
            for other in others[bisect_left(others, NEAR * size, key=len) :]:
                if len(other) * NEAR > size:
                    break
                if len(words & other) * (1 + NEAR) >= NEAR * (size + len(other)):
                    return True
        return False

    def _words(self, example: Example) -> Words:
        return frozenset(word for word in _multiset(example) if word in self._rank)

    def _rarest(self, words: Words) -> list[tuple[str, int]]:
        if len(words) < SHORTEST:
            return []
        count = len(words) - math.ceil(NEAR * len(words)) + 1
        return sorted(words, key=self._rank.__getitem__)[:count]


def _multiset(example: Example) -> Iterator[tuple[str, int]]:
    seen: Counter[str] = Counter()
    for word in words_of(example):
        yield word, seen[word]
        seen[word] += 1


def _normalized(example: Example) -> str:
    return " ".join(unicodedata.normalize("NFKC", text_of(example)).casefold().split())

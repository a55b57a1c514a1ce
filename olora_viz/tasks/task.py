"""Tasks: examples, and their split into training, held-out and test parts."""

from __future__ import annotations

import hashlib
import math
import os
import re
import unicodedata
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from olora_viz.tasks.metrics import Metric

AUTO, NONE = "auto", "none"
"""What comes with the task or the package, and nothing: values of the metric and of the text to keep."""

THEN = "+"
"""Between the tasks of a chain."""


def links_of(task: str) -> tuple[str, ...]:
    """Return the tasks of a chain, one of each link; a single task, or the path of a file, is alone.

    >>> links_of("number-words+uppercase"), links_of("sentiment")
    (('number-words', 'uppercase'), ('sentiment',))
    """
    return (task,) if THEN not in task or os.path.exists(task) else tuple(task.split(THEN))


def task_words(task: str) -> str:
    """Return what a task is called: a file by its name, and the tasks of a chain in order.

    >>> task_words("addition+rows/own.jsonl")
    'addition → own.jsonl'
    """
    return " → ".join(os.path.basename(link) for link in links_of(task))


@dataclass(frozen=True)
class Example:
    """A prompt and its answer, character for character.

    The model reads `prompt + answer`, so the answer includes the space between the two.

    Examples:
        >>> import olora_viz as ov
        >>> example = ov.Example("3 + 4 =", " 7", choices=(" 7", " 8"))
        >>> example.prompt + example.answer, example.choices.index(example.answer)
        ('3 + 4 = 7', 0)
    """

    prompt: str
    """The prompt; empty in a plain text."""
    answer: str
    choices: tuple[str, ...] = ()
    """The choices, including the correct one; empty for an open answer."""
    line: int = 0
    """The line of the example in its file, from 1; 0 without a file."""
    messages: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """The role and the text of each message before the answer, for a model's chat template; empty if the prompt is one
    message of the user."""
    others: tuple[str, ...] = field(default=(), repr=False)
    """Other right answers, without the space before them: a metric accepts them, and the loss is on `answer`."""

    def __post_init__(self) -> None:
        """Check that the answer is not empty and is one of the choices."""
        if not self.answer:
            raise ValueError(f"the answer to {self.prompt!r} is empty")
        if self.choices and self.answer not in self.choices:
            raise ValueError(f"the answer {self.answer!r} is not among its choices {self.choices}")

    def score(self, said: str, metric: Metric = "exact") -> float:
        """Return what an answer is worth, from 0 to 1, by the right one that is nearest to it.

        Examples:
            >>> Example("Big?", " large", others=("huge",)).score(" huge")
            1.0
        """
        from olora_viz.tasks.metrics import mean_score  # which reads examples

        return mean_score(metric, [self], [said.strip()])


@dataclass(frozen=True)
class Duplicates:
    """Number of training examples that repeat a held-out or test example, and were removed."""

    exact: int = 0
    """The same prompt, up to case and white space."""
    near: int = 0
    """The same words in another order or punctuation, or nearly the same words."""

    def __add__(self, other: Duplicates) -> Duplicates:
        """Add counts."""
        return Duplicates(self.exact + other.exact, self.near + other.near)

    @property
    def sentence(self) -> str:
        """The counts in words; empty if nothing was removed.

        >>> Duplicates(exact=2, near=1).sentence
        'Removed from training: 3 examples with a held-out or test prompt (2 the same, 1 nearly).'
        """
        count = self.exact + self.near
        if not count:
            return ""
        return (
            f"Removed from training: {count:,} example{'s' * (count > 1)} with a held-out or "
            f"test prompt ({self.exact:,} the same, {self.near:,} nearly)."
        )


@dataclass(frozen=True, repr=False)
class Task:
    """Training, held-out and test examples, without common prompts.

    Examples:
        >>> import olora_viz as ov
        >>> doubled = [ov.Example(f"{one} doubled is", f" {2 * one}") for one in range(60)]
        >>> train, held_out = tuple(doubled[:40]), tuple(doubled[40:])
        >>> task = ov.Task("doubling", "Doubles a number.", train, held_out)
        >>> lanes = ov.Lane("lora"), ov.Lane("olora")
        >>> ov.race(ov.RaceConfig(lanes=lanes, steps=2), task=task)
        <Race on glassllm, doubling: 2 lanes, step 0 of 2, racing>
    """

    name: str
    summary: str
    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
    """The examples that are evaluated during a race."""
    plain_text: bool = False
    """Whether every token is supervised instead of an answer."""
    ends: bool = False
    """Whether the end-of-text token is supervised too, so that the model learns to stop."""
    test: tuple[Example, ...] = ()
    """The examples that are evaluated once, at the end of a race."""
    duplicates: Duplicates = Duplicates()
    """Training examples that were removed."""
    metric: str = NONE
    """The metric of its generated answers, where a race names none, see `METRICS`."""

    def __repr__(self) -> str:
        """Return its name and the sizes of its parts."""
        parts = f"{len(self.train)} training, {len(self.held_out)} held-out, {len(self.test)} test"
        return f"<Task {self.name}: {parts} examples>"

    @property
    def examples(self) -> tuple[Example, ...]:
        """The examples of all parts."""
        return self.train + self.held_out + self.test


@dataclass(frozen=True)
class TaskCard:
    """An entry of the task catalogue."""

    name: str
    summary: str
    prompt: str
    """A sample prompt, possibly shortened."""
    answer: str
    load: Callable[[int], Task]
    """Loads the task for a seed, divided by `by_content`."""
    offline: bool = True
    """Whether it needs no network."""
    choices: bool = False
    """Whether it is multiple choice."""


NEAR_WORDS = 0.9
"""Prompts with at least this share of common words (Jaccard index of multisets) are near duplicates."""

SHORTEST = 8
"""Shorter prompts, in words, are near duplicates only if they are reorderings of the same words."""

MOST_CHECKED = 2000
"""Number of examples of each part, the first ones, which a race evaluates, that are searched for near duplicates.
Prompts with the same words are found among all examples."""

Words = frozenset[tuple[str, int]]
"""A multiset: each word with the number of its occurrence."""


def deduplicated(task: Task) -> Task:
    """Remove the training examples that repeat a held-out or test example.

    Raises:
        ValueError: if no training example is left.

    >>> one, other = Example("Three and four make", " seven"), Example("five and two make", " 7")
    >>> test = (Example("four and three make", " seven"),)
    >>> task = deduplicated(Task("sums", "Sums.", (one, other), (), test=test))
    >>> len(task.train), task.duplicates
    (1, Duplicates(exact=0, near=1))
    """
    judged = task.held_out + task.test
    texts = {_normalized(example) for example in judged}
    bags = {words_of(example) for example in judged}
    alike = _Alike(task.train, task.held_out[:MOST_CHECKED] + task.test[:MOST_CHECKED])
    train: list[Example] = []
    exact = near = 0
    for example in task.train:
        if _normalized(example) in texts:
            exact += 1
        elif words_of(example) in bags or alike.has(example):
            near += 1
        else:
            train.append(example)
    if not train:
        raise ValueError(
            f"{task.name}: every training prompt is also held out or tested, exactly or "
            "nearly, so nothing is left to train on"
        )
    return replace(task, train=tuple(train), duplicates=task.duplicates + Duplicates(exact, near))


class _Alike:
    """Finds evaluated prompts that share `NEAR_WORDS` of their words with a given one.

    Words in more than half of the prompts belong to a template and are ignored. If two sets of words have a Jaccard
    index of t or more, then the (1 - t) rarest words of each have one in common, so only these are looked up (Bayardo,
    Ma and Srikant 2007, "Scaling up all pairs similarity search").
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
            for other in others[bisect_left(others, NEAR_WORDS * size, key=len) :]:
                if len(other) * NEAR_WORDS > size:
                    break
                if len(words & other) * (1 + NEAR_WORDS) >= NEAR_WORDS * (size + len(other)):
                    return True
        return False

    def _words(self, example: Example) -> Words:
        return frozenset(word for word in _multiset(example) if word in self._rank)

    def _rarest(self, words: Words) -> list[tuple[str, int]]:
        if len(words) < SHORTEST:
            return []
        count = len(words) - math.ceil(NEAR_WORDS * len(words)) + 1
        return sorted(words, key=self._rank.__getitem__)[:count]


def _multiset(example: Example) -> Iterator[tuple[str, int]]:
    seen: Counter[str] = Counter()
    for word in words_of(example):
        yield word, seen[word]
        seen[word] += 1


def _normalized(example: Example) -> str:
    return " ".join(unicodedata.normalize("NFKC", text_of(example)).casefold().split())


HELD_OUT_SHARE = 0.1
"""Share of the prompts that is held out, and also the share for the test."""

# Numbers, words, and signs such as + and = (a minus, but no hyphen); punctuation is skipped.
_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+|(?<!\w)-(?=[\s\d])|[^\w\s.,;:!?…\"'`´()\[\]{}“”„‘’«»–—-]")


def conversations(examples: Sequence[Example]) -> tuple[Example, ...]:
    """Return the last answer of each conversation: the examples with whose messages and answer no other one begins.

    >>> first = Example("1?", " 2", messages=(("user", "1?"),))
    >>> second = Example("3?", " 4", messages=(*first.messages, ("assistant", "2"), ("user", "3?")))
    >>> [example.answer for example in conversations([first, second, Example("5?", " 6")])]
    [' 4', ' 6']
    """
    begun = {e.messages[:k] for e in examples for k, (role, _) in enumerate(e.messages, 1) if role == "assistant"}
    return tuple(e for e in examples if (*e.messages, ("assistant", e.answer.strip())) not in begun)


class Parts(NamedTuple):
    """The parts of a task's examples."""

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
    """The examples that are evaluated during a race."""
    test: tuple[Example, ...]
    """The examples that are evaluated once, at the end."""


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

    Examples whose prompts have the same words, in whatever order, are in the same part. If `held_out` is None, every
    prompt is assigned independently, so other rows do not change its part. If this leaves no prompt held out, the one
    with the lowest hash is.

    Args:
        name: of the task, for messages; it does not influence the split
        held_out: number of held-out examples, and of test examples; None for a share of `HELD_OUT_SHARE` each

    Returns:
        Parts, each in the order of the hashes

    Raises:
        ValueError: if there are too few different prompts for a held-out and a training example.

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
    places = [1 if value < HELD_OUT_SHARE else 2 if value < 2 * HELD_OUT_SHARE else 0 for value in hashes]
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

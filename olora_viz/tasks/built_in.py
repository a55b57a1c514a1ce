"""The built-in tasks: generated from a seed, short, and learned in seconds."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable

from olora_viz.tasks.sentences import number_words_pt, plural_pt, rewriting, tagging
from olora_viz.tasks.task import NONE, Example, Task, TaskCard, by_content

SPEAKERS = {"system": "System", "user": "User", "assistant": "Assistant"}
"""The roles of chat messages, and the name before each message in a prompt."""


def alpaca_prompt(instruction: str, given: str = "") -> str:
    r"""Format an instruction, with its input if any, by the Alpaca template.

    References:
        Taori et al. 2023, Stanford Alpaca.

    >>> alpaca_prompt("Say hello.")
    '### Instruction:\nSay hello.\n\n### Response:\n'
    """
    middle = f"\n\n### Input:\n{given}" if given else ""
    return f"### Instruction:\n{instruction}{middle}\n\n### Response:\n"


def alpaca_messages(instruction: str, given: str = "") -> tuple[tuple[str, str], ...]:
    """Return an instruction, with its input if any, as a message of the user.

    >>> alpaca_messages("Say hello.")
    (('user', 'Say hello.'),)
    """
    return (("user", "\n\n".join(filter(None, (instruction, given)))),)


def question_prompt(question: str) -> str:
    r"""Format a question, to be followed by a space and the answer.

    >>> question_prompt("What do bees make?")
    'Question: What do bees make?\nAnswer:'
    """
    return f"Question: {question}\nAnswer:"


def chat_prompt(messages: Iterable[tuple[str, str]]) -> str:
    r"""Format messages, with roles of `SPEAKERS`, as plain text, to be followed by a space and the assistant's answer.

    The same text is used for every model, unless a race applies the model's own chat template: base models have none,
    and lanes of two models then read different prompts.

    >>> chat_prompt([("system", "Be brief."), ("user", "What do bees make?")])
    'System: Be brief.\n\nUser: What do bees make?\n\nAssistant:'
    """
    spoken = "".join(f"{SPEAKERS[role]}: {text}\n\n" for role, text in messages)
    return f"{spoken}{SPEAKERS['assistant']}:"


_ANIMALS = "fox hen mouse crow goat duck cat bear frog hare owl sheep dog pig lion bird".split()
_MANNERS = "old young little clever poor hungry lonely proud shy merry queer grave".split()
_PLACES = (
    "by the river;in the wood;under a hill;near the house;in the garden;by the sea;"
    "at the top of a tree;behind the door;in a little room"
).split(";")
_TIMES = "One morning;One day;One evening;After the rain;At last;Just then;Once more".split(";")
_THINGS_FOUND = (
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

    >>> texts = stories(random.Random(0), 20)
    >>> len(set(texts)), all(story.endswith(".") for story in texts)
    (20, True)
    """
    texts: dict[str, None] = {}  # a set in the order of its stories
    while len(texts) < count:
        texts[_story(rng)] = None
    return list(texts)


def _story(rng: random.Random) -> str:
    first, second = rng.sample(_ANIMALS, 2)
    manner, place = rng.choice(_MANNERS), rng.choice(_PLACES)
    event = f"{rng.choice(_TIMES)} {rng.choice(('he', 'she'))} found {rng.choice(_THINGS_FOUND)}"
    words = f"“{rng.choice(_WORDS)}” {rng.choice(_WAYS)} the {second}"
    article = "An" if manner[0] in "aeiou" else "A"
    return f"{article} {manner} {first} lived {place}. {event} and {rng.choice(_DEEDS)}. {words}."


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
    """Predict how a person felt about something with two good or two bad qualities: 10,080 prompts."""
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
    return [Example(f"{kind} {noun} in capitals:", f" {kind} {noun}".upper()) for kind in _KINDS for noun in _NOUNS]


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
    make: Callable[[random.Random], list[Example]], summary: str, sample: Example, metric: str = NONE
) -> TaskCard:
    """Return the card of a task; where a metric scores whole answers, the model learns to stop."""
    name = make.__name__.replace("_", "-")

    def load(seed: int) -> Task:
        examples = make(random.Random(f"{name} {seed}"))
        train, held_out, test = by_content(examples, name, HELD_OUT, seed)
        plain = not sample.prompt
        ends = metric != NONE
        return Task(name, summary, train[:MAX_TRAIN], held_out, plain_text=plain, ends=ends, test=test, metric=metric)

    return TaskCard(name, summary, sample.prompt, sample.answer, load, offline=True, choices=bool(sample.choices))


BUILT_IN_TASKS = (
    _card(addition, "A number plus a digit, in digits.", Example("3 + 4 =", " 7")),
    _card(number_words, "A number plus a digit, in words.", Example("three and four make", " seven")),
    _card(sentiment, "Whether a person is happy or sad about something.",
          Example("The tea was horrid and cold. She was", " sad")),
    _card(uppercase, "Two words in capitals.", Example("big garden in capitals:", " BIG GARDEN")),
    _card(roman, "Numbers up to 399 in Roman numerals.", Example("14 in Roman numerals:", " XIV")),
    _card(bigger, "The larger of two numbers, as multiple choice.",
          Example("Which is bigger, 37 or 52?", " 52", choices=(" 37", " 52"))),
    _card(text, "Short stories as plain text: every token is supervised.",
          Example("", "An old fox lived by the river.")),
    _card(tagging, "The persons, places and firms of a sentence, scored by F1.",
          Example("Elin met Rosa in Perton. Names:", " Elin: person; Rosa: person; Perton: place"), "f1"),
    _card(rewriting, "A sentence in the passive of the past, scored by chrF.",
          Example("The old cat sees the dog. Before:", " The dog was seen by the old cat."), "chrf"),
    _card(number_words_pt, "A number plus a digit, in Portuguese words, for glassllm-pt.",
          Example("três e mais quatro são", " sete")),
    _card(plural_pt, "A noun and an adjective in the Portuguese plural, for glassllm-pt.",
          Example("casa bela no plural:", " casas belas")),
)  # fmt: skip
"""The built-in tasks, in display order."""

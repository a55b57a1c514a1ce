"""Built-in tasks of made sentences: tagging, rewriting, and tasks in Portuguese."""

from __future__ import annotations

import itertools
import random

from olora_viz.tasks.task import Example

_STARTS = "Al Bel Car Dan El Fan Gar Har Len Mar Nor Per Ros Sam Tal Wil".split()
_ENDINGS = {"person": ("a", "in"), "place": ("ton", "ford"), "firm": ("co", "ers")}
_ENTITIES = {"p": "person", "q": "person", "l": "place", "f": "firm"}
_SENTENCES = (
    "{p} lives in {l}.;{p} works for {f}.;{p} met {q} in {l}.;{f} is in {l}.;{p} went to {l} with {q}.;"
    "{p} left {f} at {l}.;{f} found {p} in {l}."
).split(";")
TAGGED = 2200
"""Number of tagged sentences."""

_NOW = "opens closes likes loves wants calls follows watches sees finds takes keeps holds knows".split()
_PAST = "opened closed liked loved wanted called followed watched seen found taken kept held known".split()
_BEINGS = "cat dog girl queen king bird boy wolf hen mouse hare fox".split()
_MANNERS = "old young little poor clever".split()

_UNITS = ["", *"um dois três quatro cinco seis sete oito nove".split()]
_TENS = ["", "", *"vinte trinta quarenta cinquenta sessenta setenta oitenta noventa".split()]
# The gender and the plural of each noun; then each adjective with its four forms.
_NOUNS = (
    "casa:a:casas porta:a:portas flor:a:flores mulher:a:mulheres mão:a:mãos noite:a:noites carta:a:cartas "
    "luz:a:luzes rua:a:ruas canção:a:canções livro:o:livros homem:o:homens dia:o:dias rapaz:o:rapazes "
    "amigo:o:amigos mar:o:mares jardim:o:jardins olho:o:olhos animal:o:animais irmão:o:irmãos chapéu:o:chapéus "
    "coração:o:corações papel:o:papéis sol:o:sóis"
).split()
_ADJECTIVES = "belo novo velho alto claro morto pequeno bonito negro vivo antigo rico".split()
_ALIKE = (("grande", "grandes"), ("triste", "tristes"), ("feliz", "felizes"), ("simples", "simples"))


def tagging(rng: random.Random) -> list[Example]:
    """Name the persons, places and firms of a sentence, with their kinds, in its order: 2,200 prompts.

    Names are made of syllables; a held-out sentence is a new combination of them.
    """
    names = {kind: [start + end for start in _STARTS for end in ends] for kind, ends in _ENDINGS.items()}
    examples: dict[str, Example] = {}
    while len(examples) < TAGGED:
        sentence = rng.choice(_SENTENCES)
        letters = [sentence[i + 1] for i, sign in enumerate(sentence) if sign == "{"]
        persons = iter(rng.sample(names["person"], 2))
        entities = {
            letter: next(persons) if letter in "pq" else rng.choice(names[_ENTITIES[letter]]) for letter in letters
        }
        answer = "; ".join(f"{name}: {_ENTITIES[letter]}" for letter, name in entities.items())
        prompt = f"{sentence.format(**entities)} Names:"
        examples[prompt] = Example(prompt, f" {answer}")
    return list(examples.values())


def rewriting(rng: random.Random) -> list[Example]:
    """Turn a sentence in the present into the passive of the past: 1,848 prompts."""
    return [
        Example(f"The {manner} {one} {now} the {other}. Before:", f" The {other} was {past} by the {manner} {one}.")
        for now, past in zip(_NOW, _PAST, strict=True)
        for one, other in itertools.permutations(_BEINGS, 2)
        for manner in [rng.choice(_MANNERS)]
    ]


def number_words_pt(rng: random.Random) -> list[Example]:
    """Add a digit to a number below 100, without a carry, in Portuguese words: 396 prompts; see `number_words`.

    >>> number_words_pt(random.Random())[18]
    Example(prompt='três e mais quatro são', answer=' sete', choices=(), line=0)
    """
    return [
        Example(f"{_in_words(a)} e mais {_in_words(b)} são", f" {_in_words(a + b)}")
        for a in range(1, 100)
        for b in range(1, 10)
        if a % 10 + b < 10 and a // 10 != 1
    ]


def plural_pt(rng: random.Random) -> list[Example]:
    """Write a noun and an adjective of Portuguese in the plural, where they agree: 384 prompts.

    >>> plural_pt(random.Random())[0]
    Example(prompt='casa bela no plural:', answer=' casas belas', choices=(), line=0)
    """
    examples = []
    for noun, gender, plural in (entry.split(":") for entry in _NOUNS):
        agreeing = [(f"{word[:-1]}{gender}", f"{word[:-1]}{gender}s") for word in _ADJECTIVES]
        examples += [Example(f"{noun} {one} no plural:", f" {plural} {many}") for one, many in (*agreeing, *_ALIKE)]
    return examples


def _in_words(n: int) -> str:
    return " e ".join(word for word in (_TENS[n // 10], _UNITS[n % 10]) if word)

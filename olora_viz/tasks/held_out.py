"""Summary of a race's held-out examples: their number, and the accuracy of guessing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from olora_viz.tasks.encoding import Encoding
from olora_viz.tasks.evaluation import shared_tokens
from olora_viz.tasks.task import Duplicates, Example

AT_RANDOM = "at random"
"""The guess of any of an example's choices."""


@dataclass(frozen=True)
class HeldOut:
    """The baseline for an accuracy, and the amount of data behind it."""

    examples: int
    """Number of held-out examples that are evaluated."""
    guess: float | None
    """Accuracy of guessing without the prompt; None for plain text, and if it is zero."""
    guess_words: str
    """The guess: ``always “sad”`` or ``at random``; empty without one."""
    supervised: int
    """Number of supervised tokens in these examples."""
    deciding: int
    """Number of supervised tokens that are not boilerplate, see `shared_tokens`."""
    train: int = 0
    """Number of training examples; 0 if unknown."""
    test: int = 0
    """Number of test examples."""
    exact: int = 0
    """Number of training examples that were removed, see `Duplicates`."""
    near: int = 0
    """The same."""
    held_out_left_out: int = 0
    """Number of held-out examples that were left out, since they are too long."""
    test_left_out: int = 0
    """The same of the test examples."""
    test_guess: float | None = None
    """Accuracy of guessing on the test examples; None as for `guess`, or without a test."""
    test_guess_words: str = ""
    """The guess there."""
    longest: int = 0
    """Maximum tokens of an example, if the prompts of longer ones are cut; 0 if they are not."""
    train_cut: int = 0
    """Number of training examples whose prompt was cut."""
    held_out_cut: int = 0
    """The same of the held-out examples, also those that are not evaluated."""
    test_cut: int = 0
    """The same of the test examples."""

    @property
    def cuts(self) -> list[str]:
        """A sentence on each part in which prompts were cut.

        >>> HeldOut(64, None, "", 64, 64, longest=128, train_cut=12, test_cut=1).cuts[0]
        '12 training examples were cut at the left of their prompt to 128 tokens.'
        """
        counts = {"training": self.train_cut, "held-out": self.held_out_cut, "test": self.test_cut}
        return [
            f"{count:,} {part} {'example was' if count == 1 else 'examples were'} cut at the left "
            f"of {'its' if count == 1 else 'their'} prompt to {self.longest} tokens."
            for part, count in counts.items()
            if count
        ]

    @property
    def parts(self) -> str:
        """A sentence on the number of examples in each part; empty if unknown.

        >>> HeldOut(64, None, "", 64, 64, train=268, test=64).parts
        '268 training examples, 64 held out, 64 for the test at the end.'
        """
        if not self.train:
            return ""
        test = f", {self.test:,} for the test at the end" if self.test else ""
        s = "s" * (self.train != 1)
        said = f"{self.train:,} training example{s}, {self.examples:,} held out{test}."
        return f"{said} {Duplicates(self.exact, self.near).sentence}".rstrip()

    @property
    def baseline(self) -> str:
        """A sentence on how many examples the results rest on, and what guessing gets.

        >>> HeldOut(64, 0.5, "always “sad”", 64, 64).baseline
        'Evaluated on 64 held-out examples; guessing (always “sad”) is right in 50%.'
        """
        guess = "" if self.guess is None else f"; guessing ({self.guess_words}) is right in "
        share = "" if self.guess is None else f"{self.guess:.0%}"
        s = "s" * (self.examples != 1)
        return f"Evaluated on {self.examples:,} held-out example{s}{guess}{share}."

    @property
    def boilerplate(self) -> str:
        """A sentence on the tokens that all answers share; empty if all tokens decide."""
        if self.deciding == self.supervised:
            return ""
        each = (self.deciding / self.examples, self.supervised / self.examples)
        few, all_ = (f"{value:.1f}".removesuffix(".0") for value in each)
        return (
            f"Of {all_} supervised tokens per answer, {few} differ between answers; the others are "
            "the same in every answer and lower the loss without deciding anything. Lanes are "
            "compared by the deciding tokens."
        )

    def without_quotes(self) -> HeldOut:
        """Return the same without words that quote an answer."""
        return replace(
            self,
            guess_words=_unquoted(self.guess_words),
            test_guess_words=_unquoted(self.test_guess_words),
        )


def held_out_of(
    train: Encoding,
    held_out: Encoding,
    test: Encoding,
    sizes: tuple[int, int],
    plain_text: bool,
    longest: int = 0,
) -> HeldOut:
    """Describe the first held-out and test examples.

    Parameters
    ----------
    sizes : the number of held-out examples, and of test examples, at most.
    longest : see `HeldOut.longest`.
    """
    examples, encoded = held_out.examples[: sizes[0]], held_out.kept[: sizes[0]]
    front, back = (0, 0) if plain_text else shared_tokens((*train.kept, *encoded))
    lengths = [len(e.ids) - e.supervised_from for e in encoded]
    tested = test.examples[: sizes[1]]
    nothing = (None, "")
    guess, words = nothing if plain_text else best_guess(train.examples, examples)
    test_guess, test_words = nothing if plain_text else best_guess(train.examples, tested)
    return HeldOut(
        examples=len(examples), guess=guess, guess_words=words, supervised=sum(lengths),
        deciding=sum(length - front - back for length in lengths),
        train=len(train.kept), test=len(tested),
        held_out_left_out=held_out.left_out, test_left_out=test.left_out,
        test_guess=test_guess, test_guess_words=test_words, longest=longest,
        train_cut=train.cut, held_out_cut=held_out.cut, test_cut=test.cut,
    )  # fmt: skip


def best_guess(train: Sequence[Example], examples: Sequence[Example]) -> tuple[float | None, str]:
    """Return the accuracy of guessing without the prompt, and the guess in words.

    The guess is the better of two: always the most frequent answer of the training examples, or a
    choice at random. None if it is never right, or if there are no examples.
    """
    if not examples:
        return None, ""
    counted = Counter(e.answer for e in train)
    answer = max(counted, key=lambda a: counted[a])
    often = sum(e.answer == answer for e in examples) / len(examples)
    guesses = [(often, f"always “{_short(answer)}”")]
    if all(e.choices for e in examples):
        chance = sum(1 / len(e.choices) for e in examples) / len(examples)
        guesses.append((chance, AT_RANDOM))
    guess = max(guesses, key=lambda one: one[0])
    return guess if guess[0] else (None, "")


def _unquoted(guess: str) -> str:
    return guess if guess in ("", AT_RANDOM) else "always the same answer"


def _short(answer: str) -> str:
    words: Sequence[str] = answer.split()
    text = " ".join(words)
    return text if len(text) <= 30 else text[:29] + "…"

"""Held-out results: losses and right answers of every example, for every lane."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from olora_viz.machine.text import counted, finite_or_none, nulls
from olora_viz.tasks.batches import collate_examples, packed, rows_of
from olora_viz.tasks.encoding import Encoded, Encoding
from olora_viz.tasks.losses import before_blocks, supervised_logits, to_device, token_losses
from olora_viz.tasks.task import Duplicates, Example


@dataclass(frozen=True)
class Evaluation:
    """Results of K lanes on held-out examples."""

    loss: np.ndarray
    """(K,) mean cross-entropy of the supervised tokens, nats per token."""
    accuracy: np.ndarray
    """(K,) share of correct answers, from 0 to 1 (of correct tokens, for plain text)."""
    accuracy_normalized: np.ndarray
    """(K,) share of correct choices by log-likelihood per character; NaN without choices."""
    deciding_loss: np.ndarray
    """(K,) mean cross-entropy of the deciding tokens alone, nats per token; NaN if all decide, see `shared_tokens`."""
    example_loss: np.ndarray
    """(K, n) summed cross-entropy of each example's deciding tokens, divided by their mean number and rounded to five
    digits. Its mean over the examples is the deciding loss, or the loss if all tokens decide."""
    example_right: np.ndarray
    """(K, n) 1 for a correct answer, 0 for a wrong one; the share of tokens for plain text."""

    @property
    def compared_loss(self) -> np.ndarray:
        """(K,) the loss by which lanes are compared, the mean of `example_loss`, nats per token."""
        return np.where(np.isfinite(self.deciding_loss), self.deciding_loss, self.loss)

    @classmethod
    def of_totals(cls, loss: np.ndarray, accuracy: np.ndarray) -> Evaluation:
        """Return an evaluation with only the totals (K,) known."""
        unknown, none = np.full_like(loss, np.nan), np.empty((len(loss), 0))
        return cls(loss, accuracy, unknown, unknown.copy(), none, none.copy())

    def to_json(self) -> dict[str, Any]:
        """Return plain values; NaN is null."""
        return {f.name: nulls(getattr(self, f.name).tolist()) for f in fields(self)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Evaluation:
        """Read back what `to_json` wrote, bit for bit; KeyError, TypeError or ValueError for another form."""
        return cls(*(np.array(values[f.name], dtype=float) for f in fields(cls)))

    def repeated(self, K: int) -> Evaluation:
        """Repeat the results of one lane for K identical lanes."""
        return Evaluation(*(np.repeat(getattr(self, f.name), K, 0) for f in fields(self)))

    def lose(self, lanes: np.ndarray) -> None:
        """Set the results of some lanes, a mask (K,), to NaN."""
        for f in fields(self):
            getattr(self, f.name)[lanes] = np.nan

    @classmethod
    def joined(cls, parts: Sequence[Evaluation]) -> Evaluation:
        """Concatenate results along the lanes."""
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))


@torch.no_grad()
def evaluate(
    model: nn.Module,
    encoded: Sequence[Encoded],
    K: int,
    *,
    pad_id: int,
    batch_size: int,
    plain_text: bool = False,
    boilerplate: tuple[int, int] = (0, 0),
    branching: bool = False,
    report: Callable[[float], None] | None = None,
) -> Evaluation:
    """Evaluate K lanes on n held-out examples.

    An open answer is correct if each of its tokens is the most likely one, given those before it. With choices, the
    answer is the choice with the highest log-likelihood: the sum over its tokens, with the end-of-text token where the
    answers end with one. The normalized accuracy divides that sum by the characters of the choice, as
    lm-evaluation-harness does (Gao et al. 2021).

    Args:
        boilerplate: number of supervised tokens at the beginning and at the end of an answer that all answers share,
            see `shared_tokens`; the others decide.
        branching: whether an example and its choices share one row, see `can_branch`.
        report: called with the part that is done, before every block of the model; raises to stop.
    """

    def tell() -> None:
        if report is not None:
            report(len(scores) / len(by_length))

    scores: dict[Encoded, _Scored] = {}
    device = next(model.parameters()).device
    by_length = sorted(dict.fromkeys(encoded), key=lambda e: max(rows_of(e, branching=branching)))
    for part in packed(by_length, batch_size, branching=branching):
        sequences = [s for e in part for s in (e, *e.choices)]
        batch = to_device(collate_examples(part, pad_id, branching=branching), device)
        with before_blocks(model, tell):
            logits = supervised_logits(model, batch, K)
        # Summed on the CPU in a fixed order: on a GPU the order would differ from run to run.
        lost = token_losses(logits, batch).double().cpu()
        wrong = (logits.argmax(-1) != batch.targets).double().cpu()
        lengths = [len(s.ids) - s.supervised_from for s in sequences]
        by_sequence = zip(lost.split(lengths, 1), wrong.split(lengths, 1), strict=True)
        for example in part:
            losses, missed = next(by_sequence)
            choices = [next(by_sequence)[0].sum(1) for _ in example.choices]
            scores[example] = _score(example, losses, missed, choices, plain_text, boilerplate)
    scored = [scores[example] for example in encoded]
    tokens, deciding = (sum(getattr(s, name) for s in scored) for name in ("tokens", "deciding"))
    all_decide = boilerplate == (0, 0)
    judged = [s.tokens if plain_text else 1 for s in scored]
    right, normalized, lost, decided = (
        torch.stack([getattr(s, name) for s in scored], 1).numpy()
        for name in ("right", "normalized", "lost", "decided")
    )
    return Evaluation(
        loss=lost.sum(1) / tokens,
        accuracy=right.sum(1) / sum(judged),
        accuracy_normalized=normalized.mean(1),
        deciding_loss=np.full(K, np.nan) if all_decide else decided.sum(1) / deciding,
        example_loss=_five_digits(decided * len(scored) / deciding),
        example_right=_five_digits(right / judged),
    )


@dataclass
class _Scored:
    """Sums over the tokens of one example, for K lanes (K,)."""

    lost: Tensor
    decided: Tensor
    right: Tensor
    normalized: Tensor
    tokens: int
    deciding: int


def _score(
    example: Encoded,
    lost: Float[Tensor, "K t"],
    wrong: Float[Tensor, "K t"],
    choices: Sequence[Tensor],
    plain_text: bool,
    boilerplate: tuple[int, int],
) -> _Scored:
    tokens = lost.shape[1]
    front, back = boilerplate
    inner = lost[:, front : tokens - back]
    if plain_text:
        right = tokens - wrong.sum(1)
    elif choices:
        right = torch.stack(list(choices), 1).argmin(1) == example.correct
    else:
        right = wrong.sum(1) == 0
    normalized = torch.full_like(lost[:, 0], torch.nan)
    if choices:
        per_character = [
            total / max(1, choice.characters) for total, choice in zip(choices, example.choices, strict=True)
        ]
        normalized = (torch.stack(per_character, 1).argmin(1) == example.correct).double()
    return _Scored(
        lost=lost.sum(1), decided=inner.sum(1), right=right.double(), normalized=normalized,
        tokens=tokens, deciding=inner.shape[1],
    )  # fmt: skip


def shared_tokens(encoded: Sequence[Encoded]) -> tuple[int, int]:
    """Count the boilerplate: supervised tokens at both ends of an answer that all answers share.

    The tokens between them decide which answer it is: a single one in "the correct answer is true". The result is (0,
    0), so that all tokens decide, if the shared tokens are not the larger part (for instance only the end-of-text
    token), or if all answers are the same.

    >>> shared_tokens([Encoded((1, 7, 8, 3, 9), 1), Encoded((2, 2, 7, 8, 4, 9), 2)])
    (2, 1)
    >>> shared_tokens([Encoded((1, 7, 9), 1), Encoded((1, 8, 9), 1)])
    (0, 0)
    """
    answers = list({e.ids[e.supervised_from :] for e in encoded})
    if len(answers) < 2:
        return 0, 0
    shortest = min(map(len, answers))
    differs = [len({a[i] for a in answers}) > 1 for i in range(shortest)]
    differs_from_end = [len({a[-1 - i] for a in answers}) > 1 for i in range(shortest)]
    front = differs.index(True) if any(differs) else shortest - 1
    back = differs_from_end.index(True) if any(differs_from_end) else shortest
    back = min(back, shortest - front - 1)
    supervised = sum(len(e.ids) - e.supervised_from for e in encoded)
    mostly = 2 * len(encoded) * (front + back) > supervised
    return (front, back) if mostly else (0, 0)


def _five_digits(values: np.ndarray) -> np.ndarray:
    """Round to five significant digits, which are short in JSON and read back bit for bit."""
    return np.array([[float(f"{x:.5g}") for x in row] for row in values])


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
        counts = f"{counted(self.train, 'training example')}, {self.examples:,} held out{test}."
        return f"{counts} {Duplicates(self.exact, self.near).sentence}".rstrip()

    @property
    def baseline(self) -> str:
        """A sentence on how many examples the results rest on, and what guessing gets.

        >>> HeldOut(64, 0.5, "always “sad”", 64, 64).baseline
        'Evaluated on 64 held-out examples; guessing (always “sad”) is right in 50%.'
        """
        guess = "" if self.guess is None else f"; guessing ({self.guess_words}) is right in {self.guess:.0%}"
        return f"Evaluated on {counted(self.examples, 'held-out example')}{guess}."

    @property
    def boilerplate(self) -> str:
        """A sentence on the tokens that all answers share; empty if all tokens decide."""
        if self.deciding == self.supervised:
            return ""
        means = (self.deciding / self.examples, self.supervised / self.examples)
        few, all_ = (f"{mean:.1f}".removesuffix(".0") for mean in means)
        differ = f"{few} differ{'s' * (few == '1')}"
        return (
            f"Of {all_} supervised tokens per answer, {differ} between answers; the others are the same in every "
            "answer and lower the loss without deciding anything. Lanes are compared by the deciding tokens."
        )

    def without_quotes(self) -> HeldOut:
        """Return the same without words that quote an answer."""
        words = {name: getattr(self, name) for name in ("guess_words", "test_guess_words")}
        return replace(self, **{n: w if w in ("", AT_RANDOM) else "always the same answer" for n, w in words.items()})


def held_out_of(
    train: Encoding, held_out: Encoding, test: Encoding, sizes: tuple[int, int], plain_text: bool, longest: int = 0
) -> HeldOut:
    """Describe the first held-out and test examples, of each at most so many as `sizes` says."""
    examples, encoded = held_out.examples[: sizes[0]], held_out.kept[: sizes[0]]
    front, back = (0, 0) if plain_text else shared_tokens((*train.kept, *encoded))
    lengths = [len(e.ids) - e.supervised_from for e in encoded]
    tested = test.examples[: sizes[1]]
    parts = ((), ()) if plain_text else (examples, tested)
    (guess, words), (test_guess, test_words) = (best_guess(train.examples, part) for part in parts)
    return HeldOut(
        examples=len(examples), guess=guess, guess_words=words, supervised=sum(lengths),
        deciding=sum(length - front - back for length in lengths), train=len(train.kept), test=len(tested),
        held_out_left_out=held_out.left_out, test_left_out=test.left_out, test_guess=test_guess,
        test_guess_words=test_words, longest=longest, train_cut=train.cut, held_out_cut=held_out.cut,
        test_cut=test.cut,
    )  # fmt: skip


def best_guess(train: Sequence[Example], examples: Sequence[Example]) -> tuple[float | None, str]:
    """Return the accuracy of guessing without the prompt, and the guess in words.

    The guess is the better of two: always the most frequent answer of the training examples, or a choice at random.
    None if it is never right, or if there are no examples.
    """
    if not examples:
        return None, ""
    answer = Counter(e.answer for e in train).most_common(1)[0][0]
    often = sum(e.answer == answer for e in examples) / len(examples)
    quoted = " ".join(answer.split())
    guesses = [(often, f"always “{quoted if len(quoted) <= 30 else quoted[:29] + '…'}”")]
    if all(e.choices for e in examples):
        chance = sum(1 / len(e.choices) for e in examples) / len(examples)
        guesses.append((chance, AT_RANDOM))
    guess = max(guesses, key=lambda guess: guess[0])
    return guess if guess[0] else (None, "")


class Tested(NamedTuple):
    """The results on the test examples."""

    base: Evaluation
    """Of the base model."""
    lanes: Evaluation
    """Of the K lanes at the end of the race; NaN for one that has diverged."""


def figures_of_test(evaluation: Evaluation | None, k: int) -> dict[str, float | None]:
    """Return lane k's results on the test examples; None before the test."""
    return {
        "test_loss": finite_or_none(evaluation.loss[k]) if evaluation else None,
        "test_accuracy": finite_or_none(evaluation.accuracy[k]) if evaluation else None,
    }

"""Held-out results: losses and right answers of every example, for every lane."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from olora_viz.machine.tables import finite_or_none, nulls
from olora_viz.machine.wording import counted
from olora_viz.tasks.batches import collate_examples, packed, rows_of
from olora_viz.tasks.encoding import Encoded, Encoding
from olora_viz.tasks.losses import before_blocks, supervised_logits, to_device, token_losses
from olora_viz.tasks.task import Duplicates, Example, conversations


@dataclass(frozen=True)
class Evaluation:
    """Results of K lanes on held-out examples."""

    loss: np.ndarray
    """(K,) mean cross-entropy of the answers' tokens without boilerplate, nats per token; see `boilerplate_of`."""
    accuracy: np.ndarray
    """(K,) share of correct answers, from 0 to 1 (of correct tokens, for plain text)."""
    accuracy_normalized: np.ndarray
    """(K,) share of correct choices by log-likelihood per character; NaN without choices."""
    boilerplate_loss: np.ndarray
    """(K,) mean cross-entropy of the boilerplate, which is trained too, nats per token; NaN if there is none."""
    example_loss: np.ndarray
    """(K, n) summed cross-entropy of each example's tokens without boilerplate, divided by their mean number and
    rounded to five digits. Its mean over the examples is the loss."""
    example_right: np.ndarray
    """(K, n) 1 for a correct answer, 0 for a wrong one; the share of tokens for plain text."""
    score: np.ndarray
    """(K,) mean of the race's metric over the generated answers, from 0 to 1; NaN without one, see `metrics`."""

    @classmethod
    def of_totals(
        cls, loss: np.ndarray, accuracy: np.ndarray, boilerplate_loss: np.ndarray | None = None
    ) -> Evaluation:
        """Return an evaluation with only the totals (K,) known."""
        unknown, none = np.full_like(loss, np.nan), np.empty((len(loss), 0))
        apart = unknown.copy() if boilerplate_loss is None else boilerplate_loss
        return cls(loss, accuracy, unknown, apart, none, none.copy(), unknown.copy())

    def to_json(self) -> dict[str, Any]:
        """Return plain values; NaN is null."""
        return {f.name: nulls(getattr(self, f.name).tolist()) for f in fields(self)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Evaluation:
        """Read back what `to_json` wrote, bit for bit; KeyError, TypeError or ValueError for another form.

        Earlier versions wrote the loss of all supervised tokens and, where most of them were boilerplate, that of the
        others as ``deciding_loss``; they had no score.
        """
        loss = np.array(values["loss"], dtype=float)
        others = np.array(values.get("deciding_loss", np.nan), dtype=float)
        read = values | {"loss": np.where(np.isnan(others), loss, others)}
        for name in ("boilerplate_loss", "score"):
            read.setdefault(name, np.full_like(loss, np.nan))
        return cls(*(np.array(read[f.name], dtype=float) for f in fields(cls)))

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


TOTALS = ("loss", "accuracy", "boilerplate_loss")
"""The arguments of `Evaluation.of_totals`."""


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
        boilerplate: number of supervised tokens at the beginning and at the end of an answer that do not count in its
            loss, see `boilerplate_of`.
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
        lost = token_losses(logits, batch).cpu().double()
        wrong = (logits.argmax(-1) != batch.targets).cpu().double()
        lengths = [len(s.ids) - s.supervised_from for s in sequences]
        by_sequence = zip(lost.split(lengths, 1), wrong.split(lengths, 1), strict=True)
        for example in part:
            losses, missed = next(by_sequence)
            choices = [next(by_sequence)[0].sum(1) for _ in example.choices]
            scores[example] = _score(example, losses, missed, choices, plain_text, boilerplate)
    scored = [scores[example] for example in encoded]
    tokens, counted = (sum(getattr(s, name) for s in scored) for name in ("tokens", "counted"))
    judged = [s.tokens if plain_text else 1 for s in scored]
    right, normalized, lost, others = (
        torch.stack([getattr(s, name) for s in scored], 1).numpy()
        for name in ("right", "normalized", "lost", "others")
    )
    return Evaluation(
        loss=lost.sum(1) / counted,
        accuracy=right.sum(1) / sum(judged),
        accuracy_normalized=normalized.mean(1),
        boilerplate_loss=others.sum(1) / (tokens - counted) if tokens > counted else np.full(K, np.nan),
        example_loss=_five_digits(lost * len(scored) / counted),
        example_right=_five_digits(right / judged),
        score=np.full(K, np.nan),
    )


@dataclass
class _Scored:
    """Sums over the tokens of one example, for K lanes (K,)."""

    lost: Tensor
    """Of the tokens that count."""
    others: Tensor
    """Of the boilerplate."""
    right: Tensor
    normalized: Tensor
    tokens: int
    counted: int


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
    inner = lost[:, front : max(front + 1, tokens - back)]
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
        lost=inner.sum(1), others=lost.sum(1) - inner.sum(1), right=right.double(), normalized=normalized,
        tokens=tokens, counted=inner.shape[1],
    )  # fmt: skip


def boilerplate_of(encoded: Sequence[Encoded], *, ends: bool, plain_text: bool = False) -> tuple[int, int]:
    """Count the boilerplate: supervised tokens at the beginning and at the end of answers that do not count in a loss.

    The end token, with which all answers end, is boilerplate: a model soon learns to stop, whether it has learned the
    answers or not. So is what all answers begin and end with, if that is at least half of their other tokens: "the
    correct answer is true" differs from other answers in one token. Of every answer, one token counts in any case.

    Args:
        encoded: the examples of all parts.
        ends: whether they end with an end token, see `Encoding`.
        plain_text: whether they are texts, of which all tokens but the end token count.

    >>> boilerplate_of([Encoded((1, 7, 8, 3, 9), 1), Encoded((2, 2, 7, 8, 4, 9), 2)], ends=True)
    (2, 1)
    >>> boilerplate_of([Encoded((1, 7, 5, 6, 9), 1), Encoded((1, 7, 4, 2, 9), 1)], ends=True)
    (0, 1)
    """
    end = int(ends)
    answers = {e.ids[e.supervised_from : len(e.ids) - end] for e in encoded}
    if plain_text or len(answers) < 2:
        return 0, end
    most = max(0, min(map(len, answers)) - 1)
    front = _common(answers, most)
    back = _common([answer[::-1] for answer in answers], most - front)
    tokens = sum(len(e.ids) - e.supervised_from - end for e in encoded)
    return (front, back + end) if 2 * len(encoded) * (front + back) >= tokens else (0, end)


def deciding_tokens(encoded: Sequence[Encoded], boilerplate: tuple[int, int]) -> int:
    """Return how many tokens of answers count in a loss; of each at least one."""
    return sum(max(1, len(e.ids) - e.supervised_from - sum(boilerplate)) for e in encoded)


def likely(example_loss: np.ndarray, deciding: int) -> np.ndarray:
    """Return the probability of each right answer, (K, n), from `Evaluation.example_loss`.

    Args:
        deciding: of all n answers, see `deciding_tokens`.

    >>> likely(np.log([[2.0]]), 1), likely(np.log([[1.0, 2.0]]), 4)
    (array([[0.5]]), array([[1.  , 0.25]]))
    """
    return np.exp(-example_loss * deciding / example_loss.shape[1])


def _common(sequences: Collection[tuple[int, ...]], most: int) -> int:
    """Return with how many tokens all sequences begin, at most so many."""
    return next((i for i in range(most) if len({ids[i] for ids in sequences}) > 1), most)


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
    """Number of supervised tokens that count in a loss, as they are not boilerplate, see `boilerplate_of`."""
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
    ends: bool = False
    """Whether the boilerplate has an end token."""
    metric: str = ""
    """The metric of the generated answers to the test examples; empty without one."""
    conversations: int = 0
    """Number of conversations whose answers all these examples are; 0 if each is one of its own."""

    def supervised_loss(self, loss: np.ndarray, boilerplate_loss: np.ndarray) -> np.ndarray:
        """Return the mean loss (K,) of all supervised tokens, as a training loss is, from its two parts."""
        others = self.supervised - self.deciding
        return (self.deciding * loss + others * boilerplate_loss) / self.supervised if others else loss

    @property
    def boilerplate_name(self) -> str:
        """What the boilerplate is; empty if there is none."""
        if self.deciding == self.supervised:
            return ""
        alone = self.ends and self.supervised - self.deciding <= self.examples
        return "end token" if alone else "boilerplate"

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

        >>> HeldOut(64, None, "", 64, 64, train=268, test=64, conversations=190).parts
        '268 training examples, 64 held out, 64 for the test at the end: answers in 190 conversations, of each \
held-out and test one the last.'
        """
        if not self.train:
            return ""
        counts = parts_words(self.train, self.examples, self.test)
        if self.conversations:
            of = f"{counted(self.conversations, 'conversation')}, of each held-out{' and test' * bool(self.test)} one"
            counts = f"{counts[:-1]}: answers in {of} the last."
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
        """A sentence on the supervised tokens that do not count in a loss; empty if all do.

        >>> HeldOut(64, 0.5, "always “yes”", 128, 64, ends=True).boilerplate
        'The loss is that of the answer; the end token is trained too, and its loss is reported apart.'
        """
        if not self.boilerplate_name:
            return ""
        apart = "trained too, and their loss is reported apart."
        if self.boilerplate_name == "end token":
            return f"The loss is that of the answer; the end token is {apart.replace('their', 'its')}"
        means = (self.deciding / self.examples, self.supervised / self.examples)
        few, all_ = (f"{mean:.1f}".removesuffix(".0") for mean in means)
        differ = f"{few} differ{'s' * (few == '1')}"
        return (
            f"Of {all_} supervised tokens per answer, {differ} between answers, and the loss is that of these; the "
            f"others, the same in every answer{', the end token among them,' * self.ends} are {apart}"
        )

    def without_quotes(self) -> HeldOut:
        """Return the same without words that quote an answer."""
        words = {name: getattr(self, name) for name in ("guess_words", "test_guess_words")}
        return replace(self, **{n: w if w in ("", AT_RANDOM) else "always the same answer" for n, w in words.items()})


def parts_words(train: int, held_out: int, test: int) -> str:
    """Return a sentence on the number of examples in each part."""
    tested = f", {test:,} for the test at the end" if test else ""
    return f"{counted(train, 'training example')}, {held_out:,} held out{tested}."


def boilerplate_in(summary: dict[str, Any]) -> str:
    """Return what the boilerplate of a race is called, from its summary; empty if there is none."""
    about = summary.get("held_out")  # which earlier versions did not write
    return HeldOut(**about).boilerplate_name if about else ""


def held_out_of(
    train: Encoding,
    held_out: Encoding,
    test: Encoding,
    sizes: tuple[int, int],
    boilerplate: tuple[int, int],
    *,
    plain_text: bool,
    longest: int = 0,
) -> HeldOut:
    """Describe the first held-out and test examples, of each at most so many as `sizes` says."""
    examples, encoded = held_out.examples[: sizes[0]], held_out.kept[: sizes[0]]
    lengths = [len(e.ids) - e.supervised_from for e in encoded]
    tested = test.examples[: sizes[1]]
    parts = ((), ()) if plain_text else (examples, tested)
    (guess, words), (test_guess, test_words) = (best_guess(train.examples, part) for part in parts)
    count = len(conversations(every := (*train.examples, *examples, *tested)))
    return HeldOut(
        examples=len(examples), guess=guess, guess_words=words, supervised=sum(lengths),
        deciding=deciding_tokens(encoded, boilerplate), train=len(train.kept),
        test=len(tested), held_out_left_out=held_out.left_out, test_left_out=test.left_out, test_guess=test_guess,
        test_guess_words=test_words, longest=longest, train_cut=train.cut, held_out_cut=held_out.cut,
        test_cut=test.cut, ends=train.ends, conversations=count if count < len(every) else 0,
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


def figures_of(evaluation: Evaluation | None, k: int, part: str = "") -> dict[str, float | None]:
    """Return lane k's results as plain values, such as ``test_loss`` for the part ``test_``; None before there are."""
    return {f"{part}{name}": finite_or_none(getattr(evaluation, name)[k]) if evaluation else None for name in TOTALS}

"""Held-out results: losses and right answers of every example, for every lane."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from olora_viz.machine.numbers import nulls
from olora_viz.tasks.batches import collate_examples, packed, rows_of
from olora_viz.tasks.encoding import Encoded
from olora_viz.tasks.losses import before_blocks, supervised_logits, to_device, token_losses


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
    """(K,) mean cross-entropy of the deciding tokens alone, nats per token; NaN if all decide, see
    `shared_tokens`."""
    example_loss: np.ndarray
    """(K, n) summed cross-entropy of each example's deciding tokens, divided by their mean number
    and rounded to five digits. Its mean over the examples is the deciding loss, or the loss if all
    tokens decide."""
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
        return {each.name: nulls(getattr(self, each.name).tolist()) for each in fields(self)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Evaluation:
        """Read back what `to_json` wrote, bit for bit.

        Raises
        ------
        KeyError, TypeError, ValueError : the values have another form.
        """
        return cls(*(np.array(values[each.name], dtype=float) for each in fields(cls)))

    def repeated(self, K: int) -> Evaluation:
        """Repeat the results of one lane for K identical lanes."""
        return Evaluation(*(np.repeat(getattr(self, f.name), K, 0) for f in fields(self)))

    def lose(self, lanes: np.ndarray) -> None:
        """Set the results of some lanes, a mask (K,), to NaN."""
        for each in fields(self):
            getattr(self, each.name)[lanes] = np.nan

    @classmethod
    def joined(cls, parts: Sequence[Evaluation]) -> Evaluation:
        """Concatenate results along the lanes."""
        return cls(
            *(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls))
        )


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

    An open answer is correct if each of its tokens is the most likely one, given those before it.
    With choices, the answer is the choice with the highest log-likelihood: the sum over its tokens,
    with the end-of-text token where the answers end with one. The normalized accuracy divides that
    sum by the characters of the choice, as lm-evaluation-harness does (Gao et al. 2021).

    Parameters
    ----------
    boilerplate : number of supervised tokens at the beginning and at the end of an answer that all
        answers share, see `shared_tokens`; the others decide.
    branching : whether an example and its choices share one row, see `can_branch`.
    report : called with the part that is done, before every block of the model; raises to stop.
    """

    def tell() -> None:
        if report is not None:
            report(len(found) / len(by_length))

    found: dict[Encoded, _Scored] = {}
    device = next(model.parameters()).device
    by_length = sorted(dict.fromkeys(encoded), key=lambda e: max(rows_of(e, branching=branching)))
    for some in packed(by_length, batch_size, branching=branching):
        sequences = [s for e in some for s in (e, *e.choices)]
        batch = to_device(collate_examples(some, pad_id, branching=branching), device)
        with before_blocks(model, tell):
            logits = supervised_logits(model, batch, K)
        # Summed on the CPU in a fixed order: on a GPU the order would differ from run to run.
        lost = token_losses(logits, batch).double().cpu()
        wrong = (logits.argmax(-1) != batch.targets).double().cpu()
        lengths = [len(s.ids) - s.supervised_from for s in sequences]
        by_sequence = zip(lost.split(lengths, 1), wrong.split(lengths, 1), strict=True)
        for example in some:
            its, missed = next(by_sequence)
            choices = [next(by_sequence)[0].sum(1) for _ in example.choices]
            found[example] = _score(example, its, missed, choices, plain_text, boilerplate)
    scored = [found[example] for example in encoded]
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
            total / max(1, choice.characters)
            for total, choice in zip(choices, example.choices, strict=True)
        ]
        normalized = (torch.stack(per_character, 1).argmin(1) == example.correct).double()
    return _Scored(
        lost=lost.sum(1), decided=inner.sum(1), right=right.double(), normalized=normalized,
        tokens=tokens, deciding=inner.shape[1],
    )  # fmt: skip


def shared_tokens(encoded: Sequence[Encoded]) -> tuple[int, int]:
    """Count the boilerplate: supervised tokens at both ends of an answer that all answers share.

    The tokens between them decide which answer it is: a single one in "the correct answer is true".
    The result is (0, 0), so that all tokens decide, if the shared tokens are not the larger part
    (for instance only the end-of-text token), or if all answers are the same.

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

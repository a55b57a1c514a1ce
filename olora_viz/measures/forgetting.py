"""What a lane forgets: its loss on a text to keep, and how far its predictions there moved from the base model's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from olora_viz.measures.measure import Measure
from olora_viz.tasks.batches import Batch
from olora_viz.tasks.keep import PASSAGES, TOKENS_A_PASSAGE, bits_per_byte
from olora_viz.tasks.losses import before_blocks, supervised_logits


class Forgotten(NamedTuple):
    """The results of K lanes on a text to keep."""

    text_loss: np.ndarray
    """(K,) mean cross-entropy of its tokens, nats per token."""
    drift: np.ndarray
    """(K,) mean of KL(base‖lane) over its tokens, nats per token: 0 if the lane predicts as the base model does."""

    @classmethod
    def joined(cls, parts: Sequence[Forgotten]) -> Forgotten:
        """Concatenate results along the lanes."""
        return cls(*map(np.concatenate, zip(*parts, strict=True)))

    def without(self, out: np.ndarray) -> Forgotten:
        """Return a copy with NaN in some lanes, a mask (K,)."""
        return Forgotten(*(np.where(out, np.nan, values) for values in self))

    @classmethod
    def at_start(cls, base_loss: float, measured: Forgotten, keeps: np.ndarray) -> Forgotten:
        """Return the results at step 0.

        Args:
            base_loss: of the base model.
            measured: of the lanes; counts where a lane's start does not keep the model's function, see `keeps` (K,).
        """
        return cls(np.where(keeps, base_loss, measured.text_loss), np.where(keeps, 0.0, measured.drift))


@torch.no_grad()
def base_predictions(model: nn.Module, batches: Sequence[Batch]) -> list[Float[Tensor, "_ V"]]:
    """Return the log-probabilities of a model without lanes at the supervised positions of every batch.

    They are kept for a whole race: `PASSAGES` × `TOKENS_A_PASSAGE` tokens × the vocabulary, in float32 2 MB for
    glassllm and 101 MB for SmolLM2.
    """
    return [supervised_logits(model, batch, 1)[0].log_softmax(-1) for batch in batches]


@torch.no_grad()
def forgotten(
    model: nn.Module,
    batches: Sequence[Batch],
    base: Iterable[Float[Tensor, "_ V"]],
    K: int,
    report: Callable[[float], None] | None = None,
) -> Forgotten:
    """Measure K lanes on the batches of a text.

    Args:
        base: the result of `base_predictions`, of the model from which the drift is measured.
        report: called with the part that is done, before every block of the model; raises to stop.
    """
    lost: list[Tensor] = []
    moved: list[Tensor] = []

    def tell() -> None:
        if report is not None:
            report(len(lost) / len(batches))

    for batch, expected in zip(batches, base, strict=True):
        with before_blocks(model, tell):
            logits = supervised_logits(model, batch, K)
        losses, drifts = [], []
        for of_lane in logits:  # one by one, so that no copy of all logits is made
            known = of_lane.log_softmax(-1)
            losses.append(-known.gather(1, batch.targets[:, None])[:, 0])
            drifts.append(F.kl_div(known, expected, reduction="none", log_target=True).sum(1))
        # Summed on the CPU in a fixed order: on a GPU the order would differ from run to run.
        lost.append(torch.stack(losses).cpu().double())
        moved.append(torch.stack(drifts).cpu().double())
    means = [torch.cat(parts, 1).mean(1).numpy() for parts in (lost, moved)]
    return Forgotten(means[0], np.maximum(means[1], 0.0))  # below zero by rounding alone


@dataclass(frozen=True)
class AboutText:
    """A race's text to keep, and the results on it before the first step."""

    name: str
    tokens: int
    """Number of tokens that are measured."""
    bytes: int
    """Their length in UTF-8."""
    loss: float
    """Of the base model, nats per token."""
    start_loss: tuple[float, ...]
    """Of each lane at step 0: the base model's, unless its start does not keep the model's function."""
    start_drift: tuple[float, ...]
    """Of each lane at step 0: zero with the same exception."""

    def bits_per_byte(self, loss: float) -> float:
        """Return a loss in nats per token in bits per byte."""
        return bits_per_byte(loss, self.tokens, self.bytes)

    @property
    def sentence(self) -> str:
        """What is measured, and the base model's loss.

        >>> AboutText("plain English", 512, 1621, 3.88, (3.88,), (0.0,)).sentence
        'To keep: plain English, 512 tokens; the base model has 3.88 nats per token, 1.77 bits per byte.'
        """
        return (
            f"To keep: {self.name}, {self.tokens:,} tokens; the base model has {self.loss:.2f} nats per token, "
            f"{self.bits_per_byte(self.loss):.2f} bits per byte."
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        lanes = {"start_loss": list(self.start_loss), "start_drift": list(self.start_drift)}
        return asdict(self) | lanes

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> AboutText:
        """Read back what `to_json` wrote; KeyError or TypeError for another form."""
        known: dict[str, Any] = {each.name: values[each.name] for each in fields(cls)}
        return cls(**known | {name: tuple(known[name]) for name in ("start_loss", "start_drift")})


LEAST_STEPS_APART = 10
"""Minimum steps between two measurements, except that at the end: a multiple of the interval of evaluations."""


def _measure(key: str, **more: Any) -> Measure:
    """Return the entry of one of the numbers of `Forgotten`, which are measured together."""
    compute = attrgetter(f"forgotten.{key}")
    return Measure(
        key=key, compute=compute, every="eval_every", apart=LEAST_STEPS_APART, of_text=True, at_last=True, **more
    )


TEXT_LOSS = _measure(
    "text_loss",
    title="Loss on the text to keep",
    unit="nats per token",
    symbol="loss, nats",
    scale="log",
    cost=(
        f"A forward pass over {PASSAGES} × {TOKENS_A_PASSAGE} tokens for each lane, {LEAST_STEPS_APART} steps or more "
        "apart."
    ),
)

DRIFT = _measure(
    "drift",
    title="Drift from the base model",
    unit="KL(base‖lane) on the text to keep, nats per token",
    symbol="KL, nats",
    scale="linear",
    cost="Comes with the loss on the text to keep.",
)

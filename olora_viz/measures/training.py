"""What a step of training leaves for measurements; loss and accuracy of every example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from olora_viz.measures.gradients import Gradients
from olora_viz.measures.measure import Measure, Record, by_lane, lane_fields
from olora_viz.tasks.evaluation import Evaluation, likely

TRAINED, MEASURED = "trained_", "measured_"
"""How the names of its tensors in a checkpoint begin, and after that those of what an objective has measured."""


class Trained(NamedTuple):
    """Results of a step's forward and backward passes."""

    loss: np.ndarray
    """(K,) nats per supervised token."""
    grad_norm: np.ndarray
    """(K,) Euclidean norm of the gradient, before clipping."""
    gradients: Gradients | None
    """By layer; None if not measured at this step."""
    measured: Mapping[str, np.ndarray] = MappingProxyType({})
    """What an objective has measured, (K,) each, by the keys of measures; see `races.objectives`."""

    def without(self, out: np.ndarray) -> Trained:
        """Return a copy with NaN in the diverged lanes (K,)."""
        loss, norm = (np.where(out, np.nan, values) for values in (self.loss, self.grad_norm))
        measured = {key: np.where(out, np.nan, values) for key, values in self.measured.items()}
        return Trained(loss, norm, self.gradients and self.gradients.without(out), measured)

    def to_tensors(self) -> dict[str, Tensor]:
        """Return it as tensors."""
        values = {"loss": self.loss, "grad_norm": self.grad_norm}
        if self.gradients is not None:
            values |= {name: getattr(self.gradients, name) for name in lane_fields(Gradients)}
        values |= {MEASURED + name: value for name, value in self.measured.items()}
        return {TRAINED + name: torch.tensor(value) for name, value in values.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], layers: tuple[str, ...]) -> Trained | None:
        """Read back what `to_tensors` returned; None if there is nothing of it among the tensors."""
        if TRAINED + "loss" not in tensors:
            return None
        values = {
            name.removeprefix(TRAINED): tensor.numpy().copy()
            for name, tensor in tensors.items()
            if name.startswith(TRAINED)
        }
        loss, norm = values.pop("loss"), values.pop("grad_norm")
        measured = {name.removeprefix(MEASURED): values.pop(name) for name in [*values] if name.startswith(MEASURED)}
        return cls(loss, norm, Gradients(layers, **values) if values else None, measured)


def loss_unit(plain_text: bool | None = None) -> str:
    """Return the unit of a held-out loss: of tokens for plain text, else of those of the answer, or of either."""
    if plain_text is None:
        return "nats per token of the answer or text"
    return "nats per token" if plain_text else "nats per answer token"


LOSS_MEASURE = Measure(
    key="loss",
    title="Loss",
    unit="nats per supervised token",
    symbol="loss, nats",
    scale="log",
    compute=attrgetter("trained.loss"),
    cost="Nothing: training computes it.",
)

GRAD_NORM = Measure(
    key="grad_norm",
    title="Gradient norm",
    unit="‖∇‖ before clipping",
    symbol="‖∇‖",
    scale="log",
    compute=attrgetter("trained.grad_norm"),
    cost="Nothing: training computes it.",
)

LR = Measure(
    key="lr",
    title="Learning rate",
    unit="of the step's update",
    symbol="rate",
    scale="log",
    compute=lambda race: race.config.rates(race.done),
    cost="Nothing.",
)


def _of_objective(key: str, **more: Any) -> Measure:
    """Make a measure of what an objective measures in a step."""

    def of_step(race: Any) -> np.ndarray:
        return race.trained.measured[key]

    return Measure(key=key, compute=of_step, scale="linear", cost="Nothing: training computes it.", **more)


OF_OBJECTIVES = (
    _of_objective(
        "margin", title="Margin", unit="nats by which the chosen answer gained on the rejected one since the start",
        symbol="margin, nats", objective="dpo",
    ),
    _of_objective(
        "preferred", title="Preferred", unit="share of the step's pairs in which the chosen answer gained",
        symbol="pairs", objective="dpo",
    ),
    _of_objective(
        "reward", title="Reward", unit="mean of the answers drawn in a step", symbol="reward", objective="reinforce",
    ),
    _of_objective(
        "differing", title="Prompts that teach", unit="share of prompts whose answers differ in reward",
        symbol="prompts", objective="reinforce",
    ),
    _of_objective(
        "entropy", title="Entropy", unit="of the predictions on the answers drawn, nats per token",
        symbol="entropy, nats", objective="reinforce",
    ),
    _of_objective(
        "kl_to_start", title="KL to the start", unit="KL(lane‖lane before its first step) on the answers drawn, nats "
        "per token", symbol="KL, nats", objective="reinforce",
    ),
)  # fmt: skip
"""What objectives measure in a step."""

EVAL_LOSS = Measure(
    key="eval_loss",
    title="Held-out loss",
    unit=loss_unit(),
    symbol="loss, nats",
    scale="log",
    compute=lambda race: race.state.last_eval.loss.copy(),
    every="eval_every",
    at_last=True,
    cost="A forward pass over the held-out examples for each lane.",
)

EVAL_ACCURACY = Measure(
    key="eval_accuracy",
    title="Held-out accuracy",
    unit="share of right answers",
    symbol="right answers",
    scale="linear",
    compute=lambda race: race.state.last_eval.accuracy.copy(),
    every="eval_every",
    at_last=True,
    cost="Comes with the held-out loss.",
)


EVAL_SAMPLED = Measure(
    key="eval_sampled",
    title="Sampled accuracy",
    unit="probability of the right answer, mean over the held-out examples",
    symbol="right answers",
    scale="linear",
    compute=lambda race: likely(race.state.last_eval.example_loss, race.data.deciding()).mean(1),
    every="eval_every",
    at_last=True,
    objective="reinforce",
    cost="Comes with the held-out loss.",
)


@dataclass(frozen=True, eq=False, repr=False)
class Examples(Record):
    """Results of K lanes on n held-out examples, which are the same in every evaluation."""

    loss: np.ndarray = field(metadata=by_lane())
    """(K, n) summed cross-entropy of each example's tokens without boilerplate, divided by their mean number, nats.
    Its mean over the examples is the held-out loss."""
    right: np.ndarray = field(metadata=by_lane())
    """(K, n) 1 for a right answer, 0 for a wrong one; for plain text the share of right tokens."""
    accuracy_normalized: np.ndarray = field(metadata=by_lane())
    """(K,) accuracy with each choice's log-likelihood divided by its number of characters, like ``acc_norm`` in
    lm-evaluation-harness (Gao et al. 2021); NaN without choices."""
    boilerplate_loss: np.ndarray = field(metadata=by_lane())
    """(K,) mean cross-entropy of the boilerplate, nats per token: of the end token, or of all that is the same in
    every answer. It is trained, and does not count in the held-out loss. NaN if there is none."""

    @classmethod
    def from_json(cls, values: dict[str, Any], labels: Sequence[str]) -> Examples:
        """Read back what `to_json` wrote; earlier versions wrote no loss of boilerplate."""
        return super().from_json({label: {"boilerplate_loss": None} | values[label] for label in labels}, labels)

    @classmethod
    def of(cls, evaluation: Evaluation) -> Examples:
        """Return the results of an evaluation."""
        return cls(
            loss=evaluation.example_loss.copy(),
            right=evaluation.example_right.copy(),
            accuracy_normalized=evaluation.accuracy_normalized.copy(),
            boilerplate_loss=evaluation.boilerplate_loss.copy(),
        )


EVAL_EXAMPLES = Measure(
    key="eval_examples",
    title="Held-out examples",
    unit="loss and right answer of each",
    scale="linear",
    compute=lambda race: Examples.of(race.state.last_eval),
    shape="(K, examples)",
    record=Examples,
    columns=("accuracy_normalized", "boilerplate_loss"),
    every="eval_every",
    at_last=True,
    cost="Comes with the held-out loss.",
)

"""The measurements of training itself: losses, gradient norm, rate, held-out results."""

from __future__ import annotations

from operator import attrgetter
from typing import NamedTuple

import numpy as np

from olora_viz.measures.gradients import Gradients
from olora_viz.measures.measure import Measure


class Trained(NamedTuple):
    """Results of a step's forward and backward passes; NaN for diverged lanes."""

    loss: np.ndarray
    """(K,) nats per supervised token."""
    grad_norm: np.ndarray
    """(K,) Euclidean norm of the gradient, before clipping."""
    gradients: Gradients | None
    """By layer; None if not measured at this step."""


def loss_unit(plain_text: bool | None = None) -> str:
    """Return the unit of a loss.

    Parameters
    ----------
    plain_text : whether every token is supervised instead of an answer; None if unknown.
    """
    if plain_text is None:
        return "nats per supervised token"
    return "nats per token" if plain_text else "nats per answer token"


LOSS = Measure(
    key="loss",
    title="Loss",
    unit=loss_unit(),
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

"""Held-out results by example, the basis of all comparisons between lanes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from olora_viz.measures.measure import Measure
from olora_viz.measures.record import Record, by_lane
from olora_viz.tasks.evaluation import Evaluation


@dataclass(frozen=True, eq=False, repr=False)
class Examples(Record):
    """Results of K lanes on n held-out examples, which are the same in every evaluation."""

    loss: np.ndarray = field(metadata=by_lane())
    """(K, n) summed cross-entropy of each example's deciding tokens, divided by their mean number,
    nats. Its mean over the examples is the loss by which lanes are compared."""
    right: np.ndarray = field(metadata=by_lane())
    """(K, n) 1 for a right answer, 0 for a wrong one; for plain text the share of right tokens."""
    accuracy_normalized: np.ndarray = field(metadata=by_lane())
    """(K,) accuracy with each choice's log-likelihood divided by its number of characters, like
    ``acc_norm`` in lm-evaluation-harness (Gao et al. 2021); NaN without choices."""
    deciding_loss: np.ndarray = field(metadata=by_lane())
    """(K,) mean cross-entropy of the tokens that differ between answers, nats per token; NaN if all
    tokens decide, so that lanes are compared by the held-out loss itself."""

    @property
    def all_decide(self) -> bool:
        """Whether all tokens decide, so that lanes are compared by the held-out loss itself."""
        return not np.isfinite(self.deciding_loss).any()

    @classmethod
    def of(cls, evaluation: Evaluation) -> Examples:
        """Return the results of an evaluation."""
        return cls(
            loss=evaluation.example_loss.copy(),
            right=evaluation.example_right.copy(),
            accuracy_normalized=evaluation.accuracy_normalized.copy(),
            deciding_loss=evaluation.deciding_loss.copy(),
        )


EVAL_EXAMPLES = Measure(
    key="eval_examples",
    title="Held-out examples",
    unit="loss and right answer of each",
    scale="linear",
    compute=lambda race: Examples.of(race.state.last_eval),
    shape="(K, examples)",
    record=Examples,
    columns=("accuracy_normalized", "deciding_loss"),
    every="eval_every",
    at_last=True,
    cost="Comes with the held-out loss.",
)

"""Steps made by hand."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from olora_viz.measures.training import Examples
from olora_viz.races.step import Step, statuses


def a_step(
    step: int,
    loss: Sequence[float] | np.ndarray,
    grad_norm: Sequence[float] | np.ndarray | None = None,
    lr: Sequence[float] | np.ndarray | None = None,
    seconds: float = 0.0,
    tokens: int = 1,
    **more: np.ndarray | None,
) -> Step:
    """Make a step; a lane whose loss is NaN has diverged.

    Args:
        more: what else was measured, by key; None: it was not.
    """
    values = np.array(loss, dtype=float)
    given = {"loss": values, "grad_norm": grad_norm, "lr": lr, **more}
    measures = {
        key: np.array(np.ones(len(values)) if value is None else value, dtype=float)
        for key, value in given.items()
        if value is not None or key in ("grad_norm", "lr")
    }
    return Step(step, measures, float(seconds), tokens, statuses(np.isnan(values)))


def run(steps: int, lanes: int = 3, out_at: dict[int, int] | None = None) -> list[Step]:
    """Return steps whose loss falls from lane to lane; lane k of `out_at` is NaN from that step on."""
    every = []
    for n in range(1, steps + 1):
        loss = np.array([5.0 / (k + 1) / math.sqrt(n) for k in range(lanes)])
        for k, step in (out_at or {}).items():
            if n >= step:
                loss[k] = np.nan
        evaluated = n % 10 == 0
        every.append(
            a_step(
                n, loss, 2 * loss, np.full(lanes, 1e-3), seconds=n / 10, tokens=n,
                eval_loss=loss * 1.1 if evaluated else None,
                eval_accuracy=np.exp(-loss) if evaluated else None,
            )
        )  # fmt: skip
    return every


def judged(step: Step, loss: Sequence[Sequence[float]] | np.ndarray, right: np.ndarray | None = None) -> Step:
    """Return a step evaluated on examples.

    Args:
        loss: (K, n) of every lane and example; NaN for a lane that has diverged.
        right: (K, n) 1 for a right answer; by default those of a loss below 1.
    """
    losses = np.array(loss, dtype=float)
    hits = np.where(np.isnan(losses), np.nan, losses < 1.0) if right is None else right
    unknown = np.full(len(losses), np.nan)
    examples = Examples(losses, np.array(hits, dtype=float), unknown, unknown)
    return measuring(step, eval_loss=losses.mean(1), eval_accuracy=examples.right.mean(1), eval_examples=examples)


def without(step: Step, *keys: str) -> Step:
    """Return a step in which something was not measured."""
    kept = {key: value for key, value in step.measures.items() if key not in keys}
    return replace(step, measures=kept)


def measuring(step: Step, **values: object) -> Step:
    """Return a step in which something else was measured."""
    return replace(step, measures={**step.measures, **values})

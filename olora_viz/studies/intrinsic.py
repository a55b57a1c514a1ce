"""The intrinsic dimension of a task: the fewest directions along which a start learns nearly all that it learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from olora_viz.machine.wording import counted
from olora_viz.studies.statistics import t_interval
from olora_viz.studies.study import Cell
from olora_viz.studies.verdicts import Verdicts

SHARE = 0.9
"""Of the loss reduction along every entry, as in Li et al. 2018 (arXiv 1804.08838)."""


def least_dims(
    dims: Sequence[int], reductions: Float[np.ndarray, "dims seeds"], whole: Float[np.ndarray, " seeds"]
) -> Float[np.ndarray, " seeds"]:
    """Return for each seed d90: the least d whose loss reduction is `SHARE` of the whole one or more.

    It lies between the first of the numbers tried that reaches the share and the one before, by a straight line over
    the logarithm of d. With the fewest directions reached already, it is their number, and at most that; where none
    reaches it, infinite.

    Args:
        dims: the numbers of directions, the lowest first.
        reductions: of the loss along so many, nats; not finite where a run is missing, which reaches nothing.
        whole: of the loss along every entry, nats.

    >>> least_dims([1, 10, 100], np.array([[0.1, 0.2], [0.8, 0.7], [1.0, 0.8]]), np.array([1.0, 1.0])).round(1)
    array([31.6,  inf])
    """
    shares = np.where(np.isfinite(reductions), reductions / whole, -np.inf)
    logs, found = np.log(dims), np.full(len(whole), np.inf)
    for seed, of_seed in enumerate(shares.T):
        reached = np.flatnonzero(of_seed >= SHARE)
        if len(reached):
            at = reached[0]
            near = slice(max(0, at - 1), at + 1)
            ends = of_seed[near] if np.isfinite(of_seed[near]).all() else of_seed[at : at + 1]
            found[seed] = np.exp(np.interp(SHARE, ends, logs[near][-len(ends) :]))
    return found


def whole_cells(verdicts: Verdicts) -> list[Cell]:
    """Return the cells of a study that train every entry; none if it crosses no `dim` with that."""
    dims = verdicts.study.across.get("dim", ())
    return [cell for cell in verdicts.study.cells() if None in dims and dict(cell.others)["dim"] is None]


def d90(verdicts: Verdicts, whole: Cell, method: str) -> Float[np.ndarray, " seeds"]:
    """Return `least_dims` of a method by its test losses, at the rate that validation chooses for each d.

    Args:
        whole: one of `whole_cells`.

    Returns:
        (seeds,); empty if some d has not run with every seed.
    """
    dims = sorted(dim for dim in verdicts.study.across["dim"] if dim is not None)
    losses = []
    for dim in (*dims, None):
        cell = replace(whole, others=tuple((dict(whole.others) | {"dim": dim}).items()))
        runs = verdicts.runs[cell, method].at_best
        if runs is None or len(runs.test) < verdicts.study.seeds:
            return np.empty(0)
        losses.append(verdicts.rows_of(cell)[0]["base_test_loss"] - runs.test.mean(1))
    return least_dims(dims, np.array(losses[:-1]), losses[-1])


def dim_words(found: Float[np.ndarray, " seeds"], most: int) -> str:
    """Say what d90 is over the seeds: the mean of its logarithm, and the 95% interval of that.

    Args:
        most: the most directions tried.

    >>> dim_words(np.array([100.0, 200.0, 400.0]), 4096)
    '200 (95% over 3 seeds: 36 to 1119)'
    >>> dim_words(np.array([100.0, np.inf]), 4096)
    'more than 4096 with 1 of 2 seeds'
    """
    if not np.isfinite(found).all():
        return f"more than {most} with {np.isinf(found).sum()} of {counted(len(found), 'seed')}"
    mean, low, high = np.exp(t_interval(np.log(found))[:3])
    return f"{mean:.0f} (95% over {counted(len(found), 'seed')}: {low:.0f} to {high:.0f})"

"""Claim: what is forgotten is a function of the KL to the base model on the task, whatever the objective."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from olora_viz.machine.wording import and_
from olora_viz.studies.claims.beside import every_one, without_drift
from olora_viz.studies.claims.claim import (
    OF_LEVEL,
    WITHIN,
    Bar,
    Claim,
    Finding,
    ends,
    not_measured,
    on_study,
    ratio_of,
)
from olora_viz.studies.objectives import CROSSED, TASK_DRIFT, by_rate, objective_of
from olora_viz.studies.statistics import LEAST_SEEDS, LEVEL_LOG_RATIO, t_interval, verdict
from olora_viz.studies.verdicts import Verdicts

LEAST_RUNS = 3
"""Of an objective, over the range that all have: fewer say nothing of a curve."""

Logs = dict[str, np.ndarray]
"""Of every objective (runs, 2, seeds): the logarithms of KL on the task and of drift on the text to keep."""


def logs_of(verdicts: Verdicts) -> Logs:
    """Return the logarithms of both drifts of all runs of a study, without those that have diverged or not moved."""
    found: dict[str, list[np.ndarray]] = {}
    for cell in verdicts.study.cells():
        for method in verdicts.study.compare:
            runs = by_rate(verdicts, cell, method, (TASK_DRIFT, "drift"))
            found.setdefault(objective_of(verdicts.study, cell), []).extend(of for of in runs if (of > 0).all())
    return {objective: np.log(np.array(runs)) for objective, runs in found.items() if runs}


def in_common(logs: Logs) -> Logs:
    """Return the runs whose mean KL on the task lies in the range that all objectives have."""
    means = {objective: runs[:, 0].mean(1) for objective, runs in logs.items()}
    low, high = max(each.min() for each in means.values()), min(each.max() for each in means.values())
    return {name: runs[(means[name] >= low) & (means[name] <= high)] for name, runs in logs.items()}


def fitted(logs: Logs) -> tuple[Float[np.ndarray, "seeds others"], float, Float[np.ndarray, "seeds 3"]]:
    """Fit one parabola in the logarithms, moved up or down for each objective but the first.

    Returns:
        By how much it is moved for each of the others, seed by seed; which share of the variance one curve for all
        explains; and the parabola of the first, as coefficients for `numpy.polyval`.
    """
    of = np.concatenate([np.full(len(runs), i) for i, runs in enumerate(logs.values())])
    x, y = np.moveaxis(np.concatenate(list(logs.values())), 1, 0)
    found, left = [], 0.0
    for of_x, of_y in zip(x.T, y.T, strict=True):
        curve = np.vander(of_x, 3)
        apart = (of[:, None] == np.arange(1, len(logs))).astype(float)
        both, one = (np.linalg.lstsq(given, of_y)[0] for given in (np.hstack([curve, apart]), curve))
        found.append(both)
        left += float(((of_y - curve @ one) ** 2).sum())
    curves, moved = np.split(np.array(found), [3], axis=1)
    return moved, 1 - left / float(((y - y.mean(0)) ** 2).sum()), curves


def span_of(logs: Logs) -> tuple[float, float]:
    """Return the lowest and the highest mean logarithm of the KL on the task."""
    means = np.concatenate([runs[:, 0].mean(1) for runs in logs.values()])
    return float(means.min()), float(means.max())


def judge(verdicts: Verdicts) -> Finding:
    """Judge that no objective forgets more than another at the same KL on the task."""
    if len(verdicts.study.across.get("objective", ())) < 2:
        return not_measured(CROSSED)
    if lacking := without_drift(verdicts):
        return lacking
    if (seeds := verdicts.study.first_seeds) < LEAST_SEEDS:
        return not_measured(f"the study tries every rate with fewer than {LEAST_SEEDS} seeds")
    logs = in_common(logs_of(verdicts))
    if len(logs) < 2 or min(map(len, logs.values())) < LEAST_RUNS:
        return not_measured(f"some objective has fewer than {LEAST_RUNS} runs in the range of the KL that all have")
    first, *others = logs
    moved, explained, _ = fitted(logs)
    intervals = {objective: t_interval(of_seeds) for objective, of_seeds in zip(others, moved.T, strict=True)}
    parts = [OF_LEVEL[verdict(each, each.p_value, LEVEL_LOG_RATIO, seeds)] for each in intervals.values()]
    ratios, over = {objective: ratio_of(each) for objective, each in intervals.items()}, f"{seeds} seeds"
    low, high = np.exp(span_of(logs))
    _, of_first, _ = fitted({first: logs[first]})
    said = [f"{objective} {ratio.mean:.3g} times ({ends(ratio, over, '.3g')})" for objective, ratio in ratios.items()]
    return Finding(
        verdict=every_one(parts),
        words=(
            f"From a KL on the task of {low:.2g} to {high:.2g} nats, which all objectives have, one curve explains "
            f"{explained:.0%} of the variance of the logarithm of the drift on the text to keep, and a curve for "
            f"{first} alone {of_first:.0%} of its. At the same KL on the task, beside {first}, the drift of "
            f"{and_(said)}. A function means that each is {WITHIN}."
        ),
        numbers={"explained": explained, **{f"times_{objective}": ratio for objective, ratio in ratios.items()}},
        seeds=seeds,
        bars=tuple(Bar.of(objective, ratio) for objective, ratio in ratios.items()),
        unit=f"times the drift under {first} at the same KL on the task",
        over=over,
    )


CLAIM = Claim(
    number=35,
    name="forgetting-by-kl",
    sentence="What is forgotten is a function of the KL to the base model on the task, whatever the objective.",
    source="arXiv 2509.04259",
    measured=(
        "In a study that crosses objectives and has a text to keep: the drift there, KL(base‖lane), of the runs of "
        "all methods at all rates against KL(base‖lane) at the right held-out answers. One parabola in the logarithms "
        "is fitted to each seed, moved up or down for each objective, and judged by how far it is moved, over the "
        "seeds, where the objectives overlap."
    ),
    judge=on_study(judge, ()),
)

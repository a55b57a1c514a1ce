"""What a race starts from: the results of the base model, and of the lanes at step 0."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from olora_viz.lanes.adapters import Lanes
from olora_viz.machine.progress import Progress
from olora_viz.races.config import RaceConfig
from olora_viz.races.data import RaceData
from olora_viz.tasks.evaluation import Evaluation


def of_base(lanes: Lanes, data: RaceData, progress: Progress, *, test: bool = False) -> Evaluation:
    """Evaluate the base model on the held-out or the test examples.

    Parameters
    ----------
    progress : called several times in every pass; raises to stop.
    """
    with lanes.off():
        return data.evaluate_base(
            test=test, report=lambda part: progress(part, "evaluating the base model")
        )


def baseline_of(config: RaceConfig, lanes: Lanes, data: RaceData, progress: Progress) -> Evaluation:
    """Evaluate the base model on the held-out examples; if that fails, detach the lanes.

    Parameters
    ----------
    progress : see `of_base`.

    Raises
    ------
    ValueError : the loss is not finite.
    """
    try:
        baseline = of_base(lanes, data, progress)
        if not np.isfinite(baseline.loss).all():
            raise ValueError(
                f"the held-out loss of {config.model!r} is {baseline.loss[0]} before any "
                "training: the weights must be damaged"
            )
    except BaseException:
        lanes.detach()
        raise
    return baseline


def results_at_start(
    lanes: Lanes, baseline: Evaluation, evaluate: Callable[[], Evaluation]
) -> Evaluation:
    """Return the lanes' held-out results at step 0.

    Parameters
    ----------
    evaluate : evaluates the lanes; called if some do not keep the model's function.
    """
    if not lanes.plan.unsubtracted:
        return baseline.repeated(lanes.count)
    try:
        return evaluate()
    except BaseException:
        lanes.detach()
        raise

"""The steps of a race as a pandas table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from olora_viz.races.config import RaceConfig
from olora_viz.races.race import Race
from olora_viz.races.source import Raced, Source

if TYPE_CHECKING:
    import pandas as pd

PER_LANE = ("loss", "grad_norm", "lr", "eval_loss", "eval_accuracy")

COLUMNS = ("step", "lane", *PER_LANE, "lambda_max", "status", "seconds", "tokens")


def steps_frame(steps: Source, config: RaceConfig | Race | None = None) -> pd.DataFrame:
    """Return a table with one row per step and lane.

    Parameters
    ----------
    steps : a `Race` that has not started (it is run to its end), its steps, or a run folder.
    config : the set-up of the steps, or the `Race` itself; without it, lanes are numbered.

    Returns
    -------
    pandas.DataFrame
        Columns step, lane, loss, grad_norm, lr, eval_loss, eval_accuracy (NaN if the step was not
        evaluated), lambda_max (NaN if the curvature was not measured), status, seconds and tokens;
        ``lane`` is a categorical in the race's order.

    Examples
    --------
    >>> from olora_viz import Lane, RaceConfig, race
    >>> config = RaceConfig(lanes=(Lane("lora"), Lane("olora")), steps=3)
    >>> frame = steps_frame(list(race(config)), config)
    >>> frame.pivot(index="step", columns="lane", values="loss").shape
    (3, 2)
    """
    import pandas as pd

    raced = Raced.of(steps, config)
    rows: list[tuple[Any, ...]] = []
    for step in raced.steps:
        measured = [getattr(step, name) for name in PER_LANE]
        measured.append(step.curvature and step.curvature.lambda_max)
        for k, label in enumerate(raced.labels):
            values = (math.nan if each is None else float(each[k]) for each in measured)
            rows.append((step.step, label, *values, step.status[k], step.seconds, step.tokens))
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame["lane"] = pd.Categorical(frame["lane"], categories=list(raced.labels))
    return frame

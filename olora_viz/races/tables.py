"""A race's numbers as a pandas table, CSV and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from olora_viz.machine.numbers import finite_or_none
from olora_viz.measures.catalogue import BUILT_IN, MEASURES
from olora_viz.races.best import kept_from
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import Race
from olora_viz.races.source import Raced, Source
from olora_viz.races.state import RACING, statuses
from olora_viz.races.step import Step, out_at, stopped_at, whys_out
from olora_viz.races.summary import Tested, figures_of_test

if TYPE_CHECKING:
    import pandas as pd

_PER_LANE = tuple(
    column
    for measure in (MEASURES[key] for key in BUILT_IN)
    for column in (measure.columns if measure.record else (measure.key,))
)

COLUMNS = ("step", "lane", *_PER_LANE, "status", "seconds", "tokens")
"""The columns of every table; each registered measurement adds one after them. ``status`` is that
of the lane in this step: ``racing``, ``stopped early`` or ``diverged``."""


def steps_frame(steps: Source, config: RaceConfig | Race | None = None) -> pd.DataFrame:
    """Return a row for every step and lane.

    Parameters
    ----------
    steps : a `Race` (with its steps so far, or run to its end if it has not started), its steps, a
        `SavedRun`, or a run folder.
    config : the config of the steps, or the `Race` itself; without it, lanes are labelled by
        number.

    Returns
    -------
    pandas.DataFrame
        With the columns step, lane, loss, grad_norm, lr, eval_loss, eval_accuracy (NaN where the
        step was not evaluated), lambda_max (NaN where the curvature was not measured), status,
        seconds and tokens, and one for each registered measurement; ``lane`` is a category in the
        race's order.

    Examples
    --------
    >>> from olora_viz import Lane, RaceConfig, race
    >>> config = RaceConfig(lanes=(Lane("lora"), Lane("olora")), steps=3)
    >>> frame = steps_frame(list(race(config)), config)
    >>> frame.pivot(index="step", columns="lane", values="loss").shape
    (3, 2)
    """
    raced = Raced.of(steps, config)
    return _frame(raced.labels, raced.steps)


def steps_csv(
    labels: Sequence[str], steps: Sequence[Step], config: RaceConfig | None = None
) -> str:
    """Return `steps_frame` as CSV; a cell without a finite value is empty.

    Parameters
    ----------
    labels : K, one per lane.
    steps : of the race, in order.
    config : of the race; if it follows the best evaluations, a column says which step each lane's
        adapter is from.
    """
    frame = _frame(labels, steps)
    if config is not None and config.follows_best:
        frame["adapter_step"] = [one.step for one in kept_from(config, steps)] * len(steps)
    frame["lane"] = [safe(label) for label in frame["lane"]]
    frame["seconds"] = frame["seconds"].round(4)
    finite = frame.replace([math.inf, -math.inf], math.nan).rename(columns=safe)
    return finite.to_csv(index=False, lineterminator="\r\n")


def _frame(labels: Sequence[str], steps: Sequence[Step]) -> pd.DataFrame:
    import pandas as pd

    K = len(labels)
    measured = [_per_lane(step) for step in steps]
    own = dict.fromkeys(name for found in measured for name in found if name not in _PER_LANE)

    def column(name: str) -> np.ndarray:
        blank = np.full(K, math.nan)
        values = [np.asarray(found.get(name, blank), dtype=float) for found in measured]
        return np.concatenate([np.empty(0), *values])

    def of_steps(name: str) -> list[Any]:
        return [getattr(step, name) for step in steps for _ in range(K)]

    columns: dict[str, Any] = {
        "step": of_steps("step"),
        "lane": pd.Categorical(list(labels) * len(steps), categories=list(labels)),
        **{name: column(name) for name in _PER_LANE},
        "status": [status for step in steps for status in step.status],
        "seconds": of_steps("seconds"),
        "tokens": of_steps("tokens"),
    }
    return pd.DataFrame(columns | {name: column(name) for name in own})


def _per_lane(step: Step) -> dict[str, np.ndarray]:
    """Return the values of a step with one number per lane, by column."""
    found: dict[str, np.ndarray] = {}
    for key, value in step.measures.items():
        found |= MEASURES[key].per_lane(value) if key in MEASURES else {key: value}
    return found


def race_json(
    config: RaceConfig,
    steps: Sequence[Step],
    summary: Mapping[str, Any] | None = None,
    tested: Tested | None = None,
    status: str = RACING,
) -> str:
    """Return a race as one JSON object.

    Parameters
    ----------
    config, steps : as in a run's ``config.json`` and ``steps.jsonl``.
    summary : further plain values; each lane's final results are added automatically.
    tested : the results on the test examples, which are added to these.
    status : see `last_figures`.
    """
    labels = config.labels
    lanes = last_figures(labels, steps, tested, config, status)
    told = {
        "summary": {**(summary or {}), "lanes": lanes},
        "config": config.to_json(),
        "steps": [step.to_json(labels) for step in steps],
    }
    return json.dumps(told, allow_nan=False)


def last_figures(
    labels: Sequence[str],
    steps: Sequence[Step],
    tested: Tested | None = None,
    config: RaceConfig | None = None,
    status: str = RACING,
) -> dict[str, dict[str, Any]]:
    """Return each lane's final results: held-out, on the test, and the step of divergence.

    Parameters
    ----------
    config : of the race; if it follows the best evaluations, ``adapter_step`` and ``adapter_loss``
        say where each adapter is from.
    status : of the race, see `statuses`.
    """
    kept = kept_from(config, steps) if config is not None and config.follows_best else ()
    evaluated = [step for step in steps if step.eval_loss is not None]
    left_at, whys = out_at(steps, len(labels)), whys_out(steps, len(labels))
    early = np.array(stopped_at(steps, len(labels)), dtype=bool)
    its = statuses(np.array(left_at, dtype=bool), status, early)
    found: dict[str, dict[str, Any]] = {}
    for k, label in enumerate(labels):
        out = left_at[k] or None
        last = evaluated[-1] if evaluated else None
        found[label] = {
            "status": its[k],
            "diverged_at": out,
            "diverged_why": whys[k] or None,
            "eval_step": last.step if last else None,
            "eval_loss": _number(last.eval_loss, k) if last else None,
            "eval_accuracy": _number(last.eval_accuracy, k) if last else None,
            "train_loss": _number(steps[-1].loss, k) if steps else None,
            "first_grad_norm": _number(steps[0].grad_norm, k) if steps else None,
            **(kept[k].to_json() if kept else {}),
            **(figures_of_test(tested.lanes, k) if tested else {}),
        }
    return found


def safe(text: str) -> str:
    """Escape text that a spreadsheet would evaluate as a formula with a leading apostrophe.

    >>> safe("=1+1"), safe("olora@lr=3e-3")
    ("'=1+1", 'olora@lr=3e-3')
    """
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _number(values: Any, k: int) -> float | None:
    """Return lane k's number; None if it is missing or not finite."""
    return None if values is None else finite_or_none(values[k])

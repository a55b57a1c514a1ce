"""The measurements due in a step, none of which changes the race."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from olora_viz.machine.progress import StoppedEarlyError
from olora_viz.measures.catalogue import BUILT_IN, MEASURES
from olora_viz.measures.measure import Measure


class MeasureError(ValueError):
    """A registered measurement failed; the race itself is intact."""


def measured(race: Any) -> dict[str, Any]:
    """Compute the measurements due after the race's latest step, by key.

    Parameters
    ----------
    race : the `Race`, after the update of the step.

    Raises
    ------
    MeasureError : a registered measurement raised, returned a shape other than (K,), or changed the
        parameters.
    StoppedEarlyError : a long measurement was stopped.
    """
    due = [measure for key, measure in MEASURES.items() if race.config.is_due(key, race.done)]
    found: dict[str, Any] = {}
    for measure in due:
        builtin = measure.key in BUILT_IN
        found[measure.key] = measure.compute(race) if builtin else _registered(measure, race)
    return found


def _registered(measure: Measure, race: Any) -> np.ndarray:
    """Compute a registered measurement, (K,); NaN for non-finite values and diverged lanes."""
    where = f"measurement {measure.key!r} at step {race.done}"
    theta, grad = race.lanes.theta, race.lanes.theta.grad
    before = theta.detach().clone()
    try:
        with torch.random.fork_rng(devices=[]):
            value = measure.compute(race)
    except StoppedEarlyError:
        raise
    except Exception as error:
        raise MeasureError(f"{where} raised {type(error).__name__}: {error}") from error
    finally:
        theta.grad = grad
    if not torch.equal(before.view(torch.uint8), theta.detach().view(torch.uint8)):
        with torch.no_grad():
            theta.copy_(before)
        raise MeasureError(f"{where} changed the lanes' parameters: it must only read them")
    return _numbers(where, value, race.lanes.count, race.state.out)


def _numbers(where: str, value: Any, K: int, out: np.ndarray) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        value = value.detach().double().cpu().numpy()
    try:
        numbers = np.array(value, dtype=float)
    except (TypeError, ValueError):
        raise MeasureError(
            f"{where} must return one number per lane, ({K},), not {type(value).__name__}"
        ) from None
    if numbers.shape != (K,):
        raise MeasureError(
            f"{where} must return one number per lane, ({K},), not the shape {numbers.shape}"
        )
    return np.where(np.isfinite(numbers) & ~out, numbers, np.nan)

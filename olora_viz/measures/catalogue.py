"""The catalogue of measurements, and what they measure of a step."""

from __future__ import annotations

import warnings
from keyword import iskeyword
from typing import Any

import numpy as np
import torch

from olora_viz.machine.checks import expect, unknown
from olora_viz.machine.definition import Definition
from olora_viz.machine.process import StoppedEarlyError
from olora_viz.machine.tables import Catalogue
from olora_viz.measures.curvature import CURVATURE
from olora_viz.measures.factors import FACTORS_INSIDE
from olora_viz.measures.forgetting import DRIFT, TEXT_LOSS
from olora_viz.measures.gradients import GRADIENTS
from olora_viz.measures.measure import SCALES, Measure
from olora_viz.measures.training import (
    EVAL_ACCURACY,
    EVAL_EXAMPLES,
    EVAL_LOSS,
    EVAL_SAMPLED,
    GRAD_NORM,
    LOSS_MEASURE,
    LR,
    OF_OBJECTIVES,
)
from olora_viz.measures.update_spectra import UPDATE_SPECTRA

MEASURES: Catalogue[Measure] = Catalogue(
    "measurement",
    (
        LOSS_MEASURE, GRAD_NORM, LR, EVAL_LOSS, EVAL_ACCURACY, EVAL_EXAMPLES, TEXT_LOSS, DRIFT,
        *OF_OBJECTIVES, EVAL_SAMPLED, FACTORS_INSIDE, UPDATE_SPECTRA, CURVATURE, GRADIENTS,
    ),
    ("key", "title", "unit", "scale"),
    "title",
)  # fmt: skip
"""All measurements by key, in the order of files and tables.

Examples:
    >>> import olora_viz as ov
    >>> list(ov.MEASURES)[:3]
    ['loss', 'grad_norm', 'lr']
    >>> measure = ov.MEASURES["curvature"]
    >>> measure.title, measure.every  # the setting that says how often
    ('Sharpness λₘₐₓ of this race', 'curvature_every')
"""

BUILT_IN_MEASURES = tuple(MEASURES)
"""Keys of the built-in measurements."""

NAMES_TAKEN = {
    "step", "lane", "status", "seconds", "tokens", "diverged",
    *(column for measure in MEASURES.values() for column in measure.columns),
    "model", "task", "method", "varied", "init", "r", "alpha", "seed", "steps", "guess", "run", "preregistration",
    "evaluated", "measures",
    "definition", "measure_definitions", "base_boilerplate_loss",
    *(f"{part}{name}" for name in ("_loss", "_accuracy", "_examples", "_losses", "_test_loss", "_test_accuracy",
      "_valid_loss", "_text_loss", "_boilerplate_loss") for part in ("valid", "test", "base", "guess")),
    "first_grad_norm",
}  # fmt: skip
"""Names that steps and tables, also of studies, use for something else."""


TELLING = ("every", "at_first", "at_last", "apart", "of_text", "objective")
"""The fields of a `Measure` that tell it from others, beside its function."""

_DEFINITIONS: dict[str, Definition] = {}
"""Of the registered measurements, by key."""


def register_measure(measure: Measure, *, replace: bool = False) -> Measure:
    """Register a measurement of one number per lane, to be made in every later race step.

    Results are in ``step.measures[key]``, JSON lines, tables and run folders, in the tables of studies (of the last
    step that has it), on the page, and drawn by ``ov.plot_race(race, what=key)``. One of the same key is replaced,
    with a warning.

    Args:
        measure: its `compute` is called with the `Race` and returns (K,), NaN for missing values. It may read
            ``race.lanes``, ``race.model`` and ``race.data``: ``data.held_out`` holds the encoded held-out examples,
            and ``data.evaluate(K)`` evaluates all lanes on them.
        replace: replace one of the same key without a warning.

    Returns:
        Measure
            The registered measurement.

    Raises:
        ValueError: the key is not an identifier or that of something built in, or the scale or interval is unknown.

    Examples:
        >>> import olora_viz as ov
        >>> def size(race):
        ...     return race.lanes.theta.detach().norm(dim=1)
        >>> norm = ov.Measure(key="size", title="Size", unit="‖θ‖", scale="log", compute=size)
        >>> norm = ov.register_measure(norm)
        >>> lanes = ov.Lane("lora"), ov.Lane("olora")
        >>> config = ov.RaceConfig(lanes=lanes, steps=1, eval_size=4)
        >>> next(ov.race(config)).measures["size"].shape
        (2,)
        >>> norm = ov.unregister_measure("size")

        A custom metric on the race's held-out examples, the loss of the hardest one, is
        computed at each evaluation of the race.

        >>> def hardest(race):
        ...     losses = race.data.evaluate(race.lanes.count).example_loss  # (K, examples)
        ...     return losses.max(axis=1)
        >>> metric = ov.register_measure(
        ...     ov.Measure(
        ...         key="hardest", title="Hardest example", unit="nats per answer token", scale="log",
        ...         compute=hardest, every="eval_every", at_last=True,
        ...     )
        ... )
        >>> config = ov.RaceConfig(lanes=lanes[:1], steps=3, eval_every=2, eval_size=4)
        >>> steps = list(ov.race(config))
        >>> [bool(step.measures["hardest"] >= step.eval_loss) for step in steps[1:]]
        [True, True]
        >>> metric = ov.unregister_measure("hardest")
    """
    expect(measure, Measure, "a Measure")
    key = measure.key
    if not isinstance(key, str) or not key.isidentifier() or iskeyword(key):
        raise ValueError(f"the key of a measurement must be an identifier, not {key!r}")
    if key in NAMES_TAKEN or key in BUILT_IN_MEASURES:
        raise ValueError(f"the key {key!r} is taken; choose another one")
    if measure.scale not in SCALES:
        raise ValueError(f"{key!r}: {unknown('scale', str(measure.scale), SCALES)}")
    intervals = intervals_of_measures()
    if measure.every is not None and measure.every not in intervals:
        raise ValueError(f"{key!r}: {unknown('interval', str(measure.every), intervals)}")
    if measure.record is not None or measure.shape != "(K,)":
        raise ValueError(f"{key!r}: a registered measurement must be of shape (K,)")
    if key in MEASURES and not replace:
        warnings.warn(f"the measurement {key!r} was registered before: this one replaces it", stacklevel=2)
    MEASURES[key] = measure
    _DEFINITIONS[key] = Definition(measure.compute, *(getattr(measure, each) for each in TELLING))
    return measure


def unregister_measure(key: str) -> Measure:
    """Remove a registered measurement, and return it.

    Args:
        key: the measurement's, see `register_measure`.

    Raises:
        ValueError: the key is not registered, or is built in.

    Examples:
        >>> import olora_viz as ov
        >>> def size(race):
        ...     return race.lanes.theta.detach().norm(dim=1)
        >>> norm = ov.Measure(key="size", title="Size", unit="‖θ‖", scale="log", compute=size)
        >>> norm = ov.register_measure(norm)
        >>> ov.unregister_measure("size").title, "size" in ov.MEASURES
        ('Size', False)
    """
    registered = registered_measures()
    if key not in registered:
        raise ValueError(unknown("registered measurement", str(key), registered))
    return MEASURES.pop(key)


def registered_measures() -> list[str]:
    """Return the keys of the registered measurements."""
    return [key for key in MEASURES if key not in BUILT_IN_MEASURES]


def measure_definitions() -> dict[str, str]:
    """Return what tells the registered measurements from others of their keys, see `Definition`."""
    return {key: _DEFINITIONS[key].fingerprint for key in registered_measures()}


def intervals_of_measures() -> dict[str, list[Measure]]:
    """Return the measurements that have their own interval, by its field of `RaceConfig`."""
    measures: dict[str, list[Measure]] = {}
    for key in BUILT_IN_MEASURES:
        measure = MEASURES[key]
        if measure.every is not None:
            measures.setdefault(measure.every, []).append(measure)
    return measures


class MeasureError(ValueError):
    """A registered measurement failed; the race itself is intact."""


def measured(measure: Measure, race: Any) -> Any:
    """Make a measurement after the race's latest step, with NaN for a registered one that is not finite.

    Raises:
        MeasureError: a registered measurement raised, returned a shape other than (K,), or changed the parameters.
    """
    if measure.key in BUILT_IN_MEASURES:
        return measure.compute(race)
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
        is_changed = not torch.equal(before.view(torch.uint8), theta.detach().view(torch.uint8))
        if is_changed:
            with torch.no_grad():
                theta.copy_(before)
    if is_changed:
        raise MeasureError(f"{where} changed the lanes' parameters: it must only read them")
    return _numbers(where, value, race.lanes.count, race.state.out)


def _numbers(where: str, value: Any, K: int, out: np.ndarray) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().double().numpy()
    try:
        numbers = np.array(value, dtype=float)
    except (TypeError, ValueError):
        raise MeasureError(f"{where} must return one number per lane, ({K},), not {type(value).__name__}") from None
    if numbers.shape != (K,):
        raise MeasureError(f"{where} must return one number per lane, ({K},), not the shape {numbers.shape}")
    return np.where(np.isfinite(numbers) & ~out, numbers, np.nan)

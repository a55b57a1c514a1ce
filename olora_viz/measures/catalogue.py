"""The table of a race's measurements.

To add a measurement, define its `Measure` in a file of its own and list it in the table below,
which steps, JSON lines, tables, run folders, charts and the command line read. `register_measure`
adds one from outside the package.
"""

from __future__ import annotations

from keyword import iskeyword

from olora_viz.machine.naming import unknown
from olora_viz.machine.showing import Catalogue
from olora_viz.measures.conditioning import CURVATURE
from olora_viz.measures.examples import EVAL_EXAMPLES
from olora_viz.measures.gradients import GRADIENTS
from olora_viz.measures.measure import SCALES, Measure
from olora_viz.measures.training import EVAL_ACCURACY, EVAL_LOSS, GRAD_NORM, LOSS, LR
from olora_viz.measures.update_spectra import UPDATE_SPECTRA

MEASURES: Catalogue[Measure] = Catalogue(
    "measurement",
    (
        LOSS, GRAD_NORM, LR, EVAL_LOSS, EVAL_ACCURACY, EVAL_EXAMPLES, UPDATE_SPECTRA, CURVATURE,
        GRADIENTS,
    ),
    ("key", "title", "unit", "scale"), "title",
)  # fmt: skip
"""All measurements by key, in the order of files and tables."""

BUILT_IN = tuple(MEASURES)
"""Keys of the built-in measurements."""

TAKEN = {
    "step", "lane", "status", "seconds", "tokens", "diverged",
    *(column for measure in MEASURES.values() for column in measure.columns),
}  # fmt: skip
"""Names that steps and tables use for something else."""


def register_measure(measure: Measure) -> Measure:
    """Register a measurement of one number per lane, to be made in every later race step.

    Results are in ``step.measures[key]``, JSON lines, tables and run folders, and on the page.

    Parameters
    ----------
    measure : its `compute` is called with the `Race` and returns (K,), NaN for missing values. It
        may read ``race.lanes``, ``race.model`` and ``race.data``: ``data.held_out`` holds the
        encoded held-out examples, and ``data.evaluate(K)`` evaluates all lanes on them.

    Returns
    -------
    Measure
        The registered measurement.

    Raises
    ------
    ValueError : the key is not an identifier or is taken, or the scale or interval is unknown.

    Examples
    --------
    >>> import olora_viz as ov
    >>> of = lambda race: race.lanes.theta.detach().norm(dim=1)
    >>> size = ov.Measure(key="size", title="Size", unit="‖θ‖", scale="log", compute=of)
    >>> _ = ov.register_measure(size)
    >>> config = ov.RaceConfig(lanes=(ov.Lane("lora"), ov.Lane("olora")), steps=1)
    >>> next(ov.race(config)).measures["size"].shape
    (2,)
    >>> _ = ov.unregister_measure("size")

    A custom metric on the race's held-out examples, the loss of the hardest one, is computed at
    each evaluation of the race.

    >>> def hardest(race):
    ...     losses = race.data.evaluate(race.lanes.count).example_loss  # (K, examples)
    ...     return losses.max(axis=1)
    >>> metric = ov.Measure(
    ...     key="hardest", title="Hardest example", unit="nats per deciding token", scale="log",
    ...     compute=hardest, every="eval_every", at_last=True,
    ... )
    >>> _ = ov.register_measure(metric)
    >>> steps = list(ov.race(ov.RaceConfig(lanes=(ov.Lane("lora"),), steps=3, eval_every=2)))
    >>> [bool(step.measures["hardest"] >= step.eval_loss) for step in steps[1:]]
    [True, True]
    >>> _ = ov.unregister_measure("hardest")
    """
    key = measure.key
    if not isinstance(key, str) or not key.isidentifier() or iskeyword(key):
        raise ValueError(f"the key of a measurement must be an identifier, not {key!r}")
    if key in TAKEN or key in MEASURES:
        raise ValueError(f"the key {key!r} is taken; choose another one")
    if measure.scale not in SCALES:
        raise ValueError(f"{key!r}: {unknown('scale', str(measure.scale), SCALES)}")
    intervals = intervals_of_measures()
    if measure.every is not None and measure.every not in intervals:
        raise ValueError(f"{key!r}: {unknown('interval', str(measure.every), intervals)}")
    if measure.record is not None or measure.shape != "(K,)":
        raise ValueError(f"{key!r}: a registered measurement must be of shape (K,)")
    MEASURES[key] = measure
    return measure


def unregister_measure(key: str) -> Measure:
    """Remove a registered measurement, and return it.

    Parameters
    ----------
    key : the measurement's, see `register_measure`.

    Raises
    ------
    ValueError : the key is not registered, or is built in.
    """
    registered = [name for name in MEASURES if name not in BUILT_IN]
    if key not in registered:
        raise ValueError(unknown("registered measurement", str(key), registered))
    return MEASURES.pop(key)


def intervals_of_measures() -> dict[str, list[Measure]]:
    """Return the measurements that have their own interval, by its field of `RaceConfig`."""
    found: dict[str, list[Measure]] = {}
    for key in BUILT_IN:
        measure = MEASURES[key]
        if measure.every is not None:
            found.setdefault(measure.every, []).append(measure)
    return found

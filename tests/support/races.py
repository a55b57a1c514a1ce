"""Small races for all tests: their set-ups, and races that ran once for whoever reads them.

A file that needs a set-up of its own says what differs: ``config = partial(small, steps=8)``.
"""

from functools import lru_cache

from olora_viz.lanes.lane import Lane
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import Race, race
from olora_viz.races.step import Step

PAIR = (Lane("lora", r=2), Lane("olora", r=2))
FOUR = (
    Lane("lora", lr=3e-3, r=4),
    Lane("olora", lr=1e-3, r=4, alpha=8, weight_decay=0.1),
    Lane("pissa", lr=1e-3, r=2, clip=0.5),
    Lane("gaussian", lr=1e-2, r=6, seed=3),
)
"""Four lanes that differ in everything."""


def small(lanes: tuple[Lane, ...] = PAIR, **changes) -> RaceConfig:
    """Return the set-up of a race of a second, evaluated and tested after its last step only; it keeps no text.

    Args:
        lanes: fields of ``RaceConfig``.
        changes: see `lanes`.
    """
    task, counts = "number-words", {"steps": 4, "batch_size": 4, "eval_size": 4, "test_size": 4}
    values = {"task": task, **counts, "eval_every": 0, "keep": "none"}
    return RaceConfig(lanes=lanes, **{**values, **changes})


@lru_cache(maxsize=8)
def _raced(config: RaceConfig) -> tuple[Race, tuple[Step, ...]]:
    made = race(config)
    return made, tuple(made)


def raced(config: RaceConfig) -> tuple[Race, list[Step]]:
    """Return the finished race of a set-up and its steps, made once: to read, not to change.

    A test that patches what a race is made of, or compares two races of one set-up, makes the
    other one itself, by ``race(config)``.
    """
    made, steps = _raced(config)
    return made, list(steps)


def steps_of(config: RaceConfig) -> list[Step]:
    """Return the steps of the race of a set-up, made once."""
    return raced(config)[1]


def resumed(config: RaceConfig, at: int) -> Race:
    """Return a new race with the state that another one of this set-up had after step `at`."""
    first, second = race(config), race(config)
    for _ in range(at):
        next(first)
    second.restore(first.snapshot())
    return second

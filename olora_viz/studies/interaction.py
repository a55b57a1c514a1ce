"""Interactions: whether what a method gains on the reference depends on another setting, such as the rank."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from olora_viz.lanes.lane import Lane
from olora_viz.machine.tables import finite_or_none
from olora_viz.studies.axes import for_json, in_words
from olora_viz.studies.difference import Difference, MethodRuns, between, explained, extremes, p_values_of
from olora_viz.studies.method import own_rate, shipped
from olora_viz.studies.statistics import survives
from olora_viz.studies.study import Cell, Study

if TYPE_CHECKING:
    from olora_viz.studies.verdicts import Verdicts

Place = tuple[Cell, str]
"""A cell and a method in it."""

OTHER_EXAMPLES = frozenset({"task", "test", "test_size"})
"""Settings whose values are tested on examples of their own, so that these are not pairs."""

IT_TAKES = (
    "it takes two methods with each of two values, crossed as in across={'r': (4, 16)}, or compared as lora, olora, "
    "lora:targets=mlp and olora:targets=mlp"
)


@dataclass(frozen=True)
class Interaction:
    """How another value of a setting changes a method's difference to the reference.

    It is (method − reference) there − (method − reference) here, in test loss, each of the four at its best rate.
    """

    setting: str
    place: Place
    """The method, and the cell in which it is compared, with the value that the other one is compared with."""
    value: Any
    """The other value."""
    base: Any
    difference: Difference
    """Negative if the method gains more there."""
    p_value: float
    """Adjusted over the interactions with this setting in one place (Holm)."""
    margin: float
    verdict: str
    """``better`` if the method gains more there, ``worse``, ``level`` or ``undecided``."""
    why: str
    """Why it is undecided, in words."""

    @property
    def method(self) -> str:
        """The method, as the study has it, with the value that it is compared with."""
        return self.place[1]

    @property
    def cell(self) -> Cell:
        """Where it is compared; of a setting that is crossed, with that value."""
        return self.place[0]

    def to_json(self) -> dict[str, Any]:
        """Return plain values; numbers that are not finite become null."""
        interval = self.difference.interval
        where = for_json((name, value) for name, value in self.cell.settings.items() if name != self.setting)
        return where | {
            "setting": self.setting, **for_json([("value", self.value), ("against", self.base)]),
            "method": self.method, "difference": finite_or_none(interval.mean), "low": finite_or_none(interval.low),
            "high": finite_or_none(interval.high), "p_value": finite_or_none(self.p_value),
            "margin": finite_or_none(self.margin), "verdict": self.verdict, "why": self.why,
            "seeds": self.difference.seeds,
        }  # fmt: skip


@dataclass(frozen=True)
class _Family:
    """Methods with two values of a setting in one place: of each the places there and here, the reference's first."""

    value: Any
    base: Any
    methods: tuple[tuple[Place, Place], ...]


def interacting(study: Study) -> list[str]:
    """Return the settings of a study that have interactions: crossed with several values, or of its methods.

    >>> interacting(Study(across={"r": (4, 16)}))
    ['r']
    >>> interacting(Study(compare=("lora", "olora", "lora:targets=mlp", "olora:targets=mlp")))
    ['init', 'targets']
    >>> interacting(Study(compare=("lora", "olora", "lora:targets=mlp")))
    []
    """
    names = ("model", "task", *study.across, *(each.name for each in fields(Lane)))
    return [name for name in dict.fromkeys(names) if any(_families(study, name))]


def interactions(verdicts: Verdicts, setting: str) -> list[Interaction]:
    """Return the interactions of every method with a setting.

    Raises:
        ValueError: the study has none with it.
    """
    study, known = verdicts.study, interacting(verdicts.study)
    if setting not in known:
        names = f"unlike {', '.join(known)}" if known else "nor any other setting"
        raise ValueError(f"this study has no interaction with {setting!r}, {names}: {IT_TAKES}")

    found: list[Interaction] = []
    for families in _families(study, setting):
        compared = [(family, place) for family in families for place in range(1, len(family.methods))]
        gaps = dict(enumerate(_difference(*each, verdicts.runs, setting) for each in compared))
        p_values = p_values_of(gaps, study.seeds)
        for at, (family, place) in enumerate(compared):
            found.append(_judged(verdicts, setting, family, place, gaps[at], p_values[at], len(gaps)))
    return found


def _families(study: Study, setting: str) -> Iterator[list[_Family]]:
    """Yield the families of every place: of a combination of what else is crossed, or of a cell."""
    if setting in ("model", "task", *study.across):
        cells: dict[tuple[Any, ...], dict[Any, Cell]] = {}
        for cell in study.cells():
            values = cell.settings
            value = values.pop(setting)
            cells.setdefault(tuple(values.items()), {})[value] = cell
        for of_place in cells.values():
            (base, here), *others = of_place.items()
            methods = study.compare
            families = [
                _Family(value, base, tuple(((there, each), (here, each)) for each in methods))
                for value, there in others
            ]
            if families:
                yield families
    elif setting in {each.name for each in fields(Lane)} - {"label"}:
        for cell in study.cells():
            if families := _of_methods(study, cell, setting):
                yield families


def _of_methods(study: Study, cell: Cell, setting: str) -> list[_Family]:
    """Return the families of the methods of a cell which are the same but for a setting."""
    written: dict[tuple[Any, ...], dict[Any, str]] = {}
    for method in study.compare:
        if shipped(method):
            continue  # whose batches and length are its own, too
        lane = study.lane_in(cell, method)
        values = {each.name: getattr(lane, each.name) for each in fields(Lane) if each.name != "label"}
        values["lr"] = own_rate(method)
        value = values.pop(setting)
        written.setdefault(tuple(values.items()), {})[value] = method
    if shipped(study.reference):
        return []
    reference, *others = written.values()
    base, *more = reference
    families = []
    for value in more:
        both = [(its[value], its[base]) for its in (reference, *others) if {value, base} <= {*its}]
        if len(both) > 1:
            families.append(_Family(value, base, tuple(((cell, a), (cell, b)) for a, b in both)))
    return families


def _difference(family: _Family, place: int, runs: Mapping[Place, MethodRuns], setting: str) -> Difference:
    """Return how differently a method and the reference respond to the other value of a setting.

    The response of a method is its loss there minus its loss here. The responses of all methods tell how far that of
    one scatters, as their losses do of a difference.

    Args:
        place: of the method in the family.
    """
    pairs = setting not in OTHER_EXAMPLES
    every = [(runs[there], runs[here]) for there, here in family.methods]
    ours, theirs = every[place], every[0]

    def compared(losses: Callable[[MethodRuns], np.ndarray]) -> Difference:
        responses = [_response(losses(there), losses(here), pairs) for there, here in every]
        return between(responses[place], responses[0], [each for each in responses if each.size])

    at_best = compared(_at_best)
    if not at_best.seeds:
        return at_best
    (low, *_), (high, *_) = there = extremes(ours[0], theirs[0])
    (least, *_), (most, *_) = here = extremes(ours[1], theirs[1])
    over_rates, turned_at = (low - most, high - least), None
    if not survives(at_best.interval.mean, over_rates):
        end = int(at_best.interval.mean < 0)  # that with the other sign
        turned_at = (*there[end][1:], *here[1 - end][1:])
    return replace(
        at_best.with_choice(compared(lambda each: each.chosen_without)), over_rates=over_rates, turned_at=turned_at
    )


def _at_best(runs: MethodRuns) -> Float[np.ndarray, "k m"]:
    return runs.at_best.test if runs.at_best else np.empty((0, 0))


def _response(there: np.ndarray, here: np.ndarray, pairs: bool) -> np.ndarray:
    """Return by how much another value of a setting raises the losses of a method, by seed and example.

    Examples that are no pairs are two samples: each result stands for its part of the difference of the two means, so
    that the variance over all of them is that of both.
    """
    seeds = min(len(there), len(here))
    there, here = there[:seeds], here[:seeds]
    if not seeds or (pairs and there.shape == here.shape):
        return there - here if seeds else np.empty((0, 0))
    means = [each.mean(1, keepdims=True) for each in (there, here)]
    change = means[0] - means[1]
    if 1 in (there.shape[1], here.shape[1]):
        return change
    every = there.shape[1] + here.shape[1]
    parts = [every / each.shape[1] * (each - mean) for each, mean in zip((there, here), means, strict=True)]
    return change + np.hstack([parts[0], -parts[1]])


def _judged(
    verdicts: Verdicts, setting: str, family: _Family, place: int, gap: Difference, p_value: float, tests: int
) -> Interaction:
    (there, here), (reference_there, reference_here) = family.methods[place], family.methods[0]
    values = {there: family.value, reference_there: family.value, here: family.base, reference_here: family.base}
    distinct = len({method for _, method in values}) == len(values)
    rest_on = {
        method if distinct else f"{method} with {in_words(setting, value)}": verdicts.runs[cell, method]
        for (cell, method), value in values.items()
    }
    of_cells = [verdicts.of(cell)[0] for cell in dict.fromkeys(cell for cell, _ in values)]
    margin = float(np.min([each.margin for each in of_cells]))
    examples = {part: min(getattr(each, f"{part}_examples") for each in of_cells) for part in ("valid", "test")}
    word, why = explained(gap, p_value, margin, tests, rest_on, verdicts.study.race.forget, examples)
    return Interaction(setting, here, family.value, family.base, gap, p_value, margin, word, why)

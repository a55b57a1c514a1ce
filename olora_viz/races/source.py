"""The sources of a race's steps: a `Race`, its steps, a saved run or its folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from olora_viz.lanes.lane import Lane
from olora_viz.machine.naming import expect
from olora_viz.races.config import RaceConfig
from olora_viz.races.fair_rate import found_rates
from olora_viz.races.race import Race
from olora_viz.races.saved_run import SavedRun, load_run
from olora_viz.races.state import RACING
from olora_viz.races.step import Step
from olora_viz.tasks import TASKS
from olora_viz.tasks.evaluation import Evaluation
from olora_viz.tasks.held_out import HeldOut


@runtime_checkable
class KeptRace(Protocol):
    """A race that was recorded, or runs in the background: what is read of it."""

    @property
    def config(self) -> RaceConfig:
        """Its set-up."""
        ...

    @property
    def steps(self) -> Sequence[Step]:
        """Its steps so far."""
        ...

    @property
    def baseline(self) -> Evaluation | None:
        """Held-out results of the base model; None while unknown."""
        ...

    @property
    def plain_text(self) -> bool:
        """Whether every token is supervised instead of an answer."""
        ...

    @property
    def held_out(self) -> HeldOut | None:
        """About its held-out examples; None while unknown."""
        ...

    @property
    def complete(self) -> bool:
        """Whether it has ended."""
        ...


Source = Race | SavedRun | KeptRace | Iterable[Step] | str | Path
"""A race, a saved run, a recorded race, the steps of a race, or the path of a run folder."""


R = TypeVar("R")


@dataclass(frozen=True)
class Raced:
    """The steps of a race, and what is known about the race."""

    steps: tuple[Step, ...]
    labels: tuple[str, ...]
    """One label per lane, as on the command line."""
    lanes: tuple[Lane, ...] | None
    """None if only the number of lanes is known."""
    total: int | None = None
    """Total steps of the race, None if unknown."""
    start_loss: float | None = None
    """Held-out loss before the first step, None if unknown."""
    start_accuracy: float | None = None
    plain_text: bool = False
    config: RaceConfig | None = None
    """The set-up, with the fair rates that were found; None if it is unknown."""
    held_out: HeldOut | None = None
    """About the held-out examples; None if it is unknown."""
    ended: bool = False
    """Whether no step comes after these."""

    @classmethod
    def of(cls, source: Source, config: RaceConfig | Race | None = None) -> Raced:
        """Read a source.

        Parameters
        ----------
        source : a `Race`, with its steps so far, or run to its end if it has not started; a
            `SavedRun`; a recorded race; the steps of a race; or the path of a run folder.
        config : the set-up of the steps; a `Race` also provides the results before the first step.
            Without it, lanes are numbered.

        Raises
        ------
        ValueError : the race does not keep its steps, the folder is not a run folder, the steps
            are not those of one race in order, or do not match the config.
        """
        if isinstance(source, str | Path):
            source = load_run(source)
        if isinstance(source, SavedRun):
            return cls._of_saved(source)
        if isinstance(source, KeptRace):
            return cls._of_kept(source)
        if isinstance(source, Race):
            config = config or source
            source = _run(source)
        steps = _steps(source)
        if config is None:
            return cls._of_numbers(steps)
        expect(config, (RaceConfig, Race), "the RaceConfig of the steps, or their Race")
        setup = config.config if isinstance(config, Race) else config
        if steps and len(steps[0].loss) != len(setup.lanes):
            raise ValueError(
                f"the steps are of {len(steps[0].loss)} lanes and the set-up has "
                f"{len(setup.lanes)}: pass the config that made them"
            )
        known = cls._known(steps, setup)
        if not isinstance(config, Race):
            return known
        base = config.baseline
        return replace(
            known, start_loss=float(base.loss[0]), start_accuracy=float(base.accuracy[0]),
            plain_text=config.task.plain_text, held_out=config.data.about_held_out,
            ended=config.status != RACING,
        )  # fmt: skip

    @classmethod
    def _of_saved(cls, run: SavedRun) -> Raced:
        summary = run.summary or {}
        base, held_out = summary.get("base", {}), summary.get("held_out")
        card = TASKS.get(run.config.task)
        plain = card is not None and not card.prompt
        return replace(
            cls._known(run.steps, run.config),
            start_loss=base.get("loss"), start_accuracy=base.get("accuracy"),
            plain_text=summary.get("plain_text", plain),
            held_out=HeldOut(**held_out) if held_out else None, ended=run.summary is not None,
        )  # fmt: skip

    @classmethod
    def _of_kept(cls, kept: KeptRace) -> Raced:
        base = kept.baseline
        return replace(
            cls._known(tuple(kept.steps), kept.config),
            start_loss=float(base.loss[0]) if base else None,
            start_accuracy=float(base.accuracy[0]) if base else None,
            plain_text=kept.plain_text, held_out=kept.held_out, ended=kept.complete,
        )  # fmt: skip

    @classmethod
    def _known(cls, steps: tuple[Step, ...], config: RaceConfig) -> Raced:
        config = found_rates(config, steps)
        last = bool(steps) and (steps[-1].step >= config.steps or bool(steps[-1].out.all()))
        return cls(
            steps, config.labels, config.lanes, config.steps, config=config, ended=last
        )  # fmt: skip

    @classmethod
    def _of_numbers(cls, steps: tuple[Step, ...]) -> Raced:
        lanes = range(len(steps[0].loss) if steps else 0)
        labels = tuple(f"lane {k + 1}" for k in lanes)
        return cls(steps, labels, None)


def _run(racing: Race) -> list[Step]:
    """Return the steps of a race so far, or of its whole run if it has not started."""
    if not racing.done:
        return list(racing)
    if racing.history is None:
        raise ValueError(
            f"this race has run {racing.done} of {racing.config.steps} steps and does not keep "
            "them: pass the steps, or the folder of its run"
        )
    return list(racing.history)


def _steps(source: object) -> tuple[Step, ...]:
    """Check the steps of one race: their types, and that their numbers rise."""
    what = "a Race, a list of its steps, a saved run or its folder"
    expect(source, Iterable, what)
    steps = tuple(source)  # pyrefly: ignore[bad-argument-type]
    for step in steps:
        expect(step, Step, f"{what}, with Steps in the list")
    for before, after in pairwise(steps):
        if after.step <= before.step:
            raise ValueError(
                f"step {after.step} comes after step {before.step}: pass the steps of one race, in "
                "order, each once"
            )
    return steps


def named(runs: Mapping[str, R] | Sequence[R]) -> dict[str, R]:
    """Give each of several runs a name: its own, that of its folder, or its number.

    >>> named(["runs/first", "runs/second"])
    {'first': 'runs/first', 'second': 'runs/second'}
    """
    if isinstance(runs, Mapping):
        return dict(runs)
    found: dict[str, R] = {}
    for number, run in enumerate(runs, 1):
        folder = run.folder if isinstance(run, SavedRun) else run
        name = Path(folder).name if isinstance(folder, str | Path) else f"run {number}"
        found[f"{name} #{number}" if name in found else name] = run
    return found

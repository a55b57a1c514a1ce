"""What a reader hands over as a race: a `Race`, the steps of one, or a run folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from olora_viz.lanes.lane import Lane
from olora_viz.races import run as runs
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import Race
from olora_viz.races.step import Step
from olora_viz.tasks import TASKS

Source = Race | Iterable[Step] | str | Path
"""Where steps come from: a race that has not begun, steps, or the path of a run folder."""


@dataclass(frozen=True)
class Raced:
    """A race's steps and what is known of the race that made them."""

    steps: tuple[Step, ...]
    labels: tuple[str, ...]
    """One per lane, as on the command line."""
    lanes: tuple[Lane, ...] | None
    """None where nothing but the numbers of the lanes is known."""
    total: int | None = None
    """Steps of the whole race, None while unknown."""
    start_loss: float | None = None
    """Held-out loss before the first step, None while unknown."""
    start_accuracy: float | None = None
    plain_text: bool = False

    @classmethod
    def of(cls, source: Source, config: RaceConfig | Race | None = None) -> Raced:
        """Read what was handed over.

        Parameters
        ----------
        source : a `Race` that has not begun, and is now run to its end; or its steps; or the path
            of a run folder.
        config : whose steps they are; a `Race` also knows the figures before the first step.
            Without it, lanes are called by their numbers.

        Raises
        ------
        ValueError : a race that has made steps already, a folder that holds no run, steps of
            another number of lanes, something else than steps.
        """
        if isinstance(source, str | Path):
            return cls._of_folder(source)
        if isinstance(source, Race):
            if source.done:
                raise ValueError(
                    f"this race has made {source.done} of its {source.config.steps} steps, and it "
                    "keeps none of them: collect them, as in steps = list(ov.race(config)), and "
                    "hand over these"
                )
            config = config or source
        steps = tuple(source)
        for step in steps:
            if not isinstance(step, Step):
                raise ValueError(
                    f"a race is a Race, its steps or a run folder, not {type(step).__name__}s"
                )
        if config is None:
            return cls._of_numbers(steps)
        setup = config.config if isinstance(config, Race) else config
        if steps and len(steps[0].loss) != len(setup.lanes):
            raise ValueError(
                f"the steps are of {len(steps[0].loss)} lanes and the set-up has "
                f"{len(setup.lanes)}: hand over the config that made them"
            )
        known = cls._known(steps, setup)
        if not isinstance(config, Race):
            return known
        base = config.baseline
        return replace(
            known, start_loss=float(base.loss[0]), start_accuracy=float(base.accuracy[0]),
            plain_text=config.task.plain_text,
        )  # fmt: skip

    @classmethod
    def _of_folder(cls, folder: str | Path) -> Raced:
        config, summary = runs.read_config(folder), runs.read_summary(folder)
        known = cls._known(tuple(runs.read_steps(folder)), config)
        base = summary["base"] if summary else {}
        card = TASKS.get(config.task)
        return replace(
            known, start_loss=base.get("loss"), start_accuracy=base.get("accuracy"),
            plain_text=card is not None and not card.prompt,
        )  # fmt: skip

    @classmethod
    def _known(cls, steps: tuple[Step, ...], config: RaceConfig) -> Raced:
        return cls(steps, config.labels, config.lanes, config.steps)

    @classmethod
    def _of_numbers(cls, steps: tuple[Step, ...]) -> Raced:
        lanes = range(len(steps[0].loss) if steps else 0)
        labels = tuple(f"lane {k + 1}" for k in lanes)
        return cls(steps, labels, None)

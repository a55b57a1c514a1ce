"""Races and their set-ups as tables."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from olora_viz.lanes.lane import Lane
from olora_viz.lanes.lane_spec import write_lane
from olora_viz.lanes.targets import ALL
from olora_viz.machine.checks import described, expect
from olora_viz.machine.tables import finite_or_none
from olora_viz.measures.catalogue import BUILT_IN_MEASURES, MEASURES
from olora_viz.measures.forgetting import AboutText
from olora_viz.races.config import RaceConfig
from olora_viz.races.fair_rate import found_rates
from olora_viz.races.race import Race
from olora_viz.races.run import SavedRun, load_run
from olora_viz.races.step import RACING, Step, adapter_origins, out_at, statuses, stopped_at, whys_out
from olora_viz.tasks import TASKS
from olora_viz.tasks.evaluation import Evaluation, HeldOut, Tested, figures_of
from olora_viz.tasks.metrics import plain_metric

if TYPE_CHECKING:
    import pandas as pd


Setup = RaceConfig | Race | SavedRun | str
"""A set-up, or something that has one; a string is the path of a run folder."""

FIELD_WORDS = {"batch_size": "prompts per step", "max_length": "longest example"}
"""Display names of fields that differ from their own."""


def differing(configs: Sequence[RaceConfig]) -> list[tuple[str, list[str]]]:
    """Return the differences between set-ups: the name of a setting, and its value in each.

    Labels of lanes are ignored, since they do not affect a race.

    >>> one = RaceConfig(lanes=(Lane("lora"),), steps=10)
    >>> differing([one, RaceConfig(lanes=(Lane("lora"), Lane("olora")), steps=20)])
    [('steps', ['10', '20']), ('lanes', ['', '+ olora:lr=1e-3,r=8'])]
    """
    rows = []
    for field in fields(RaceConfig):
        settings = [getattr(config, field.name) for config in configs]
        values = [plain_metric(each) if callable(each) else str(each) for each in settings]
        if field.name != "lanes" and len(set(values)) > 1:
            rows.append((FIELD_WORDS.get(field.name, field.name.replace("_", " ")), values))
    lanes = [[write_lane(replace(lane, label=None)) for lane in config.lanes] for config in configs]
    shared = set(lanes[0]).intersection(*lanes[1:]) if lanes else set()
    own = [", ".join(f"+ {lane}" for lane in of_config if lane not in shared) for of_config in lanes]
    if any(own):
        rows.append(("lanes", own))
    return rows


def compare_setups(runs: Sequence[Setup | Path] | Mapping[str, Setup | Path]) -> pd.DataFrame:
    """Return a table of the differences between the set-ups of races; empty if there are none.

    Args:
        runs: two or more set-ups, races, saved runs or run folders: a list, or a dict with a name for each.

    Returns:
        pandas.DataFrame
            A row for each setting that is not the same in all of them, and a column for each run. The
            row ``lanes`` holds the lanes that are not in every run, each after a plus.

    Raises:
        ValueError: there are fewer than two, or one has no set-up, such as steps alone.

    Examples:
        >>> import olora_viz as ov
        >>> short, long = ov.RaceConfig(steps=50), ov.RaceConfig(steps=500, warmup=20)
        >>> ov.compare_setups({"short": short, "long": long})
               short long
        steps     50  500
        warmup     0   20
    """
    import pandas as pd

    expect(runs, Mapping | Sequence, "a list of set-ups, or a dict with a name for each")
    setups = {name: _setup(run) for name, run in named(runs).items()}
    if len(setups) < 2:
        raise ValueError(f"a comparison takes two or more set-ups, not {len(setups)}")
    rows = dict(differing(list(setups.values())))
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(setups))


def _setup(run: Setup | Path) -> RaceConfig:
    if isinstance(run, RaceConfig):
        return run
    if isinstance(run, Race | SavedRun):
        return run.config
    if isinstance(run, str) or hasattr(run, "__fspath__"):
        return load_run(run).config
    raise ValueError(f"expected a RaceConfig, a Race, a saved run or its folder, not {described(run)}")


@runtime_checkable
class RecordedRace(Protocol):
    """A race that was recorded, or runs in the background: what is read of it."""

    @property
    def config(self) -> RaceConfig:
        """Its set-up."""

    @property
    def steps(self) -> Sequence[Step]:
        """Its steps so far."""

    @property
    def baseline(self) -> Evaluation | None:
        """Held-out results of the base model; None while unknown."""

    @property
    def text(self) -> AboutText | None:
        """About its text to keep; None while unknown, or without one."""

    @property
    def plain_text(self) -> bool:
        """Whether every token is supervised instead of an answer."""

    @property
    def held_out(self) -> HeldOut | None:
        """About its held-out examples; None while unknown."""

    @property
    def complete(self) -> bool:
        """Whether it has ended."""

    @property
    def device(self) -> str:
        """Where it was computed; empty while unknown."""


Source = Race | SavedRun | RecordedRace | Iterable[Step] | str | Path
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
    """Held-out loss before the first step, None if unknown: lanes whose bases differ have one each."""
    start_accuracy: float | None = None
    plain_text: bool = False
    config: RaceConfig | None = None
    """The set-up, with the fair rates that were found; None if it is unknown."""
    held_out: HeldOut | None = None
    """About the held-out examples; None if it is unknown."""
    ended: bool = False
    """Whether no step comes after these."""
    text: AboutText | None = None
    """About the text to keep; None if it is unknown, or without one."""
    device: str = ""
    """Where it was computed; empty if that is unknown."""
    parameters: tuple[int, ...] = ()
    """How many each lane trains; none if that is unknown."""

    @classmethod
    def of(cls, source: Source, config: RaceConfig | Race | None = None) -> Raced:
        """Read a source.

        Args:
            source: a `Race`, with its steps so far, or run to its end if it has not started; a `SavedRun`; a recorded
                race; the steps of a race; or the path of a run folder.
            config: the set-up of the steps; a `Race` also provides the results before the first step. Without it,
                lanes are numbered.

        Raises:
            ValueError: the race does not keep its steps, the folder is not a run folder, the steps are not those of
                one race in order, or do not match the config.
        """
        if isinstance(source, str | Path):
            source = load_run(source)
        if isinstance(source, SavedRun):
            return cls._of_saved(source)
        if isinstance(source, RecordedRace):
            return cls._of_record(source)
        if isinstance(source, Race):
            config = config or source
            source = _run(source)
        steps = _steps(source)
        if config is None:
            numbers = range(1, 1 + len(steps[0].loss) if steps else 1)
            return cls(steps, tuple(f"lane {number}" for number in numbers), None)
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
        base = {} if config.lanes.past else figures_of(config.baseline, 0)
        return replace(
            known, start_loss=base.get("loss"), start_accuracy=base.get("accuracy"),
            plain_text=config.task.plain_text, held_out=config.data.about_held_out,
            ended=config.status != RACING, text=config.text, device=str(config.device),
            parameters=config.lanes.plan.parameters,
        )  # fmt: skip

    @classmethod
    def _of_saved(cls, run: SavedRun) -> Raced:
        summary = run.summary or {}
        base, held_out = {} if summary.get("merged_races") else summary.get("base", {}), summary.get("held_out")
        card = TASKS.get(run.config.task)
        plain = card is not None and not card.prompt
        return replace(
            cls._known(run.steps, run.config),
            start_loss=base.get("loss"), start_accuracy=base.get("accuracy"),
            plain_text=summary.get("plain_text", plain),
            held_out=HeldOut(**held_out) if held_out else None, ended=run.summary is not None,
            text=AboutText.from_json(text) if (text := summary.get("text")) else None,
            device=summary.get("device", ""), parameters=parameters_of(summary),
        )  # fmt: skip

    @classmethod
    def _of_record(cls, race: RecordedRace) -> Raced:
        base = race.baseline
        return replace(
            cls._known(tuple(race.steps), race.config),
            start_loss=float(base.loss[0]) if base else None,
            start_accuracy=float(base.accuracy[0]) if base else None,
            plain_text=race.plain_text, held_out=race.held_out, ended=race.complete, text=race.text,
            device=race.device,
        )  # fmt: skip

    @classmethod
    def _known(cls, steps: tuple[Step, ...], config: RaceConfig) -> Raced:
        config = found_rates(config, steps)
        last = bool(steps) and (steps[-1].step >= config.steps or bool(steps[-1].out.all()))
        return cls(steps, config.labels, config.lanes, config.steps, config=config, ended=last)


def parameters_of(summary: Mapping[str, Any]) -> tuple[int, ...]:
    """Return how many parameters each lane trains by the summary of its race; none if that does not say it."""
    counts = [each.get("parameters") for each in summary.get("lanes", {}).values()]
    return () if None in counts else tuple(counts)


def _run(racing: Race) -> list[Step]:
    """Return the steps of a race so far, or of its whole run if it has not started."""
    if not racing.done:
        return list(racing)
    if racing.steps is None:
        raise ValueError(
            f"this race has run {racing.done} of {racing.config.steps} steps and does not keep "
            "them: pass the steps, or the folder of its run"
        )
    return list(racing.steps)


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
                f"step {after.step} comes after step {before.step}: pass the steps of one race, in order, each once"
            )
    return steps


def named(runs: Mapping[str, R] | Sequence[R]) -> dict[str, R]:
    """Give each of several runs a name: its own, that of its folder, or its number.

    >>> named(["runs/first", "runs/second"])
    {'first': 'runs/first', 'second': 'runs/second'}
    """
    if isinstance(runs, Mapping):
        return dict(runs)
    by_name: dict[str, R] = {}
    for number, run in enumerate(runs, 1):
        folder = run.folder if isinstance(run, SavedRun) else run
        name = Path(folder).name if isinstance(folder, str | Path) else f"run {number}"
        by_name[f"{name} #{number}" if name in by_name else name] = run
    return by_name


_PER_LANE = tuple(
    column
    for measure in (MEASURES[key] for key in BUILT_IN_MEASURES)
    for column in (measure.columns if measure.record else (measure.key,))
)

STEP_COLUMNS = ("step", "lane", *_PER_LANE, "status", "seconds", "tokens")
"""The columns of every table; each registered measurement adds one after them. ``status`` is that of the lane in this
step: ``racing``, ``stopped early`` or ``diverged``."""


NO_COLUMN = ("init", "r", "alpha", "fair", "label", "params")
"""The keys of a lane that are no further columns of `steps_frame`: it always has them, or a race resolves them."""


def steps_frame(steps: Source, config: RaceConfig | Race | None = None) -> pd.DataFrame:
    """Return a row for every step and lane.

    Args:
        steps: a `Race` (with its steps so far, or run to its end if it has not started), its steps, a `SavedRun`, or a
            run folder.
        config: the config of the steps, or the `Race` itself; without it, lanes are labelled by number.

    Returns:
        pandas.DataFrame
            With the columns step and lane, a category in the race's order; if the config is known init, r, alpha and
            one for every other key in which the lanes differ (``peak_lr`` for their rates); of a race or a saved run
            parameters, the number that a lane trains; loss, grad_norm, lr, eval_loss, eval_accuracy (NaN where the
            step was not evaluated), text_loss, drift (NaN where forgetting was not measured), lambda_max (NaN where
            the curvature was not measured), status, seconds and tokens, and one for each registered measurement.

    Examples:
        >>> import olora_viz as ov
        >>> lanes = ov.Lane("lora"), ov.Lane("olora")
        >>> config = ov.RaceConfig(lanes=lanes, steps=2, eval_size=4)
        >>> frame = ov.steps_frame(list(ov.race(config)), config)
        >>> frame[["step", "lane", "loss"]].round(1)
           step   lane  loss
        0     1   lora   5.5
        1     1  olora   5.5
        2     2   lora   5.4
        3     2  olora   4.5
    """
    raced = Raced.of(steps, config)
    frame = _frame(raced.labels, raced.steps)
    columns = _keys(raced.config) if raced.config else {}
    if raced.parameters:
        columns["parameters"] = list(raced.parameters)
    for place, (name, values) in enumerate(columns.items(), 2):
        frame.insert(place, name, values * len(raced.steps))
    return frame


def _keys(config: RaceConfig) -> dict[str, list[Any]]:
    """Return the keys of a race's lanes as columns: init, r and alpha, and every other one in which they differ."""
    lanes = config.lanes
    others = [each.name for each in fields(Lane) if each.name not in NO_COLUMN]
    columns = {"peak_lr" if name == "lr" else name: [getattr(lane, name) for lane in lanes] for name in others}
    columns["targets"] = ["+".join(lane.targets or config.targets or (ALL,)) for lane in lanes]
    schedules, columns["warmup"] = map(list, zip(*map(config.schedule_of, lanes), strict=True))
    columns["schedule"] = [getattr(schedule, "__name__", schedule) for schedule in schedules]
    return {
        "init": [lane.init for lane in lanes],
        "r": [math.nan if lane.is_dense else lane.r for lane in lanes],
        "alpha": [math.nan if lane.is_dense else lane.lora_alpha for lane in lanes],
        **{name: values for name, values in columns.items() if len(set(values)) > 1},
    }


def steps_csv(
    labels: Sequence[str],
    steps: Sequence[Step],
    config: RaceConfig | None = None,
    text: AboutText | None = None,
    start_loss: float | None = None,
) -> str:
    """Return a row for every step and lane as CSV; a cell without a finite value is empty.

    Args:
        config: of the race; if it follows the best evaluations, a column says which step each lane's adapter is from,
            and with a text to keep two say what that adapter forgot.
        text, start_loss: see `adapter_origins`.
    """
    frame = _frame(labels, steps)
    if config is not None and config.follows_best:
        names = ("step", "text_loss", "drift") if config.keeps_text else ("step",)
        origins = adapter_origins(config, steps, text, start_loss) * len(steps)
        for name in names:
            frame[f"adapter_{name}"] = [getattr(origin, name) for origin in origins]
    frame["lane"] = [safe(label) for label in frame["lane"]]
    frame["seconds"] = frame["seconds"].round(4)
    finite = frame.replace([math.inf, -math.inf], math.nan).rename(columns=safe)
    return finite.to_csv(index=False, lineterminator="\r\n")


def _frame(labels: Sequence[str], steps: Sequence[Step]) -> pd.DataFrame:
    import pandas as pd

    K = len(labels)
    measured = [_per_lane(step) for step in steps]
    own = dict.fromkeys(name for of_step in measured for name in of_step if name not in _PER_LANE)

    def column(name: str) -> np.ndarray:
        blank = np.full(K, math.nan)
        values = [np.asarray(of_step.get(name, blank), dtype=float) for of_step in measured]
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
    columns: dict[str, np.ndarray] = {}
    for key, value in step.measures.items():
        columns |= MEASURES[key].per_lane(value) if key in MEASURES else {key: value}
    return columns


def race_json(
    config: RaceConfig,
    steps: Sequence[Step],
    summary: Mapping[str, Any] | None = None,
    tested: Tested | None = None,
    status: str = RACING,
    text: AboutText | None = None,
    start_loss: float | None = None,
) -> str:
    """Return a race as one JSON object.

    Args:
        config, steps: as in a run's ``config.json`` and ``steps.jsonl``.
        text, start_loss: see `adapter_origins`.
        summary: further plain values; each lane's final results are added automatically.
        tested: the results on the test examples, which are added to these.
    """
    labels = config.labels
    lanes = last_figures(labels, steps, tested, config, status, text, start_loss)
    values = {
        "summary": {**(summary or {}), "lanes": lanes},
        "config": config.to_json(),
        "steps": [step.to_json(labels) for step in steps],
    }
    return json.dumps(values, allow_nan=False)


def last_figures(
    labels: Sequence[str],
    steps: Sequence[Step],
    tested: Tested | None = None,
    config: RaceConfig | None = None,
    status: str = RACING,
    text: AboutText | None = None,
    start_loss: float | None = None,
) -> dict[str, dict[str, Any]]:
    """Return each lane's final results: held-out, on the test, and the step of divergence.

    Args:
        config: of the race; if it follows the best evaluations, ``adapter_step`` and ``adapter_loss`` say where each
            adapter is from, ``adapter_text_loss`` and ``adapter_drift`` what it forgot.
        text, start_loss: see `adapter_origins`.
    """
    origins = adapter_origins(config, steps, text, start_loss) if config and config.follows_best else ()
    last = next((step for step in reversed(steps) if step.eval_loss is not None), None)
    apart = last.eval_examples.boilerplate_loss if last and last.eval_examples else None
    diverged_at, whys = out_at(steps, len(labels)), whys_out(steps, len(labels))
    early = np.array(stopped_at(steps, len(labels)), dtype=bool)
    of_lanes = statuses(np.array(diverged_at, dtype=bool), status, early)
    return {
        label: {
            "status": of_lanes[k],
            "diverged_at": diverged_at[k] or None,
            "diverged_why": whys[k] or None,
            "eval_step": last.step if last else None,
            "eval_loss": _number(last.eval_loss, k) if last else None,
            "eval_accuracy": _number(last.eval_accuracy, k) if last else None,
            "eval_boilerplate_loss": _number(apart, k),
            "train_loss": _number(steps[-1].loss, k) if steps else None,
            "first_grad_norm": _number(steps[0].grad_norm, k) if steps else None,
            **(origins[k].to_json() if origins else {}),
            **(figures_of(tested.lanes, k, "test_") if tested else {}),
        }
        for k, label in enumerate(labels)
    }


def safe(text: str) -> str:
    """Escape text that a spreadsheet would evaluate as a formula with a leading apostrophe.

    >>> safe("=1+1"), safe("olora@lr=3e-3")
    ("'=1+1", 'olora@lr=3e-3')
    """
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _number(values: Any, k: int) -> float | None:
    """Return lane k's number; None if it is missing or not finite."""
    return None if values is None else finite_or_none(values[k])

"""Run folders: written while a race runs, resumed, read and tracked."""

from __future__ import annotations

import json
import math
import os
import time
import warnings
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from olora_viz.initializers import remember
from olora_viz.lanes.past import Past
from olora_viz.lanes.peft import ReadBack
from olora_viz.machine.checks import expect
from olora_viz.machine.devices import resolve_device
from olora_viz.machine.files import (
    FormatError,
    atomic_folder,
    check_format,
    is_free,
    link_or_copy,
    locked,
    naming,
    read_json_object,
    read_tensor,
    read_tensors,
    write_bytes,
    write_json,
    write_tensors,
    write_text,
)
from olora_viz.machine.process import Progress, StoppedEarlyError
from olora_viz.machine.trackers import TrackedRun, Tracker
from olora_viz.machine.wording import compact
from olora_viz.measures.catalogue import MEASURES
from olora_viz.races.config import STUDY, RaceConfig
from olora_viz.races.data import CONTENTS, DEFINITIONS, ModelCache, check_contents, check_definitions
from olora_viz.races.export import CHECKPOINT, PAST, begin, check_space, line_of, write_adapters
from olora_viz.races.race import Race
from olora_viz.races.step import RACING, Step
from olora_viz.races.trainer import SHORTER
from olora_viz.tasks.files import Own
from olora_viz.tasks.metrics import Metric, check_metric

TEST_RESULTS = ("test_loss", "test_accuracy")
"""The results of a lane's summary that are reported with its last step."""


class RaceTracker:
    """Reports the lanes of a race as runs, grouped by method and rate; those of a resumed race go on."""

    def __init__(self, tracker: Tracker, config: RaceConfig, *, again: bool = False) -> None:
        self._tracker, self._config, self._again = tracker, config, again
        self._runs: list[TrackedRun] = []
        tracker.attempt(self._start)

    def report(self, step: Step) -> None:
        """Report what a step has measured of each lane, in one number."""
        self._tracker.attempt(lambda: self._log(step.step, step.measures))

    def report_results(self, step: int, summary: Mapping[str, Any]) -> None:
        """Report the lanes' results on the test examples, if there are any."""
        lanes = [summary["lanes"][label] for label in self._config.labels]
        results = {name: np.array([lane.get(name) for lane in lanes], dtype=float) for name in TEST_RESULTS}
        self._tracker.attempt(lambda: self._log(step, results))

    def close(self) -> None:
        """Close the runs."""
        self._tracker.attempt(lambda: [run.close() for run in self._runs])

    def _start(self) -> None:
        shared = {name: value for name, value in self._config.to_json().items() if name != "lanes"}
        for lane, label in zip(self._config.lanes, self._config.labels, strict=True):
            group = f"{lane.init} {compact(lane.lr)}"
            self._runs.append(self._tracker.start(label, group, {**shared, **asdict(lane)}, again=self._again))

    def _log(self, step: int, measures: Mapping[str, Any]) -> None:
        per_lane = {name: values for name, values in measures.items() if isinstance(values, np.ndarray)}
        for k, run in enumerate(self._runs):
            numbers = {name: float(values[k]) for name, values in per_lane.items()}
            numbers = {name: number for name, number in numbers.items() if math.isfinite(number)}
            if numbers:
                run.log(numbers, step)


CHECKPOINT_SECONDS = 10.0
"""Time between checkpoints; a resumed race repeats at most the steps in between."""


class Run:
    """A run folder and its race, opened by `start` or `resume_run`.

    Iterating yields the steps that are new to the folder, each after its line is on disk.
    """

    def __init__(self, folder: Path, racing: Race, recorded: int, adapters: bool = True) -> None:
        self.folder, self.race, self._recorded = folder, racing, recorded
        self._keeps_adapters = adapters
        racing.steps = None  # the folder keeps the steps

    def __iter__(self) -> Generator[Step, None, None]:
        """Run the race, and leave the folder complete when it finishes, is closed or fails.

        An interrupt leaves a checkpoint, of the last whole step if it cuts one short: another iteration continues, as
        `resume_run` does. If the race has not yet caught up with the folder, the folder is not changed.

        Raises:
            ValueError: another process races in the folder, or another loop has since it was opened.
        """
        with _held(self.folder):
            if _last_step(self.folder) != self._recorded:
                raise ValueError(f"{str(self.folder)!r} has other steps than when it was opened: resume it again")
            yield from self._steps()

    def _steps(self) -> Generator[Step, None, None]:
        """Run the race in a folder that no other process writes."""
        last_checkpoint = time.monotonic()
        path = self.folder / "steps.jsonl"
        lines = path.open("a", encoding="utf-8")
        try:
            with lines:
                for step in self.race:
                    if step.step > self._recorded:
                        line = line_of(self.race, step)
                        (self.folder / "summary.json").unlink(missing_ok=True)
                        with naming(path):
                            lines.write(line + "\n")
                            lines.flush()
                        self._recorded = step.step
                        yield step
                    if self._is_level and time.monotonic() - last_checkpoint >= CHECKPOINT_SECONDS:
                        self.checkpoint()
                        last_checkpoint = time.monotonic()
        except (KeyboardInterrupt, StoppedEarlyError):
            if self._is_level:
                self.checkpoint()
            raise
        except BaseException:
            self._end()
            raise
        else:
            self.race.tested()
            self._end()

    def _end(self) -> None:
        """Close the race, and leave the folder complete."""
        if self.race.status == RACING:
            self.race.close()
        if self._is_level:
            self.checkpoint()
            if self._keeps_adapters:
                write_adapters(self.folder, self.race)
            write_json(self.folder / "summary.json", self.race.summary())
        self.race.close()

    def checkpoint(self) -> None:
        """Write everything needed to resume bitwise, atomically."""
        write_tensors(self.folder / CHECKPOINT, self.race.snapshot())

    @property
    def _is_level(self) -> bool:
        """Whether the race is at the step of the folder's last line."""
        return self.race.done == self._recorded


def start(
    config: RaceConfig,
    folder: str | Path,
    *,
    task: Own | None = None,
    adapters: bool = True,
    progress: Progress | None = None,
    cache: ModelCache | None = None,
    past: Past | None = None,
) -> Run:
    """Set up a race in a new run folder; nothing is written if the set-up is invalid.

    The user's own task, see `race`, is not written either: pass it again to resume the run.

    Args:
        past: what earlier races merged into the lanes' bases; the folder keeps it.

    Raises:
        ValueError: the folder is not empty, the set-up is invalid, or the disk is too full.
    """
    folder = Path(folder)
    if not is_free(folder):
        hint = "; use --resume to continue it" if has_begun(folder) else ""
        raise ValueError(f"run folder {str(folder)!r} must be new or empty{hint}")
    config.to_json()  # reject what cannot be written before a model is loaded
    racing = Race(config, task=task, progress=progress, cache=cache, past=past)
    try:
        check_space(folder, racing)
    except ValueError:
        racing.lanes.detach()
        raise
    begin(folder, racing)
    return Run(folder, racing, 0, adapters)


def resume_run(
    folder: str | Path,
    *,
    steps: int | None = None,
    task: Own | None = None,
    metric: Metric | None = None,
    adapters: bool = True,
    progress: Progress | None = None,
    cache: ModelCache | None = None,
) -> Run:
    """Resume a run from its last checkpoint, bitwise as if it had not been interrupted.

    Steps after the checkpoint that are already on disk are repeated but not reported again.

    Args:
        steps: the number of steps, if it is to be another one than planned: the run goes on bitwise as if it had been
            planned so. An evaluation that was due only because the race ended is forgotten, unless it found a loss
            that is not finite.
        metric: the function that the run's metric is, if it is one: the folder has its name alone.

    Raises:
        ValueError: the folder holds no run or a damaged one, another process races in it, the task file has changed,
            the metric is a function that is not passed again or has changed, or the number of steps cannot change.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> import olora_viz as ov
        >>> race = ov.race(ov.RaceConfig(lanes=(ov.Lane("lora"),), steps=3, eval_size=4))
        >>> step = next(race)
        >>> with TemporaryDirectory() as folder:
        ...     race.save(folder)
        ...     others = list(ov.resume_run(folder))
        >>> [step.step for step in others]
        [2, 3]
    """
    folder = Path(folder)
    config = planned = _read_unchanged(folder, task, metric)
    check_metric(config.metric, scores=True)
    with _held(folder):
        pass  # before a model is loaded, and before the end of another process's lines is mended
    if steps is not None and steps != planned.steps:
        config = _with_steps(folder, planned, steps)
    here = _with_a_device_here(config)
    racing = Race(here, task=task, progress=progress, resumed=True, cache=cache, past=read_past(folder, here))
    try:
        _check_losses(folder, racing)
        state = _read_checkpoint(folder, racing) if (folder / CHECKPOINT).exists() else None
    except ValueError:
        racing.lanes.detach()
        raise
    if config != planned:
        # From here on the folder is a run of so many steps, and resumed as one after a kill.
        (folder / "summary.json").unlink(missing_ok=True)
        begin(folder, racing)
    recorded = _mend(folder, config)
    if state is not None and _leads_on(state, config, recorded):
        racing.restore(state)
    return Run(folder, racing, recorded, adapters)


def _check_losses(folder: Path, racing: Race) -> None:
    """Check that the losses of a run are of the examples and tokens of which its next ones will be.

    Raises:
        ValueError: those of an earlier version are not.
    """
    name = racing.data.about_held_out.boilerplate_name
    evaluated = [step.eval_examples for step in read_steps(folder) if step.eval_examples is not None]
    of_all = any(np.isfinite(each.loss).any() and not np.isfinite(each.boilerplate_loss).any() for each in evaluated)
    others = any(each.loss.shape[1] != len(racing.data.held_out) for each in evaluated)
    if others or (name and of_all):
        raise ValueError(
            f"the run in {str(folder)!r} was made by an earlier version, whose losses were "
            f"{'of other examples' if others else f'not without the {name}'}: start it again in another folder"
        )


def copy_run(folder: str | Path, to: str | Path, steps: int | None = None) -> None:
    """Copy a run, or its beginning, from which `resume_run` goes on bitwise.

    What is only ever replaced as a whole is one file with two names, where the file system has such. The run may be
    in progress.

    Args:
        to: replaced as a whole; it may be the folder itself.
        steps: the number of steps of the copy, which then has no results; None for all, with results and adapters.

    Raises:
        OSError: the folder is gone, or the copy cannot be written.
    """
    folder, to = Path(folder), Path(to)
    lines = _whole_lines(folder / "steps.jsonl")[:steps]
    files = [folder / CHECKPOINT, folder / PAST]
    if steps is None:
        files += [folder / "summary.json", *sorted((folder / "adapters").rglob("*"))]
    with atomic_folder(to) as copy:
        for file in (folder / "config.json", *filter(Path.is_file, files)):
            link_or_copy(file, copy / file.relative_to(folder))
        checkpoint = copy / CHECKPOINT
        if checkpoint.exists() and int(read_tensor(checkpoint, "clock")[0]) > len(lines):
            checkpoint.unlink()
        write_bytes(copy / "steps.jsonl", b"".join(lines))


def _with_steps(folder: Path, planned: RaceConfig, steps: int) -> RaceConfig:
    """Return the set-up of a run with another number of steps."""
    config, where = replace(planned, steps=steps), f"the run in {str(folder)!r}"
    if _is_of_study(folder.resolve()):
        raise ValueError(f"{where} belongs to a study, whose races all have {planned.steps} steps")
    if steps <= (done := _last_step(folder)):
        raise ValueError(f"{where} has made {done} steps: it cannot end after {steps}")
    for schedule in sorted({str(schedule) for schedule, _ in planned.schedules} - {"constant"}):
        raise ValueError(
            f"{where} has a {schedule} schedule, whose rates depend on the number of "
            f"steps: it cannot have {steps} instead of {planned.steps}"
        )
    if any(isinstance(lane.warmup, float) for lane in planned.lanes):
        raise ValueError(f"{where} warms up over a share of its {planned.steps} steps: it cannot have {steps} instead")
    return config


def _is_of_study(folder: Path) -> bool:
    """Whether a run is where a study puts its own: the folder ``final``, or a number in ``runs``."""
    home = folder.parent
    study = home if folder.name == "final" else home.parent if home.name == "runs" and folder.name.isdigit() else None
    return study is not None and (study / STUDY).exists()


def _leads_on(state: dict[str, Tensor], config: RaceConfig, recorded: int) -> bool:
    """Whether a run goes on from a checkpoint; otherwise it restarts from step 0.

    Args:
        recorded: the number of the last step on disk. A power cut may lose lines before it.
    """
    done, evaluated = int(state["clock"][0]), int(state["clock"][3])
    known = config.is_due("eval_loss", done) or evaluated < done or SHORTER + "clock" in state
    return done <= recorded and (known or not config.follows_best)


def has_begun(folder: Path) -> bool:
    """Whether a folder has the set-up of a run, which is written first."""
    return (folder / "config.json").exists()


def read_config(folder: str | Path) -> RaceConfig:
    """Read the set-up of a run."""
    return _read_setup(Path(folder))[0]


def read_past(folder: Path, config: RaceConfig) -> Past | None:
    """Read what earlier races merged into the bases of a run's lanes; None if they start from the model itself."""
    file = folder / PAST
    return Past.read(file, resolve_device(config.device)) if file.exists() else None


def read_definitions(folder: Path) -> dict[str, dict[str, str]]:
    """Read what told the user's own starts and measurements of a run from others, see `definitions_of`."""
    return read_json_object(folder / "config.json").get(DEFINITIONS, {})


def read_steps(folder: str | Path) -> list[Step]:
    """Read the steps of a run; an incomplete last line is ignored."""
    labels = read_config(folder).labels
    steps, path = [], Path(folder) / "steps.jsonl"
    for number, line in enumerate(_whole_lines(path), 1):
        try:
            steps.append(Step.from_json(json.loads(line), labels))
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ValueError(f"{str(path)!r} is damaged: line {number} is not a step") from None
    return steps


def read_summary(folder: str | Path) -> dict[str, Any] | None:
    """Read the summary of a run; None if it has not ended.

    Earlier versions wrote the base model's loss with the boilerplate, if there was any: then it is not known.
    """
    path = Path(folder) / "summary.json"
    if not path.is_file():
        return None
    summary = read_json_object(path)
    base, held_out = summary.get("base", {}), summary.get("held_out", {})
    if "boilerplate_loss" not in base and held_out.get("deciding") != held_out.get("supervised"):
        base["loss"] = None
    return summary


def adapter_warnings(folder: str | Path) -> list[str]:
    """Say why the adapters of a run may not work elsewhere, each sentence once."""
    checks = map(ReadBack.read, sorted((Path(folder) / "adapters").glob("*")))
    return list(dict.fromkeys(check.warning for check in checks if check and check.warning))


def restored(
    folder: str | Path,
    *,
    task: Own | None = None,
    device: str = "",
    progress: Progress | None = None,
    cache: ModelCache | None = None,
) -> Race:
    """Restore a run's race from its last checkpoint, for export or answers; nothing is written.

    Raises:
        ValueError: the folder holds no run or a damaged one, or no checkpoint yet.
    """
    folder = Path(folder)
    config = _read_unchanged(folder, task)
    if not (folder / CHECKPOINT).exists():
        raise ValueError(f"the run in {str(folder)!r} has no checkpoint yet")
    config = _with_a_device_here(replace(config, device=device or config.device))
    racing = Race(config, task=task, progress=progress, resumed=True, cache=cache, past=read_past(folder, config))
    racing.restore(_read_checkpoint(folder, racing))
    if config.keep_best:
        racing.close()  # its lanes have their best adapters then
    return racing


def _with_a_device_here(config: RaceConfig) -> RaceConfig:
    """Return the set-up of a run for this machine: on another device, if its own is not here, in the same dtype."""
    try:
        resolve_device(config.device)
    except ValueError as error:
        warnings.warn(f"{error}: the run goes on on {resolve_device().type}", stacklevel=3)
        return replace(config, device="auto", dtype=config.dtype_on(config.device))
    return config


def _read_setup(folder: Path) -> tuple[RaceConfig, dict[str, str | None]]:
    """Read the set-up of a run, whose starts need not be registered, and the SHA-256 of its other inputs."""
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"{str(folder)!r} is not a run folder: it has no config.json")
    try:
        values = read_json_object(path)
        check_format(values, repr(str(path)))
        contents = {key: values.pop(key, None) for key in CONTENTS}
        remember(values.pop(DEFINITIONS, {}).get("start", ()))
        config = RaceConfig.from_json({**values, "epochs": None})  # they are its steps, see `RaceConfig.with_steps`
        expect(config.task, str, "the name of a task or the path of its file")
        return config, contents
    except FormatError:
        raise
    except KeyError as error:
        raise ValueError(f"{str(path)!r} is not the set-up of a race: {error} is missing") from None
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{str(path)!r} is not the set-up of a race: {error}") from None


def _read_unchanged(folder: Path, own: Own | None, metric: Metric | None = None) -> RaceConfig:
    """Read the set-up of a run, and check that its task, its files and its metric have not changed."""
    config, contents = _read_setup(folder)
    config = config.with_metric(metric)
    check_contents(folder, config, contents, own)
    check_definitions(folder, config, read_definitions(folder))
    return config


def _read_checkpoint(folder: Path, racing: Race) -> dict[str, Tensor]:
    """Read a run's checkpoint, and check that it fits the race."""
    path = folder / CHECKPOINT
    state = read_tensors(path)
    try:
        racing.check_snapshot(state)
    except ValueError as error:
        raise ValueError(f"{str(path)!r} does not fit the run's config.json: {error}") from None
    return state


_AT_WORK: set[Path] = set()
"""The folders in which this process races."""


@contextmanager
def _held(folder: Path) -> Generator[None]:
    """Hold a run folder against other processes.

    A loop of this process that was left without being closed, as an interrupted cell leaves it, is in nobody's way.

    Raises:
        ValueError: another process races in it.
    """
    place = folder.resolve()
    with ExitStack() as stack:
        if place not in _AT_WORK:
            try:
                stack.enter_context(locked(folder / "steps.jsonl", wait=False))
            except BlockingIOError:
                raise ValueError(f"another process races in {str(folder)!r} at the moment") from None
            stack.callback(_AT_WORK.discard, place)
            _AT_WORK.add(place)
        yield


def _whole_lines(path: Path) -> list[bytes]:
    """Return the lines of a file with their ends, without an incomplete last one; none if there is no file."""
    data = path.read_bytes() if path.exists() else b""
    return data[: data.rfind(b"\n") + 1].splitlines(keepends=True)


def _mend(folder: Path, config: RaceConfig) -> int:
    """Mend the end of ``steps.jsonl``; return the number of the last step.

    An incomplete last line is removed, and from the last one what was measured only because the race ended, if it does
    not end there.
    """
    path, number = folder / "steps.jsonl", _last_step(folder)
    lines = _whole_lines(path)
    whole = sum(map(len, lines))
    if path.exists() and whole < path.stat().st_size:
        os.truncate(path, whole)
    *others, last = lines or [b"{}"]
    values = json.loads(last)
    at_last = [key for key in values if key in MEASURES and MEASURES[key].at_last]
    if early_end := [key for key in at_last if not config.is_due(key, number)]:
        for key in early_end:
            del values[key]
        if "eval_loss" in early_end:
            values.pop("stopped_early", None)
            if others and (early := json.loads(others[-1]).get("stopped_early")):
                values["stopped_early"] = early
        write_text(path, b"".join(others).decode("utf-8") + json.dumps(values, allow_nan=False) + "\n")
    return number


def _last_step(folder: Path) -> int:
    """Return the number of the last step that has a whole line in ``steps.jsonl``."""
    path = folder / "steps.jsonl"
    lines = _whole_lines(path)
    try:
        return int(json.loads(lines[-1])["step"]) if lines else 0
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{str(path)!r} is damaged: its last line is not a step") from None


@dataclass(frozen=True)
class SavedRun:
    """A run as saved in its folder; made by `load_run`.

    Tables and figures accept it instead of the steps of a race: ``steps_frame(run)``, ``plot_race(run)``.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> import olora_viz as ov
        >>> lanes = ov.Lane("lora"), ov.Lane("olora")
        >>> race = ov.race(ov.RaceConfig(lanes=lanes, steps=3, eval_size=4))
        >>> step = next(race)
        >>> with TemporaryDirectory() as folder:
        ...     race.save(folder)
        ...     run = ov.load_run(folder)
        >>> run.labels, len(run.steps), run.config.steps
        (('lora', 'olora'), 1, 3)
        >>> ov.steps_frame(run)[["step", "lane"]]
           step   lane
        0     1   lora
        1     1  olora
    """

    folder: Path
    config: RaceConfig
    steps: tuple[Step, ...] = field(repr=False)
    """From the first to the last one on disk."""
    summary: dict[str, Any] | None = field(repr=False)
    """The results, as in ``summary.json``; None if the run is still in progress or was killed."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the lanes, in order."""
        return self.config.labels


def load_run(folder: str | Path) -> SavedRun:
    """Read a run folder: its set-up, steps and summary. No model or task is loaded.

    Args:
        folder: written by `Race.save`, or by ``race --run`` on the command line, of a finished, stopped or killed run.

    Raises:
        ValueError: the folder holds no run, or a damaged one.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> import olora_viz as ov
        >>> race = ov.race(ov.RaceConfig(lanes=(ov.Lane("lora"),), steps=2, eval_size=4))
        >>> steps = list(race)
        >>> with TemporaryDirectory() as folder:
        ...     race.save(folder)
        ...     run = ov.load_run(folder)
        >>> [step.step for step in run.steps], run.summary["status"]
        ([1, 2], 'finished')
    """
    folder = Path(folder)
    return SavedRun(folder, read_config(folder), tuple(read_steps(folder)), read_summary(folder))

"""What the verbs share: options, each described once, and output, with all but results on standard error."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import runpy
import shlex
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import util
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from olora_viz.machine.checks import unknown
from olora_viz.machine.trackers import TRACKERS, Tracker
from olora_viz.races.fields import AUTOMATIC, BY_NAME, RaceField

if TYPE_CHECKING:
    from olora_viz.machine.process import Progress
    from olora_viz.races.config import RaceConfig
    from olora_viz.tasks.metrics import Metric

EXIT_FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130
"""The exit codes other than 0: an unexpected error, or no result; invalid input; stopped by Ctrl-C or SIGTERM."""

SAVES_MEMORY = {
    "batch_size": "--batch-size", "max_length": "--max-length", "lane": "the number of lanes",
    "rank": "--rank", "ranks": "--r", "workers": "--workers",
}  # fmt: skip
"""What to lower where memory is short, by the attribute of the option."""

T = TypeVar("T")

Verb = Callable[..., argparse.ArgumentParser]
"""Adds a verb with its name, the function that runs it and one line of help; returns its parser. If the options need
torch, a function adds them when the verb is used."""


IN_TERMINAL, IN_LOG = 0.2, 10.0
"""Seconds between two signs of long work, in a terminal and elsewhere."""


class SignPace:
    """When a sign of long work is due on standard error."""

    def __init__(self) -> None:
        self._every = IN_TERMINAL if sys.stderr.isatty() else IN_LOG
        self._due = time.monotonic() + self._every

    def is_due(self) -> bool:
        """Whether it is due, and not again for a while."""
        now = time.monotonic()
        if now < self._due:
            return False
        self._due = now + self._every
        return True


@contextmanager
def progress_bar() -> Generator[Progress]:
    """Show the progress of loading and of other long work on standard error."""
    from tqdm import tqdm

    form, pace = "{desc}: {percentage:3.0f}% |{bar}|", SignPace()
    # Only in a terminal: a log needs the error that may follow, and a line from time to time.
    with tqdm(total=1.0, bar_format=form, file=sys.stderr, leave=False, disable=None) as bar:

        def show(fraction: float, text: str) -> None:
            if bar.disable and pace.is_due():
                say(f"{text}: {fraction:.0%}")
            bar.set_description_str(text, refresh=False)
            if fraction < bar.n:  # the next task begins
                bar.reset()
            bar.update(fraction - bar.n)

        yield show


def resumable(work: Callable[[Progress], T], then: str = "; the same command goes on with what is written") -> T:
    """Do work with a progress bar, and return its result; Ctrl-C ends the process, and its workers, at once.

    Args:
        work: goes on from any moment at which it is killed, or leaves nothing. It runs in a thread, since a
            factorization would hold an interrupt back.
        then: what is said after "interrupted".
    """
    from olora_viz.machine.process import within

    with progress_bar() as progress:
        try:
            return within(threading.TIMEOUT_MAX, lambda: work(progress))
        except KeyboardInterrupt:
            say(f"\ninterrupted{then}")
            for process in multiprocessing.active_children():
                process.kill()
            with suppress(TimeoutError):  # what processes share is given back, lest it is called leaked
                within(1.0, util._exit_function)  # pyrefly: ignore[missing-attribute]
            os._exit(INTERRUPTED)


def say(*words: object) -> None:
    """Print on standard error, at once."""
    print(*words, file=sys.stderr, flush=True)


def print_json(values: Any) -> None:
    """Print one JSON object as a line, at once."""
    print(json.dumps(values, allow_nan=False), flush=True)


def save_charts(file: Path, figures: Sequence[Any], what: str = "charts") -> None:
    """Save figures as a PNG, and say so."""
    from olora_viz.figures.png import png_bytes
    from olora_viz.machine.files import write_bytes

    write_bytes(file, png_bytes(figures))
    say(f"{what} saved to {file}")


def print_table(rows: list[list[str]]) -> None:
    """Print rows of cells in columns, the header first."""
    from olora_viz.machine.tables import aligned

    print("\n".join(aligned(rows)))


def out_of_memory(options: argparse.Namespace) -> str:
    """Return a sentence on what to lower among a verb's options."""
    *others, last = ["", *(words for name, words in SAVES_MEMORY.items() if hasattr(options, name))]
    lower = f"{', '.join(others[1:])} or {last}" if others[1:] else last
    advice = f"lower {lower}, or " if lower else ""
    return f"out of memory: {advice}use a smaller model"


def unexpected(error: Exception, arguments: Sequence[str]) -> str:
    """Return a sentence on an error that nobody has foreseen, and log it, with the command line, for a report."""
    from olora_viz.machine.files import reason

    why = f": {reason(error)}" if str(error).strip() else ""
    place = _log(error, arguments)
    report = f" with the log {str(place)!r}" if place else ""
    return f"unexpected {type(error).__name__}{why}; please report it{report}"


def _log(error: Exception, arguments: Sequence[str]) -> Path | None:
    """Write the traceback into the cache folder, or a temporary one; None if neither takes it."""
    from olora_viz.machine.files import cache_folder, write_text
    from olora_viz.machine.version import versions

    packages = [" ".join(each) for each in versions("torch", "transformers", "safetensors").items()]
    command, trace = f"python -m olora_viz {shlex.join(arguments)}", "".join(traceback.format_exception(error))
    for folder in (cache_folder, lambda: Path(tempfile.mkdtemp(prefix="olora-viz-error-"))):
        with suppress(OSError, ValueError):  # of the cache folder
            path = folder() / f"error-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
            write_text(path, "\n".join([command, platform.platform(), *packages, trace]))
            return path
    return None


COMPARED_STARTS = ("lora", "olora")
"""The lanes that a measurement compares by default."""

KEYS_OF_LANES = ("weight_decay", "clip")
"""Settings of lanes that are options of a race as well: of all lanes without their own."""


def path(text: str) -> Path:
    """Return an option's value as a path; an empty one, which `Path` would take for the current folder, is wrong."""
    if not text:
        raise argparse.ArgumentTypeError("a path must not be empty")
    return Path(text)


def new_path(text: str) -> Path:
    """Return an option's value as the path of what is written, to fail before the work if it has no place there."""
    place = path(text)
    above = next(parent for parent in place.absolute().parents if parent.exists())
    if not above.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} cannot be written: {str(above)!r} is not a folder")
    if not (place.is_dir() or os.access(above, os.W_OK)):
        raise argparse.ArgumentTypeError(f"{text!r} cannot be written: the folder {str(above)!r} is read-only")
    return place


def new_file(text: str) -> Path:
    """Return an option's value as the path of a file to write, which must not be a folder."""
    file = new_path(text)
    if file.is_dir() or text.endswith(("/", os.sep)):
        raise argparse.ArgumentTypeError(f"{text!r} is a folder: name a file in it")
    return file


def filled(text: str) -> str:
    """Return an option's value, which must not be empty, as that of a variable that is not set is."""
    if not text.strip():
        raise argparse.ArgumentTypeError("must not be empty")
    return text


def metric(text: str) -> Metric:
    """Return an option's value as a metric: a name, or of FILE.py:NAME the function NAME of that file, which is run.

    Only what was typed is: a set-up in TOML, a link or a run folder may be a stranger's.
    """
    from olora_viz.machine.files import reason

    file, _, name = (text if ":" in text else f"{text}:").rpartition(":")
    if not file.endswith(".py"):
        return filled(text)
    try:
        functions = {key: value for key, value in runpy.run_path(file).items() if callable(value)}
    except (Exception, SystemExit) as error:  # of the user's own code
        raise argparse.ArgumentTypeError(f"{file!r} does not load: {type(error).__name__}: {reason(error)}") from error
    if name not in functions:
        raise argparse.ArgumentTypeError(f"in {file!r}: {unknown('function', name, functions)}")
    return functions[name]


_SHARED: dict[str, dict[str, Any]] = {
    "--model": {"type": filled, "help": "a model's name, or a local Hugging Face folder"},
    "--task": {"type": filled, "help": "a task's name, a file of examples, or hf:OWNER/NAME, a data set of the hub"},
    "--lane": {
        "action": "append",
        "metavar": "SPEC",
        "help": "NAME[:key=value,…], or recipe:NAME; repeat for each lane",
    },
    "--workers": {"type": int, "default": 1, "help": "processes, each with a core for a layer at a time; default: 1"},
    "--ray": {"metavar": "ADDRESS", "help": "compute on a running Ray cluster, HOST:PORT or auto"},
    "--track": {"choices": TRACKERS, "help": "report every lane as a run, with its numbers by step"},
    "--png": {"type": new_file, "metavar": "FILE", "help": "save the charts as a PNG"},
}
"""The options of several verbs that are no settings of a race."""


def _of_field(field: RaceField) -> dict[str, Any]:
    """Return the option of a setting of a race, with the words of the page."""
    if field.kind is bool:
        yes, no = field.choices["1"], field.choices["0"]
        return {"action": "store_true", "default": None, "help": f"{field.label.lower()}: {yes}, not {no}"}
    meaning = f"{field.meaning[:1].lower()}{field.meaning[1:]}"
    values = f": {field.written}" if field.written else ""
    if field.choices and not values and ":" not in meaning:
        values = f" ({', '.join(field.choices)})"
    default = f"; default: {field.empty}" if field.empty not in ("", AUTOMATIC) else ""
    name = "FILE" if "file" in meaning + values else "NAME" if field.written or not field.choices else None
    kind, metavar = {int: (int, "N"), float: (float, "X")}.get(field.kind, (filled, name))
    kind = metric if field.name == "metric" else kind
    return {"type": kind, "metavar": metavar, "help": f"{meaning}{values}{default}"}


def add_shared(parser: argparse.ArgumentParser, *names: str, **defaults: Any) -> None:
    """Add options to a verb that others have too, or settings of a race, see `BY_NAME`.

    Args:
        names: of the options, as on the command line.
        defaults: default values, by attribute (``batch_size=16``), shown in the help; an option without one is None.
    """
    for name in names:
        key = name.removeprefix("--").replace("-", "_")
        how = dict(_SHARED.get(name) or _of_field(BY_NAME[key]))
        default = defaults.get(key)
        if default is not None:
            how |= {"default": default, "help": f"{how['help']}; default: {default}"}
        parser.add_argument(name, **how)


def add_compared_lanes(parser: argparse.ArgumentParser) -> None:
    """Add ``--lane``, with `COMPARED_STARTS` as its default: `compared` fills it in."""
    how = dict(_SHARED["--lane"])
    how["help"] += f"; default: {' and '.join(COMPARED_STARTS)}"
    parser.add_argument("--lane", **how)


def add_intervals(parser: argparse.ArgumentParser) -> None:
    """Add the options that end in ``-every``, for how often a race is evaluated and measured."""
    from olora_viz.measures.catalogue import intervals_of_measures

    for interval, measures in intervals_of_measures().items():
        texts = (measures[0].title, measures[0].cost)
        title, cost = (text[:1].lower() + text[1:].removesuffix(".") for text in texts)
        what = f"measure every N steps: {title}; costs {cost}"
        parser.add_argument(f"--{interval.replace('_', '-')}", type=int, metavar="N", help=what)


def given(options: argparse.Namespace, of_file: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """Return the fields of a `RaceConfig` that are set, with lanes and targets parsed.

    Args:
        of_file: the values of a set-up's file, in place of options that are not given.

    Raises:
        ValueError: a lane cannot be read.
    """
    from dataclasses import fields, replace

    from olora_viz.lanes.lane_spec import parse_lanes, read_lanes
    from olora_viz.races.config import ONE_LENGTH, RaceConfig

    names = (*(field.name for field in fields(RaceConfig)), *KEYS_OF_LANES)
    by_options = {name: value for name in names if (value := getattr(options, name, None)) is not None}
    if by_options.keys() >= {"steps", "epochs"}:
        raise ValueError(ONE_LENGTH.format(**by_options))
    instead = {"steps": "epochs", "epochs": "steps"}
    values = {name: value for name, value in of_file.items() if instead.get(name) not in by_options} | by_options
    if "targets" in values:
        values["targets"] = tuple(values["targets"])
    of_lanes = {name: values.pop(name) for name in KEYS_OF_LANES if name in values}
    if options.lane:
        values["lanes"] = tuple(lane for spec in options.lane for lane in parse_lanes(spec, **of_lanes))
    elif "lanes" in values:
        values["lanes"] = read_lanes(values["lanes"], **of_lanes)
    elif of_lanes:
        values["lanes"] = tuple(replace(lane, **of_lanes) for lane in RaceConfig.lanes)
    return values


def add_file(parser: argparse.ArgumentParser, keys: str) -> None:
    """Add the file of a set-up, whose help says which keys it may set."""
    what = f"a set-up as TOML: {keys}; an option takes the place of the file's value"
    parser.add_argument("file", nargs="?", type=path, metavar="FILE", help=what)


def given_again(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Return the fields that may be set again where a set-up is that of a folder, None for those that are not set.

    Raises:
        ValueError: another one is set.
    """
    values = given(options)
    if {*values} - {*names} or options.file is not None or options.folder is not None:
        others = " or ".join(f"--{name}" for name in names)
        raise ValueError(f"--resume takes the set-up from the folder: pass no other options than {others}")
    return {name: values.get(name) for name in names}


def config_of(options: argparse.Namespace) -> RaceConfig:
    """Return the race of a file's set-up, if there is one, and of the options.

    Raises:
        ValueError: a value cannot be read or breaks a rule.
    """
    from olora_viz.machine.toml_setup import KeyKind, TomlSetup, kinds_of
    from olora_viz.races.config import RaceConfig

    if options.file is None:
        return RaceConfig(**given(options))
    kinds = kinds_of(RaceConfig) | dict.fromkeys(KEYS_OF_LANES, KeyKind(float))
    setup = TomlSetup.read(options.file, kinds)
    dests = {name: "lane" if name == "lanes" else name for name in kinds}
    by_options = {name for name, dest in dests.items() if getattr(options, dest, None) is not None}
    with setup.naming_lines(by_options):
        return RaceConfig(**given(options, setup.values))


def tracker_of(name: str | None, folder: Path | None) -> Tracker | None:
    """Return the tracker to report to, if one is named; ValueError without a folder, or if it cannot be used."""
    from tqdm import tqdm

    if name is None:
        return None
    if folder is None:
        raise ValueError(f"--track {name} needs --run DIR, whose name the project gets")
    return Tracker(name, folder, partial(tqdm.write, file=sys.stderr))


def say_unused_template(sentence: str) -> None:
    """Say that a model's chat template is not used, if it has one."""
    if sentence:
        say(f"{sentence} (--chat uses it)")


def say_unused_templates(models: Iterable[str]) -> None:
    """Say which of the models on this machine have chat templates that are not used."""
    from olora_viz.models.loading import tokenizer_here
    from olora_viz.tasks.chat import unused_template

    for name in models:
        say_unused_template(unused_template(tokenizer_here(name), Path(name).name))


def compared(options: argparse.Namespace, **fixed: Any) -> RaceConfig:
    """Return the race of a measuring verb, with the lanes of `COMPARED_STARTS` by default.

    It has a text to keep only if lanes replay it.
    """
    from olora_viz.lanes.lane import Lane
    from olora_viz.races.config import RaceConfig
    from olora_viz.tasks.keep import AUTO, NONE

    settings = given(options)
    settings.setdefault("lanes", tuple(map(Lane, COMPARED_STARTS)))
    settings.setdefault("keep", AUTO if any(lane.replays for lane in settings["lanes"]) else NONE)
    return RaceConfig(**settings | fixed)

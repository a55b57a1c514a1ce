"""The options that several verbs share, each described once."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from olora_viz.machine.trackers import TRACKERS

if TYPE_CHECKING:
    from olora_viz.races.config import RaceConfig

COMPARED = ("lora", "olora")
"""The lanes that a measurement compares by default."""

OF_LANES = ("weight_decay", "clip")
"""Settings of lanes that are options of a race as well: of all lanes without their own."""


def path(text: str) -> Path:
    """Return an option's value as a path.

    Raises:
        ArgumentTypeError: the text is empty, which `Path` would take for the current folder.
    """
    if not text:
        raise argparse.ArgumentTypeError("a path must not be empty")
    return Path(text)


_SHARED: dict[str, dict[str, Any]] = {
    "--model": {"help": "a model's name, or a local Hugging Face folder"},
    "--task": {"help": "a task's name, or a file of examples"},
    "--lane": {"action": "append", "metavar": "SPEC", "help": "NAME[:key=value,…]; repeat for each lane"},
    "--steps": {"type": int, "help": "number of updates"},
    "--batch-size": {"type": int, "help": "prompts per step"},
    "--max-length": {"type": int, "help": "maximum tokens of an example; longer ones are skipped"},
    "--truncate": {
        "action": "store_true",
        "default": None,
        "help": "cut longer examples at the left of their prompt instead of skipping them",
    },
    "--chat": {
        "action": "store_true",
        "default": None,
        "help": "format prompts and answers by the model's chat template",
    },
    "--seed": {"type": int, "help": "seed of the order of the examples"},
    "--split-seed": {"type": int, "help": "seed of the split into training, held-out and test examples"},
    "--test": {"metavar": "FILE", "help": "a file of examples for the evaluation at the end"},
    "--device": {"help": "auto, cpu or cuda"},
    "--dtype": {"help": "dtype of the frozen base: auto, float32, bfloat16 or float64"},
    "--track": {"choices": TRACKERS, "help": "report every lane as a run, with its numbers by step"},
    "--png": {"type": path, "metavar": "FILE", "help": "save the charts as a PNG"},
}


def add_shared(parser: argparse.ArgumentParser, *names: str, **defaults: Any) -> None:
    """Add shared options to a verb.

    Args:
        names: of the options, as on the command line.
        defaults: default values, by attribute (``batch_size=16``), shown in the help; an option without one is None.
    """
    for name in names:
        how = dict(_SHARED[name])
        default = defaults.get(name.removeprefix("--").replace("-", "_"))
        if default is not None:
            how |= {"default": default, "help": f"{how['help']}; default: {default}"}
        parser.add_argument(name, **how)


def add_compared_lanes(parser: argparse.ArgumentParser) -> None:
    """Add ``--lane``, with `COMPARED` as its default: `compared` fills it in."""
    how = dict(_SHARED["--lane"])
    how["help"] += f"; default: {' and '.join(COMPARED)}"
    parser.add_argument("--lane", **how)


def add_intervals(parser: argparse.ArgumentParser) -> None:
    """Add the options that end in ``-every``, for how often a race is evaluated and measured."""
    from olora_viz.measures.catalogue import intervals_of_measures

    for interval, measures in intervals_of_measures().items():
        title, cost = (_within(text) for text in (measures[0].title, measures[0].cost))
        what = f"measure every N steps: {title}; costs {cost}"
        parser.add_argument(f"--{interval.replace('_', '-')}", type=int, metavar="N", help=what)


def _within(text: str) -> str:
    """Return a title or a sentence as a part of a longer sentence."""
    return text[:1].lower() + text[1:].removesuffix(".")


def given(options: argparse.Namespace, of_file: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """Return the fields of a `RaceConfig` that are set, with lanes and targets parsed.

    Args:
        of_file: the values of a set-up's file, in place of options that are not given.

    Raises:
        ValueError: a lane cannot be read.
    """
    from dataclasses import fields, replace

    from olora_viz.lanes.lane import parse_lanes, read_lanes
    from olora_viz.races.config import RaceConfig

    names = [field.name for field in fields(RaceConfig)]
    values = {name: getattr(options, name, None) for name in (*names, *OF_LANES)}
    values = {**of_file, **{name: value for name, value in values.items() if value is not None}}
    if "targets" in values:
        values["targets"] = tuple(values["targets"])
    of_lanes = {name: values.pop(name) for name in OF_LANES if name in values}
    if options.lane:
        values["lanes"] = tuple(lane for spec in options.lane for lane in parse_lanes(spec, **of_lanes))
    elif "lanes" in values:
        values["lanes"] = read_lanes(values["lanes"], **of_lanes)
    elif of_lanes:
        values["lanes"] = tuple(replace(lane, **of_lanes) for lane in RaceConfig.lanes)
    return values


def add_file(parser: argparse.ArgumentParser, keys: str) -> None:
    """Add the file of a set-up.

    Args:
        keys: what it may set, for the help.
    """
    parser.add_argument(
        "file", nargs="?", type=path, metavar="FILE",
        help=f"a set-up as TOML: {keys}; an option takes the place of the file's value",
    )  # fmt: skip


def config_of(options: argparse.Namespace) -> RaceConfig:
    """Return the race of a file's set-up, if there is one, and of the options.

    Raises:
        ValueError: a value cannot be read or breaks a rule.
    """
    from olora_viz.machine.toml_setup import KeyKind, TomlSetup, kinds_of
    from olora_viz.races.config import RaceConfig

    if options.file is None:
        return RaceConfig(**given(options))
    kinds = kinds_of(RaceConfig) | dict.fromkeys(OF_LANES, KeyKind(float))
    setup = TomlSetup.read(options.file, kinds)
    dests = {name: "lane" if name == "lanes" else name for name in kinds}
    by_options = {name for name, dest in dests.items() if getattr(options, dest, None) is not None}
    with setup.naming_lines(by_options):
        return RaceConfig(**given(options, setup.values))


def say_unused_template(sentence: str) -> None:
    """Print on stderr that a model's chat template is not used, if it has one."""
    if sentence:
        print(f"{sentence} (--chat uses it)", file=sys.stderr)


def say_unused_templates(models: Iterable[str]) -> None:
    """Print on stderr which of the models on this machine have templates that are not used."""
    from olora_viz.models.loading import tokenizer_here
    from olora_viz.tasks.chat import unused_template

    for name in models:
        say_unused_template(unused_template(tokenizer_here(name), Path(name).name))


def compared(options: argparse.Namespace, **fixed: Any) -> RaceConfig:
    """Return the race of a measuring verb, with the lanes of `COMPARED` by default."""
    from olora_viz.lanes.lane import Lane
    from olora_viz.races.config import RaceConfig

    by_default = {"lanes": tuple(map(Lane, COMPARED))}
    settings: dict[str, Any] = {**by_default, **given(options), **fixed}
    return RaceConfig(**settings)

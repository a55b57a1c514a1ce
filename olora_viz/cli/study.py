"""The verb ``study``: many races, and what they decide."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from olora_viz.cli.console import (
    Verb,
    add_shared,
    new_file,
    new_path,
    path,
    print_json,
    print_table,
    progress_bar,
    save_charts,
    say,
    say_unused_templates,
    tracker_of,
)
from olora_viz.machine.process import on_interruption
from olora_viz.machine.wording import counted, rough, seconds

if TYPE_CHECKING:
    from olora_viz.studies.folder import Ledger
    from olora_viz.studies.study import Study
    from olora_viz.studies.verdicts import Verdicts

MOST_LANES = 500
"""A study with more lanes has to be confirmed with ``--yes``."""

LISTS: dict[str, str] = {
    "model": "models or folders, as a list A,B",
    "task": "tasks or files, as a list A,B; A+B is a chain",
    "lr": "learning rates, as a list 3e-4/1e-3/3e-3",
    "r": "ranks, as a list 8,16",
    "alpha": "alpha of every lane; default: the rank",
}
"""The options with lists, and their help."""


def add_verbs(verb: Verb) -> None:
    """Add the verb."""
    parser = verb("study", study, "compare initializations over learning rates and seeds")
    parser.add_argument(
        "what", nargs="?", type=path, metavar="FILE|DIR",
        help="a study as TOML, or the folder of a study to resume, extend or read; an option takes "
        "the place of the file's value",
    )  # fmt: skip
    parser.add_argument("--out", type=new_path, metavar="DIR", help="the study's folder")
    parser.add_argument("--init", metavar="LIST", help="initializations, as a list A,B; the first is the reference")
    parser.add_argument(
        "--compare",
        action="append",
        metavar="METHOD",
        help="a method, written as a lane, such as lora:alpha=16,dropout=0.1; give several, the reference first",
    )
    varied = "{} of a setting of lanes or races, such as {}; may be repeated"
    parser.add_argument(
        "--across",
        action="append",
        metavar="NAME=LIST",
        help=varied.format("values", "batch-size=8/32, each of which makes cells of its own"),
    )
    parser.add_argument(
        "--tune",
        action="append",
        metavar="NAME=LIST",
        help=varied.format("candidates", "batch-size=8/32, from which each method gets its best"),
    )
    parser.add_argument("--equal", help="what batch sizes have in common: examples (the default) or steps")
    add_settings(parser, *LISTS)
    add_shared(parser, "--png")
    parser.add_argument("--html", type=new_file, metavar="FILE", help="save the charts as one interactive page")
    coarse = "seeds of a first pass over all rates; the remaining seeds race at the best rates only"
    parser.add_argument("--coarse", type=int, help=coarse)
    add_shared(
        parser, "--epochs", "--rows", "--eval-every", "--eval-size", "--test-size", "--schedule", "--warmup",
        "--metric", "--objective", "--samples",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, help="threads of each race on a CPU")
    parser.add_argument("--workers", type=int, help="races at once; default: one a GPU, or 1")
    parser.add_argument("--ray", metavar="ADDRESS", help="race on a running Ray cluster, HOST:PORT or auto")
    add_shared(parser, "--track")
    parser.add_argument("--plan", action="store_true", help="show the plan, and run nothing")
    parser.add_argument("--yes", action="store_true", help=f"also run more than {MOST_LANES} lanes")


def add_settings(parser: argparse.ArgumentParser, *lists: str) -> None:
    """Add the options of a study's settings that every verb of studies has.

    Args:
        lists: the settings with lists, keys of `LISTS`.
    """
    for name in lists:
        parser.add_argument(f"--{name}", metavar="LIST", help=LISTS[name])
    parser.add_argument("--seeds", type=int, help="number of seeds")
    parser.add_argument(
        "--margin", type=float, help="share of the reference's loss reduction within which methods are level"
    )
    add_shared(
        parser, "--steps", "--batch-size", "--max-length", "--truncate", "--chat", "--seed",
        "--split-seed", "--test", "--keep", "--forget", "--device", "--dtype", "--base",
    )  # fmt: skip


def study(options: argparse.Namespace) -> int:
    """Show the plan, run what is missing, and print the verdicts."""
    from olora_viz.machine.devices import side_by_side
    from olora_viz.machine.memory import keep_freed
    from olora_viz.studies.folder import Ledger
    from olora_viz.studies.preregistration import check_is_study
    from olora_viz.studies.run import StudyTracker, check_places, run_ledger

    def interrupt() -> None:
        raise KeyboardInterrupt

    keep_freed()
    folder, asked = _asked(options)
    ledger = Ledger(folder, asked)
    check_is_study(folder)
    cards = side_by_side(ledger.study.race.device)
    if options.workers is None:
        options.workers = len(cards) if options.ray is None else 1
    check_places(ledger.study, options.workers, options.ray)
    named = tracker_of(options.track, ledger.folder)
    tracker = StudyTracker(named, ledger) if named else None
    todo = _plan(ledger, options.workers, cards, here=options.ray is None)
    if not ledger.study.race.chat:
        say_unused_templates(ledger.study.values("model"))
    if options.plan:
        return 0
    if todo > MOST_LANES and not options.yes:
        raise ValueError(
            f"the study has {todo} lanes left to run, more than {MOST_LANES}: see the plan above, "
            "and pass --yes to run it"
        )
    if todo:
        with on_interruption(interrupt), progress_bar() as progress:
            for race in run_ledger(ledger, workers=options.workers, ray=options.ray, progress=progress):
                if tracker:
                    tracker.report()
                say(f"{race.folder.name}: {race.lanes} lanes" + (f", {race.left} to go" if race.left else ""))
    elif asked:
        ledger.open()
    ledger.finish()
    if tracker:
        tracker.report()
        tracker.report_tables()
    _report(ledger, options.json)
    _draw(ledger, options.png, options.html)
    return 0


def _asked(options: argparse.Namespace) -> tuple[Path, Study | None]:
    """Return the study's folder, and its set-up; None leaves that of the folder.

    Raises:
        ValueError: no folder is given, or a setting is invalid.
    """
    from olora_viz.studies.preregistration import SETUP, read_setup
    from olora_viz.studies.study import Study

    given = settings_of(options)
    what, out = options.what, options.out
    if what is not None and what.is_dir():
        if out is not None and out != what:
            raise ValueError(f"the study's folder is {str(what)!r}: leave out --out")
        return what, read_setup(Study, what, **given) if given else None
    if what is not None and not what.exists():
        kind = "file" if out is not None or what.suffix == ".toml" else "folder"
        raise ValueError(f"no such {kind}: {what}")
    if out is None:
        raise ValueError("a study needs --out DIR, the folder for its results")
    if what is None:
        return out, Study().changed(**given) if given or not (out / SETUP).exists() else None
    return out, Study.read(what, **given)


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of a study that the options give, see `Study.changed`.

    Raises:
        ValueError: a value of a list is of the wrong kind, or a setting is given twice.
    """
    from olora_viz.studies.study import OF_RACE, Study

    if options.init is not None and options.compare:
        raise ValueError("give the methods by --compare or by --init, not by both")
    of_study = [each.name for each in fields(Study) if each.name not in ("race", "across", "tune", "compare")]
    given = {name: getattr(options, name, None) for name in of_study}
    given["compare"] = options.compare
    if options.init is not None:
        given["compare"] = [name.strip() for name in options.init.split(",")]
    varied: dict[str, dict[str, Any]] = {"across": {}, "tune": {}}
    for name in LISTS:
        if (text := getattr(options, name)) is not None:
            varied["tune" if name == "lr" else "across"][name] = listed(name, text)
    for place, axes in varied.items():
        for entry in getattr(options, place) or ():
            name, equals, text = entry.partition("=")
            if not (equals and text):
                raise ValueError(f"--{place} is NAME=LIST, such as batch-size=8/32, not {entry!r}")
            values = listed(name, text)
            if name.replace("-", "_") in axes:
                raise ValueError(f"{name} is given twice")
            axes[name.replace("-", "_")] = values
    of_race = {name: getattr(options, name, None) for name in OF_RACE if name not in LISTS}
    given["race"] = {name: value for name, value in of_race.items() if value is not None}
    given |= varied
    return {name: value for name, value in given.items() if value is not None and value != {}}


def listed(name: str, text: str) -> tuple[Any, ...]:
    """Return the values of a list; ValueError if one is of the wrong kind, or the setting is unknown."""
    from olora_viz.studies.axes import read_values

    try:
        return read_values(name, text)
    except ValueError as error:
        kinds = {"lr": "numbers", "r": "whole numbers"}
        if name in kinds:
            raise ValueError(f"--{name} must be a list of {kinds[name]}, not {text!r}") from None
        raise error from None


def _plan(ledger: Ledger, workers: int, cards: Sequence[str], here: bool) -> int:
    """Print what the study is, and what is left to run; return the number of lanes."""
    from olora_viz.machine.memory import bytes_words
    from olora_viz.studies.method import kept_words, method_name
    from olora_viz.studies.search import most_trials
    from olora_viz.studies.timing import estimate, smallest_found

    study = ledger.study
    done, missing = len(ledger.losses()), ledger.needed()
    others, choices = study.compare[1:], len(study.choices())
    length = f"{study.race.epochs:g} epochs" if study.race.epochs else f"{study.race.steps} steps"
    named = {"r": "rank"} | {name: name.replace("_", " ") for name in study.across if name != "r"}
    crossed = ", ".join(dict.fromkeys(("model", "task", *named.values())))
    beside = f" × {choices} choices of {', '.join(name for name in study.tune if name != 'lr')}" if choices > 1 else ""
    say(
        f"{counted(len(study.cells()), 'cell')} ({crossed}), {len(study.compare)} methods, "
        f"{counted(len(study.lrs), 'rate')}{beside.replace('_', ' ')}, {counted(study.seeds, 'seed')}: at least "
        f"{most_trials(study)} lanes of {length}, with "
        "half steps around each best rate, and more if one lies at the edge of the rates"
    )
    say(
        f"decides for {', '.join(others)} against {study.reference}: better, worse, too small to matter (within "
        f"{study.margin:.0%} of its loss reduction) or too few seeds or examples to tell, each at its best rate and "
        "all at one rate"
    )
    for method in study.compare:
        if kept := kept_words(method):
            say(f"{method_name(method)} keeps {kept}")
    if done:
        say(f"{done} lanes have run")
    if not missing:
        say("nothing is left to run")
        return 0
    left = max(len(missing), most_trials(study) - done)
    with progress_bar() as progress:
        costs = estimate(study, missing, progress)
    together = f", {bytes_words(workers * costs.memory)} with {workers} workers" if workers > 1 else ""
    say(
        f"{left} lanes to run: about {rough(costs.seconds * left / costs.lanes)} one after the "
        f"other, and up to {bytes_words(costs.memory)} of memory per race{together}, measured on "
        f"the first steps of the first of {costs.races} races"
    )
    if here and workers > 1 and len(cards) > 1:
        say(f"{workers} races at once, on {' and '.join(cards)}")
    for where, words in costs.data.items():
        say(f"{where}: {words}" if len(costs.data) > 1 else words)
    say(smallest_found(study))
    if here:
        costs.check_fits(workers, len(cards))
    return left


def _report(ledger: Ledger, as_json: bool) -> None:
    from olora_viz.studies.chains import words_alone
    from olora_viz.studies.choices import worth_of_choices

    summary, verdicts = ledger.summary(), ledger.verdicts()
    print_verdicts(verdicts, as_json)
    worth = {**worth_of_choices(verdicts), **words_alone(verdicts)}
    if as_json:
        print_json({"summary": summary, "choices": [{"cell": cell, "words": words} for cell, words in worth.items()]})
    else:
        for cell, words in worth.items():
            print(f"{cell}: {words}")
        raced = f"{counted(summary['cells'], 'cell')}, {counted(summary['lanes'], 'lane')}"
        print(f"{raced}, {seconds(summary['seconds'])} of racing; {summary['table']} has every lane")


def print_verdicts(verdicts: Verdicts, as_json: bool) -> None:
    """Print a line for every method of every cell, and why some are undecided."""
    if as_json:
        for verdict in verdicts.each:
            print_json(verdict.to_json())
        return
    from olora_viz.views.decision import forgetting_words, verdict_rows

    print_table(verdict_rows(verdicts))
    for verdict in verdicts.each:
        cell = verdict.cell.words()
        if verdict.why:
            print(f"{cell}: {verdict.method} cannot be told apart from {verdicts.study.reference} yet: {verdict.why}")
        if words := forgetting_words(verdicts, verdict):
            print(f"{cell}: {words}")


def _draw(ledger: Ledger, png: Path | None, html: Path | None) -> None:
    """Save the pictures of the study."""
    from olora_viz.figures.live.standing_alone import plotted
    from olora_viz.figures.plots import plot_study, study_figures
    from olora_viz.machine.files import write_text

    if png:
        save_charts(png, study_figures(ledger.verdicts()))
    if html:
        html.parent.mkdir(parents=True, exist_ok=True)
        head = '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Study</title></head>'
        write_text(html, f"{head}<body>{plotted(plot_study(ledger.verdicts()))}</body></html>\n")
        say(f"charts saved to {html}")

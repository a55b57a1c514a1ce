"""The verb ``study``: many races, and what they decide."""

from __future__ import annotations

import argparse
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
from olora_viz.machine.text import counted, rough, seconds

if TYPE_CHECKING:
    from olora_viz.studies.folder import Ledger
    from olora_viz.studies.study import Study
    from olora_viz.studies.verdicts import Verdicts

MOST_LANES = 500
"""A study with more lanes has to be confirmed with ``--yes``."""

LISTS: dict[str, tuple[str, type, str]] = {
    "models": ("--model", str, "models or folders, as a list A,B"),
    "tasks": ("--task", str, "tasks or files, as a list A,B"),
    "inits": ("--init", str, "initializations, as a list A,B"),
    "lrs": ("--lr", float, "learning rates, as a list 3e-4/1e-3/3e-3"),
    "ranks": ("--r", int, "ranks, as a list 8,16"),
}
"""The options with lists: their settings, values and help."""


def add_verbs(verb: Verb) -> None:
    """Add the verb."""
    parser = verb("study", study, "compare initializations over learning rates and seeds")
    parser.add_argument(
        "what", nargs="?", type=path, metavar="FILE|DIR",
        help="a study as TOML, or the folder of a study to resume, extend or read; an option takes "
        "the place of the file's value",
    )  # fmt: skip
    parser.add_argument("--out", type=new_path, metavar="DIR", help="the study's folder")
    add_settings(parser, *LISTS)
    add_shared(parser, "--png")
    parser.add_argument("--html", type=new_file, metavar="FILE", help="save the charts as one interactive page")
    coarse = "seeds of a first pass over all rates; the remaining seeds race at the best rates only"
    parser.add_argument("--coarse", type=int, help=coarse)
    parser.add_argument("--eval-every", type=int, help="steps between evaluations")
    parser.add_argument("--eval-size", type=int, help="maximum number of validation examples")
    parser.add_argument("--test-size", type=int, help="maximum number of test examples")
    parser.add_argument("--schedule", help="constant, linear or cosine")
    parser.add_argument("--warmup", type=int, help="warm-up steps of the learning rates")
    parser.add_argument("--threads", type=int, help="threads of each race on a CPU")
    parser.add_argument("--workers", type=int, default=1, help="races at once; default: 1")
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
        option, _, text = LISTS[name]
        parser.add_argument(option, dest=name, metavar="LIST", help=text)
    parser.add_argument("--seeds", type=int, help="number of seeds")
    parser.add_argument("--reference", help="the initialization that the others are compared with")
    parser.add_argument(
        "--margin", type=float, help="share of the reference's loss reduction within which methods are level"
    )
    parser.add_argument("--alpha", type=float, help="alpha of every lane; default: the rank")
    add_shared(
        parser, "--steps", "--batch-size", "--max-length", "--truncate", "--chat", "--seed",
        "--split-seed", "--test", "--keep", "--forget", "--device", "--dtype",
    )  # fmt: skip


def study(options: argparse.Namespace) -> int:
    """Show the plan, run what is missing, and print the verdicts."""
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
    check_places(ledger.study, options.workers, options.ray)
    named = tracker_of(options.track, ledger.folder)
    tracker = StudyTracker(named, ledger) if named else None
    todo = _plan(ledger, options.workers, here=options.ray is None)
    if not ledger.study.chat:
        say_unused_templates(ledger.study.models)
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
        return out, Study(**given) if given or not (out / SETUP).exists() else None
    return out, Study.read(what, **given)


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of a study that the options give; ValueError if an entry of a list is of the wrong kind."""
    from olora_viz.studies.study import Study

    values = {each.name: getattr(options, each.name, None) for each in fields(Study)}
    given = {name: value for name, value in values.items() if value is not None}
    return {name: _listed(name, value) if name in LISTS else value for name, value in given.items()}


def _listed(name: str, text: str) -> tuple[Any, ...]:
    """Return the values of an option with a list; ValueError if an entry is of the wrong kind."""
    option, kind, _ = LISTS[name]
    parts = [part.strip() for part in text.split("/" if name == "lrs" else ",")]
    try:
        return tuple(kind(part) for part in parts)
    except ValueError:
        words = {float: "numbers", int: "whole numbers"}[kind]
        raise ValueError(f"{option} must be a list of {words}, not {text!r}") from None


def _plan(ledger: Ledger, workers: int, here: bool) -> int:
    """Print what the study is, and what is left to run; return the number of lanes."""
    from olora_viz.machine.memory import bytes_words
    from olora_viz.studies.budget import estimate, smallest_found
    from olora_viz.studies.study import most_trials

    study = ledger.study
    done, missing = len(ledger.losses()), ledger.needed()
    others = [init for init in study.inits if init != study.reference]
    say(
        f"{counted(len(study.cells()), 'cell')} (model, task, rank), {len(study.inits)} methods, {len(study.lrs)} "
        f"rates, {counted(study.seeds, 'seed')}: at least {most_trials(study)} lanes of {study.steps} steps, with "
        "half steps around each best rate, and more if one lies at the edge of the rates"
    )
    say(
        f"decides for {', '.join(others)} against {study.reference}: better, worse, too small to matter (within "
        f"{study.margin:.0%} of its loss reduction) or too few seeds or examples to tell, each at its best rate and "
        "all at one rate"
    )
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
    for (model, task), words in costs.data.items():
        say(f"{model}, {task}: {words}" if len(costs.data) > 1 else words)
    say(smallest_found(study))
    if here:
        costs.check_fits(workers)
    return left


def _report(ledger: Ledger, as_json: bool) -> None:
    summary = ledger.summary()
    print_verdicts(ledger.verdicts(), as_json)
    if as_json:
        print_json({"summary": summary})
    else:
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
        cell = f"{verdict.cell.model}, {verdict.cell.task}, r {verdict.cell.r}"
        if verdict.why:
            print(f"{cell}: {verdict.init} cannot be told apart from {verdicts.study.reference} yet: {verdict.why}")
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

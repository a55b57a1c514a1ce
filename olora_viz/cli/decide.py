"""The verb ``decide``: from one's own file to a recommendation and the adapter, in some minutes."""

from __future__ import annotations

import argparse
import threading
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

from olora_viz.cli.console import (
    Verb,
    add_file,
    add_shared,
    filled,
    new_path,
    print_json,
    progress_bar,
    say,
    say_unused_templates,
)
from olora_viz.cli.study import add_settings, listed, print_verdicts
from olora_viz.machine.process import StoppedEarlyError, on_interruption
from olora_viz.machine.wording import and_, clock


def add_verbs(verb: Verb) -> None:
    """Add the verb."""
    parser = verb("decide", decide, "decide which recipe to take, within some minutes")
    add_file(parser, "minutes, search, model, task, compare, lr, r and other settings of a study and its race")
    add_shared(parser, "--model", "--task")
    parser.add_argument("--minutes", type=float, help="the time limit; default: 20")
    parser.add_argument("--out", type=new_path, required=True, metavar="DIR", help="the decision's folder")
    parser.add_argument(
        "--init", dest="methods", type=filled, nargs="+", action="extend", metavar="NAME", help="the methods"
    )
    parser.add_argument(
        "--search", type=filled, metavar="NAMES",
        help="what is searched before methods are compared, of targets, steps, batch_size, r, alpha, schedule and "
        "dropout, separated by commas, or none; default: all that are not given otherwise, if there is time",
    )  # fmt: skip
    add_settings(parser, "lr", "r")
    parser.add_argument("--plan", action="store_true", help="show the plan, and run nothing")


def decide(options: argparse.Namespace) -> int:
    """Show the plan, then what is known after every race, and at the end the recommendation."""
    from olora_viz.machine.memory import keep_freed
    from olora_viz.races.recipe_files import TOOLS
    from olora_viz.studies import decide as deciding
    from olora_viz.studies.preregistration import SETUP
    from olora_viz.studies.recommendation import nothing_fits
    from olora_viz.views.reports import write_report

    keep_freed()
    ended = threading.Event()
    with progress_bar() as bar, on_interruption(ended.set):

        def progress(part: float, words: str) -> None:
            if ended.is_set():
                raise StoppedEarlyError
            bar(part, words)

        settings, naming_lines = _asked(options)
        decisions = deciding.decide(options.out, watch=lambda _: not ended.is_set(), progress=progress, **settings)
        try:
            with naming_lines:
                for line in [] if (options.out / SETUP).exists() else _foreseen(settings):
                    say(line)
                known = next(decisions)
        except StoppedEarlyError:
            raise KeyboardInterrupt from None
        say("\n".join(known.plan.words))
        if not known.plan.study.race.chat:
            say_unused_templates(known.plan.study.values("model"))
        if options.plan:
            if options.json:
                print_json({"plan": known.plan.to_json()})
            return 0
        sentence = ""
        with suppress(StoppedEarlyError):
            for known in decisions:
                if known.stage != deciding.DONE:
                    news = f"  {known.sentence}" if known.sentence != sentence else ""
                    say(f"{clock(known.seconds)}  {known.lanes} lanes{news}")
                    sentence = known.sentence
    if known.lanes or options.json:
        print_verdicts(known.verdicts, options.json)
    if options.json:
        print_json({"decision": known.to_json()})
    else:
        print(known.sentence)
    if known.taken is None:
        if ended.is_set():
            say("it was stopped before it was known what to take: the same command goes on")
        elif not nothing_fits(known.verdicts):
            say(f"give it more than {known.plan.minutes:g} minutes, or fewer methods")
        return 1
    report = write_report(known)
    say(f"{report} has the table, the curves and the answers")
    say(f"the adapter is in {known.adapter}" if known.adapter else "there is no adapter yet")
    say(f"{known.folder / deciding.RECIPE_FOLDER} has it as files for {and_([*TOOLS.values()])}")
    return 0


def _foreseen(settings: dict[str, Any]) -> list[str]:
    """Return what is known of a new decision before its races are timed; nothing where it will be refused."""
    from olora_viz.races.data import task_of
    from olora_viz.studies.budget import first_race
    from olora_viz.studies.decide import asked_study, checked_minutes
    from olora_viz.studies.foresight import TaskRows, foreseen

    minutes = checked_minutes(settings.get("minutes", 20.0))
    study = asked_study({name: value for name, value in settings.items() if name not in ("minutes", "search")})
    lines = foreseen(study, TaskRows.of(task_of(first_race(study))), minutes)
    return lines if len(lines) > 1 else []


def _asked(options: argparse.Namespace) -> tuple[dict[str, Any], AbstractContextManager]:
    """Return what the file and the options set, and what names the lines of the file in errors."""
    from olora_viz.machine.toml_setup import KeyKind, TomlSetup, kinds_of
    from olora_viz.races.config import RaceConfig
    from olora_viz.studies.decide import GIVEN
    from olora_viz.studies.study import Study

    by_options = {name: getattr(options, name, None) for name in ("minutes", *GIVEN)}
    by_options |= {
        name: listed(name, getattr(options, name)) for name in ("lr", "r") if getattr(options, name) is not None
    }
    by_options["compare"] = options.methods and tuple(filter(None, ",".join(options.methods).split(",")))
    by_options["search"] = options.search and tuple(
        name.replace("-", "_") for name in options.search.split(",") if name != "none"
    )
    by_options = {name: value for name, value in by_options.items() if value is not None}
    if options.file is None:
        return by_options, nullcontext()
    of_each = {**kinds_of(RaceConfig), **kinds_of(Study)}
    lists = {"lr": KeyKind(float, is_list=True), "r": KeyKind(int, is_list=True)}
    kinds = {"minutes": KeyKind(float), **{name: of_each[name] for name in GIVEN if name in of_each}, **lists}
    kinds["search"] = KeyKind(str, is_list=True)
    setup = TomlSetup.read(options.file, kinds)
    return setup.values | by_options, setup.naming_lines({*by_options, "out"})

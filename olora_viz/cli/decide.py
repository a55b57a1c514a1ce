"""The verb ``decide``: from one's own file to a recommendation and the adapter, in some minutes."""

from __future__ import annotations

import argparse
import json
import sys
import threading
from functools import partial

from olora_viz.cli.console import Verb, progress_bar
from olora_viz.cli.options import add_shared, path, say_unused_templates
from olora_viz.cli.study import add_settings, print_verdicts, settings_of
from olora_viz.machine.memory import keep_freed
from olora_viz.machine.numbers import clock
from olora_viz.machine.signals import on_interruption


def add_verbs(verb: Verb) -> None:
    """Add the verb."""
    made = verb("decide", decide, "decide which initialization to take, within some minutes")
    add_shared(made, "--model", "--task")
    made.add_argument("--minutes", type=float, default=20.0, help="the time limit; default: 20")
    made.add_argument(
        "--out", type=path, required=True, metavar="DIR", help="the decision's folder"
    )
    made.add_argument("--init", dest="methods", nargs="+", metavar="NAME", help="the methods")
    add_settings(made, "lrs", "ranks")
    made.add_argument("--plan", action="store_true", help="show the plan, and run nothing")


def decide(options: argparse.Namespace) -> int:
    """Show the plan, then what is known after every race, and at the end the recommendation."""
    from olora_viz.studies import deciding
    from olora_viz.views.decision_report import write_report

    keep_freed()
    say = partial(print, file=sys.stderr, flush=True)
    ended = threading.Event()
    with progress_bar() as progress, on_interruption(ended.set):
        road = deciding.decide(
            options.out, minutes=options.minutes, model=options.model, task=options.task,
            inits=_names(options.methods), watch=lambda _: not ended.is_set(), progress=progress,
            **settings_of(options),
        )  # fmt: skip
        known = next(road)
        say("\n".join(known.plan.words))
        if not known.plan.study.chat:
            say_unused_templates(known.plan.study.models)
        if options.plan:
            return 0
        for known in road:
            if known.stage != deciding.DONE:
                say(f"{clock(known.seconds)}  {known.lanes} lanes  {known.sentence}")
    if known.lanes or options.json:
        print_verdicts(known.verdicts, options.json)
    if options.json:
        print(json.dumps({"decision": known.to_json()}, allow_nan=False), flush=True)
    else:
        print(known.sentence)
    if known.taken is None:
        say(f"give it more than {options.minutes:g} minutes, or fewer methods")
        return 1
    report = write_report(known)
    say(f"{report} has the table, the curves and the answers")
    say(f"the adapter is in {known.adapter}" if known.adapter else "there is no adapter yet")
    return 0


def _names(inits: list[str] | None) -> tuple[str, ...] | None:
    """Return names that are separated by spaces or commas."""
    if inits is None:
        return None
    return tuple(name for part in inits for name in part.split(",") if name)

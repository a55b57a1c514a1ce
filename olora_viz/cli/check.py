"""The verb ``check``: what holds on this machine and its device."""

from __future__ import annotations

import argparse

from olora_viz.cli.console import EXIT_FAILED, Verb, add_shared, print_json, print_table, resumable, say
from olora_viz.machine.process import Progress


def add_verbs(verb: Verb) -> None:
    """Add the verb."""
    text = "check in two minutes that races on this machine and its device are right, and tell how fast they are"
    add_shared(verb("check", check, text), "--device")


def check(options: argparse.Namespace) -> int:
    """Run the checks, print a line for each, and keep the result for the page; return 1 if one falls short."""
    from olora_viz.checks.run import Checking
    from olora_viz.machine.devices import resolve_device
    from olora_viz.views.checks import ended, line_rows

    checking = Checking(resolve_device(options.device or "auto"))

    def run(progress: Progress) -> None:
        for line in checking.run(progress):
            if options.json:
                print_json(line)

    resumable(run, then="")
    summary = checking.summary()
    if options.json:
        print_json({"summary": summary})
    else:
        print_table(line_rows(checking.lines))
        print(ended(summary))
    try:
        checking.keep()
    except (OSError, ValueError) as error:  # what was found stands there all the same
        say(f"the page will not show this result: {error}")
    return EXIT_FAILED if checking.falls_short else 0

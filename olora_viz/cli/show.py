"""The verb ``show``: the page, opened on a run folder."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from olora_viz.cli.console import Verb
from olora_viz.cli.options import path

Serve = Callable[[Path, Callable[[str], None]], None]
"""Serves the page on a run folder until it is interrupted; calls back with the page's URL."""


def add_verbs(verb: Verb, serve: Serve) -> None:
    """Add the verb."""
    made = verb("show", partial(show, serve), "open the page on a run")
    made.add_argument("folder", type=path, metavar="DIR", help="a run folder")


def show(serve: Serve, options: argparse.Namespace) -> int:
    """Print the URL of the page, and serve it until Ctrl-C."""
    from olora_viz.races.saved_run import load_run

    load_run(options.folder)  # what is no run is said before the page is loaded

    def ready(url: str) -> None:
        print(json.dumps({"url": url}) if options.json else url, flush=True)
        print("Ctrl-C ends the server", file=sys.stderr)

    serve(options.folder, ready)
    return 0

"""The verbs ``serve`` and ``show``: the pages, and the pages opened on a run folder."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial

from olora_viz.cli.console import Verb, path, say

Serve = Callable[..., None]
"""Serves the pages until it is interrupted, see `web.page.serve`; calls its argument with their URL."""


def add_verbs(verb: Verb, pages: Serve) -> None:
    """Add the verbs; `pages` serves the pages, which the command line itself does not import."""
    parser = verb("serve", partial(serve, pages), "serve the page")
    host = "address to listen on; 0.0.0.0: all of this machine's; default: 127.0.0.1"
    parser.add_argument("--host", metavar="H", help=host)
    parser.add_argument("--port", type=_port, metavar="P", help="default: the first free one from 7860")
    parser.add_argument("--share", action="store_true", help="ask Gradio for a public address")
    parser = verb("show", partial(show, pages), "open the page on a run")
    parser.add_argument("folder", type=path, metavar="DIR", help="a run folder")


def serve(pages: Serve, options: argparse.Namespace) -> int:
    """Print the URL of the page, and serve it until Ctrl-C."""
    pages(partial(_ready, options), host=options.host, port=options.port, share=options.share)
    return 0


def show(pages: Serve, options: argparse.Namespace) -> int:
    """Print the URL of the page opened on a run, and serve it until Ctrl-C."""
    from olora_viz.races.run import load_run

    load_run(options.folder)  # what is no run is said before the page is loaded
    pages(partial(_ready, options), folder=options.folder)
    return 0


def _ready(options: argparse.Namespace, url: str) -> None:
    print(json.dumps({"url": url}) if options.json else url, flush=True)
    say("Ctrl-C ends the server")


def _port(text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) < 2**16):
        raise argparse.ArgumentTypeError(f"a port must be a number from 1 to 65535, not {text!r}")
    return int(text)

"""The verbs ``serve``, ``show`` and ``site``: the pages, the pages opened on a run folder, and pages as files."""

from __future__ import annotations

import argparse
import json
import os
import shlex
from collections.abc import Callable
from functools import partial
from typing import Any

from olora_viz.cli.console import Verb, filled, new_path, path, progress_bar, say
from olora_viz.machine.wording import counted

Serve = Callable[..., None]
"""Serves the pages until it is interrupted, see `web.page.serve`; calls its argument with their URL."""


def add_verbs(verb: Verb, pages: Serve, write: Callable[..., dict[str, Any]]) -> None:
    """Add the verbs; `pages` serves the pages, `write` writes them: the command line itself imports neither."""
    parser = verb("serve", partial(serve, pages), "serve the page")
    parser.epilog = "With OLORA_VIZ_RAY=HOST:PORT what visitors start is computed on that Ray cluster."
    host = "address to listen on; 0.0.0.0: all of this machine's; default: 127.0.0.1"
    parser.add_argument("--host", type=filled, metavar="H", help=host)
    parser.add_argument("--port", type=_port, metavar="P", help="default: the first free one from 7860")
    parser.add_argument("--share", action="store_true", help="ask Gradio for a public address")
    model = "offer the model in a folder on the page Spectrum too, which reads the chosen layer alone; repeatable"
    parser.add_argument("--model", type=path, action="append", default=[], dest="models", metavar="FOLDER", help=model)
    parser = verb("show", partial(show, pages), "serve the page, opened on a run")
    parser.add_argument("folder", type=path, metavar="DIR", help="a run folder")
    parser = verb("site", partial(site, write), "write the lessons, recorded races and claims as static pages")
    parser.add_argument("out", type=new_path, metavar="OUT", help="a new or empty folder, for any file host")
    folders: dict[str, Any] = {"type": path, "nargs": "+", "action": "extend", "default": [], "metavar": "DIR"}
    parser.add_argument("--run", dest="runs", help="folders of finished races of yours", **folders)
    parser.add_argument("--study", dest="studies", help="folders of finished studies", **folders)


def serve(pages: Serve, options: argparse.Namespace) -> int:
    """Print the URL of the page, and serve it until Ctrl-C."""
    where = {"host": options.host, "port": options.port, "share": options.share}
    _check_variables()
    pages(partial(_ready, options), **where, models=options.models)
    return 0


def show(pages: Serve, options: argparse.Namespace) -> int:
    """Print the URL of the page opened on a run, and serve it until Ctrl-C."""
    from olora_viz.races.config import STUDY
    from olora_viz.races.run import load_run

    if (options.folder / STUDY).is_file():
        name = str(options.folder)
        raise ValueError(
            f"{name!r} is a study's folder, not a run's: draw it by study {shlex.quote(name)} --html FILE"
        )
    load_run(options.folder)  # what is no run is said before the page is loaded
    _check_variables()
    pages(partial(_ready, options), folder=options.folder)
    return 0


def site(write: Callable[..., dict[str, Any]], options: argparse.Namespace) -> int:
    """Write the static pages, and print where they are and how large."""
    from olora_viz.machine.memory import bytes_words

    with progress_bar() as progress:
        written = write(options.out, options.runs, options.studies, progress=progress)
    first = options.out / "index.html"
    if options.json:
        print(json.dumps({"out": str(options.out), **written}))
        return 0
    print(f"{counted(written['pages'], 'page')}, {bytes_words(written['bytes'])}: open {first}")
    if not written["documentation"]:
        say("without the documentation, which a clone of the project with mkdocs (its extra docs) builds")
    if not written["live"]:
        say("without races in the browser, which need the library jax-js: run npm ci in a clone, then write it again")
    return 0


def _ready(options: argparse.Namespace, url: str) -> None:
    print(json.dumps({"url": url}) if options.json else url, flush=True)
    say("Ctrl-C ends the server")


def _check_variables() -> None:
    """Check the numbers among Gradio's variables, which it reads when it is loaded; ValueError if one is none."""
    for name, rule in (("GRADIO_SERVER_PORT", "a port, from 1 to 65535"), ("GRADIO_NUM_PORTS", "a number of ports")):
        text = os.environ.get(name, "1")
        if not (text.isdecimal() and 0 < int(text) < 2**16):
            raise ValueError(f"the environment variable {name} must be {rule}, not {text!r}")


def _port(text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) < 2**16):
        raise argparse.ArgumentTypeError(f"a port must be a number from 1 to 65535, not {text!r}")
    return int(text)

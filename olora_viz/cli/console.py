"""Output of the command line: progress and errors on standard error, tables on standard output."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from olora_viz.machine.process import Progress

FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130
"""The exit codes other than 0: an unexpected error, or no result; invalid input; stopped by Ctrl-C or SIGTERM."""

SAVES_MEMORY = {
    "batch_size": "--batch-size", "max_length": "--max-length", "lane": "the number of lanes",
    "rank": "--rank", "ranks": "--r", "workers": "--workers",
}  # fmt: skip
"""What to lower where memory is short, by the attribute of the option."""

Verb = Callable[..., argparse.ArgumentParser]
"""Adds a verb with its name, the function that runs it and one line of help; returns its parser."""


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


def say(*words: object) -> None:
    """Print on standard error, at once."""
    print(*words, file=sys.stderr, flush=True)


def print_json(values: Any) -> None:
    """Print one JSON object as a line, at once."""
    print(json.dumps(values, allow_nan=False), flush=True)


def save_charts(file: Path, figures: Sequence[Any], what: str = "charts") -> None:
    """Save figures as a PNG, and say so."""
    from olora_viz.figures.png import write_png

    write_png(file, figures)
    say(f"{what} saved to {file}")


def print_table(rows: list[list[str]]) -> None:
    """Print rows of cells in columns, the header first."""
    from olora_viz.machine.text import aligned

    print("\n".join(aligned(rows)))


def out_of_memory(options: argparse.Namespace) -> str:
    """Return a sentence on what to lower among a verb's options."""
    *others, last = ["", *(words for name, words in SAVES_MEMORY.items() if hasattr(options, name))]
    lower = f"{', '.join(others[1:])} or {last}" if others[1:] else last
    advice = f"lower {lower}, or " if lower else ""
    return f"out of memory: {advice}use a smaller model"


def unexpected(error: Exception, arguments: Sequence[str]) -> str:
    """Return a sentence on an error that nobody has foreseen, and log it for a report.

    Args:
        arguments: of the command line.
    """
    from olora_viz.machine.files import reason

    why = f": {reason(error)}" if str(error).strip() else ""
    place = _log(error, arguments)
    report = f" with the log {str(place)!r}" if place else ""
    return f"unexpected {type(error).__name__}{why}; please report it{report}"


def _log(error: Exception, arguments: Sequence[str]) -> Path | None:
    """Write the traceback into the cache folder, or a temporary one; None if neither takes it."""
    from olora_viz.machine.files import cache_folder, write_text
    from olora_viz.machine.version import versions

    packages = versions("torch", "transformers", "safetensors")
    lines = [
        f"python -m olora_viz {shlex.join(arguments)}",
        platform.platform(),
        *map(" ".join, packages.items()),
        "".join(traceback.format_exception(error)),
    ]
    for folder in (cache_folder, lambda: Path(tempfile.mkdtemp(prefix="olora-viz-error-"))):
        with suppress(OSError, ValueError):  # of the cache folder
            path = folder() / f"error-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
            write_text(path, "\n".join(lines))
            return path
    return None

"""Output of the command line: progress on standard error, tables on standard output."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from olora_viz.machine.progress import Progress

BAD_INPUT = 2
INTERRUPTED = 130
"""The exit codes other than 0: invalid input; stopped by Ctrl-C or SIGTERM."""

Verb = Callable[..., argparse.ArgumentParser]
"""Adds a verb with its name, the function that runs it and one line of help; returns its parser."""


@contextmanager
def progress_bar() -> Generator[Progress]:
    """Show the progress of loading on standard error."""
    from tqdm import tqdm

    form = "{desc}: {percentage:3.0f}% |{bar}|"
    # Only in a terminal: a log needs the error that may follow, not the bar.
    with tqdm(total=1.0, bar_format=form, file=sys.stderr, leave=False, disable=None) as bar:

        def show(fraction: float, text: str) -> None:
            bar.set_description_str(text, refresh=False)
            if fraction < bar.n:  # the next task begins
                bar.reset()
            bar.update(fraction - bar.n)

        yield show


def print_table(rows: list[list[str]]) -> None:
    """Print rows of cells in columns, the header first."""
    from olora_viz.machine.showing import aligned

    print("\n".join(aligned(rows)))

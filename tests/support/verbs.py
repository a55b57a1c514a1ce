"""Verbs of the command line, run as a person does or, quicker, by their entry point."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TextIO

from reliability.victims import Say, Victim, victim

from olora_viz.__main__ import main


def run_alone(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a verb as a person does, in a process of its own."""
    command = [sys.executable, "-m", "olora_viz", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a verb here, which saves the seconds that a process needs to load its libraries."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main(arguments)
        except SystemExit as end:  # how argparse leaves
            code = end.code
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


@contextmanager
def forked(*arguments: str, temporary: Path) -> Iterator[tuple[Victim, TextIO]]:
    """Run a verb in a fork of this process, which has loaded the libraries, to be killed.

    Args:
        temporary: its temporary folder.

    Yields:
        The process, whose lines are what it writes to standard error, and its standard output.
    """
    reading, writing = os.pipe()

    def verb(say: Say) -> None:
        os.close(reading)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        said = io.StringIO()
        out = os.fdopen(writing, "w", encoding="utf-8")
        with out, redirect_stdout(out), redirect_stderr(said):
            code = main(arguments)
        say(said.getvalue())
        os._exit(code)

    with victim(verb, temporary) as process:
        os.close(writing)
        with open(reading, encoding="utf-8") as out:
            yield process, out


def resident() -> int:
    """Return the bytes of memory that this process holds."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def below(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that they have."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if fields[0] != "Z":
            parents[int(stat.parent.name)] = int(fields[1])
    its = [child for child, parent in parents.items() if parent == pid]
    return its + [each for child in its for each in below(child)]


RACE = ("race", "--steps", "4", "--batch-size", "4", "--eval-every", "2", "--eval-size", "8", "--test-size", "8")


def objects(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]

"""Verbs of the command line, run as a person does or, quicker, by their entry point."""

import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout

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


RACE = ("race", "--steps", "4", "--batch-size", "4", "--eval-every", "2", "--eval-size", "8")


def objects(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]

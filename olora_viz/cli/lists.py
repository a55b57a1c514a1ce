"""The verbs ``models``, ``tasks`` and ``initializers``: lists of known names."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from typing import Any

from olora_viz.cli.console import Verb, print_table


def add_verbs(verb: Verb) -> None:
    """Add the three verbs."""
    verb("models", list_models, "list the named models")
    verb("tasks", list_tasks, "list the named tasks")
    verb("initializers", list_initializers, "list the initializations of an adapter")


def list_models(options: argparse.Namespace) -> int:
    """List the models, with their size and what they need."""
    from olora_viz.models import MODELS

    columns = ("name", "parameters", "context", "offline", "license", "summary")
    return _list(options, columns, MODELS.values())


def list_tasks(options: argparse.Namespace) -> int:
    """List the tasks, with an example of each."""
    from olora_viz.tasks import TASKS

    return _list(options, ("name", "offline", "prompt", "answer", "summary"), TASKS.values())


def list_initializers(options: argparse.Namespace) -> int:
    """List the initializations, with their sources."""
    from olora_viz.initializers import INITIALIZERS

    return _list(options, ("name", "label", "source", "summary"), INITIALIZERS.values())


def _list(options: argparse.Namespace, columns: tuple[str, ...], entries: Iterable[Any]) -> int:
    """Print attributes of entries as JSON lines, or as a table whose last column may be long."""
    rows = [{name: getattr(entry, name) for name in columns} for entry in entries]
    if options.json:
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
    else:
        print_table([list(columns), *([_cell(value) for value in row.values()] for row in rows)])
    return 0


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return repr(value) if isinstance(value, str) and value != value.strip() else str(value)

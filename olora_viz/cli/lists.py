"""The verbs ``models``, ``tasks``, ``initializers`` and ``recipes``: lists of known names."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from olora_viz.cli.console import Verb, print_table, say
from olora_viz.lanes.recipes import READ_ON
from olora_viz.machine.wording import compact


def add_verbs(verb: Verb) -> None:
    """Add the four verbs."""
    verb("models", models, "list the named models")
    verb("tasks", tasks, "list the named tasks")
    verb("initializers", initializers, "list the initializations of an adapter").add_argument(
        "--table", action="store_true", help="print what each needs and costs, and where it works"
    )
    verb("recipes", recipes, "list the defaults of toolkits, each of which is a lane, as in --lane recipe:peft")


def models(options: argparse.Namespace) -> int:
    """List the models."""
    from olora_viz.models import MODELS

    return _list(MODELS, ("name", "parameters", "context", "offline", "license", "summary"), options)


def tasks(options: argparse.Namespace) -> int:
    """List the tasks."""
    from olora_viz.tasks import TASKS

    return _list(TASKS, ("name", "offline", "prompt", "answer", "summary"), options)


def initializers(options: argparse.Namespace) -> int:
    """List the initializations."""
    from olora_viz.initializers import INITIALIZERS

    if options.table:
        from olora_viz.checks.trials import COLUMNS, rows

        return _print(COLUMNS, [dict(zip(COLUMNS, row, strict=True)) for row in rows()], options)
    return _list(INITIALIZERS, ("name", "label", "source", "summary"), options)


def recipes(options: argparse.Namespace) -> int:
    """List the recipes; in JSON with their sources."""
    from dataclasses import fields

    from olora_viz.lanes.recipes import OF_A_LANE, RECIPES, Recipe

    columns = ("name", "r", "alpha", "lr", "dropout", "weight_decay", "clip", "schedule", "warm_up", "optimizer")
    columns += ("batch_size", "length", "targets")
    names = tuple(field.name for field in fields(Recipe))
    _list(RECIPES, names if options.json else columns, options)
    if not options.json:
        say(
            f"a lane takes {', '.join(OF_A_LANE[1:])}; its optimizer is AdamW, and batch size and length are "
            f"the race's. As the toolkits' sources were on {READ_ON}: --json has their addresses"
        )
    return 0


def _list(catalogue: Mapping[str, Any], columns: tuple[str, ...], options: argparse.Namespace) -> int:
    """Print attributes of entries."""
    rows = [{name: getattr(entry, name) for name in columns} for entry in catalogue.values()]
    return _print(columns, rows, options)


def _print(columns: tuple[str, ...], rows: list[dict[str, Any]], options: argparse.Namespace) -> int:
    """Print rows as JSON lines, or as a table whose last column may be long."""
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
    if isinstance(value, float):
        return compact(value) if 0 < value < 0.01 else f"{value:g}"
    if value is None or isinstance(value, tuple):
        return "+".join(value or ("–",))
    return repr(value) if isinstance(value, str) and value != value.strip() else str(value)

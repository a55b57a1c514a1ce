"""The verb ``export``: one lane of a run, as an adapter or a whole model."""

from __future__ import annotations

import argparse
import json
import sys

from olora_viz.cli.console import Verb, progress_bar
from olora_viz.cli.options import path


def add_verbs(verb: Verb) -> None:
    """Add the verb."""
    made = verb("export", export, "write one lane of a run as an adapter or a whole model")
    made.add_argument("folder", type=path, metavar="DIR", help="a run folder")
    made.add_argument("--lane", required=True, metavar="NAME", help="label of the lane")
    made.add_argument("--out", type=path, required=True, metavar="FOLDER", help="a new folder")
    made.add_argument(
        "--form", choices=("lora", "olora", "merged"), default="lora", help="default: lora"
    )


def export(options: argparse.Namespace) -> int:
    """Write one lane into a new folder, in the requested form, and read it back."""
    from olora_viz.machine.files import is_free
    from olora_viz.machine.naming import unknown
    from olora_viz.races import run as runs
    from olora_viz.races.exporting import export_lane

    labels = runs.read_config(options.folder).labels
    if options.lane not in labels:
        raise ValueError(unknown("lane", options.lane, labels))
    out = options.out.resolve()
    if not is_free(out):
        raise ValueError(f"--out {str(options.out)!r} must be new or empty")
    with progress_bar() as progress:
        race = runs.restored(options.folder, progress=progress)
    made = export_lane(race, labels.index(options.lane), out, options.form)
    where = str(options.out)
    written = {
        "lane": made.label, "form": made.form, "out": where, "steps": race.done,
        "read_back": made.found.to_json(),
    }  # fmt: skip
    print(json.dumps(written) if options.json else f"{made.label} written to {where}")
    print(made.found.sentence, file=sys.stderr)
    return 0

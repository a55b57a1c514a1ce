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
    from olora_viz.lanes.merged_format import write_merged
    from olora_viz.lanes.peft_format import write_peft
    from olora_viz.lanes.read_back import read_back, read_back_merged
    from olora_viz.machine.files import is_free, write_text
    from olora_viz.machine.naming import unknown
    from olora_viz.races import run as runs
    from olora_viz.races.model_card import model_card

    labels = runs.read_config(options.folder).labels
    if options.lane not in labels:
        raise ValueError(unknown("lane", options.lane, labels))
    out = options.out.resolve()
    if not is_free(out):
        raise ValueError(f"--out {str(options.out)!r} must be new or empty")
    with progress_bar() as progress:
        race = runs.restored(options.folder, progress=progress)
    k = labels.index(options.lane)
    if options.form == "merged":
        write_merged(race.lanes, k, race.tokenizer, out)
        found = read_back_merged(race.lanes, k, out)
    else:
        write_peft(race.lanes, k, out, form=options.form)
        found = read_back(race.lanes, k, out)
        write_text(out / "README.md", model_card(race.config, k, race.summary()))
    where = str(options.out)
    written = {
        "lane": options.lane, "form": options.form, "out": where, "steps": race.done,
        "read_back": found.to_json(),
    }  # fmt: skip
    print(json.dumps(written) if options.json else f"{options.lane} written to {where}")
    print(found.sentence, file=sys.stderr)
    return 0

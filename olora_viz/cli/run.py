"""The verbs on what a run has left: export, push, inspect."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from olora_viz.cli.console import Verb, print_table, progress_bar
from olora_viz.cli.options import add_shared, path
from olora_viz.machine.text import number, percent

if TYPE_CHECKING:
    from olora_viz.measures.inspection import LayerComparison, LayerInspection


def _add_export(verb: Verb) -> None:
    """Add the verb."""
    made = verb("export", export, "write one lane of a run as an adapter or a whole model")
    made.add_argument("folder", type=path, metavar="DIR", help="a run folder")
    made.add_argument("--lane", required=True, metavar="NAME", help="label of the lane")
    made.add_argument("--out", type=path, required=True, metavar="FOLDER", help="a new folder")
    made.add_argument("--form", choices=("lora", "olora", "merged"), default="lora", help="default: lora")


def export(options: argparse.Namespace) -> int:
    """Write one lane into a new folder, in the requested form, and read it back."""
    from olora_viz.machine.files import is_free
    from olora_viz.machine.text import unknown
    from olora_viz.races import run as runs
    from olora_viz.races.export import export_lane

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


def _add_push(verb: Verb) -> None:
    """Add the verb."""
    made = verb("push", push, "push an adapter to the Hugging Face hub, with a model card")
    made.add_argument("folder", type=path, metavar="DIR", help="a run folder, or an adapter's own")
    made.add_argument("--repo", required=True, metavar="OWNER/NAME", help="the repository")
    made.add_argument("--lane", metavar="NAME", help="label of the lane, for a run folder")
    made.add_argument("--private", action="store_true", help="make a new repository private")
    made.add_argument("--dry-run", action="store_true", help="list the files that would be pushed, and push none")


def push(options: argparse.Namespace) -> int:
    """Push the files of one adapter, or list them."""
    from olora_viz.races import pushing

    pushing.check_repo(options.repo)
    files = pushing.files_to_push(options.folder, options.lane)
    sizes = {name: len(content) for name, content in files.items()}
    told: dict[str, object] = {"repo": options.repo, "files": sizes}
    if not options.dry_run:
        told["url"] = pushing.push(files, options.repo, private=options.private)
    if options.json:
        print(json.dumps(told))
        return 0
    for name, size in sizes.items():
        print(f"{name}  {size:,} bytes")
    print(f"pushed to {told['url']}" if "url" in told else f"would be pushed to {options.repo}")
    return 0


def _add_inspect(verb: Verb) -> None:
    """Add the verb."""
    made = verb("inspect", run_inspect, "how a PEFT adapter changes its base model")
    made.add_argument("folder", type=path, metavar="FOLDER", help="with adapter_model.safetensors")
    made.add_argument(
        "other", nargs="?", type=path, metavar="OTHER", help="another adapter of the same model, to compare with"
    )
    add_shared(made, "--model", "--png")
    made.add_argument("--html", type=path, metavar="FILE", help="write a self-contained report")


def run_inspect(options: argparse.Namespace) -> int:
    """Measure one adapter or compare two, by layer: a table, JSON lines, a report, a picture."""
    from olora_viz.figures.layers import adapter_map
    from olora_viz.lanes.stored_adapter import read_adapter
    from olora_viz.machine.files import write_text
    from olora_viz.measures.inspection import common_base, compared, inspected
    from olora_viz.models import load_model
    from olora_viz.views.reports import adapter_page, comparison_page

    folder, other = options.folder, options.other
    folders = [folder, *([other] if other else [])]
    adapters = [read_adapter(each) for each in folders]
    base = options.model or common_base(folders)
    notes = [f"{adapter.folder}: {adapter.left_out}" for adapter in adapters if adapter.left_out]
    with progress_bar() as progress:
        model, _ = load_model(base, progress=progress)
        if other:
            both = compared(model, *adapters, progress=progress)
            lines = [one.to_json() for one in both]
            show = partial(_print_comparison, both, folder, other)
            draw = partial(comparison_page, folder, other, base, both, notes)
            sides = [one.first for one in both], [one.second for one in both]
            maps = [
                adapter_map([one for one in side if one], f"What {name} changes")
                for name, side in zip(folders, sides, strict=True)
            ]
        else:
            found = inspected(model, *adapters, progress=progress)
            lines = [one.to_json() for one in found]
            show, draw = partial(_print, found), partial(adapter_page, folder, base, found, notes)
            maps = [adapter_map(found)]
    for note in notes:
        print(note, file=sys.stderr)
    if options.json:
        for line in lines:
            print(json.dumps(line, allow_nan=False))
    else:
        show()
    if options.html:
        write_text(options.html, draw())
        print(f"report written to {options.html}", file=sys.stderr)
    if options.png:
        from olora_viz.figures.png import write_png

        write_png(options.png, maps)
        print(f"charts saved to {options.png}", file=sys.stderr)
    return 0


def _print(found: Sequence[LayerInspection]) -> None:
    from olora_viz.measures.inspection import DORA, total_norm

    dora = any(one.magnitude_change is not None for one in found)
    head = ["layer", "rank", "effective rank", "σ₁", "‖ΔW‖", "‖ΔW‖/‖W‖"]
    rows = [[*head, *["‖sBA‖", "Δm/m"] * dora, "intruders"]]
    for one in found:
        rows.append(
            [
                one.layer,
                str(one.rank),
                f"{one.effective_rank:.2f}",
                f"{one.sigma[0]:.3g}",
                f"{one.norm:.3g}",
                percent(one.relative_norm, 2),
                *[number(one.direction_norm), percent(one.magnitude_change or 0.0, 2)] * dora,
                f"{one.intruders} of {len(one.similarity)}",
            ]
        )
    print_table(rows)
    if dora:
        print(DORA)
    count = sum(one.intruders > 0 for one in found)
    print(f"‖ΔW‖ over all layers: {total_norm(found):.4g}; intruder dimensions in {count} of {len(found)} layers")


def _print_comparison(found: Sequence[LayerComparison], first: Path, second: Path) -> None:
    from olora_viz.views.reports import COMPARED, comparison_cells, comparison_words

    print_table([list(COMPARED), *map(comparison_cells, found)])
    print(f"1: {first}; 2: {second}")
    for words in comparison_words(found):
        print(words)


def add_verbs(verb: Verb) -> None:
    """Add the verbs."""
    _add_export(verb)
    _add_push(verb)
    _add_inspect(verb)

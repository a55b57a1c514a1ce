"""The verb ``inspect``: what any PEFT adapter does to its base model, or how two of them agree."""

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
from olora_viz.machine.numbers import number, percent

if TYPE_CHECKING:
    from olora_viz.measures.inspection import LayerComparison, LayerInspection


def add_verbs(verb: Verb) -> None:
    """Add the verb."""
    made = verb("inspect", run_inspect, "how a PEFT adapter changes its base model")
    made.add_argument("folder", type=path, metavar="FOLDER", help="with adapter_model.safetensors")
    made.add_argument(
        "other", nargs="?", type=path, metavar="OTHER",
        help="another adapter of the same model, to compare with",
    )  # fmt: skip
    add_shared(made, "--model", "--png")
    made.add_argument("--html", type=path, metavar="FILE", help="write a self-contained report")


def run_inspect(options: argparse.Namespace) -> int:
    """Measure one adapter or compare two, by layer: a table, JSON lines, a report, a picture."""
    from olora_viz.figures.layer_grid import adapter_map
    from olora_viz.lanes.stored_adapter import read_adapter
    from olora_viz.machine.files import write_text
    from olora_viz.measures.inspection import common_base, compared, inspected
    from olora_viz.models import load_model
    from olora_viz.views.inspection import comparison_page, page

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
            show, draw = partial(_print, found), partial(page, folder, base, found, notes)
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
    print(
        f"‖ΔW‖ over all layers: {total_norm(found):.4g}; "
        f"intruder dimensions in {count} of {len(found)} layers"
    )


def _print_comparison(found: Sequence[LayerComparison], first: Path, second: Path) -> None:
    from olora_viz.views.inspection import COMPARED, comparison_cells, comparison_words

    print_table([list(COMPARED), *map(comparison_cells, found)])
    print(f"1: {first}; 2: {second}")
    for words in comparison_words(found):
        print(words)

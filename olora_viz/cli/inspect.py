"""The verb ``inspect``: what any PEFT adapter does to its base model."""

from __future__ import annotations

import argparse
import json
import sys

from olora_viz.cli.console import Verb, print_table, progress_bar
from olora_viz.cli.options import add_shared, path
from olora_viz.machine.numbers import percent


def add_verbs(verb: Verb) -> None:
    """Add the verb."""
    made = verb("inspect", run_inspect, "how a PEFT adapter changes its base model")
    made.add_argument("folder", type=path, metavar="FOLDER", help="with adapter_model.safetensors")
    add_shared(made, "--model", "--png")
    made.add_argument("--html", type=path, metavar="FILE", help="write a self-contained report")


def run_inspect(options: argparse.Namespace) -> int:
    """Measure an adapter layer by layer: a table, JSON lines, a report, a picture."""
    from olora_viz.measures.inspection import base_of, inspect_adapter, total_norm
    from olora_viz.models import load_model

    base = options.model or base_of(options.folder)
    with progress_bar() as progress:
        model, _ = load_model(base, progress=progress)
        found = inspect_adapter(model, options.folder, progress=progress)
    if options.json:
        for one in found:
            print(json.dumps(one.to_json(), allow_nan=False))
    else:
        rows = [["layer", "rank", "effective rank", "σ₁", "‖ΔW‖", "‖ΔW‖/‖W‖", "intruders"]]
        for one in found:
            rows.append(
                [
                    one.layer,
                    str(one.rank),
                    f"{one.effective_rank:.2f}",
                    f"{one.sigma[0]:.3g}",
                    f"{one.norm:.3g}",
                    percent(one.relative_norm, 2),
                    f"{one.intruders} of {len(one.similarity)}",
                ]
            )
        print_table(rows)
        count = sum(one.intruders > 0 for one in found)
        print(
            f"‖ΔW‖ over all layers: {total_norm(found):.4g}; "
            f"intruder dimensions in {count} of {len(found)} layers"
        )
    if options.html:
        from olora_viz.views.inspection import write_report

        write_report(options.html, options.folder, base, found)
        print(f"report written to {options.html}", file=sys.stderr)
    if options.png:
        from olora_viz.figures.layer_grid import adapter_map
        from olora_viz.figures.png import write_png

        write_png(options.png, [adapter_map(found)])
        print(f"adapter saved to {options.png}", file=sys.stderr)
    return 0

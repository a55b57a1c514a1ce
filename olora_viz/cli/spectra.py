"""The verbs ``spectrum`` and ``inspect`` of the command line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from olora_viz.cli.console import print_table, progress_bar

STARTS = ("pissa", "olora", "olora_pivoted", "sketch", "random_orthonormal")
"""What ``spectrum`` compares where nobody says what."""


def add_verbs(verb: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the two verbs; `verb` makes a parser of a name, a function and a text."""
    spectrum = verb("spectrum", run_spectrum, "what a start takes of a model's weights")
    spectrum.add_argument("--model", default="glassllm", help="default: glassllm")
    spectrum.add_argument(
        "--layer", default="*", metavar="PATTERN", help="parts of a layer's name; * stands for any"
    )
    spectrum.add_argument("--rank", type=int, default=8, help="default: 8")
    spectrum.add_argument(
        "--init", action="append", metavar="NAME", help=f"default: {', '.join(STARTS)}"
    )
    spectrum.add_argument("--seed", type=int, default=0, help="of the starts that are random")
    spectrum.add_argument("--png", metavar="FILE", help="draw the first layer's spectra")

    inspect = verb("inspect", run_inspect, "what a PEFT adapter does to its base model")
    inspect.add_argument("folder", metavar="FOLDER", help="with adapter_model.safetensors")
    inspect.add_argument("--model", help="the base, where the adapter does not say it")
    inspect.add_argument("--html", metavar="FILE", help="write a report that stands alone")
    inspect.add_argument("--png", metavar="FILE", help="draw the adapter, layer by layer")


def run_spectrum(options: argparse.Namespace) -> int:
    """Compare layers with starts: a table, JSON lines, a picture."""
    from olora_viz.measures.layer_spectra import to_json, truncations
    from olora_viz.models import load_model

    rows = [["layer", "start", "σ₁(W)", "σ₁(BA)", "energy", "of best", "bounded", "subset"]]
    first = []
    with progress_bar() as progress:
        model, _ = load_model(options.model, progress=progress)
        found = truncations(
            model,
            options.layer,
            options.rank,
            tuple(dict.fromkeys(options.init or STARTS)),
            seed=options.seed,
            progress=progress,
        )
        for layer, one in found:
            if not first or first[0][0] == layer:
                first.append((layer, one))
            if options.json:
                print(json.dumps(to_json(layer, one), allow_nan=False), flush=True)
            rows.append(
                [
                    layer,
                    one.init,
                    f"{one.sigma_W[0]:.3f}",
                    f"{one.sigma_BA[0]:.3f}",
                    f"{one.energy:.1%}",
                    f"{one.energy / one.energy_optimal:.0%}",
                    "yes" if one.bounded else "no",
                    "yes" if one.subset else f"no, off by {one.distance[one.worst]:.2g}",
                ]
            )
    if not options.json:
        print_table(rows)
        kept = [one.energy_random for _, one in first[:1]]
        print(
            f"rank {options.rank}; a random orthonormal basis captures {kept[0]:.1%} of the first "
            "layer on average"
        )
    if options.png:
        _draw_spectrum(options.png, first)
    return 0


def _draw_spectrum(path: str, first: list[tuple[str, Any]]) -> None:
    from olora_viz.figures.png import write_png
    from olora_viz.figures.spectrum import angles_figure, energy_figure, singular_values_figure
    from olora_viz.measures.layer_spectra import energies, energy_ranks
    from olora_viz.measures.spectra import optimal_energy

    found = [one for _, one in first]
    weight, layer = found[0].weight, first[0][0]
    ranks = energy_ranks(len(weight.sigma), max(32, 4 * found[0].rank))
    curves = {one.init: energies(weight, one.init, ranks) for one in found if one.init != "pissa"}
    best = [optimal_energy(weight.sigma, r) for r in ranks]
    figures = [
        singular_values_figure(found),
        energy_figure(ranks, curves, best, weight.W.shape[0], found[0].rank),
        angles_figure(found),
    ]
    figures[0]["layout"]["meta"]["title"] += f" of {layer}"
    write_png(path, figures)
    print(f"{layer} drawn into {path}", file=sys.stderr)


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
                    f"{one.relative_norm:.2%}",
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
        from olora_viz.figures.report import write_report

        write_report(Path(options.html), options.folder, base, found)
        print(f"report written to {options.html}", file=sys.stderr)
    if options.png:
        from olora_viz.figures.png import write_png
        from olora_viz.figures.spectrum import adapter_map

        write_png(options.png, [adapter_map(found)])
        print(f"adapter drawn into {options.png}", file=sys.stderr)
    return 0

"""The verb ``spectrum``: how starts approximate a model's weights."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from olora_viz.cli.console import Verb, print_table, progress_bar
from olora_viz.cli.options import add_shared
from olora_viz.machine.numbers import percent

STARTS = ("pissa", "olora", "olora_pivoted", "sketch", "random_orthonormal")
"""The starts that are compared by default."""


def add_verbs(verb: Verb) -> None:
    """Add the verb."""
    made = verb("spectrum", run_spectrum, "how initializations approximate a model's weights")
    add_shared(made, "--model", "--png", model="glassllm")
    made.add_argument(
        "--layer", default="*", metavar="PATTERN", help="parts of layer names; * matches anything"
    )
    made.add_argument("--rank", type=int, default=8, help="default: 8")
    made.add_argument(
        "--init", action="append", metavar="NAME", help=f"default: {', '.join(STARTS)}"
    )
    made.add_argument("--seed", type=int, default=0, help="seed of the random initializations")


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
                    percent(one.energy, 1),
                    percent(one.energy / one.energy_optimal),
                    "yes" if one.bounded else "no",
                    "yes" if one.subset else f"no, off by {one.distance[one.worst]:.2g}",
                ]
            )
    if not options.json:
        print_table(rows)
        kept = [one.energy_random for _, one in first[:1]]
        print(
            f"rank {options.rank}; a random orthonormal basis captures {percent(kept[0], 1)} of "
            "the first layer on average"
        )
    if options.png:
        _draw_spectrum(options.png, first)
    return 0


def _draw_spectrum(path: Path, first: list[tuple[str, Any]]) -> None:
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
    print(f"{layer} saved to {path}", file=sys.stderr)

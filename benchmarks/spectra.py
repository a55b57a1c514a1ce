"""The paper's claim about singular values on every q, v and down projection of a model.

For each kind of layer and each rank: in how many layers σ(Q_rR_r) is bounded by σ(W), in how many it is a subset of
it, how far the worst value is off, and the energy that OLoRA keeps, as a share of what the best matrix of the rank
keeps, beside pivoted QR, a sketch of W and a random basis.

    python benchmarks/spectra.py [--model smollm2-135m] [--ranks 8 32 128] [--json]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

import numpy as np

from olora_viz.cli.console import print_table, progress_bar
from olora_viz.measures.truncation import Truncation, layers_like, truncations
from olora_viz.models import load_model

KINDS = ("q_proj", "v_proj", "down_proj")
RANKS = (8, 32, 128)
STARTS = ("olora", "olora_pivoted", "sketch", "random_orthonormal")


def summary(kind: str, rank: int, found: Sequence[Truncation]) -> dict:
    """Put the layers of one kind, at one rank, into one row."""
    by_start = {init: [one for one in found if one.init == init] for init in STARTS}
    olora = by_start["olora"]
    off = [float(one.distance[one.worst] / one.sigma_BA[one.worst]) for one in olora]
    return {
        "layers": kind,
        "rank": rank,
        "count": len(olora),
        "bounded": sum(one.bounded for one in olora),
        "subset": sum(one.subset for one in olora),
        "worst_off": max(off),
        "first": float(np.mean([one.sigma_BA[0] / one.sigma_W[0] for one in olora])),
        "optimum": float(np.mean([one.energy_optimal for one in olora])),
        **{init: float(np.mean([one.energy / one.energy_optimal for one in each])) for init, each in by_start.items()},
        "random_expected": float(np.mean([one.energy_random / one.energy_optimal for one in olora])),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--ranks", type=int, nargs="+", help="default: those of 8, 32 and 128 that fit the layers")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    with progress_bar() as progress:
        model, _ = load_model(options.model, progress=progress)
        weights = [W for kind in KINDS for W in layers_like(model, kind).values()]
        highest = min(min(W.shape) for W in weights)
        ranks = options.ranks or [rank for rank in RANKS if rank <= highest]
        for kind in KINDS:
            for rank in ranks:
                found = truncations(model, kind, rank, STARTS, progress=progress)
                rows.append(summary(kind, rank, [one for _, one in found]))
    if options.json:
        for row in rows:
            print(json.dumps(row))
        return
    shares = ("first", "worst_off", "optimum", *STARTS, "random_expected")
    table = [[*rows[0]]]
    for row in rows:
        table.append([f"{v:.1%}" if k in shares else str(v) for k, v in row.items()])
    print_table(table)


if __name__ == "__main__":
    main()

"""The verb ``curvature``: curvature of the loss at initialization."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from olora_viz.cli.console import Verb, print_table, progress_bar
from olora_viz.cli.options import add_compared_lanes, add_shared, compared
from olora_viz.machine.numbers import number


def add_verbs(verb: Verb) -> None:
    """Add the verb."""
    made = verb("curvature", run_curvature, "curvature of the loss at initialization")
    add_shared(made, "--model", "--task")
    add_compared_lanes(made)
    add_shared(
        made, "--batch-size", "--max-length", "--seed", "--split-seed", "--device", "--dtype",
        "--png", dtype="float32",
    )  # fmt: skip
    made.add_argument("--layer", metavar="NAME", help="measure only this layer's parameters")
    made.add_argument(
        "--batches", type=int, metavar="N", dest="kernel_batches",
        help="measure the condition of the tangent kernel on the first N batches; default: 5",
    )  # fmt: skip
    made.add_argument("--iterations", type=int, help="maximum products for the eigenvalues")
    made.add_argument("--probes", type=int, help="random vectors for the trace; 0 skips it")


def run_curvature(options: argparse.Namespace) -> int:
    """Measure lanes at their start: a table, JSON lines, a picture."""
    from olora_viz.measures.conditioning import BATCHES, conditioning
    from olora_viz.races.race import race
    from olora_viz.studies.conditioned import compared_conditions

    config = compared(options, eval_size=1)
    search: dict[str, Any] = {}
    if options.iterations is not None:
        if options.iterations < 1:
            raise ValueError(f"iterations must be at least 1, not {options.iterations}")
        search["steps"] = options.iterations
    if options.probes is not None:
        search["probes"] = options.probes
    count = BATCHES if options.kernel_batches is None else options.kernel_batches
    if count < 1:
        raise ValueError(f"batches must be at least 1, not {count}")
    with progress_bar() as progress:
        racing = race(config, progress=progress)
        batch, *more = (racing.batch(number) for number in range(1, count + 1))
        found = conditioning(
            racing.lanes, batch, more_batches=more, layer=options.layer, progress=progress, **search
        )
    print(racing.adapted, file=sys.stderr)
    labels = racing.lanes.labels
    lines = [{"lane": label, **line} for label, line in found.to_json(labels).items()]
    if options.json:
        for line in lines:
            print(json.dumps(line, allow_nan=False))
    else:
        _print(lines)
        for k, label in enumerate(labels[1:], start=1):
            print(compared_conditions(found.conditions, k, 0, label, labels[0]))
    if options.png:
        from olora_viz.figures.conditioning import comparison_figure, ntk_figure
        from olora_viz.figures.png import write_png
        from olora_viz.figures.theme import lane_styles

        its = lane_styles(racing.config.lanes)
        write_png(options.png, [comparison_figure(its, found), ntk_figure(its, found)])
        print(f"comparison saved to {options.png}", file=sys.stderr)
    return 0


def _print(lines: list[dict[str, Any]]) -> None:
    rows = [["lane", "‖∇‖", "λ_max", "λ_min", "trace", "λ_max of GN", "NTK condition", ""]]
    for line in lines:
        rows.append(
            [
                line["lane"],
                number(line["grad_norm"]),
                f"{number(line['lambda_max'])} ± {number(line['residual'], '.1g')}",
                f"{number(line['lambda_min'])} ± {number(line['residual_min'], '.1g')}",
                f"{number(line['trace'])} ± {number(line['trace_error'], '.1g')}",
                number(line["gauss_newton"]["lambda_max"]),
                _spread(line["ntk"]),
                f"{'converged' if line['converged'] else 'not converged'} after "
                f"{line['iterations']} products"
                if line["lambda_max"] is not None
                else "no eigenvalues: the loss is not finite",
            ]
        )
    print_table(rows)
    print(
        "λ and trace are the Hessian's, ± residual and standard error; GN: the Gauss-Newton "
        "matrix; NTK condition: median and range over the batches"
    )
    first = lines[0]
    for line in lines[1:]:
        if line["lambda_max"] and first["lambda_max"]:
            ratio = line["lambda_max"] / first["lambda_max"]
            print(f"λ_max of {line['lane']} is {ratio:.3g} times that of {first['lane']}")


def _spread(kernel: dict[str, Any]) -> str:
    """Return the median of a lane's conditions, with their range if there are several."""
    median = number(kernel["condition_median"])
    if len(kernel["conditions"]) == 1:
        return median
    return f"{median} ({' to '.join(map(number, kernel['condition_range']))})"

"""The verb ``curvature`` of the command line."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from typing import Any

from olora_viz.cli.console import print_table, progress_bar

LANES = ("lora", "olora")
"""What is compared where nobody says what."""


def add_verbs(verb: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the verb; `verb` makes a parser of a name, a function and a text."""
    made = verb("curvature", run_curvature, "how curved the loss is where lanes start")
    made.add_argument("--model", default="glassllm", help="default: glassllm")
    made.add_argument("--task", default="number-words", help="default: number-words")
    made.add_argument(
        "--lane", action="append", metavar="SPEC", help=f"default: {', '.join(LANES)}"
    )
    made.add_argument("--batch-size", type=int, default=16, help="prompts; default: 16")
    made.add_argument("--max-length", type=int, help="leave out examples of more tokens")
    made.add_argument("--seed", type=int, default=0, help="of the task and of its order")
    made.add_argument("--layer", metavar="NAME", help="over this layer's parameters alone")
    made.add_argument("--iterations", type=int, help="most products for the eigenvalues")
    made.add_argument("--probes", type=int, help="random vectors for a trace; 0 leaves it out")
    made.add_argument("--device", default="auto", help="auto, cpu or cuda")
    made.add_argument(
        "--dtype", default="float32", help="float32 (default), float64 or bfloat16 of the base"
    )
    made.add_argument("--png", metavar="FILE", help="draw the comparison")


def run_curvature(options: argparse.Namespace) -> int:
    """Measure lanes at their start: a table, JSON lines, a picture."""
    from olora_viz.lanes.lane import parse_lanes
    from olora_viz.measures.conditioning import conditioning
    from olora_viz.races.config import RaceConfig
    from olora_viz.races.race import race

    config = RaceConfig(
        model=options.model,
        task=options.task,
        lanes=tuple(lane for spec in options.lane or LANES for lane in parse_lanes(spec)),
        batch_size=options.batch_size,
        max_length=options.max_length,
        seed=options.seed,
        device=options.device,
        dtype=options.dtype,
        eval_size=1,
    )
    search: dict[str, Any] = {}
    if options.iterations is not None:
        if options.iterations < 1:
            raise ValueError(f"iterations must be at least 1, not {options.iterations}")
        search["steps"] = options.iterations
    if options.probes is not None:
        search["probes"] = options.probes
    with progress_bar() as progress:
        racing = race(config, progress=progress)
        found = conditioning(
            racing.lanes, racing.batch(1), layer=options.layer, progress=progress, **search
        )
    labels = racing.lanes.labels
    lines = found.to_json(labels)
    if options.json:
        for line in lines:
            print(json.dumps(line, allow_nan=False))
    else:
        _print(lines)
    if options.png:
        from olora_viz.figures.conditioning import comparison_figure, ntk_figure
        from olora_viz.figures.png import write_png
        from olora_viz.figures.theme import lane_styles

        its = lane_styles(racing.config.lanes)
        write_png(options.png, [comparison_figure(its, found), ntk_figure(its, found)])
        print(f"comparison drawn into {options.png}", file=sys.stderr)
    return 0


def _print(lines: list[dict[str, Any]]) -> None:
    rows = [["lane", "‖∇‖", "λ_max", "λ_min", "trace", "λ_max of GN", "NTK condition", ""]]
    for line in lines:
        rows.append(
            [
                line["lane"],
                _number(line["grad_norm"]),
                f"{_number(line['lambda_max'])} ± {_number(line['residual'], '.1g')}",
                f"{_number(line['lambda_min'])} ± {_number(line['residual_min'], '.1g')}",
                f"{_number(line['trace'])} ± {_number(line['trace_error'], '.1g')}",
                _number(line["gauss_newton"]["lambda_max"]),
                _number(line["ntk"]["condition"]),
                f"{'converged' if line['converged'] else 'not converged'} after "
                f"{line['iterations']} products"
                if line["lambda_max"] is not None
                else "no eigenvalues: the loss is not finite",
            ]
        )
    print_table(rows)
    print(
        "λ and trace are the Hessian's, ± residual and standard error; GN: the Gauss-Newton matrix"
    )
    first = lines[0]
    for line in lines[1:]:
        if line["lambda_max"] and first["lambda_max"]:
            ratio = line["lambda_max"] / first["lambda_max"]
            print(f"λ_max of {line['lane']} is {ratio:.3g} times that of {first['lane']}")


def _number(value: float | None, form: str = ".3g") -> str:
    return "–" if value is None or not math.isfinite(value) else format(value, form)

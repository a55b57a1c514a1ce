"""The verb ``gradients``: norms of gradients, parameters and updates by layer."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from olora_viz.cli.console import INTERRUPTED, Verb, print_table, progress_bar
from olora_viz.cli.options import add_compared_lanes, add_shared, compared
from olora_viz.machine.numbers import number
from olora_viz.machine.signals import on_interruption

if TYPE_CHECKING:
    from olora_viz.measures.gradients import Gradients
    from olora_viz.races.config import RaceConfig
    from olora_viz.races.step import Step

MOST_MAPS = 8
"""Maximum number of lanes whose maps are drawn in one picture."""


def add_verbs(verb: Verb) -> None:
    """Add the verb."""
    made = verb("gradients", run_gradients, "norms of gradients, parameters and updates by layer")
    add_shared(made, "--model", "--task")
    add_compared_lanes(made)
    add_shared(
        made, "--steps", "--batch-size", "--max-length", "--seed", "--split-seed", "--device",
        "--dtype", "--png", steps=1,
    )  # fmt: skip


def run_gradients(options: argparse.Namespace) -> int:
    """Race a few steps and report the norms of each: a table of the last, JSON lines, a picture."""
    from olora_viz.races.race import race
    from olora_viz.races.state import STOPPED

    config = compared(options, eval_every=0, eval_size=1, gradients_every=1)
    with progress_bar() as progress:
        running = race(config, progress=progress)
    print(running.adapted, file=sys.stderr)
    config = running.config  # with fair rates as numbers
    steps: list[Step] = []
    with on_interruption(running.close):
        for step in running:
            steps.append(step)
            if options.json:
                for row in rows(step, config.labels):
                    print(json.dumps(row, allow_nan=False), flush=True)
    if steps and not options.json:
        _print(steps[-1], config.labels)
    if steps and options.png:
        _draw(options.png, config, steps)
    return INTERRUPTED if running.status == STOPPED else 0


def rows(step: Step, labels: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Return the norms of one step, one dictionary per lane and layer; None if not finite."""
    from olora_viz.machine.numbers import finite_or_none
    from olora_viz.measures.gradients import FACTORS, QUANTITIES

    found = step.gradients
    assert found is not None
    for k, label in enumerate(labels):
        for i, layer in enumerate(found.layers):
            factors = {
                name: {
                    factor: finite_or_none(getattr(found, name)[k, i, j])
                    for j, factor in enumerate(FACTORS)
                }
                for name in (*QUANTITIES, "ratio")
            }
            yield {
                "step": step.step,
                "lane": label,
                "layer": layer,
                **factors,
                "input": finite_or_none(found.input[k, i]),
            }


def _print(step: Step, labels: Sequence[str]) -> None:
    names = ("gradient", "parameter", "update", "ratio")
    symbols = ("∂L/∂{}", "{}", "Δ{}", "Δ{0}/{0}")
    head = ["lane", "layer", *(s.format(f) for s in symbols for f in "AB"), "∂L/∂X"]
    table = [head]
    for row in rows(step, labels):
        values = [row[name][factor] for name in names for factor in "AB"]
        cells = [number(x) for x in (*values, row["input"])]
        table.append([row["lane"], row["layer"], *cells])
    print_table(table)
    print(
        f"Euclidean norms in step {step.step}: gradients before clipping, A and B before the update"
    )


def _draw(path: Path, config: RaceConfig, steps: Sequence[Step]) -> None:
    from olora_viz.figures import theme
    from olora_viz.figures.gradients import depth_figure
    from olora_viz.figures.layer_grid import block_and_module
    from olora_viz.figures.maps import layer_map
    from olora_viz.figures.png import write_png
    from olora_viz.measures.gradients import GRADIENTS

    styles = theme.lane_styles(config.lanes, [lane.label for lane in config.lanes])
    found: list[Gradients] = [step.gradients for step in steps if step.gradients is not None]
    numbers = [step.step for step in steps]
    module = block_and_module(found[-1].layers[-1])[1]
    figures = [
        depth_figure(numbers[-1], found[-1], styles, measure, module)
        for measure in ("input", "gradient_A", "gradient_B")
    ]
    if len(steps) > 1:
        figures += [
            layer_map(GRADIENTS, "gradient_B", numbers, found, style, k)
            for k, style in enumerate(styles[:MOST_MAPS])
        ]
    write_png(path, figures)
    print(f"gradients saved to {path}", file=sys.stderr)

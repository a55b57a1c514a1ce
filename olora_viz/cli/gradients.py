"""The verb ``gradients`` of the command line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from olora_viz.cli.console import print_table, progress_bar
from olora_viz.machine.signals import on_interruption

if TYPE_CHECKING:
    from olora_viz.measures.gradients import Gradients
    from olora_viz.races.config import RaceConfig
    from olora_viz.races.step import Step

LANES = ("lora", "olora")
"""What is compared where nobody says what."""

MOST_MAPS = 8
"""The most lanes whose maps go into one picture."""

INTERRUPTED = 130

GIVEN = ("model", "task", "steps", "batch_size", "max_length", "seed", "device", "dtype")


def add_verbs(verb: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the verb; `verb` makes a parser of a name, a function and a text."""
    made = verb("gradients", run_gradients, "what reaches each layer, and what a step changes")
    made.add_argument("--model", help="a model's name, or a local Hugging Face folder")
    made.add_argument("--task", help="a task's name, or a file of examples")
    made.add_argument(
        "--lane",
        action="append",
        metavar="SPEC",
        help=f"default: {' and '.join(LANES)}",
    )
    made.add_argument("--steps", type=int, default=1, help="default: 1, the start alone")
    made.add_argument("--batch-size", type=int, help="prompts a step")
    made.add_argument("--max-length", type=int, help="leave out examples of more tokens")
    made.add_argument("--seed", type=int, help="seed of the task and of its order")
    made.add_argument("--device", help="auto, cpu or cuda")
    made.add_argument("--dtype", help="of the frozen base: float32 or bfloat16")
    made.add_argument(
        "--png", metavar="FILE", help="draw the norms against depth, and maps of several steps"
    )


def run_gradients(options: argparse.Namespace) -> int:
    """Race a few steps and report the norms of each: a table of the last, JSON lines, a picture."""
    from olora_viz.lanes.lane import parse_lanes
    from olora_viz.races.config import RaceConfig
    from olora_viz.races.race import race

    given = {name: value for name in GIVEN if (value := getattr(options, name)) is not None}
    config = RaceConfig(
        **given,
        lanes=tuple(lane for spec in options.lane or LANES for lane in parse_lanes(spec)),
        eval_every=0,
        eval_size=1,
        gradients_every=1,
    )
    with progress_bar() as progress:
        running = race(config, progress=progress)
    config = running.config  # with numbers for fair rates
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
    return INTERRUPTED if running.status == "stopped" else 0


def rows(step: Step, labels: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Return the norms of one step, a dictionary for each lane and layer; not finite is None."""
    from olora_viz.measures.gradients import FACTORS, QUANTITIES
    from olora_viz.races.state import finite_or_none

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
        cells = ["–" if x is None else f"{x:.3g}" for x in (*values, row["input"])]
        table.append([row["lane"], row["layer"], *cells])
    print_table(table)
    print(
        f"Euclidean norms in step {step.step}: gradients before clipping, A and B before the update"
    )


def _draw(path: str, config: RaceConfig, steps: Sequence[Step]) -> None:
    from olora_viz.figures import theme
    from olora_viz.figures.gradients import depth_figure, gradient_map
    from olora_viz.figures.png import write_png
    from olora_viz.figures.spectrum import block_and_module

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
            gradient_map(numbers, found, style, k, "gradient_B")
            for k, style in enumerate(styles[:MOST_MAPS])
        ]
    write_png(path, figures)
    print(f"gradients drawn into {path}", file=sys.stderr)

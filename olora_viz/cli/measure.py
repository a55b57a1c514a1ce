"""The verbs spectrum, gradients and curvature."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from olora_viz.cli.console import (
    INTERRUPTED,
    Verb,
    add_compared_lanes,
    add_shared,
    compared,
    given,
    print_json,
    print_table,
    progress_bar,
    save_charts,
    say,
)
from olora_viz.machine.checks import check_whole
from olora_viz.machine.process import on_interruption
from olora_viz.machine.wording import number, percent

if TYPE_CHECKING:
    from olora_viz.measures.gradients import Gradients
    from olora_viz.measures.truncation import Truncation
    from olora_viz.races.config import RaceConfig
    from olora_viz.races.step import Step


def add_verbs(verb: Verb) -> None:
    """Add the verbs."""
    parser = verb("spectrum", run_spectrum, "how initializations approximate a model's weights")
    add_shared(parser, "--model", "--png", model="glassllm")
    parser.add_argument("--layer", default="*", metavar="PATTERN", help="parts of layer names; * matches anything")
    parser.add_argument("--rank", type=int, default=8, help="default: 8")
    parser.add_argument("--init", action="append", metavar="NAME", help=f"default: {', '.join(MEASURED_STARTS)}")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random initializations")

    examples = ("--batch-size", "--max-length", "--truncate", "--chat", "--seed", "--split-seed")
    of_races = (*examples, "--device", "--dtype", "--png")
    parser = verb("gradients", run_gradients, "norms of gradients, parameters and updates by layer")
    add_shared(parser, "--model", "--task")
    add_compared_lanes(parser)
    add_shared(parser, "--steps", "--keep", *of_races, steps=1)

    parser = verb("curvature", run_curvature, "curvature of the loss at initialization")
    add_shared(parser, "--model", "--task")
    add_compared_lanes(parser)
    add_shared(parser, *of_races, dtype="float32")
    parser.add_argument("--layer", metavar="NAME", help="measure only this layer's parameters")
    kernel = "measure the condition of the tangent kernel on the first N batches; default: 5"
    parser.add_argument("--batches", type=int, metavar="N", dest="kernel_batches", help=kernel)
    parser.add_argument("--iterations", type=int, help="maximum products for the eigenvalues; default: 32")
    parser.add_argument("--probes", type=int, help="random vectors for the trace, 2 or more; 0 skips it; default: 8")


MEASURED_STARTS = ("pissa", "olora", "olora_pivoted", "sketch", "random_orthonormal")
"""The starts that are compared by default."""


def run_spectrum(options: argparse.Namespace) -> int:
    """Compare layers with starts: a table, JSON lines, a picture."""
    from olora_viz.lanes.stored_weights import model_of
    from olora_viz.measures.truncation import layers_named, to_json, truncations
    from olora_viz.views.spectrum import shares

    rows = [["layer", "start", "σ₁(W)", "σ₁(BA)", "energy", "of best", "bounded", "subset"]]
    first: list[Truncation] = []
    first_layer, random = "", 0.0
    check_whole("seed", options.seed, 0)
    with progress_bar() as progress:
        model, read = model_of(options.model, partial(layers_named, pattern=options.layer), progress)
        inits = tuple(dict.fromkeys(options.init or MEASURED_STARTS))
        for layer, start in truncations(
            model, options.layer, options.rank, inits, seed=options.seed, read=read, progress=progress
        ):
            first_layer = first_layer or layer
            if layer == first_layer:
                random = start.energy_random
                if options.png:
                    first.append(start)
            if options.json:
                print_json(to_json(layer, start))
            rows.append([
                layer, start.init, f"{start.sigma_W[0]:.3f}", f"{start.sigma_BA[0]:.3f}",
                *shares(start.energy, start.energy_optimal), "yes" if start.bounded else "no",
                "yes" if start.subset else f"no, off by {start.distance[start.worst]:.2g}",
            ])  # fmt: skip
            del start  # and its weight, before the next one is read
    if not options.json:
        print_table(rows)
        average = percent(random, 1)
        print(f"rank {options.rank}; a random orthonormal basis captures {average} of the first layer on average")
    if options.png:
        _draw_spectrum(options.png, first_layer, first)
    return 0


def _draw_spectrum(path: Path, layer: str, starts: list[Truncation]) -> None:
    from olora_viz.figures.spectrum import angles_figure, energy_figure, singular_values_figure
    from olora_viz.measures.spectra import optimal_energy
    from olora_viz.measures.truncation import energies, energy_ranks

    weight, rank = starts[0].weight, starts[0].rank
    ranks = energy_ranks(len(weight.sigma), max(32, 4 * rank))
    curves = {start.init: energies(weight, start.init, ranks) for start in starts if start.init != "pissa"}
    best = [optimal_energy(weight.sigma, r) for r in ranks]
    singular = singular_values_figure(starts)
    singular["layout"]["meta"]["title"] += f" of {layer}"
    energy = energy_figure(ranks, curves, best, weight.W.shape[0], rank)
    save_charts(path, [singular, energy, angles_figure(starts)], layer)


def run_gradients(options: argparse.Namespace) -> int:
    """Race a few steps and report the norms of each: a table of the last, JSON lines, a picture."""
    from olora_viz.races.race import race
    from olora_viz.races.step import STOPPED

    config = compared(options, eval_every=0, eval_size=1, gradients_every=1)
    replaying = any(lane.replays for lane in config.lanes)
    if options.keep and not replaying:
        raise ValueError("--keep is what lanes with replay or keep_kl replay, and none has it: leave it out")
    with progress_bar() as progress:
        running = race(config, progress=progress)
    say(running.adapted)
    config = running.config  # with fair rates as numbers
    steps: list[Step] = []
    with on_interruption(running.close):
        for step in running:
            steps.append(step)
            if options.json:
                for row in rows(step, config.labels):
                    print_json(row)
    if steps and not options.json:
        _print_gradients(steps[-1], config.labels, " of the task and of what is replayed" * replaying)
    if steps and options.png:
        _draw(options.png, config, steps)
    return INTERRUPTED if running.status == STOPPED else 0


def rows(step: Step, labels: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Return the norms of one step, one dictionary per lane and layer; None if not finite."""
    from olora_viz.machine.tables import finite_or_none
    from olora_viz.measures.gradients import FACTORS, QUANTITIES

    gradients = step.gradients
    assert gradients is not None
    for k, label in enumerate(labels):
        for i, layer in enumerate(gradients.layers):
            factors = {
                name: {factor: finite_or_none(getattr(gradients, name)[k, i, j]) for j, factor in enumerate(FACTORS)}
                for name in (*QUANTITIES, "ratio")
            }
            place = {"step": step.step, "lane": label, "layer": layer}
            yield place | factors | {"input": finite_or_none(gradients.input[k, i])}


def _print_gradients(step: Step, labels: Sequence[str], of: str) -> None:
    symbols = {"gradient": "∂L/∂{}", "parameter": "{}", "update": "Δ{}", "ratio": "Δ{0}/{0}"}
    table = [["lane", "layer", *(symbol.format(f) for symbol in symbols.values() for f in "AB"), "∂L/∂X"]]
    for row in rows(step, labels):
        values = [row[name][factor] for name in symbols for factor in "AB"]
        table.append([row["lane"], row["layer"], *map(number, (*values, row["input"]))])
    print_table(table)
    print(f"Euclidean norms in step {step.step}: gradients{of} before clipping, A and B before the update")


def _draw(path: Path, config: RaceConfig, steps: Sequence[Step]) -> None:
    from olora_viz.figures import theme
    from olora_viz.figures.layers import block_and_module, depth_figure, layer_map
    from olora_viz.measures.gradients import GRADIENTS

    styles = theme.lane_styles(config.lanes)
    gradients: list[Gradients] = [step.gradients for step in steps if step.gradients is not None]
    numbers = [step.step for step in steps]
    module = block_and_module(gradients[-1].layers[-1])[1]
    measures = ("input", "gradient_A", "gradient_B")
    figures = [depth_figure(numbers[-1], gradients[-1], styles, measure, module) for measure in measures]
    if len(steps) > 1:
        maps = enumerate(styles[:8])  # more would not be read in one picture
        figures += [layer_map(GRADIENTS, "gradient_B", numbers, gradients, style, k) for k, style in maps]
    save_charts(path, figures, "gradients")


def run_curvature(options: argparse.Namespace) -> int:
    """Measure lanes at their start: a table, JSON lines, a picture."""
    from olora_viz.measures.conditioning import KERNEL_BATCHES, conditioning
    from olora_viz.measures.curvature import TRACE_PROBES, check_search
    from olora_viz.races.race import race
    from olora_viz.studies.story import compared_conditions

    for lane in given(options).get("lanes", ()):
        if lane.replays:
            words = lane.replay_words
            raise ValueError(f"the curvature is that of the task's loss, of which {words} is no part: leave it out")
    config = compared(options, eval_size=1)
    for name, count in (("iterations", options.iterations), ("batches", options.kernel_batches)):
        if count is not None:
            check_whole(name, count, 1)
    check_search(1, TRACE_PROBES if options.probes is None else options.probes)
    search = {"steps": options.iterations, "probes": options.probes}
    search = {name: value for name, value in search.items() if value is not None}
    count = options.kernel_batches or KERNEL_BATCHES
    with progress_bar() as progress:
        racing = race(config, progress=progress)
        batch, *more = (racing.batch(number) for number in range(1, count + 1))
        measured = conditioning(
            racing.lanes, batch, more_batches=more, layer=options.layer, progress=progress, **search
        )
    say(racing.adapted)
    labels = racing.lanes.labels
    lines = [{"lane": label, **line} for label, line in measured.to_json(labels).items()]
    if options.json:
        for line in lines:
            print_json(line)
    else:
        plan = racing.lanes.plan
        adapted = [k for k in range(len(labels)) if options.layer in (None, *plan.layers_of(k))]
        _print_curvature(lines, [labels[k] for k in adapted])
        for k in adapted[1:]:
            first = adapted[0]
            print(compared_conditions(measured.conditions, k, first, labels[k], labels[first]))
    if options.png:
        from olora_viz.figures.start import comparison_figure, ntk_figure
        from olora_viz.figures.theme import lane_styles

        styles = lane_styles(racing.config.lanes)
        save_charts(options.png, [comparison_figure(styles, measured), ntk_figure(styles, measured)], "comparison")
    return 0


def _print_curvature(lines: list[dict[str, Any]], adapted: Sequence[str]) -> None:
    """Print the table; `adapted` are the labels of the lanes with an adapter on what is measured."""
    rows = [["lane", "‖∇‖", "λ_max", "λ_min", "trace", "λ_max of GN", "NTK condition", ""]]
    for line in lines:
        pairs = (("lambda_max", "residual"), ("lambda_min", "residual_min"), ("trace", "trace_error"))
        bounded = [f"{number(line[value])} ± {number(line[error], '.1g')}" for value, error in pairs]
        ended = f"{'converged' if line['converged'] else 'not converged'} after {line['iterations']} products"
        if line["lambda_max"] is None:
            ended = "no eigenvalues: the loss is not finite" if line["lane"] in adapted else "no adapter on the layer"
        largest = number(line["gauss_newton"]["lambda_max"])
        rows.append([line["lane"], number(line["grad_norm"]), *bounded, largest, _spread(line["ntk"]), ended])
    print_table(rows)
    print(
        "λ and trace are the Hessian's, ± residual and standard error; GN: the Gauss-Newton "
        "matrix; NTK condition: median and range over the batches"
    )
    first, *others = (line for line in lines if line["lane"] in adapted)
    for line in others:
        if line["lambda_max"] and first["lambda_max"]:
            ratio = line["lambda_max"] / first["lambda_max"]
            print(f"λ_max of {line['lane']} is {ratio:.3g} times that of {first['lane']}")


def _spread(kernel: dict[str, Any]) -> str:
    """Return the median of a lane's conditions, with their range if there are several."""
    ends = "" if len(kernel["conditions"]) == 1 else f" ({' to '.join(map(number, kernel['condition_range']))})"
    return f"{number(kernel['condition_median'])}{ends}"

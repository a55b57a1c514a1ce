"""The verbs spectrum, gradients and curvature."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from olora_viz.cli.console import INTERRUPTED, Verb, print_table, progress_bar
from olora_viz.cli.options import add_compared_lanes, add_shared, compared
from olora_viz.machine.process import on_interruption
from olora_viz.machine.text import number, percent

if TYPE_CHECKING:
    from olora_viz.measures.gradients import Gradients
    from olora_viz.races.config import RaceConfig
    from olora_viz.races.step import Step


STARTS = ("pissa", "olora", "olora_pivoted", "sketch", "random_orthonormal")
"""The starts that are compared by default."""


def _add_spectrum(verb: Verb) -> None:
    """Add the verb."""
    made = verb("spectrum", run_spectrum, "how initializations approximate a model's weights")
    add_shared(made, "--model", "--png", model="glassllm")
    made.add_argument("--layer", default="*", metavar="PATTERN", help="parts of layer names; * matches anything")
    made.add_argument("--rank", type=int, default=8, help="default: 8")
    made.add_argument("--init", action="append", metavar="NAME", help=f"default: {', '.join(STARTS)}")
    made.add_argument("--seed", type=int, default=0, help="seed of the random initializations")


def run_spectrum(options: argparse.Namespace) -> int:
    """Compare layers with starts: a table, JSON lines, a picture."""
    from olora_viz.measures.truncation import to_json, truncations
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
    from olora_viz.measures.spectra import optimal_energy
    from olora_viz.measures.truncation import energies, energy_ranks

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


MOST_MAPS = 8
"""Maximum number of lanes whose maps are drawn in one picture."""


def _add_gradients(verb: Verb) -> None:
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
        _print_gradients(steps[-1], config.labels)
    if steps and options.png:
        _draw(options.png, config, steps)
    return INTERRUPTED if running.status == STOPPED else 0


def rows(step: Step, labels: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Return the norms of one step, one dictionary per lane and layer; None if not finite."""
    from olora_viz.machine.text import finite_or_none
    from olora_viz.measures.gradients import FACTORS, QUANTITIES

    found = step.gradients
    assert found is not None
    for k, label in enumerate(labels):
        for i, layer in enumerate(found.layers):
            factors = {
                name: {factor: finite_or_none(getattr(found, name)[k, i, j]) for j, factor in enumerate(FACTORS)}
                for name in (*QUANTITIES, "ratio")
            }
            yield {
                "step": step.step,
                "lane": label,
                "layer": layer,
                **factors,
                "input": finite_or_none(found.input[k, i]),
            }


def _print_gradients(step: Step, labels: Sequence[str]) -> None:
    names = ("gradient", "parameter", "update", "ratio")
    symbols = ("∂L/∂{}", "{}", "Δ{}", "Δ{0}/{0}")
    head = ["lane", "layer", *(s.format(f) for s in symbols for f in "AB"), "∂L/∂X"]
    table = [head]
    for row in rows(step, labels):
        values = [row[name][factor] for name in names for factor in "AB"]
        cells = [number(x) for x in (*values, row["input"])]
        table.append([row["lane"], row["layer"], *cells])
    print_table(table)
    print(f"Euclidean norms in step {step.step}: gradients before clipping, A and B before the update")


def _draw(path: Path, config: RaceConfig, steps: Sequence[Step]) -> None:
    from olora_viz.figures import theme
    from olora_viz.figures.layers import block_and_module, depth_figure, layer_map
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
            layer_map(GRADIENTS, "gradient_B", numbers, found, style, k) for k, style in enumerate(styles[:MOST_MAPS])
        ]
    write_png(path, figures)
    print(f"gradients saved to {path}", file=sys.stderr)


def _add_curvature(verb: Verb) -> None:
    """Add the verb."""
    made = verb("curvature", run_curvature, "curvature of the loss at initialization")
    add_shared(made, "--model", "--task")
    add_compared_lanes(made)
    add_shared(
        made, "--batch-size", "--max-length", "--seed", "--split-seed", "--device", "--dtype", "--png", dtype="float32"
    )
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
    from olora_viz.studies.story import compared_conditions

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
        found = conditioning(racing.lanes, batch, more_batches=more, layer=options.layer, progress=progress, **search)
    print(racing.adapted, file=sys.stderr)
    labels = racing.lanes.labels
    lines = [{"lane": label, **line} for label, line in found.to_json(labels).items()]
    if options.json:
        for line in lines:
            print(json.dumps(line, allow_nan=False))
    else:
        _print_curvature(lines)
        for k, label in enumerate(labels[1:], start=1):
            print(compared_conditions(found.conditions, k, 0, label, labels[0]))
    if options.png:
        from olora_viz.figures.png import write_png
        from olora_viz.figures.start import comparison_figure, ntk_figure
        from olora_viz.figures.theme import lane_styles

        its = lane_styles(racing.config.lanes)
        write_png(options.png, [comparison_figure(its, found), ntk_figure(its, found)])
        print(f"comparison saved to {options.png}", file=sys.stderr)
    return 0


def _print_curvature(lines: list[dict[str, Any]]) -> None:
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
                f"{'converged' if line['converged'] else 'not converged'} after {line['iterations']} products"
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


def add_verbs(verb: Verb) -> None:
    """Add the verbs."""
    _add_spectrum(verb)
    _add_gradients(verb)
    _add_curvature(verb)

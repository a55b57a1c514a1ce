"""How far a rate proposed from the curvature is from the best one of a sweep.

For every task and seed, one race trains every start at every rate. A start's best rate is where its held-out loss
after the last step is lowest (the bottom of a parabola through the best three rates, so that the grid does not
decide). Each rule then takes plain LoRA's best rate and the curvature at the start, proposes a rate for every other
start, and is judged by the factor between the two, and by how much higher the held-out loss is there than at the best
rate.

    python benchmarks/fair_rate.py [--model glassllm] [--tasks addition …] [--seeds 3] [--json]
"""

from __future__ import annotations

import argparse
import json
import math

import numpy as np

from olora_viz.lanes.lane import Lane
from olora_viz.lanes.plan import plan_adapters
from olora_viz.models import load_model
from olora_viz.races.config import RaceConfig
from olora_viz.races.fair_rate import proposals
from olora_viz.races.race import race

INITS = ("lora", "olora", "olora_pivoted", "random_orthonormal", "pissa", "milora", "orthogonal")
RATES = (1e-4, 3e-4, 5.6e-4, 1e-3, 1.8e-3, 3e-3, 5.6e-3, 1e-2, 3e-2)
RULES = {"1/λ": 1.0, "1/√λ": 0.5, "1/∛λ": 1 / 3, "same rate": 0.0}
"""Exponents of the ratio of plain LoRA's curvature to the other's."""


def best(rates: np.ndarray, loss: np.ndarray) -> float:
    """Return log10 of the best rate, by a parabola in log rate and log loss."""
    j = int(np.nanargmin(loss))
    x = np.log10(rates)
    near = slice(j - 1, j + 2)
    if not 0 < j < len(rates) - 1 or not np.isfinite(loss[near]).all():
        return float(x[j])
    a, b, _ = np.polyfit(x[near], np.log(loss[near]), 2)
    return float(np.clip(-b / (2 * a), x[j - 1], x[j + 1])) if a > 0 else float(x[j])


def measure(options: argparse.Namespace, model, tokenizer, task: str, seed: int) -> list[dict]:
    """Sweep one task with one seed, and hold the rules against it."""
    rates = np.array(options.rates)
    lanes = [Lane(i, lr=lr, r=options.rank, seed=seed) for i in options.inits for lr in rates]
    racing = race(
        RaceConfig(
            model=options.model,
            task=task,
            lanes=tuple(lanes),
            steps=options.steps,
            batch_size=options.batch_size,
            seed=seed,
            eval_every=0,
        ),
        model=model,
        tokenizer=tokenizer,
    )
    try:
        *_, last = racing
        batch = racing.batch(1)
    finally:
        racing.lanes.detach()
    losses = dict(zip(options.inits, last.eval_loss.reshape(-1, len(rates)), strict=True))
    starts = [Lane(i, r=options.rank, seed=seed) for i in options.inits]
    plain = Lane("lora", r=options.rank, seed=seed)
    found = {p.init: p.ratio for p in proposals(plan_adapters(model, [plain]), starts, plain, batch)}
    reference = best(rates, losses["lora"])
    rows = []
    for init in options.inits:
        bottom = best(rates, losses[init])
        row = {
            "model": options.model,
            "task": task,
            "seed": seed,
            "init": init,
            "best_rate": 10**bottom,
            "best_loss": float(np.nanmin(losses[init])),
            "of_loras": 10 ** (bottom - reference),
            "curvature_ratio": found[init],
        }
        for rule, exponent in RULES.items():
            proposed = reference - exponent * math.log10(found[init])
            inside = np.clip(proposed, np.log10(rates[0]), np.log10(rates[-1]))
            there = np.interp(inside, np.log10(rates), np.log(losses[init]))
            row[rule] = {"off_by": 10 ** (proposed - bottom), "loss_factor": float(np.exp(there) / row["best_loss"])}
        rows.append(row)
    return rows


def summary(rows: list[dict]) -> list[str]:
    """Say for every start and rule how far off the proposals are."""
    inits = [i for i in dict.fromkeys(row["init"] for row in rows) if i != "lora"]
    lines = [
        "| start | curvature, LoRA = 1 | best rate, LoRA = 1 | "
        + " | ".join(f"{rule} is off by" for rule in RULES)
        + " |",
        "|---" * (3 + len(RULES)) + "|",
    ]
    for init in inits:
        its = [row for row in rows if row["init"] == init]
        cells = [init, f"{_middle([r['curvature_ratio'] for r in its]):.2g}"]
        of_loras = [row["of_loras"] for row in its]
        cells.append(f"{_middle(of_loras):.2g} ({min(of_loras):.2g} to {max(of_loras):.2g})")
        cells += [f"{_middle([row[rule]['off_by'] for row in its]):.2g}" for rule in RULES]
        lines.append("| " + " | ".join(cells) + " |")
    others = [row for row in rows if row["init"] != "lora"]
    for rule in RULES:
        off = np.log10([row[rule]["off_by"] for row in others])
        loss = [row[rule]["loss_factor"] for row in others]
        lines.append(
            f"{rule}: off by a factor of {10 ** np.sqrt((off**2).mean()):.2f} (root mean square), "
            f"{10 ** abs(off).max():.1f} at worst; held-out loss {_middle(loss):.2f} times the best"
        )
    return lines


def _middle(values: list[float]) -> float:
    return float(np.exp(np.log(values).mean()))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="glassllm")
    parser.add_argument("--tasks", nargs="+", default=["number-words", "addition", "uppercase"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--inits", nargs="+", default=list(INITS), help="plain LoRA among them")
    parser.add_argument("--rates", nargs="+", type=float, default=list(RATES), help="ascending")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    model, tokenizer = load_model(options.model)
    rows = []
    for task in options.tasks:
        for seed in range(options.seeds):
            for row in measure(options, model, tokenizer, task, seed):
                rows.append(row)
                if options.json:
                    print(json.dumps(row), flush=True)
    if not options.json:
        print("\n".join(summary(rows)))


if __name__ == "__main__":
    main()

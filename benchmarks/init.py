"""How long an adapter takes to start, by method: ours against PEFT's, side by side in one run.

    python benchmarks/init.py [--model smollm2-135m] [--rank 16] [--init olora …]
                              [--wide 4096 4096 32 --wide 11008 4096 64] [--json]

Every linear layer inside the blocks of the model is started by `olora_viz.initializers` and by the method of PEFT's
own layer (`olora_init`, `pissa_init`, …), turn by turn: no model is wrapped and nothing else is timed. A time is the
sum over the layers of the best of the passes. Then the same on single wide layers (out, in, rank), of random numbers,
as large models have them.

Where B⁰A⁰ is not zero, PEFT's methods also subtract it from the base, which our race does without; "+ residual" is our
time with that product added, the stricter comparison. "Energy" is the share of `‖W‖²` in `s B⁰A⁰`: where it is equal,
both computed the same thing, and for the randomized SVDs it says what the time has bought.

What limits OLoRA. The first r columns of Q depend on the first r columns of W alone, so

    ours   4 out r² − 4/3 r³ + 2 out in r            flops: QR of (out, r), one product Qᵀ W
    PEFT   8/3 n³ where out = in = n, + 2 out in r   flops: all of Q and R, then the residual

The ratio of the two is about 4n / 3r. Ours has to read W once and writes next to nothing: r / 2 flops for each byte of
a float32 W, so it ends near whichever is nearer, the speed of memory or that of the matrix product. The last lines say
how near.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import peft
import torch
from peft.tuners.lora.layer import Linear as PeftLinear
from torch import Tensor

from olora_viz.initializers import INITIALIZERS, StartFunction
from olora_viz.lanes.layers import target_layers, weight_of
from olora_viz.machine.memory import resolve_device
from olora_viz.models import load_model

PEFT: dict[str, Callable[[PeftLinear], None]] = {
    "lora": lambda layer: layer.reset_lora_parameters("default", True),
    "gaussian": lambda layer: layer.reset_lora_parameters("default", "gaussian"),
    "olora": lambda layer: layer.olora_init("default"),
    "pissa": lambda layer: layer.pissa_init("default", "pissa"),
    "pissa_fast": lambda layer: layer.pissa_init("default", "pissa_niter_16"),
    "orthogonal": lambda layer: layer.orthogonal_init("default"),
    "mica": lambda layer: layer.mica_init("default"),
}
"""PEFT's counterparts; the other initializations have none there."""

FROM_W = [name for name, entry in INITIALIZERS.items() if not entry.needs]
"""What starts from W alone: reading data for the others is training, not factorizing."""

WIDE = ((4096, 4096, 32), (11008, 4096, 64))
WIDE_INITS = ("lora", "olora", "olora_pivoted", "sketch", "pissa_fast")  # exact SVDs take minutes
PASSES, ENOUGH_SECONDS = 5, 20.0


@dataclass
class Tally:
    """One method on one set of layers: the best seconds of each, and energies, summed."""

    ours: float = 0.0
    ours_with_residual: float = 0.0
    peft: float = 0.0
    energy: float = 0.0
    energy_ours: float = 0.0
    energy_peft: float = 0.0


def timed(work: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begin = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begin


def peft_layer(W: Tensor, r: int) -> PeftLinear:
    """PEFT's layer around W, alpha = r, not started yet."""
    base = torch.nn.Linear(W.shape[1], W.shape[0], bias=False, device="meta")
    base.weight = torch.nn.Parameter(W.clone(), requires_grad=False)
    config = peft.LoraConfig(r=r, lora_alpha=r, init_lora_weights=False)
    return PeftLinear(base, "default", config, r=r, lora_alpha=r)


def start_and_subtract(start: StartFunction, W: Tensor, r: int, residual: Tensor) -> None:
    found = start(W, r)
    residual.addmm_(found.B, found.A, alpha=-1)


def energy(A: Tensor, B: Tensor) -> float:
    """‖B A‖², by way of two small matrices."""
    A, B = A.detach().double(), B.detach().double()
    return float(((B.mT @ B) * (A @ A.mT)).sum())


def compare(name: str, weights: list[Tensor], r: int) -> Tally:
    """Start every weight with one method, ours and PEFT's in turn, until the best is known."""
    start, theirs, tally = INITIALIZERS[name].start, PEFT.get(name), Tally()
    layers = [peft_layer(W, r) for W in weights] if theirs else []
    best = [[math.inf] * 3 for _ in weights]
    begin = time.perf_counter()
    residuals = [] if INITIALIZERS[name].zero_product else [W.clone() for W in weights]
    for _ in range(PASSES):
        for i, W in enumerate(weights):
            best[i][0] = min(best[i][0], timed(partial(start, W, r), W.device))
            if residuals:
                work = partial(start_and_subtract, start, W, r, residuals[i])
                best[i][1] = min(best[i][1], timed(work, W.device))
            if theirs:
                layers[i].get_base_layer().weight.data = W.clone()  # the last pass changed it
                best[i][2] = min(best[i][2], timed(partial(theirs, layers[i]), W.device))
        if time.perf_counter() - begin > ENOUGH_SECONDS:
            break
    tally.ours, tally.ours_with_residual, tally.peft = (sum(column) for column in zip(*best, strict=True))
    for i, W in enumerate(weights):
        found = start(W, r)
        tally.energy += float(W.double().square().sum())
        tally.energy_ours += energy(found.A, found.B)
        if theirs:
            pair = layers[i].lora_A["default"].weight, layers[i].lora_B["default"].weight
            tally.energy_peft += energy(*pair)
    return tally


def thin_flops(out: int, features: int, r: int) -> float:
    return 4 * out * r**2 - 4 / 3 * r**3 + 2 * out * features * r


def full_flops(out: int, features: int, r: int) -> float:
    """Householder QR with an explicit thin Q, as LAPACK counts it, and PEFT's residual."""
    n, k = features, min(out, features)
    factorize = 2 * out * n * k - (out + n) * k**2 + 2 / 3 * k**3
    return factorize + 2 * out * k**2 - 2 / 3 * k**3 + 2 * out * n * r


def limit(weights: list[Tensor], r: int, olora: Tally) -> dict:
    """Count what OLoRA has to do, and how fast it was done."""
    # Layer after layer within a pass, as above: a layer read twice in a row would come from cache.
    passes = [[timed(W.sum, W.device) for W in weights] for _ in range(PASSES)]
    read = sum(map(min, zip(*passes, strict=True)))
    size = sum(W.numel() * W.element_size() for W in weights)
    ours = sum(thin_flops(*W.shape, r) for W in weights)
    full = sum(full_flops(*W.shape, r) for W in weights)
    return {
        "gflop_ours": ours / 1e9,
        "gflop_peft": full / 1e9,
        "gflop_per_second_ours": ours / olora.ours / 1e9,
        "gflop_per_second_peft": full / olora.peft / 1e9,
        "gigabytes": size / 1e9,
        "gigabytes_per_second_ours": size / olora.ours / 1e9,
        "seconds_to_read_the_weights_once": read,
    }


def rows(where: str, weights: list[Tensor], r: int, inits: tuple[str, ...]) -> Iterator[dict]:
    """Measure one set of layers: a row for each method, and the count for OLoRA."""
    for name in inits:
        tally = compare(name, weights, r)
        theirs, whole = name in PEFT, not INITIALIZERS[name].zero_product
        row = {
            "where": where,
            "layers": len(weights),
            "rank": r,
            "device": str(weights[0].device),
            "threads": torch.get_num_threads(),
            "init": name,
            "seconds_ours": tally.ours,
            "seconds_ours_with_residual": tally.ours_with_residual if whole else None,
            "seconds_peft": tally.peft if theirs else None,
            "speedup": tally.peft / tally.ours if theirs else None,
            "speedup_with_residual": (tally.peft / tally.ours_with_residual if theirs and whole else None),
            "energy_ours": tally.energy_ours / tally.energy,
            "energy_peft": tally.energy_peft / tally.energy if theirs else None,
        }
        if name == "olora":
            row["limit"] = limit(weights, r, tally)
        yield row


def show(row: dict) -> str:
    def cell(key: str, form: str) -> str:
        return "–" if row[key] is None else format(row[key], form)

    return (
        f"{row['init']:<19}{cell('seconds_ours', '.4f'):>9}"
        f"{cell('seconds_ours_with_residual', '.4f'):>12}{cell('seconds_peft', '.4f'):>10}"
        f"{cell('speedup', '.1f'):>9}{cell('speedup_with_residual', '.1f'):>12}"
        f"{cell('energy_ours', '.4f'):>9}{cell('energy_peft', '.4f'):>9}"
    )


def show_limit(row: dict) -> str:
    count = row["limit"]
    ratio = count["gflop_peft"] / count["gflop_ours"]
    reading = count["seconds_to_read_the_weights_once"]
    return (
        f"olora, counted: {count['gflop_ours']:.2f} Gflop ours, {count['gflop_peft']:.1f} PEFT's, "
        f"{ratio:.0f} times the work; {row['speedup']:.0f} times the time, at "
        f"{count['gflop_per_second_ours']:.0f} and {count['gflop_per_second_peft']:.0f} Gflop/s.\n"
        f"To read the weights once, {count['gigabytes']:.3f} GB, takes {reading:.4f} s; to start "
        f"from them, {row['seconds_ours'] / reading:.1f} times that "
        f"({count['gigabytes_per_second_ours']:.1f} GB/s)."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--init", nargs="+", choices=FROM_W, default=FROM_W)
    parser.add_argument("--wide", nargs=3, type=int, action="append", help="out, in, rank")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    device = resolve_device(options.device)
    chosen = tuple(options.init)

    def sets() -> Iterator[tuple[str, list[Tensor], int, tuple[str, ...]]]:
        model, _ = load_model(options.model, device=device)
        weights = [weight_of(layer).detach() for layer in target_layers(model).values()]
        yield options.model, weights, options.rank, chosen
        del model, weights
        for out, features, r in options.wide or WIDE:
            W = torch.randn(out, features, generator=torch.Generator().manual_seed(0))
            inits = tuple(name for name in chosen if name in WIDE_INITS)
            yield f"{out}×{features}", [W.to(device) / 64], r, inits

    for where, weights, r, inits in sets():
        if not options.json:
            print(
                f"\n{where}: {len(weights)} layers, rank {r}, {device}, "
                f"{torch.get_num_threads()} threads; seconds\n"
                f"{'':<19}{'ours':>9}{'+ residual':>12}{'PEFT':>10}{'faster':>9}"
                f"{'+ residual':>12}{'energy':>9}{'PEFT':>9}"
            )
        counted = None
        for row in rows(where, weights, r, inits):
            print(json.dumps(row) if options.json else show(row), flush=True)
            counted = row if "limit" in row else counted
        if counted and not options.json:
            print(show_limit(counted))


if __name__ == "__main__":
    main()

"""The Hessians of K lanes in the same products, against a public library lane by lane.

The library is hessian-eigenthings; each lane is a PEFT model of its own with the same factors, so that both sides look
at the same K Hessians on the same batch, in the same process, one after the other. Both make the same number of
Lanczos steps. An eigenvalue of one side is then compared with that of the other.

    python benchmarks/curvature.py [--model smollm2-135m] [--lanes 4] [--steps 10] [--json]
"""

from __future__ import annotations

import argparse
import copy
import json
import time

import hessian_eigenthings as library
import peft
import torch

from olora_viz.lanes.lane import Lane
from olora_viz.lanes.layers import weight_of
from olora_viz.measures.curvature import curvature, twice_differentiable
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import race
from olora_viz.tasks import losses

INITS = ("lora", "olora", "pissa", "random_orthonormal")


def as_peft(lanes, k: int) -> torch.nn.Module:
    """Return a PEFT model that computes what lane k computes: W − sB⁰A⁰ beside A and B."""
    lane = lanes.lanes[k]
    config = peft.LoraConfig(r=lane.r, lora_alpha=lane.r, target_modules=list(lanes.layers), lora_dropout=0.0)
    model = peft.get_peft_model(copy.deepcopy(lanes.model), config)
    with torch.no_grad():
        for name in lanes.layers:
            layer = model.base_model.model.get_submodule(name)
            start = lanes.start_factors(name, k)
            weight_of(layer.base_layer).sub_(float(lanes.scale[k]) * start.B @ start.A)
            layer.lora_A["default"].weight.copy_(start.A)
            layer.lora_B["default"].weight.copy_(start.B)
    return model.eval()


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def theirs(model: torch.nn.Module, batch, steps: int) -> tuple[float, float]:
    """Return the library's largest eigenvalue and its seconds."""

    def loss(wrapped, its):
        return losses.lane_losses(wrapped.base_model.model, its, 1)[0]

    operator = library.HessianOperator(model, [batch], loss)
    wait(operator.device)
    began = time.perf_counter()
    with twice_differentiable():
        found = library.lanczos(operator, k=1, max_iter=steps, which="LA", seed=0)
    wait(operator.device)
    return float(found.eigenvalues[0]), time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--task", default="number-words")
    parser.add_argument("--lanes", type=int, default=4)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10, help="Lanczos steps on both sides")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    K = options.lanes
    config = RaceConfig(
        model=options.model,
        task=options.task,
        lanes=tuple(Lane(INITS[k % 4], r=options.rank, seed=k // 4) for k in range(K)),
        batch_size=options.batch_size,
        eval_size=1,
        device=options.device,
        dtype="float32",
    )
    racing = race(config)
    batch, lanes = racing.batch(1), racing.lanes
    wait(racing.device)
    began = time.perf_counter()
    found = curvature(
        lanes, lambda: losses.lane_losses(racing.model, batch, K), steps=options.steps, tolerance=0.0, probes=0
    )
    wait(racing.device)
    ours = time.perf_counter() - began
    lanes.detach()
    values, seconds = [], []
    for k in range(K):
        value, spent = theirs(as_peft(lanes, k), batch, options.steps)
        values.append(value)
        seconds.append(spent)
    row = {
        "model": options.model,
        "device": str(racing.device),
        "threads": torch.get_num_threads(),
        "lanes": K,
        "tokens": batch.input_ids.numel(),
        "steps": options.steps,
        "ours_seconds_per_lane": ours / K,
        "library_seconds_per_lane": sum(seconds) / K,
        "times_faster": sum(seconds) / ours,
        "largest_difference": max(abs(a / b - 1) for a, b in zip(found.lambda_max, values, strict=True)),
        "lambda_max": found.lambda_max.tolist(),
        "library_lambda_max": values,
    }
    if options.json:
        print(json.dumps(row))
        return
    print(
        f"{options.model}, {K} lanes of rank {options.rank}, {row['tokens']} tokens, "
        f"{options.steps} products on {row['device']}: {ours / K:.2f} s a lane, the library "
        f"{row['library_seconds_per_lane']:.2f} s ({row['times_faster']:.2f} times as long); "
        f"eigenvalues differ by at most {row['largest_difference']:.2%}"
    )
    for lane, a, b in zip(lanes.labels, found.lambda_max, values, strict=True):
        print(f"  {lane}: λ_max {a:.5g}, the library {b:.5g}")


if __name__ == "__main__":
    main()

"""What looking costs: the time of a race's traces against the time of its steps.

    python benchmarks/trace.py [--model smollm2-135m] [--lanes 4] [--every 10] [--json]

One race on prompts of about 70 tokens. Steps and traces are timed apart, so that the share does not
hang on the noise between two races; a trace is what `trace_every` makes of all lanes and layers.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch
from race import write_task

from olora_viz.lane import Lane
from olora_viz.race import race
from olora_viz.race_config import RaceConfig
from olora_viz.trace import trace


def timed(call, times: int) -> float:
    """Return the seconds of one call, on average."""
    began = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - began) / times


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--lanes", type=int, default=4)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--shots", type=int, default=7, help="solved examples in a prompt")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    inits = ("olora", "lora", "gaussian", "random_orthonormal")
    with tempfile.TemporaryDirectory() as folder:
        config = RaceConfig(
            model=options.model,
            task=str(write_task(Path(folder), shots=options.shots)),
            lanes=tuple(
                Lane(inits[k % 4], lr=1e-4, r=options.rank, seed=k) for k in range(options.lanes)
            ),
            steps=8,
            batch_size=4,
            eval_every=0,
            eval_size=1,
        )
        running = race(config)
        next(running)
        step = timed(lambda: next(running), 4)
        trace(running.lanes)
        look = timed(lambda: trace(running.lanes), 3)
    row = {
        "model": options.model,
        "lanes": options.lanes,
        "layers": len(running.lanes.layers),
        "rank": options.rank,
        "threads": torch.get_num_threads(),
        "step_seconds": step,
        "trace_seconds": look,
        "every": options.every,
        "share": look / (options.every * step + look),
    }
    if options.json:
        print(json.dumps(row))
        return
    print(
        f"{options.model}, {options.lanes} lanes of rank {options.rank}: a step {step:.2f} s, a "
        f"trace of {row['layers']} layers {look:.3f} s; every {options.every} steps that is "
        f"{row['share']:.1%} of the race"
    )


if __name__ == "__main__":
    main()

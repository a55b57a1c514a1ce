"""A race beside busy processes: how its threads wait for each other, and how many there are.

Each measurement is a process of its own that loads the model, takes three steps, and then times
the others. OpenMP's own default lets waiting threads spin for long; olora_viz lets them sleep after a moment.

    python benchmarks/threads.py [--model smollm2-135m --lanes 4] [--steps 60] [--busy 2] [--repeats 3] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from olora_viz.machine.process import CHOSEN_BY_THE_USER, cores
from olora_viz.races.config import RaceConfig
from olora_viz.web.guard.limits import Limits
from olora_viz.web.parts.setup import SetUp

WAITING = {"default": {}, "sleep": {"OMP_WAIT_POLICY": "PASSIVE"}, "ours": None}
"""Environment variables by policy, OpenMP's own and ours; None leaves the choice to olora_viz."""

THEIRS = "import torch, olora_viz"  # the choice comes too late
OURS = "import olora_viz, torch"

TIMED = """
import json, sys, time
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import race
torch.set_num_threads(int(sys.argv[1]))
for step in race(RaceConfig.from_json(json.loads(sys.argv[2]))):
    if step.step == 3:
        began = time.perf_counter()
print(time.perf_counter() - began)
"""


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep as many cores busy as there are processes, if others let them."""
    load = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in load:
            process.kill()
            process.wait()


def seconds(race: RaceConfig, threads: int, waiting: str) -> float:
    """Return the time of the steps of a race but its first three."""
    chosen = WAITING[waiting]
    kept = {name: value for name, value in os.environ.items() if name not in CHOSEN_BY_THE_USER}
    code = (OURS if chosen is None else THEIRS) + TIMED
    done = subprocess.run(
        [sys.executable, "-c", code, str(threads), json.dumps(race.to_json())],
        env=kept | (chosen or {}), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="glassllm")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--lanes", type=int, default=15, help="the first of the page's default race")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--busy", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", help="default: all cores, and one less")
    parser.add_argument("--waiting", nargs="+", default=list(WAITING), choices=list(WAITING))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    first = SetUp.first(Limits()).to_config(Limits())
    changes = {"model": options.model, "dtype": options.dtype, "lanes": first.lanes[: options.lanes]}
    race = replace(first, **changes, steps=options.steps + 3, device="cpu")
    if not options.json:
        print(f"{cores()} cores, {options.steps} steps of {len(race.lanes)} lanes of {race.model}, seconds (median)")
        print(f"{'threads':>8} {'waiting':18} {'alone':>8} {f'{options.busy} busy':>8} {'ratio':>6}")
    for threads in options.threads or sorted({max(1, cores() - 1), cores()}):
        for waiting in options.waiting:
            medians = []
            for count in dict.fromkeys((0, options.busy)):
                with busy(count):
                    runs = [seconds(race, threads, waiting) for _ in range(options.repeats)]
                medians.append(statistics.median(runs))
            alone, beside = medians[0], medians[-1]
            row = {
                "threads": threads, "waiting": waiting, "steps": options.steps,
                "busy": options.busy, "alone": alone, "beside": beside,
            }  # fmt: skip
            if options.json:
                print(json.dumps(row), flush=True)
            else:
                figures = f"{alone:8.1f} {beside:8.1f} {beside / alone:6.1f}"
                print(f"{threads:8} {waiting:18} {figures}", flush=True)


if __name__ == "__main__":
    main()

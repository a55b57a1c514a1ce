"""What a server answers while the default race of its page computes: seconds of the race, and of requests.

The server is a process of its own, without a browser. A visitor starts the race and follows it, and meanwhile another
one asks at random moments for the state of a race that is not there; each answer runs Python on the server.

    python benchmarks/server.py [--visits 3] [--steps 60] [--root CHECKOUT ...] [--json]
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))

from support.served import Server, Visitor, inherited, serve  # noqa: E402

from olora_viz.web.parts.setup import FIELDS_OF_SETUP  # noqa: E402

APART, REST = 0.05, 2.0
"""Mean seconds between two requests, and seconds without a race."""


LANES = [{"init": "olora", "r": 2, "alpha": "", "lr": "1e-3", "seed": 0}]


def race(server: Server, number: int, steps: int) -> None:
    """Press Race on a new page, on a set-up that was not raced before, and follow the race to its end."""
    owner = Visitor(server.url, f"owner {number}")
    run, *controls = owner.payload(owner.functions["race"])
    controls[FIELDS_OF_SETUP.index("steps")], controls[FIELDS_OF_SETUP.index("seed")] = steps, number
    job, *_ = owner.call("race", [run, *controls])
    for _ in owner.heard({owner.follow(job): "follow"}):
        pass


def ask(server: Server, number: int, goes_on: Callable[[], bool]) -> list[float]:
    """Return the seconds of requests, as long as something goes on."""
    other, pause, took = Visitor(server.url, f"other {number}"), random.Random(number), list[float]()
    while goes_on():
        time.sleep(pause.expovariate(1 / APART))
        began = time.perf_counter()
        other.ask("taken", ["none", "json"])
        took.append(time.perf_counter() - began)
    return took


def measure(root: Path, visits: int, steps: int) -> dict[str, Any]:
    """Return the seconds of each race, and the milliseconds of requests at rest and beside the races.

    The server is that of a checkout, with as many threads as it chooses.
    """
    environment = inherited() | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "", "OMP_WAIT_POLICY": ""}
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(Path(folder), environment, root=root) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        warm = Visitor(server.url, "first")
        warm.finished(warm.race(steps=1, lanes=LANES))  # the first race loads the model
        until = time.monotonic() + REST
        rest = ask(server, 0, lambda: time.monotonic() < until)
        beside, seconds = list[float](), list[float]()
        for number in range(1, visits + 1):
            began = time.perf_counter()
            racing = pool.submit(race, server, number, steps)
            beside += ask(server, number, lambda racing=racing: not racing.done())
            racing.result()
            seconds.append(time.perf_counter() - began)
    return {
        "root": root.name, "race_s": sorted(seconds), "requests": len(beside),
        **{f"{name}_ms": [round(1000 * q, 1) for q in (statistics.median(took), quantile(took, 99), max(took))]
           for name, took in (("rest", rest), ("beside", beside))},
    }  # fmt: skip


def quantile(values: list[float], percent: int) -> float:
    """Return a percentile."""
    return statistics.quantiles(values, n=100)[percent - 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--visits", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--root", type=Path, nargs="+", default=[ROOT], help="checkouts to compare, in turn")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for root in options.root:
        row = measure(root.resolve(), options.visits, options.steps)
        if options.json:
            print(json.dumps(row), flush=True)
            continue
        races = ", ".join(f"{seconds:.1f}" for seconds in row["race_s"])
        print(f"{row['root']}: races {races} s; a request in ms: median, 99th percentile, longest", flush=True)
        print(f"  at rest {row['rest_ms']}, beside a race {row['beside_ms']} of {row['requests']}", flush=True)


if __name__ == "__main__":
    main()

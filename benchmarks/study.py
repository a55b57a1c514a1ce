"""A study on the command line: its plan, its races with one and with two workers, and a resume.

python benchmarks/study.py [--inits 8] [--seeds 5] [--steps 100] [--workers 1 2] [--json]
"""

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from subprocess import DEVNULL, PIPE

from olora_viz.machine.process import cores
from olora_viz.studies.folder import Ledger

INITS = ("lora", "olora", "pissa", "milora", "orthogonal", "olora_pivoted", "random_orthonormal", "sketch")
STAGE_DONE = re.compile(r"\d+: \d+ lanes")
"""What a study says of the last race of a stage; of the others it says how many lanes are to go."""
RATES = "3e-4/5e-4/1e-3/2e-3/3e-3/6e-3"


def timed(*arguments: str) -> tuple[float, float]:
    """Return the seconds that the verb takes, with the start of its process, and those until its first stage, the
    grid, is done; NaN if it runs nothing.
    """
    began, grid = time.perf_counter(), math.nan
    command = [sys.executable, "-m", "olora_viz", "study", *arguments]
    with subprocess.Popen(command, stdout=DEVNULL, stderr=PIPE, text=True) as process:
        assert process.stderr
        for line in process.stderr:
            if math.isnan(grid) and STAGE_DONE.fullmatch(line.strip()):
                grid = time.perf_counter() - began
    if process.returncode:
        raise ChildProcessError(f"study ended with code {process.returncode}")
    return time.perf_counter() - began, grid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="glassllm")
    parser.add_argument("--task", default="number-words")
    parser.add_argument("--inits", type=int, default=len(INITS))
    parser.add_argument("--lr", default=RATES)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--threads", type=int, help="of each race; default: cores / workers")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.json:
        heads = ("workers", "threads", "lanes", "plan s", "grid s", "study s", "again s")
        print(" ".join(f"{head:>7}" for head in heads))
    for workers in options.workers:
        threads = options.threads or max(1, cores() // workers)
        with tempfile.TemporaryDirectory() as home:
            asked = [
                "--model", options.model, "--task", options.task, "--lr", options.lr,
                "--init", ",".join(INITS[: options.inits]), "--seeds", str(options.seeds),
                "--steps", str(options.steps), "--threads", str(threads), "--out", f"{home}/study",
            ]  # fmt: skip
            plan, _ = timed(*asked, "--plan")
            whole, grid = timed(*asked, "--yes", "--workers", str(workers))
            again, _ = timed(f"{home}/study")
            lanes = len(Ledger(Path(home) / "study").rows())
        row = {
            "model": options.model, "workers": workers, "threads": threads, "lanes": lanes,
            "steps": options.steps, "plan": plan, "grid": grid, "study": whole,
            "again": again,
        }  # fmt: skip
        if options.json:
            print(json.dumps(row), flush=True)
        else:
            figures = f"{plan:7.1f} {grid:7.1f} {whole:7.1f} {again:7.1f}"
            print(f"{workers:7} {threads:7} {lanes:7} {figures}", flush=True)


if __name__ == "__main__":
    main()

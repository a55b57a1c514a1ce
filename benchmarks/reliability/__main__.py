"""The campaigns: ``python benchmarks/reliability VERB [--count N] [--minutes M] [--seed S]``.

Each prints what it tried and saw, and exits with 1 if a promise was broken. A campaign ends at its count or at its
minutes, whichever comes first. Linux only; they compute on one thread.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

COUNTS = {"kills": 100, "hostile": 10_000, "load": 1000, "disturbances": 1}
"""The campaigns, one module each, and how often each tries."""


def main() -> int:
    """Run one campaign; return its exit status."""
    options = argparse.ArgumentParser(prog="benchmarks/reliability", description=__doc__)
    options.add_argument("verb", choices=COUNTS)
    options.add_argument("--count", type=int, help=f"default: {COUNTS}")
    options.add_argument("--minutes", type=float, default=10, help="default: 10")
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()
    from reliability.tally import Tally

    tally = Tally(asked.verb, asked.minutes)
    with tempfile.TemporaryDirectory(prefix="reliability-") as folder:
        campaign = import_module(f"reliability.{asked.verb}").campaign
        campaign(tally, Path(folder), asked.count or COUNTS[asked.verb], asked.seed)
    print(tally)
    return 1 if tally.broken else 0


if __name__ == "__main__":
    sys.exit(main())

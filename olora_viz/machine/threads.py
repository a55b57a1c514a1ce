"""Threads of a computation on a machine that others use too."""

from __future__ import annotations

import os

CHOSEN_BY_THE_USER = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Environment variables of OpenMP that say how its threads wait."""


def wait_asleep() -> None:
    """Let OpenMP's threads sleep while they wait for each other, unless the user chose otherwise.

    By default they spin. If something else needs one of their cores, they spin until it has had
    its turn, many times in each step: two threads beside two busy processes take 3.8 times as long
    as alone, sleeping ones 1.6 times, and the more load, the wider the gap. On an idle machine it
    slows tiny models down (`benchmarks/threads.py`). OpenMP reads this when torch is loaded: call
    it before.
    """
    if not any(name in os.environ for name in CHOSEN_BY_THE_USER):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


def cores() -> int:
    """Return the number of cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1

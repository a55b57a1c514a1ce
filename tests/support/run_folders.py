"""Runs of a small race, and their folders."""

from support.races import small

from olora_viz.lanes.lane import Lane
from olora_viz.races import run as runs

CONFIG = small((Lane("lora", r=2), Lane("olora", r=4)), steps=12, eval_every=5, eval_size=8)


def stopped(folder, after: int):
    """Start a run, and stop it after some steps."""
    steps = iter(runs.start(CONFIG, folder))
    for _ in range(after):
        next(steps)
    steps.close()

"""Races as a page asks for them, and waiting for what the queue computes."""

from dataclasses import replace

from support.waiting import PATIENCE, wait_until

from olora_viz.races.config import RaceConfig
from olora_viz.web.guard.config import checked_config
from olora_viz.web.guard.limits import Limits
from olora_viz.web.jobs.queue import W

LANES = [{"init": "lora", "r": 4, "alpha": "", "lr": "1e-3", "seed": 0}]
ASKED = {"model": "glassllm", "task": "addition", "steps": 5, "batch": 4, "lanes": LANES, "settings": {"keep": "none"}}


FEW = {"eval_size": 4, "test_size": 4}
"""What a race is judged on: the page's 64 examples after every step would take most of its time."""


def asked(**changes: object) -> RaceConfig:
    """Return the set-up that the server makes of a page's values; some of them are others."""
    return replace(checked_config(Limits(max_steps=10_000), **(ASKED | changes)), **FEW)


def lane(**changes: object) -> list[dict[str, object]]:
    """Return the only row of the page's table."""
    return [LANES[0] | changes]


def wait(job: W, seconds: float = PATIENCE) -> W:
    """Return work of the queue once it is complete."""
    wait_until(lambda: job.complete, seconds)
    return job

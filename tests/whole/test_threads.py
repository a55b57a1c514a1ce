"""How the threads of a computation wait for each other, as the OpenMP library itself reports it."""

import os
import subprocess
import sys
from itertools import takewhile

import pytest

from olora_viz.machine.process import CHOSEN_BY_THE_USER, SPINS


def reported(**chosen: str) -> str:
    """Return what OpenMP prints of its settings when a new process loads it."""
    kept = {name: value for name, value in os.environ.items() if name not in CHOSEN_BY_THE_USER}
    with subprocess.Popen(
        [sys.executable, "-c", "import olora_viz, torch"],
        env=kept | {"OMP_DISPLAY_ENV": "VERBOSE"} | chosen, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        said = "".join(takewhile(lambda line: "ENVIRONMENT END" not in line, process.stderr))
        process.kill()  # whatever else is imported
    return said


def test_waiting_threads_sleep_after_a_moment() -> None:
    settings = reported()
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in settings
    assert f"GOMP_SPINCOUNT = '{SPINS}'" in settings


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("OMP_WAIT_POLICY", "ACTIVE", "OMP_WAIT_POLICY = 'ACTIVE'"),
        ("GOMP_SPINCOUNT", "1234", "GOMP_SPINCOUNT = '1234'"),
    ],
)
def test_the_user_s_own_choice_stays(name: str, value: str, shown: str) -> None:
    assert shown in reported(**{name: value})

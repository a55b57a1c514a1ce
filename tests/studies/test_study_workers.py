"""The processes of a study stop with it, between two steps, and leave their races to be resumed."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from reliability.victims import Say, apart
from support.verbs import below, resident
from support.waiting import wait_until

from olora_viz.machine.memory import keep_freed
from olora_viz.races.run import CHECKPOINT
from olora_viz.studies.run import RaceWorkers

LONG = (
    "study --task number-words,addition --init lora,olora --lr 3e-3 --seeds 1 --steps 5000 --r 2 "
    "--batch-size 4 --eval-size 8 --test-size 8 --threads 1 --workers 2 --out"
).split()


@pytest.mark.nightly
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a list of the processes")
def test_ctrl_c_ends_both_workers_at_their_next_step(tmp_path: Path) -> None:
    out = tmp_path / "study"
    command = [sys.executable, "-m", "olora_viz", *LONG, str(out)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: len(list(out.glob("runs/*/steps.jsonl"))) == 2, seconds=90)
            its = below(process.pid)
            assert len(its) >= 3  # both workers, and what counts their resources
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == 130
            wait_until(lambda: not any(Path(f"/proc/{pid}").is_dir() for pid in its))
            assert len(list(out.glob(f"runs/*/{CHECKPOINT}"))) == 2
        finally:
            process.kill()


def timed(say: Say) -> None:
    """Time a race, as it were, and say how many megabytes are free once workers are to start."""
    keep_freed()
    blocks = [torch.ones(250_000) for _ in range(301)]  # 300 MB, as the passes of a race that is timed
    last = blocks.pop()  # in use, above them
    del blocks
    before = resident()
    RaceWorkers(2)
    say(str((before - resident()) // 2**20))
    del last


@pytest.mark.skipif(sys.platform != "linux", reason="is about the C library of Linux")
def test_the_workers_have_the_memory_that_timing_a_race_took(tmp_path: Path) -> None:
    assert int(apart(timed, tmp_path)) > 200

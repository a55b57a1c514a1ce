"""The benchmarks run: what they measure is nobody's test, that they measure is this one's."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

SMALL = {
    "curvature.py": "--model glassllm --lanes 2 --rank 4 --steps 3",
    "fair_rate.py": "--tasks addition --seeds 1 --inits lora olora --rates 1e-3 1e-2 --steps 2",
    "init.py": "--model glassllm --rank 4 --init olora lora --wide 256 128 4",
    "race.py": "--model glassllm --lanes 2 --dtypes float32 --steps 1 --shots 2",
    "spectra.py": "--model glassllm --ranks 4",
    "measures.py": "--model glassllm --lanes 2 --rank 4 --shots 2",
    "ui.py": "--visits 1 --steps 12",
}


def test_every_benchmark_is_tried():
    assert {path.name for path in (ROOT / "benchmarks").glob("*.py")} == set(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_a_benchmark_prints_one_object_a_line(name):
    done = subprocess.run(
        [sys.executable, f"benchmarks/{name}", *SMALL[name].split(), "--json"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert rows
    assert all(isinstance(row, dict) and len(row) > 4 for row in rows)


@pytest.mark.parametrize(
    "call",
    [
        "race.py --lanes 1 --dtypes float32 --steps 1",
        "measures.py --lanes 1 --rank 2",
        "spectra.py",
    ],
)
def test_what_a_benchmark_reads_by_default_fits_a_small_model(call):
    """glassllm reads 128 tokens, and its narrowest layers have 64 rows."""
    name, *options = call.split()
    done = subprocess.run(
        [sys.executable, f"benchmarks/{name}", "--model", "glassllm", *options, "--json"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()


def test_what_goes_wrong_in_a_worker_of_the_race_s_benchmark_is_one_sentence():
    done = subprocess.run(
        [sys.executable, "benchmarks/race.py", "--model", "glasllm"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "unknown model 'glasllm'" in done.stderr.splitlines()[-1]

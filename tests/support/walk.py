"""A walk through every verb of the command line to its end, by a Python with no package of tests.

``python walk.py FOLDER [--longer | --shorter]`` in the folder that the package is imported from, or
anywhere where it is installed. Prints a table: verb, seconds, exit code, and what was seen. Each verb runs in a fork
of this process, which has loaded the libraries once.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, os.getcwd())  # as `python -m` does

import matplotlib.figure  # noqa: F401 (once for all forks, as what follows)
import pandas as pd  # noqa: F401
import plotly.graph_objects as go  # noqa: F401

import olora_viz as ov
from olora_viz.__main__ import main

SMALL = "--batch-size 4 --eval-size 8 --test-size 8 --task sentiment"

PART = (
    ("models", "glassllm"),
    (f"race {SMALL} --lane lora --lane olora:lr=1e-3,r=4 --steps 4 --run run", "run/summary.json"),
    ("export run --lane olora --out adapter", "adapter/adapter_model.safetensors"),
    (f"study {SMALL} --init lora,olora --lr 1e-3/3e-3 --seeds 2 --steps 2 --out study --yes",
     "study/verdicts.json"),
    ("decide --task sentiment --init olora --lr 3e-3 --seeds 1 --steps 4 --minutes 5 "
     "--out decision", "decision/report.html"),
    ("spectrum --layer layers.1.*.q_proj --rank 4 --png spectrum.png", "spectrum.png"),
)  # fmt: skip
"""Command lines, and a file that is there afterwards or words that were printed; of each library that is loaded,
and of processes and files, something: the walk with ``--shorter``."""

VERBS = (
    *PART,
    ("tasks", "sentiment"),
    ("initializers", "olora"),
    ("export run --lane olora --form olora --out small", "small/adapter_config.json"),
    ("export run --lane olora --form merged --out merged", "merged/model.safetensors"),
    ("push run --lane olora --repo me/mine --dry-run", "adapter_model.safetensors"),
    ("inspect adapter --html inspected.html", "inspected.html"),
    ("study study --html study.html --png study.png", "study.html"),
    ("inspect decision/adapter", "effective rank"),
    ("claims --only subset ablation", "subset"),
    ("claims --only subset --study study", "subset"),
    ("gradients --batch-size 2 --task sentiment --png gradients.png", "gradients.png"),
    ("curvature --batch-size 2 --batches 2 --task sentiment --png curvature.png", "curvature.png"),
)  # fmt: skip
"""All verbs, after which those come that need what the first have written."""

LONGER = (("site pages --run run --study study", "pages/learn/qr.html"),)
"""The same of what takes seconds, and is the same on every Python: walked with ``--longer``."""


def walked(line: str, log: Path) -> tuple[float, int, str]:
    """Run a verb; return its seconds, exit code and output."""
    began = time.monotonic()
    child = os.fork()
    if not child:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(out, stream)
        try:
            code = main(line.split())
        except SystemExit as leaving:
            code = leaving.code
        except BaseException:
            sys.excepthook(*sys.exc_info())
            code = 99  # a traceback
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    _, status = os.waitpid(child, 0)
    seconds = time.monotonic() - began
    return seconds, os.waitstatus_to_exitcode(status), log.read_text("utf-8", errors="replace")


def as_typed(command: Sequence[str]) -> tuple[float, int, str]:
    """Run a command in a process of its own, as a person does."""
    began = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return time.monotonic() - began, done.returncode, done.stdout


def walk(folder: Path, verbs: Sequence[tuple[str, str]]) -> int:
    """Run verbs in a folder; return how many failed."""
    package = Path(sys.modules["olora_viz"].__file__).parents[1]
    script = Path(sys.executable).with_name("olora-viz")
    typed = [[sys.executable, "-m", "olora_viz", "--version"]]
    if script.exists():
        typed.append([str(script), "--version"])
    runs = [(" ".join(words[-3:]), "olora_viz ", as_typed(words)) for words in typed]
    os.chdir(folder)
    ov.load_model("glassllm")  # once for all forks
    runs += [(line, seen, walked(line, folder / "log")) for line, seen in verbs]
    failed = 0
    print(f"Python {sys.version.split()[0]}, the package in {package}")
    for line, expected, (seconds, code, out) in runs:
        seen = (folder / expected).is_file() or expected in out
        ok = code == 0 and seen and "Traceback" not in out
        failed += not ok
        print(f"{'ok  ' if ok else 'FAIL'} {seconds:5.1f} s  {line}  →  {expected}")
        if not ok:
            print(f"exit code {code}\n{out[-3000:]}")
    print(f"{len(runs)} verbs, {failed} failed", flush=True)
    return failed


if __name__ == "__main__":
    LENGTHS = {"--longer": VERBS + LONGER, "--shorter": PART}
    sys.exit(min(1, walk(Path(sys.argv[1]).resolve(), LENGTHS.get(sys.argv[-1], VERBS))))

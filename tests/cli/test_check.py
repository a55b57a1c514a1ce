"""The verb `check`: a table or JSON, its exit status, what it refuses, and how it is interrupted."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.verbs import objects, run
from support.waiting import PATIENCE

from olora_viz.checks import run as checks
from olora_viz.checks.check import Check, Outcome
from olora_viz.checks.run import latest

GOOD = Check("good", "it is good", lambda bench: Outcome(True, "it is", {"loss": 1.5}))
BAD = Check("bad", "it is good too", lambda bench: Outcome(False, "it is not"))
TOLD = Check("told", "told: the time", lambda bench: Outcome(None, "2 s"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OLORA_VIZ_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_holds_is_a_table_and_exit_status_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "CHECKS", (GOOD, TOLD))
    done = run("check", "--device", "cpu")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["check", "found"],
        ["good", "holds", "it", "is"],
        ["told", "–", "2", "s"],
    ]
    assert lines[3].startswith("on CPU 1 check holds, and none falls short, after ")
    kept = latest()
    assert kept is not None
    assert [line["name"] for line in kept["lines"]] == ["good", "told"]


def test_what_falls_short_is_told_with_what_must_hold_and_exit_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "CHECKS", (GOOD, BAD))
    done = run("check")
    assert done.returncode == 1
    assert "bad    FALLS SHORT  it is not\n                    but must: it is good too\n" in done.stdout
    assert "1 check holds, and bad falls short" in done.stdout
    assert latest() is not None


def test_json_is_one_object_a_line_and_ends_with_the_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "CHECKS", (GOOD, BAD, TOLD))
    done = run("check", "--json")
    assert done.returncode == 1
    *lines, last = objects(done.stdout)
    assert lines[0] == {
        "name": "good",
        "must": "it is good",
        "holds": True,
        "words": "it is",
        "numbers": {"loss": 1.5},
    }
    assert [line["holds"] for line in lines] == [True, False, None]
    summary = last["summary"]
    assert summary.keys() == {"when", "device", "versions", "seconds", "holds", "falls_short"}
    assert (summary["device"], summary["holds"], summary["falls_short"]) == ("CPU", 1, ["bad"])


@pytest.mark.parametrize("device", ["gpu", "cuda:7", ""])
def test_a_device_that_is_none_is_one_sentence(device: str) -> None:
    done = run("check", "--device", device)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert latest() is None


def test_a_result_that_cannot_be_kept_is_printed_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "CHECKS", (GOOD,))
    (tmp_path / "file").write_text("", "utf-8")
    monkeypatch.setenv("OLORA_VIZ_CACHE", str(tmp_path / "file" / "cache"))
    done = run("check", "--json")
    assert done.returncode == 0
    assert len(objects(done.stdout)) == 2
    assert done.stderr.startswith("the page will not show this result: cannot create the cache folder")


BLOCKED = """
import multiprocessing, sys, time
from olora_viz.checks import run
from olora_viz.checks.check import Check, Outcome
from olora_viz.__main__ import main

def forever(bench):
    {begin}
    print("blocked", what, flush=True, file=sys.stderr)
    while True:
        sum(range(10**6))

good = Check("good", "it is", lambda bench: Outcome(True, "it is"))
run.CHECKS = (good, Check("long", "it ends", forever))
if __name__ == "__main__":
    sys.exit(main(["check", "--json"]))
"""
"""A run of checks, the second of which begins something and does not end."""

HALF_A_FILE = 'what = (bench.folder / "half").write_text("half")'
A_PROCESS = """
    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,), daemon=True)
    process.start()
    what = process.pid
"""


def interrupted(begin: str, folder: Path) -> tuple[str, subprocess.CompletedProcess[str]]:
    """Interrupt a run of `BLOCKED` in its second check; return what this had begun, and how the run ended."""
    script = folder / "blocked.py"
    script.write_text(BLOCKED.format(begin=begin), "utf-8")
    process = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # Where tests run in the background, their children would ignore the interrupt.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    with process:
        assert process.stderr is not None
        while not (line := process.stderr.readline()).startswith("blocked"):
            assert line
        process.send_signal(signal.SIGINT)
        out, rest = process.communicate(timeout=PATIENCE)
    return line.split()[1], subprocess.CompletedProcess(process.args, process.returncode, out, rest)


def test_ctrl_c_ends_it_in_the_middle_of_a_check_with_whole_lines_and_no_result(cache: Path, tmp_path: Path) -> None:
    _, done = interrupted(HALF_A_FILE, tmp_path)
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1] == "interrupted"
    assert "Traceback" not in done.stderr
    assert [line["name"] for line in objects(done.stdout)] == ["good"]
    assert not list(cache.glob("*"))


def test_a_process_that_is_to_be_killed_does_not_outlive_an_interrupted_check(cache: Path, tmp_path: Path) -> None:
    pid, _ = interrupted(A_PROCESS, tmp_path)
    stat = Path(f"/proc/{int(pid)}/stat")
    assert not stat.exists() or stat.read_text("utf-8").rpartition(")")[2].split()[0] == "Z"

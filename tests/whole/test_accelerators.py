"""The laws of `accelerated.py` on an accelerator that is pretended, in a process of its own.

Torch cannot take back that it has another device, nor compute a gradient in a fork of a process that has one.
"""

import ast
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pandas as pd
import pytest

TESTS = Path(__file__).parents[1]
LAWS = Path(__file__).with_name("accelerated.py")
NAMES = [
    each.name
    for each in ast.parse(LAWS.read_text("utf-8")).body
    if isinstance(each, ast.FunctionDef) and each.name.startswith("test_")
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What has failed of each law, by its name."""
    report = tmp_path_factory.mktemp("accelerated") / "report.xml"
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", f"--junitxml={report}", str(LAWS)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert report.exists(), done.stdout + done.stderr
    found: dict[str, list[str]] = {}
    for case in ET.parse(report).iter("testcase"):
        failed = found.setdefault(case.attrib["name"].partition("[")[0], [])
        failed += [
            f"{case.attrib['name']}: {each.text}" for each in case if each.tag in ("failure", "error", "skipped")
        ]
    return found


STUDY = (
    "study", "--init", "lora,olora", "--seeds", "2", "--lr", "1e-3", "--steps", "2", "--batch-size", "4",
    "--eval-size", "4", "--test-size", "4", "--task", "number-words", "--threads", "1",
)  # fmt: skip


def test_a_study_takes_a_worker_for_each_of_two_accelerators_and_has_the_table_of_the_cpu(tmp_path: Path) -> None:
    tables, said = [], []
    for options in ((), ("--device", "cpu", "--workers", "1")):
        noted, out = tmp_path / f"noted{len(options)}", tmp_path / f"out{len(options)}"
        noted.mkdir()
        where = {"PYTHONPATH": os.pathsep.join(map(str, [TESTS.parent, TESTS])), "NOTED": str(noted)}
        command = [sys.executable, str(TESTS / "support/on_two_cards.py"), *STUDY, *options, "--out", str(out)]
        done = subprocess.run(command, env=os.environ | where, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        said.append("2 races at once, on pretended:0 and pretended:1" in done.stderr)
        used = [path.name.split("-") for path in noted.iterdir()]
        assert len({process for process, _ in used}) == len(used), "a process uses one"
        assert sorted(index for _, index in used) == ([] if options else ["0", "0", "1"]), "one times, two race"
        tables.append(pd.read_parquet(out / "lanes.parquet").drop(columns=["seconds", "run"]))
    assert said == [True, False]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


@pytest.mark.parametrize("law", NAMES)
def test_the_law_holds_on_an_accelerator(law: str, outcomes: dict[str, list[str]]) -> None:
    assert outcomes[law] == []

"""The laws of `accelerated.py` on an accelerator that is pretended, in a process of its own.

Torch cannot take back that it has another device, nor compute a gradient in a fork of a process that has one.
"""

import ast
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

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


@pytest.mark.parametrize("law", NAMES)
def test_the_law_holds_on_an_accelerator(law: str, outcomes: dict[str, list[str]]) -> None:
    assert outcomes[law] == []

"""What users install is what is tested: every verb, in environments as users make them.

The browser's tests open pages of a server in such an environment as well, see `shared.address`.
"""

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from support import environments
from support.environments import REQUIREMENTS, ROOT, VERSIONS, checkout, environment, pythons
from support.served import Visitor, end, free_port

import olora_viz as ov

WALK = ROOT / "tests" / "support" / "walk.py"
PYTHONS = pythons()


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkout(tmp_path_factory.mktemp("clone"))


@pytest.fixture(scope="module")
def wheel(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environments.wheel(clone, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel."""
    return environment(tmp_path_factory.mktemp("own") / "venv", PYTHONS["3.11"], str(wheel))


def walk(python: Path, inside: Path, folder: Path, *more: str) -> str:
    """Walk through the verbs with a Python that starts in a folder; return the table."""
    variables = {"PATH": os.environ["PATH"], "HOME": str(folder), "OMP_NUM_THREADS": "1"}
    command = [str(python), str(WALK), str(folder), *more]
    done = subprocess.run(command, cwd=inside, env=variables, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("version", PYTHONS)
def test_every_verb_ends_well_after_the_first_command(
    version: str, clone: Path, first_command: Path, tmp_path: Path
) -> None:
    python = first_command
    if PYTHONS[version] != Path(sys.executable):
        python = environment(tmp_path / "venv", PYTHONS[version], *REQUIREMENTS)
    table = walk(python, clone, tmp_path, *["--longer"] * (python == first_command))
    assert table.startswith(f"Python {version}.")
    assert f"the package in {clone}\n" in table
    report = (tmp_path / "decision" / "report.html").read_text("utf-8")
    assert f"Python {version}." in report
    assert f"olora_viz {ov.__version__}" in report


def test_every_verb_ends_well_in_a_project_that_installs_the_wheel(installed: Path, tmp_path: Path) -> None:
    table = walk(installed, tmp_path, tmp_path)
    assert "site-packages" in table.splitlines()[0]
    assert "bin/olora-viz --version" in table


def test_a_wheel_has_all_that_the_package_has(clone: Path, wheel: Path) -> None:
    there = {
        path.relative_to(clone).as_posix()
        for path in (clone / "olora_viz").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    packed = set(zipfile.ZipFile(wheel).namelist())
    of_checks = {name for name in there if name.endswith(".d.ts")}
    assert {name for name in packed if name.startswith("olora_viz/")} == there - of_checks
    assert "olora_viz/py.typed" in packed


def test_an_installed_package_serves_its_page(installed: Path, tmp_path: Path) -> None:
    port = free_port()
    variables = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    script = installed.with_name("olora-viz")
    server = subprocess.Popen(
        [str(script), "serve", "--host", "127.0.0.1", "--port", str(port), "--json"],
        cwd=tmp_path, env=variables, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stdout
        url = json.loads(server.stdout.readline())["url"]
        assert url == f"http://127.0.0.1:{port}/"
        visitor = Visitor(url, "own")
        lanes = [{"init": "olora", "r": 2, "alpha": "", "lr": "1e-3", "seed": 0}]
        run = visitor.finished(visitor.race(steps=2, lanes=lanes), seconds=600)
        assert run["summary"]["state"] == "finished"
    finally:
        end(server)
    assert server.returncode == 0


def test_the_versions_of_python_are_those_that_are_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = [line.rpartition(" ")[2] for line in project["classifiers"] if "Python :: " in line]
    assert tuple(named) == VERSIONS
    assert project["requires-python"] == f">={VERSIONS[0]}"

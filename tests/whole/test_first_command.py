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
from support.environments import REQUIREMENTS, ROOT, SPACES, VERSIONS, checkout, environment, pythons, walk
from support.served import Visitor, end, free_port

import olora_viz as ov

PYTHONS = pythons()
HERE = Path(sys.executable)
NEWEST = list(PYTHONS)[-1]
"""The version whose environment has the wheel; if it is another than that of `first_command`, both walk through every
verb."""
FIRST = [v for v, python in PYTHONS.items() if python == HERE or v not in (NEWEST, SPACES)]
"""The versions whose environments are made here as by the first command; see also `test_space_container`."""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkout(tmp_path_factory.mktemp("clone"))


@pytest.fixture(scope="module")
def wheel(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environments.wheel(clone, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel."""
    return environment(tmp_path_factory.mktemp("own") / "venv", PYTHONS[NEWEST], f"{wheel}[page,hub]")


@pytest.mark.nightly
@pytest.mark.parametrize("version", FIRST)
def test_every_verb_ends_well_after_the_first_command(
    version: str, clone: Path, first_command: Path, tmp_path: Path
) -> None:
    """On another Python, whose libraries have to be compiled first, it is one verb of each kind."""
    python, length = first_command, "--longer"
    if PYTHONS[version] != HERE:
        python, length = environment(tmp_path / "venv", PYTHONS[version], *REQUIREMENTS), "--shorter"
    table = walk(python, clone, tmp_path, length)
    assert f"the package in {clone}\n" in table
    check_version(version, table, tmp_path)


@pytest.mark.nightly
def test_every_verb_ends_well_in_a_project_that_installs_the_wheel(installed: Path, tmp_path: Path) -> None:
    length = ["--shorter"] if PYTHONS[NEWEST] == HERE else []
    table = walk(installed, tmp_path, tmp_path, *length)
    assert "site-packages" in table.splitlines()[0]
    assert "bin/olora-viz --version" in table
    check_version(NEWEST, table, tmp_path)


def check_version(version: str, table: str, folder: Path) -> None:
    """Check that the walk, and the report that it wrote, name the versions that it is about."""
    assert table.startswith(f"Python {version}.")
    report = (folder / "decision" / "report.html").read_text("utf-8")
    assert f"Python {version}." in report
    assert f"olora_viz {ov.__version__}" in report


@pytest.mark.nightly
def test_the_readmes_example_finds_the_package_where_the_readme_says(
    clone: Path, first_command: Path, tmp_path: Path
) -> None:
    text = (clone / "README.md").read_text("utf-8")
    assert "in the clone's folder, with `.venv/bin/python`; after `.venv/bin/pip install -q -e .`" in text
    finds = "import importlib.util; found = importlib.util.find_spec('olora_viz'); print(found and found.origin)"

    def found(python: Path, folder: Path) -> str:
        run = subprocess.run([str(python), "-c", finds], cwd=folder, capture_output=True, text=True, check=True)
        return run.stdout.strip()

    there = str(clone / "olora_viz" / "__init__.py")
    assert found(first_command, clone) == there
    assert found(first_command, tmp_path) == "None"
    assert found(environment(tmp_path / "venv", HERE, "--no-deps", "-e", str(clone)), tmp_path) == there


def test_a_wheel_has_all_that_the_package_has(clone: Path, wheel: Path) -> None:
    there = {
        path.relative_to(clone).as_posix()
        for path in (clone / "olora_viz").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    packed = set(zipfile.ZipFile(wheel).namelist())
    for_developers = {name for name in there if name.endswith((".d.ts", ".md"))}
    assert {name for name in packed if name.startswith("olora_viz/")} == there - for_developers
    assert "olora_viz/py.typed" in packed


@pytest.mark.nightly
def test_the_package_alone_races_and_names_the_extra_of_what_is_missing(wheel: Path, tmp_path: Path) -> None:
    python = environment(tmp_path / "venv", HERE, str(wheel))
    racing = "import olora_viz as ov; print(*(step.step for step in ov.race(ov.RaceConfig(steps=2, eval_size=4))))"

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(python), *words], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert run("-c", racing).stdout == "1 2\n"
    for extra, words in {
        "page": ("-m", "olora_viz", "serve"), "charts": ("-m", "olora_viz", "spectrum", "--layer", "*q_proj*"),
    }.items():  # fmt: skip
        done = run(*words)
        assert done.returncode == 2
        assert done.stderr.endswith(f"install this package with its extra {extra}\n")
    assert "with its extra charts" in run("-c", "import olora_viz as ov; ov.plot_race").stderr


@pytest.mark.nightly
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

"""The README agrees with the code: its commands run, its tree is the tree, its files match."""

import re
import shlex
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from support.verbs import objects, run

import olora_viz as ov
from olora_viz.web.guard.limits import Limits
from olora_viz.web.jobs.accelerator import MOST_SECONDS, seconds_needed

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the examples in a language; races have a tenth of their steps, curvatures few rows."""
    shorter = re.sub(r"(steps|every)([ =]\d+)0\b", r"\1\2", README)
    shorter = re.sub(r"(olora_viz curvature)", r"\1 --batch-size 2 --batches 2", shorter)
    return re.findall(rf"```{language}\n(.*?)```", shorter, re.DOTALL)


def shell(block: str) -> str:
    """Run the commands of a block here, which saves loading the libraries for each."""
    out = ""
    for line in block.replace("\\\n", " ").splitlines():
        python, module, package, *arguments = shlex.split(line, comments=True)
        assert (python, module, package) == ("python", "-m", "olora_viz")
        done = run(*arguments)
        assert done.returncode == 0, done.stderr
        out += done.stdout
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("reader")


@pytest.fixture(autouse=True)
def inside(folder, monkeypatch):
    """Run everything in the reader's folder."""
    monkeypatch.chdir(folder)


def test_the_first_python_example_runs_and_prints_held_out_losses(capsys):
    exec(blocks("python")[0], {})
    out = capsys.readouterr().out
    assert out.startswith("3 {'lora': ")
    assert "base model:" in out


def test_the_command_line_of_the_tour_runs_and_peft_loads_what_it_exports():
    (tour,) = (block for block in blocks("sh") if "olora_viz export" in block)
    assert shell(tour).endswith("olora@lr=3e-3 written to my-adapter\n")
    exec(blocks("python")[1], {})


def test_the_set_up_in_a_file_runs(folder):
    (setup,) = blocks("toml")
    assert "`race.toml`" in README
    (folder / "race.toml").write_text(setup, encoding="utf-8")
    done = run("race", "race.toml", "--steps", "2", "--json")
    assert done.returncode == 0, done.stderr
    summary = objects(done.stdout)[-1]["summary"]
    assert set(summary["lanes"]) == {"lora@lr=1e-3", "lora@lr=3e-3", "olora@lr=1e-3", "olora@lr=3e-3"}


def test_what_is_to_be_installed_does_not_ask_an_index_for_this_package():
    for file in (ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("olora_viz/**/*.py")):
        words = re.sub(r"[\s\"']+", " ", file.read_text(encoding="utf-8"))
        assert "pip install olora" not in words, file


def test_the_notebooks_cells_run(capsys):
    panel, linked, plain = (block for block in blocks("python") if "panel" in block)
    race = f"{panel}\npanel.start(); panel.result()\n{plain}\nprint(panel, len(panel.steps))"
    code = f"{race}\n{linked}\nassert (panel.config.steps, spectra[1].rank) == (20, 16)"
    exec(code, {})
    line, shown = capsys.readouterr().out.splitlines()
    assert "At one rate (1e-3)" in line
    assert shown == "RacePanel: finished, step 4 of 4 8"


def test_the_commands_about_conditioning_run(folder):
    (block,) = (block for block in blocks("sh") if "olora_viz curvature" in block)
    assert "λ_max of olora is" in shell(block)
    assert (folder / "curvature.png").is_file()


def test_the_test_command_is_the_one_that_ci_runs():
    commands = [block.strip() for block in blocks("sh") if "pytest" in block]
    assert len(commands) == 1
    assert commands[0] in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_the_workflow_runs_it_on_every_python_that_the_package_names():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    versions = [line.rpartition(" ")[2] for line in project["classifiers"] if re.search(r"Python :: 3\.\d", line)]
    job = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]["all"]
    assert job["strategy"]["matrix"]["python"] == versions
    assert job["steps"][-1] == {"run": ".ci/run"}


def test_a_space_installs_what_the_package_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = (ROOT / "requirements.txt").read_text(encoding="utf-8").split()
    assert wanted == project["dependencies"]
    front = README.split("---")[1]
    assert "app_file: app.py" in front
    assert len(re.search(r"short_description: (.*)", front)[1]) <= 60
    version = re.search(r"sdk_version: (.*)", front)[1]
    assert f"gradio>={version.rpartition('.')[0]},<7" in wanted


def test_the_example_of_an_own_initialization_and_measurement_runs(capsys):
    (own,) = (block for block in blocks("python") if "register" in block)
    try:
        exec(own, {})
    finally:
        ov.unregister("rows")
        ov.unregister_measure("size")
    numbers = [float(x) for x in re.findall(r"\d+\.\d+", capsys.readouterr().out)]
    assert len(numbers) == 3
    assert max(numbers[:2]) == pytest.approx(numbers[2])


def test_the_tree_is_the_tree():
    (tree,) = (block for block in blocks("text") if "olora_viz/" in block)
    named: set[Path] = set()
    folders: list[Path] = []
    for line in tree.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        first = line.split()[0]
        if first.endswith("/"):
            folders[depth:] = [Path(*folders[depth - 1 : depth], first)]
            named.add(folders[-1])
        elif depth == 0:
            named.add(Path(first))
        else:
            names = (name if "." in name else f"{name}.py" for name in line.split())
            named |= {folders[depth - 1] / name for name in names}
    assert {path for path in named if not (ROOT / path).exists()} == set()
    modules = (ROOT / "olora_viz").rglob("*.py")
    there = {path.relative_to(ROOT) for path in modules if path.parent.name != "olora_viz"}
    packages = {path.parent for path in there}
    files = {path for path in there if path.name != "__init__.py"}
    assert packages | files <= named


def test_every_limit_of_a_server_is_in_the_table_with_its_default():
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \|.*\| ([^|]+) \|$", README, re.MULTILINE))
    limits = {field.name.upper(): field.default for field in fields(Limits)}
    assert set(rows) == set(limits)
    for name, default in limits.items():
        assert name == "MODELS" or rows[name] == str(default)


def test_the_seconds_of_a_race_on_zero_gpu_are_those_that_are_asked_for():
    told = re.search(r"`seconds_needed`.*?never more than \d+ s", README, re.DOTALL)[0]
    asked = [seconds_needed(ov.RaceConfig()), MOST_SECONDS]
    assert [int(one) for one in re.findall(r"(\d+)\s+s\b", told)] == asked


def test_every_picture_is_there():
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert pictures
    assert all((ROOT / picture).is_file() for picture in pictures)

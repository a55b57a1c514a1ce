"""The README agrees with the code: it is short, its commands run, its files match."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from support.pages import CONTRIBUTING, PAGES, README, ROOT, blocks_of, run_page

from olora_viz.machine.version import EXTRAS

TEXT = README.read_text(encoding="utf-8")
LEAST_EXAMPLES = 300


def test_the_readme_is_read_in_two_minutes():
    assert len(TEXT.splitlines()) <= 160


def test_its_blocks_run_and_peft_loads_what_they_export(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = (f'{{"prompt": "{number} doubled is", "answer": "{2 * number}"}}\n' for number in range(LEAST_EXAMPLES))
    (tmp_path / "my.jsonl").write_text("".join(rows), encoding="utf-8")
    printed, names = run_page(README)
    assert "olora@lr=3e-3 written to my-adapter\n" in printed
    assert type(names["model"]).__name__.startswith("PeftModel")
    assert printed.startswith("3 {'lora': ")
    assert "base model:" in printed
    assert (tmp_path / "decisions/mine/report.html").is_file()


def test_what_is_to_be_installed_does_not_ask_an_index_for_this_package():
    for file in (README, *PAGES, *ROOT.glob("olora_viz/**/*.py")):
        words = re.sub(r"[\s\"']+", " ", file.read_text(encoding="utf-8"))
        assert "pip install olora" not in words, file


def test_the_test_command_is_the_one_that_ci_runs():
    commands = [block.code.strip() for block in blocks_of(README) if "pytest" in block.code]
    assert len(commands) == 1
    assert commands[0] in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_the_workflow_runs_it_on_every_python_that_the_package_names():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    versions = [line.rpartition(" ")[2] for line in project["classifiers"] if re.search(r"Python :: 3\.\d", line)]
    job = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]["all"]
    assert job["strategy"]["matrix"]["python"] == versions
    last = job["steps"][-1]
    assert last["run"] == ".ci/run ${{ github.event_name == 'schedule' && '--all' || '' }}"
    assert last["env"] == {"BASE": "${{ github.event.pull_request.base.sha }}"}, "all of it but for a pull request"


def test_a_space_installs_what_the_package_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = (ROOT / "requirements.txt").read_text(encoding="utf-8").split()
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *(line for extra in ("charts", "page", "hub") for line in extras[extra])]
    assert sorted(wanted) == sorted(line for line in asked if not line.startswith("olora_viz["))
    for extra, packages in EXTRAS.items():
        assert {*packages} <= {re.match(r"[\w-]+", line)[0] for line in extras[extra]}
    front = TEXT.split("---")[1]
    assert "app_file: app.py" in front
    assert len(re.search(r"short_description: (.*)", front)[1]) <= 60
    version = re.search(r"sdk_version: (.*)", front)[1]
    assert f"gradio>={version.rpartition('.')[0]},<7" in wanted


def test_the_tree_is_the_tree():
    (tree,) = (block.code for block in blocks_of(CONTRIBUTING) if "app.py" in block.code)
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


@pytest.mark.parametrize("page", [README, CONTRIBUTING], ids=lambda page: page.name)
def test_what_it_links_to_is_there(page):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL))
    assert links
    assert [link for link in links if not link.startswith("https://") and not (ROOT / link).is_file()] == []

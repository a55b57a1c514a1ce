"""The repository is a Space: its configuration is valid, and the app starts as it does there."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import distribution, requires, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from support.served import ROOT, Visitor, serve

from olora_viz.models import MODELS

FRONT = yaml.safe_load((ROOT / "README.md").read_text(encoding="utf-8").split("---\n")[1])
COLORS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
KNOWN = {
    "title", "emoji", "colorFrom", "colorTo", "sdk", "python_version", "sdk_version",
    "suggested_hardware", "suggested_storage", "app_file", "app_build_command", "app_port",
    "base_path", "fullWidth", "header", "short_description", "models", "datasets", "tags",
    "thumbnail", "pinned", "hf_oauth", "hf_oauth_scopes", "hf_oauth_expiration_minutes",
    "hf_oauth_authorized_org", "disable_embedding", "startup_duration_timeout", "custom_headers",
    "preload_from_hub", "license",
}  # fmt: skip
"""The fields that the Hub documents for a Space, and ``license``, which it documents for all."""
PYTHONS = ("3.10", "3.12")
"""The versions of Python that ZeroGPU documents."""

LANES = [{"init": init, "r": 2, "alpha": "", "lr": "1e-3", "seed": 0} for init in ("lora", "olora")]


def test_the_configuration_has_documented_fields_alone_with_values_that_they_take() -> None:
    assert set(FRONT) <= KNOWN
    assert FRONT["title"]
    assert len(FRONT["emoji"]) in (1, 2)
    assert not FRONT["emoji"].isascii()
    assert {FRONT["colorFrom"], FRONT["colorTo"]} <= COLORS
    assert FRONT["sdk"] == "gradio"
    assert 0 < len(FRONT["short_description"]) <= 60
    assert (ROOT / FRONT["app_file"]).is_file()
    assert FRONT["license"] == "apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_the_python_is_one_that_zero_gpu_offers_and_the_package_takes() -> None:
    assert isinstance(FRONT["python_version"], str), "YAML reads 3.10 without quotes as 3.1"
    assert FRONT["python_version"] in PYTHONS
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert SpecifierSet(project["requires-python"]).contains(FRONT["python_version"])


def test_the_space_s_gradio_is_the_one_that_is_tested() -> None:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").split()
    (gradio,) = (one for one in map(Requirement, lines) if one.name == "gradio")
    assert gradio.specifier.contains(FRONT["sdk_version"])
    assert Version(FRONT["sdk_version"]) <= Version(version("gradio"))
    assert FRONT["sdk_version"].split(".")[:2] == version("gradio").split(".")[:2]


def test_what_is_preloaded_is_what_the_page_offers_and_tags_are_words_of_the_hub() -> None:
    offered = {card.hub_id for card in MODELS.values()}
    assert FRONT["preload_from_hub"]
    for entry in FRONT["preload_from_hub"]:
        repository, *files = entry.split()
        assert repository in offered
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", repository)
        assert len(files) <= 2
    assert FRONT["tags"]
    assert all(re.fullmatch(r"[a-z0-9-]+", tag) for tag in FRONT["tags"])


def wanted(requirements: Iterable[str]) -> set[str]:
    """Name what an installer would bring for requirements, from what is installed here."""
    found: set[str] = set()
    todo = [(Requirement(line), "") for line in requirements]
    seen = set()
    while todo:
        one, extra = todo.pop()
        if one.marker and not one.marker.evaluate({"extra": extra}):
            continue
        assert one.specifier.contains(version(one.name), prereleases=True), one
        found.add(one.name)
        for asked in {"", *one.extras}:
            if (one.name, asked) not in seen:
                seen.add((one.name, asked))
                todo += [(Requirement(line), asked) for line in requires(one.name) or ()]
    return found


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of what requirements.txt asks for alone, linked from the one of the tests."""
    folder = tmp_path_factory.mktemp("space") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/*/site-packages")
    for name in wanted((ROOT / "requirements.txt").read_text(encoding="utf-8").split()):
        installed = distribution(name)
        for top in {file.parts[0] for file in installed.files or ()} - {"..", "__pycache__"}:
            if not (packages / top).exists():
                (packages / top).symlink_to(str(installed.locate_file(top)))
    return folder / "bin" / "python"


def test_the_environment_of_the_space_is_a_small_one(python: Path) -> None:
    """Has the packages of requirements.txt, and none that the tests alone ask for."""
    code = "from importlib.util import find_spec as f; print(*map(bool, map(f, {!r})))"
    names = ["gradio", "torch", "transformers", "pytest", "peft", "anywidget", "jupyterlab"]
    done = subprocess.run([str(python), "-c", code.format(names)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"] * 3 + ["False"] * 4


@pytest.mark.nightly
def test_the_app_starts_and_races_as_on_a_space(python: Path, tmp_path: Path) -> None:
    """A fresh environment, a checkout and a home that cannot be written, its port and host."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "olora_viz", "app.py", "README.md", "requirements.txt"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    ).stdout.split("\0")  # fmt: skip
    checkout = tmp_path / "checkout"
    for name in filter(None, listed):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, checkout / name)
    everything = [*checkout.rglob("*"), checkout]
    for path in everything:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {path: path.stat().st_mtime_ns for path in everything}
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/dev/null/home",
        "PYTHONDONTWRITEBYTECODE": "1",
        "SYSTEM": "spaces",
        "OLORA_VIZ_RUNS": "",
    }
    try:
        with serve(tmp_path / "server", environment, python=python, root=checkout, seconds=300) as server:
            visitor = Visitor(server.url, "space")
            job = visitor.race(steps=2, lanes=LANES)
            run = visitor.finished(job, seconds=300)
            assert run["summary"]["state"] == "finished", run["summary"]
            assert len(run["steps"]) == 2
            assert "url" in visitor.ask("adapter", [job, 1])
            assert list(server.temporary.glob("olora-viz-caches-*"))
        assert not list(server.temporary.glob("olora-viz-*")), "what a server leaves behind"
    finally:
        for path in everything:
            path.chmod(0o755)
    assert {path: path.stat().st_mtime_ns for path in [*checkout.rglob("*"), checkout]} == before

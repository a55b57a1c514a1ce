"""What people write comes from `olora_viz` and `olora_viz.notebook`, never from a path inside."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from support.pages import PAGES, README, blocks_of

import olora_viz as ov

ROOT = Path(__file__).parents[2]
DOORS = {"olora_viz", "olora_viz.notebook"}


def shown() -> dict[str, str]:
    """The code that users read and copy, by the file that it is in."""
    code = {
        path.name: "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
        for path in (ROOT / "notebooks").glob("*.ipynb")
    }
    for page in (README, *PAGES):
        python = [block.code for block in blocks_of(page) if block.language == "python"]
        code[page.relative_to(ROOT).as_posix()] = "\n".join(python)
    for path in (ROOT / "olora_viz/races/templates").glob("*.py"):
        code[path.name] = path.read_text(encoding="utf-8")
    for path in (ROOT / "olora_viz/learn/lessons").glob("*.py"):
        # A lesson is made by code of the package; what it shows stands in its texts.
        texts = re.findall(r'"((?:[^"\\\n]|\\.)*)"', path.read_text(encoding="utf-8"))
        code[f"lessons/{path.name}"] = "\n".join(texts)
    return code


SHOWN = shown()


@pytest.mark.parametrize("name", SHOWN)
def test_code_for_users_imports_the_public_api_alone(name):
    modules = re.findall(r"\b(?:from|import) (olora_viz[\w.]*)", SHOWN[name])
    assert set(modules) <= DOORS


@pytest.mark.parametrize("name", SHOWN)
def test_code_for_users_names_what_there_is(name):
    assert set(re.findall(r"\bov\.(\w+)", SHOWN[name])) <= set(ov.__all__)


def test_the_rules_above_have_code_to_read():
    assert sum("import olora_viz as ov" in code for code in SHOWN.values()) > 6


@pytest.mark.parametrize("name", ov.__all__)
def test_everything_public_says_what_it_is(name):
    public = getattr(ov, name)
    if inspect.isclass(public) or inspect.isfunction(public):
        assert inspect.getdoc(public)
        assert public.__module__.startswith("olora_viz.")


def test_the_package_loads_what_is_used_of_it_and_nothing_before():
    code = "import sys, olora_viz; assert set(sys.modules).isdisjoint({'torch', 'numpy', 'transformers', 'plotly'})"
    subprocess.run([sys.executable, "-c", f"{code}; assert olora_viz.Lane('olora').r == 8"], check=True)


def test_dir_lists_the_groups_of_the_docstring_and_the_rest_is_starts_and_classes_of_results():
    listed = set(dir(ov))
    assert listed <= set(ov.__all__)
    assert len(listed) <= 75
    for name in set(ov.__all__) - listed:
        assert inspect.isclass(getattr(ov, name)) or getattr(ov.starts, name) is getattr(ov, name)
    assert set(dir(ov.starts)) == set(ov.INITIALIZERS)
    with pytest.raises(AttributeError, match="did you mean 'olora'"):
        ov.starts.olra  # noqa: B018


def test_the_docstring_of_race_fits_a_screen():
    assert len(inspect.getdoc(ov.race).splitlines()) <= 22


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: ov.Lane("olora", rank=8), "unknown lane key 'rank'; did you mean 'r'?"),
        (lambda: ov.RaceConfig(step=3), "unknown setting 'step'; did you mean 'steps'?"),
        (lambda: ov.Study(inits=("lora",)), "unknown setting 'inits'; did you mean 'compare'?"),
        (lambda: ov.RaceConfig(task=[{"prompt": "a", "answer": "b"}]), r"not a list: .* ov.race\(config, task="),
    ],
)
def test_a_mistyped_setting_is_answered_by_the_one_that_is_meant(call, sentence):
    for error in (ValueError, TypeError) if "unknown" in sentence else (ValueError,):
        with pytest.raises(error, match=sentence):
            call()

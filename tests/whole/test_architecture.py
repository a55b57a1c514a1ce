"""Imports point down, heavy libraries stay where they belong, and a name or a docstring says what it holds."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from support.floors import ALWAYS, FLOORS, selected_by

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "olora_viz"

DOORS = {"__init__", "__main__"}
"""The public API and the command line's door: they hand on and start, and nobody imports them."""

AT_HOME = {
    "gradio": {"web", "figures/live"},
    "ipywidgets": {"notebook"},
    "anywidget": {"notebook", "figures/live"},
    "plotly": {"figures"},
    "matplotlib": {"figures"},
    "ray": {"machine"},
    "trackio": {"machine"},
    "wandb": {"machine"},
    "tensorboard": {"machine"},
}
"""Heavy libraries, and the folders that may import them."""


def part_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


@cache
def imports(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = file.relative_to(ROOT).parts[: -node.level]
                base = ".".join([*above, *filter(None, [base])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


FILES = sorted(PACKAGE.rglob("*.py"))


def below(part: str) -> set[str]:
    """Return the packages on lower floors."""
    floor = next(n for n, parts in enumerate(FLOORS) if part in parts)
    return set().union(*FLOORS[floor + 1 :])


def test_every_package_has_its_floor():
    folders = {p.name for p in PACKAGE.iterdir() if (p / "__init__.py").is_file()}
    assert set().union(*FLOORS) == folders
    assert {p.stem for p in PACKAGE.glob("*.py")} == DOORS


def test_the_picture_in_contributing_shows_these_floors():
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    picture, _tree = re.findall(r"```text\n(.*?)```", guide, re.DOTALL)
    # Two spaces or an arrow, then names up to three spaces, then words.
    floors = [line[2:].split("   ")[0] for line in picture.splitlines()]
    assert tuple(set(re.findall(r"(\w+)/", names)) for names in floors) == FLOORS


def test_imports_point_down():
    for file in FILES:
        part = part_of(file)
        ours = {name.split(".")[1] for name in imports(file) if name.startswith("olora_viz.")}
        assert part in DOORS or ours <= {part} | below(part), file


def test_no_two_folders_import_each_other():
    arrows = set()
    modules = {file.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."): file for file in FILES}
    for file in FILES:
        for name in imports(file):
            target = modules.get(name) or modules.get(name.rpartition(".")[0])
            if target is not None:
                arrows.add((file.parent, target.parent))
    doors = {PACKAGE}
    both = {pair for pair in arrows if pair[0] != pair[1] and pair[::-1] in arrows}
    assert not {pair for pair in both if not doors & set(pair)}


def test_heavy_libraries_stay_where_they_belong():
    for file in FILES:
        outside = {name.split(".")[0] for name in imports(file)}
        folder = file.relative_to(PACKAGE).parent.as_posix() + "/"
        for library in outside & AT_HOME.keys():
            assert folder.startswith(tuple(f"{home}/" for home in AT_HOME[library])), file


def test_no_test_imports_another():
    for file in (ROOT / "tests").rglob("*.py"):
        assert not [name for name in imports(file) if name.startswith("test_")], file


def test_there_is_no_drawer_for_odds_and_ends():
    assert not {file.stem for file in FILES} & {"utils", "common", "helpers", "misc"}


def test_nothing_of_ours_loads_code_or_pickles():
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        assert "trust_remote_code=True" not in text, file
        outside = {name.split(".")[0] for name in imports(file)}
        assert not outside & {"pickle", "dill", "joblib"}, file
        assert "torch.load" not in text, file


def test_a_class_name_stands_once():
    classes = (node.name for file in FILES for node in ast.walk(tree_of(file)) if isinstance(node, ast.ClassDef))
    assert {name for name, count in Counter(classes).items() if count > 1} == set()


DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def parameters(node: ast.AST) -> set[str]:
    """Return what a function takes, or what a class is made of and its fields."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        a = node.args
        return {arg.arg for arg in (*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg) if arg}
    names = set()
    for inner in node.body if isinstance(node, ast.ClassDef) else ():
        if isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name):
            names.add(inner.target.id)
        elif isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
            names |= parameters(inner)
    return names


def described(docstring: str) -> Iterator[str]:
    """Yield the names that the section `Args:` describes."""
    section = re.search(r"^Args:\n((?:    .*\n?|\n)+)", docstring, re.MULTILINE)
    for names in re.findall(r"^    (\S[^:]*):", section[1] if section else "", re.MULTILINE):
        yield from re.split(r", ", names)


def test_docstrings_are_in_google_style_and_describe_parameters_that_there_are():
    for file in FILES:
        for node in ast.walk(tree_of(file)):
            docstring = (isinstance(node, DOCUMENTED) and ast.get_docstring(node)) or ""
            where = f"{file.relative_to(ROOT)}: {getattr(node, 'name', 'the module')}"
            assert not re.search(r"^ *-{3,}$", docstring, re.MULTILINE), where
            assert set(described(docstring)) <= parameters(node), where


def test_a_change_runs_every_test_that_names_what_has_changed_or_stands_on_it() -> None:
    folders = {path.name for path in (ROOT / "tests").iterdir() if any(path.glob("test_*.py"))}
    assert folders == ALWAYS.union(*FLOORS)
    for floor, packages in enumerate(FLOORS):
        for package in packages:
            selected = selected_by([f"olora_viz/{package}/any.py"])
            assert {f"tests/{each}" for each in ALWAYS.union({package}, *FLOORS[:floor])} <= {*selected}
            for file in (ROOT / "tests").glob("*/test_*.py"):
                runs = {f"tests/{file.parent.name}", f"tests/{file.parent.name}/{file.name}"} & {*selected}
                named = any(name.startswith(f"olora_viz.{package}.") for name in imports(file))
                assert runs or not named, (package, file)
    assert len(selected_by(["olora_viz/web/page.py"])) < len(selected_by(["olora_viz/lanes/lane.py"]))


def test_what_every_test_may_read_runs_all() -> None:
    for file in (
        "pyproject.toml",
        "tests/support/races.py",
        "tests/conftest.py",
        "olora_viz/__init__.py",
        ".ci/run",
        "x",
    ):
        assert selected_by(["README.md", file]) == []


def test_the_guide_of_a_folder_names_each_of_its_files_and_only_what_there_is() -> None:
    guides = [*PACKAGE.glob("*/README.md")]
    assert {guide.parent.name for guide in guides} >= {"races", "background"}
    for guide in guides:
        named = set(re.findall(r"`((?:tests/)?[\w/]+\.py)`", guide.read_text("utf-8")))
        assert {file.name for file in guide.parent.glob("[!_]*.py")} <= named
        assert [name for name in named if not ((guide.parent / name).exists() or (ROOT / name).exists())] == []

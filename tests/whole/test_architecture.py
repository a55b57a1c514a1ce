"""Imports point down, and heavy libraries stay where they belong."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "olora_viz"

FLOORS = (
    {"web", "notebook", "cli"},
    {"views"},
    {"background"},
    {"learn"},
    {"figures"},
    {"studies"},
    {"races"},
    {"measures"},
    {"lanes"},
    {"tasks", "models"},
    {"initializers"},
    {"machine"},
)
"""The packages, the highest floor first: each may import what lies below it, and itself."""

DOORS = {"__init__", "__main__"}
"""The public API and the command line's door: they hand on and start, and nobody imports them."""

AT_HOME = {
    "gradio": {"web", "figures/live"},
    "ipywidgets": {"notebook"},
    "anywidget": {"notebook", "figures/live"},
    "plotly": {"figures"},
    "matplotlib": {"figures"},
    "ray": {"studies"},
    "trackio": {"machine"},
    "wandb": {"machine"},
    "tensorboard": {"machine"},
}
"""Heavy libraries, and the folders that may import them."""


def part_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = file.relative_to(ROOT).parts[: -node.level]
                base = ".".join([*above, *filter(None, [base])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


def below(part: str) -> set[str]:
    """Return the packages on lower floors."""
    floor = next(n for n, parts in enumerate(FLOORS) if part in parts)
    return set().union(*FLOORS[floor + 1 :])


def test_every_package_has_its_floor():
    folders = {p.name for p in PACKAGE.iterdir() if (p / "__init__.py").is_file()}
    assert set().union(*FLOORS) == folders
    assert {p.stem for p in PACKAGE.glob("*.py")} == DOORS


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


def test_there_is_no_drawer_for_odds_and_ends():
    assert not {file.stem for file in FILES} & {"utils", "common", "helpers", "misc"}


def test_nothing_of_ours_loads_code_or_pickles():
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        assert "trust_remote_code=True" not in text, file
        outside = {name.split(".")[0] for name in imports(file)}
        assert not outside & {"pickle", "dill", "joblib"}, file
        assert "torch.load" not in text, file

"""The package has a budget: lines of code by folder, which only fall, or rise in a commit that says what for."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = 385
CEILING = {
    "background": 1520, "checks": 764, "cli": 1317, "figures": 3395, "initializers": 934, "lanes": 3973, "learn": 2066,
    "machine": 1753, "measures": 1940, "models": 986, "notebook": 1331, "races": 4407, "studies": 8696, "tasks": 2170,
    "views": 2641, "web": 6933,
}  # fmt: skip
"""The most lines of code of each folder of the package. Lower it with what goes."""


def code_of(file: Path) -> int:
    """Count the lines of a file without docstrings, comments, imports and blank ones."""
    text, left_out = file.read_text("utf-8"), set[int]()
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Import() | ast.ImportFrom():
                left_out.update(range(node.lineno, (node.end_lineno or 0) + 1))
            case ast.Module() | ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                match node.body:
                    case [ast.Expr(value=ast.Constant(value=str())) as text_of, *_]:
                        left_out.update(range(text_of.lineno, (text_of.end_lineno or 0) + 1))
    lines = enumerate(map(str.strip, text.splitlines()), 1)
    return sum(1 for number, line in lines if number not in left_out and line and not line.startswith("#"))


def counts() -> dict[str, int]:
    """Count the lines of code of each folder of the package."""
    folders = sorted(path for path in (ROOT / "olora_viz").iterdir() if any(path.glob("*.py")))
    return {folder.name: sum(map(code_of, folder.rglob("*.py"))) for folder in folders}


def test_no_folder_has_more_code_than_its_ceiling_and_none_is_without_one() -> None:
    now = counts()
    assert now.keys() == CEILING.keys()
    assert {name: count for name, count in now.items() if count > CEILING[name]} == {}
    assert len(list((ROOT / "olora_viz").rglob("*.py"))) <= FILES


def test_a_ceiling_is_near_what_stands_there() -> None:
    assert {name: CEILING[name] for name, count in counts().items() if count < CEILING[name] - 150} == {}


if __name__ == "__main__":
    now = counts()
    print(f"{sum(now.values()):,} lines of code:", ", ".join(f"{name} {count}" for name, count in now.items()))

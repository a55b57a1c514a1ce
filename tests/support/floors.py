"""The floors of the house, and which tests a change can break: ``python tests/support/floors.py FILE …``."""

import re
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path, PurePosixPath

FLOORS = (
    {"web", "notebook", "cli"},  # the three homes
    {"views"},  # numbers become words and HTML
    {"checks"},  # what must hold on a machine
    {"learn"},  # lessons, glossary, recorded races
    {"background"},  # threads that race, measure and decide
    {"figures"},  # numbers become charts
    {"studies"},  # many races
    {"races"},  # one race
    {"measures"},  # what can be measured
    {"lanes"},  # K adapters on one frozen model
    {"models"},  # names become models
    {"tasks"},  # text becomes batches
    {"initializers"},  # one method a file
    {"machine"},  # files, devices, memory, signals
)
"""The packages, the highest floor first: each may import what lies below it, and itself."""

ALWAYS = {"browser", "whole"}
"""Folders of tests of all floors together."""

TEXTS = {"docs", "notebooks", "benchmarks"}
"""Folders that the tests of the whole read."""


ROOT = Path(__file__).parents[2]


def selected_by(changed: Iterable[str]) -> list[str]:
    """Return the folders and files of tests that a change of files can break; none if that is all of them.

    >>> selected_by(["tests/cli/test_command_line.py"]), selected_by(["olora_viz/web/page.py", "pyproject.toml"])
    (['tests/cli', 'tests/whole'], [])
    """
    packages, tests = set[str](), {"whole"}
    for file in changed:
        match PurePosixPath(file).parts:
            case ("olora_viz", package, _, *_) if any(package in floor for floor in FLOORS):
                at = next(number for number, floor in enumerate(FLOORS) if package in floor)
                packages |= {package}.union(*FLOORS[:at])
                tests |= ALWAYS
            case ("tests", folder, _, *_) if folder in ALWAYS.union(*FLOORS):
                tests.add(folder)
            case ("tests", "js", *_):
                tests.add("web")  # npm runs them, but for what the tests of a race in the browser run
            case (folder, _, *_) if folder in TEXTS:
                pass
            case (text,) if text.endswith(".md"):
                pass
            case _:
                return []
    tests |= packages
    others = (file for file in (ROOT / "tests").glob("*/test_*.py") if file.parent.name not in tests)
    users = [f"tests/{file.parent.name}/{file.name}" for file in others if used_by(file.read_text("utf-8")) & packages]
    return sorted([*(f"olora_viz/{each}" for each in packages), *(f"tests/{each}" for each in tests), *users])


def used_by(code: str) -> set[str]:
    r"""Return the packages that a test's code names, also by their public names and in what supports it.

    >>> sorted(used_by("import olora_viz as ov\nfrom olora_viz.lanes.lane import Lane\nov.plot_race()"))
    ['figures', 'lanes']
    """
    own = set(re.findall(r"\bolora_viz[./](\w+)", code))
    own |= {public()[name] for name in re.findall(r"\bov\.(\w+)", code) if name in public()}
    return own.union(
        *(used_by_support(name) for name in re.findall(r"^from support\.(\w+) import", code, re.MULTILINE))
    )


@cache
def used_by_support(name: str) -> set[str]:
    """Return the packages that a module beside this one names."""
    return used_by((ROOT / f"tests/support/{name}.py").read_text("utf-8"))


@cache
def public() -> dict[str, str]:
    """Return the package of every public name."""
    stub = (ROOT / "olora_viz/__init__.pyi").read_text("utf-8")
    return {name: package for package, name in re.findall(r"^from \.(\w+)\S* import (\w+) as", stub, re.MULTILINE)}


if __name__ == "__main__":
    print(*selected_by(sys.argv[1:]))

"""Shapes in signatures are checked in every test; all that is tested computes on one thread.

On models as small as these, threads wait for each other longer than they compute. Instead four
to eight workers test at once, file by file, but three with a browser at most.
What takes longest begins first, so that the workers end together.
"""

import atexit
import fcntl
import gc
import os
import re
import shutil
import sys
import tempfile

gc.disable()  # until all is imported and collected
# Building its grammars would take each process two seconds; jsonschema does without.
sys.modules["rfc3987_syntax"] = None
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the package has it, after which torch cannot come here

# A page that a test builds leaves its races in no folder of the user's.
os.environ["OLORA_VIZ_RUNS"] = tempfile.mkdtemp(prefix="olora-viz-tests-")
atexit.register(shutil.rmtree, os.environ["OLORA_VIZ_RUNS"], True)

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from jaxtyping import install_import_hook
from support import checked  # noqa: F401 (before the hook, which asks it what to check)

ROOT = Path(__file__).parents[1]
SHAPED = [
    ".".join(file.relative_to(ROOT).with_suffix("").parts)
    for file in (ROOT / "olora_viz").rglob("*.py")
    if "from jaxtyping import" in file.read_text("utf-8")
]
"""The modules with shapes in their signatures; the types of the others are Pyrefly's."""

install_import_hook(SHAPED, "support.checked.check")
sys.path.append(str(ROOT / "benchmarks"))  # for `reliability`

from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

collect_ignore = ["support/on_two_cards.py", "support/pretended.py", "whole/accelerated.py"]
"""What `test_accelerators` imports in a process of its own: torch cannot take back that it has another device."""

CHAINS = (
    (
        "test_browser_embedding", "test_browser_restart", "test_browser_setup", "test_fuzz",
        "test_space", "test_visitors",
    ),
    (
        "test_browser_axe", "test_browser_ch", "test_browser_cl", "test_browser_co",
        "test_browser.",
    ),
    ("test_browser_",),
    ("test_cluster", "test_study_places"),
)  # fmt: skip
"""Files that look at a server's pages, or share a cluster, by how they begin: those of a chain one after the other."""
LONG = (
    "test_first_command", "test_benchmarks", "test_documentation", "test_notebooks", "test_readme", "test_stud",
    "test_model_sources",
)  # fmt: skip
"""Other files of which one would keep a worker busy long after the others have ended."""

NIGHTLY = (
    "test_benchmarks", "test_browser_marimo", "test_browser_restart", "test_cluster",
    "test_extended_runs", "test_false_orders", "test_model_sources", "test_space_container", "test_story_errors",
    "test_study_kills", "test_study_places", "test_verdict_errors",
)  # fmt: skip
"""Files that run at night and before a release alone: kills at every moment, lost machines, other environments,
other hosts of panels, simulated error rates, conversions of a whole model, benchmarks. Tests of other files are marked
one by one."""

CORE = {"machine", "initializers", "models", "tasks", "lanes", "measures", "races", "studies", "figures", "views"}
"""Folders of the core, here and in the package."""
BUSY = re.compile(r"import subprocess|support\.(served|opened|queued|races)|\b(race|Race|run_study|runs\.\w+)\(")
"""What a file says that trains a race, starts a process or opens a page."""


@cache
def is_quick(file: Path) -> bool:
    """Whether the tests of a file belong to those of two minutes: laws of the core that need no race."""
    return file.parent.name in CORE and file.stem not in NIGHTLY and not BUSY.search(file.read_text("utf-8"))


@contextmanager
def first_alone(file: str) -> Iterator[None]:
    """On a fresh machine, let one worker begin and the others wait until it is done.

    They then find compiled what each of them would compile: 20 seconds of a core in all.

    Args:
        file: whose lock they share; other work has another one, as some may still be about this.
    """
    with open(ROOT / file) as lock:
        if "CI" in os.environ:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def pytest_configure(config: pytest.Config) -> None:
    """Load what tests share, and with it all libraries, where tests run: workers' parent waits."""
    if config.getoption("dist") == "no" or hasattr(config, "workerinput"):
        with first_alone("tests/support/shared.py"):
            config.pluginmanager.import_plugin("support.shared")
            config.pluginmanager.import_plugin("support.machines")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Read all files of tests; the first worker does so while the others load the libraries."""
    with first_alone("tests/conftest.py"):
        return (yield)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Read no other files where quick tests alone are asked for."""
    others = collection_path.suffix == ".py" and not is_quick(collection_path)
    return True if others and config.option.markexpr == "quick" else None


def chain_of(file: str) -> int | None:
    """Return the number of the chain that a file of tests belongs to, if any."""
    return next((k for k, chain in enumerate(CHAINS) if file.startswith(chain)), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is quick, and what is nightly; put first what takes longest; the rest stays in its order."""
    for item in items:
        if is_quick(item.path):
            item.add_marker("quick")
        if item.path.stem in NIGHTLY:
            item.add_marker("nightly")
    items.sort(key=lambda item: (chain_of(item.path.name) is None, not item.path.stem.startswith(LONG)))


def pytest_xdist_auto_num_workers() -> int:
    """Return how many workers test at once: they partly wait, and each takes a gigabyte."""
    return min(8, max(4, os.cpu_count() or 1))


def pytest_collection_finish() -> None:
    """Let the garbage collector look at what tests make, and never at all that was imported."""
    gc.freeze()
    gc.enable()


class Chained(LoadFileScheduling):
    """Gives a worker a file at a time; those of a chain are one file to it."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        chain = chain_of(Path(file).name)
        return file if chain is None else f"chain {chain}"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Chained:
    """Schedule the tests."""
    return Chained(config, log)

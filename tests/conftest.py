"""Shapes in signatures are checked in every test; all that is tested computes on one thread.

On models as small as these, threads wait for each other longer than they compute. Instead four
to eight workers test at once, file by file, but three with a browser at most.
What takes longest begins first, so that the workers end together.
"""

import atexit
import gc
import os
import shutil
import sys
import tempfile

gc.disable()  # until all is imported and collected
# Building its grammars would take each process two seconds; jsonschema does without.
sys.modules["rfc3987_syntax"] = None  # pyright: ignore[reportArgumentType]
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A page that a test builds leaves its races in no folder of the user's.
os.environ["OLORA_VIZ_RUNS"] = tempfile.mkdtemp(prefix="olora-viz-tests-")
atexit.register(shutil.rmtree, os.environ["OLORA_VIZ_RUNS"], True)

from pathlib import Path

import checked  # noqa: F401 (before the hook, which asks it what to check)
from jaxtyping import install_import_hook

ROOT = Path(__file__).parents[1]
SHAPED = [
    ".".join(file.relative_to(ROOT).with_suffix("").parts)
    for file in (ROOT / "olora_viz").rglob("*.py")
    if "from jaxtyping import" in file.read_text("utf-8")
]
"""The modules with shapes in their signatures; the types of the others are pyright's."""

install_import_hook(SHAPED, "checked.check")
sys.path.append(str(ROOT / "benchmarks"))  # for `reliability`

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import settings
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Page,
    ViewportSize,
    expect,
    sync_playwright,
)
from served import inherited, serve
from xdist.scheduler import LoadFileScheduling

from olora_viz.web.jobs.queue import Jobs

settings.register_profile("busy", deadline=None)  # no test depends on how fast a machine is
settings.load_profile("busy")
expect.set_options(timeout=30_000)  # on a busy machine a page may take its time
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
SCREEN: ViewportSize = {"width": 1440, "height": 900}
PLOT = "#loss-figure .js-plotly-plot"
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
)  # fmt: skip
"""Files that look at a server's pages, by how they begin: those of a chain one after the other."""
LONG = ("test_benchmarks", "test_notebooks", "test_readme", "test_stud", "test_model_sources")
"""Other files of which one would keep a worker busy long after the others have ended."""


def chain_of(file: str) -> int | None:
    """Return the number of the chain that a file of tests belongs to, if it looks at pages."""
    return next((k for k, chain in enumerate(CHAINS) if file.startswith(chain)), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put first what takes longest; the rest, and the tests of a file, stay in their order."""
    items.sort(
        key=lambda item: (chain_of(item.path.name) is None, not item.path.stem.startswith(LONG))
    )


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


@pytest.fixture(autouse=True, scope="module")
def threads() -> Iterator[None]:
    """Let new threads compute as this one does: the page's worker asks for a core less than all."""
    yield
    torch.set_num_threads(torch.get_num_threads())


def chromium() -> str | None:
    """Find Chromium on this machine, or Playwright's own."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found:
        return found
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    """A queue of work, which ends with the test."""
    made = Jobs(folder=tmp_path / "jobs")
    yield made
    made.close()


@pytest.fixture(scope="session")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the browsers of all files keep the pages' scripts as they have compiled them."""
    return tmp_path_factory.mktemp("profile")


@pytest.fixture(scope="module")
def browser(profile: Path) -> Iterator[Browser]:
    """A browser whose first context keeps its cache, as a visitor's does; its others keep none."""
    path = chromium()
    if path is None and not os.environ.get("CI"):
        pytest.skip("no Chromium on this machine: install it, or run `playwright install chromium`")
    assert path, "no Chromium, and CI must have one"
    with sync_playwright() as playwright:
        kept = playwright.chromium.launch_persistent_context(
            profile, executable_path=path, args=FLAGS, viewport=SCREEN
        )
        assert kept.browser
        yield kept.browser
        kept.close()


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start the app as a visitor's server would, once for all, and end it with the tests."""
    environment = inherited() | {"OLORA_VIZ_MAX_STEPS": "600"}
    with serve(tmp_path_factory.mktemp("app"), environment) as server:
        yield server.url


SET_UP = "?steps=100"
"""Five lanes of one seed: the page's own first set-up has fifteen, of which a race takes longer."""

LEAVING = ("AbortError: signal is aborted", "Unexpected error Connection errored out")
"""What Gradio's client writes when a page is left while its race still streams."""


@contextmanager
def visiting(context: BrowserContext, address: str, query: str = SET_UP) -> Iterator[Page]:
    """Open the page as a new visitor; in the end nothing came from elsewhere or went wrong."""
    visitor = context.new_page()
    visitor.set_default_timeout(60_000)
    elsewhere: list[str] = []
    errors: list[str] = []

    def check(url: str) -> None:
        if not url.startswith((address, "data:", "blob:", address.replace("http", "ws"))):
            elsewhere.append(url)

    visitor.on("request", lambda request: check(request.url))
    visitor.on("pageerror", lambda error: errors.append(str(error)))
    visitor.on(
        "console", lambda message: errors.append(message.text) if message.type == "error" else None
    )
    visitor.goto(f"{address}/{query}")
    visitor.wait_for_function(
        f"document.querySelector('{PLOT}')?._fullLayout?.yaxis?.type == 'log'"
    )
    yield visitor
    forget(visitor, address)
    assert elsewhere == []
    assert [error for error in errors if not error.startswith(LEAVING)] == []


def forget(page: Page, address: str) -> None:
    """Close a page, and leave nothing of its visit to the next one of the same browser."""
    page.goto(f"{address}/favicon.ico")
    page.evaluate("localStorage.clear(), sessionStorage.clear()")
    page.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The page of a new visitor."""
    with visiting(browser.contexts[0], address) as visitor:
        yield visitor


@pytest.fixture(scope="module")
def same_page(browser: Browser, address: str) -> Iterator[Page]:
    """One page for all tests of a file, which loads once: each leaves it to the next one."""
    context = browser.new_context(viewport=SCREEN)
    with visiting(context, address) as visitor:
        yield visitor
    context.close()


@pytest.fixture
def newcomer(browser: Browser, address: str) -> Iterator[Page]:
    """The first screen of a new visitor, who follows no link."""
    with visiting(browser.contexts[0], address, "") as visitor:
        yield visitor


@pytest.fixture
def context(browser: Browser, address: str) -> Iterator[BrowserContext]:
    """A visitor's browser with a clipboard, whose pages the test opens itself."""
    kept = browser.contexts[0]
    kept.grant_permissions(["clipboard-read", "clipboard-write"])
    kept.set_default_timeout(60_000)
    before = list(kept.pages)
    yield kept
    for page in set(kept.pages) - set(before):
        page.close()
    forget(kept.new_page(), address)
    kept.clear_permissions()

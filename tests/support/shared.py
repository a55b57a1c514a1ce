"""What tests share: the app, a browser and the pages that it opens, and a queue of work."""

import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, expect, sync_playwright
from support.environments import REQUIREMENTS, environment
from support.model_folders import model_of
from support.served import ROOT, inherited, serve
from support.waiting import PATIENCE

import olora_viz as ov
from olora_viz.__main__ import main
from olora_viz.races import run as runs
from olora_viz.web.jobs.queue import Jobs

settings.register_profile("busy", deadline=None)  # no test depends on how fast a machine is
settings.load_profile("busy")
expect.set_options(timeout=1000 * PATIENCE)


def patient(new_page: Callable[..., Page]) -> Callable[..., Page]:
    """Return what opens pages that wait as long for all else."""

    def opened(*args: Any, **options: Any) -> Page:
        page = new_page(*args, **options)
        page.set_default_timeout(1000 * PATIENCE)
        return page

    return opened


for kind in (Browser, BrowserContext):
    kind.new_page = patient(kind.new_page)
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
SCREEN: ViewportSize = {"width": 1440, "height": 900}
PLOT = "#loss-figure .js-plotly-plot"


@pytest.fixture(autouse=True, scope="module")
def threads() -> Iterator[None]:
    """Let new threads compute as this one does, whatever a test has asked for."""
    yield
    torch.set_num_threads(torch.get_num_threads())


def chromium(*names: str) -> str | None:
    """Find Chromium on this machine, by one of some names or its usual ones, or Playwright's."""
    found = next(filter(None, map(shutil.which, (*names, "chromium", "chromium-browser"))), None)
    if found:
        return found
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


@pytest.fixture
def jobs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Jobs]:
    """A queue of work with the limits ``QUEUE`` of a file, if it has any; it ends with the test."""
    made = Jobs(getattr(request.module, "QUEUE", None), folder=tmp_path / "jobs")
    yield made
    made.close()


@pytest.fixture(scope="session")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the browsers of all files keep the pages' scripts as they have compiled them."""
    return tmp_path_factory.mktemp("profile")


@pytest.fixture(scope="session")
def program() -> str | None:
    """Chromium without windows, if it is there: it saves what the window around a page costs.

    It keeps less in the frames of other sites; a file about these asks for the one with windows.
    """
    return chromium("chromium-headless-shell")


@pytest.fixture(scope="module")
def browser(program: str | None, profile: Path) -> Iterator[Browser]:
    """A browser whose first context keeps its cache, as a visitor's does; its others keep none."""
    if program is None and not os.environ.get("CI"):
        pytest.skip("no Chromium on this machine: install it, or run `playwright install chromium`")
    assert program, "no Chromium, and CI must have one"
    with sync_playwright() as playwright:
        kept = playwright.chromium.launch_persistent_context(
            profile, executable_path=program, args=FLAGS, viewport=SCREEN
        )
        assert kept.browser
        at_workbench(kept)
        yield kept.browser
        kept.close()


def at_workbench(context: BrowserContext) -> BrowserContext:
    """Let pages open as those of somebody who has chosen the workbench, as long as nothing else is chosen."""
    key = "localStorage.getItem('olora-viz-view') ?? localStorage.setItem('olora-viz-view', 'workbench')"
    context.add_init_script(f"try {{ {key} }} catch {{}}")
    return context


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Make a folder once for all workers, and return it."""
    folder = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / f"{name}.done").exists():
            make(folder / name)
            (folder / f"{name}.done").touch()
    return folder / name


@pytest.fixture(scope="session")
def first_command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment such as the README's first command makes, one for all workers."""
    made = once(tmp_path_factory, "first", lambda folder: environment(folder, sys.executable, *REQUIREMENTS))
    return made / "bin" / "python"


@pytest.fixture(scope="session")
def static_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The static pages as the command line writes them, with a race and a study of a user; once for all workers."""
    return once(tmp_path_factory, "static", write_static_site) / "site"


def write_static_site(folder: Path) -> None:
    """Write the static pages into ``site`` of a folder, beside the run and the study that they show."""
    folder.mkdir()
    (folder / "mine.jsonl").write_text(
        "".join(f'{{"prompt": "{n} doubled is", "answer": "{2 * n}"}}\n' for n in range(60)), encoding="utf-8"
    )
    small = {"batch_size": 4, "eval_size": 8, "test_size": 8}
    lanes = (ov.Lane("lora"), ov.Lane("olora"))
    config = ov.RaceConfig(task=str(folder / "mine.jsonl"), lanes=lanes, steps=4, eval_every=2, **small)
    list(runs.start(config, folder / "run"))
    study = ov.Study().changed({"steps": 2, **small}, tune={"lr": 1e-3}, seeds=2)
    list(ov.run_study(study, folder / "study"))
    with chdir(folder):
        assert main("site site --run run --study study".split()) == 0


@pytest.fixture(scope="session")
def documentation(static_site: Path) -> Path:
    """The documentation beside the static pages, which is built only if no link is broken."""
    if not find_spec("mkdocs"):
        pytest.skip("mkdocs is in the extra docs")
    return static_site / "docs"


@pytest.fixture(scope="session")
def documentation_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation as a site by itself, one for all workers."""
    if not find_spec("mkdocs"):
        pytest.skip("mkdocs is in the extra docs")
    return once(tmp_path_factory, "documentation", _build_site)


def _build_site(place: Path) -> None:
    """Build the site here, where the libraries are loaded."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    with chdir(ROOT):
        build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(place)))


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory, first_command: Path) -> Iterator[str]:
    """Start the app as the README's first command does, once for all; end it with the tests.

    It is asked, as it would be on a Space, to let Gradio render the pages on the server.
    """
    variables = inherited() | {"OLORA_VIZ_MAX_STEPS": "600", "GRADIO_SSR_MODE": "true"}
    folder = tmp_path_factory.mktemp("app")
    with serve(folder, variables, python=first_command) as server:
        yield server.url


SET_UP = (
    "?view=workbench&steps=100&batch=4&eval_size=8&keep=none&lane=lora:lr=1e-3&lane=olora:lr=3e-3&lane=pissa:lr=1e-3"
)
"""The workbench with three lanes, and few examples: the page's own first set-up has nine lanes and more of everything,
and most of the processor's time of a test would go into its race and its curves."""


@contextmanager
def visiting(context: BrowserContext, address: str, query: str = SET_UP) -> Iterator[Page]:
    """Open the page as a new visitor; in the end nothing came from elsewhere or went wrong."""
    visitor = context.new_page()
    elsewhere: list[str] = []
    errors: list[str] = []

    def check(url: str) -> None:
        if not url.startswith((address, "data:", "blob:", address.replace("http", "ws"))):
            elsewhere.append(url)

    visitor.on("request", lambda request: check(request.url))
    visitor.on("pageerror", lambda error: errors.append(str(error)))
    visitor.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    visitor.goto(f"{address}/{query}")
    visitor.wait_for_function(f"document.querySelector('{PLOT}')?._fullLayout?.yaxis?.type == 'log'")
    yield visitor
    forget(visitor, address)
    assert elsewhere == []
    assert errors == []


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
    """One page for all tests of a file, which loads once: each leaves it to the next one.

    No test of such a file asks for `page`, whose end forgets what the browser has stored.
    """
    with visiting(browser.contexts[0], address) as visitor:
        yield visitor


@pytest.fixture(scope="module")
def newcomer(browser: Browser, address: str) -> Iterator[Page]:
    """The workbench of another new visitor, with the recorded race; one for a file as well."""
    context = browser.new_context(viewport=SCREEN)
    with visiting(context, address, "?view=workbench") as visitor:
        yield visitor
    context.close()


@pytest.fixture
def context(browser: Browser, address: str) -> Iterator[BrowserContext]:
    """A visitor's browser with a clipboard, whose pages the test opens itself."""
    kept = browser.contexts[0]
    kept.grant_permissions(["clipboard-read", "clipboard-write"])
    before = list(kept.pages)
    yield kept
    for page in set(kept.pages) - set(before):
        page.close()
    forget(kept.new_page(), address)
    kept.clear_permissions()


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that saves a model of some family, and dtype, in several files, once."""

    @cache
    def folder(family: str, dtype: torch.dtype = torch.float32) -> Path:
        path = tmp_path_factory.mktemp(family)
        model_of(family, dtype).save_pretrained(path, max_shard_size="20KB")
        return path

    return folder

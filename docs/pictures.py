"""Take the README's screenshots again, of real runs in a real browser.

    python docs/pictures.py [NAME …]

A name is that of a file in this folder, without its extension. This needs Chromium and the test dependencies, and
takes about two minutes on two cores.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import nbformat
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent / "tests"), str(DOCS.parent / "tests" / "browser")]

import conftest  # noqa: E402, F401 (the environment of the tests)
from support.served import inherited, serve  # noqa: E402
from support.shared import FLAGS, chromium  # noqa: E402
from test_browser_jupyter import READY, Notebook, jupyterlab  # noqa: E402

CELL = """from olora_viz.notebook import RacePanel

panel = RacePanel()
panel"""
DRAWN = 2000
"""Milliseconds until all charts are drawn."""


def race_page(page: Page) -> None:
    """Show the default race at its end."""
    page.click("#race-button")
    expect(page.locator("#status")).to_contain_text("finished", timeout=300_000)


def spectrum_page(page: Page) -> None:
    """Show the initial layer and rank of the page."""
    page.get_by_role("link", name="Spectrum").click()
    expect(page.locator("#spectrum-figure .js-plotly-plot")).to_be_visible()


def conditioning_page(page: Page) -> None:
    """Show the recorded gradient norm and curvature of the default lanes."""
    page.get_by_role("link", name="Conditioning").click()
    expect(page.locator("#conditioning-figure .js-plotly-plot")).to_be_visible()


PAGES: dict[str, Callable[[Page], None]] = {
    "race-page": race_page,
    "spectrum-page": spectrum_page,
    "conditioning-page": conditioning_page,
}
PANEL = "notebook-panel"


def save(page: Page, name: str) -> None:
    """Save a screenshot in the 256 colours that cover its own best, a third of its size."""
    drawn = Image.open(BytesIO(page.screenshot())).convert("RGB")
    few = drawn.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)
    few.save(DOCS / f"{name}.png", optimize=True)


def of_pages(browser: Browser, names: Sequence[str], folder: Path) -> None:
    """Take the screenshots of the app."""
    with serve(folder / "app", inherited()) as server:
        for name in names:
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(server.url)
            expect(page.locator("#accuracy-figure .js-plotly-plot")).to_be_visible()
            PAGES[name](page)
            page.mouse.move(0, 0)
            page.wait_for_timeout(DRAWN)
            save(page, name)
            page.close()


def of_panel(browser: Browser, folder: Path) -> None:
    """Take the screenshot of a panel in JupyterLab."""
    with jupyterlab(folder / "jupyter") as lab:
        nbformat.write(
            nbformat.v4.new_notebook(
                cells=[nbformat.v4.new_code_cell(CELL)],
                metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
            ),
            lab.folder / "panel.ipynb",
        )
        page = browser.new_page(viewport={"width": 1440, "height": 1230})
        page.goto(lab.address_of("panel.ipynb"))
        page.wait_for_function(READY)
        page.evaluate("window.jupyterapp.shell.collapseLeft()")
        notebook = Notebook(page)
        notebook.run_cell(0)
        cell = notebook.cell(0)
        cell.get_by_role("button", name="Race").click(timeout=120_000)
        expect(cell.locator(".status").first).to_contain_text("finished", timeout=300_000)
        page.wait_for_timeout(DRAWN)
        save(page, PANEL)
        page.close()


def main() -> None:
    """Take all screenshots, or the named ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join([*PAGES, PANEL]))
    names = parser.parse_args().names or [*PAGES, PANEL]
    unknown = set(names) - {*PAGES, PANEL}
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: the pictures are {', '.join([*PAGES, PANEL])}")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        of_pages(browser, [name for name in names if name in PAGES], Path(folder))
        if PANEL in names:
            of_panel(browser, Path(folder))
        browser.close()


if __name__ == "__main__":
    main()

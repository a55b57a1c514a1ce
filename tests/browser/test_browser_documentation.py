"""The documentation in a browser, opened from a folder and from a server: its search, and the table of starts."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from olora_viz.initializers import INITIALIZERS, Initializer

ASKED: dict[str, Callable[[Initializer], bool]] = {
    "needs no data": lambda start: not start.needs,
    "keeps the function at step 0": lambda start: start.keeps_function,
    "works on 4 bits at its rank": lambda start: not start.dense and (start.zero_product or not start.keeps_function),
    "works on all experts": lambda start: not start.needs,
}
"""What the boxes above the table of starts ask for, in terms of the catalogue."""
PHRASE = re.compile("effective[ _]rank")


class Quiet(SimpleHTTPRequestHandler):
    """Serves the files of a folder, and writes nothing about it."""

    def log_message(self, *_: object) -> None:
        """Write nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(params=["folder", "server", pytest.param("by itself", marks=pytest.mark.nightly)])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the documentation is read from: beside the static pages, or by itself."""
    if request.param == "server":
        with served(request.getfixturevalue("documentation")) as url:
            yield url
    else:
        folder = "documentation" if request.param == "folder" else "documentation_alone"
        yield request.getfixturevalue(folder).as_uri()


@pytest.fixture
def reader(browser: Browser, address: str) -> Iterator[Page]:
    """A page of a reader, which in the end has asked for nothing from elsewhere."""
    page = browser.new_page()
    asked: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    page.close()
    assert asked
    assert [url for url in asked if not url.startswith((address, "about:", "data:", "blob:"))] == []
    assert errors == []


def test_the_search_finds_a_page_and_leads_there(reader: Page, address: str) -> None:
    reader.goto(f"{address}/reference/starts.html")
    reader.get_by_role("textbox", name="Search").click()
    reader.keyboard.type("effective rank")
    reader.locator(".md-search-result__link").filter(has_text=PHRASE).first.click()
    reader.wait_for_url(lambda url: not url.startswith(f"{address}/reference/starts.html"))
    expect(reader.get_by_role("main")).to_contain_text(PHRASE)


def shown(page: Page, table: int) -> Locator:
    """Return the rows that are seen of one of the two tables of starts."""
    return page.locator("table").nth(table).locator("tbody tr:visible")


def test_the_table_of_starts_is_filtered_by_boxes_and_words(reader: Page, address: str) -> None:
    reader.goto(f"{address}/reference/starts.html")
    count = reader.locator("form.filter output")
    expect(count).to_have_attribute("aria-live", "polite")
    expect(count).to_have_text(f"{len(INITIALIZERS)} of {len(INITIALIZERS)} starts")
    left = list(INITIALIZERS.values())
    for label, fits in ASKED.items():
        reader.get_by_label(label).focus()
        reader.keyboard.press("Space")
        left = [start for start in left if fits(start)]
        expect(count).to_have_text(f"{len(left)} of {len(INITIALIZERS)} starts")
        for table in range(2):
            assert shown(reader, table).locator("td:first-child").all_inner_texts() == [start.name for start in left]
    for label in ASKED:
        reader.get_by_label(label).uncheck()
    reader.get_by_label("with the words").fill(
        "Subtracted triplets"
    )  # the one of the first table, the other of the second
    words = {start.name: f"{start.label} {start.summary} {start.source}".lower() for start in INITIALIZERS.values()}
    left = [name for name, start in INITIALIZERS.items() if not start.zero_product and "triplets" in words[name]]
    assert shown(reader, 0).locator("td:first-child").all_inner_texts() == left != []


def test_without_scripts_all_starts_are_shown(browser: Browser, documentation: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{documentation.as_uri()}/reference/starts.html")
    expect(page.locator("form.filter")).to_be_hidden()
    expect(shown(page, 0)).to_have_count(len(INITIALIZERS))
    context.close()


def test_on_a_phone_the_names_of_starts_stay_in_view(browser: Browser, documentation: Path) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(f"{documentation.as_uri()}/reference/starts.html")
    frame = page.locator(".md-typeset__scrollwrap").first
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    frame.evaluate("frame => frame.scrollTo(frame.scrollWidth, 0)")
    expect(page.get_by_role("columnheader", name="nested")).to_be_in_viewport()
    expect(shown(page, 0).first.locator("td").first).to_be_in_viewport(ratio=1)
    context.close()

"""The documentation in a browser, opened from a folder and from a server: its search, and the table of starts."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

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


@pytest.fixture(params=["folder", "server"])
def address(request: pytest.FixtureRequest, site: Path) -> Iterator[str]:
    """Where the documentation is read from."""
    if request.param == "folder":
        yield site.as_uri()
    else:
        with served(site) as url:
            yield url


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

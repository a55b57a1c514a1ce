"""The page under a proxy's path, and in frames of other sites, in a real Chromium."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from support.nightly import at_night
from support.opened import press
from support.proxies import embedding, proxy
from support.served import launched
from support.shared import FLAGS, PLOT, at_workbench, chromium

from olora_viz.web import page as web
from olora_viz.web.jobs.queue import Jobs

PATH = "/tools/olora"
SET_UP = "task=addition&steps={}&lane=olora:lr=1e-3,r=2"
"""A small race of one lane."""


@pytest.fixture(scope="module")
def program() -> str | None:
    """A visitor's own Chromium, which keeps the storage of a frame of another site."""
    return chromium()


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of its own: that of all files belongs to another program."""
    return tmp_path_factory.mktemp("profile")


@pytest.fixture
def visitor(browser: Browser) -> Iterator[Page]:
    context = at_workbench(browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True))
    page = context.new_page()
    yield page
    context.close()


@pytest.mark.parametrize("tells", [True, *at_night(False)])
def test_under_a_path_the_page_races_and_hands_out_files(visitor: Page, address: str, tells: bool) -> None:
    with proxy(address, PATH, tells=tells) as url:
        visitor.goto(f"{url}?{SET_UP.format(3)}#race")
        expect(visitor).to_have_url(f"{url}/?{SET_UP.format(3)}#race")
        missing: list[str] = []
        visitor.on("response", lambda got: missing.append(got.url) if got.status >= 400 else None)
        visitor.wait_for_selector(PLOT)
        visitor.click("#race-button")
        expect(visitor.locator("#status .state")).to_have_text("finished")
        with visitor.expect_download() as download:
            visitor.locator("#adapters button").first.click()
        assert Path(download.value.path()).stat().st_size > 1000
        assert [one for one in missing if "manifest" not in one] == []


def test_where_pages_shall_be_rendered_on_the_server_this_one_is_drawn_by_the_browser(address: str) -> None:
    """Gradio's own rendering on the server leaves a frame, or a page under a path, white.

    The server of all tests with `address` is told to render, and their pages race.
    """
    served = httpx.get(address, trust_env=False).text
    assert "window.gradio_config" in served, "what the browser draws the page from"


def test_a_page_says_when_its_server_is_gone(visitor: Page, address: str) -> None:
    with proxy(address, PATH) as url:
        visitor.goto(f"{url}/?{SET_UP.format(400)}")
        visitor.wait_for_selector(PLOT)
        visitor.click("#race-button")
        expect(visitor.locator("#status .state")).to_have_text("racing")
        press(visitor, "#pause-button")
        expect(visitor.locator("#status .state")).to_have_text("paused")
        expect(visitor.locator("#pulse p")).to_be_hidden()
    expect(visitor.locator("#pulse")).to_contain_text("The server does not answer")


def test_under_gradios_own_variable_the_slash_may_be_missing(visitor: Page, jobs: Jobs) -> None:
    with launched(web.build(jobs=jobs), root_path=PATH) as target, proxy(target, PATH, tells=False) as url:
        visitor.goto(url)
        expect(visitor.locator(PLOT)).to_be_visible()
        expect(visitor).to_have_url(f"{url}/")


def test_a_proxy_may_leave_its_path_in_the_requests(address: str) -> None:
    headers = {"X-Forwarded-Prefix": PATH}
    for path in (PATH, f"{PATH}/", f"{PATH}/gradio_api/info", f"{PATH}/favicon.ico"):
        got = httpx.get(address + path, headers=headers, trust_env=False)
        assert got.status_code == 200
    page = httpx.get(address + PATH, headers=headers, trust_env=False).text
    assert f'"root":"{address}{PATH}"' in page


@pytest.mark.parametrize("said", ["/a/../b", "//elsewhere.org", "/<script>", "https://a.b/c", "x"])
def test_a_path_that_is_none_is_ignored(address: str, said: str) -> None:
    got = httpx.get(address, headers={"X-Forwarded-Prefix": said}, trust_env=False)
    assert got.status_code == 200
    assert got.headers["content-encoding"] == "gzip"
    assert f'"root":"{address}"' in got.text


def test_in_a_frame_of_another_site_without_storage_the_page_races(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    """As in Safari, in private windows, and with Chromium's setting against other sites' data."""
    (tmp_path / "Default").mkdir()
    blocked = {"profile": {"block_third_party_cookies": True, "cookie_controls_mode": 1}}
    (tmp_path / "Default" / "Preferences").write_text(json.dumps(blocked))
    with embedding(f"{address}/?view=workbench&{SET_UP.format(5)}") as outer:
        context = browser.browser_type.launch_persistent_context(tmp_path, executable_path=chromium(), args=FLAGS)
        page = context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(outer)
        frame = page.frame_locator("iframe")
        # In another site's frame a chart is drawn where it is seen, not a screen earlier.
        expect(frame.locator("#accuracy-figure .js-plotly-plot")).to_be_visible()
        expect(frame.locator("html")).to_have_attribute("data-storage", "none")
        frame.get_by_label("Steps", exact=True).fill("3")
        frame.get_by_label("Steps", exact=True).press("Tab")
        frame.locator("#race-button").click()
        expect(frame.locator("#status .state")).to_have_text("finished")
        frame.get_by_role("link", name="Spectrum").click()
        expect(frame.locator("html")).to_have_attribute("data-page", "spectrum")
        assert errors == []
        context.close()


def test_a_sandbox_without_its_own_origin_says_so(visitor: Page, address: str) -> None:
    with embedding(address, 'sandbox="allow-scripts allow-popups"') as outer:
        visitor.goto(outer)
        frame = visitor.frame_locator("iframe")
        expect(frame.locator("body")).to_contain_text("allow-same-origin")
        expect(frame.locator("a")).to_have_attribute("href", f"{address}/")


def test_in_a_frame_a_reload_does_not_start_another_race(visitor: Page, address: str) -> None:
    with embedding(f"{address}/?{SET_UP.format(2)}&start=1") as outer:
        visitor.goto(outer)
        frame = visitor.frame_locator("iframe")
        expect(frame.locator("#status .state")).to_have_text("finished")
        visitor.reload()
        # In another site's frame a chart is drawn where it is seen, not a screen earlier.
        expect(frame.locator("#accuracy-figure .js-plotly-plot")).to_be_visible()
        expect(frame.locator("#status .state")).to_have_text("finished")
        # What the server answers to an arrival brings the countdown, if any, with the run.
        expect(frame.locator("#countdown .countdown")).to_be_hidden()
        expect(frame.locator("#shelf li")).to_have_count(1)

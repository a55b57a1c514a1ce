"""The page in a real Chromium: race, watch, zoom, stop; nothing from any other host."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).parents[1]
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
PLOT = "#loss-figure .js-plotly-plot"
POINTS = f"(document.querySelector('{PLOT}')?.data?.[0]?.y ?? []).length"


def chromium() -> str | None:
    """Find Chromium on this machine, or Playwright's own."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found:
        return found
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = chromium()
    if path is None and not os.environ.get("CI"):
        pytest.skip("no Chromium on this machine: install it, or run `playwright install chromium`")
    assert path, "no Chromium, and CI must have one"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Start the app as a visitor's server would, and end it with the tests."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_ANALYTICS_ENABLED": "False", "OMP_NUM_THREADS": "1", "OLORA_VIZ_MAX_STEPS": "600",
    }  # fmt: skip
    server = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, server)
        yield url
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            server.kill()


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(600):
        assert server.poll() is None, "app.py ended before its page was there"
        try:
            opener.open(url, timeout=2).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise TimeoutError(f"no page at {url}")


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A new visitor; in the end nothing was fetched from elsewhere and nothing went wrong."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
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
    visitor.goto(address)
    visitor.wait_for_function(
        f"document.querySelector('{PLOT}')?._fullLayout?.yaxis?.type == 'log'"
    )
    yield visitor
    context.close()
    assert elsewhere == []
    assert errors == []


def points(page: Page) -> int:
    return page.evaluate(POINTS)


def wait_for_points(page: Page, count: int) -> None:
    page.wait_for_function(f"{POINTS} >= {count}")


def x_range(page: Page) -> list[float]:
    return page.evaluate(f"document.querySelector('{PLOT}')._fullLayout.xaxis.range")


def visibility(page: Page, lane: str) -> set[object]:
    """Return how the lane's traces are shown, in all three charts."""
    script = """lane => [...document.querySelectorAll('.js-plotly-plot')].flatMap(plot =>
        plot._fullData.filter(t => t.legendgroup === lane).map(t => t.visible))"""
    return set(page.evaluate(script, lane))


def test_points_arrive_and_a_zoom_and_a_hidden_lane_survive_until_stop(page: Page) -> None:
    page.get_by_label("Steps").fill("500")
    page.get_by_label("Steps").press("Tab")
    page.click("#race-button")
    wait_for_points(page, 3)
    expect(page.locator("#status")).to_contain_text("racing")
    expect(page.locator("#status")).to_contain_text(re.compile(r"\d+ / 500 · [\d.]+ steps/s"))

    box = page.locator(f"{PLOT} .nsewdrag").first.bounding_box()
    assert box
    page.mouse.move(box["x"] + 0.02 * box["width"], box["y"] + 0.3 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.8 * box["height"], steps=8)
    page.mouse.up()
    page.wait_for_function(
        f"document.querySelector('{PLOT}')._fullLayout.xaxis.range[1] < 200", timeout=5000
    )
    zoomed = x_range(page)
    page.locator("#loss-figure .annotation-text-g", has_text="PiSSA 1e-3").first.click()
    page.wait_for_function(
        f"document.querySelector('{PLOT}')._fullData.some(t => t.visible === 'legendonly')"
    )

    before = points(page)
    wait_for_points(page, before + 5)
    assert x_range(page) == pytest.approx(zoomed)
    assert visibility(page, "PiSSA 1e-3") == {"legendonly"}
    assert visibility(page, "OLoRA 3e-3") == {True}
    assert page.locator(PLOT).count() == 1

    reached = points(page)
    page.click("#stop-button")
    expect(page.locator("#status .state")).to_have_text("stopped")
    expect(page.locator("#adapters button").first).to_be_visible()
    status = page.locator("#status").inner_text()
    assert "finished" not in status
    ended = int(re.findall(r"(\d+) / 500", status)[0])
    # The chart lags the race by an update, so a few steps lie between the press and the last point.
    assert reached <= ended < reached + 40
    wait_for_points(page, ended)
    time.sleep(1.0)
    assert points(page) == ended
    assert page.locator("#status").inner_text() == status


def test_the_default_race_finishes_and_leaves_results_answers_and_adapters(page: Page) -> None:
    page.click("#race-button")
    expect(page.locator("#status")).to_contain_text("finished", timeout=180_000)
    expect(page.locator("#status")).to_contain_text("120 / 120")
    expect(page.locator("#results")).to_contain_text("Standing at step 120")
    expect(page.locator("#results tbody tr")).to_have_count(6)
    expect(page.locator("#answers .asked")).to_have_count(4)
    expect(page.locator("#answers .asked").first).to_contain_text("base model")
    expect(page.locator("#story")).to_contain_text("At one shared rate (1e-3) OLoRA is")
    expect(page.locator("#adapters button")).to_have_count(5)
    wait_for_points(page, 120)
    assert points(page) == 120
    with page.expect_download() as download:
        page.locator("#adapters button", has_text="OLoRA 3e-3").click()
    assert download.value.suggested_filename.endswith(".zip")
    assert Path(download.value.path()).read_bytes()[:2] == b"PK"

    page.reload()
    expect(page.locator("#status")).to_contain_text("finished")
    wait_for_points(page, 120)
    expect(page.locator("#adapters button")).to_have_count(5)


def test_the_chart_and_the_page_follow_the_dark_theme(browser: Browser, address: str) -> None:
    context = browser.new_context(color_scheme="dark")
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector(f"{PLOT} .gridlayer path", state="attached")
    grid = page.eval_on_selector(f"{PLOT} .gridlayer path", "n => getComputedStyle(n).stroke")
    card = page.eval_on_selector(".card", "n => getComputedStyle(n).backgroundColor")
    assert grid == "rgb(43, 50, 64)"
    assert card == "rgb(26, 31, 40)"
    context.close()


def test_bad_values_get_a_sentence_and_no_traceback(page: Page) -> None:
    rank = page.get_by_label("rank, lane 1")
    rank.fill("999")
    sentence = "rank must be a whole number from 1 to 256, not '999'"
    expect(page.locator("#lanes .problem")).to_contain_text(sentence)
    page.click("#race-button")
    expect(page.locator("#status")).to_contain_text(f"failed {sentence}")
    expect(page.locator("#results")).to_contain_text(sentence)
    rank.fill("200")
    expect(page.locator("#lanes .problem")).to_be_hidden()
    page.click("#race-button")
    expect(page.locator("#status")).to_contain_text("rank 200 exceeds min(out, in)")
    assert "Traceback" not in page.content()
    expect(page.locator("#race-button")).to_be_enabled()


def test_lanes_can_be_added_edited_and_removed_by_keyboard(page: Page) -> None:
    rows = page.locator("#lanes tbody tr")
    expect(rows).to_have_count(5)
    page.get_by_role("button", name="+ lane").press("Enter")
    expect(rows).to_have_count(6)
    page.keyboard.press("Tab")
    page.keyboard.type("4")
    expect(page.get_by_label("rank, lane 6")).to_have_value("4")
    for _ in range(5):
        page.get_by_label("remove lane 1").press("Enter")
    expect(rows).to_have_count(1)
    expect(page.get_by_label("remove lane 1")).to_be_disabled()
    page.get_by_label("Steps").fill("2")
    page.get_by_label("Steps").press("Tab")
    page.click("#race-button")
    expect(page.locator("#status")).to_contain_text("finished")
    expect(page.locator("#results tbody tr")).to_have_count(2)


def test_a_phone_shows_what_happens_first_and_nothing_runs_over_the_edge(
    browser: Browser, address: str
) -> None:
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True
    )
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector(f"{PLOT} .gridlayer path", state="attached")
    tops = [
        page.locator(name).bounding_box()
        for name in ("#loss-figure", "#story", "#answers", "#lanes")
    ]
    assert all(tops)
    heights = [box["y"] for box in tops if box]
    assert heights == sorted(heights)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()

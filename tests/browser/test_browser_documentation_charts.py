"""The charts of the documentation in a real Chromium, opened from the folder of the static pages."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from olora_viz.figures.theme import palette

PLOT = "[data-figure='chart-1'] .js-plotly-plot"


@pytest.fixture
def reader(browser: Browser, static_site: Path) -> Iterator[Page]:
    """The page on lanes, whose reader asks nothing but the files of the folder, and on which nothing goes wrong."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    page = context.new_page()
    elsewhere, errors = [], []
    page.on("request", lambda request: request.url.startswith(("file:", "blob:")) or elsewhere.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(f"{static_site.as_uri()}/docs/concepts/lane.html")
    page.wait_for_function(f'document.querySelector("{PLOT}")?.data?.length > 0')
    yield page
    assert elsewhere == []
    assert errors == []
    context.close()


def wait_for_color(page: Page, theme: str) -> None:
    """Wait until the first lane of the chart has its colour in a theme."""
    color = palette(theme)["lora"]
    page.wait_for_function(f'document.querySelector("{PLOT}").data.some((trace) => trace.line?.color === "{color}")')


def test_a_chart_is_drawn_and_follows_the_theme(reader: Page) -> None:
    wait_for_color(reader, "light")
    expect(reader.get_by_role("combobox", name="smoothing")).to_have_value("0.6")
    for switch, theme in (("Dark colours", "dark"), ("Light colours", "light")):
        reader.get_by_title(switch).click()
        wait_for_color(reader, theme)
        assert barriers(reader) == []
    reader.set_viewport_size({"width": 390, "height": 844})
    expect(reader.locator(".live-chart")).to_be_visible()
    reader.wait_for_function("document.documentElement.scrollWidth === 390")  # once the chart is narrower, too


def barriers(page: Page) -> list[tuple[str, str]]:
    """Return what axe finds on a page."""
    wrong = Axe().run(page, options={"resultTypes": ["violations"], "preload": False}).response["violations"]
    return [(one["id"], one["nodes"][0]["html"][:200]) for one in wrong]


def test_a_page_of_the_reference_has_no_barrier_in_the_dark(reader: Page, static_site: Path) -> None:
    reader.emulate_media(color_scheme="dark")
    reader.goto(f"{static_site.as_uri()}/docs/reference/initializations.html")
    assert barriers(reader) == []


def test_without_javascript_a_chart_is_a_title_and_sentences(browser: Browser, static_site: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{static_site.as_uri()}/docs/concepts/lane.html")
    chart = page.locator(".live-chart")
    expect(chart).to_contain_text("Loss nats per answer token")
    expect(chart).to_contain_text("The chart is drawn by JavaScript.")
    assert chart.bounding_box()["height"] < 250
    context.close()


def test_the_documentation_of_the_static_pages_brings_no_second_plotly(static_site: Path) -> None:
    assert [path.relative_to(static_site).as_posix() for path in static_site.rglob("plotly*.js")] == [
        "assets/plotly.min.js"
    ]

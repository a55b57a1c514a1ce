"""The page Decide in a real Chromium."""

import re
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest
from playwright.sync_api import Browser, Page, expect
from support.opened import press
from support.served import launched
from support.shared import SET_UP, visiting

import olora_viz as ov
from olora_viz.web import page as web
from olora_viz.web.decide import Deciding
from olora_viz.web.guard.limits import Limits
from olora_viz.web.jobs.queue import Jobs


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server whose shortest decision, a minute, has a quarter of it left: it plans for a few races."""
    jobs = Jobs(folder=tmp_path_factory.mktemp("jobs"))
    planned = Deciding.minutes_left.fget
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Deciding, "minutes_left", property(lambda work: 0.25 if work.minutes == 1 else planned(work)))
        with launched(web.build(Limits(), jobs)) as url:
            yield url
    jobs.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The page of a new visitor of that server."""
    with visiting(browser.contexts[0], address) as visitor:
        yield visitor


def test_in_a_browser_it_plans_races_and_stops_with_what_is_known(page: Page) -> None:
    # There may be no estimate yet.
    page.evaluate("document.querySelector('#estimate .html-container').innerHTML = '<div>words</div>'")
    expect(page.locator("#estimate")).to_be_visible()
    page.get_by_role("link", name="Decide", exact=True).click()
    for hidden in ("#lanes", "#race-button", "#estimate", "#loss-figure", "#presets"):
        expect(page.locator(hidden)).to_be_hidden()
    page.locator("#decide-inits").get_by_label("MiLoRA").uncheck()
    expect(page.get_by_label("May forget at most")).to_have_value("")  # a limit of 0 is the strictest one
    limit = page.locator("#decide-forget").get_by_role("textbox")
    limit.fill("-1")
    page.click("#decide-button")
    expect(page.locator("#decide-status")).to_contain_text("what may be forgotten, in nats, must be a number")
    limit.fill("")
    page.click("#decide-button")
    plan, starts = page.locator("#decide-plan"), page.locator("#decide-starts")
    expect(plan).to_contain_text("3 starts (LoRA, OLoRA, PiSSA)", timeout=120_000)
    expect(starts).to_contain_text("undecided", timeout=120_000)
    expect(page.locator("#decide-headline")).to_contain_text("for now", timeout=120_000)
    press(page, "#decide-stop-button")
    expect(page.locator("#decide-status")).to_contain_text("stopped")
    expect(page.locator("#decide-headline")).to_contain_text("for now")
    expect(page.locator("#decide-take button").nth(0)).to_be_disabled()
    page.reload()
    page.get_by_role("link", name="Decide", exact=True).click()
    expect(page.locator("#decide-headline")).to_contain_text("for now")


def test_in_a_browser_it_decides_and_its_report_and_adapter_go_home(browser: Browser, address: str) -> None:
    page = browser.contexts[0].new_page()
    page.goto(f"{address}/{SET_UP}")
    page.get_by_role("link", name="Decide", exact=True).click()
    page.locator("#decide-minutes input").click()
    page.get_by_role("option", name="1 minute").click()
    for other in ("PiSSA", "MiLoRA"):
        page.locator("#decide-inits").get_by_label(other, exact=True).uncheck()
    page.click("#decide-button")
    expect(page.locator("#decide-status .state")).to_have_text("finished", timeout=300_000)
    expect(page.locator("#decide-headline")).to_contain_text(re.compile("[Tt]ake "))
    files = {}
    for name in ("Take this adapter", "Report"):
        with page.expect_download() as download:
            page.locator("#decide-take").get_by_role("button", name=name).click()
        files[name] = Path(download.value.path())
    with ZipFile(files["Take this adapter"]) as adapter:
        assert "adapter/adapter_config.json" in adapter.namelist()
    assert f"olora_viz {ov.__version__}" in files["Report"].read_text("utf-8")
    page.route(re.compile("component_server"), lambda route: route.abort())
    page.locator("#decide-take").get_by_role("button", name="Report").click()
    expect(page.locator("#decide-take [role=status]")).to_contain_text("export failed")

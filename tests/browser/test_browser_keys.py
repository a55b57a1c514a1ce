"""What leaves the owner's browser opens the run for reading alone, and a reader sees it live."""

import re
from pathlib import Path

from playwright.sync_api import Browser, Page, expect
from support.opened import press
from support.shared import at_workbench

SET_UP = "?task=addition&batch=64&steps={}&lane=lora:lr=1e-3,r=2"
HELD = "sessionStorage.getItem('olora-viz-run')"


def opened(browser: Browser, address: str) -> Page:
    """Open the page as another visitor."""
    context = at_workbench(
        browser.new_context(viewport={"width": 1440, "height": 900}, permissions=["clipboard-read", "clipboard-write"])
    )
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("#loss-figure .gridlayer path", state="attached")
    return page


def saved(page: Page, act: str) -> tuple[str, str]:
    with page.expect_download() as download:
        page.evaluate(act)
    return download.value.suggested_filename, Path(download.value.path()).read_text("latin-1")


def test_a_run_is_shown_to_others_and_its_owner_s_key_stays_in_the_browser(browser: Browser, address: str) -> None:
    owner = opened(browser, address + SET_UP.format(400))
    expect(owner.locator("#show-run-button")).to_be_hidden()
    owner.click("#race-button")
    expect(owner.locator("#shelf li")).to_have_count(1)
    key = owner.evaluate(HELD)
    assert re.fullmatch(r"[\w-]{22}", key)
    owner.click("#show-run-button")
    expect(owner.locator("#show-run-button")).to_have_text("Link copied")
    link = owner.evaluate("navigator.clipboard.readText()")
    assert re.fullmatch(re.escape(address) + r"/\?run=[\w-]{22}", link)

    press(owner, "#pause-button")  # as long as the reader's page loads
    expect(owner.locator("#status .state")).to_have_text("paused")
    reader = opened(browser, link)
    status = reader.locator("#status")
    expect(status.locator(".state")).to_have_text("paused")
    owner.click("#race-button")
    expect(status.locator(".state")).to_have_text("racing")
    expect(reader.locator("#whose")).to_contain_text("You are watching somebody's run")
    for button in ("pause", "stop"):
        expect(reader.locator(f"#{button}-button")).to_be_disabled()
    expect(reader.locator("#race-button")).to_have_text("▶ Race")
    made = int(status.locator("b").inner_text())
    reader.wait_for_function(f"Number(document.querySelector('#status b').innerText) > {made}")
    assert reader.evaluate(HELD) == link[-22:]
    assert "run=" not in reader.url
    press(owner, "#stop-button")
    expect(status.locator(".state")).to_have_text("stopped")
    expect(reader.locator("#take .hint")).to_contain_text("for the run's owner alone")

    # All that an owner can save, copy or send.
    expect(owner.locator("#adapters button")).to_have_count(1)
    expect(owner.locator("#show-run-button")).to_have_text("Share run")
    owner.click("#share-button")
    expect(owner.locator("#share-button")).to_have_text("Link copied")
    told = {"clipboard": owner.evaluate("navigator.clipboard.readText()"), "address": owner.url}
    told["page"] = owner.content()
    (told["link in the list"],) = owner.locator("#shelf a").evaluate_all("(l) => l.map((a) => a.href)")
    told["title"] = owner.title()
    for kind in ("html", "json", "csv"):
        act = f"document.querySelector('#loss-figure [role=menu] [data-kind={kind}]').click()"
        owner.click("#loss-figure [aria-haspopup=menu]")
        told[f"chart as {kind}"] = "".join(saved(owner, act))
    for kind in ("report", "json"):
        act = f"document.querySelector('#take [data-kind={kind}]').click()"
        told[f"run as {kind}"] = "".join(saved(owner, act))
    assert told["link in the list"] == link
    for name, text in told.items():
        assert key not in text, name

    # The same browser keeps its owner's rights; a reader who races has a race of their own.
    owner.goto(link)
    expect(owner.locator("#status .state")).to_have_text("stopped")
    expect(owner.locator("#adapters button")).to_have_count(1)
    assert owner.evaluate(HELD) == key
    reader.click("#race-button")
    expect(status.locator(".state")).to_have_text("racing")
    expect(reader.locator("#whose")).not_to_contain_text("somebody's run")
    assert reader.evaluate(HELD) not in (key, link[-22:])
    press(reader, "#stop-button")
    for page in (owner, reader):
        page.context.close()

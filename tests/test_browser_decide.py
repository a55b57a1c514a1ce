"""The page Decide in a real Chromium."""

from playwright.sync_api import Page, expect


def test_in_a_browser_it_plans_races_and_stops_with_what_is_known(page: Page) -> None:
    page.get_by_role("link", name="Decide", exact=True).click()
    for hidden in ("#lanes", "#race-button", "#loss-figure", "#presets"):
        expect(page.locator(hidden)).to_be_hidden()
    page.locator("#decide-inits").get_by_label("MiLoRA").uncheck()
    page.click("#decide-button")
    plan, starts = page.locator("#decide-plan"), page.locator("#decide-starts")
    expect(plan).to_contain_text("3 starts (LoRA, OLoRA, PiSSA)", timeout=120_000)
    expect(starts).to_contain_text("undecided", timeout=120_000)
    page.click("#decide-stop-button")
    expect(page.locator("#decide-status")).to_contain_text("stopped")
    expect(page.locator("#decide-headline")).to_contain_text("for now")
    expect(page.locator("#decide-take button").nth(0)).to_be_disabled()
    page.reload()
    page.get_by_role("link", name="Decide", exact=True).click()
    expect(page.locator("#decide-headline")).to_contain_text("for now")

"""The page Claims in a real Chromium."""

from playwright.sync_api import Page, expect


def test_in_a_browser_rows_change_from_recorded_to_measured_and_a_fold_stays_open(page: Page) -> None:
    page.get_by_role("link", name="Claims").click()
    for hidden in ("#lanes", "#race-button", "#loss-figure", "#decide-button"):
        expect(page.locator(hidden)).to_be_hidden()
    page.locator("#more-settings summary").click()
    expect(page.locator("#more-settings [name=chat]")).to_be_visible()
    expect(page.locator("#more-settings [name=warmup]")).to_be_hidden()
    first, training = page.locator("#claim-subset"), page.locator("#claim-result")
    expect(first.locator(".badge")).to_have_text("recorded")
    before = training.inner_text()
    for fold in (".claim > summary", ".of-claim summary"):
        first.locator(fold).focus()
        page.keyboard.press("Enter")
    expect(first.locator(".told code").first).to_be_visible()
    recorded = first.locator(".told").count()
    page.click("#claims-button")
    expect(first.locator(".badge")).to_have_text("measured here")
    expect(first.locator(".told")).to_have_count(recorded + 1)
    expect(first.locator(".told code").first).to_be_visible()
    expect(page.locator("#claims-status")).to_contain_text("finished")
    expect(page.locator("#claims-stop-button")).to_be_disabled()
    assert training.inner_text() == before
    page.reload()
    expect(first.locator(".badge")).to_have_text("measured here")
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function("document.documentElement.scrollWidth <= window.innerWidth")

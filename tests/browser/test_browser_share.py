"""Links, keys and the help in a real Chromium: a set-up travels, a class sees what it shall see."""

import re
from urllib.parse import parse_qsl, urlsplit

from playwright.sync_api import Browser, BrowserContext, Page, expect
from support.shared import SCREEN, at_workbench

PLOT = "#loss-figure .js-plotly-plot"
LINK = "?task=addition&steps=7&batch=8&seed=3&lane=olora:lr=3e-3,r=4,alpha=8&lane=lora:lr=2e-2,r=2"


def opened(context: BrowserContext, address: str) -> Page:
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector(f"{PLOT} .gridlayer path", state="attached")
    return page


def said(page: Page) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(page.url).query)


def expect_set_up(page: Page) -> None:
    expect(page.locator("#lanes tbody tr")).to_have_count(2)
    expect(page.locator("#setup-task input")).to_have_value("addition")
    for name, value in (("steps", "7"), ("batch", "8"), ("seed", "3")):
        expect(page.locator(f"#setup-{name} input")).to_have_value(value)
    expect(page.get_by_label("start of lane 1")).to_have_value("olora")
    for name, value in (("rank", "4"), ("alpha", "8"), ("learning rate", "3e-3")):
        expect(page.get_by_label(f"{name}, lane 1")).to_have_value(value)
    expect(page.get_by_label("learning rate, lane 2")).to_have_value("2e-2")


def test_a_link_restores_the_set_up_hides_parts_and_the_address_follows(context: BrowserContext, address: str) -> None:
    page = opened(context, f"{address}/{LINK}&hide=story,take,stroy#race")
    expect_set_up(page)
    expect(page.locator("#story")).to_be_hidden()
    expect(page.locator("#adapters")).to_be_hidden()
    expect(page.locator("#results")).to_be_visible()
    expect(page.locator("#link-note")).to_contain_text("'stroy'; did you mean 'story'?")

    page.get_by_label("rank, lane 2").fill("16")
    page.wait_for_url(re.compile("lane=lora:lr=0.02,r=16"))
    assert page.url.endswith("#race")
    assert ("hide", "story,take,stroy") in said(page)
    page.click("#share-button")
    expect(page.locator("#share-button")).to_have_text("Link copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.url
    page.reload()
    expect(page.get_by_label("rank, lane 2")).to_have_value("16")

    other = opened(context, copied)
    expect(other.get_by_label("rank, lane 2")).to_have_value("16")
    expect(other.locator("#setup-seed input")).to_have_value("3")


def test_a_bad_link_gets_one_sentence_and_the_page_s_own_set_up(context: BrowserContext, address: str) -> None:
    page = opened(context, f"{address}/?steps=999999&lane=<img src=x onerror=alert(1)>")
    expect(page.locator("#link-note [role=alert]")).to_have_count(1)
    expect(page.locator("#link-note")).to_contain_text("This link cannot be opened: ")
    expect(page.locator("#link-note img")).to_have_count(0)
    expect(page.locator("#lanes tbody tr")).to_have_count(3)
    rate = page.get_by_label("learning rate, lane 1", exact=True)
    rate.fill("<script>alert(1)</script>")  # no list of rates, though it has a slash
    rate.press("Tab")
    expect(page.locator("#lanes .problem")).to_contain_text("Lane 1: learning rate must be")
    expect(rate).to_have_value("<script>alert(1)</script>")
    expect(page.locator("#lanes tbody tr")).to_have_count(3)


def test_a_link_starts_its_race_once_and_wins_over_the_last_race_of_this_browser(
    context: BrowserContext, address: str
) -> None:
    page = opened(context, f"{address}/?steps=2&batch=4&lane=lora:lr=1e-3,r=2&start=1")
    expect(page.locator("#countdown .ticking")).to_contain_text("starts in")
    page.get_by_role("button", name="Start now").press("Enter")
    expect(page.locator("#countdown .countdown")).to_be_hidden()
    expect(page.locator("#status")).to_contain_text("2 / 2")
    expect(page.locator("#status .state")).to_have_text("finished")
    assert ("start", "1") in said(page), "whoever gets a copy of this address sees the race start"
    page.reload()
    expect(page.locator("#status .state")).to_have_text("finished")
    # What the server answers to an arrival brings the countdown, if any, with the run.
    expect(page.locator("#countdown .countdown")).to_be_hidden()
    copy = opened(context, page.url)
    expect(copy.locator("#countdown .ticking")).to_contain_text("starts in")
    copy.close()

    other = opened(context, f"{address}/{LINK}")
    expect_set_up(other)
    expect(other.locator("#status")).not_to_contain_text("2 / 2")


def test_a_link_starts_its_race_on_a_visible_page_after_a_countdown_that_escape_cancels(
    browser: Browser, address: str
) -> None:
    context = at_workbench(browser.new_context(viewport=SCREEN))  # its clock is the test's
    context.add_init_script(
        "window.away = true; window.presses = 0;"
        "Object.defineProperty(document, 'hidden', { get: () => window.away });"
        "window.look = (away) => { window.away = away;"
        " document.dispatchEvent(new Event('visibilitychange')); };"
        "document.addEventListener('click', ({ target }) => {"
        " window.presses += Number(target.closest('#race-button') !== null); }, true);"
    )
    context.clock.install(time=0)
    page = opened(context, f"{address}/?task=addition&steps=3&lane=lora:lr=1e-3,r=2&start=1")
    ticking, bar = page.locator("#countdown .ticking"), page.locator("#countdown .countdown")
    status = page.locator("#status .state")
    expect(ticking).to_have_text("The race starts when the page is shown.")
    expect(status).to_have_text("ready")
    context.clock.pause_at(3600)  # from here on time passes as the test says
    page.evaluate("look(false)")
    expect(ticking).to_have_text("The race starts in 5 s.")
    context.clock.run_for(1000)
    expect(ticking).to_have_text("The race starts in 4 s.")
    page.evaluate("look(true)")
    context.clock.run_for(6000)
    expect(ticking).to_have_text("The race starts when the page is shown.")
    page.evaluate("look(false)")
    expect(ticking).to_have_text("The race starts in 5 s.")
    page.keyboard.press("Escape")
    expect(bar).to_be_hidden()
    expect(page.locator("#countdown [role=status]")).to_have_text("The race was not started.")
    context.clock.run_for(6000)
    assert page.evaluate("presses") == 0
    context.clock.resume()
    page.reload()
    page.evaluate("look(false)")
    # What the server answers to an arrival brings the countdown, if any, with the set-up.
    expect(page.locator("#setup-steps input")).to_have_value("3")
    expect(bar).to_be_hidden()
    assert page.evaluate("presses") == 0

    page.goto(f"{address}/?task=addition&steps=3&lane=lora:lr=2e-3,r=2&start=1")
    page.evaluate("look(false)")
    expect(bar).to_be_visible()
    context.clock.fast_forward(5000)
    expect(status).to_have_text("finished")
    assert page.evaluate("presses") == 1
    context.close()


def test_a_hidden_set_up_leaves_its_room_to_the_charts_of_its_own_page_alone(
    context: BrowserContext, address: str
) -> None:
    page = opened(context, f"{address}/?hide=setup,lanes")
    chart = page.locator("#loss-figure")
    assert chart.bounding_box()["width"] > 900
    page.get_by_role("link", name="Spectrum").click()
    expect(page.locator("#spectrum-rank")).to_be_visible()


def test_keys_race_and_open_the_help_but_not_while_somebody_types(context: BrowserContext, address: str) -> None:
    page = opened(context, f"{address}/{LINK}")
    expect_set_up(page)
    status = page.locator("#status")
    before = status.inner_text()
    page.get_by_label("rank, lane 1").focus()
    page.keyboard.press("?")
    page.keyboard.press("s")
    page.keyboard.press("Space")
    page.get_by_label("rank, lane 1").fill("4")
    help_ = page.locator("dialog#help")
    expect(help_).to_be_hidden()
    assert status.inner_text() == before

    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    expect(help_).to_be_visible()
    expect(help_).to_contain_text("Space")
    page.keyboard.press("s")  # the help has the keys
    for _ in range(4):
        page.keyboard.press("Tab")
        outside = "!document.querySelector('#help').contains(document.activeElement)"
        assert not page.evaluate(f"{outside} && document.activeElement !== document.body")
    page.keyboard.press("Escape")
    expect(help_).to_be_hidden()
    assert status.inner_text() == before

    page.get_by_label("Model").first.focus()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Task").first).to_be_focused()  # not the list below the model
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Control+Space")
    page.keyboard.press("Space")
    expect(status).to_contain_text("7 / 7")

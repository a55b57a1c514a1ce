"""The guide of a first visit in a real Chromium, walked to its end with a bet."""

from playwright.sync_api import BrowserContext, expect


def test_a_newcomer_is_led_through_a_race_and_a_bet_and_a_reload_goes_on(
    context: BrowserContext, address: str
) -> None:
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    guide, slider = page.locator("#guide"), page.locator("#scrubber input")
    page.get_by_role("button", name="Two minutes: what is this?").click()
    expect(guide).to_contain_text("1 of 6")
    expect(page.locator("#scrubber-card[data-framed]")).to_be_visible()
    expect(slider).to_be_enabled()
    slider.press("Home")
    expect(guide.get_by_text("all curves stand at one point").filter(visible=True).first).to_be_visible()
    guide.get_by_role("button", name="next").click()

    expect(guide.get_by_text("Place your bet").filter(visible=True).first).to_be_visible()
    expect(page.locator("#status .state")).to_have_text("ready")  # the recorded race is away, and its verdict
    expect(page.locator("#verdict")).to_be_hidden()
    page.reload()
    expect(guide).to_contain_text("2 of 6")
    page.locator("#bet-ask .chip", has_text="OLoRA").click()
    expect(guide.locator(".waits")).to_have_text("waiting: the second bet")
    expect(guide).to_contain_text("2 of 6")
    expect(guide.get_by_role("button", name="next")).to_be_visible()  # without an answer to it
    page.locator("#bet-ask [data-when]").press("ArrowLeft")
    expect(guide.get_by_text("Press Race").filter(visible=True).first).to_be_visible()
    page.locator("#setup-steps input").fill("4")
    page.locator("#setup-steps input").press("Tab")
    expect(page.locator("#bet-ask")).to_contain_text("after 4 steps")  # the bet stays
    expect(page.locator("#bet-ask [aria-pressed=true]")).to_have_text("OLoRA")

    page.locator("#bet-ask [data-when]").press("Home")
    expect(page.locator("#bet-ask output")).to_have_text("step 1")
    expect(page.locator("#bet-ask [data-coming]")).to_be_visible()

    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Space")
    expect(guide.get_by_text("Watch the curves").filter(visible=True).first).to_be_visible()
    # Whoever opens another page meanwhile stays there, and finds the guide where it was.
    page.get_by_role("link", name="Learn", exact=True).click()
    page.wait_for_function("document.querySelector('#status .state')?.textContent === 'finished'")
    page.wait_for_timeout(2500)
    expect(page.locator("html")).to_have_attribute("data-page", "learn")
    page.get_by_role("link", name="Race", exact=True).click()
    expect(guide.get_by_text("how your bet ended").filter(visible=True).first).to_be_visible()
    expect(page.locator("#bet-score .scored:visible")).to_contain_text(
        ["Your bet, OLoRA", "Your bet, step 1: "]
    )  # once the lanes have answered, too
    line = "document.querySelector('#accuracy-figure .js-plotly-plot').layout.shapes?.at(-1)?.x0"
    page.wait_for_function(f"{line} === 1")
    expect(page.locator("#verdict")).to_be_visible()
    expect(page.locator("#accuracy-figure .annotation-text", has_text="◆ OLoRA")).to_be_visible()
    guide.get_by_role("button", name="next").click()
    slider.press("Home")
    slider.press("ArrowRight")
    expect(guide.get_by_text("speaks of the race up to here").filter(visible=True).first).to_be_visible()
    guide.get_by_role("button", name="next").click()
    page.get_by_role("link", name="Learn", exact=True).click()
    expect(guide).to_be_hidden()
    assert errors == []

    page.goto(address)  # it is offered once
    expect(page.locator("#accuracy-figure .main-svg").first).to_be_visible()
    expect(page.get_by_role("button", name="Two minutes: what is this?")).to_be_hidden()

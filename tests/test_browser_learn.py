"""The Learn page in a real Chromium: read a lesson, do its thing, open its race, go on."""

from playwright.sync_api import Browser, Page, expect

from olora_viz.learn.lessons import LESSONS


def figure(name: str) -> str:
    return f"document.querySelector('#{name} .js-plotly-plot')"


def test_lessons_are_read_done_and_opened_one_after_the_other(page: Page, address: str) -> None:
    page.get_by_role("link", name="Learn", exact=True).click()
    expect(page.locator("#race-button")).to_be_hidden()
    expect(page.locator("#lesson-list li")).to_have_count(8)
    title = page.locator("#lesson-text .lesson-title")
    expect(title).to_have_text("What an adapter is")
    box = page.locator("#lesson-text .formula math").first.bounding_box()
    assert box
    assert box["width"] > 100
    assert box["height"] > 15
    expect(page.locator("#lesson-rank")).to_be_hidden()

    # The thing to do of the lesson about QR: one more column of the rest goes blank.
    page.locator("#lesson-guide .neighbours button").click()
    expect(title).to_have_text("QR in pictures")
    assert page.url.endswith("?lesson=qr#learn")
    rest = f"{figure('lesson-figure')}?.data?.find((t) => t.name === 'rest')?.z"
    blank = f"{rest}?.[0].filter((_, j) => {rest}.every((row) => Math.abs(row[j]) < 1e-3)).length"
    page.wait_for_function(f"{blank} === 2")
    page.locator("#lesson-rank input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"{blank} === 3")

    page.locator("#lesson-list").get_by_text("The race at one learning rate").click()
    expect(title).to_have_text("The race at one learning rate")
    page.get_by_role("button", name="Open the recorded race").click()
    guided = page.locator("#lesson-card .guided")
    expect(guided).to_contain_text("One thing to do")
    expect(page.locator("#story")).to_contain_text("One learning rate for all")
    expect(page.locator("#status .state")).to_have_text("recorded")
    expect(page.locator("#lanes tbody tr")).to_have_count(4)
    expect(page.get_by_label("start of lane 4")).to_have_value("milora")
    assert page.evaluate("document.documentElement.dataset.page") == "race"

    for lesson in LESSONS.values():
        if lesson.where:
            assert page.locator(f"#{lesson.where}").count() == 1, lesson.name
    guided.get_by_role("button", name="Show me where").click()
    expect(page.locator("#gradient-figure")).to_be_in_viewport()
    expect(guided).to_be_in_viewport()

    guided.get_by_role("button", name="Next").click()
    expect(guided).to_contain_text("The race at fair rates")
    expect(page.locator("#story")).to_contain_text("Three initializations at five rates")
    expect(page.locator("#rates-figure")).to_be_visible()
    page.get_by_label("Close the lesson").click()
    expect(guided).to_have_count(0)
    assert "lesson=" not in page.url


def test_a_link_to_a_lesson_opens_its_page_its_race_and_its_card(
    browser: Browser, address: str
) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(60_000)
    page = context.new_page()
    elsewhere: list[str] = []
    own = (address, "data:", "blob:")
    page.on("request", lambda it: None if it.url.startswith(own) else elsewhere.append(it.url))
    page.goto(f"{address}/?lesson=curvature")
    expect(page.locator("#lesson-card")).to_contain_text("Gradients and curvature")
    page.wait_for_function("document.documentElement.dataset.page === 'conditioning'")
    expect(page.locator("#status")).to_contain_text("80 / 80")
    page.locator("#sharpness-figure").scroll_into_view_if_needed()
    page.wait_for_function(f"{figure('sharpness-figure')}?.data?.[0]?.y?.length === 8")
    live = page.locator("#lesson-card").get_by_role("link", name="Race it live")
    assert "start=1&lesson=curvature" in (live.get_attribute("href") or "")
    page.reload()
    expect(page.locator("#lesson-card")).to_contain_text("Gradients and curvature")
    expect(page.locator("#status")).to_contain_text("80 / 80")

    page.goto(f"{address}/?lesson=curvatures")
    expect(page.locator("#link-note")).to_contain_text("did you mean 'curvature'?")
    expect(page.locator("#lesson-card .guided")).to_have_count(0)
    context.close()
    assert elsewhere == []

"""The first screen in a real Chromium: its set-up is a sentence, and everything is in view."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from support.shared import SCREEN

CONTROLS = """() => [...document.querySelectorAll(
    "button, input, select, textarea, a[href], summary, [role=button], [role=slider], [role=tab]"
)].filter((control) => control.checkVisibility({ opacityProperty: true, visibilityProperty: true })
    && control.getBoundingClientRect().width > 1).length"""
WORDS = """() => {
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    let words = 0;
    while (texts.nextNode()) {
        const { parentElement, data } = texts.currentNode;
        if (parentElement.closest("svg, script, style, option, .unseen, .sr-only")) continue;
        if (!parentElement.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
        if (parentElement.getBoundingClientRect().width <= 1) continue;
        words += (data.match(/[\\p{L}\\p{N}][^\\s]*/gu) ?? []).length;
    }
    return words;
}"""


@pytest.fixture
def first(browser: Browser, address: str) -> Iterator[Page]:
    """The first screen of somebody who follows no link."""
    context = browser.new_context(viewport=SCREEN)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{address}/")
    expect(page.locator("#adapter-figure figure")).to_have_count(4)
    expect(page.locator("#accuracy-figure .main-svg").first).to_be_visible()
    yield page
    context.close()
    assert errors == []


def test_it_has_few_controls_and_words_and_everything_in_view(first: Page) -> None:
    expect(first.locator("#estimate .later")).to_have_count(0)
    assert first.evaluate(CONTROLS) <= 30
    assert first.evaluate(WORDS) <= 150
    order = ("#setup-model", "#lanes .chips", "#verdict", "#accuracy-figure", "#scrubber", "#adapter-figure")
    boxes = [first.locator(name).bounding_box() for name in order]
    tops = [box["y"] for box in boxes if box]
    assert tops == sorted(tops)
    assert len(tops) == len(order)
    answers, chart = first.locator("#answers").bounding_box(), first.locator("#accuracy-figure").bounding_box()
    assert answers
    assert chart
    assert answers["x"] > chart["x"] + chart["width"]
    assert first.evaluate("document.documentElement.scrollHeight") <= 900
    headline = first.locator("#verdict [role=status]").inner_text()
    assert len(headline.split()) <= 15
    expect(first.locator("#verdict .certainty")).to_have_text("3 seeds: likely")
    expect(first.locator("#rates-button")).to_be_visible()


def test_why_opens_in_place_and_the_workbench_is_one_press_away_and_remembered(first: Page, address: str) -> None:
    why = first.locator("#verdict .why")
    expect(why).to_be_hidden()
    first.get_by_role("button", name="why, and how sure").click()
    expect(why).to_be_visible()
    expect(why).to_contain_text("steps fewer than LoRA")

    expect(first.locator("#lanes table")).to_be_hidden()
    first.get_by_role("button", name="more", exact=True).click()
    for part in ("#lanes table", "#tabs", "#results", "#share-button", "#setup-steps"):
        expect(first.locator(part)).to_be_visible()
    expect(first.locator("#lanes .chips")).to_be_hidden()
    assert "view=workbench" in first.url
    first.goto(f"{address}/")
    expect(first.locator("#lanes table")).to_be_visible()
    first.get_by_role("button", name="less", exact=True).click()
    expect(first.locator("#lanes .chips")).to_be_visible()
    assert "view=" not in first.url


def test_a_menu_that_the_keyboard_passes_stays_closed(first: Page) -> None:
    first.locator("#setup-model input").focus()
    menus = first.get_by_role("listbox")
    expect(menus).to_have_count(1)
    for _ in range(3):
        first.keyboard.press("Tab")
    expect(first.locator("#setup-model input, #setup-task input").and_(first.locator(":focus"))).to_have_count(0)
    expect(menus).to_have_count(0)


def test_the_sentence_is_the_set_up(first: Page) -> None:
    chips = first.locator("#lanes .chip")
    expect(chips).to_have_text(["LoRA×", "OLoRA×", "PiSSA×"])
    first.get_by_role("button", name="remove PiSSA").click()
    expect(chips).to_have_text(["LoRA×", "OLoRA×"])
    first.get_by_label("add a start").select_option("milora")
    rate = first.get_by_label("rate", exact=False).and_(first.locator("[type=range]")).first
    rate.press("ArrowRight")
    first.wait_for_url(
        re.compile(r"lane=lora:lr=3e-3,r=8,seed=0-2&lane=olora:lr=3e-3.*&lane=milora:lr=3e-3,r=8,seed=0-2")
    )
    first.get_by_role("button", name="more", exact=True).click()
    starts = first.locator("#lanes tbody select")
    expect(starts).to_have_count(3)
    assert [start.input_value() for start in starts.all()] == ["lora", "olora", "milora"]
    first.locator("#lanes tbody input.lr").first.fill("1e-2")
    first.get_by_role("button", name="less", exact=True).click()
    expect(first.locator("#lanes .of-all b").first).to_have_text("1e-2, 3e-3")


def test_a_guide_opens_the_workbench_where_only_that_shows_what_it_speaks_of(first: Page, address: str) -> None:
    first.goto(f"{address}/?guide=first")
    expect(first.locator("#guide")).to_contain_text("1 of 6")
    expect(first.locator("#lanes .chips")).to_be_visible()  # the first screen has all that it speaks of
    first.goto(f"{address}/?lesson=columns#race")
    expect(first.locator("#lesson-card .guide")).to_be_visible()
    expect(first.locator("#tabs")).to_be_visible()


def test_the_lesson_on_adapters_is_played_on_them_to_its_question(first: Page, address: str) -> None:
    first.goto(f"{address}/?lesson=adapter")
    guide, figure = first.locator("#lesson-card .guide"), first.locator("#adapter-figure")
    expect(figure.locator("figure").nth(3)).to_have_accessible_name(re.compile("^PiSSA, before the first step"))
    expect(first.locator("#lanes .chips")).to_be_visible()  # the first screen has all that it speaks of
    expect(first.locator("#bet-ask .bet")).to_be_hidden()
    expect(figure).to_be_in_viewport(ratio=0.9)
    guide.get_by_role("button", name="next ›").click()
    first.locator("#scrubber input").press("End")
    expect(guide.get_by_text("has filled").filter(visible=True).first).to_be_visible()
    expect(figure.locator("figure").nth(3)).to_have_accessible_name(re.compile("^PiSSA, after step 60"))
    guide.get_by_role("button", name="next ›").click()
    figure.locator(".of-a canvas").first.click()
    expect(guide.get_by_text("of rank one").filter(visible=True).first).to_be_visible()
    expect(figure.locator(".below").first).to_contain_text("rank 1")
    guide.get_by_role("button", name="next ›").click()
    guide.get_by_role("link", name="Check yourself").click()
    expect(first.locator("#lesson-guide .check")).to_contain_text("trained numbers")


def test_on_a_phone_sentence_verdict_chart_answers_and_adapters_stand_below_each_other(
    browser: Browser, address: str
) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(f"{address}/")
    order = ("#lanes .chips", "#verdict", "#accuracy-figure", "#answers", "#adapter-figure")
    expect(page.locator("#adapter-figure figure")).to_have_count(4)
    boxes = [page.locator(name).bounding_box() for name in order]
    tops = [box["y"] for box in boxes if box]
    assert tops == sorted(tops)
    assert len(tops) == len(order)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()


def test_a_learners_page_shows_the_bet_and_follows_the_race_on_the_teachers_screen_to_its_score(
    browser: Browser, context: BrowserContext, address: str
) -> None:
    teacher = context.new_page()
    small = "steps=4&batch=4&eval_size=8&keep=none&lane=lora:lr=1e-3&lane=olora:lr=1e-3"
    teacher.goto(f"{address}/?class=follows-a-race&projector=1&{small}")
    expect(teacher.locator("#class-strip .short")).to_contain_text("/c/follows-a-race")
    other = browser.new_context(viewport={"width": 390, "height": 844})  # nobody's own: the class has two members
    phone = other.new_page()
    phone.goto(f"{address}/c/follows-a-race")
    phone.locator("#bet-ask [data-choice=olora]").click()
    expect(teacher.locator("#class-strip .tally")).to_contain_text("1 bet on OLoRA.")
    for part in ("#race-button", "#estimate", "#verdict-card", "#accuracy-card", "#lanes", "#inside-card", "#answers"):
        expect(phone.locator(part)).to_be_hidden()
    teacher.click("#race-button")
    expect(phone.locator("#status .state")).to_have_text("finished")
    for part in ("#verdict", "#accuracy-figure", "#bet-score .scored:visible"):
        expect(phone.locator(part)).to_be_visible()
    expect(phone.locator("#race-button")).to_be_hidden()
    for screen in (teacher, phone):
        expect(screen.locator("#class-strip .scored")).to_have_text(re.compile("[01] of 1 bet right."))
    other.close()

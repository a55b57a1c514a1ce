"""The Learn page in a real Chromium: read a lesson, do its thing, open its race, go on."""

import re
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import torch
from playwright.sync_api import BrowserContext, Page, expect
from scipy import stats

from olora_viz.initializers.olora import olora
from olora_viz.learn.lessons import LESSON_NAMES, LESSONS
from olora_viz.learn.pictures import hand as by_hand
from olora_viz.web import learn as teachers
from olora_viz.web.race import arrival as share


def figure(name: str) -> str:
    return f"document.querySelector('#{name} .js-plotly-plot')"


def test_lessons_are_read_done_and_opened_one_after_the_other(same_page: Page) -> None:
    page = same_page
    page.get_by_role("link", name="Learn", exact=True).click()
    expect(page.locator("#race-button")).to_be_hidden()
    expect(page.locator("#lesson-list li")).to_have_count(len(LESSON_NAMES))
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
    assert page.url.endswith("lesson=qr#learn")
    rest = f"{figure('lesson-figure')}?.data?.find((t) => t.name === 'rest')?.z"
    blank = f"{rest}?.[0].filter((_, j) => {rest}.every((row) => Math.abs(row[j]) < 1e-3)).length"
    page.wait_for_function(f"{blank} === 2")
    page.locator("#lesson-rank input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"{blank} === 3")
    hand = page.locator("#lesson-hand")
    hand.get_by_role("slider").first.press("ArrowLeft")  # the first column is (2.5, 4) now
    for columns in ([[2.5, 4], [5, 0]], [[5, 0], [2.5, 4]]):
        W = torch.tensor(columns, dtype=torch.float64).T
        start = olora(W, 2)
        shown = [float(x.replace("−", "-")) for x in hand.locator("mn").all_text_contents()]
        factors = torch.cat([W.flatten(), start.B.flatten(), start.A.flatten()])
        assert shown == pytest.approx(factors.tolist(), abs=0.006)
        hand.get_by_role("button", name="Flip the columns").click()
    expect(hand).not_to_contain_text("OLoRA starts elsewhere")  # flipped twice

    page.locator("#lesson-list").get_by_text("The race at one learning rate").click()
    expect(title).to_have_text("The race at one learning rate")
    expect(page.locator("#lesson-text .untold")).to_be_visible()
    expect(page.locator("#lesson-text .outcome").first).to_be_hidden()
    expect(page.locator("#lesson-figure")).to_be_hidden()
    hand.locator("input").press("End")
    expect(hand.get_by_role("link")).to_contain_text("Race it live with α = 0.5")
    page.get_by_role("button", name="Open the recorded race").click()
    guided = page.locator("#lesson-card .guide")
    expect(guided.get_by_text("Place your bet").filter(visible=True).first).to_be_visible()
    expect(page.locator("#verdict")).to_be_hidden()
    asked = "document.querySelector('#bet-score .bet-run')?.dataset.run"
    page.wait_for_function(f"{asked} === document.querySelector('#lesson-card .guide').dataset.race")
    page.locator("#bet-score .chip").first.click()
    expect(guided.locator(".waits")).to_have_text("waiting: the second bet")
    guided.get_by_role("button", name="next ›").click()
    expect(guided.get_by_text("drag the slider beside it to the end").filter(visible=True).first).to_be_visible()
    page.locator("#scrubber input").press("End")
    expect(guided.get_by_text("how your bet ended").filter(visible=True).first).to_be_visible()
    expect(page.locator("#bet-score .scored:visible")).to_contain_text("Your bet, LoRA")
    expect(page.locator("#verdict")).to_be_visible()
    expect(page.locator("#story")).to_contain_text("One learning rate for all")
    expect(page.locator("#status .state")).to_have_text("recorded")
    expect(page.locator("#lanes tbody tr")).to_have_count(4)
    expect(page.get_by_label("start of lane 4")).to_have_value("milora")
    assert page.evaluate("document.documentElement.dataset.page") == "race"

    for lesson in LESSONS.values():
        if lesson.where:
            assert page.locator(f"#{lesson.where}").count() == 1, lesson.name
    guided.get_by_role("button", name="next ›").click()
    expect(page.locator("#gradient-figure")).to_be_in_viewport()
    expect(guided).to_be_in_viewport()

    page.locator("#scrubber input").press("Home")  # back in the race, where its bet is open
    guided.get_by_role("button", name="Next:").click()
    expect(guided.locator(".place")).to_contain_text("The race at fair rates")
    expect(page.locator("#status")).to_contain_text("0 / 100")
    expect(guided.locator(".at")).to_have_text("1 of 5")  # a bet on the race before is none on this one
    for _ in range(2):
        guided.locator("[data-on]").click()  # skip, or next where the step was done
    expect(page.locator("#story")).to_contain_text("Three initializations at five rates")
    shown = (
        f"{figure('accuracy-figure')}?._fullData?.filter((t) => t.visible === true && /e-/.test(t.legendgroup))"
        ".map((t) => t.legendgroup.split(' ')[1]) ?? []"
    )
    page.wait_for_function(f"new Set({shown}).size === 5")
    page.locator("#rates-figure input").press("Home")
    page.wait_for_function(f"[...new Set({shown})].join() === '3e-4'")
    expect(
        guided.get_by_text("All charts show the runs at the chosen rates alone").filter(visible=True).first
    ).to_be_visible()
    page.get_by_role("button", name="All rates").click()
    page.wait_for_function(f"new Set({shown}).size === 5")

    # Luck, by SciPy's exact permutation test; the bet was skipped, and the guide shows its step all the same.
    guided.locator("[data-on]").click()
    expect(hand).to_be_in_viewport(ratio=0.9)
    for pairs in by_hand(LESSONS["fair-rates"]).given["pairs"]:
        hand.get_by_role("combobox").select_option(pairs["rate"])
        hand.get_by_role("button", name="Show all").click()
        test = stats.permutation_test((pairs["differences"],), np.mean, permutation_type="samples")
        expect(hand).to_contain_text(f"In {round(8 * test.pvalue)} of 8 arrangements")
    expect(guided.get_by_text("More seeds make both surer").filter(visible=True).first).to_be_visible()
    guided.get_by_label("Leave the guide").click()
    expect(guided).to_be_hidden()
    assert "lesson=" not in page.url


def test_a_teacher_finds_a_link_for_each_lesson_that_shows_a_class_what_it_is_about(
    same_page: Page, address: str
) -> None:
    page = same_page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("link", name="Learn", exact=True).click()
    plan = page.locator("#lesson-teachers .plan > li")
    expect(plan.first).to_be_hidden()
    page.locator("#to-teachers a").click()
    expect(plan).to_have_count(len(LESSONS))
    expect(plan.first).to_be_in_viewport()
    expect(page.locator("#lesson-list .count")).to_have_text(f"0 of {len(LESSON_NAMES)} done")
    last = plan.last
    last.get_by_role("button").click()
    expect(last.get_by_role("button")).to_have_text("Link copied")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == f"{address}/{teachers.class_link(LESSONS['export'])}"
    for lesson in LESSONS.values():
        hidden = parse_qs(teachers.class_link(lesson)[1:])["hide"][0].split(",")
        covers = ", ".join(share.HIDEABLE[name] for name in hidden)
        if lesson.where:
            shown = f"!document.getElementById('{lesson.where}').closest('{covers}')"
            assert page.evaluate(shown), lesson.name

    page.goto(link)
    expect(page.locator("#lesson-card")).to_contain_text("Export it and use it")
    expect(page.locator("#take-card")).to_be_visible()
    expect(page.locator("#setup-card")).to_be_hidden()
    page.locator("#lesson-card").get_by_role("link", name="Check yourself").click()
    expect(page.locator("#lesson-guide .check")).to_be_in_viewport()
    expect(page.locator("#to-teachers")).to_be_hidden()


def test_a_link_to_a_lesson_opens_its_page_its_race_and_its_card(context: BrowserContext, address: str) -> None:
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
    expect(page.locator("#lesson-card .guide")).to_have_count(0)
    assert elsewhere == []


def asked(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def test_a_lesson_that_is_left_through_the_list_takes_its_strip_along(context: BrowserContext, address: str) -> None:
    page = context.new_page()
    page.goto(f"{address}/?lesson=one-rate#race")
    strip, title = page.locator("#lesson-card .guide"), page.locator("#lesson-text .lesson-title")
    expect(strip).to_be_visible()
    strip.get_by_role("link", name="Read it").click()
    expect(title).to_have_text(LESSONS["one-rate"].title)
    expect(strip).to_be_visible()
    page.locator("#lesson-list").get_by_text(LESSONS["columns"].title).click()
    expect(title).to_have_text(LESSONS["columns"].title)
    expect(strip).to_be_hidden()
    page.get_by_role("link", name="Race", exact=True).click()
    expect(strip).to_be_hidden()


def test_the_way_back_from_the_race_of_a_lesson_leads_to_the_lesson(same_page: Page) -> None:
    page, shown = same_page, same_page.locator("html")
    page.get_by_role("link", name="Learn", exact=True).click()
    page.locator("#lesson-guide [data-open]").first.click()
    expect(page).to_have_url(re.compile("[?&]lane=.*#race"))  # another set-up than that of the lesson's page
    expect(shown).to_have_attribute("data-page", "race")
    page.go_back()
    expect(shown).to_have_attribute("data-page", "learn")
    page.go_forward()
    expect(shown).to_have_attribute("data-page", "race")


def test_of_two_lessons_that_are_chosen_in_one_moment_the_last_is_shown(same_page: Page) -> None:
    page = same_page
    page.get_by_role("link", name="Learn", exact=True).click()
    title = page.locator("#lesson-text .lesson-title")
    for names in (("columns", "one-rate"), ("one-rate", "columns"), ("qr", "columns", "one-rate")):
        buttons = ", ".join(f"'{name}'" for name in names)
        page.evaluate(
            f"""[{buttons}].forEach((name, i) => setTimeout(
                () => document.querySelector(`#lesson-list [data-lesson="${{name}}"]`).click(), 5 * i
            ))"""
        )
        expect(title).to_have_text(LESSONS[names[-1]].title)
        expect(page).to_have_url(re.compile(f"[?&]lesson={names[-1]}(&|#|$)"))


def test_a_lesson_is_done_when_its_question_is_answered_right_and_stays_so_and_its_class_sees_the_first_answers(
    context: BrowserContext, address: str
) -> None:
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    projector = context.new_page()  # the class follows, without being told more than the letters
    projector.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    projector.goto(f"{address}/?lesson=qr&class=of-learners&projector=1#learn")
    votes = projector.locator("#class-strip .tally")
    expect(votes).to_contain_text("Nobody yet.")
    expect(projector.locator("#class-strip .short")).to_have_text(f"{address.partition('//')[2]}/c/of-learners")
    assert projector.locator("#class-strip img").evaluate("(code) => code.decode().then(() => code.naturalWidth > 99)")

    page.goto(f"{address}/?lesson=qr&class=of-learners#learn")
    count = page.locator("#lesson-list .count")
    expect(page.locator("#lesson-text .lesson-title")).to_have_text("QR in pictures")
    expect(count).to_have_text(f"0 of {len(LESSON_NAMES)} done")
    wrong, right = (
        page.locator(f"#lesson-guide .choice{which}") for which in (":not([data-finishes])", "[data-finishes]")
    )
    expect(page.locator("#class-strip .tally")).to_be_hidden()
    wrong.first.locator("summary").click()
    expect(wrong.first.locator("p")).to_contain_text("Not this one.")
    expect(count).to_have_text(f"0 of {len(LESSON_NAMES)} done")
    for screen in (votes, page.locator("#class-strip .tally")):
        expect(screen).to_contain_text(f"1 chose {wrong.first.get_attribute('data-choice')}.")
    right.locator("summary").click()
    expect(right.locator("p")).to_contain_text("Right.")
    expect(count).to_have_text(f"1 of {len(LESSON_NAMES)} done")
    projector.get_by_role("button", name="Clear the votes").click()
    expect(votes).to_contain_text("Nobody yet.")
    projector.get_by_role("button", name="End the class").click()
    expect(projector.locator("#class-strip .problem")).to_contain_text("has ended")
    expect(projector.locator("#class-strip .join")).to_be_hidden()  # nobody can
    projector.close()
    done = page.locator("#lesson-list .done:visible")
    expect(page.locator("#lesson-list [data-lesson=qr] .done")).to_be_visible()
    page.locator("#lesson-guide .neighbours button").last.click()
    expect(page.locator("#lesson-text .lesson-title")).to_have_text("What OLoRA takes from W")
    expect(page.locator("#lesson-guide .choice[open]")).to_have_count(0)
    expect(count).to_have_text(f"1 of {len(LESSON_NAMES)} done")
    page.reload()
    expect(page.locator("#lesson-text .lesson-title")).to_have_text("What OLoRA takes from W")
    expect(done).to_have_count(1)

    # A browser that stores nothing, or something else, counts for as long as the page lasts.
    page.evaluate("localStorage.setItem('olora-viz-finished', '{')")
    page.evaluate("Storage.prototype.setItem = () => { throw new DOMException('full'); }; 0")
    expect(page.locator("#lesson-text .outcome").first).to_be_hidden()
    page.get_by_role("button", name="Show it anyway").click()
    expect(page.locator("#lesson-text .outcome").first).to_be_visible()
    right.locator("summary").click()
    expect(page.locator("#lesson-list [data-lesson=columns] .done")).to_be_visible()
    assert errors == []


def test_hidden_parts_stay_hidden_and_a_link_that_starts_a_race_goes_on_starting_it(
    context: BrowserContext, address: str
) -> None:
    page = context.new_page()
    page.goto(f"{address}/?hide=presets,story#learn")
    page.locator("#lesson-list").get_by_text("The race at one learning rate").click()
    expect(page.locator("#lesson-text .lesson-title")).to_have_text("The race at one learning rate")
    live = page.locator("#lesson-guide").get_by_role("link", name="Race it live")
    ticking = page.locator("#countdown .ticking")
    for turn in range(2):  # a link that is followed again starts the race again
        live.click()
        expect(ticking).to_contain_text("The race starts in")
        page.keyboard.press("Escape")
        expect(ticking).to_be_hidden()
        assert asked(page)["hide"] == ["presets,story"]
        assert asked(page)["start"] == ["1"]
        assert asked(page)["lesson"] == ["one-rate"]
        expect(page.locator("#story")).to_be_hidden()
        if turn == 0:
            page.get_by_role("link", name="Read it").click()
            expect(page.locator("#lesson-text .lesson-title")).to_be_visible()
            assert asked(page)["start"] == ["1"]
    page.locator("#lesson-card").get_by_role("button", name="Next:").click()
    expect(page.locator("#lesson-card")).to_contain_text("The race at fair rates")
    assert asked(page)["hide"] == ["presets,story"]
    assert "start" not in asked(page), "this lesson shows its recorded race"

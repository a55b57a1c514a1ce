"""The run's controls in a real Chromium: a recorded first screen, pause, step, reload, compare."""

import re

from playwright.sync_api import Page, Route, expect
from support.opened import on_the_server, press, tab
from support.shared import PLOT


def state(page: Page, word: str, timeout: float = 60_000) -> None:
    expect(page.locator("#status .state")).to_have_text(word, timeout=timeout)


def done(page: Page) -> int:
    return int(page.locator("#status b").inner_text())


def set_steps(page: Page, count: int) -> None:
    page.get_by_label("Steps", exact=True).fill(str(count))
    page.get_by_label("Steps", exact=True).press("Tab")


def test_the_first_screen_is_a_recorded_race_that_can_be_scrubbed(newcomer: Page) -> None:
    page = newcomer
    state(page, "recorded")
    expect(page.locator("#story .recorded")).to_contain_text("Recorded on")
    expect(page.locator("#results")).to_contain_text("Ranking at step 60")
    expect(page.locator("#setup-model input")).to_have_value(re.compile("glassllm"))
    expect(page.locator("#adapters button")).to_have_count(0)
    page.locator("#scrubber input").fill("10")
    expect(page.locator("#results")).to_contain_text("Ranking at step 10")
    expect(page.locator("#status b")).to_have_text("10")
    page.wait_for_function(f"document.querySelector('{PLOT}').data[0].y.filter(y => y != null).length === 10")
    page.locator("#scrubber .replay").click()
    expect(page.locator("#results")).to_contain_text("Ranking at step 60")
    link = page.locator("#story .recorded a").get_attribute("href") or ""
    assert "model=glassllm&task=sentiment&steps=60" in link
    assert link.count("lane=") == 3
    # It has a card in each of these tabs.
    for name, card in (("Spectra", "#run-spectra"), ("Gradients", "#run-gradients")):
        expect(page.locator(card)).to_be_hidden()
        tab(page, name)
        expect(page.locator(card)).to_be_visible()
        expect(page.locator("#loss-figure")).to_be_hidden()
    tab(page, "Loss")


def test_the_slider_s_last_step_is_what_is_shown_however_fast_it_moves(newcomer: Page) -> None:
    page = newcomer
    state(page, "recorded")
    slider = page.locator("#scrubber input")
    slider.focus()
    for keys in ("ArrowLeft",) * 3, ("ArrowLeft",) * 22 + ("ArrowRight",) * 4, ("Home",):
        for key in keys:
            slider.press(key)
        step = int(slider.input_value())
        page.wait_for_function(
            f"(step) => document.querySelector('{PLOT}').data[0].y.filter(y => y != null).length === step", arg=step
        )
        expect(page.locator("#scrubber .from")).to_have_text(f"step {step}")
        expect(page.locator("#status b")).to_have_text(str(step))
        assert slider.input_value() == str(step)


def test_two_visitors_see_their_own_runs_and_the_second_waits_its_turn(page: Page, newcomer: Page) -> None:
    other = newcomer
    state(page, "ready")
    state(other, "recorded")
    for visitor, steps in ((page, 500), (other, 2)):
        tab(visitor, "Earlier runs")
        set_steps(visitor, steps)
    page.click("#race-button")
    state(page, "racing")
    other.click("#race-button")
    state(other, "waiting")
    expect(other.locator("#status")).to_contain_text("1 race before yours")
    press(page, "#pause-button")
    state(page, "paused")
    state(other, "finished")
    for visitor in (page, other):
        expect(visitor.locator("#shelf li")).to_have_count(1)
    press(page, "#stop-button")
    state(page, "stopped")


def test_race_pause_step_go_on_reload_and_finish(page: Page, address: str) -> None:
    state(page, "ready")
    # As many steps as last while the page is reloaded, and while a busy page takes a press.
    page.get_by_label("Prompts per step").fill("16")
    set_steps(page, 50)
    page.click("#step-button")
    state(page, "paused")
    expect(page.locator("#status b")).to_have_text("1")
    page.click("#step-button")
    expect(page.locator("#status b")).to_have_text("2")
    state(page, "paused")
    expect(page.locator("#race-button")).to_have_text(re.compile("Resume"))

    page.click("#race-button")
    state(page, "racing")
    page.wait_for_function("Number(document.querySelector('#status b')?.innerText) > 5")
    press(page, "#pause-button")
    state(page, "paused")
    reached = done(page)
    run = on_the_server(page, address)
    assert (run["summary"]["state"], len(run["steps"])) == ("paused", reached)
    assert done(page) == reached

    page.reload()
    state(page, "paused")
    assert done(page) == reached
    expect(page.get_by_label("Steps", exact=True)).to_have_value("50")
    press(page, "#pause-button")
    state(page, "racing")
    page.reload()
    expect(page.locator("#status .state")).to_have_text(re.compile("racing|finished"))
    state(page, "finished")
    page.wait_for_function(f"document.querySelector('{PLOT}').data[0].y.length === 50")
    expect(page.locator("#results tbody")).to_have_count(2)  # held out, and the test
    expect(page.locator("#results tbody tr")).to_have_count(4 + 4)

    page.click("#reset-button")
    state(page, "ready")
    expect(page.get_by_label("Steps", exact=True)).to_have_value("50")
    expect(page.locator("#results")).not_to_contain_text("Ranking at")


def test_two_runs_of_a_visit_lie_over_each_other_and_what_differs_is_said(page: Page) -> None:
    state(page, "ready")
    tab(page, "Earlier runs")
    for count in (4, 6):
        set_steps(page, count)
        page.click("#race-button")
        expect(page.locator("#status")).to_contain_text(f"{count} / {count}")
        state(page, "finished")
    expect(page.locator("#shelf li")).to_have_count(2)
    name = page.locator("#shelf li input").nth(1)
    overlay = page.locator("#shelf li").nth(1).get_by_role("button", name="overlay")
    renames: list[Route] = []

    def keep_first_rename(route: Route) -> None:
        if renames or "<b>short</b>" not in (route.request.post_data or ""):
            route.continue_()
        else:
            renames.append(route)

    page.route("**/gradio_api/run/**", keep_first_rename)
    name.fill("<b>short</b>")
    name.press("Enter")
    overlay.click()
    expect(overlay).to_have_attribute("aria-pressed", "true")
    # The rename is answered after whatever else was sent meanwhile, and undoes nothing of it.
    page.wait_for_timeout(500)
    with page.expect_response(lambda answer: answer.request == renames[0].request):
        renames[0].continue_()
    page.unroute("**/gradio_api/run/**")
    page.evaluate("() => new Promise((go) => setTimeout(go, 300))")
    expect(page.locator("#run-comparison")).to_be_visible()
    expect(overlay).to_have_attribute("aria-pressed", "true")
    expect(name).to_have_value("<b>short</b>")
    expect(page.locator("#run-differences")).to_contain_text("<b>short</b>")
    expect(page.locator("#run-differences tbody tr")).to_have_count(1)
    page.locator("#overlay-figure").scroll_into_view_if_needed()  # where charts are drawn
    page.wait_for_function("document.querySelector('#overlay-figure .js-plotly-plot')?.data?.length >= 6")
    page.locator("#shelf li").nth(1).get_by_role("button", name="show").click()
    expect(page.locator("#status")).to_contain_text("4 / 4")

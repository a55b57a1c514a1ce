"""A sweep in a real Chromium: a preset, repeated with five seeds, and the curve over rates."""

import pytest
from playwright.sync_api import Page, expect
from support.opened import tab


def figure(name: str) -> str:
    return f"document.querySelector('#{name} .js-plotly-plot')"


@pytest.mark.nightly
def test_a_preset_is_repeated_with_five_seeds_and_its_seeds_are_bands(page: Page) -> None:
    card = page.locator("#run-rates")
    page.locator("#presets button", has_text="one rate for all").click()
    expect(page.locator("#lanes tbody tr")).to_have_count(3)
    fold = page.locator("#more-settings details")
    fold.evaluate("it => { it.open = true }")
    fold.get_by_label("Held-out examples").fill("32")
    page.get_by_label("Prompts per step").fill("8")
    page.get_by_label("Steps", exact=True).fill("60")  # what has learned nothing is offered more steps
    page.get_by_label("Steps", exact=True).press("Tab")
    for lane in (1, 2, 3):
        page.get_by_label(f"seeds, such as 0-2, lane {lane}").fill("0")
    expect(page.locator("#seeds-button")).to_be_hidden()
    page.click("#race-button")
    page.locator("#seeds-button").click()  # the verdict on one seed offers it
    expect(page.get_by_label("seeds, such as 0-2, lane 3")).to_have_value("0-4")
    expect(page.locator("#status")).to_contain_text("finished")

    filled = f"{figure('loss-figure')}.data.filter((t) => t.fill === 'tonexty').length"
    page.wait_for_function(f"{filled} === 3")
    names = f"{figure('loss-figure')}.layout.annotations.map((a) => a.text).sort().join()"
    page.wait_for_function(f"{names} === 'LoRA,OLoRA,PiSSA'")
    rows = page.locator("#results tbody tr")
    expect(rows).to_have_count(5 + 5)  # held out, and the test, which follows the answers
    expect(rows.first).to_contain_text("±")

    tab(page, "Rates")
    card.scroll_into_view_if_needed()
    expect(card.locator("h2").first).to_contain_text("Final held-out loss against learning rate")
    seeds = f"{figure('rates-figure')}.data.find((t) => t.fill).y"
    page.wait_for_function(f"{figure('rates-figure')}?.data?.length === 15")
    assert page.evaluate(f"{seeds}.length") == 1
    expect(page.locator("#rates-words")).to_contain_text("5 seeds")
    expect(page.locator("#rates-words .reach tbody tr")).to_have_count(3)
    card.get_by_text("best loss of the run").click()
    expect(card.locator("h2").first).to_contain_text("Best held-out loss against learning rate")

    # A band that is hidden takes its lanes with it, wherever they are drawn one by one.
    page.locator("#accuracy-figure").scroll_into_view_if_needed()
    page.locator("#accuracy-figure .annotation-text-g", has_text="PiSSA").first.click()
    tab(page, "Gradients")
    page.locator("#depth-figure").scroll_into_view_if_needed()
    hidden = (
        f"{figure('depth-figure')}?._fullData?.filter((t) => t.visible === 'legendonly')"
        ".map((t) => t.legendgroup) ?? []"
    )
    page.wait_for_function(f"new Set({hidden}).size === 5")
    assert {name.split()[0] for name in page.evaluate(hidden)} == {"PiSSA"}

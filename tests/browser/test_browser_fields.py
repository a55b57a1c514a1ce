"""Fields of refused values, and the focus of whoever presses buttons by keys, in a real Chromium."""

import re

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from support.shared import visiting

from olora_viz.initializers import INITIALIZERS
from olora_viz.web.parts.refused import INPUTS


@pytest.fixture
def page(context: BrowserContext, address: str):
    with visiting(context, address) as visitor:
        yield visitor


def test_every_field_of_a_refused_value_is_marked_until_it_is_another(page: Page) -> None:
    page.locator("#more-settings summary").click()
    for what, selector in INPUTS.items():
        if what.startswith("what may be forgotten"):
            page.get_by_role("link", name="Decide", exact=True).click()
        if what == "steps between curvature measurements":
            continue  # it is refused with the race
        field, before = page.locator(selector), page.locator(selector).input_value()
        expect(field).not_to_have_attribute("aria-invalid", "true")
        field.fill("-1" if what != "a target module" else "a b/c")
        field.press("Tab")
        if what.startswith("what may be forgotten"):
            page.click("#decide-button")
        expect(field).to_have_attribute("aria-invalid", "true")
        assert page.locator("[aria-invalid=true]").count() == 1, what
        field.fill(before)
        field.press("Tab")
        expect(page.locator("[aria-invalid=true]")).to_have_count(0)


def test_the_table_of_starts_is_filtered_by_words_and_is_not_on_the_first_screen(page: Page) -> None:
    rows = page.locator("#which-start tbody tr:visible")
    page.locator("#which-start summary").click()
    expect(rows).to_have_count(len(INITIALIZERS))
    page.locator("#which-start input").fill("corda INPUTS")
    assert rows.locator("td:first-child").all_inner_texts() == ["CorDA", "CorDA KPM"]
    expect(page.locator("#which-start output")).to_have_text(f"2 of {len(INITIALIZERS)}")
    page.locator("#which-start input").fill("")
    expect(rows).to_have_count(len(INITIALIZERS))
    page.locator("#view-button").click()
    expect(page.locator("#which-start")).to_be_hidden()


def test_the_cells_of_a_lane_are_marked_one_by_one(page: Page) -> None:
    for key in ("lr", "r", "alpha", "seed"):
        cell = page.locator("#lanes tbody tr").nth(1).locator(f"input.{key}")
        before = cell.input_value()
        cell.fill("-1")
        expect(cell).to_have_attribute("aria-invalid", "true")
        assert page.locator("[aria-invalid=true]").count() == 1, key
        cell.fill(before)
        expect(page.locator("[aria-invalid=true]")).to_have_count(0)


def test_every_other_key_of_a_lane_is_typed_behind_more_columns(page: Page) -> None:
    page.get_by_role("button", name="More columns").click()
    keys, problem = page.get_by_label("other keys, lane 1"), page.locator("#lanes .problem")
    expect(keys).to_be_focused()
    keys.fill("opt=muon, beta1=0.5")
    expect(problem).to_have_text(
        "Lane 1: beta1 0.5 is not a key of opt muon: it goes with adamw, riemannian and lora_fa."
    )
    keys.fill("opt=adamw/sgd, dropout=0.1")
    expect(problem).to_be_hidden()
    expect(page).to_have_url(re.compile("dropout=0.1,opt=sgd"))
    page.get_by_role("button", name="More columns").click()
    expect(page.locator("#lanes .rest").first).to_have_text("opt=adamw/sgd,  dropout=0.1")
    expect(keys).to_have_count(0)


def test_enter_on_race_leaves_the_focus_on_what_can_be_pressed_next(page: Page) -> None:
    page.get_by_label("Steps", exact=True).fill("6")
    page.get_by_label("Steps", exact=True).press("Tab")
    focused = "document.activeElement.id"
    page.locator("#race-button").focus()
    page.keyboard.press("Enter")
    page.wait_for_function(f"{focused} === 'pause-button'")
    page.wait_for_function(f"{focused} === 'race-button'")  # at the end

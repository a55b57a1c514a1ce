"""Inside the adapter, in a real Chromium: it is drawn at once, follows the slider, and rank can be pointed at."""

import re

import pytest
from playwright.sync_api import Page, expect

COLOURS = """(canvas) => {
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    return new Set(Array.from({ length: data.length / 4 }, (_, i) => data.slice(4 * i, 4 * i + 3).join())).size;
}"""
"""Returns how many colours a heat map has."""


@pytest.fixture
def first_screen(page: Page, address: str) -> Page:
    """The page as it opens without a set-up in its link: with the recorded race."""
    page.goto(f"{address}/")
    return page


def colours(page: Page, kind: str) -> list[int]:
    return [canvas.evaluate(COLOURS) for canvas in page.locator(f"#adapter-figure .of-{kind} canvas").all()]


def test_the_first_screen_has_the_adapters_of_three_starts_and_the_slider_goes_back_to_the_start(
    first_screen: Page,
) -> None:
    figures = first_screen.locator("#adapter-figure figure")
    expect(figures).to_have_count(4)
    expect(figures.nth(0)).to_have_accessible_name("The weight W of 0 · q_proj, 128 × 128")
    expect(figures.nth(1)).to_have_accessible_name(re.compile("^LoRA, after step 60: rank 8, ΔW has norm "))
    assert (
        min(
            colours(first_screen, "a")
            + colours(first_screen, "b")
            + colours(first_screen, "delta")
            + colours(first_screen, "w")
        )
        > 20
    )

    first_screen.locator("#scrubber input[type=range]").focus()
    first_screen.keyboard.press("Home")
    expect(figures.nth(2)).to_have_accessible_name("OLoRA, before the first step: rank 8, nothing has moved yet.")
    assert colours(first_screen, "delta") == [1, 1, 1]
    of_lora, *others = colours(first_screen, "b")
    assert of_lora == 1  # B = 0
    assert min(others) > 20
    first_screen.keyboard.press("End")
    expect(figures.nth(2)).to_have_accessible_name(re.compile("^OLoRA, after step 60"))


def test_pointing_at_a_row_of_a_lights_the_column_of_b_and_its_part_of_what_was_learned(first_screen: Page) -> None:
    olora = first_screen.locator("#adapter-figure figure").nth(2)
    words = olora.locator(".below")
    expect(words).to_have_text("learned: ΔW")
    box = olora.locator(".of-a").bounding_box()
    assert box
    olora.locator(".of-a canvas").hover(position={"x": box["width"] / 2, "y": box["height"] * 2.5 / 8})
    expect(words).to_have_text("part 3 of 8: rank 2 at most")
    expect(olora.locator(".lit-row")).to_have_count(1)
    lora = first_screen.locator("#adapter-figure figure").nth(1)
    lora.locator(".of-a canvas").hover()
    expect(lora.locator(".below")).to_contain_text(re.compile(": rank 1$"))
    olora.locator(".of-a canvas").hover(position={"x": box["width"] / 2, "y": box["height"] * 2.5 / 8})
    expect(olora.locator(".of-b.lit-column")).to_have_count(1)
    first_screen.locator("#adapter-figure .of-w canvas").hover(position={"x": 2, "y": 60})
    expect(words).to_have_text("learned: ΔW")
    expect(first_screen.locator("#adapter-figure .weight small")).to_have_text("OLoRA's B spans W's first 8 columns")


def test_another_layer_is_chosen_by_its_name(first_screen: Page) -> None:
    first_screen.locator("#adapter-layer input").click()
    first_screen.get_by_role("option", name="3 · down_proj").click()
    weight = first_screen.locator("#adapter-figure figure").nth(0)
    expect(weight).to_have_accessible_name("The weight W of 3 · down_proj, 128 × 341")

"""The gradients of a run on the Race page, in a real Chromium: three views and a slider."""

import re

from playwright.sync_api import Page, expect
from support.opened import tab


def figure(name: str) -> str:
    return f"document.querySelector('#{name} .js-plotly-plot')"


def test_a_race_shows_its_gradients_and_the_slider_goes_back_through_them(page: Page) -> None:
    card = page.locator("#run-gradients")
    tab(page, "Gradients")
    page.get_by_label("Steps", exact=True).fill("10")
    page.get_by_label("Steps", exact=True).press("Tab")
    page.locator("#race-button").click()
    expect(page.locator("#status")).to_contain_text("finished")
    # The page's charts have the end wherever it stands, so that none of them shows an earlier step.
    depth = page.locator("#depth-figure h2")
    expect(depth).to_contain_text("against depth, step 10")
    card.scroll_into_view_if_needed()
    page.wait_for_function(f"{figure('gradient-map')}?.data?.[0]?.z?.[0]?.length === 10")
    assert page.evaluate(f"{figure('gradient-map')}.data[0].z.length") == 28
    page.locator("#depth-figure").scroll_into_view_if_needed()
    page.wait_for_function(f"{figure('depth-figure')}?.data?.length === 6")
    curves = f"{figure('depth-figure')}.data.map((t) => [...t.y])"
    before = page.evaluate(curves)
    assert len(before) == 6
    for name, factor in (("layer-a-figure", "A"), ("layer-b-figure", "B")):
        expect(page.locator(f"#{name} h2")).to_contain_text(f"Gradient of {factor} in 3 · down_proj")
        assert page.evaluate(f"{figure(name)}.data.length") == 3

    page.locator("#depth-step input[type=range]").focus()
    page.keyboard.press("Home")
    expect(depth).to_contain_text(re.compile(r"against depth, step 1\b"))
    after = page.evaluate(curves)
    assert after != before
    assert len({str(curve) for curve in after[3:]}) == 1  # all lanes start as one function

    page.locator("#run-gradients-measure input").click()
    page.get_by_role("option", name="update / parameter of B").click()
    expect(depth).to_contain_text(re.compile(r"^Update / parameter of B against depth, step 1\b"))
    expect(page.locator("#layer-a-figure h2")).to_contain_text("Update / parameter of A")
    # B of plain LoRA is zero in the first step: no ratio, no curve, no name.
    page.wait_for_function(f"{figure('depth-figure')}.layout.annotations.length === 2")

    box = page.locator("#gradient-map .nsewdrag").bounding_box()
    assert box
    page.mouse.click(box["x"] + 0.5 * box["width"], box["y"] + 0.02 * box["height"])
    expect(page.locator("#layer-a-figure h2")).to_contain_text("in 0 · q_proj")
    expect(page.locator("#run-gradients-layer input")).to_have_value("0 · q_proj")

    # A lane that is hidden in one chart of the race is hidden in all of them.
    page.locator("#accuracy-figure").scroll_into_view_if_needed()
    page.locator("#accuracy-figure .annotation-text-g", has_text="PiSSA 1e-3").first.click()
    page.locator("#depth-figure").scroll_into_view_if_needed()
    shown = f"{figure('depth-figure')}._fullData.filter((t) => t.legendgroup === 'PiSSA 1e-3').map((t) => t.visible)"
    page.wait_for_function(f"({shown}).every((visible) => visible === 'legendonly')")

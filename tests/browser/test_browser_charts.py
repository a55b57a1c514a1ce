"""The charts of one race in a real Chromium: one step in all of them, and what a reader chose."""

import numpy as np
import pytest
from playwright.sync_api import Page, expect
from support.opened import tab
from support.waiting import wait_until

from olora_viz.figures.race import smoothed


def plot(name: str) -> str:
    return f"document.querySelector('#{name} .js-plotly-plot')"


def traces(page: Page, name: str, kind: str) -> list[list[float]]:
    return page.evaluate(f"{plot(name)}.data.filter((t) => t.meta === '{kind}').map((t) => t.y)")


def race(page: Page, steps: int) -> None:
    page.get_by_label("Steps", exact=True).fill(str(steps))
    page.get_by_label("Steps", exact=True).press("Tab")
    page.click("#race-button")
    expect(page.locator("#status")).to_contain_text(f"{steps} / {steps}")
    page.wait_for_function(f"{plot('loss-figure')}?.data?.[0]?.y?.length === {steps}")


def test_the_line_of_a_map_is_at_the_column_that_is_pointed_at(same_page: Page) -> None:
    page = same_page
    race(page, 12)
    tab(page, "Gradients")
    page.locator("#gradient-map").scroll_into_view_if_needed()  # it is drawn where it is seen
    area = page.locator("#gradient-map .nsewdrag").first
    area.scroll_into_view_if_needed()
    axis = f"{plot('gradient-map')}._fullLayout.xaxis"
    line = "document.querySelector('#gradient-map .figure-pointer')"

    def is_at(part: float) -> bool:
        """Point at a part of the map's width, where it is now: cards above it may still grow."""
        box = area.bounding_box()
        assert box
        x, y = box["x"] + part * box["width"], box["y"] + 0.5 * box["height"]
        page.mouse.move(x + 1, y)
        page.mouse.move(x, y)
        column = f"Math.round({axis}.p2d({part * box['width']}))"
        return page.evaluate(
            f"""() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() =>
                done(Math.abs(parseFloat({line}?.style.left) - {axis}._offset - {axis}.d2p({column})) < 0.01))))"""
        )

    for part in (0.1, 0.97):
        wait_until(lambda part=part: is_at(part))


def test_charts_show_one_step_together_and_keep_the_scale_and_the_smoothing(same_page: Page) -> None:
    page = same_page
    tab(page, "Loss")
    # What was chosen before the race outlives its updates.
    scale = page.locator("#loss-figure .figure-tools button").first
    expect(scale).to_have_text("log")
    scale.click()
    expect(scale).to_have_text("linear")
    page.locator("#loss-figure select").select_option("0.85")
    race(page, 10)
    assert page.evaluate(f"{plot('loss-figure')}._fullLayout.yaxis.type") == "linear"
    raw = np.array(traces(page, "loss-figure", "raw")).T
    wanted = smoothed(raw, 0.85)
    np.testing.assert_allclose(traces(page, "loss-figure", "smooth"), wanted.T, rtol=1e-9)
    # A lane's name stands where its curve ends, on either scale.
    ends = f"{plot('loss-figure')}.layout.annotations.map((a) => a.y)"
    np.testing.assert_allclose(sorted(page.evaluate(ends)), sorted(wanted[-1]), rtol=1e-9)
    low, high = page.evaluate(f"{plot('loss-figure')}._fullLayout.yaxis.range")
    assert low <= 0 < raw.max() <= high
    scale.click()
    page.wait_for_function(f"{plot('loss-figure')}._fullLayout.yaxis.type === 'log'")
    np.testing.assert_allclose(sorted(page.evaluate(ends)), sorted(np.log10(wanted[-1])), rtol=1e-6)
    page.locator("#loss-figure select").select_option("0")
    page.wait_for_function(f"{plot('loss-figure')}.data.find((t) => t.meta === 'smooth').y[5] === {raw[5, 0]}")

    # Point at step 4 of the loss: the accuracy shows step 4, and leaving clears all.
    area = page.locator("#loss-figure .nsewdrag").first
    area.scroll_into_view_if_needed()
    box = area.bounding_box()
    assert box
    at = page.evaluate(f"{plot('loss-figure')}._fullLayout.xaxis.d2p(4)")
    page.mouse.move(box["x"] + at, box["y"] + 0.4 * box["height"])
    for name in ("loss-figure", "accuracy-figure"):
        expect(page.locator(f"#{name} .figure-pointer")).to_be_visible()
        axis = f"{plot(name)}._fullLayout.xaxis"
        expected = page.evaluate(f"{axis}._offset + {axis}.d2p(4)")
        left = page.evaluate(f"parseFloat(document.querySelector('#{name} .figure-pointer').style.left)")
        assert left == pytest.approx(expected, abs=0.01)
    expect(page.locator("#loss-figure .hoverlayer")).to_contain_text("step 4")
    other = page.locator("#accuracy-figure .hoverlayer")
    expect(other).to_contain_text("step 4")
    lane = f"{plot('accuracy-figure')}.data.find((t) => t.name === 'OLoRA 3e-3')"
    share = page.evaluate(f"{lane}.y[{lane}.x.indexOf(4)]")
    expect(other).to_contain_text(f"{share:.0%}")
    page.mouse.move(2, 2)
    expect(page.locator(".figure-pointer:visible")).to_have_count(0)
    expect(other).not_to_contain_text("step")

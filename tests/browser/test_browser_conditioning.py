"""The Conditioning page in a real Chromium: measure, slice, stop, follow a race."""

import re

import pytest
from playwright.sync_api import Page, expect

PLOT = ".js-plotly-plot"


def wait_until(page: Page, figure: str, condition: str) -> None:
    """Wait until the data d of a figure, which is drawn where it is seen, fulfil a condition."""
    page.locator(f"#{figure}").scroll_into_view_if_needed()
    page.wait_for_function(
        f"() => {{ const d = document.querySelector('#{figure} {PLOT}')?.data; "
        f"return d && d.length && ({condition}); }}"
    )


def data(page: Page, figure: str, what: str) -> list:
    return page.evaluate(f"document.querySelector('#{figure} {PLOT}').data.map((t) => {what})")


def test_the_pages_share_the_set_up_and_the_run_s_controls(same_page: Page) -> None:
    page = same_page
    expect(page.locator("#measure-button")).to_be_hidden()
    page.get_by_role("link", name="Conditioning").click()
    for shown in ("#lanes", "#race-button", "#stop-button", "#measure-button", "#ntk-figure"):
        expect(page.locator(shown)).to_be_visible()
    for hidden in ("#loss-figure", "#results", "#answers", "#spectrum-page"):
        expect(page.locator(hidden)).to_be_hidden()
    expect(page.locator("#slice-button")).to_be_disabled()
    page.get_by_role("link", name="Spectrum").click()
    for hidden in ("#measure-button", "#lanes", "#race-button"):
        expect(page.locator(hidden)).to_be_hidden()
    page.get_by_role("link", name="Race").click()
    expect(page.locator("#loss-figure")).to_be_visible()
    expect(page.locator("#measure-button")).to_be_hidden()


def test_stop_ends_a_measurement_and_bad_input_is_a_sentence(same_page: Page) -> None:
    page = same_page
    page.get_by_role("link", name="Conditioning").click()
    status = page.locator("#conditioning-status")
    expect(page.locator(".purpose:visible p")).to_contain_text("how curved the loss is")
    expect(status).to_contain_text("recorded")
    wait_until(page, "conditioning-figure", "d.some((t) => t.name === 'OLoRA')")
    page.get_by_label("Prompts per step").fill("64")
    page.get_by_label("Prompts per step").press("Tab")
    page.click("#measure-button")
    expect(status).to_contain_text(re.compile(r"product \d+ of"))
    page.click("#measure-stop-button")
    expect(status).to_contain_text("stopped")
    expect(page.locator("#conditioning-figure h2")).to_contain_text("recorded: glassllm, sentiment")
    expect(page.locator("#measure-stop-button")).to_be_disabled()

    layer = page.locator("#measure-layer input, #measure-layer textarea").first
    whole = layer.input_value()
    layer.fill("no.such.layer")
    layer.press("Tab")
    page.click("#measure-button")
    expect(status).to_contain_text("no.such.layer")
    page.get_by_label("Prompts per step").fill("65")
    page.get_by_label("Prompts per step").press("Tab")
    page.click("#measure-button")
    expect(status).to_contain_text("prompts per step must be a whole number from 1 to 64, not 65")
    layer.fill(whole)
    layer.press("Tab")


@pytest.fixture(scope="module")
def lab(same_page: Page) -> Page:
    """The page with a small set-up: three lanes of four prompts, LoRA twice and OLoRA."""
    page = same_page
    page.get_by_role("link", name="Conditioning").click()
    page.get_by_label("start of lane 3").select_option("lora")
    page.get_by_label("learning rate, lane 3").fill("3e-3")
    page.get_by_label("Prompts per step").fill("4")
    page.get_by_label("Steps", exact=True).fill("10")
    page.get_by_label("Steps", exact=True).press("Tab")
    return page


def test_the_start_is_measured_and_chart_and_table_agree_and_slices_share_a_scale(lab: Page) -> None:
    lab.click("#measure-button")
    status = lab.locator("#conditioning-status")
    expect(status).to_contain_text(re.compile(r"product \d+ of at most"))
    expect(status).to_contain_text(re.compile(r"2 starts.*3 lanes"))
    wait_until(lab, "conditioning-figure", "d.length === 2")
    assert data(lab, "conditioning-figure", "t.name") == ["LoRA", "OLoRA"]
    expect(lab.locator("#conditioning-figure h2, #conditioning-story")).not_to_contain_text(["ecorded"] * 2)
    ratios = data(lab, "conditioning-figure", "[...t.x]")
    assert ratios[0] == [1] * 6
    rows = lab.locator("#conditioning-numbers tbody tr")
    expect(rows).to_have_count(2)
    tops = [float(rows.nth(k).locator("td").first.inner_text().split("\n")[0]) for k in range(2)]
    assert ratios[1][1] == pytest.approx(tops[1] / tops[0], rel=0.01)
    times = f"{ratios[1][1]:.2g} times plain LoRA's"
    expect(lab.locator("#conditioning-story")).to_contain_text(times)
    expect(lab.locator("#conditioning-rates tbody tr")).to_have_count(2)
    wait_until(lab, "ntk-figure", "d.length === 2 && d[0].y.length > 3")

    lab.click("#slice-button")
    for side, name in (("left", "LoRA"), ("right", "OLoRA")):
        wait_until(lab, f"slice-{side}-figure", "d[0].type === 'contour'")
        expect(lab.locator(f"#slice-{side}-figure h2")).to_contain_text(f"{name}: the loss around")
    both = [data(lab, f"slice-{side}-figure", "[t.zmin, t.zmax, t.contours?.size]")[0] for side in ("left", "right")]
    assert both[0] == both[1]
    assert both[0][0] < both[0][1]

    lab.reload()
    expect(lab.locator("#conditioning-numbers tbody tr")).to_have_count(2)
    wait_until(lab, "slice-right-figure", "d[0].type === 'contour'")

    lab.click("#fair-button")
    expect(lab.locator("#fair-rates")).to_contain_text("times plain LoRA's curvature")
    expect(lab.locator("#lanes .remove")).to_have_count(3)
    said = re.findall(r"= (\S+)\.", lab.locator("#fair-rates").inner_text())
    rates = lab.locator("#lanes input").evaluate_all("nodes => nodes.map((node) => node.value)")
    assert said[-1] in rates, "the rate that is explained is the one that will be raced"


def test_a_race_shows_its_curvature_as_it_goes_on(lab: Page) -> None:
    lab.get_by_label("Measure the curvature every").fill("5")
    lab.get_by_label("Measure the curvature every").press("Tab")
    lab.click("#race-button")
    wait_until(lab, "sharpness-figure", "d.length === 3 && d[0].x.length >= 1")
    expect(lab.locator("#status")).to_contain_text("finished")
    wait_until(lab, "sharpness-figure", "d[0].x.length === 2")
    assert data(lab, "sharpness-figure", "[...t.x]") == [[5, 10]] * 3
    tops = data(lab, "sharpness-figure", "[...t.y]")
    wait_until(lab, "stability-figure", "d.length === 6 && d[0].x.length === 2")
    limits = data(lab, "stability-figure", "[...t.y]")[::2]
    for top, limit in zip(tops, limits, strict=True):
        assert [a * b for a, b in zip(top, limit, strict=True)] == pytest.approx([2, 2], rel=5e-3)
    wait_until(lab, "conditioning-loss-figure", "d[0].y.length === 10")
    wait_until(lab, "conditioning-gradient-figure", "d[0].y.length === 10")

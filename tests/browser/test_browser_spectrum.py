"""The Spectrum page in a real Chromium: slide, permute, pick a layer, paste a matrix."""

import re
import time
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from support.opened import tab
from support.served import launched

from olora_viz.web import page as web
from olora_viz.web import spectrum
from olora_viz.web.jobs.queue import Jobs

FIGURE = "#spectrum-figure .js-plotly-plot"


def traces(page: Page) -> dict[str, list[float]]:
    """Return the curves of the singular values by their names."""
    return page.evaluate(
        f"""Object.fromEntries(document.querySelector('{FIGURE}').data.map((t) =>
            [t.name, [...t.y]]))"""
    )


def wait_until(page: Page, condition: str) -> None:
    page.wait_for_function(f"() => {{ const d = document.querySelector('{FIGURE}')?.data; "
                           f"return d && ({condition}); }}")  # fmt: skip


@pytest.fixture(scope="module")
def lab(same_page: Page) -> Page:
    same_page.get_by_role("link", name="Spectrum").click()
    wait_until(same_page, "d.some((t) => t.name === 'OLoRA')")
    return same_page


def test_the_page_opens_with_a_verdict_on_a_real_layer(lab: Page) -> None:
    expect(lab.locator("#race-page")).to_be_hidden()
    expect(lab.locator("#spectrum-verdict")).to_contain_text("bounded by σᵢ(W)holds")
    expect(lab.locator("#spectrum-verdict")).to_contain_text("a subset of σ(W)fails")
    expect(lab.locator("#spectrum-story")).to_contain_text(re.compile(r"OLoRA keeps \d+% of what"))
    curves = traces(lab)
    assert len(curves["OLoRA"]) == 8
    assert all(a <= b + 1e-9 for a, b in zip(curves["OLoRA"], curves["W"], strict=False))


def test_the_rank_slider_moves_every_chart(lab: Page) -> None:
    lab.locator("#spectrum-rank input[type=range]").focus()
    lab.keyboard.press("ArrowRight")
    wait_until(lab, "d.find((t) => t.name === 'OLoRA').y.length === 9")
    expect(lab.locator("#spectrum-energies")).to_contain_text("start, rank 9")
    expect(lab.locator("#layer-map h2")).to_contain_text("Every layer at rank 9")
    for _ in range(8):  # faster than the answers come
        lab.keyboard.press("ArrowRight")
    wait_until(lab, "d.find((t) => t.name === 'OLoRA').y.length === 17")
    expect(lab.locator("#spectrum-rank input[type=number]")).to_have_value("17")
    lab.locator("#spectrum-rank input[type=number]").fill("9")
    lab.keyboard.press("Tab")
    wait_until(lab, "d.find((t) => t.name === 'OLoRA').y.length === 9")


def test_permuting_the_columns_changes_olora_alone(lab: Page) -> None:
    before = traces(lab)
    lab.locator("#permute-button").click()
    wait_until(lab, f"d.find((t) => t.name === 'OLoRA').y[0] !== {before['OLoRA'][0]}")
    after = traces(lab)
    for name in ("W", "OLoRA, pivoted", "PiSSA"):
        assert after[name] == pytest.approx(before[name], rel=1e-3)
    expect(lab.locator("#spectrum-energies")).to_contain_text("OLoRA, W's own order")
    expect(lab.locator("#spectrum-story")).to_contain_text("The columns are permuted")
    lab.get_by_role("button", name="W's own order").click()
    wait_until(lab, f"d.find((t) => t.name === 'OLoRA').y[0] === {before['OLoRA'][0]}")


def test_the_last_choice_is_shown_even_if_choices_come_faster_than_answers(lab: Page) -> None:
    own, olora = traces(lab)["OLoRA"], "d.find((t) => t.name === 'OLoRA').y"
    rank = lab.locator("#spectrum-rank input[type=range]")
    rank.focus()
    for _ in range(8):
        lab.keyboard.press("ArrowRight")
    lab.locator("#permute-button").click()
    rank.focus()
    for _ in range(8):
        lab.keyboard.press("ArrowLeft")
    wait_until(lab, f"{olora}.length === {len(own)} && {olora}[0] !== {own[0]}")
    expect(lab.locator("#spectrum-energies")).to_contain_text("OLoRA, W's own order")
    expect(lab.locator("#spectrum-story")).to_contain_text("The columns are permuted")
    expect(rank).to_have_value(str(len(own)))
    lab.get_by_role("button", name="W's own order").click()
    wait_until(lab, f"{olora}[0] === {own[0]}")


def test_a_click_on_the_map_chooses_the_layer(lab: Page) -> None:
    map_ = lab.locator("#layer-map .js-plotly-plot")
    map_.scroll_into_view_if_needed()
    lab.wait_for_function("document.querySelector('#layer-map .js-plotly-plot')?.data?.[0]?.type === 'heatmap'")
    before = traces(lab)["W"][0]
    box = lab.locator("#layer-map .nsewdrag").bounding_box()
    assert box
    lab.mouse.click(box["x"] + 0.85 * box["width"], box["y"] + 0.9 * box["height"])
    wait_until(lab, f"d.find((t) => t.name === 'W').y[0] !== {before}")
    expect(lab.locator("#spectrum-layer input")).to_have_value("3 · down_proj")


def test_another_model_opens_at_its_first_layer_with_a_verdict(lab: Page) -> None:
    before, verdict = traces(lab)["W"][0], lab.locator("#spectrum-verdict")
    for name in ("glassllm-pt", "glassllm"):
        lab.locator("#spectrum-model input").click()
        lab.get_by_role("option", name=re.compile(f"{name} ·")).click()
        wait_until(lab, f"d.find((t) => t.name === 'W').y[0] !== {before}")
        expect(lab.locator("#spectrum-layer input")).to_have_value("0 · q_proj")
        expect(verdict).to_contain_text("bounded by")
        before = traces(lab)["W"][0]


def test_a_pasted_matrix_gets_its_own_verdict_and_nonsense_a_sentence(lab: Page) -> None:
    lab.get_by_label("my own matrix").check()
    verdict = lab.locator("#spectrum-verdict")
    expect(verdict).to_contain_text("largest value, 1.414, lies between W's 1.618 and 0.618")
    box = lab.locator("#own-matrix textarea")
    box.fill("3 0\n0 2")
    expect(verdict).to_contain_text("a subset of σ(W)holds")
    box.fill("3 0\n0 two")
    expect(verdict).to_contain_text("row 2 of the matrix holds 'two', not a finite number")
    box.fill("0 0\n0 0")
    expect(verdict).to_contain_text("the matrix is zero")
    box.fill("1 1\n0 1")
    expect(verdict).to_contain_text("a subset of σ(W)fails")


def test_an_example_opens_at_a_rank_that_suits_it_in_its_own_order(lab: Page) -> None:
    lab.get_by_label("my own matrix").check()
    example, rank = lab.get_by_role("combobox", name="Example"), lab.locator("#spectrum-rank input[type=number]")
    for name, chosen in (("Gaussian, 24 × 32", 6), ("2 × 2 counterexample", 1), ("diagonal, 1 to 12", 3)):
        example.click()
        lab.get_by_role("option", name=name).click()
        wait_until(lab, f"d.find((t) => t.name === 'OLoRA').y.length === {chosen}")
        expect(rank).to_have_value(str(chosen))
        expect(lab.locator("#restore-button")).to_be_disabled()
        if chosen > 1:
            rank.fill(str(chosen + 2))
            lab.keyboard.press("Tab")
            wait_until(lab, f"d.find((t) => t.name === 'OLoRA').y.length === {chosen + 2}")
            lab.locator("#permute-button").click()
            expect(lab.locator("#restore-button")).to_be_enabled()
    example.click()
    lab.get_by_role("option", name="2 × 2 counterexample").click()
    wait_until(lab, "d.find((t) => t.name === 'OLoRA').y.length === 1")


def test_a_matrix_of_rank_one_has_a_verdict_and_no_choice_of_rank(lab: Page) -> None:
    lab.get_by_label("my own matrix").check()
    verdict = lab.locator("#spectrum-verdict")
    expect(verdict).to_contain_text("1.414")
    lab.locator("#own-matrix textarea").fill("3 4")
    expect(verdict).to_contain_text("one of W's, to rounding")
    rank = lab.locator("#spectrum-rank")
    expect(rank).to_contain_text("Rank, at most 1")
    expect(rank.locator("input[type=range]")).to_be_disabled()


def test_a_page_asks_again_for_what_takes_long(browser: Browser, jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, asked = spectrum.shown, list[float]()

    def slowly(*given: Any) -> spectrum.SpectrumView:
        asked.append(time.monotonic())
        time.sleep(1.0 if len(asked) == 1 else 0.0)
        return draw(*given)

    monkeypatch.setattr(spectrum, "shown", slowly)
    monkeypatch.setattr(spectrum, "ASK_AGAIN", 0.4)
    with launched(web.build(jobs=jobs)) as url:
        page = browser.new_page()
        page.goto(f"{url}/#spectrum")
        wait_until(page, "d.some((t) => t.name === 'OLoRA')")
        expect(page.locator("#spectrum-verdict")).to_contain_text("bounded by")
        page.close()
    assert len(asked) > 1


def test_a_race_shows_the_spectra_of_its_adapters(same_page: Page) -> None:
    page = same_page
    page.locator("#navigation a[href='#race']").click()
    tab(page, "Spectra")
    page.get_by_label("Steps", exact=True).fill("10")
    page.locator("#race-button").click()
    expect(page.locator("#status")).to_contain_text("finished")
    page.locator("#spectra-map").scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('#spectra-map .js-plotly-plot')?.data?.[0]?.z?.[0]?.length >= 5")
    rows = page.evaluate("document.querySelector('#spectra-map .js-plotly-plot').data[0].z.length")
    assert rows == 28
    expect(page.locator("#spectra-map h2")).to_contain_text("OLoRA 3e-3: ‖ΔW‖")
    page.locator("#growth-figure").scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('#growth-figure .js-plotly-plot')?.data?.[0]?.y?.length >= 5")
    growth = page.evaluate("document.querySelector('#growth-figure .js-plotly-plot').data.map((t) => [...t.y])")
    assert growth[0][0] == 0
    assert growth[0][-1] > growth[0][1] > 0

"""The page in a real Chromium: race, watch, zoom, stop; nothing from any other host."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect
from support.opened import on_the_server, press
from support.shared import at_workbench
from support.steps import a_step

from olora_viz.figures import race as figures
from olora_viz.figures.live.bundle import pack
from olora_viz.figures.theme import lane_styles
from olora_viz.lanes.lane import Lane
from olora_viz.learn.gallery import GALLERY
from olora_viz.views.race import status

ROOT = Path(__file__).parents[2]
PLOT = "#loss-figure .js-plotly-plot"
POINTS = f"(document.querySelector('{PLOT}')?.data?.[0]?.y ?? []).length"


def points(page: Page) -> int:
    return page.evaluate(POINTS)


def wait_for_points(page: Page, count: int) -> None:
    page.wait_for_function(f"{POINTS} >= {count}")


def x_range(page: Page) -> list[float]:
    return page.evaluate(f"document.querySelector('{PLOT}')._fullLayout.xaxis.range")


def visibility(page: Page, lane: str) -> set[object]:
    """Return how the lane's traces are shown, in all three charts."""
    script = """lane => [...document.querySelectorAll('.js-plotly-plot')].flatMap(plot =>
        plot._fullData.filter(t => t.legendgroup === lane).map(t => t.visible))"""
    return set(page.evaluate(script, lane))


def test_points_arrive_and_a_zoom_and_a_hidden_lane_survive_until_stop(same_page: Page, address: str) -> None:
    page = same_page
    # Steps that last: of shorter ones too many would lie between a press of Stop and its effect.
    for name, value in (("Steps", "500"), ("Prompts per step", "16")):
        page.get_by_label(name, exact=True).fill(value)
        page.get_by_label(name, exact=True).press("Tab")
    page.click("#race-button")
    wait_for_points(page, 3)
    expect(page.locator("#status")).to_contain_text("racing")
    expect(page.locator("#status")).to_contain_text(re.compile(r"\d+ / 500 · [\d.]+ steps/s"))

    # Before the zoom: a name whose curve ends outside of the window is not drawn.
    page.locator("#loss-figure .annotation-text-g", has_text="PiSSA 1e-3").first.click()
    page.wait_for_function(f"document.querySelector('{PLOT}')._fullData.some(t => t.visible === 'legendonly')")
    box = page.locator(f"{PLOT} .nsewdrag").first.bounding_box()
    assert box
    # From where no curve has its name yet: on a name the mouse does not drag.
    page.mouse.move(box["x"] + 0.38 * box["width"], box["y"] + 0.3 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 0.6 * box["height"], steps=4)
    page.wait_for_timeout(1000)  # the race goes on while its reader drags
    page.mouse.move(box["x"] + 0.01 * box["width"], box["y"] + 0.8 * box["height"], steps=4)
    page.mouse.up()
    page.wait_for_function(f"document.querySelector('{PLOT}')._fullLayout.xaxis.range[1] < 200")
    zoomed = x_range(page)

    before = points(page)
    wait_for_points(page, before + 5)
    assert x_range(page) == pytest.approx(zoomed)
    assert visibility(page, "PiSSA 1e-3") == {"legendonly"}
    assert visibility(page, "OLoRA 3e-3") == {True}
    assert page.locator(PLOT).count() == 1

    reached = points(page)
    press(page, "#stop-button")
    expect(page.locator("#status .state")).to_have_text("stopped")
    expect(page.locator("#adapters button").first).to_be_visible()
    status = page.locator("#status").inner_text()
    assert "finished" not in status
    ended = int(re.findall(r"(\d+) / 500", status)[0])
    # The chart lags the race by an update, so a few steps lie between the press and the last point.
    assert reached <= ended < 500
    wait_for_points(page, ended)
    run = on_the_server(page, address)
    assert run["summary"]["state"] == "stopped"
    assert len(run["steps"]) == points(page) == ended
    assert page.locator("#status").inner_text() == status


def test_the_workbench_has_set_up_verdict_accuracy_and_ranking_and_tabs_by_keyboard(newcomer: Page) -> None:
    page = newcomer
    expect(page.locator("#status .state")).to_have_text("recorded")
    for name in ("#introduction", "#verdict", "#setup-card", "#accuracy-figure", "#results"):
        box = page.locator(name).bounding_box()
        assert box
        assert box["y"] + box["height"] <= 900, name
    for name, title in (("pause-button", "Pause or resume"), ("race-button", "Train all lanes")):
        expect(page.locator(f"#{name}")).to_have_attribute("title", re.compile(title))
    # A bar that sticks stays where the reader scrolls.
    page.mouse.wheel(0, 400)
    page.wait_for_function("scrollY > 100")
    assert page.evaluate("document.querySelector('#top-bar').getBoundingClientRect().top") == 0
    page.evaluate("scrollTo(0, 0)")
    page.get_by_role("tab", name="Loss").press("ArrowRight")
    expect(page.get_by_role("tab", name="Gradients")).to_be_focused()
    expect(page.locator("#gradient-figure")).to_be_visible()
    expect(page.locator("#loss-figure")).to_be_hidden()
    how = page.locator("#gradient-figure .figure-how")
    expect(how).to_be_hidden()
    page.locator("#gradient-figure").get_by_title("How to read this chart").click()
    expect(how).to_be_visible()
    page.get_by_role("tab", name="Gradients").press("End")
    expect(page.get_by_role("tab", name="Earlier runs")).to_be_focused()
    page.get_by_role("tab", name="Earlier runs").press("ArrowRight")
    expect(page.locator("#loss-figure")).to_be_visible()


def test_race_repeats_what_the_first_screen_shows_and_leaves_answers_and_adapters(newcomer: Page) -> None:
    page = newcomer
    expect(page.locator("#status .state")).to_have_text("recorded")
    page.locator("#scrubber input").fill("10")
    expect(page.locator("#status b")).to_have_text("10")
    recorded = page.locator("#results tbody").first.inner_text()
    page.click("#race-button")
    expect(page.locator("#status .state")).to_have_text("racing")
    expect(page.locator("#answers .asked")).to_have_count(1)  # while they train
    # The chart may still show the recorded race: the line above it is sooner.
    page.wait_for_function("Number(document.querySelector('#status b')?.innerText) > 10")
    press(page, "#stop-button")
    expect(page.locator("#status .state")).to_have_text("stopped")
    reached = int(page.locator("#status b").inner_text())
    expect(page.locator("#answers .asked")).to_have_count(4)
    expect(page.locator("#answers .asked").first).to_contain_text("base model")
    expect(page.locator("#results tbody tr")).to_have_count(5)  # its test is for one who finishes
    expect(page.locator("#verdict .why")).to_contain_text("3 seeds × 64 examples")
    expect(page.locator("#story")).to_contain_text("64 held-out examples; 3 seeds")
    expect(page.locator("#adapters button")).to_have_count(9)
    with page.expect_download() as download:
        page.locator("#adapters button").first.click()
    assert download.value.suggested_filename.endswith(".zip")
    assert Path(download.value.path()).read_bytes()[:2] == b"PK"

    page.reload()
    expect(page.locator("#status")).to_contain_text("stopped")
    wait_for_points(page, reached)
    expect(page.locator("#adapters button")).to_have_count(9)
    page.locator("#scrubber input").fill("10")
    expect(page.locator("#status b")).to_have_text("10")
    assert page.locator("#results tbody").first.inner_text() == recorded


DRAW = """async ({ module, value }) => {
    if (!window.drawn) {
        const element = document.createElement("div");
        element.id = "drawn";
        element.style.width = "600px";
        document.querySelector(".middle").prepend(element);
        const { mount } = await import(module);
        window.drawn = mount(element, { plotly: window.Plotly, palette: { light: {}, dark: {} } });
        await window.drawn.ready;
    }
    window.drawn.draw(value);
}"""
FIGURE_MODULE = """performance.getEntriesByType("resource").map((entry) => entry.name)
    .find((url) => url.includes("/figure-"))"""
SHOWN = """() => (document.querySelector("#drawn .js-plotly-plot")?._fullData ?? []).map(
    (trace) => `${trace.name}: ${trace.visible}`)"""


def test_a_hidden_lane_stays_hidden_when_lanes_diverge_and_the_keyboard_shows_it_again(same_page: Page) -> None:
    page = same_page
    lanes = lane_styles([Lane("lora"), Lane("olora"), Lane("pissa")])

    def draw(*diverged_at: int) -> None:
        """Draw the gradient norms and, in front of them, a cross for every lane that is out."""
        loss = np.array([[1.0 + k] * 3 for k in range(9)])
        for k, at in enumerate(diverged_at):
            loss[at:, k] = np.nan
        steps = [a_step(n + 1, row, row, row, 0.1 * n, n) for n, row in enumerate(loss)]
        figure = pack(figures.loss_figure(figures.RaceCurves(lanes, steps, total=9), smoothing=0.0))
        page.evaluate(DRAW, {"module": module, "value": figure})

    def shown(name: str) -> list[str]:
        return sorted({text for text in page.evaluate(SHOWN) if text.startswith(name)})

    module = page.evaluate(FIGURE_MODULE)
    draw(99, 99, 99)
    page.wait_for_function(f"({SHOWN})().length == 9")
    button = page.get_by_role("button", name="hide OLoRA")
    button.first.focus()
    expect(button.first).to_have_css("opacity", "1")
    page.keyboard.press("Enter")
    page.wait_for_function(f"({SHOWN})().includes('OLoRA: legendonly')")

    draw(99, 5, 99)
    page.wait_for_function(f"({SHOWN})().length == 10")
    assert shown("OLoRA: DNF") == ["OLoRA: DNF at step 6: legendonly"]
    draw(7, 5, 99)  # the cross of LoRA comes before that of OLoRA
    page.wait_for_function(f"({SHOWN})().length == 11")
    assert shown("LoRA: DNF") == ["LoRA: DNF at step 8: true"]
    assert shown("OLoRA: DNF") == ["OLoRA: DNF at step 6: legendonly"]
    assert "PiSSA: true" in shown("PiSSA")

    page.keyboard.press("Space")  # the button still has the focus
    page.wait_for_function(f"!({SHOWN})().some((text) => text.endsWith('legendonly'))")


def test_a_lane_that_is_out_leaves_the_table_inside_its_card(same_page: Page) -> None:
    page = same_page
    link = "?task=addition&steps=5&lane=olora:lr=1e6&lane=lora&lane=lora:lr=1e30&start=1"
    page.goto(f"{page.url.partition('?')[0]}{link}")
    expect(page.locator("#status .state")).to_have_text("finished")
    frame = page.locator("#results .standing-frame").first
    expect(frame).to_contain_text("DNF at step 3: gradient zero")
    assert frame.evaluate("(frame) => frame.scrollWidth <= frame.clientWidth")


def test_equal_lanes_have_adapters_of_their_own(same_page: Page) -> None:
    page = same_page
    page.locator("#presets button", has_text="one rate for all").click()
    expect(page.get_by_label("Steps", exact=True)).to_have_value("60")
    rows = page.locator("#lanes tbody tr")
    expect(rows).to_have_count(3)
    page.get_by_label("remove lane 1").press("Enter")
    expect(rows).to_have_count(2)
    for lane in (1, 2):
        page.get_by_label(f"start of lane {lane}").select_option("olora")
        page.get_by_label(f"learning rate, lane {lane}").fill("1e-3")
        page.get_by_label(f"seeds, such as 0-2, lane {lane}").fill("0")
    page.get_by_label("Steps", exact=True).fill("2")
    page.get_by_label("Steps", exact=True).press("Tab")
    page.click("#race-button")
    expect(page.locator("#adapters button")).to_have_count(2)
    page.locator("#adapters summary").click()
    names = set()
    for button in page.locator("#adapters button").all():
        with page.expect_download() as download:
            button.click()
        assert Path(download.value.path()).read_bytes()[:2] == b"PK"
        names.add(download.value.suggested_filename)
    assert names == {f"glassllm-sentiment-{name}.zip" for name in ("olora", "olora-2")}


@pytest.fixture(scope="module")
def phone(browser: Browser, address: str) -> Iterator[Page]:
    """The page on a telephone, in the dark."""
    context = at_workbench(
        browser.new_context(
            viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True, color_scheme="dark"
        )
    )
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector(f"{PLOT} .gridlayer path", state="attached")
    yield page
    context.close()


def test_the_chart_and_the_page_follow_the_dark_theme(phone: Page) -> None:
    page = phone
    # Gradio makes the page dark once it is there, and the chart follows.
    expect(page.locator(f"{PLOT} .gridlayer path").first).to_have_css("stroke", "rgb(43, 50, 64)")
    expect(page.locator(".card").first).to_have_css("background-color", "rgb(26, 31, 40)")


def test_bad_values_get_a_sentence_and_no_traceback(same_page: Page) -> None:
    page = same_page
    rank = page.get_by_label("rank, lane 1")
    rank.fill("999")
    sentence = "rank must be a whole number from 1 to 256, not '999'"
    expect(page.locator("#lanes .problem")).to_contain_text(sentence)
    page.click("#race-button")
    expect(page.locator("#status")).to_contain_text(f"failed {sentence}")
    expect(page.locator("#results")).not_to_contain_text(sentence)  # what was raced stays
    rank.fill("200")
    expect(page.locator("#lanes .problem")).to_be_hidden()
    expect(page.locator("#status")).not_to_contain_text("failed")
    page.click("#race-button")
    line = re.compile(r"^\s*failed rank 200 exceeds min\(out, in\) = \d+ of '[\w.]+'\s*$")
    expect(page.locator("#status")).to_have_text(line)
    expect(page.locator("#race-button")).to_be_enabled()
    rank.fill("4")
    expect(page.locator("#status")).not_to_contain_text("failed")


def test_lanes_can_be_added_edited_and_removed_by_keyboard(same_page: Page) -> None:
    page = same_page
    page.locator("#presets button", has_text="one rate for all").click()
    expect(page.get_by_label("Steps", exact=True)).to_have_value("60")
    rows = page.locator("#lanes tbody tr")
    expect(rows).to_have_count(3)
    page.get_by_role("button", name="+ lane").press("Enter")
    expect(rows).to_have_count(4)
    page.keyboard.press("Tab")
    page.keyboard.type("4")
    expect(page.get_by_label("rank, lane 4")).to_have_value("4")
    for _ in range(3):
        page.get_by_label("remove lane 1").press("Enter")
    expect(rows).to_have_count(1)
    expect(page.get_by_label("remove lane 1")).to_be_disabled()
    page.get_by_label("Steps", exact=True).fill("2")
    page.get_by_label("Steps", exact=True).press("Tab")
    page.click("#race-button")
    expect(page.locator("#status")).to_contain_text("finished")
    expect(page.locator("#results tbody tr")).to_have_count(3 + 3)  # held out, and the test


def test_a_phone_shows_what_happens_first_and_nothing_runs_over_the_edge(phone: Page) -> None:
    page = phone
    tops = [
        page.locator(name).bounding_box()
        for name in ("#verdict", "#accuracy-figure", "#results", "#answers", "#setup-card")
    ]
    assert all(tops)
    heights = [box["y"] for box in tops if box]
    assert heights == sorted(heights)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    expect(page.locator("#status .state")).to_have_text("recorded")
    # Below the bar, whose estimate has more words where a race takes long; once the charts are drawn.
    page.wait_for_function(
        "document.documentElement.scrollHeight - document.querySelector('#top-bar').offsetHeight < 2830"
    )
    expect(page.locator("body")).not_to_contain_text("on the left")  # the set-up is below
    tops = [box["y"] for tab in page.get_by_role("tab").all() if (box := tab.bounding_box())]
    assert (len(tops), len(set(tops))) == (9, 2)
    page.get_by_role("tab", name="In words").click()
    expect(page.locator("#story")).to_be_visible()
    page.get_by_role("tab", name="Loss").click()
    page.evaluate("window.scrollTo(0, 0)")
    # Without a verdict, as right after Race, the chart is where it was.
    page.evaluate("""() => {
        const verdict = document.querySelector('#verdict .verdict');
        verdict.dataset.next = '';
        verdict.innerHTML = '<p><b>Training.</b></p>';
    }""")
    chart = page.locator("#accuracy-figure").bounding_box()
    assert chart
    assert abs(chart["y"] - heights[1]) < 2
    # Whatever a race does, its status has one line, and the bar one height: the estimate beside Race, which has more
    # lines where a race takes long, is gone then.
    bars = []
    record = replace(GALLERY["first"], recorded=False, complete=False, device="CUDA")
    for state, note in (("racing", "evaluating 64 held-out examples, 100%"), ("racing", ""), ("paused", "")):
        line = status(replace(record, state=state, note=note), 55)
        page.evaluate("(line) => document.querySelector('#status .status').outerHTML = line", line)
        box = page.locator("#status .status").bounding_box()
        assert box
        assert box["height"] < 28, line
        bars.append(page.locator("#top-bar").bounding_box())
    assert bars == bars[:1] * 3


def test_no_label_of_the_set_up_shines_through_the_bar(same_page: Page) -> None:
    page = same_page
    above = page.evaluate("""() => {
        const label = document.querySelector('#setup-card [data-testid="block-info"]');
        window.scrollBy(0, label.getBoundingClientRect().top - 20);
        const { left, top, height } = label.getBoundingClientRect();
        const at = document.elementFromPoint(left + 2, top + height / 2);
        window.scrollTo(0, 0);
        return [top < 40, !!at.closest('#top-bar')];
    }""")
    assert above == [True, True]


@pytest.mark.parametrize(("width", "query"), [(900, ""), (1280, "?class=1")])
def test_the_next_steps_stand_beside_one_another_and_move_no_chart(same_page: Page, width: int, query: str) -> None:
    page = same_page
    screen = page.viewport_size
    assert screen
    page.set_viewport_size({"width": width, "height": 800})
    page.evaluate("sessionStorage.clear(), localStorage.clear()")  # as a new visitor
    page.goto(f"{page.url.partition('?')[0]}{query}")
    expect(page.locator("#verdict .certainty")).to_be_visible()
    shown = page.locator("#next-row :is(button, a):visible")
    charts = set()
    for step in ("seeds", "rates", "steps"):
        page.evaluate("step => { document.querySelector('#verdict .verdict').dataset.next = step; }", step)
        expect(page.locator(f"#{step}-button")).to_be_visible()
        parts = page.locator("#verdict [role=status]"), shown.first, shown.last
        words, first, last = (part.bounding_box() for part in parts)
        assert words
        assert first
        assert last
        assert first["y"] == pytest.approx(last["y"], abs=2)
        assert first["x"] >= words["x"] - 1  # not at the edge of the card
        charts.add(page.locator("#accuracy-figure").evaluate("e => Math.round(e.offsetTop)"))
    assert len(charts) == 1
    page.set_viewport_size(screen)


def test_class_mode_is_kept_by_the_address_and_has_large_text_and_fewer_cards(same_page: Page) -> None:
    page = same_page
    page.evaluate("sessionStorage.clear(), localStorage.clear()")  # as a new visitor
    page.goto(f"{page.url.partition('?')[0]}?class=1")
    expect(page.locator("#verdict .certainty")).to_be_visible()
    smallest = """() => Math.min(...[...document.querySelectorAll(
        '#verdict, #verdict-row :is(a, button), #results td, #results .hint, .figure-head .hint, '
        + '#answers li, #tabs button, #accuracy-figure text')].filter((e) => e.textContent.trim()
        && e.getClientRects().length).map((e) => {
            const zoom = e.currentCSSZoom ?? 1;
            return parseFloat(getComputedStyle(e).fontSize) * zoom;
        }))"""
    page.wait_for_function("document.querySelectorAll('#accuracy-figure text').length > 5")
    assert page.evaluate(smallest) >= 17.2
    for hidden in ("#setup-card", "#story", "#introduction"):
        expect(page.locator(hidden)).to_be_hidden()
    page.get_by_label("A+ Class mode").click()
    expect(page.locator("#setup-card")).to_be_visible()
    assert "class=" not in page.url
    page.get_by_label("A+ Class mode").click()
    assert "class=1" in page.url

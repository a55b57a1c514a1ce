"""The static pages in a real Chromium, opened from their folder without a server."""

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from support.needs import NEEDS_JAX

from olora_viz.figures.live.bundle import pack
from olora_viz.learn.gallery import GALLERY
from olora_viz.learn.lessons import LESSON_NAMES
from olora_viz.views.race import race_view
from olora_viz.web.site.page import race_path


@pytest.fixture(scope="module")
def site(browser: Browser, static_site: Path) -> Iterator[Page]:
    """A reader's page, which asks nothing but the files of the folder, and on which nothing goes wrong."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    elsewhere, errors = [], []
    page.on("request", lambda request: request.url.startswith(("file:", "blob:")) or elsewhere.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(f"{static_site.as_uri()}/index.html")
    yield page
    assert elsewhere == []
    assert errors == []
    context.close()


def drawn(page: Page, name: str) -> list[list[float | None]]:
    """Return the heights of the curves of a chart, once it is drawn."""
    plot = f"[data-figure='{name}'] .js-plotly-plot"
    page.locator(f"[data-figure='{name}']").scroll_into_view_if_needed()
    page.wait_for_function(f'document.querySelector("{plot}")?.data?.length > 0')
    return page.evaluate(f'document.querySelector("{plot}").data.map((t) => [...(t.y ?? [])])')


def home(page: Page, static_site: Path) -> None:
    page.goto(f"{static_site.as_uri()}/index.html")


def test_three_lessons_are_read_to_their_end(site: Page, static_site: Path) -> None:
    home(site, static_site)
    site.get_by_role("link", name="Learn", exact=True).click()
    expect(site.locator("#lesson-list .count")).to_have_text(f"0 of {len(LESSON_NAMES)} done")
    site.locator("#lesson-list [data-lesson]").first.click()
    for k in range(3):
        expect(site.locator(".lesson-title")).to_be_visible()
        assert site.url.endswith(f"learn/{LESSON_NAMES[k]}.html")
        assert any(len(curve) > 0 for curve in drawn(site, "picture")) or LESSON_NAMES[k] == "qr"
        right = site.locator("#lesson-guide .choice[data-finishes]")
        right.locator("summary").click()
        expect(right.locator("p")).to_be_visible()
        expect(site.locator("#lesson-list .count")).to_have_text(f"{k + 1} of {len(LESSON_NAMES)} done")
        site.locator(".neighbours a").last.click()
    expect(site.locator("#lesson-list .count")).to_have_text(f"3 of {len(LESSON_NAMES)} done")


def test_a_term_has_its_entry_beside_it(site: Page, static_site: Path) -> None:
    site.goto(f"{static_site.as_uri()}/learn/one-rate.html")
    site.locator("#lesson-text .term").first.click()
    expect(site.locator("#term-beside")).to_contain_text("seed")


def test_the_picture_of_the_qr_follows_the_rank(site: Page, static_site: Path) -> None:
    site.goto(f"{static_site.as_uri()}/learn/qr.html")
    head = site.locator("[data-figure='picture'] h2")
    expect(head).to_contain_text("rank-2")
    site.locator(".ranks input").press("ArrowRight")
    expect(head).to_contain_text("rank-3")
    expect(site.locator(".ranks output")).to_have_text("3")


def test_a_lesson_s_guide_asks_for_a_bet_on_the_recorded_race_and_leads_to_its_question(
    site: Page, static_site: Path
) -> None:
    site.goto(f"{static_site.as_uri()}/learn/columns.html")
    site.get_by_role("link", name="Open the recorded race").click()
    guide = site.locator("#lesson-card .guide:visible")
    at = guide.locator(".at")
    expect(at).to_have_text("1 of 4")
    expect(site.locator("#verdict")).to_be_hidden()
    site.locator("#bet-card .chip", has_text="Sketch").click()
    expect(guide.locator(".waits")).to_have_text("waiting: the second bet")
    guide.get_by_role("button", name="next").click()  # it is a gift
    expect(at).to_have_text("2 of 4")
    site.locator("#scrubber input").press("End")
    expect(site.locator("#bet-score .scored:visible")).to_contain_text("Your bet, Sketch")
    expect(site.locator("#verdict")).to_be_visible()
    guide.get_by_role("button", name="next").click()
    drawn(site, "loss")
    site.locator("#loss-figure .figure-lanes button").first.press("Enter")
    expect(guide.locator(".then:visible")).to_contain_text("How far apart do their curves end")
    guide.get_by_role("button", name="next").click()
    guide.get_by_role("link", name="Check yourself").click()
    assert site.url.endswith("learn/columns.html#check")
    expect(site.locator("[data-lesson=columns] .done").first).to_be_visible()


@pytest.mark.parametrize("name", ["first", "what-the-qr-adds"])
def test_a_race_is_scrubbed_to_what_the_server_would_show(site: Page, static_site: Path, name: str) -> None:
    race = GALLERY[name]
    site.goto(f"{static_site.as_uri()}/{race_path(name)}?view=workbench")
    slider = site.locator("#scrubber input")
    expect(slider).to_be_enabled()
    for step in (len(race.steps), 0, 7, 20):
        slider.fill(str(step))
        expect(site.locator("#scrubber .from")).to_have_text(f"step {step}")
        view = race_view(race, upto=step, run="report")
        expect(site.locator("#results")).to_have_text(view.results.striptags(), use_inner_text=False)
        for key in ("accuracy", "gradient", "loss"):
            figure = pack(view.figures[key])
            wanted = [numbers(trace["y"]) for trace in figure["data"] if trace["y"]]
            wait_for_curves(site, key, wanted)
            wide = json.loads(figure["layout"]["yaxis"])["range"]
            plot = f"[data-figure='{key}'] .js-plotly-plot"
            assert site.evaluate(f'document.querySelector("{plot}").layout.yaxis.range') == pytest.approx(wide)


def test_it_opens_with_the_first_screen_and_the_adapters_follow_its_slider(site: Page, static_site: Path) -> None:
    home(site, static_site)
    figures = site.locator("#adapter-figure figure")
    expect(figures.nth(2)).to_have_accessible_name(re.compile("^OLoRA, after step 60: rank 8, ΔW has norm "))
    assert site.evaluate("document.documentElement.scrollHeight") <= 950
    expect(site.locator("#results")).to_be_hidden()
    site.locator("#scrubber input").press("Home")
    expect(figures.nth(1)).to_have_accessible_name("LoRA, before the first step: rank 8, nothing has moved yet.")
    _, other = site.locator("#adapter-layer option").all_inner_texts()
    site.locator("#adapter-layer").select_option(other)
    expect(figures.nth(0)).to_have_accessible_name(re.compile(f"^The weight W of {re.escape(other)}, "))
    site.locator("#scrubber input").press("End")
    site.locator(".why-button").click()
    expect(site.locator("#verdict .why")).to_be_visible()
    site.get_by_role("button", name="more").click()
    expect(site.locator("#results")).to_be_visible()
    assert site.url.endswith("?view=workbench")
    site.get_by_role("button", name="less").click()
    expect(site.locator("#results")).to_be_hidden()


@NEEDS_JAX
def test_race_trains_in_the_page_and_stops_with_what_it_has_while_a_lesson_s_guide_plays(
    site: Page, static_site: Path
) -> None:
    site.goto(f"{static_site.as_uri()}/learn/adapter.html")
    site.get_by_role("link", name="Race it here").click()
    guide = site.locator("#lesson-card .guide").filter(visible=True)
    expect(guide).to_contain_text("Press Race.")
    site.locator("#live-task").select_option("addition")
    site.get_by_role("button", name="remove PiSSA").click()
    site.locator("#race-button").click()
    status, figures = site.locator("#status"), site.locator("#adapter-figure figure")
    expect(guide).to_contain_text("Watch the curves until the race has ended.")
    expect(site.locator("#verdict")).to_contain_text(re.compile(r"Step \d+: "))
    assert len(site.workers) <= 3  # those of three lanes have compiled since the set-up was touched
    expect(figures).to_have_count(3)
    expect(figures.nth(2)).to_have_accessible_name(re.compile(r"^OLoRA, after step \d+: rank 8, ΔW has norm "))
    assert all(len(curve) >= 2 for curve in drawn(site, "accuracy"))
    site.locator("#race-button").click()
    expect(site.locator("#race-button")).to_have_text("▶ Continue")
    site.locator("#scrubber input").press("Home")
    expect(figures.nth(2)).to_have_accessible_name(re.compile("before the first step"))
    site.get_by_role("button", name="Stop the race").click()
    expect(status).to_contain_text("stopped")
    expect(guide).to_contain_text("The race is over.")
    for words in ("Of each start the square ΔW was empty", "Before training it changes nothing."):
        guide.get_by_role("button", name="next").click()
        expect(guide).to_contain_text(words)
    with site.expect_download() as taken:
        site.locator("#live-take").get_by_role("link", name="OLoRA").click()
    with zipfile.ZipFile(taken.value.path()) as adapter:
        assert adapter.namelist() == ["adapter_config.json", "adapter_model.safetensors"]
    site.get_by_role("button", name="Back to the recorded race").click()
    expect(site.locator("#verdict")).to_contain_text("steps earlier than LoRA")
    expect(status).to_contain_text("recorded")
    guide.get_by_role("link", name="Check yourself").click()
    site.wait_for_url("**/learn/adapter.html#check")


@NEEDS_JAX
def test_a_link_sets_a_race_up_and_rows_of_the_reader_are_raced_or_refused(site: Page, static_site: Path) -> None:
    link = "task=addition&steps=30&seeds=2&starts=milora,nobody&rate=3e-3&rank=4&prompt=2+and+2+make"
    site.goto(f"{static_site.as_uri()}/index.html?{link}&view=workbench")
    expect(site.locator("#live-task")).to_have_value("addition")
    expect(site.locator("#live-seeds")).to_have_value("2")
    expect(site.locator("#live-prompt")).to_have_value("2 and 2 make")
    expect(site.locator(".lane-line b")).to_have_text(["3e-3", "4"])
    expect(site.locator(".lane-line .chip")).to_have_text([re.compile("MiLoRA")])
    site.locator("#live-task").select_option("own")
    site.locator("#live-rows").fill("prompt,answer\n1 and 1 make,2\n1 and 2 make,")
    site.locator("#race-button").click()
    expect(site.locator("#status")).to_contain_text("Row 2 has no answer")
    expect(site.locator("#verdict")).to_contain_text("steps earlier than LoRA")
    rows = "\n".join(f"{i} and {j} make,{i + j}" for i in range(1, 7) for j in range(1, 7))
    site.locator("#live-rows").fill(rows)
    site.locator("#race-button").click()
    expect(site.locator("#verdict")).to_contain_text(re.compile(r"Step \d+: .*Means of 2 seeds"))
    expect(site.locator("#answers .prompt").first).to_have_text("2 and 2 make")
    assert all(len(curve) >= 2 for curve in drawn(site, "accuracy"))
    for key in ("loss", "gradient"):
        assert any(len(curve) >= 5 for curve in drawn(site, key))
    site.get_by_role("button", name="Back to the recorded race").click()
    expect(site.locator("#status")).to_contain_text("recorded")


def numbers(packed: str) -> list[float | None]:
    """Return the numbers of a packed trace."""
    return [float(number) if number else None for number in packed.split(",")]


def wait_for_curves(page: Page, name: str, wanted: list[list[float | None]]) -> None:
    """Wait until a chart has exactly these curves, beside empty ones."""
    drawn(page, name)
    page.wait_for_function(
        f"""(wanted) => {{
            const {{ data }} = document.querySelector("[data-figure='{name}'] .js-plotly-plot");
            const curves = data.map((t) => [...(t.y ?? [])]).filter((y) => y.length);
            return JSON.stringify(curves) === JSON.stringify(wanted);
        }}""",
        arg=wanted,
    )


def test_the_rank_of_a_spectrum_moves_charts_and_words(site: Page, static_site: Path) -> None:
    site.goto(f"{static_site.as_uri()}/spectrum/index.html")
    expect(site.locator("#energies")).to_contain_text("start, rank 8")
    drawn(site, "singular")
    site.locator(".ranks input").press("ArrowRight")
    expect(site.locator("#energies")).to_contain_text("start, rank 16")
    site.get_by_role("link", name="2 × 2 counterexample").click()
    expect(site.locator("#claim")).to_contain_text("1.414, lies between W's 1.618 and 0.618")


def test_a_claim_is_unfolded(site: Page, static_site: Path) -> None:
    site.goto(f"{static_site.as_uri()}/claims.html")
    site.locator(".claim > summary").first.click()
    site.locator(".of-claim summary").first.click()
    expect(site.locator(".claim .told").first).to_be_visible()
    expect(site.locator(".claim .told pre").first).to_contain_text("python -m olora_viz claims")


PAGES = ("index", "learn/one-rate", "races/one-rate", "races/run", "studies/study", "claims", "spectrum/index")


def test_axe_finds_nothing_and_nothing_is_wider_than_a_phone(site: Page, static_site: Path) -> None:
    found = []
    for scheme, names, rules in (("light", PAGES, {}), ("dark", PAGES[1:3], {"runOnly": ["color-contrast"]})):
        site.emulate_media(color_scheme=scheme)
        for name in names:
            site.goto(f"{static_site.as_uri()}/{name}.html")
            if site.locator("[data-figure]").count():
                site.wait_for_function("document.querySelector('.js-plotly-plot .main-svg')")
            wrong = (
                Axe()
                .run(site, options={"resultTypes": ["violations"], "preload": False, **rules})
                .response["violations"]
            )
            found += [f"{scheme} {name}: {one['id']}: {one['nodes'][0]['html'][:200]}" for one in wrong]
    site.set_viewport_size({"width": 390, "height": 844})
    for name in PAGES:
        site.goto(f"{static_site.as_uri()}/{name}.html")
        wide = site.evaluate("document.documentElement.scrollWidth - innerWidth")
        found += [f"{name} is {wide} pixels too wide"] * (wide > 0)
    site.set_viewport_size({"width": 1440, "height": 900})
    assert not found, "\n".join(found)


def test_without_javascript_words_and_tables_are_there(browser: Browser, static_site: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{static_site.as_uri()}/index.html")
    expect(page.get_by_text("Charts and sliders need JavaScript")).to_be_visible()
    expect(page.locator("#verdict-card")).to_contain_text("steps earlier than LoRA")
    expect(page.locator("#results table").first).to_be_visible()
    expect(page.locator("#scrubber")).to_be_hidden()
    page.goto(f"{static_site.as_uri()}/spectrum/index.html")
    expect(page.locator("#claim")).to_contain_text("fails")
    context.close()

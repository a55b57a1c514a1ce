"""What a visitor takes home opens elsewhere: files of every kind, in a real Chromium."""

import csv
import io
import json
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from support.opened import tab

from olora_viz.measures.catalogue import MEASURES

SAVE = "#loss-figure .figure-save > button"
TAB_STOPS = """[...document.querySelectorAll("[role=toolbar]:has(button)")].map(
    (bar) => [...bar.querySelectorAll("button")].filter((button) => button.tabIndex === 0).length)"""
"""Of each toolbar."""

STEPS = 4


@pytest.fixture(scope="module")
def raced(same_page: Page) -> Page:
    """The page of a race that has ended."""
    page = same_page
    page.get_by_label("Steps", exact=True).fill(str(STEPS))
    page.get_by_label("Steps", exact=True).press("Tab")
    page.click("#race-button")
    expect(page.locator("#status .state")).to_have_text("finished")
    expect(page.locator("#adapters button").first).to_be_visible()
    return page


def taken(page: Page, press: str) -> tuple[str, bytes]:
    """Press what starts a download; return the file's name and content."""
    with page.expect_download() as download:
        page.locator(press).click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def of_chart(page: Page, kind: str, figure: str = "#loss-figure") -> tuple[str, bytes]:
    page.locator(f"{figure} .figure-save > button").click()
    return taken(page, f"{figure} [data-kind={kind}]")


def opened(browser: Browser, path: Path, plots: int, scheme: str = "light") -> list[str]:
    """Open a file from the disk without a network; return the titles of the charts in it."""
    context = browser.new_context(color_scheme=scheme, offline=True)
    reader = context.new_page()
    asked: list[str] = []
    errors: list[str] = []
    reader.on("request", lambda request: asked.append(request.url))
    reader.on("pageerror", lambda error: errors.append(str(error)))
    reader.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    reader.goto(path.as_uri())
    # Its policy forbids eval, with which Playwright would wait for a function.
    expect(reader.locator(".js-plotly-plot .gridlayer path").nth(plots - 1)).to_be_attached()
    expect(reader.locator(".js-plotly-plot")).to_have_count(plots)
    color = reader.evaluate("getComputedStyle(document.body).backgroundColor")
    assert color == {"light": "rgb(251, 250, 248)", "dark": "rgb(18, 21, 27)"}[scheme]
    titles = reader.locator(".figure-head h2 > span:first-child").all_text_contents()
    assert set(reader.evaluate(TAB_STOPS)) == {1}
    context.close()
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert errors == []
    return titles


def test_a_chart_goes_home_as_a_picture_a_page_and_its_numbers(raced: Page, browser: Browser, tmp_path: Path) -> None:
    page = raced
    name, picture = of_chart(page, "png")
    assert name == "loss.png"
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")

    name, text = of_chart(page, "csv")
    assert name == "loss.csv"
    header, *rows = csv.reader(io.StringIO(text.decode(), newline=""))
    assert header == ["curve", "step", "loss, nats"]
    drawn = page.evaluate(
        "document.querySelector('#loss-figure .js-plotly-plot').data"
        ".map((t) => [t.meta === 'raw' ? t.name + ', raw' : t.name, t.y])"
    )
    assert [float(row[2]) for row in rows] == [y for _, ys in drawn for y in ys]
    assert {row[0] for row in rows} == {name for name, _ in drawn}
    assert {row[1] for row in rows if row[0] == "OLoRA 3e-3, raw"} == {"1", "2", "3", "4"}

    name, text = of_chart(page, "json")
    assert name == "loss.json"
    assert json.loads(text)["columns"] == header
    assert len(json.loads(text)["rows"]) == len(rows)

    tab(page, "Spectra")
    page.locator("#spectra-map").scroll_into_view_if_needed()  # where its chart is drawn
    expect(page.locator("#spectra-map .js-plotly-plot")).to_be_visible()
    _, text = of_chart(page, "csv", "#spectra-map")
    header, *rows = csv.reader(io.StringIO(text.decode(), newline=""))
    assert header == ["layer", "step", "value"]
    assert rows[0][0] == "model.layers.0.self_attn.q_proj"
    assert all(float(value) > 0 for *_, value in rows)

    tab(page, "Loss")
    name, text = of_chart(page, "html")
    assert name == "loss.html"
    (tmp_path / name).write_bytes(text)
    for scheme in ("light", "dark"):
        assert opened(browser, tmp_path / name, 1, scheme) == ["Loss"]


def test_a_toolbar_of_a_chart_is_one_tab_stop_with_arrow_keys_within(raced: Page) -> None:
    page = raced
    focused = "document.activeElement.ariaLabel ?? document.activeElement.textContent"

    def press(*keys: str) -> str:
        for key in keys:
            page.keyboard.press(key)
        return page.evaluate(focused)

    page.locator(SAVE).focus()
    first = press("Tab")
    assert [press(key) for key in ("End", "ArrowRight", "ArrowLeft", "Home")] == ["Show all", first, "Show all", first]
    second = press("ArrowRight")
    assert second not in (first, "Show all")
    assert press("Tab").startswith("hide LoRA"), "the lanes are the next toolbar"
    assert press("End").startswith("hide PiSSA")
    lane = page.locator("#loss-figure .figure-lanes button:focus")
    page.keyboard.press("Enter")
    expect(lane).to_have_text("show PiSSA 1e-3")
    assert press("Shift+Tab") == second, "Tab comes back to where it was"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(lane).to_have_text("hide PiSSA 1e-3")
    page.keyboard.press("Tab")
    assert not page.evaluate("Boolean(document.activeElement.closest('#loss-figure'))")
    assert set(page.evaluate(TAB_STOPS)) == {1}


def test_the_menu_of_a_chart_is_used_by_keyboard_alone(raced: Page) -> None:
    page = raced
    button, menu = page.locator(SAVE), page.locator("#loss-figure [role=menu]")
    button.focus()
    expect(button).to_have_css("opacity", "1")
    expect(button).to_have_attribute("aria-haspopup", "menu")
    page.keyboard.press("Enter")
    expect(menu).to_be_visible()
    expect(button).to_have_attribute("aria-expanded", "true")
    expect(menu.locator("[data-kind=png]")).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(menu.locator("[data-kind=json]")).to_be_focused()
    page.keyboard.press("Escape")
    expect(menu).to_be_hidden()
    expect(button).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.suggested_filename == "loss.csv"
    expect(button).to_be_focused()


def test_after_a_race_the_bar_of_a_laptop_still_has_one_row(raced: Page) -> None:
    screen = raced.viewport_size
    assert screen
    raced.set_viewport_size({"width": 1280, "height": 800})
    raced.locator("#estimate .html-container > div").evaluate("(words) => { words.textContent = 'about 2 minutes'; }")
    expect(raced.locator("#show-run-button")).to_be_visible()
    assert raced.locator("#top-bar").evaluate("(bar) => bar.offsetHeight") < 70
    raced.set_viewport_size(screen)


def test_a_run_goes_home_as_numbers_code_and_a_report(raced: Page, browser: Browser, tmp_path: Path) -> None:
    page = raced
    files = {kind: taken(page, f"#take [data-kind={kind}]") for kind in ("csv", "json", "code", "peft")}
    assert files["csv"][0] == "glassllm-number-words.csv"
    rows = list(csv.DictReader(io.StringIO(files["csv"][1].decode(), newline="")))
    assert len(rows) == STEPS * 3
    told = json.loads(files["json"][1])
    by_lane = {(row["step"], row["lane"]): float(row["loss"]) for row in rows}
    assert by_lane == {
        (str(step["step"]), lane): loss for step in told["steps"] for lane, loss in step["loss"].items()
    }
    compile(files["code"][1], "code", "exec")
    compile(files["peft"][1], "peft", "exec")

    name, text = taken(page, "#take [data-kind=report]")
    assert name == "glassllm-number-words.html"
    (tmp_path / name).write_bytes(text)
    titles = opened(browser, tmp_path / name, text.count(b"data-figure="), "dark")
    measured = {key for step in told["steps"] for key in step} & MEASURES.keys()
    in_another = {"eval_loss"}  # drawn with the training loss
    charted = {key for key in measured - in_another if MEASURES[key].record is None}
    assert {"loss", "eval_accuracy", "grad_norm"} <= charted
    assert {MEASURES[key].title for key in charted} <= set(titles)
    assert "Recorded" not in text.decode()

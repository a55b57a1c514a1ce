"""The page Decide in a real Chromium."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import pytest
from playwright.sync_api import Browser, Page, expect
from support.opened import press
from support.served import launched
from support.shared import SET_UP, visiting

import olora_viz as ov
from olora_viz.__main__ import main
from olora_viz.races.recipe_files import FILES, ROWS_FILE, TOOLS
from olora_viz.studies import budget
from olora_viz.studies import decide as deciding
from olora_viz.web import page as web
from olora_viz.web.guard.limits import Limits
from olora_viz.web.jobs.queue import Jobs


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that plans as on a slow machine: few races, which end in time whatever this one is busy with."""
    jobs = Jobs(folder=tmp_path_factory.mktemp("jobs"))
    timed, slow = budget._timing_of, {"setup": 0.5, "step": 0.15, "alone": 0.3, "example": 0.006}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deciding, "open_trials", lambda _: [])  # and end once these have run
        patch.setattr(budget, "_timing_of", lambda *of: replace(timed(*of), **slow))
        with launched(web.build(Limits(), jobs)) as url:
            yield url
    jobs.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The page of a new visitor of that server."""
    with visiting(browser.contexts[0], address) as visitor:
        yield visitor


def check_offline(browser: Browser, path: Path) -> None:
    """Check that a file of at most 2.5 MB draws its charts without a network or another file."""
    assert path.stat().st_size < 2_500_000
    page = path.with_suffix(".html")
    page.write_bytes(path.read_bytes())
    context = browser.new_context(offline=True)
    reader = context.new_page()
    errors: list[str] = []
    asked: list[str] = []
    reader.on("pageerror", lambda error: errors.append(str(error)))
    reader.on("request", lambda request: asked.append(request.url))
    reader.goto(page.as_uri())
    expect(reader.locator(".js-plotly-plot .gridlayer path").first).to_be_attached()
    context.close()
    assert (errors, asked) == ([], [page.as_uri()])


def test_the_charts_of_a_study_are_drawn_from_one_file(browser: Browser, tmp_path: Path) -> None:
    study = ov.Study().changed(race={"steps": 1, "eval_size": 4, "test_size": 4}, tune={"lr": (1e-3,)}, seeds=1)
    list(ov.run_study(study, tmp_path / "study"))
    assert main(["study", str(tmp_path / "study"), "--html", str(tmp_path / "charts.html")]) == 0
    check_offline(browser, tmp_path / "charts.html")


def test_in_a_browser_it_plans_races_and_stops_with_what_is_known(page: Page) -> None:
    # There may be no estimate yet.
    page.evaluate("document.querySelector('#estimate .html-container').innerHTML = '<div>words</div>'")
    expect(page.locator("#estimate")).to_be_visible()
    page.get_by_role("link", name="Decide", exact=True).click()
    for hidden in ("#lanes", "#race-button", "#estimate", "#loss-figure", "#presets"):
        expect(page.locator(hidden)).to_be_hidden()
    page.locator("#decide-inits").get_by_label("MiLoRA").uncheck()
    expect(page.get_by_label("May forget at most")).to_have_value("")  # a limit of 0 is the strictest one
    limit = page.locator("#decide-forget").get_by_role("textbox")
    limit.fill("-1")
    page.click("#decide-button")
    expect(page.locator("#decide-status")).to_contain_text("what may be forgotten, in nats, must be a number")
    limit.fill("")
    page.click("#decide-button")
    plan, starts = page.locator("#decide-plan"), page.locator("#decide-starts")
    expect(plan).to_contain_text("3 starts (LoRA, OLoRA, PiSSA)")
    expect(starts).to_contain_text("too few")
    expect(page.locator("#decide-headline")).to_contain_text("for now")
    press(page, "#decide-stop-button")
    expect(page.locator("#decide-status")).to_contain_text("stopped")
    expect(page.locator("#decide-headline")).to_contain_text("for now")
    expect(page.locator("#decide-take button").nth(0)).to_be_disabled()
    page.reload()
    page.get_by_role("link", name="Decide", exact=True).click()
    expect(page.locator("#decide-headline")).to_contain_text("for now")


def test_in_a_browser_it_decides_and_its_report_recipe_and_adapter_go_home(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    page = browser.contexts[0].new_page()
    page.goto(f"{address}/{SET_UP}")
    page.get_by_role("link", name="Decide", exact=True).click()
    page.locator("#decide-minutes input").click()
    page.get_by_role("option", name="1 minute").click()
    for other in ("PiSSA", "MiLoRA"):
        page.locator("#decide-inits").get_by_label(other, exact=True).uncheck()
    page.click("#decide-button")
    expect(page.locator("#decide-status .state")).to_have_text("finished")
    expect(page.locator("#decide-headline")).to_contain_text(re.compile("[Tt]ake "))
    files = {}
    for name in ("Take this adapter", "Report", "Recipe"):
        with page.expect_download() as download:
            page.locator("#decide-take").get_by_role("button", name=name).click()
        files[name] = Path(download.value.path())
    with ZipFile(files["Take this adapter"]) as adapter:
        assert "adapter/adapter_config.json" in adapter.namelist()
    with ZipFile(files["Recipe"]) as recipe:
        assert {f"recipe/{name}" for name in (*FILES, ROWS_FILE)} <= {*recipe.namelist()}
        script = recipe.read("recipe/peft.py").decode()
    card = page.locator("#decide-recipe")
    tabs, shown = card.get_by_role("tab"), card.locator("[role=tabpanel]:visible")
    assert tabs.all_text_contents() == [*TOOLS.values()]
    assert shown.locator("pre").text_content() == script
    card.get_by_role("tab", name="Axolotl").click()
    expect(shown.locator("code")).to_have_text("axolotl.yaml")  # one file is shown
    expect(shown).to_have_count(1)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    shown.get_by_role("button").click()
    expect(shown.get_by_role("button")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == shown.locator("pre").text_content()
    card.get_by_role("tab", name="Axolotl").focus()
    for key, tool in (
        ("ArrowRight", "LLaMA-Factory"),
        ("End", "Unsloth"),
        ("ArrowRight", "PEFT"),
        ("ArrowLeft", "Unsloth"),
    ):
        page.keyboard.press(key)
        expect(card.get_by_role("tab", selected=True)).to_have_text(tool)
        expect(card.get_by_role("tab", name=tool)).to_be_focused()
        expect(card.get_by_role("tabpanel", name=tool)).to_be_visible()
        expect(shown).to_have_count(1)
    assert card.locator("[role=tab][tabindex='0']").count() == 1
    assert f"olora_viz {ov.__version__}" in files["Report"].read_text("utf-8")
    check_offline(browser, files["Report"])
    report = browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 700}).new_page()
    named = shutil.copy(files["Report"], tmp_path / "report.html")  # a download has no suffix
    report.goto(named.as_uri())
    shown = report.locator(".tabs > div:visible")
    assert shown.locator("pre").text_content() == script
    report.get_by_role("radio", name="PEFT").focus()
    report.keyboard.press("ArrowRight")
    expect(report.get_by_role("radio", name="TRL")).to_be_checked()
    assert shown.locator("code").all_text_contents() == ["trl.py"]
    assert report.evaluate("document.documentElement.scrollWidth") <= 390
    report.emulate_media(media="print")
    assert shown.count() == len(FILES)
    report.context.close()
    page.route(re.compile("component_server"), lambda route: route.abort())
    page.locator("#decide-take").get_by_role("button", name="Report").click()
    expect(page.locator("#decide-take [role=status]")).to_contain_text("export failed")

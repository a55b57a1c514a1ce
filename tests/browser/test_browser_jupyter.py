"""The panels in a real JupyterLab in a real Chromium: nothing from any other host."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from nbformat.sign import NotebookNotary
from playwright.sync_api import Browser, Page, expect
from support.served import ROOT, end, free_port, wait_for

CELLS = (
    """import olora_viz as ov
from olora_viz.notebook import RacePanel, SpectrumPanel
lanes = (ov.Lane("lora", r=2), ov.Lane("olora", r=2))
a = RacePanel(ov.RaceConfig(lanes=lanes, steps=2000, batch_size=4, eval_size=4))
a""",
    """b = RacePanel(ov.RaceConfig(lanes=lanes[1:], steps=6, batch_size=4, eval_size=4))
b""",
    """s = SpectrumPanel("glassllm", ["olora"], r=4)
s""",
    """print("a has", a.steps["step"].max(), a.state, "b has", len(b.history), b.state)""",
    """c = RacePanel(ov.RaceConfig(lanes=lanes, steps=2000, batch_size=4, eval_size=4))
c""",
    """c.start()
c.result()
print(f"it is {c.state}")""",
    """c.resume()
c.result()""",
    """from itertools import islice
c.resume()
c.result()
as_one = list(islice(ov.race(c.config), len(c.history)))
print(f"it is {c.state}, as in one go: {c.history == as_one}")""",
    """from olora_viz.notebook import DecidePanel
DecidePanel(task="sentimant", compare=("olora",), minutes=1, search=())""",
)


READY = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status == 'idle'"
"""JavaScript that says whether the kernel of the open notebook waits for a cell."""


@dataclass
class JupyterLab:
    """A running JupyterLab."""

    url: str
    folder: Path
    """Where its notebooks are."""
    token: str = "only-for-this-test"

    def address_of(self, notebook: str, workspace: str = "default") -> str:
        """Return the address that opens one of its notebooks."""
        return f"{self.url}/lab/workspaces/{workspace}/tree/{notebook}?token={self.token}"


@contextmanager
def jupyterlab(home: Path, seconds: float = 60) -> Iterator[JupyterLab]:
    """Start a JupyterLab with settings of its own, and end it."""
    port = free_port()
    names = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
    own = {f"JUPYTER_{name}": str(home / name.lower()) for name in names}
    own |= {f"JUPYTERLAB_{name}": str(home / name.lower()) for name in ("SETTINGS_DIR", "WORKSPACES_DIR")}
    quiet = home / "settings_dir" / "@jupyterlab" / "apputils-extension"
    quiet.mkdir(parents=True)
    (quiet / "notification.jupyterlab-settings").write_text(
        json.dumps({"fetchNews": "false", "checkForUpdates": False})
    )
    environment = (
        os.environ | own | {"IPYTHONDIR": str(home / "ipython"), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    )
    lab = JupyterLab(f"http://127.0.0.1:{port}", home / "notebooks")
    lab.folder.mkdir()
    process = subprocess.Popen(
        [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root",
            "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
            f"--IdentityProvider.token={lab.token}", f"--ServerApp.root_dir={lab.folder}",
            "--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly",
        ],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(f"{lab.url}/api?token={lab.token}", process, seconds)
        yield lab
    finally:
        end(process)


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[JupyterLab]:
    """Start a JupyterLab with settings of its own, and end it with the tests."""
    with jupyterlab(tmp_path_factory.mktemp("jupyter")) as started:
        yield started


class Notebook:
    """A notebook that is open in the browser."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def run(self, command: str) -> None:
        """Let JupyterLab execute a command of its own, and wait for its end."""
        self.page.evaluate("name => window.jupyterapp.commands.execute(name).then(() => 0)", command)

    def cell(self, i: int):
        return self.page.locator(".jp-NotebookPanel-notebook .jp-CodeCell").nth(i)

    def run_cell(self, i: int) -> None:
        """Run one cell, wait until it has ended, and look at it: JupyterLab draws no output that is not in view."""
        self.begin_cell(i)
        expect(self.cell(i).locator(".jp-InputPrompt")).to_contain_text(re.compile(r"\d"))
        self.cell(i).evaluate("cell => cell.scrollIntoView({block: 'start'})")

    def begin_cell(self, i: int) -> None:
        """Run one cell, without waiting."""
        self.page.evaluate(
            """i => {
                window.jupyterapp.shell.currentWidget.content.activeCellIndex = i;
                window.jupyterapp.commands.execute("notebook:run-cell");
            }""",
            i,
        )

    def said(self, i: int):
        """Return what a cell printed, and its error."""
        return self.cell(i).locator(".jp-OutputArea-output").last

    def points(self, i: int) -> int:
        """Count the points of the first curve of the chart of the loss in a cell's output."""
        script = "plot => plot.data?.[0]?.y?.length ?? 0"
        return self.plot(i).evaluate(script)

    def steps(self, i: int) -> int:
        """Return the steps that the status of a panel names; its charts may be drawn later."""
        return int(self.status(i).locator("b").inner_text())

    def plot(self, i: int):
        """Return the chart of the loss, or of the singular values."""
        charts = self.cell(i).locator(':is([data-chart="loss"], [data-chart="singular"])')
        return charts.locator(".js-plotly-plot")

    def wait_for_points(self, i: int, count: int) -> None:
        script = "([plot, n]) => (plot.data?.[0]?.y?.length ?? 0) >= n"
        self.page.wait_for_function(script, arg=[self.plot(i).element_handle(), count])

    def press(self, i: int, name: str) -> None:
        self.cell(i).get_by_role("button", name=name).click()

    def status(self, i: int):
        return self.cell(i).locator(".status")


@pytest.fixture(scope="module")
def page(browser: Browser, lab: JupyterLab) -> Iterator[Page]:
    address, folder = lab.url, lab.folder
    made = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(code) for code in CELLS],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    nbformat.write(made, folder / "panels.ipynb")
    context = browser.new_context(viewport={"width": 1500, "height": 4000})
    visitor = context.new_page()
    elsewhere: list[str] = []
    ours = (address, address.replace("http", "ws"), "data:", "blob:")
    visitor.on("request", lambda r: None if r.url.startswith(ours) else elsewhere.append(r.url))
    visitor.goto(lab.address_of("panels.ipynb"))
    visitor.wait_for_function(READY)
    yield visitor
    context.close()
    assert elsewhere == []


@pytest.fixture(scope="module")
def notebook(page: Page) -> Notebook:
    """Run the three cells that show panels."""
    opened = Notebook(page)
    for i in range(3):
        opened.run_cell(i)
        expect(opened.cell(i).locator(".jp-InputPrompt")).to_contain_text(f"{i + 1}")
        opened.plot(i).wait_for()
    return opened


FIGURES = (
    """import olora_viz as ov
ov.plot_race(ov.load_recording("one-rate"))""",
    """ov.plot_rates(ov.load_recording("fair-rates"), theme="dark")""",
)
"""Cells with figures that need no race."""

WIDTHS = """() => [...document.querySelectorAll(".jp-RenderedPlotly")].map(cell => [
    cell.clientWidth, cell.scrollWidth, cell.querySelector(".main-svg")?.getBoundingClientRect().width ?? 0,
    cell.querySelector(".plot-img").clientWidth])"""
"""JavaScript that returns of every figure the widths of its cell, of all in it, of its chart, and of its picture."""


def test_a_figure_is_a_chart_at_once_and_as_wide_as_its_cell_also_in_a_reopened_notebook(
    browser: Browser, lab: JupyterLab
) -> None:
    made = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(code) for code in FIGURES],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    nbformat.write(made, lab.folder / "figures.ipynb")
    with browser.new_context(viewport={"width": 1300, "height": 900}) as context:
        page = context.new_page()
        page.goto(lab.address_of("figures.ipynb", workspace="figures"))
        page.wait_for_function(READY)
        opened = Notebook(page)
        for i in range(len(FIGURES)):
            opened.run_cell(i)
            page.mouse.move(5, 5)
            opened.cell(i).locator(".main-svg").first.wait_for()
        for width in (1700, 1300, 900, 620):
            page.set_viewport_size({"width": width, "height": 900})
            chart_fits = f"{WIDTHS[6:]}.every(([cell, all, chart]) => all <= cell && Math.abs(chart - cell) <= 1)"
            page.wait_for_function(chart_fits)
            assert [picture for *_, picture in page.evaluate(WIDTHS)] == [0, 0]
        page.set_viewport_size({"width": 1300, "height": 900})
        page.wait_for_function(f"{WIDTHS[6:]}.every(([cell, _, chart]) => cell > 600 && chart > 600)")
        opened.run("docmanager:save")
    with browser.new_context(viewport={"width": 800, "height": 900}) as context:
        page = context.new_page()
        page.goto(lab.address_of("figures.ipynb", workspace="narrow"))
        page.locator(".jp-RenderedPlotly").first.wait_for()
        fits = "(([cell, all, chart, picture]) => all <= cell && Math.max(chart, picture) > cell / 2)"
        page.wait_for_function(f"{WIDTHS[6:]}.every{fits}")


def ranges(notebook: Notebook, i: int) -> list[float]:
    return notebook.plot(i).evaluate("plot => [...plot._fullLayout.xaxis.range]")


def test_points_arrive_a_zoom_survives_and_stop_stops(notebook: Notebook) -> None:
    notebook.press(0, "Race")
    notebook.wait_for_points(0, 3)
    expect(notebook.status(0)).to_contain_text("racing")
    box = notebook.plot(0).locator(".nsewdrag").first.bounding_box()
    assert box
    mouse = notebook.page.mouse
    # From where no curve has its name: on a name the mouse does not drag.
    mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.9 * box["height"])
    mouse.down()
    mouse.move(box["x"] + 0.02 * box["width"], box["y"] + 0.2 * box["height"], steps=8)
    mouse.up()
    notebook.page.wait_for_function(
        "plot => plot._fullLayout.xaxis.range[1] < 1000", arg=notebook.plot(0).element_handle()
    )
    zoomed = ranges(notebook, 0)
    before = notebook.points(0)
    notebook.wait_for_points(0, before + 5)
    assert ranges(notebook, 0) == pytest.approx(zoomed)

    notebook.press(0, "Stop")
    expect(notebook.status(0)).to_contain_text("stopped")
    ended = notebook.steps(0)
    notebook.wait_for_points(0, ended)
    notebook.page.wait_for_timeout(1000)
    assert notebook.points(0) == ended
    assert ranges(notebook, 0) == pytest.approx(zoomed)
    expect(notebook.status(0)).to_contain_text(f"{ended} / 2000")
    name = notebook.plot(0).locator(".xtitle").bounding_box()
    whole = notebook.cell(0).locator('[data-chart="loss"]').bounding_box()
    assert name
    assert whole
    assert name["y"] + name["height"] <= whole["y"] + whole["height"]


def test_two_panels_do_not_mix_and_a_later_cell_looks_at_both(notebook: Notebook, lab: JupyterLab) -> None:
    ended = notebook.points(0)
    notebook.press(1, "Race")
    expect(notebook.status(1)).to_contain_text("finished")
    notebook.wait_for_points(1, 6)
    assert notebook.points(1) == 6
    assert notebook.points(0) == ended
    expect(notebook.status(0)).to_contain_text("stopped")
    notebook.press(1, "Export")
    expect(notebook.cell(1)).to_contain_text("from step 6, is in adapters/olora.")
    assert (lab.folder / "adapters" / "olora" / "adapter_model.safetensors").is_file()
    notebook.run_cell(3)
    words = f"a has {ended} stopped b has 6 finished"
    expect(notebook.cell(3).locator(".jp-OutputArea-output")).to_contain_text(words)


def test_pause_acts_while_a_cell_waits_for_the_race(notebook: Notebook) -> None:
    notebook.run_cell(4)
    notebook.plot(4).wait_for()
    notebook.begin_cell(5)
    notebook.wait_for_points(4, 2)
    notebook.press(4, "Pause")
    expect(notebook.said(5)).to_have_text("it is paused\n")
    expect(notebook.status(4)).to_contain_text("paused")


def test_a_race_goes_on_bitwise_after_an_interrupt_of_the_kernel(notebook: Notebook) -> None:
    seen = notebook.steps(4)
    notebook.begin_cell(6)
    notebook.wait_for_points(4, seen + 2)
    notebook.run("kernelmenu:interrupt")
    expect(notebook.said(6)).to_contain_text("panel.resume() continues it")
    expect(notebook.status(4)).to_contain_text("the kernel was interrupted")
    seen = notebook.steps(4)
    notebook.page.wait_for_timeout(1000)  # right after an error a kernel refuses what was queued
    notebook.begin_cell(7)
    notebook.wait_for_points(4, seen + 2)
    notebook.press(4, "Stop")
    expect(notebook.said(7)).to_have_text("it is stopped, as in one go: True\n")


def test_a_chart_is_saved_from_the_menu_at_its_head(notebook: Notebook) -> None:
    head = notebook.cell(1).locator('[data-chart="loss"] .figure-save')
    head.locator("button").first.click()
    with notebook.page.expect_download() as download:
        head.locator('[data-kind="csv"]').click()
    text = Path(download.value.path()).read_text(encoding="utf-8")
    assert len(text.splitlines()) >= 7


def test_a_slider_moves_a_chart(notebook: Notebook) -> None:
    lengths = "plot => plot.data.map(trace => trace.y.length)"
    assert min(notebook.plot(2).evaluate(lengths)) == 4
    notebook.cell(2).locator("input[type=range]:visible").focus()
    notebook.page.keyboard.press("ArrowRight")
    notebook.page.wait_for_function(
        "plot => Math.min(...plot.data.map(trace => trace.y.length)) === 5", arg=notebook.plot(2).element_handle()
    )


def test_the_saved_notebook_shows_the_last_state_without_a_kernel(
    notebook: Notebook, browser: Browser, lab: JupyterLab
) -> None:
    ended = notebook.points(0)
    assert not notebook.cell(0).locator(".jp-RenderedImage").first.is_visible()
    for _ in range(50):  # the picture follows the slider a moment later
        notebook.run("docmanager:save")
        saved = nbformat.read(lab.folder / "panels.ipynb", as_version=4)
        if "rank 5" in str(saved.cells[2].outputs):
            break
        time.sleep(0.2)
    nbformat.validate(saved)
    for i, words in enumerate(
        (f"RacePanel: stopped, step {ended} of 2000", "RacePanel: finished, step 6 of 6",
         "SpectrumPanel: glassllm, model.layers.0.self_attn.q_proj, rank 5")
    ):  # fmt: skip
        stills = [o for o in saved.cells[i].outputs if "image/png" in o.get("data", {})]
        assert len(stills) == 1
        assert words in stills[0].data["text/plain"]
        assert len(stills[0].data["image/png"]) > 10_000
    assert (lab.folder / "panels.ipynb").stat().st_size < 1_500_000
    assert "@license" not in json.dumps(saved), "plotly.js is saved in the notebook"

    made = nbformat.from_dict({**saved, "metadata": {**saved.metadata, "kernelspec": {
        "name": "none", "display_name": "None"}}})  # fmt: skip
    nbformat.write(made, lab.folder / "read.ipynb")
    NotebookNotary(data_dir=str(lab.folder.parent / "data_dir")).sign(made)  # it is the reader's
    context = browser.new_context(viewport={"width": 1500, "height": 3000})
    reader = context.new_page()
    reader.goto(lab.address_of("read.ipynb", workspace="reader"))
    picture = reader.locator(".jp-CodeCell").first.locator(".jp-RenderedImage img")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.naturalWidth") > 700
    expect(reader.get_by_text("Loading widget...").first).to_be_hidden()
    context.close()


def test_a_decision_is_stopped_with_the_best_answer_so_far(notebook: Notebook) -> None:
    notebook.run_cell(8)
    panel = notebook.cell(8)
    notebook.press(8, "Decide")
    expect(panel).to_contain_text("unknown task 'sentimant'; did you mean 'sentiment'?")
    task = panel.locator("label", has=notebook.page.get_by_text("Task", exact=True))
    task = task.locator("input")
    task.fill("sentiment")
    task.press("Tab")
    notebook.press(8, "Decide")
    expect(panel).to_contain_text("2 starts (LoRA, OLoRA)")
    expect(panel.locator("table").first).to_contain_text(re.compile(r"\de-\d"))
    notebook.press(8, "Stop")
    expect(notebook.status(8)).to_contain_text("stopped")
    expect(panel).to_contain_text(re.compile("for now|Until then"))  # which, depends on what it has learned by then
    expect(panel.get_by_role("button", name="Continue")).to_be_enabled()


def test_after_a_restart_of_the_kernel_a_panel_says_what_to_do(notebook: Notebook) -> None:
    lost = notebook.cell(0).get_by_text("The kernel was restarted: run the cell again.")
    expect(lost).to_be_hidden()
    notebook.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    expect(lost).to_be_visible()

"""The panels in marimo, in a real Chromium: nothing from any other host."""

import os
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Browser, expect
from support.served import ROOT, end, free_port, wait_for

NOTEBOOK = """import marimo
app = marimo.App(width="full")

@app.cell
def _():
    import marimo as mo
    import olora_viz as ov
    from olora_viz.notebook import RacePanel, SpectrumPanel
    return RacePanel, SpectrumPanel, mo, ov

@app.cell
def _(RacePanel, mo, ov):
    lanes = (ov.Lane("lora", r=2), ov.Lane("olora", r=2))
    panel = mo.ui.anywidget(RacePanel(ov.RaceConfig(lanes=lanes, steps=6, batch_size=4, eval_size=4)))
    panel
    return (panel,)

@app.cell
def _(mo, panel):
    mo.md(f"the state is {panel.value['state']}")
    return

@app.cell
def _(SpectrumPanel, mo):
    spectrum = mo.ui.anywidget(SpectrumPanel("glassllm", ["olora"], r=4))
    spectrum
    return (spectrum,)

@app.cell
def _(mo, spectrum):
    mo.md(f"the rank is {spectrum.value['rank']}")
    return
"""


def test_a_panel_races_to_the_end_and_a_cell_follows_a_trait(browser: Browser, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "panels.py").write_text(NOTEBOOK)
    process = subprocess.Popen(
        [sys.executable, "-m", "marimo", "run", "panels.py", "--headless", "--no-token",
         "--host", "127.0.0.1", "--port", str(port)],
        cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    context = browser.new_context(viewport={"width": 1400, "height": 3000}, color_scheme="dark")
    elsewhere: list[str] = []
    try:
        wait_for(f"{url}/health", process, 60)
        page = context.new_page()
        ours = (url, url.replace("http", "ws"), "data:", "blob:")
        page.on("request", lambda r: None if r.url.startswith(ours) else elsewhere.append(r.url))
        page.goto(url)
        page.get_by_role("button", name="Race").click()
        expect(page.locator(".status").first).to_contain_text("finished")
        expect(page.get_by_text("the state is finished")).to_be_visible()
        loss = page.locator('[data-chart="loss"] .js-plotly-plot')
        drawn = "plot => plot.data?.[0]?.y.length === 6"
        page.wait_for_function(drawn, arg=loss.element_handle())  # after the words
        assert page.locator(".olora-viz").first.get_attribute("data-theme") == "light"
        page.locator('[data-part="rank"] input').focus()
        page.keyboard.press("ArrowRight")
        expect(page.get_by_text("the rank is 5")).to_be_visible()
    finally:
        context.close()
        end(process)
    assert elsewhere == []

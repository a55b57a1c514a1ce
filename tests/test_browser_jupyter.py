"""The panels in a real JupyterLab in a real Chromium: nothing from any other host."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Browser, Page, expect

ROOT = Path(__file__).parents[1]

TOKEN = "only-for-this-test"

CELLS = (
    """import olora_viz as ov
from olora_viz.notebook import RacePanel, SpectrumPanel
lanes = (ov.Lane("lora", r=2), ov.Lane("olora", r=2))
a = RacePanel(ov.RaceConfig(lanes=lanes, steps=2000, batch_size=4, eval_size=4))
a""",
    """b = RacePanel(ov.RaceConfig(lanes=lanes[1:], steps=6, batch_size=4, eval_size=4, eval_every=2))
b""",
    """s = SpectrumPanel("glassllm", ["olora"], r=4)
s""",
    """print("a has", a.steps["step"].max(), a.state, "b has", len(b.history), b.state)""",
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """Start a JupyterLab with settings of its own, and end it with the tests."""
    home = tmp_path_factory.mktemp("jupyter")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    names = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
    own = {f"JUPYTER_{name}": str(home / name.lower()) for name in names}
    own |= {f"JUPYTERLAB_{name}": str(home / name.lower()) for name in
            ("SETTINGS_DIR", "WORKSPACES_DIR")}  # fmt: skip
    quiet = home / "settings_dir" / "@jupyterlab" / "apputils-extension"
    quiet.mkdir(parents=True)
    (quiet / "notification.jupyterlab-settings").write_text(
        json.dumps({"fetchNews": "false", "checkForUpdates": False})
    )
    environment = os.environ | own | {
        "IPYTHONDIR": str(home / "ipython"), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    folder = home / "notebooks"
    folder.mkdir()
    server = subprocess.Popen(
        [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root",
            "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
            f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={folder}",
            "--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly",
        ],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait_for(f"http://127.0.0.1:{port}/api?token={TOKEN}", server)
        yield f"http://127.0.0.1:{port}", folder
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(timeout=15)
        except subprocess.TimeoutExpired:
            server.kill()


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(300):
        assert server.poll() is None, "JupyterLab ended before its page was there"
        try:
            opener.open(url, timeout=2).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise TimeoutError("JupyterLab did not answer")


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
        """Run one cell and wait until it has ended."""
        self.cell(i).locator(".cm-content").click()
        self.run("notebook:run-cell")

    def points(self, i: int) -> int:
        """Count the points of the first curve of the first chart in a cell's output."""
        script = "plot => plot.data?.[0]?.y?.length ?? 0"
        return self.plot(i).evaluate(script)

    def plot(self, i: int):
        return self.cell(i).locator(".js-plotly-plot").first

    def wait_for_points(self, i: int, count: int) -> None:
        script = f"([plot, n]) => (plot.data?.[0]?.y?.length ?? 0) >= n"
        self.page.wait_for_function(script, arg=[self.plot(i).element_handle(), count])

    def press(self, i: int, name: str) -> None:
        self.cell(i).get_by_role("button", name=name).click()

    def status(self, i: int):
        return self.cell(i).locator(".status")


@pytest.fixture(scope="module")
def page(browser: Browser, lab: tuple[str, Path]) -> Iterator[Page]:
    address, folder = lab
    made = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(code) for code in CELLS],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    nbformat.write(made, folder / "panels.ipynb")
    context = browser.new_context(viewport={"width": 1500, "height": 3000})
    visitor = context.new_page()
    visitor.set_default_timeout(60_000)
    elsewhere: list[str] = []
    ours = (address, address.replace("http", "ws"), "data:", "blob:")
    visitor.on(
        "request", lambda r: None if r.url.startswith(ours) else elsewhere.append(r.url)
    )
    visitor.goto(f"{address}/lab/tree/panels.ipynb?token={TOKEN}")
    visitor.wait_for_function(
        "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status == 'idle'"
    )
    yield visitor
    context.close()
    assert elsewhere == []

"""A race in a page in Chromium and Firefox, from a folder and from a server, which asks for nothing else.

None of them needs frames or timers, so that one goes on in a hidden tab.
"""

import functools
import http.server
import json
import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright
from support.needs import NEEDS_JAX
from support.nightly import at_night
from support.shared import FLAGS

import olora_viz as ov
from olora_viz.web.site import live_script
from olora_viz.web.site.live_data import live_data

pytestmark = NEEDS_JAX
FIREFOX = shutil.which("firefox-esr")

STEPS = 10
LANES = (ov.Lane("lora"), ov.Lane("olora", lr=3e-3), ov.Lane("random_orthonormal", r=4))
PAGE = """<!doctype html><meta charset="utf-8"><title>A race</title><link rel="icon" href="data:,">
<script type="application/json" id="data">{data}</script><script src="live.js"></script>
<script>
const data = JSON.parse(document.getElementById("data").textContent), heard = [];
const lanes = {lanes};
const told = new URLSearchParams(location.search).get("tell");
let end;
const ended = new Promise((done) => (end = done));
oloraLive.startRace({{ data, lanes, steps: {steps}, evalEvery: 5, task: "sentiment" }}, (each) => {{
  heard.push(each);
  if (!["done", "error"].includes(each.kind)) return;
  end();
  if (!told) return;
  const body = JSON.stringify(heard.filter(({{ kind }}) => kind === "step" || kind === "error"));
  fetch(told, {{ method: "POST", mode: "no-cors", body }});
}});
</script>"""

HIDDEN = "for (const late of ['requestAnimationFrame', 'setTimeout', 'setInterval']) globalThis[late] = () => 0;"
"""In a hidden tab no frame is drawn and timers are late: here neither ever comes, in the page and in its workers."""


class SilentFiles(http.server.SimpleHTTPRequestHandler):
    told: queue.Queue[bytes] = queue.Queue()
    """What pages have sent."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        self.told.put(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("live")
    lanes = [{"init": lane.init, "lr": lane.lr, "r": lane.r} for lane in LANES]
    page = PAGE.format(data=live_data(["sentiment"]), lanes=json.dumps(lanes), steps=STEPS)
    (made / "index.html").write_text(page, "utf-8")
    begins = '"use strict";'
    script = (live_script.live_script() or "").replace(begins, begins + HIDDEN, 1)
    assert HIDDEN in script
    (made / "live.js").write_text(script, "utf-8")
    return made


@pytest.fixture
def server(folder: Path) -> Iterator[str]:
    files = functools.partial(SilentFiles, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), files) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


@pytest.fixture
def address(request: pytest.FixtureRequest, folder: Path, server: str) -> str:
    return (folder / "index.html").as_uri() if request.param == "file" else f"{server}/index.html"


@pytest.fixture(scope="module")
def ours() -> list[Any]:
    return list(ov.race(ov.RaceConfig(lanes=LANES, steps=STEPS)))


@pytest.mark.parametrize("address", ["file", *at_night("http")], indirect=True)
def test_three_lanes_race_in_a_page_as_in_python(browser: Browser, address: str, ours: list[Any]) -> None:
    page = browser.new_page()
    requested, errors = [], []
    page.on("request", lambda request: requested.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(address)
    page.evaluate("ended")
    heard = page.evaluate('heard.filter((each) => each.kind !== "done")')
    steps = [message for message in heard if message["kind"] == "step"]
    assert len(steps) == STEPS, heard[-1]
    for theirs, step in zip(steps, ours, strict=True):
        assert theirs["loss"] == pytest.approx(step.loss.tolist(), abs=1e-4)
    assert steps[-1]["evalLoss"] == pytest.approx(ours[-1].eval_loss.tolist(), abs=1e-4)
    assert page.evaluate('heard.at(-1).lanes[1].now["model.layers.0.mlp.down_proj"].A instanceof Float32Array')
    elsewhere = [url for url in requested if not url.startswith(("data:", "blob:"))]
    assert elsewhere == [address, address.replace("index.html", "live.js")]
    assert errors == []
    page.close()


@pytest.mark.nightly
def test_a_gpu_trains_as_webassembly_does(program: str, folder: Path, server: str) -> None:
    """Chromium's own processor stands in for one here, a hundred times slower than WebAssembly: two rows a batch."""
    (folder / "bare.html").write_text('<!doctype html><script src="live.js"></script>', "utf-8")
    data = json.loads(live_data(["sentiment"])) | {"batchSize": 2}
    data["tasks"]["sentiment"]["heldOut"][2:] = []
    lanes = [{"init": "olora", "lr": 3e-3, "r": 4}]
    asked = {"data": data, "lanes": lanes, "steps": 2, "evalEvery": 0, "task": "sentiment"}
    race = """([asked, use]) => new Promise((done) => {
        const heard = [];
        oloraLive.startRace(asked, ({ lanes, ...each }) => {
            heard.push(each);
            if (["done", "error"].includes(each.kind)) done(heard);
        }, { use, isTried: true });
    })"""
    with sync_playwright() as playwright:
        gpu = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"]
        chromium = playwright.chromium.launch(executable_path=program, args=[*FLAGS, *gpu])
        page = chromium.new_page()
        page.goto(f"{server}/bare.html")
        of_gpu, of_wasm = (page.evaluate(race, [asked, use]) for use in (True, False))
        chromium.close()
    devices = [each["device"] for heard in (of_gpu, of_wasm) for each in heard if each["kind"] == "ready"]
    assert devices == ["webgpu", "wasm"]
    assert [each["kind"] for each in of_gpu] == ["starting", "ready", "step", "step", "done"]
    for theirs, ours in zip(of_gpu[2:4], of_wasm[2:4], strict=True):
        for key in ("loss", "gradNorm"):
            assert theirs[key] == pytest.approx(ours[key], rel=1e-4)
    assert of_gpu[3]["evalLoss"] == pytest.approx(of_wasm[3]["evalLoss"], abs=1e-4)


@pytest.mark.skipif(not os.environ.get("CI") and not FIREFOX, reason="needs firefox-esr")
@pytest.mark.parametrize("address", ["http", *at_night("file")], indirect=True)
def test_firefox_trains_the_same(address: str, server: str, ours: list[Any], tmp_path: Path) -> None:
    assert FIREFOX
    page = f"{address}?tell={server}/told"
    started = subprocess.Popen(
        [FIREFOX, "--headless", "--no-remote", "--profile", tmp_path, page],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        steps = json.loads(SilentFiles.told.get(timeout=240))
    finally:
        started.terminate()
        started.wait(timeout=60)
    assert len(steps) == STEPS, steps[-1]
    for theirs, step in zip(steps, ours, strict=True):
        assert theirs["loss"] == pytest.approx(step.loss.tolist(), abs=1e-4)

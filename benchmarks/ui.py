"""What a visitor waits for, in a real Chromium, beside a server that races on the same machine.

Seconds from opening the page to its first meaningful screen (the recorded race is drawn), seconds
from Race to the first point (the held-out accuracy at step 0) and to the first step, updates a
second while the default race runs, bytes an update early
and late in the race (they should not grow), and on the Spectrum page milliseconds from a press of
an arrow key on the rank's slider to the new curves (the page at rest before each press).

    python benchmarks/ui.py [--visits 3] [--steps 100] [--moves 12] [--json]
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from support.served import inherited, serve

FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
DRAWN = "document.querySelector('#loss-figure .js-plotly-plot')?.data?.some(t => t.y?.length > 10)"
COUNT = """() => {
  window.updates = [];
  window.point = 0;
  const curves = () => (document.querySelector('#accuracy-figure .js-plotly-plot')?.data ?? [])
    .filter((trace) => trace.mode === 'lines+markers');
  const points = () => Math.max(0, ...curves().map((trace) => trace.y?.length ?? 0));
  const recorded = points();
  const look = () => {
    if (points() > 0 && points() < recorded) window.point = performance.now();
    else requestAnimationFrame(look);
  };
  look();
  new MutationObserver(() => {
    const said = document.querySelector('#status :is(.racing, .finished) b');
    const step = Number(said?.textContent ?? 0);
    if (step !== window.updates.at(-1)?.[1]) window.updates.push([performance.now(), step]);
  }).observe(document.querySelector('#status'),
    { subtree: true, childList: true, characterData: true });
}"""


FIGURE = "document.querySelector('#spectrum-figure .js-plotly-plot')"
SLID = f"""() => {{
  window.moves = [];
  let pressed = 0;
  let rank = 0;
  document.addEventListener("keydown", () => {{ pressed = performance.now(); }}, true);
  {FIGURE}.on("plotly_afterplot", () => {{
    const points = {FIGURE}.data.find((trace) => trace.name === "OLoRA")?.y.length;
    if (pressed && points !== rank) window.moves.push(performance.now() - pressed);
    rank = points;
  }});
}}"""


def visit(browser: Browser, url: str, steps: int, moves: int) -> dict[str, float]:
    """Open the page as a new visitor, race, and count."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.set_default_timeout(120_000)
    received: list[tuple[float, int]] = []
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.dataReceived", lambda event: received.append((time.perf_counter(), int(event["dataLength"]))))
    began = time.perf_counter()
    page.goto(url)
    page.wait_for_function(DRAWN)
    screen = time.perf_counter() - began
    page.wait_for_timeout(1500)
    page.get_by_label("Steps", exact=True).fill(str(steps))
    page.get_by_label("Steps", exact=True).press("Tab")
    page.evaluate(COUNT)
    pressed, clock = time.perf_counter(), page.evaluate("performance.now()")
    page.click("#race-button")
    page.wait_for_function("document.querySelector('#status .state')?.innerText === 'finished'")
    finished = time.perf_counter()
    point = (page.evaluate("window.point") - clock) / 1000
    times = [at - clock for at, step in page.evaluate("window.updates") if step > 0]
    middle = pressed + (times[0] + times[-1]) / 2000
    early = sum(size for at, size in received if pressed + times[0] / 1000 < at <= middle)
    late = sum(size for at, size in received if middle < at <= pressed + times[-1] / 1000)
    half = max(1.0, len(times) / 2)
    page.get_by_role("link", name="Spectrum").click()
    page.wait_for_function(f"{FIGURE}?.data?.some((trace) => trace.name === 'OLoRA')")
    page.wait_for_timeout(1500)
    page.evaluate(SLID)
    page.locator("#spectrum-rank input[type=range]").focus()
    for count in range(1, moves + 1):
        page.keyboard.press("ArrowRight")
        page.wait_for_function(f"window.moves.length >= {count}")
        page.wait_for_timeout(500)  # the other charts of the page follow
    slid = page.evaluate("window.moves")
    context.close()
    return {
        "screen_s": screen,
        "first_point_s": point,
        "first_step_s": times[0] / 1000,
        "race_s": finished - pressed,
        "updates_per_s": 1000 * (len(times) - 1) / max(times[-1] - times[0], 1.0),
        "bytes_per_update_first_half": early / half,
        "bytes_per_update_second_half": late / half,
        "slide_median_ms": statistics.median(slid),
        "slide_worst_ms": max(slid),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--visits", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100, help="of the race")
    parser.add_argument("--moves", type=int, default=12, help="presses of an arrow key")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as home,
        serve(Path(home), inherited() | {"OMP_NUM_THREADS": ""}) as server,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS.split())
        visits = [visit(browser, server.url, options.steps, options.moves) for _ in range(options.visits)]
        browser.close()
    if options.json:
        for one in visits:
            print(json.dumps(one))
        return
    for name in visits[0]:
        each = [one[name] for one in visits]
        words = ", ".join(f"{value:.2f}" for value in each)
        print(f"{name:32} {statistics.median(each):10.2f}   of {words}")


if __name__ == "__main__":
    main()

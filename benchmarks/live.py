"""A race in the reader's browser: seconds and memory, in Chromium, without the drawing of a page.

Seconds to the base model's evaluation, to the end of the first update (everything is compiled), and to the end. The
processor's seconds are those of all threads of the processes which compute (Chromium's renderers), and of the busiest
thread, which other load changes less: a race takes at least as long as this thread, and as all of them on all cores.
The peak of memory is that of the same processes, looked at twice a second, in MB of 10⁶ bytes.

    python benchmarks/live.py [--lanes 3 9] [--eval-every 5] [--compiled] [--json]
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import psutil
from playwright.sync_api import Browser, sync_playwright

from olora_viz.web.site.live_data import live_data
from olora_viz.web.site.live_script import live_script

V = TypeVar("V")

RACE = """async ([n, evalEvery, compiled]) => {
  const lanes = Array.from({length: n}, (_, k) => (
    {init: ["lora", "olora", "pissa"][k % 3], r: 8, lr: [1e-3, 3e-4, 3e-3][Math.floor(k / 3) % 3]}));
  const asked = {data, lanes, steps: 60, evalEvery, task: "sentiment"};
  const times = {lanes: n};
  if (compiled) await oloraLive.compile(asked);
  return new Promise((resolve) => oloraLive.startRace(asked, ({kind, step, seconds, error}) => {
    if (kind === "ready") times.ready = seconds;
    if (step === 1) times.first = seconds;
    if (kind === "done" || kind === "error") resolve({...times, end: seconds, error});
  }));
}"""


def raced(browser: Browser, folder: Path, lanes: int, eval_every: int, *, compiled: bool) -> dict:
    """Race in a new page; its times, and the peak of the memory of what computes meanwhile."""
    page = browser.new_page()
    page.goto((folder / "index.html").as_uri())
    peaks, over = [0.0], threading.Event()
    watch = threading.Thread(target=lambda: [peaks.append(_memory()) for _ in iter(lambda: over.wait(0.5), True)])
    watch.start()
    before = _cpu()
    try:
        times = page.evaluate(RACE, [lanes, eval_every, compiled])
        spent = [seconds - before.get(thread, 0.0) for thread, seconds in _cpu().items()]
    finally:
        over.set()
        watch.join()
        page.close()
    return times | {"mb": max(peaks), "cpu": sum(spent), "thread": max(spent)}


def _memory() -> float:
    """Memory of the renderers, MB; what several share counts once."""
    return sum(_of_renderers(lambda process: process.memory_full_info().pss)) / 1e6


def _cpu() -> dict[int, float]:
    """Seconds of the processor of the renderers, by thread."""
    every = _of_renderers(lambda process: {t.id: t.user_time + t.system_time for t in process.threads()})
    return {thread: seconds for each in every for thread, seconds in each.items()}


def _of_renderers(what: Callable[[psutil.Process], V]) -> list[V]:
    """Ask about each renderer that this process has started."""
    known = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it has just ended
            if "--type=renderer" in process.cmdline():
                known.append(what(process))
    return known


def main() -> None:
    """Race each number of lanes, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lanes", type=int, nargs="+", default=[3, 9])
    parser.add_argument("--eval-every", type=int, default=5, help="0: only at the end")
    parser.add_argument("--compiled", action="store_true", help="after the workers have compiled, which is not timed")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    script = live_script()
    if script is None:
        raise SystemExit("the library jax-js is not in the clone: run npm ci there")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        (folder / "live.js").write_text(script, "utf-8")
        (folder / "data.js").write_text(f"globalThis.data = {live_data(['sentiment'])}", "utf-8")
        page = "<!doctype html><meta charset=utf-8><script src=live.js></script><script src=data.js></script>"
        (folder / "index.html").write_text(page, "utf-8")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for lanes in args.lanes:
            row = raced(browser, folder, lanes, args.eval_every, compiled=args.compiled)
            form = "{lanes} lanes: ready {ready:.1f} s, first update {first:.1f} s, end {end:.1f} s; "
            form += "processor {cpu:.1f} s, busiest thread {thread:.1f} s; {mb:.0f} MB"
            print(json.dumps(row) if args.json else form.format(**row), flush=True)
        browser.close()


if __name__ == "__main__":
    main()

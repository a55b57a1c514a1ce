"""A class at once: what each of many visitors waits for, and what they cost the server.

The visitors speak HTTP as the pages do: each opens the page, presses Race and follows the race to its end. Their
machine is the server's, so they take some of its time. Each has an address of its own.

- alone: one visitor with the page's default race, no browser
- link: all open the same link within some seconds
- setups: the same with five different set-ups
- browser: the same link, and one of the visitors is a real Chromium
- follow: all follow one race that one of them has started

First point: from a visitor's press of Race to the first results on the page, at step 0. Last done: from the first
press to the end of the last race, relative to a race alone.

    python benchmarks/visitors.py [--visitors 25] [--followers 100] [--steps 60] [--within 10] [--only NAME …] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import sync_playwright
from ui import COUNT, FLAGS

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.served import Server, Visitor, inherited, serve  # noqa: E402
from support.shared import chromium  # noqa: E402

from olora_viz.web.jobs.job import readers_key  # noqa: E402
from olora_viz.web.parts.setup import FIELDS_OF_SETUP  # noqa: E402

SETUPS = 5
"""Different set-ups of a class that does not open the same link."""

UNSET = {"OMP_NUM_THREADS": ""}
"""So that the server chooses its threads itself, as one that is started by hand."""

RESULTS = ("status racing", "status finished", "status paused")
"""What a page's status has once there is something to see."""

COLUMNS = {
    "visitors": "visitors", "first_point_s": "first point, median", "worst_first_point_s": "worst",
    "last_done_s": "last done", "times_alone": "× alone", "cpu_s": "server CPU", "cpu_share": "CPU a second",
    "rss_before_mib": "MiB before", "rss_after_mib": "after", "rss_peak_mib": "peak",
    "kib_per_visitor": "KiB a visitor",
}  # fmt: skip
"""The numbers of a row, with their titles in the table."""


class Seen(NamedTuple):
    """What a visitor saw, by the clock of `time.perf_counter`."""

    pressed: float
    first_point: float
    done: float
    sent: int
    """Bytes of the stream."""


class Usage(NamedTuple):
    """What the server has used."""

    cpu: float
    rss: float
    peak: float

    @classmethod
    def of(cls, server: Server) -> Usage:
        """Read it, in seconds and MiB; the peak is that since the last call."""
        process = Path(f"/proc/{server.process.pid}")
        user, system = (process / "stat").read_text("utf-8").rsplit(")", 1)[1].split()[11:13]
        peak = (process / "status").read_text("utf-8").split("VmHWM:")[1].split()[0]
        used = cls((int(user) + int(system)) / os.sysconf("SC_CLK_TCK"), server.resident_mib, int(peak) / 1024)
        (process / "clear_refs").write_text("5")  # the peak begins anew
        return used


class Class:
    """The visitors of a server.

    Args:
        steps: of each race.
    """

    def __init__(self, server: Server, steps: int) -> None:
        self.server, self._steps = server, steps
        self._config = Visitor(server.url, "first").config
        self._count, self._lock = 0, threading.Lock()

    def visitor(self) -> Visitor:
        """Open the page, from an address of its own."""
        with self._lock:
            self._count += 1
            number = self._count
        visitor = Visitor(self.server.url, f"visitor{number}", self._config)
        visitor.client.headers["x-forwarded-for"] = f"198.51.{number // 250}.{number % 250 + 1}"
        visitor.call("opened", visitor.payload(visitor.functions["opened"]))
        return visitor

    def race(self, visitor: Visitor, seed: int) -> tuple[str, float]:
        """Press Race; return the race's key and when it was pressed."""
        run, *controls = visitor.payload(visitor.functions["race"])
        controls[FIELDS_OF_SETUP.index("steps")], controls[FIELDS_OF_SETUP.index("seed")] = self._steps, seed
        pressed = time.perf_counter()
        key, _, status = visitor.call("race", [run, *controls])
        assert isinstance(key, str), status
        return key, pressed

    def follow(self, visitor: Visitor, key: str, pressed: float) -> Seen:
        """Follow a race to its end; what is sent is counted and not drawn."""
        event, first, sent = visitor.follow(key), 0.0, 0
        where = "/gradio_api/queue/data"
        with visitor.client.stream("GET", where, params={"session_hash": visitor.visit}) as answer:
            for line in answer.iter_lines():
                sent += len(line)
                first = first or (time.perf_counter() if any(words in line for words in RESULTS) else 0.0)
                if '"process_completed"' in line and event in line:
                    break
        visitor.client.close()
        return Seen(pressed, first, time.perf_counter(), sent)

    def visit(self, seed: int, after: float = 0.0) -> Seen:
        """Race, some seconds from now."""
        time.sleep(after)
        visitor = self.visitor()
        return self.follow(visitor, *self.race(visitor, seed))


def at_once(visits: Sequence[Callable[[], Seen]]) -> list[Seen]:
    """Make visits side by side."""
    with ThreadPoolExecutor(len(visits)) as pool:
        return list(pool.map(lambda visit: visit(), visits))


def measured(server: Server, what: str, alone: float, visits: Callable[[], list[Seen]]) -> dict[str, Any]:
    """Make visits, and return a row of the table.

    Args:
        alone: seconds of a race alone, 0 if this is one.
    """
    before = Usage.of(server)
    seen = visits()
    after = Usage.of(server)
    first, took = [one.first_point - one.pressed for one in seen], seen_for(seen)
    return {
        "what": what, "visitors": len(seen), "first_point_s": statistics.median(first),
        "worst_first_point_s": max(first), "last_done_s": took, "times_alone": took / (alone or took),
        "cpu_s": after.cpu - before.cpu, "cpu_share": (after.cpu - before.cpu) / took,
        "rss_before_mib": before.rss, "rss_after_mib": after.rss, "rss_peak_mib": after.peak,
        "kib_per_visitor": statistics.mean(one.sent for one in seen) / 1024,
    }  # fmt: skip


def seen_for(seen: Sequence[Seen]) -> float:
    """Return the seconds from the first press to the last end."""
    return max(one.done for one in seen) - min(one.pressed for one in seen)


def in_browser(url: str, steps: int, seed: int, loaded: threading.Event, told: dict[str, float]) -> Seen:
    """Race as a visitor with a browser, once its page is loaded; keep the updates a second."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS.split())
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(300_000)
        page.goto(url)
        page.wait_for_selector("#loss-figure .js-plotly-plot")
        for name, value in (("steps", steps), ("seed", seed)):
            page.fill(f"#setup-{name} input", str(value))
            page.press(f"#setup-{name} input", "Tab")
        page.wait_for_timeout(500)
        page.evaluate(COUNT)
        loaded.set()
        pressed, clock = time.perf_counter(), page.evaluate("performance.now()")
        page.locator("#race-button").dispatch_event("click")  # its own click waits for a page at rest
        page.wait_for_function("document.querySelector('#status .state')?.innerText === 'finished'")
        done = time.perf_counter()
        times = [at for at, step in page.evaluate("window.updates") if step > 0]
        told["updates_per_s"] = 1000 * (len(times) - 1) / max(times[-1] - times[0], 1.0) if times else 0.0
        told["browser_first_point_s"] = (page.evaluate("window.point") - clock) / 1000
        browser.close()
    return Seen(pressed, pressed + told["browser_first_point_s"], done, 0)


def rows_of(server: Server, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure all that is wanted, one after the other, each with set-ups that no other has."""
    school, count = Class(server, options.steps), options.visitors
    after = [options.within * k / count for k in range(count)]
    Class(server, 1).visit(seed=1)  # the model is loaded, and the page's first answers are made
    rows = [measured(server, "alone", 0.0, lambda: [school.visit(seed=2)])]
    alone = rows[0]["last_done_s"]

    def link(seeds: Sequence[int]) -> list[Seen]:
        return at_once([
            lambda k=k, later=later: school.visit(seeds[k % len(seeds)], later) for k, later in enumerate(after)
        ])  # fmt: skip

    def follow() -> list[Seen]:
        owner = school.visitor()
        key, pressed = school.race(owner, 50)
        readers = [lambda: school.follow(school.visitor(), readers_key(key), pressed)] * (options.followers - 1)
        return at_once([lambda: school.follow(owner, key, pressed), *readers])

    if "link" in options.only:
        rows.append(measured(server, "link", alone, lambda: link([10])))
    if "setups" in options.only:
        rows.append(measured(server, "setups", alone, lambda: link(range(20, 20 + SETUPS))))
    if "browser" in options.only:
        told: dict[str, float] = {}
        loaded = threading.Event()

        def other(later: float) -> Seen:
            loaded.wait(120)
            return school.visit(40, later)

        def with_browser() -> list[Seen]:
            others = [lambda later=later: other(later) for later in after[1:]]
            return at_once([lambda: in_browser(server.url, options.steps, 40, loaded, told), *others])

        rows.append(measured(server, "browser", alone, with_browser) | told)
    if "follow" in options.only:
        rows.append(measured(server, "follow", alone, follow))
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--visitors", type=int, default=25)
    parser.add_argument("--followers", type=int, default=100)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--within", type=float, default=10.0, help="seconds in which the visitors come")
    every = ("link", "setups", "browser", "follow")
    parser.add_argument("--only", nargs="*", default=every, choices=every, help="beside the race alone")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, serve(Path(home), inherited() | UNSET, seconds=600) as server:
        rows = rows_of(server, options)
    if options.json:
        for row in rows:
            print(json.dumps(row))
        return
    print(f"| | {' | '.join(COLUMNS.values())} |\n|{'---|' * (len(COLUMNS) + 1)}")
    for row in rows:
        print(f"| {row['what']} | " + " | ".join(f"{row[name]:.3g}" for name in COLUMNS) + " |")
        if "updates_per_s" in row:
            print(f"\nIn the browser: first point {row['browser_first_point_s']:.2f} s, "
                  f"{row['updates_per_s']:.1f} updates a second.\n")  # fmt: skip


if __name__ == "__main__":
    main()

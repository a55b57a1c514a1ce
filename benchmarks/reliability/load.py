"""Twenty visitors at once, then reloads of the page: memory, threads and open files stay flat."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from support.reloads import load
from support.served import Server, Visitor, inherited, serve

from reliability.tally import Tally

VISITORS = 20
STEPS = 5
AT_ONCE = 2
"""Pages that are loaded at once."""
LANES = [{"init": init, "r": 2, "alpha": "", "lr": "1e-3", "seed": 0} for init in ("lora", "olora")]

MOST_MIB = 40.0
"""What the last half of the reloads may add: 500 copies of a page would be 400 MiB."""
MOST_THREADS = 4
MOST_FILES = 20


def visit(server: Server, number: int) -> str:
    """Race with a seed of one's own and follow it to its end; return what one saw."""
    visitor = Visitor(server.url, f"visitor{number}")
    run = visitor.race(steps=STEPS, lanes=LANES, seed=number)
    for _ in visitor.heard({visitor.follow(run): "follow"}):
        pass
    seen = visitor.finished(run, 300)
    assert seen["summary"]["state"] == "finished", seen["summary"]
    assert (seen["config"]["seed"], len(seen["steps"])) == (number, STEPS), "another's race"
    visitor.client.close()
    return str(seen["steps"])


def campaign(tally: Tally, home: Path, count: int, start: int) -> None:
    """Let twenty visitors race at once, and reload the page so often."""
    with serve(home, inherited() | {"OLORA_VIZ_MODELS": "glassllm"}) as server:

        def now() -> tuple[float, int, int]:
            return server.resident_mib, server.threads, server.open_files

        def say(what: str) -> None:
            memory, threads, files = now()
            tally.note(f"{what}: {memory:.0f} MiB, {threads} threads, {files} open files")

        say("at the start")
        with tally.trying("times twenty visitors at once"), ThreadPoolExecutor(VISITORS) as pool:
            seen = list(pool.map(lambda k: visit(server, start + k), range(VISITORS)))
            assert len(set(seen)) == VISITORS, "two visitors saw the same race"
            tally.seen["races finished, each its owner's"] = len(seen)
        say(f"after {VISITORS} visitors")
        marks = [now()]
        parts = 10
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for part in range(parts):
                if tally.is_over:
                    break
                numbers = range(part * count // parts, (part + 1) * count // parts)
                with tally.trying("tenths of the reloads"):
                    list(pool.map(lambda k: load(server, k), numbers))
                tally.seen["reloads"] += len(numbers)
                say(f"after {numbers.stop} reloads")
                marks.append(now())
        half = marks[len(marks) // 2]
        for what, before, after, most in zip(
            ("MiB", "threads", "open files"), half, now(), (MOST_MIB, MOST_THREADS, MOST_FILES), strict=True
        ):
            if after - before > most:
                tally.breach(f"{after - before:.0f} {what} more in the last half of the reloads")
        if server.process.poll() is not None or "Traceback (most" in server.said:
            tally.breach(f"the server said {server.said[-2000:]}")

"""Memory that page loads leave on the server: reloads of the page, by the requests of a browser.

    python tests/support/reloads.py [--loads 1000]

Starts ``app.py`` on the loopback, opens the page again and again as a browser does (the page, its first events, the
stream of the recorded race, the Spectrum page), and prints the server's resident memory after every tenth part. Linux
only.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from support.served import Server, Visitor, inherited, serve  # noqa: E402

from olora_viz.web.race.arrival import FIRST_RECORDED  # noqa: E402


def load(server: Server, number: int) -> None:
    """Open the page once, as a new tab, and leave it."""
    visitor = Visitor(server.url, f"reload{number}")
    with closing(visitor.client):
        visitor.client.get("/").raise_for_status()
        opened = visitor.functions["opened"]
        visitor.call("opened", visitor.payload(opened))
        for _ in visitor.heard({visitor.follow(FIRST_RECORDED): "follow"}):
            pass
        (layers,) = visitor.call("names_of", ["glassllm"])
        show = next(fn for fn in visitor.functions.values() if "spectrum-layer" in visitor.parts(fn)
                    and "own-matrix" in visitor.parts(fn))  # fmt: skip
        asked = visitor.payload(show)
        asked[visitor.parts(show).index("spectrum-layer")] = layers["value"]
        visitor.call(show["api_name"], asked)


def main() -> None:
    """Print the memory of a server whose page is loaded again and again."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--loads", type=int, default=1000, help="at most 10000")
    loads = max(10, min(options.parse_args().loads, 10_000))
    environment = inherited() | {"OLORA_VIZ_MODELS": "glassllm"}
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder), environment) as server:
        load(server, 0)
        print(f"{0:6} loads: {server.resident_mib:6.0f} MiB", flush=True)
        for number in range(1, loads + 1):
            load(server, number)
            if number % (loads // 10) == 0:
                print(f"{number:6} loads: {server.resident_mib:6.0f} MiB", flush=True)


if __name__ == "__main__":
    main()

"""A server as visitors meet it, and a visitor who speaks HTTP alone."""

import json
import os
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
from gradio_client.utils import apply_diff

from olora_viz.web import page

ROOT = Path(__file__).parents[2]


@dataclass
class Server:
    """A running ``app.py`` and the places where it may write."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path
    temporary: Path
    runs: Path

    @property
    def said(self) -> str:
        """Return all that it wrote to its console."""
        return self.log.read_text("utf-8", errors="replace")

    @property
    def resident_mib(self) -> float:
        """Return the memory that it holds."""
        return int(self._status("VmRSS")) / 1024

    @property
    def threads(self) -> int:
        """Return the number of its threads."""
        return int(self._status("Threads"))

    @property
    def open_files(self) -> int:
        """Return the number of its open files and connections."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def _status(self, name: str) -> str:
        status = Path(f"/proc/{self.process.pid}/status").read_text("utf-8")
        return status.split(f"{name}:")[1].split()[0]


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for(url: str, process: subprocess.Popen[bytes], seconds: float, log: Path | None = None) -> None:
    """Return once a server answers."""
    end = time.monotonic() + seconds
    while True:
        said = log.read_text("utf-8", errors="replace") if log else f"no answer from {url}"
        assert process.poll() is None, said
        assert time.monotonic() < end, said
        try:
            httpx.get(url, trust_env=False, timeout=5).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.2)
        else:
            return


def end(process: subprocess.Popen[bytes]) -> None:
    """End a server."""
    process.terminate()  # an interrupt may be ignored where the tests run in the background
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()


@contextmanager
def serve(
    folder: Path,
    environment: Mapping[str, str],
    *,
    python: Path | str = sys.executable,
    root: Path = ROOT,
    seconds: float = 120,
    port: int | None = None,
) -> Iterator[Server]:
    """Start ``app.py`` with folders of its own below `folder`, and end it."""
    port = port or free_port()
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    log = folder / "log"
    its = {
        "GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_ANALYTICS_ENABLED": "False", "OMP_NUM_THREADS": "1", "TMPDIR": str(folder / "tmp"),
        "OLORA_VIZ_RUNS": str(folder / "runs"),
    }  # fmt: skip
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(python), "app.py"], cwd=root, env=its | dict(environment), stdout=out, stderr=out
        )
    url = f"http://127.0.0.1:{port}"
    server = Server(url, process, log, folder / "tmp", folder / "runs")
    try:
        wait_for(server.url, process, seconds, log)
        yield server
    finally:
        end(process)


@contextmanager
def launched(demo: gr.Blocks, root_path: str = "", **changes: Any) -> Iterator[str]:
    """Serve pages in this process on a free port, as `app.py` does, and yield their address.

    Args:
        changes: of the arguments of `Blocks.launch`.
    """
    _, url, _ = demo.launch(
        server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, root_path=root_path,
        **(page.launch_options() | changes),
    )  # fmt: skip
    try:
        yield url.removesuffix(f"{root_path}/")
    finally:
        demo.close()


def inherited() -> dict[str, str]:
    """Return this process's environment, for a server of the same packages with its own runs."""
    kept = {name: value for name, value in os.environ.items() if name != "OLORA_VIZ_RUNS"}
    return kept | {"PYTHONPATH": str(ROOT)}


class Visitor:
    """One open page, by the requests that it sends.

    Args:
        url: of the server.
        visit: the page's own name.
        config: what the page consists of, from another visitor; by default the server is asked.
    """

    def __init__(self, url: str, visit: str, config: dict[str, Any] | None = None) -> None:
        self.visit = visit
        # The server may end an idle connection just when the next request is sent on it.
        fresh = httpx.Limits(max_keepalive_connections=0)
        self.client = httpx.Client(base_url=url, trust_env=False, timeout=60, limits=fresh)
        weakref.finalize(self, self.client.close)
        self.config = config or self.client.get("/config").json()
        self.functions = {fn["api_name"]: fn for fn in self.config["dependencies"]}
        parts = self.config["components"]
        self.defaults = {part["id"]: part["props"].get("value") for part in parts}
        self.names = {part["id"]: part["props"].get("elem_id") for part in parts}
        self.shown: dict[str | None, Any] = {}
        """What was sent for the parts of the page, by their ids, the latest of each."""

    def payload(self, fn: Mapping[str, Any]) -> list[Any]:
        """Return what the page would send at first."""
        return [self.defaults.get(part) for part in fn["inputs"]]

    def parts(self, fn: Mapping[str, Any]) -> list[str | None]:
        """Return the ids of the parts whose values a function of the page receives."""
        return [self.names[part] for part in fn["inputs"]]

    def send(self, fn: Mapping[str, Any], data: str, event: str = "null") -> httpx.Response:
        """Call a function of the page with raw JSON."""
        body = f'{{"fn_index":{fn["id"]},"session_hash":{json.dumps(self.visit)},"event_data":{event},"data":{data}}}'
        return self.client.post(
            "/gradio_api/run/predict", content=body.encode("utf-8", "surrogatepass"),
            headers={"content-type": "application/json"},
        )  # fmt: skip

    def call(self, name: str, data: list[Any], event: Any = None) -> list[Any]:
        """Call a function of the page as the page does."""
        answer = self.send(self.functions[name], json.dumps(data), json.dumps(event))
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def join(self, name: str, data: list[Any]) -> str:
        """Begin a function that streams; return its event's id."""
        body = {"fn_index": self.functions[name]["id"], "session_hash": self.visit, "data": data}
        answer = self.client.post("/gradio_api/queue/join", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["event_id"]

    def follow(self, run: str) -> str:
        """Begin the page's stream of a run, "" for none; return its event's id."""
        return self.join("follow", [run, *self.payload(self.functions["follow"])[1:]])

    def heard(self, events: Mapping[str, str]) -> Iterator[str]:
        """Take in what functions stream until all have ended; yield the name of each as it sends.

        Args:
            events: names of functions by the ids of `join`.
        """
        latest: dict[str, list[Any]] = {}
        going = set(events)
        where = "/gradio_api/queue/data"
        with self.client.stream("GET", where, params={"session_hash": self.visit}) as answer:
            for line in answer.iter_lines():
                said = json.loads(line.removeprefix("data:")) if line else {}
                event, what = said.get("event_id"), said.get("msg")
                if event not in events or what not in ("process_generating", "process_completed"):
                    continue
                sent = said["output"].get("data", [])
                if what == "process_completed":
                    going.discard(event)
                elif event in latest:  # what has changed alone
                    pairs = zip(latest[event], sent, strict=True)
                    latest[event] = [apply_diff(old, new) for old, new in pairs]
                else:
                    latest[event] = sent
                if what == "process_generating":
                    self.show(events[event], latest[event])
                    yield events[event]
                if not going:
                    return

    def show(self, name: str, values: list[Any]) -> None:
        """Keep what a function returned for the parts of the page, as the page does."""
        for part, value in zip(self.functions[name]["outputs"], values, strict=True):
            if not isinstance(value, dict) or value.get("__type__") != "update":
                self.shown[self.names[part]] = value
            elif "value" in value:
                self.shown[self.names[part]] = value["value"]

    def race(self, *, steps: int, lanes: list[dict[str, Any]], seed: int = 0) -> str:
        """Press Race; return the race's id, or the sentence why there is none."""
        setup = ["glassllm", "addition", steps, 4, seed, lanes, 0, {"eval_size": 8, "keep": "none"}]
        job, _, status, _ = self.call("race", [None, *setup])
        return job if isinstance(job, str) else status

    def ask(self, name: str, data: Any) -> Any:
        """Call a server function of the card of the adapters."""
        (part,) = (part["id"] for part in self.config["components"] if name in (part["props"].get("server_fns") or ()))
        answer = self.client.post(
            "/gradio_api/component_server",
            json={"session_hash": self.visit, "component_id": part, "fn_name": name, "data": data},
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    def finished(self, job: str, seconds: float = 120) -> dict[str, Any]:
        """Wait for the end of a race, its adapters included; return its numbers."""
        end, pause = time.monotonic() + seconds, 0.2
        while True:
            has_adapters = "url" in self.ask("adapter", [job, 0])  # asked first: it comes last
            file = self.ask("taken", [job, "json"])
            if "text" in file:
                run = json.loads(file["text"])
                if run["summary"]["state"] == "failed" or has_adapters:
                    return run
            assert time.monotonic() < end, file
            time.sleep(pause)
            pause = min(2.0, 1.3 * pause)  # many who wait long shall not keep the server busy

"""Hostile requests to every endpoint, drawn by hypothesis, beside a neighbour who races on."""

from __future__ import annotations

import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr
import httpx
from gradio.routes import App
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyStrategyDefinition
from support.hostile import EVIL, VALUES
from support.served import ROOT, Server, Visitor, inherited, serve

from reliability.tally import Tally

PASSWD = "root:x:0:"
"""How /etc/passwd begins; style sheets have "root:" alone."""
LANES = [{"init": init, "r": 4, "alpha": "", "lr": "1e-3", "seed": 0} for init in ("lora", "olora")]
STEPS = 40
AT_ONCE = 8
"""Requests on their way at once."""
FOREVER = 0.3
"""Seconds without a byte after which an open answer counts as a stream that waits."""

PATHS = [
    "/etc/passwd", "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "file:///etc/passwd",
    "http://127.0.0.1:1/x", "%00", "~/.ssh/id_rsa", "/proc/self/environ", str(ROOT / "app.py"), "",
]  # fmt: skip
TYPES = [
    "application/json", "application/json; charset=utf-16", "text/plain", "multipart/form-data",
    "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "",
]  # fmt: skip
HEADERS = [
    {}, {"content-encoding": "gzip"}, {"x-forwarded-for": "1, 2, x"}, {"range": "bytes=0-1,5-,x"},
    {"x-forwarded-prefix": "/../.."}, {"x-forwarded-host": EVIL}, {"cookie": "=;"},
    {"accept-encoding": "x;q=9"}, {"x-gradio-user": "x"}, {"authorization": "Bearer x"},
]  # fmt: skip

texts = st.text(max_size=60) | st.sampled_from(["", "null", EVIL, "../..", "x" * 20_000, "\ud800"])
plain = st.none() | st.booleans() | st.integers() | st.floats() | texts
nested = st.recursive(plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4))
raw = st.sampled_from(list(VALUES.values())) | nested.map(json.dumps)
"""Values as JSON text."""


class Attack:
    """One hostile visitor, and the ids that it has seen or guesses.

    Args:
        server: the server, and keys of others that it may hold, such as links to read.
        known: see `server`.
    """

    def __init__(self, server: Server, known: list[str]) -> None:
        self.server, self.visitor = server, Visitor(server.url, "e" * 11)
        self.visitor.client.timeout = httpx.Timeout(30, read=30)
        config = self.visitor.config
        self.functions = config["dependencies"]
        self.parts = [
            (part["id"], name) for part in config["components"] for name in part["props"].get("server_fns") or ()
        ]
        found = App.create_app(gr.Blocks()).openapi()["paths"]  # most of which the server closes
        self.routes = [(method, path) for path, its in found.items() for method in its]
        self.ids = [*known, "neighbour", "e" * 11, "a" * 22, "", "recorded:one-rate"]
        self.started: set[str] = set()

    def draw(self, data: st.DataObject) -> tuple[str, httpx.Request]:
        """Make a request; return its kind too."""
        kinds = {"predict": 5, "join": 2, "component": 3, "route": 4, "event": 1, "bytes": 2}
        kind = data.draw(st.sampled_from([name for name, n in kinds.items() for _ in range(n)]))
        where, body = getattr(self, f"_{kind}")(data)
        method, url = where if isinstance(where, tuple) else ("POST", where)
        headers = {"content-type": "application/json"} | data.draw(st.sampled_from(HEADERS))
        if kind in ("bytes", "route"):
            headers["content-type"] = data.draw(st.sampled_from(TYPES))
        content = body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass")
        build = self.visitor.client.build_request
        return kind, build(method.upper(), url, content=content, headers=headers)

    def _identity(self, data: st.DataObject) -> str:
        # Which ids there are depends on the answers, which hypothesis must not see.
        which, text = data.draw(st.integers(0, 99)), data.draw(st.just("") | texts)
        ending = data.draw(st.sampled_from(["", "", "", "A", " ", "/.."]))
        return (text or self.ids[which % len(self.ids)]) + ending

    def _values(self, data: st.DataObject, fn: dict[str, Any]) -> str:
        usual = [json.dumps(value) for value in self.visitor.payload(fn)]
        made = [
            data.draw(raw | st.just(json.dumps(self._identity(data)))) if data.draw(chance) else one for one in usual
        ]
        extra = data.draw(st.lists(raw, max_size=2)) if data.draw(chance) else []
        return data.draw(raw) if data.draw(rarely) else f"[{','.join([*made, *extra])}]"

    def _predict(self, data: st.DataObject, where: str = "run/predict") -> tuple[str, str]:
        fn = data.draw(st.sampled_from(self.functions))
        index = data.draw(raw) if data.draw(rarely) else fn["id"]
        return f"/gradio_api/{where}", (
            f'{{"fn_index":{index},"session_hash":{json.dumps(self._identity(data))},'
            f'"event_data":{{"index":0,"value":{data.draw(raw)}}},"data":{self._values(data, fn)}}}'
        )

    def _join(self, data: st.DataObject) -> tuple[str, str]:
        return self._predict(data, "queue/join")

    def _component(self, data: st.DataObject) -> tuple[str, str]:
        part, name = data.draw(st.sampled_from(self.parts))
        name = data.draw(st.sampled_from([name, name, name, "__init__", "postprocess", "get_config"]))
        kinds = ["json", "csv", "report", 0, 1, -1, 10**9, EVIL]
        pair = json.dumps([self._identity(data), data.draw(st.sampled_from(kinds))])
        return "/gradio_api/component_server", (
            f'{{"session_hash":{json.dumps(self._identity(data))},"component_id":{part},'
            f'"fn_name":"{name}","data":{data.draw(raw | st.just(pair))}}}'
        )

    def _event(self, data: st.DataObject) -> tuple[str, str]:
        where = data.draw(st.sampled_from(["cancel", "reset"]))
        return f"/gradio_api/{where}", json.dumps(
            {"session_hash": self._identity(data), "event_id": self._identity(data), "fn_index": data.draw(plain)}
        )

    def _route(self, data: st.DataObject) -> tuple[tuple[str, str], str]:
        method, path = data.draw(st.sampled_from(self.routes))
        for name in re.findall(r"\{[^}]*\}", path):
            what = data.draw(st.sampled_from(PATHS) | texts.map(partial(quote, errors="replace")))
            path = path.replace(name, what[:3000], 1)
        query = {"session_hash": self._identity(data)[:2000]} if data.draw(chance) else {}
        return (method, str(httpx.URL(path, params=query or None))), data.draw(raw)

    def _bytes(self, data: st.DataObject) -> tuple[str, bytes]:
        where = data.draw(st.sampled_from(["run/predict", "queue/join", "component_server", "upload"]))
        return f"/gradio_api/{where}", data.draw(st.binary(max_size=2000))

    def send(self, request: httpx.Request) -> tuple[int | str, str]:
        """Send it; return the status, "stream" for one that waits, and the first text."""
        request.extensions["timeout"] = httpx.Timeout(30, read=30).as_dict()
        if request.method == "GET":
            request.extensions["timeout"]["read"] = FOREVER
        text = b""
        answer = None
        try:
            answer = self.visitor.client.send(request, stream=True)
            for piece in answer.iter_bytes():
                text += piece
                if len(text) > 2**22:
                    break
            return answer.status_code, text.decode("utf-8", "replace")
        except httpx.ReadTimeout:
            if request.method == "GET":
                return "stream", text.decode("utf-8", "replace")
            raise
        finally:
            if answer is not None:
                answer.close()

    def learn(self, kind: str, text: str) -> None:
        """Keep ids that answers hold, to replay them."""
        found = re.findall(r'"event_id":"(\w+)"', text)
        if kind == "predict":
            found += re.findall(r'"data":\["([\w-]{22})"', text)
            self.started.update(found)
        self.ids = [*self.ids[:40], *self.ids[40:][-40:], *found]


class _Over(Exception):  # noqa: N818
    """Ends what hypothesis draws."""


chance = st.sampled_from([True, False])
rarely = st.sampled_from([True] + [False] * 9)


class Neighbour(threading.Thread):
    """Races again and again, each time with the same result, and counts how long answers take."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.visitor = Visitor(server.url, "neighbour")
        self.visitor.client.headers["x-forwarded-for"] = "203.0.113.9"
        self.alone = self._race()
        self.over, self.races, self.problems = threading.Event(), 0, list[str]()
        self.waits: list[float] = []

    def _race(self) -> str:
        job = self.visitor.race(steps=STEPS, lanes=LANES)
        self.key = job
        run = self.visitor.finished(job, 300)
        assert run["summary"]["state"] == "finished", run["summary"]
        return re.sub(r'"seconds": [^,}]+', "", json.dumps(run))

    def run(self) -> None:
        """Race until it is over."""
        try:
            while not self.over.is_set():
                before = time.monotonic()
                self.visitor.call("names_of", ["glassllm"])
                self.waits.append(time.monotonic() - before)
                if self._race() != self.alone:
                    self.problems.append("a race of the neighbour differs")
                self.races += 1
        except Exception as error:
            self.problems.append(f"the neighbour: {type(error).__name__}: {error}"[:500])


def wrong(server: Server, status: int | str, text: str) -> str:
    """Say what an answer must not be; empty if it is none of that."""
    if PASSWD in text:
        return "holds /etc/passwd"
    own = re.escape(f"{server.temporary}/olora-viz-")
    private = rf"{own}[^/\s]*/(?![\w-]+\.js)|{re.escape(str(server.runs))}"  # the scripts are public
    if found := re.search(private, text):
        return f"names a private place, {found[0]}"
    if "Traceback (most" in text:
        return "holds a traceback"
    return "has no status of HTTP" if isinstance(status, int) and not 200 <= status < 600 else ""


def campaign(tally: Tally, home: Path, count: int, start: int) -> None:
    """Send so many requests."""
    environment = inherited() | {"OLORA_VIZ_MODELS": "glassllm", "OLORA_VIZ_MAX_WAITING": "6",
                                 "OLORA_VIZ_MAX_STEPS": "200"}  # fmt: skip
    with serve(home, environment) as server:
        neighbour = Neighbour(server)
        attack = Attack(server, [neighbour.key[:-1], neighbour.key.swapcase()])
        memory, threads = server.resident_mib, server.threads
        neighbour.start()

        @seed(start)
        @settings(
            max_examples=count, database=None, deadline=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(data=st.data())
        def one(data: st.DataObject) -> None:
            if tally.is_over or len(tally.broken) > 20:
                raise _Over
            try:
                kind, request = attack.draw(data)
            except (httpx.InvalidURL, ValueError):
                tally.seen["that no client can send"] += 1
                return
            free.acquire()
            pool.submit(send, kind, request)

        def send(kind: str, request: httpx.Request) -> None:
            about = f"{request.method} {str(request.url)[:200]} {request.content[:600]!r}"
            try:
                with tally.trying(f"requests ({kind})"):
                    check_answer(kind, request, about)
            except Exception as error:
                tally.breach(f"{type(error).__name__}: {error}: {about}")
            finally:
                free.release()

        def check_answer(kind: str, request: httpx.Request, about: str) -> None:
            try:
                status, text = attack.send(request)
            except httpx.HTTPError as error:
                tally.seen[f"answers: {type(error).__name__}"] += 1
                if isinstance(error, httpx.TimeoutException):
                    tally.breach(f"no answer to {about}")
                if server.process.poll() is not None:
                    tally.breach(f"the server is gone after {about}")
                return
            tally.seen[f"answers {status}"] += 1
            attack.learn(kind, text[:2000])
            problem = wrong(server, status, text)
            assert not problem, f"the answer {problem}: {about}: {status} {text[:600]}"

        free = threading.Semaphore(AT_ONCE)
        with ThreadPoolExecutor(AT_ONCE) as pool, suppress(_Over, FlakyStrategyDefinition):
            one()
        neighbour.over.set()
        neighbour.join()
        for problem in neighbour.problems:
            tally.breach(problem)
        ours = set(re.findall(r'File "[^"]*olora_viz/([^"]*)"', server.said))
        if ours - {"web/guard/requests.py"}:
            tally.breach(f"the log has tracebacks through {sorted(ours)}")
        (home.parent / "hostile.log").write_text(server.said, "utf-8")
        waits = sorted(neighbour.waits)
        tally.seen["races of the neighbour, the same bit for bit"] = neighbour.races
        tally.note(
            f"memory {memory:.0f} to {server.resident_mib:.0f} MiB, threads {threads} to "
            f"{server.threads}; {len(waits)} calls of the neighbour took "
            f"{waits[len(waits) // 2]:.2f} s in the median, {waits[-1]:.2f} s at most"
        )

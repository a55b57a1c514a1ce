"""Which addresses the server answers, and to whom."""

import re
import traceback
from collections.abc import Iterable, Iterator

import gradio as gr
import httpx
import pytest
from gradio.routes import App
from starlette.routing import BaseRoute, Match, Route
from support.served import launched

from olora_viz.web import page
from olora_viz.web.guard import gate
from olora_viz.web.guard.gate import CLOSED, OPEN_ROUTES
from olora_viz.web.parts.card import PageBlocks

NAME = "lab.example.org:8000"
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH")


@pytest.fixture(scope="module")
def demo() -> gr.Blocks:
    """A page with a function that fails in its own code."""
    with PageBlocks(analytics_enabled=False) as demo:
        button, out = gr.Button(), gr.HTML()
        button.click(lambda: 1 // 0, None, out, queue=False)
    return demo


@pytest.fixture(scope="module")
def client(demo: gr.Blocks) -> Iterator[httpx.Client]:
    fresh = httpx.Limits(max_keepalive_connections=0)  # an idle connection may be ended when it is used again
    with launched(demo) as url, httpx.Client(base_url=url, trust_env=False, timeout=60, limits=fresh) as client:
        yield client


def declared(routes: Iterable[BaseRoute]) -> Iterator[Route]:
    """Yield the routes of an application, those that it includes too."""
    for route in routes:
        if isinstance(route, Route):
            yield route
        else:
            yield from declared(route.original_router.routes)


def test_what_gradio_declares_is_closed_until_somebody_opens_it(demo: gr.Blocks, client: httpx.Client) -> None:
    own = page.launch_options()["app_kwargs"]["routes"]
    routes = list(declared(App.create_app(demo, app_kwargs=page.launch_options()["app_kwargs"]).routes))
    opened = {(method, path) for method, paths in OPEN_ROUTES.items() for path in paths}
    opened |= {(method, route.path) for route in own for method in route.methods}
    everything = {(method, route.path) for route in routes for method in route.methods or ()}
    assert opened <= everything, "what is open is there"
    assert {path for _, path in everything} >= {"/gradio_api/upload", "/gradio_api/process_recording"}
    asked = set()
    for path in {route.path for route in routes}:
        for method in METHODS:
            it = "GET" if method == "HEAD" else method
            if (it, path.rstrip("/") or "/") in opened:
                continue
            address = re.sub(r"\{\w+:path\}", "a/b", re.sub(r"\{\w+\}", "a", path))
            if any(
                Route(where, lambda _: None).matches(scope(address))[0] is Match.FULL
                for by, where in opened
                if by == it
            ):
                continue  # an open route answers in its place
            answer = client.request(method, address)
            assert answer.status_code == 404, (method, path)
            assert method == "HEAD" or answer.text == CLOSED, (method, path)
            asked.add(path)
    assert len(asked) > 60


def scope(path: str) -> dict[str, object]:
    return {"type": "http", "method": "GET", "path": path}


def test_what_the_page_and_a_client_ask_for_is_open(client: httpx.Client) -> None:
    paths = ["/", "/config", "/theme.css", "/favicon.ico", "/robots.txt", "/gradio_api/info", "/config/"]
    assert {client.get(path).status_code for path in paths} == {200}
    assert client.head("/").status_code == 200  # as health checks ask


def test_no_answer_sets_a_cookie(demo: gr.Blocks, client: httpx.Client) -> None:
    routes = declared(App.create_app(demo, app_kwargs=page.launch_options()["app_kwargs"]).routes)
    for path in {re.sub(r"\{\w+(:path)?\}", "a", route.path) for route in routes}:
        if "heartbeat" not in path and "queue/data" not in path:  # streams without an end
            for answer in (client.get(path), client.post(path, data={"username": "a", "password": "b"})):
                assert "set-cookie" not in answer.headers, path
    assert not client.cookies


def test_files_are_taken_at_no_address(client: httpx.Client) -> None:
    for path in ("/gradio_api/upload", "/gradio_api/component_server", "/gradio_api/run/predict"):
        for content in (b"", b"a", b"ab"):
            assert client.post(path, files={"files": ("a.txt", content)}).status_code in (404, 415), path


OWN = (
    {},
    {"sec-fetch-site": "same-origin"},
    {"sec-fetch-site": "same-origin", "origin": "https://seen.example", "host": "rewritten"},
    {"origin": f"http://{NAME}", "host": NAME},
    {"origin": "https://seen.example", "host": "rewritten", "x-forwarded-host": "seen.example"},
)
OTHERS = (
    {"sec-fetch-site": "cross-site", "origin": "https://else.example", "host": NAME},
    {"sec-fetch-site": "same-site", "origin": "http://else.example.org", "host": NAME},
    {"sec-fetch-site": "cross-site", "host": NAME},
    {"origin": "https://else.example", "host": NAME},
    {"origin": "http://lab.example.org:9000", "host": NAME},
    {"origin": "null", "host": NAME},
)


@pytest.mark.parametrize("body", ["application/json", "text/plain"])
def test_only_a_page_of_the_server_itself_can_change_something(client: httpx.Client, body: str) -> None:
    for path in ("/gradio_api/run/predict", "/gradio_api/queue/join", "/gradio_api/component_server", "/class/year-9"):
        for headers in OWN:
            answer = client.post(path, content="{", headers={"content-type": body, **headers})
            assert answer.status_code not in (403, 421), (path, headers)
        for headers in OTHERS:
            answer = client.post(path, content="{", headers={"content-type": body, **headers})
            assert (answer.status_code, answer.text) == (403, gate.FROM_ANOTHER_SITE), (path, headers)
            asks = {
                **headers,
                "access-control-request-method": "POST",
                "access-control-request-headers": "x-forwarded-host",
            }
            assert client.options(path, headers=asks).status_code == 403
            assert client.get("/", headers=headers).status_code == 200, "its link and its frame open the page"


def test_a_server_answers_at_the_names_that_its_owner_gives_and_at_numbers(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.get("/", headers={"host": "else.example"}).status_code == 200
    monkeypatch.setenv(gate.HOSTS, "lab.example.org, other.example")
    for host in (
        NAME,
        "LAB.example.org",
        "other.example:1",
        "localhost:7860",
        "127.0.0.1:7860",
        "[::1]:7860",
        "10.0.0.7",
    ):
        assert client.get("/", headers={"host": host}).status_code == 200, host
    for host in ("else.example", "lab.example.org.else.example", "127.0.0.1.else.example", ""):
        answer = client.get("/", headers={"host": host})
        assert answer.status_code == 421, host
        assert repr(host) in answer.text


def test_no_header_names_the_page_s_root_and_no_cache_keeps_it(client: httpx.Client) -> None:
    for name in ("x-forwarded-host", "x-gradio-server"):
        for path in ("/", "/config"):
            answer = client.get(path, headers={name: "else.example", "x-forwarded-proto": "https"})
            assert "else.example" not in answer.text, (name, path)
    assert client.get("/").headers["cache-control"] == "no-store"


def test_no_query_makes_the_page_fail(client: httpx.Client) -> None:
    plain = client.get("/").text
    for query in (
        "page=conditioning",
        "page=../..",
        "deep_link=x",
        "view=workbench&page=",
        "%00=%ff&&=",
        "__theme=dark",
    ):
        answer = client.get(f"/?{query}")
        assert (answer.status_code, len(answer.text)) == (200, len(plain)), query


BROKEN = (
    "{", "[]", "null", '{"fn_index": 99999, "session_hash": "x", "data": []}',
    '{"fn_index": 0, "session_hash": "x", "data": []}', '{"fn_index": 0, "session_hash": "x", "data": [1, 2, 3]}',
    '{"component_id": 99999, "session_hash": "x", "fn_name": "x", "data": []}',
    '{"component_id": [], "session_hash": [], "fn_name": {}, "data": []}',
    '{"fn_index": 0, "session_hash": "x", "event_id": "y"}',
)  # fmt: skip


def test_what_fails_again_leaves_nothing_more_in_the_log(
    client: httpx.Client,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate, "_noted", set())

    for _ in range(3):
        for path in OPEN_ROUTES["POST"]:
            for body in BROKEN:
                for kind in (
                    "application/json",
                    "text/plain",
                    "multipart/form-data",
                    "multipart/form-data; boundary=x",
                ):
                    client.post(path.format(api_name="predict"), content=body, headers={"content-type": kind})
        for path in ("/gradio_api/queue/data?session_hash=nobody", "/gradio_api/heartbeat/%00"):
            with client.stream("GET", path) as answer:
                next(answer.iter_raw())
    failures = [record.exc_info for record in caplog.records if record.exc_info]
    last = [traceback.extract_tb(trace)[-1] for _, _, trace in failures]
    places = [(kind, frame.filename, frame.lineno) for (kind, *_), frame in zip(failures, last, strict=True)]
    assert ZeroDivisionError in {kind for kind, *_ in places}
    assert len(places) == len(set(places)), "each of them once"
    assert len("".join(capfd.readouterr())) < 1000, "and nothing beside them"

"""Whatever is sent to the server: a sentence or a refusal, and a neighbour who notices nothing."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio_client
import pytest
from support.hostile import EVIL, SECRET, VALUES
from support.served import ROOT, Server, Visitor, inherited, serve

from olora_viz.web.parts.export import EXPORTS

LANES = [{"init": init, "r": 4, "alpha": "", "lr": "1e-3", "seed": 0} for init in ("lora", "olora")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("fuzzed")
    environment = inherited() | {"OLORA_VIZ_MODELS": "glassllm", "OLORA_VIZ_MAX_WAITING": "4"}
    with serve(folder, environment) as running:
        yield running
        assert running.process.poll() is None
        # What stands around the whole application is in all its tracebacks.
        around = {"web/guard/gate.py", "web/guard/requests.py", "web/parts/card.py"}
        ours = set(re.findall(r'File "[^"]*olora_viz/([^"]*)"', running.said)) - around
        assert ours == set(), running.said[-3000:]


def evil(server: Server) -> Visitor:
    return Visitor(server.url, "e" * 11)


def test_a_neighbour_s_race_is_bitwise_the_same_while_everything_is_called_with_everything(server: Server) -> None:
    neighbour, visitor = Visitor(server.url, "neighbour"), evil(server)
    job = neighbour.race(steps=60, lanes=LANES)
    alone = neighbour.finished(job)
    neighbour.call("reset", [job, *neighbour.payload(neighbour.functions["reset"])[1:]])
    job = neighbour.race(steps=60, lanes=LANES)
    neighbour.follow(job)  # a race that no open page follows leaves its place to those who wait
    seen, answered, started = set(), 0, set()
    markup = {part["id"] for part in visitor.config["components"] if part["type"] == "html"}
    # Races come first: measurements, which others ask for, would fill the queue before them.
    functions = sorted(visitor.config["dependencies"], key=lambda fn: fn["api_name"] != "race")
    for fn in functions:
        alike = (tuple(fn["inputs"]), tuple(fn["outputs"]))
        if alike in seen:
            continue
        seen.add(alike)
        usual = [json.dumps(value) for value in visitor.payload(fn)]
        for turn, (name, value) in enumerate(VALUES.items(), start=len(seen)):
            event = f'{{"value":{value},"index":{value},"selected":{value}}}'
            every = ",".join([value] * len(usual))
            bodies = [f"[{every}]", value]
            where = sum(map(ord, name)) % max(1, len(usual))
            bodies += [f"[{','.join([*usual[:where], value, *usual[where + 1 :]])}]"] if usual else []
            # Every function gets every value in one of these places; the campaign draws any.
            bodies = [bodies[turn % len(bodies)]]
            if name == "nothing":
                bodies.append(f"[{','.join(usual)}]")  # what the page itself sends
            for body in bodies:
                answer = visitor.send(fn, body, event)
                answered += 1
                about = f"{fn['api_name']} with {name}: {answer.status_code} {answer.text[:300]}"
                assert answer.status_code < 600, about
                assert SECRET not in answer.text, about
                if answer.status_code == 200:
                    data = answer.json().get("data") or [None]
                    if fn["api_name"] in ("race", "step") and isinstance(data[0], str):
                        started.add(data[0])
                    pieces = zip(fn["outputs"], data, strict=False)
                    shown = [str(piece) for part, piece in pieces if part in markup]
                    assert not any(EVIL in piece for piece in shown), about
                assert "Traceback" not in answer.text, about
    assert answered == len(seen) * (len(VALUES) + 1)
    assert server.process.poll() is None
    assert started
    for race in started:  # or the tests below wait for what this one has put into the queue
        visitor.call("reset", [race, *visitor.payload(visitor.functions["reset"])[1:]])
    beside = neighbour.finished(job)
    assert beside["summary"]["state"] == "finished"
    assert without_clock(beside) == without_clock(alone)


def without_clock(run: dict) -> str:
    return re.sub(r'"seconds": [^,}]+', "", json.dumps(run))


def test_server_functions_answer_anything_with_a_sentence(server: Server) -> None:
    visitor = evil(server)
    found = [
        (part["id"], name) for part in visitor.config["components"] for name in part["props"].get("server_fns") or ()
    ]
    assert len(found) >= 3
    forged = [json.dumps([f"{word}", kind]) for word in ("../..", "a" * 22, EVIL)
              for kind in ("csv", "json", "peft", 0, 10**9)]  # fmt: skip
    for part, name in [*found, (found[0][0], "__init__"), (found[0][0], "postprocess")]:
        for value in [*VALUES.values(), *forged]:
            body = f'{{"session_hash":"{visitor.visit}","component_id":{part},"fn_name":"{name}","data":{value}}}'
            answer = visitor.client.post(
                "/gradio_api/component_server", content=body, headers={"content-type": "application/json"}
            )
            assert answer.status_code in (200, 400, 404, 422), (name, value[:80], answer.text[:300])
            assert SECRET not in answer.text


@pytest.mark.parametrize("before", ["/gradio_api/file=", "/file=", "/gradio_api/file/", "/static/"])
def test_no_address_reads_a_file_outside_a_run_s_folder(server: Server, before: str) -> None:
    visitor = evil(server)
    paths = [
        "/etc/passwd", "//etc/passwd", "..%2f..%2f..%2f..%2f..%2fetc%2fpasswd", "file:///etc/passwd",
        "%2e%2e/%2e%2e/%2e%2e/etc/passwd", str(ROOT / "README.md"), str(ROOT / "app.py"),
        str(server.log), f"{server.temporary}/../log", str(server.temporary),
        "http://127.0.0.1:1/x", "%00/etc/passwd", "~/.bashrc", "/proc/self/environ",
    ]  # fmt: skip
    for folder in server.temporary.glob("olora-viz-*"):
        paths += [f"{folder}/../../log", f"{folder}%2f..%2f..%2flog", str(folder)]
    for path in paths:
        answer = visitor.client.get(f"{before}{path}")
        assert answer.status_code in (307, 400, 403, 404), (path, answer.status_code)
    for route in ("/gradio_api/proxy=http://127.0.0.1:1/", "/gradio_api/stream/../../x"):
        assert visitor.client.get(route).status_code >= 400


def test_own_files_are_checked_and_kept_for_their_visit_alone(server: Server) -> None:
    visitor, other = Visitor(server.url, "own-file"), Visitor(server.url, "other")
    good = "\n".join(json.dumps({"prompt": f"{EVIL} {k}", "answer": f"{k}"}) for k in range(12))
    before = {path for path in server.temporary.rglob("*") if path.is_file()}
    for name, text in [
        ("../../../owned.jsonl", "{"), ("/tmp/owned.jsonl", "[1]"), ("owned.py", good),
        (f"{EVIL}.{EVIL}", good), ("owned.jsonl\0.py", good), ("a.jsonl", "x" * 600_000),
        ("a.json", "[" * 100_000), ("a.csv", 'prompt,answer\n"'), ("a.jsonl", None), (None, good),
        (["a.jsonl"], [good]),
    ]:  # fmt: skip
        _, said = visitor.call("brought", [1], {"value": {"name": name, "text": text}, "index": 0})
        assert said.count('class="problem"') == 1, (name, said)
        assert EVIL not in said
        assert str(server.temporary) not in said
    assert {path for path in server.temporary.rglob("*") if path.is_file()} == before
    event = {"value": {"name": f"../{EVIL}.jsonl", "text": good}, "index": 0}
    update, said = visitor.call("brought", [1], event)
    assert EVIL not in said
    token = update["value"]
    shown = visitor.call("sampled", [1, "glassllm", token, {}])[0]
    assert EVIL not in shown
    assert "&lt;" in shown
    assert other.call("sampled", [1, "glassllm", token, {}])[0] == ""
    assert not list(server.temporary.parent.rglob("owned*"))
    new = {path for path in server.temporary.rglob("*") if path.is_file()} - before
    assert {path.name for path in new} == {"your-file.jsonl", "your-file.jsonl.name"}
    setup = [None, "glassllm", token, 1, 4, 0, LANES, 0, {"keep": "none"}]
    job = visitor.call("race", setup)[0]
    run = json.dumps(visitor.finished(job))
    assert '"task": "your-file.jsonl"' in run
    handed_out = [run, *(str(visitor.ask("taken", [job, kind])) for kind in EXPORTS)]
    for secret in (token.removeprefix("file:"), str(server.temporary)):
        assert not any(secret in file for file in handed_out)
    # Nobody else can race on it, were its token known.
    nothing, _, said = other.call("race", setup)
    assert not isinstance(nothing, str)
    assert "your file is no longer on this server" in said


def test_a_request_that_is_too_large_is_refused_whether_or_not_it_says_so(server: Server) -> None:
    visitor = evil(server)
    body = b" " * (9 * 2**20)
    for content in (body, (body[k : k + 2**20] for k in range(0, len(body), 2**20))):
        answer = visitor.client.post(
            "/gradio_api/run/predict", content=content, headers={"content-type": "application/json"}
        )
        assert answer.status_code == 413
        assert answer.text == "a request must have at most 8388608 bytes"


def test_a_client_of_gradio_finds_no_public_endpoint(server: Server, tmp_path: Path) -> None:
    client = gradio_client.Client(server.url, verbose=False, analytics_enabled=False, download_files=tmp_path)
    found: Any = client.view_api(return_format="dict", print_info=False)
    assert found["named_endpoints"] == {}
    for name in ("/race", "/start", "/upload", "/../../etc/passwd"):
        with pytest.raises(ValueError, match="Cannot find a function"):
            client.predict(api_name=name)

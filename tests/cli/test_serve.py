"""``python -m olora_viz show DIR`` opens the page on a run folder."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from support.races import small
from support.served import Visitor, free_port
from support.verbs import run
from support.waiting import wait_until

from olora_viz.__main__ import main
from olora_viz.lanes.lane import Lane
from olora_viz.races import run as runs
from olora_viz.web.jobs.job import record_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the command line, with settings that the page's table cannot show."""
    made = tmp_path_factory.mktemp("runs") / "first"
    lanes = (Lane("lora", r=2, weight_decay=0.1), Lane("olora", r=2))
    list(runs.start(replace(small(lanes), steps=3), made))
    return made


@pytest.fixture
def address(folder: Path, tmp_path: Path) -> Iterator[str]:
    """The URL that the command prints, also where the proxy of the environment does not answer."""
    process = subprocess.Popen(
        [sys.executable, "-m", "olora_viz", "show", str(folder), "--json"],
        stdout=subprocess.PIPE, text=True,
        # Where tests run in the background, their children would ignore the interrupt.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        env=os.environ | {
            "OLORA_VIZ_RUNS": str(tmp_path / ".cache" / "runs"),
            "GRADIO_SERVER_PORT": str(free_port()), "GRADIO_ANALYTICS_ENABLED": "False",
            "http_proxy": "http://127.0.0.1:9",
        },
    )  # fmt: skip
    try:
        assert process.stdout
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def test_the_page_opens_on_the_run_and_leaves_its_folder_alone(address: str, folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    url = urlsplit(address)
    (name,) = parse_qs(url.query)["run"]
    assert str(folder) not in address
    visitor = Visitor(f"{url.scheme}://{url.netloc}", "owner")
    arrived = visitor.call("opened", [None, [], {"query": "", "own": False, "run": name}])
    assert arrived[0] == name
    for _ in visitor.heard({visitor.follow(name): "follow"}):
        pass
    assert "finished" in visitor.shown["status"]
    assert "Ranking at step 3" in visitor.shown["results"]
    found = visitor.ask("adapter", [name, 1])
    assert visitor.client.get(found["url"]).status_code == 200
    gone = visitor.call("opened", [None, [], {"query": "", "own": False, "run": "x" * 22}])
    assert "is not on this server" in str(gone)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_an_address_that_cannot_be_listened_on_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for options, sentence in (
            (("--host", "999.1.1.1"), "cannot listen on '999.1.1.1': "),
            (("--host", "127.0.0.1", "--port", str(port)), f"cannot listen on port {port} of "),
            (("--port", "99999"), "a port must be a number from 1 to 65535, not '99999'"),
            (("--port", "x"), "a port must be a number from 1 to 65535, not 'x'"),
        ):
            done = run("serve", *options)
            assert (done.returncode, done.stdout) == (2, "")
            assert sentence in done.stderr
            assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("value", ["abc", "", "0", "70000", "-1"])
@pytest.mark.parametrize("name", ["GRADIO_SERVER_PORT", "GRADIO_NUM_PORTS"])
def test_a_variable_that_gradio_cannot_read_is_one_sentence_of_ours(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    assert main(["serve"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"error: the environment variable {name} must be a ")
    assert said.endswith(f", not {value!r}")


def test_what_is_no_run_or_model_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "study.toml").touch()
    assert main(["show", str(tmp_path)]) == 2
    assert f"is a study's folder, not a run's: draw it by study {tmp_path} --html FILE" in capsys.readouterr().err
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "config.json").write_text('{"mod')
    for verb, name, sentence in (
        (("show",), "none", "is not a run folder: it has no config.json"),
        (("show",), "half", "is not the set-up of a race"),
        (("serve", "--model"), "none", "none' is not a folder on this machine"),
        (("serve", "--model"), "half", "config.json' is not JSON"),
    ):
        done = run(*verb, str(tmp_path / name))
        assert (done.returncode, done.stdout) == (2, "")
        assert sentence in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_server_that_is_told_to_end_while_a_page_follows_a_race_says_nothing_and_pauses_it(tmp_path: Path) -> None:
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "olora_viz", "serve", "--port", str(free_port()), "--json"],
            stdout=subprocess.PIPE, stderr=said, text=True,
            env=os.environ | {"OLORA_VIZ_RUNS": str(tmp_path / "runs"), "GRADIO_ANALYTICS_ENABLED": "False"},
        )  # fmt: skip
        assert process.stdout
        visitor = Visitor(json.loads(process.stdout.readline())["url"], "owner")
        lanes = [{"init": "olora", "r": 2, "alpha": "", "lr": "1e-3", "seed": 0}]
        followed = visitor.follow(visitor.race(steps=500, lanes=lanes))
        for _ in zip(range(4), visitor.heard({followed: "follow"}), strict=False):
            pass
        wait_until(lambda: any((tmp_path / "runs").rglob("steps.jsonl")))  # on a busy machine it may still load
        process.terminate()
        assert process.wait(60) == 0
    assert (tmp_path / "said").read_text() == "Ctrl-C ends the server\n"
    (run,) = (tmp_path / "runs").rglob("config.json")
    assert json.loads(record_of(run.parent).read_text())["state"] == "paused"

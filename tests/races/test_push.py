"""An adapter goes to the hub with a card that says what it is, and nothing else goes with it."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants
from support.races import small
from support.verbs import run

import olora_viz as ov
from olora_viz.races import run as runs

FILES = {"README.md", "adapter_config.json", "adapter_model.safetensors"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pushed") / "run"
    list(runs.start(small(keep_best=True, eval_every=2), made))
    return made


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, bytes]]]:
    """A hub on the loopback that takes what it is sent: the paths and bodies of the requests."""
    taken: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["Content-Length"]))
            taken.append((self.path, sent))
            answer: dict = {"errors": [], "warnings": []}  # of the check of the front matter
            if self.path.endswith("/create"):
                answer = {"url": f"{constants.ENDPOINT}/me/it", "name": "me/it"}
            elif "/preupload/" in self.path:
                asked = json.loads(sent)["files"]
                answer = {
                    "files": [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in asked]
                }
            elif "/commit/" in self.path:
                answer = {"commitUrl": f"{constants.ENDPOINT}/me/it/commit/0", "commitOid": "0", "success": True}
            body = json.dumps(answer).encode()
            self.send_response(403 if "no-way" in self.path + sent.decode("latin1") else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    yield taken
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_adapter_is_pushed_with_its_card_alone(folder: Path, hub: list) -> None:
    made = run("push", str(folder), "--lane", "olora", "--repo", "me/it", "--private", "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["url"].endswith("/me/it")
    assert b"private" in next(body for path, body in hub if path.endswith("/create"))
    (commit,) = (body for path, body in hub if "/commit/" in path)
    lines = [json.loads(line) for line in commit.splitlines()]
    files = {its["value"]["path"]: its["value"] for its in lines if its["key"] == "file"}
    assert set(files) == FILES
    sent = {name: base64.b64decode(its["content"]) for name, its in files.items()}
    adapter = folder / "adapters" / "olora"
    weights = (adapter / "adapter_model.safetensors").read_bytes()
    assert sent["adapter_model.safetensors"] == weights
    card = sent["README.md"].decode()
    for words in ("library_name: peft", "learning rate: 1e-3", "held-out loss", "of seed 0"):
        assert words in card
    assert "they do not show that this start is better" in card
    assert not any(str(folder.parent) in its.decode("latin1") for its in sent.values())


def test_a_hub_that_refuses_is_told_in_one_sentence(folder: Path, hub: list) -> None:
    made = run("push", str(folder), "--lane", "olora", "--repo", "me/no-way")
    assert made.returncode == 2
    assert made.stderr.startswith("error: 'me/no-way' could not be pushed to the hub:")
    assert made.stderr.count("\n") == 1


def test_a_dry_run_lists_the_files_and_needs_no_hub(folder: Path, tmp_path: Path) -> None:
    made = run("push", str(folder), "--lane", "lora", "--repo", "me/it", "--dry-run", "--json")
    assert set(json.loads(made.stdout)["files"]) == FILES
    exported = tmp_path / "it"
    assert run("export", str(folder), "--lane", "lora", "--out", str(exported)).returncode == 0
    assert "The adapter is that of step" in (exported / "README.md").read_text()
    (exported / "README.md").unlink()
    made = run("push", str(exported), "--repo", "me/it", "--dry-run")
    assert "would be pushed to me/it" in made.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--repo", "it"], "--repo must be owner/name, as on the hub, not 'it'"),
        (["--repo", "me/../it"], "--repo must be owner/name, as on the hub, not 'me/../it'"),
        (["--repo", "me/it"], "the run has 2 adapters: choose one with --lane, such as 'lora'"),
        (["--repo", "me/it", "--lane", "olra"], "unknown lane 'olra'; did you mean 'olora'"),
    ],
)
def test_what_cannot_be_pushed_is_refused(folder: Path, words: list, sentence: str) -> None:
    made = run("push", str(folder), *words)
    assert made.returncode == 2
    assert sentence in made.stderr


def test_without_a_token_or_offline_nothing_is_sent(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("push", str(folder), "--lane", "lora", "--repo", "me/it")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "nothing can be pushed while HF_HUB_OFFLINE is set" in run(*words).stderr
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    assert "there is no Hugging Face token on this machine" in run(*words).stderr
    assert "holds no adapter" in run("push", str(tmp_path), "--repo", "me/it").stderr


def test_a_card_names_the_rank_of_its_file(tmp_path: Path) -> None:
    starts = [name for name, start in ov.INITIALIZERS.items() if not start.needs]
    lanes = tuple(ov.Lane(name, r=2) for name in starts)
    list(runs.start(small(lanes, steps=1, batch_size=2, targets=("q_proj",)), tmp_path / "run"))
    for name in starts:
        adapter = tmp_path / "run" / "adapters" / name
        rank = json.loads((adapter / "adapter_config.json").read_text())["r"]
        card = (adapter / "README.md").read_text("utf-8")
        wider = "" if rank == 2 else f"; in these files, which B⁰A⁰ or ΔW makes wider, {rank}, "
        assert f"rank, alpha: 2, 2{wider}" in card
        assert rank in ((128,) if name == "full" else (2, 4)), name

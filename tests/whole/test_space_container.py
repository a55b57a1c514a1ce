"""The Space as it is built and run: from its front matter, as another user, in its own network."""

import base64
import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import httpx
import pytest
import yaml
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from support.environments import REQUIREMENTS, SPACES, checkout, environment, pythons, walk
from support.proxies import served
from support.served import ROOT, Visitor, end, free_port, wait_for

from olora_viz.web.jobs.accelerator import LEAST_SECONDS, MOST_SECONDS

FRONT = yaml.safe_load((ROOT / "README.md").read_text(encoding="utf-8").split("---\n")[1])
USER = 1000
"""The user of a Space's process."""
CORES = 2
PORT = 7860
LANES = [{"init": init, "r": 2, "alpha": "", "lr": "1e-3", "seed": 0} for init in ("lora", "olora")]

# As root: loopback alone, on which 0.0.0.0 is nobody else's; Python, where it is hidden in a home
# that the user may not enter; then the user, and two cores.
ENTER = """
set -e
umask 022
if [ -n "$HIDDEN" ]; then
    mount --bind "$PREFIX" "$STAGE"
    mount -t tmpfs -o mode=755 tmpfs "$HIDDEN"
    mkdir -p "$PREFIX"
    mount --bind "$STAGE" "$PREFIX"
fi
exec setpriv --reuid "$USER_ID" --regid "$USER_ID" --clear-groups \
    taskset -c "$CPUS" env -i "$@"
"""
LOOPBACK = (
    "import fcntl, socket, struct, os, sys; s = socket.socket(); "
    "fcntl.ioctl(s, 0x8914, struct.pack('16sh22x', b'lo', 1)); "  # SIOCSIFFLAGS, IFF_UP
    "os.execvp(sys.argv[1], sys.argv[1:])"
)

Found = TypeVar("Found")


def can_isolate() -> bool:
    """Whether this machine lets us have a network and mounts of our own."""
    if os.geteuid() or not all(map(shutil.which, ("unshare", "setpriv", "taskset"))):
        return False
    return subprocess.run(["unshare", "--net", "--mount", "true"], check=False).returncode == 0


def install(folder: Path) -> Path:
    """Make the environment that Spaces make; return its Python."""
    python = pythons().get(SPACES)
    if python is None:
        warnings.warn(f"no Python {SPACES} on this machine: {sys.version} is tested", stacklevel=2)
    gradio = f"gradio[oauth,mcp]=={FRONT['sdk_version']}"
    return environment(folder, python or sys.executable, *REQUIREMENTS, gradio, "spaces")


@dataclass
class Space:
    """What is built of the repository, and where it is run."""

    folder: Path
    python: Path
    isolated: bool = field(default_factory=can_isolate)

    @property
    def code(self) -> Path:
        return self.folder / "app"

    @property
    def compiled(self) -> Path:
        """Where Python keeps what it has compiled."""
        return self.folder / "compiled"

    def files(self) -> dict[Path, int]:
        """Return when each of the files next to the code has changed."""
        everything = [self.code, *self.code.rglob("*")]
        return {path: path.stat().st_mtime_ns for path in everything}

    @contextmanager
    def running(self, name: str, **more: str) -> Iterator["Running"]:
        """Start the app as a Space does.

        Args:
            name: of its home.
            more: environment variables.
        """
        port = PORT if self.isolated else free_port()
        home = self.folder / name
        home.mkdir()
        environment = {
            "PATH": f"{self.python.parent}:/usr/local/bin:/usr/bin:/bin", "HOME": str(home),
            "PYTHONUNBUFFERED": "1", "PYTHONPYCACHEPREFIX": str(self.compiled),
            "SYSTEM": "spaces", "SPACE_ID": "somebody/olora", "SPACE_AUTHOR_NAME": "somebody",
            "SPACE_REPO_NAME": "olora", "SPACE_TITLE": FRONT["title"],
            "SPACE_HOST": "somebody-olora.hf.space", "CPU_CORES": str(CORES), "MEMORY": "16Gi",
            "GRADIO_SERVER_NAME": "0.0.0.0" if self.isolated else "127.0.0.1",
            "GRADIO_NUM_PORTS": "1", "GRADIO_ALLOW_FLAGGING": "never",
            "GRADIO_THEME": "huggingface", "GRADIO_SSR_MODE": "true",
            "GRADIO_ANALYTICS_ENABLED": "False", **more,
        }  # fmt: skip
        if not self.isolated:
            environment["GRADIO_SERVER_PORT"] = str(port)
        variables = [f"{key}={value}" for key, value in environment.items()]
        command = [*variables, str(self.python), FRONT["app_file"]]
        log = self.folder / f"{name}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*self.entered(), *command] if self.isolated else ["env", "-i", *command],
                cwd=self.code, env=os.environ | self.places(), stdout=out, stderr=out,
            )  # fmt: skip
        if self.isolated:
            for folder in (home, self.compiled):
                os.chown(folder, USER, USER)
        running = Running(process, f"http://127.0.0.1:{port}", self.isolated, home, log)
        try:
            yield running
        finally:
            end(process)

    def entered(self) -> list[str]:
        as_user = ["sh", "-c", ENTER, "-"]
        return ["unshare", "--net", "--mount", sys.executable, "-c", LOOPBACK, *as_user]

    def places(self) -> dict[str, str]:
        """Say where Python is, and the folder on the way to it that the user may not enter."""
        program = self.python.resolve()
        closed = [one for one in program.parents if not one.stat().st_mode & 0o001]
        cores = sorted(os.sched_getaffinity(0))[:CORES]
        return {
            "HIDDEN": str(closed[-1]) if closed else "", "PREFIX": str(program.parents[1]),
            "STAGE": str(self.folder / "stage"), "USER_ID": str(USER),
            "CPUS": ",".join(map(str, cores)),
        }  # fmt: skip


@dataclass
class Running:
    """A running Space."""

    process: subprocess.Popen[bytes]
    url: str
    isolated: bool
    home: Path
    log: Path

    def inside(self, do: Callable[[], Found]) -> Found:
        """Call in the network of the Space, to which threads can go one by one."""

        def entered() -> Found:
            if self.isolated:
                ours = os.stat("/proc/self/ns/net").st_ino
                net = Path(f"/proc/{self.process.pid}/ns/net")
                while net.stat().st_ino == ours:
                    assert self.process.poll() is None, self.said
                with net.open() as file:
                    assert ctypes.CDLL(None).setns(file.fileno(), 0) == 0
            return do()

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(entered).result()

    @property
    def said(self) -> str:
        return self.log.read_text("utf-8", errors="replace")

    def wait(self) -> None:
        wait_for(self.url, self.process, 300, self.log)


@pytest.fixture(scope="module")
def space() -> Iterator[Space]:
    """The repository with nothing but its environment, where the user can read and not write."""
    folder = Path(tempfile.mkdtemp(prefix="olora-viz-space-"))  # pytest's are closed to others
    folder.chmod(0o755)
    made = Space(folder, install(folder / "venv"))
    if not made.isolated:
        warnings.warn(
            "without root, or where it may have no network of its own, the Space is run as this "
            "user and listens on 127.0.0.1 and a free port",
            stacklevel=1,
        )
    made.compiled.mkdir()
    (folder / "stage").mkdir()
    checkout(made.code)
    for path in made.files():
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield made
    for path in made.files():
        path.chmod(0o755)
    shutil.rmtree(folder, ignore_errors=True)  # gigabytes


def test_the_container_answers_races_hands_out_adapters_and_ends_when_told(space: Space) -> None:
    before = space.files()
    with space.running("home") as running:

        def visit() -> None:
            running.wait()
            page = httpx.get(running.url, trust_env=False).text
            assert "window.gradio_config" in page
            visitor = Visitor(running.url, "space")
            job = visitor.race(steps=2, lanes=LANES)
            run = visitor.finished(job, seconds=300)
            assert run["summary"]["state"] == "finished", run["summary"]
            assert len(run["steps"]) == 2
            adapter = visitor.client.get(visitor.ask("adapter", [job, 1])["url"])
            assert adapter.content.startswith(b"PK")

        running.inside(visit)
        if space.isolated:
            process = Path(f"/proc/{running.process.pid}")
            assert f"Uid:\t{USER}\t{USER}\t{USER}\t{USER}" in (process / "status").read_text()
            assert f"00000000:{PORT:04X}" in (process / "net" / "tcp").read_text()
        running.process.terminate()
        running.process.wait(60)
    assert (running.home / ".cache" / "olora_viz").is_dir(), "where it writes"
    assert f"{space.code}/" not in running.said, running.said  # no traceback of ours
    assert space.files() == before


def test_verbs_of_every_kind_end_well_in_the_environment_of_the_space(space: Space, tmp_path: Path) -> None:
    """The other versions of Python walk in `test_first_command`; here all is compiled that the app has loaded."""
    table = walk(space.python, space.code, tmp_path, "--shorter", PYTHONPYCACHEPREFIX=str(space.compiled))
    assert f"the package in {space.code}\n" in table


def test_on_zero_gpu_a_refusal_is_a_sentence_and_the_race_is_raced_on_the_cpu(space: Space) -> None:
    """The package ``spaces`` is the real one; the service that it asks is stood in for."""
    asked: list[dict[str, str]] = []

    async def schedule(request: Request) -> Response:
        asked.append(dict(request.query_params))
        return JSONResponse({"left": 12, "wait": 18429.0}, 429)

    async def report(_: Request) -> Response:
        return Response()

    routes = [Route("/schedule", schedule, methods=["POST"]), Route("/startup-report", report, methods=["POST"])]
    payload = base64.urlsafe_b64encode(json.dumps({"user": None}).encode()).decode()
    token = f"header.{payload.rstrip('=')}.signature"
    service = free_port()
    zero = {"SPACES_ZERO_GPU": "true", "SPACES_ZERO_DEVICE_API_URL": f"http://127.0.0.1:{service}"}
    before = space.files()
    with space.running("zero", **zero) as running:

        def visit() -> None:
            with served(routes, port=service):
                running.wait()
                visitor = Visitor(running.url, "zero")
                visitor.client.headers["x-ip-token"] = token
                job = visitor.race(steps=2, lanes=LANES)
                for _ in visitor.heard({visitor.follow(job): "follow"}):
                    if visitor.shown.get("refused"):
                        break
                assert "12 s are left of your time for today" in visitor.shown["refused"]
                assert "there is more in 5:07:09" in visitor.shown["refused"]
                on_cpu = visitor.call("race_on_cpu", [job])[0]
                run = visitor.finished(on_cpu, seconds=300)
                assert run["summary"]["state"] == "finished", run["summary"]

        running.inside(visit)
    assert [one["token"] for one in asked] == [token]
    assert LEAST_SECONDS <= int(asked[0]["durationSeconds"]) <= MOST_SECONDS
    assert "tensors packing: 100%" in running.said, "a model was on the GPU before the launch"
    assert space.files() == before

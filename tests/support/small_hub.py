"""A model hub on the loopback, as much of one as a client needs to fetch a few tiny files."""

import hashlib
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True)
class Repository:
    """What the hub holds under one name."""

    branches: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Revision → file name → content."""
    pull_requests: tuple[tuple[int, str, str], ...] = ()
    """(number, title, author); the content of number n is the branch "refs/pr/n"."""
    gated: bool = False
    silent: bool = False
    """True: connections are taken and never answered."""


def files_of(folder: Path) -> dict[str, bytes]:
    """Read a folder as the content of a branch."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _sha(repository: Repository, revision: str) -> str:
    names = sorted(repository.branches[revision])
    return hashlib.sha1(json.dumps([revision, names]).encode()).hexdigest()


@contextmanager
def small_hub(repositories: dict[str, Repository]):
    """Serve repositories; yields (the address, the list of paths asked for so far)."""
    asked: list[str] = []
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def _send(self, status, body=b"", **headers):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def _json(self, content):
            self._send(200, json.dumps(content).encode(), Content_Type="application/json")

        def do_GET(self):
            path = unquote(urlsplit(self.path).path).strip("/")
            asked.append(path)
            its = path.removeprefix("api/models/").removeprefix("api/datasets/")
            is_api = its != path
            owner, name, *rest = its.split("/")
            repository = repositories.get(f"{owner}/{name}")
            if repository is None:
                return self._send(404, b"{}", X_Error_Code="RepoNotFound")
            if repository.silent:
                over.wait(60)
                return None
            tail = "/".join(rest)
            if is_api and tail.startswith("discussions"):
                return self._json(
                    {
                        "discussions": [
                            {
                                "num": number,
                                "title": title,
                                "author": {"type": "user", "name": author},
                                "status": "open",
                                "isPullRequest": True,
                                "createdAt": "2024-01-01T00:00:00.000Z",
                                "repo": {"type": "model", "name": f"{owner}/{name}"},
                            }
                            for number, title, author in repository.pull_requests
                        ],
                        "count": len(repository.pull_requests),
                        "start": 0,
                    }
                )
            by_revision = {_sha(repository, key): key for key in repository.branches}
            by_revision |= {key: key for key in repository.branches}
            if is_api:
                kind, _, wanted = tail.partition("/")
                if kind == "auth-check":
                    return self._send(403, b"{}", X_Error_Code="GatedRepo")
                revision = by_revision.get(wanted or "main")
                if revision is None:
                    return self._send(404, b"{}", X_Error_Code="RevisionNotFound")
                if kind == "tree":
                    return self._json(
                        [
                            {
                                "type": "file",
                                "path": file,
                                "size": len(content),
                                "oid": hashlib.sha1(content).hexdigest(),
                            }
                            for file, content in repository.branches[revision].items()
                        ]
                    )
                return self._json(
                    {
                        "id": f"{owner}/{name}",
                        "sha": _sha(repository, revision),
                        "gated": "manual" if repository.gated else False,
                        "siblings": [
                            {"rfilename": file, "size": len(content)}
                            for file, content in repository.branches[revision].items()
                        ],
                    }
                )
            if repository.gated:
                return self._send(403, b"{}", X_Error_Code="GatedRepo")
            revision = by_revision.get("/".join(rest[1:-1]))
            content = repository.branches.get(revision or "", {}).get(rest[-1])
            if content is None:
                return self._send(404, b"", X_Error_Code="EntryNotFound")
            return self._send(
                200, content, ETag=f'"{hashlib.sha1(content).hexdigest()}"', X_Repo_Commit=_sha(repository, revision)
            )

        do_HEAD = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        over.set()
        server.shutdown()
        thread.join()
        server.server_close()

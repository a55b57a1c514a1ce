"""Files of a visitor: brought along, and downloaded."""

from __future__ import annotations

import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from olora_viz.machine.files import temporary_folder
from olora_viz.tasks import Task, load_task
from olora_viz.tasks.files import advice
from olora_viz.web.guard.fairness import too_many
from olora_viz.web.guard.limits import NOBODY, Limits, Visitor

ADDRESS_LIFE = 600
"""How long an address is valid, in seconds; a download that has begun is completed."""

MOST_ADDRESSES = 1000
"""Maximum number of valid addresses; the oldest ones expire first."""

EXPIRED = "this download does not exist, or has expired: ask for it again on the page"


class Downloads:
    """Files by their tickets, which are the last part of an address."""

    def __init__(self, seconds: float = ADDRESS_LIFE, most: int = MOST_ADDRESSES) -> None:
        self._seconds, self._most = seconds, most
        self._offered: dict[str, tuple[Path, float]] = {}
        self._lock = threading.Lock()

    def offer(self, file: Path) -> str:
        """Return an address of a file, below the page's root."""
        ticket, now = secrets.token_urlsafe(16), time.monotonic()
        with self._lock:
            valid = [item for item in self._offered.items() if now < item[1][1]]
            self._offered = dict(valid[-self._most + 1 :])
            self._offered[ticket] = (file, now + self._seconds)
        return f"/download/{ticket}"

    def find(self, ticket: str) -> Path | None:
        """Return the file of a ticket; None if there is none, or it has expired or was removed."""
        file, until = self._offered.get(ticket, (None, 0.0))
        valid = file is not None and time.monotonic() < until and file.is_file()
        return file if valid else None

    async def answer(self, request: Request) -> Response:
        """Answer the request of a browser."""
        file = self.find(request.path_params["ticket"])
        if file is None:
            return PlainTextResponse(EXPIRED, 404)
        return FileResponse(file, filename=file.name, headers={"cache-control": "no-store"})


DOWNLOADS = Downloads()
"""Those of this process; the tickets of several servers in it do not collide."""


def route() -> Route:
    """Return the route of the addresses."""
    return Route("/download/{ticket}", DOWNLOADS.answer)


TOKEN = "file:"
"""Prefix of a file's token, which stands for its task, or its text to keep, in the set-up."""

STORED_NAME = "your-file"
"""The stored name of every task file: the visitor's own name could be shown to others."""


_UNSAFE = re.compile(r"[^\w .()+-]")
"""Characters of a file's name that mean something in HTML, in JSON or to a disk."""


def own_name(path: Path) -> str:
    """Return how the visitor calls a stored file, for what its owner alone takes home."""
    beside = _name_of(path)
    return beside.read_text("utf-8") if beside.is_file() else path.name


def copy_own(path: Path, copy: Path) -> None:
    """Copy a stored file, with its own name."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, copy)
    _name_of(copy).write_text(own_name(path), "utf-8")


def _name_of(path: Path) -> Path:
    """Return the file with the own name of a stored file."""
    return path.with_name(f"{path.name}.name")


class FileKind(NamedTuple):
    """What a visitor's own file is for: a page has one of each."""

    field: str
    """The field of `RaceConfig` that it sets."""
    words: str
    """What a sentence calls it."""
    stored: str
    """The stored name of every such file."""
    endings: tuple[str, ...]


EXAMPLES = FileKind("task", "your file", STORED_NAME, (".json", ".jsonl", ".csv"))
"""The examples that a race trains on."""

TEXT = FileKind("keep", "your text to keep", "your-text", (".txt", ".md", *EXAMPLES.endings))
"""What should not be lost: a text, or other examples."""

FILE_KINDS = {kind.field: kind for kind in (EXAMPLES, TEXT)}


class Brought(NamedTuple):
    """A visitor's own file."""

    token: str
    visit: str
    path: Path
    kind: FileKind
    task: Task | None
    """Its examples; None for a text to keep."""
    owner: Visitor = NOBODY
    seen: float = 0.0
    """When it was brought."""


@runtime_checkable
class OwnFiles(Protocol):
    """A lookup of visitors' files by token."""

    def find(self, token: object, kind: FileKind = EXAMPLES) -> Path | None:
        """Return the file of a token; None if there is none of this kind (any more)."""
        ...


class FilesOfPage(NamedTuple):
    """The files of one page: another page's token finds nothing."""

    files: VisitorFiles
    visit: str | None

    def find(self, token: object, kind: FileKind = EXAMPLES) -> Path | None:
        """Return the file of a token; None if this page has none of this kind (any more)."""
        brought = self.files.brought_by(self.visit or "", token)
        return brought.path if brought and brought.kind is kind else None


class VisitorFiles:
    """The files of the open pages: one of each kind per page, removed when the page is closed."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._folder = temporary_folder(self, "files")[0] / "sent"
        self._folder.mkdir()
        self._brought: dict[str, Brought] = {}
        self._lock = threading.Lock()

    def bring(
        self, visit: str | None, name: Any, text: Any, owner: Visitor = NOBODY, *, kind: FileKind = EXAMPLES,
        check: Callable[[Path], object] = lambda _: None,
    ) -> Brought:  # fmt: skip
        """Check and keep a file.

        Args:
            visit: of the page that it comes from.
            name: of the visitor's file; its extension counts, and the rest is for its owner alone.
            text: the file's content.
            owner: who brings it; if too many are kept, the visitor with the most loses the oldest.
            check: raises ValueError if the file does not suit the page's set-up.

        Raises:
            ValueError: one sentence with the line and the rule.
        """
        limits, words = self._limits, kind.words
        if not isinstance(name, str) or not isinstance(text, str):
            raise ValueError("a file must be sent as its name and its text")
        ending = f".{name.lower().rpartition('.')[2][:10]}" if "." in name else ""
        if ending not in kind.endings:
            how = advice(ending, plain=kind is TEXT)
            raise ValueError(f"{words} must end in {', '.join(kind.endings)}, not in {ending!r}{how}")
        try:
            data = text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(f"{words} is not UTF-8 text") from error
        if len(data) > limits.max_upload_kib * 1024:
            raise ValueError(f"{words} has {len(data):,} bytes, more than {limits.max_upload_kib} KiB")
        key = secrets.token_urlsafe(16)
        path = self._folder / key / f"{kind.stored}{ending}"
        try:
            path.parent.mkdir()
            path.write_bytes(data)
            _name_of(path).write_text(_UNSAFE.sub("_", name.replace("\\", "/").rpartition("/")[2][-80:]), "utf-8")
            task = load_task(path) if kind is EXAMPLES else None
            if task:
                _check(task, limits)
            check(path)
        except BaseException as error:
            shutil.rmtree(path.parent, ignore_errors=True)
            if isinstance(error, ValueError):
                sentence = str(error).replace(f"the text to keep, {str(path)!r},", words)
                raise ValueError(sentence.replace(str(path), words)) from None
            if isinstance(error, OSError):
                raise ValueError("the server's disk is full: try again later") from None
            raise
        brought = Brought(f"{TOKEN}{key}", visit or "", path, kind, task, owner, time.monotonic())
        self.forget(visit, kind)
        with self._lock:
            self._brought[brought.token] = brought
            gone = too_many(self._brought.values(), limits.keep_files)
        for dropped in gone:
            self._drop(dropped.token)
        return brought

    def find(self, token: object, kind: FileKind = EXAMPLES) -> Path | None:
        """Return the file of a token; None if there is none of this kind (any more)."""
        brought = self._brought.get(token) if isinstance(token, str) else None
        return brought.path if brought and brought.kind is kind else None

    def brought_by(self, visit: str, token: object) -> Brought | None:
        """Return what is known of the file of a token if that page has sent it; None otherwise."""
        brought = self._brought.get(token) if isinstance(token, str) else None
        return brought if brought and brought.visit == visit else None

    def forget(self, visit: str | None, *kinds: FileKind) -> None:
        """Remove the files of a closed page, or those of some kinds; races that have started keep their own copies."""
        for token, brought in list(self._brought.items()):
            if brought.visit == (visit or "") and (not kinds or brought.kind in kinds):
                self._drop(token)

    def _drop(self, token: str) -> None:
        with self._lock:
            brought = self._brought.pop(token, None)
        if brought is not None:
            shutil.rmtree(brought.path.parent, ignore_errors=True)


def _check(task: Task, limits: Limits) -> None:
    """Reject files that would take too long to tokenize."""
    examples = task.examples
    if len(examples) > limits.max_examples:
        raise ValueError(f"your file has {len(examples):,} examples, more than {limits.max_examples:,}")
    for example in examples:
        for text in (example.prompt, example.answer, *(example.choices or ())):
            if len(text) > limits.max_characters:
                raise ValueError(
                    f"your file has a text of {len(text):,} characters, more than "
                    f"{limits.max_characters:,}: {text[:40]!r}…"
                )

"""Work that another process computes: it goes there as plain values, and what it finds comes back in news.

The other process may be on another machine, which sees no file of this one: files travel as bytes as well. It works in
a temporary folder of its own, and hands back what changes there, so that the work's own folder is always as after a
kill: from it the work goes on in a third process, bitwise the same.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from olora_viz.background.host import Host
from olora_viz.background.record import ENDED, PAUSED, WAITING, RaceRecord
from olora_viz.background.wishes import Heard, Wish
from olora_viz.background.work import BackgroundWork
from olora_viz.machine.files import TEMPORARY, clear_dead, lock_folder, write_bytes, write_json
from olora_viz.machine.process import StoppedEarlyError
from olora_viz.races.config import RaceConfig
from olora_viz.races.data import ModelCache
from olora_viz.races.race import Race

AT_REST = (PAUSED, WAITING)
"""States in which work may go on anywhere: they are entered once it has left the other process."""

LOOK_EVERY = 0.5
"""Seconds after which the files are looked at although nothing was reported, such as for a checkpoint."""


class FilePart(NamedTuple):
    """What has changed in a file."""

    name: str
    """Its path in the folder of the work."""
    start: int
    """The first byte that differs; the file ends with `data`."""
    data: bytes | None
    """None if it is gone."""


def moved(value: Any, before: Path, now: Path) -> Any:
    """Return a value whose paths below one folder, also in its fields, are below another one."""
    if isinstance(value, Path) and value.is_relative_to(before):
        return now / value.relative_to(before)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    own = {each.name: getattr(value, each.name) for each in fields(value) if each.init}
    others = {name: new for name, old in own.items() if (new := moved(old, before, now)) is not old}
    return replace(value, **others) if others else value


class FolderNews:
    """Finds what has changed in the files of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._known = folder, dict[str, tuple[os.stat_result, int]]()
        """Of each file its state, and the bytes of it that were taken."""

    def parts(self) -> list[FilePart]:
        """Return what has changed since the last call.

        Files of lines come last, so that no other is ahead of them; of these whole lines are taken, which stay.
        """
        now_known, parts = dict[str, tuple[os.stat_result, int]](), list[FilePart]()
        for path in sorted(self._files(), key=lambda path: (path.suffix == ".jsonl", path)):
            name, is_lines = path.relative_to(self._folder).as_posix(), path.suffix == ".jsonl"
            with suppress(FileNotFoundError), path.open("rb") as file:
                now = os.fstat(file.fileno())
                before, taken = self._known.get(name, (now, -1))
                is_same = taken >= 0 and now.st_ino == before.st_ino
                if not (is_same and (now.st_size, now.st_mtime_ns) == (before.st_size, before.st_mtime_ns)):
                    start = taken if is_same and is_lines and now.st_size >= taken else 0
                    file.seek(start)
                    data = file.read(now.st_size - start)
                    data = data[: data.rfind(b"\n") + 1] if is_lines else data
                    parts.append(FilePart(name, start, data))
                    taken = start + len(data)
                now_known[name] = now, taken
        parts += [FilePart(name, 0, None) for name in self._known if name not in now_known]
        self._known = now_known
        return parts

    def _files(self) -> Iterator[Path]:
        for home, folders, names in os.walk(self._folder):
            folders[:] = [name for name in folders if not name.endswith(".partial")]
            yield from (Path(home) / name for name in names if not name.endswith((".partial", ".lock")))


def write_parts(folder: Path, parts: Iterable[FilePart], own_files: Mapping[str, Path]) -> None:
    """Write what has changed; the set-up of a run names the visitor's own files where they are here."""
    for name, start, data in parts:
        path = folder / name
        if data is None:
            path.unlink(missing_ok=True)
        elif start:
            with path.open("r+b") as file:
                file.seek(start)
                file.truncate()
                file.write(data)
        elif name == "config.json" and own_files:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, json.loads(data) | {key: str(own) for key, own in own_files.items()})
        else:
            write_bytes(path, data)


@dataclass(frozen=True)
class Ended:
    """How a turn ended."""

    paused: bool = False
    stopped: bool = False
    problem: str = ""
    """Why it failed, in one sentence."""
    trace: str = ""
    """Where, if that was not expected."""


@dataclass(frozen=True)
class News:
    """What has changed since the last news."""

    folder: Path
    """The one of the work in the other process."""
    files: list[FilePart]
    values: dict[str, Any] = field(default_factory=dict)
    tails: dict[str, list[Any]] = field(default_factory=dict)
    """What lists have more."""
    results: dict[str, Any] = field(default_factory=dict)
    """The fields of `BackgroundRace.results` that differ."""
    ended: Ended | None = None
    """Set in the last news of a turn."""

    def __bool__(self) -> bool:
        """Whether anything has changed."""
        return bool(self.files or self.values or self.tails or self.results or self.ended)


@dataclass(frozen=True)
class Parcel:
    """Work with all that it needs in another process."""

    work: BackgroundWork
    """As plain values, once it is on its way."""
    own_files: Mapping[str, tuple[str, bytes]]
    """Names and contents of the visitor's own files."""
    files: list[FilePart]
    """Those of the work's folder."""
    threads: int
    """With which it computes: results depend on it."""
    wish: Wish

    @classmethod
    def of(cls, work: BackgroundWork, threads: int, wish: Wish) -> Parcel:
        """Pack work at rest."""
        own = {name: (path.name, path.read_bytes()) for name, path in work.own_files.items()}
        return cls(work, own, FolderNews(work.run_folder).parts(), threads, wish)


# In the other process --------------------------------------------------------------------------


def compute(parcel: Parcel, hear: Callable[[int], Heard | None]) -> Iterator[News]:
    """Compute work until its end or a pause; yield its news, see `take`.

    Args:
        hear: waits for a wish after the one of a number, and returns it, or None if there is none for now.
    """
    with _home(parcel.work.name) as home:
        folder, own_files = home / "work", {}
        for name, (own, data) in parcel.own_files.items():
            own_files[name] = home / "own" / name / own
            write_bytes(own_files[name], data)
        write_parts(folder, parcel.files, own_files)
        work = moved(parcel.work, parcel.work.run_folder, folder)
        host = _WorkersHost(own_files, work)
        work.own_files, work.host = own_files, host
        reporter, ends = _Reporter(work, folder), list[Ended]()
        host.follow(parcel.wish)
        computing = threading.Thread(target=_run, args=(work, parcel.threads, ends), daemon=True)
        threading.Thread(target=_listen, args=(host, hear, ends), daemon=True).start()
        computing.start()
        try:
            version = 0
            while not ends:
                version = work.newer(version, LOOK_EVERY)
                if not ends and (news := reporter.news()):
                    yield news
            computing.join()
            yield reporter.news(ends[0])
        finally:
            work.stop()
            computing.join()


def prepare_there(config: RaceConfig) -> None:
    """Set up a race and forget it, so that the next one in this process starts at once."""
    Race(config, cache=_models).lanes.detach()


def compute_there(parcel: Parcel, box: Any, turn: str) -> Iterator[News]:
    """Compute work in a worker of a cluster.

    Args:
        box: the handle of `Wishes`.
        turn: which one to follow.
    """

    def hear(number: int) -> Heard | None:
        try:
            return box.newer.remote(turn, number).future().result()
        except Exception:  # the box was lost with its process, and there will be another one
            time.sleep(LOOK_EVERY)
            return None

    yield from compute(parcel, hear)


_models = ModelCache()
"""The model of the latest race in this process."""


@contextmanager
def _home(name: str) -> Generator[Path]:
    """Make the temporary folder of a turn: the same at every turn, since a study's files name it.

    It waits for a process that still has it, which is about to end.
    """
    clear_dead(Path(tempfile.gettempdir()))
    home = Path(tempfile.gettempdir()) / f"{TEMPORARY}{name}"
    while True:
        home.mkdir(mode=0o700, exist_ok=True)
        try:
            lock = lock_folder(home)
            break
        except BlockingIOError:
            time.sleep(LOOK_EVERY)
    try:
        shutil.rmtree(home / "work", ignore_errors=True)
        yield home
    finally:
        os.close(lock)
        shutil.rmtree(home, ignore_errors=True)


class _WorkersHost(Host):
    """What a worker does for its work: as its server wishes, with the visitor's own files called by their names."""

    def __init__(self, own_files: Mapping[str, Path], work: BackgroundWork) -> None:
        self._own_files, self._work, self._wish = own_files, work, Wish()

    def follow(self, wish: Wish) -> None:
        """Let the work do as its server wishes."""
        self._wish = wish
        self._work.obey(wish)

    @property
    def models(self) -> ModelCache:
        return _models

    def yields(self) -> bool:
        return self._wish.yields

    def without_paths(self, sentence: str) -> str:
        for own in self._own_files.values():
            sentence = sentence.replace(str(own), own.name)
        return sentence


def _run(work: BackgroundWork, threads: int, ends: list[Ended]) -> None:
    """Compute in a thread, of which a fixed number belong to each product."""
    torch.set_num_threads(threads)
    try:
        end = Ended(paused=bool(work.run()))
        work.release()  # what is only for a quick resume
    except StoppedEarlyError:
        end = Ended(stopped=True)
    except ValueError as error:
        end = Ended(problem=work.sentence_on(error))
    except Exception as error:
        end = Ended(problem=work.sentence_on(error), trace=traceback.format_exc())
    ends.append(end)
    work.wake()


def _listen(host: _WorkersHost, hear: Callable[[int], Heard | None], ends: list[Ended]) -> None:
    """Follow the server's wishes until the end."""
    number = 0
    while not ends:
        heard = hear(number)
        if heard is not None:
            number = heard.number
            host.follow(heard.wish)


class _Reporter:
    """Finds what has changed in work and its folder."""

    def __init__(self, work: BackgroundWork, folder: Path) -> None:
        self._work, self._folder, self._files = work, folder, FolderNews(folder)
        self._files.parts()
        self._sent = {name: _kept(value) for name, value in work.travelling().items()}

    def news(self, ended: Ended | None = None) -> News:
        """Return what is new: its files last, which then have what the rest speaks of."""
        values, tails, results = dict[str, Any](), dict[str, list[Any]](), dict[str, Any]()
        for name, value in self._work.travelling().items():
            before, now = self._sent[name], _kept(value)
            if isinstance(value, list):
                if now > before:
                    tails[name] = value[before:now]
            elif isinstance(value, dict):
                if now.keys() != before.keys() or any(now[key] is not before[key] for key in now):
                    values[name] = now
            elif isinstance(value, RaceRecord) and isinstance(before, RaceRecord):
                pairs = {each.name: getattr(value, each.name) for each in fields(value)}
                results |= {key: new for key, new in pairs.items() if new is not getattr(before, key)}
            elif value is not before:
                values[name] = value
            self._sent[name] = now
        return News(self._folder, self._files.parts(), values, tails, results, ended)


def _kept(value: Any) -> Any:
    """Return what a later value is compared with: of a list, which only grows, the length."""
    if isinstance(value, list):
        return len(value)
    return dict(value) if isinstance(value, dict) else value


# In the process that serves ----------------------------------------------------------------------


def take(work: BackgroundWork, news: News, before_note: str = "") -> Ended | None:
    """Take over news; return how the turn ended, None if it goes on.

    Args:
        before_note: what is said before the note, until the work has ended.
    """
    folder = work.run_folder
    write_parts(folder, news.files, work.own_files)
    values = {name: moved(value, news.folder, folder) for name, value in news.values.items()}
    if values.get("state") in AT_REST:
        del values["state"]
        values.pop("note", None)
    if before_note and "note" in values and values.get("state", work.state) not in ENDED:
        values["note"] = "; ".join(filter(None, [before_note, values["note"]]))
    with work.changed:
        for name, tail in news.tails.items():
            getattr(work, name).extend(tail)
        work.take(values, news.results)
    if news:
        work.wake()
    return news.ended

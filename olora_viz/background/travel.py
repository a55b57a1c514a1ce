"""How work, its paths and its files travel to another process, perhaps on another machine, and back."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from olora_viz.background.work import BackgroundWork
from olora_viz.machine.files import write_bytes, write_json

OURS = frozenset({
    "why", "complete", "error", "stopping", "listen", "version", "changed", "_heard", "own_files", "seen",
    "grace", "left", "spent", "deadline", "overtime", "yields", "elsewhere", "before_news", "without_paths",
    "disk_full", "racing", "models", "goal", "pausing", "why_paused", "last", "cut_off", "refused", "zips",
    "clear_disk", "_steps_left", "_run", "_may_pause", "_answer_seconds", "_turn_began", "_learnt",
    "write_report", "drawn", "key",
})  # fmt: skip
"""Attributes of work that each process has for itself: commands, limits, listeners, clocks and what is in memory. All
others say what it is and what it has found, and travel."""


class FilePart(NamedTuple):
    """What has changed in a file."""

    name: str
    """Its path in the folder of the work."""
    start: int
    """The first byte that differs; the file ends with `data`."""
    data: bytes | None
    """None if it is gone."""


def travelling(work: BackgroundWork) -> dict[str, Any]:
    """Return the attributes of work that travel."""
    return {each.name: getattr(work, each.name) for each in fields(work.there) if each.name not in OURS}


@dataclass(frozen=True)
class Packed:
    """Work as its kind and plain values."""

    kind: type[BackgroundWork]
    values: Mapping[str, Any]

    @classmethod
    def of(cls, work: BackgroundWork) -> Packed:
        """Pack work, with the work that it is about."""
        values = travelling(work)
        inner = {name: cls.of(value) for name, value in values.items() if isinstance(value, BackgroundWork)}
        return cls(work.there, values | inner)

    def unpacked(self, before: Path, now: Path) -> BackgroundWork:
        """Make the work, whose folder was another one before."""
        values: dict[str, Any] = {name: moved(value, before, now) for name, value in self.values.items()}
        for name, value in values.items():
            if isinstance(value, Packed):
                values[name] = value.unpacked(before, now)
        return self.kind(**values)


def moved(value: Any, before: Path, now: Path) -> Any:
    """Return a value whose paths below one folder, also in its fields, are below another one."""
    if isinstance(value, Path) and value.is_relative_to(before):
        return now / value.relative_to(before)
    if not is_dataclass(value) or isinstance(value, type | Packed):
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
        found, parts = dict[str, tuple[os.stat_result, int]](), list[FilePart]()
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
                found[name] = now, taken
        parts += [FilePart(name, 0, None) for name in self._known if name not in found]
        self._known = found
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

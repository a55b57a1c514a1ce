"""Atomic files and folders: written under a temporary name, then renamed; and their sizes."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
import zipfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

try:
    import fcntl
except ImportError:  # not a Unix
    fcntl = None


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    _replace(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file atomically; NaN raises, since JSON has no NaN."""
    write_text(path, json.dumps(values, indent=1, allow_nan=False) + "\n")


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a safetensors file atomically.

    Raises
    ------
    OSError : the file cannot be written, for instance on a full disk; an older file is kept.
    """
    # safetensors writes to a file of its own beside its target, which a kill would leave behind.
    made = path.with_name(f".{path.name}.partial")
    shutil.rmtree(made, ignore_errors=True)
    try:
        made.mkdir()
        save_file(tensors, made / path.name, metadata={"format": "pt"})
        _share(made)
        os.replace(made / path.name, path)
    except SafetensorError as error:
        raise _unwrapped(error, path) from None
    finally:
        shutil.rmtree(made, ignore_errors=True)


def write_zip(path: Path, folder: Path) -> None:
    """Write the files of a folder into a zip file atomically, below a folder of the zip's name."""
    write_archive(path, {f"{path.stem}/{file.name}": file for file in sorted(folder.iterdir())})


def write_archive(path: Path, contents: Mapping[str, Path | str]) -> None:
    """Write files and texts into a zip file atomically, by their paths in it; texts are packed."""

    def write(partial: Path) -> None:
        with zipfile.ZipFile(partial, "w") as archive:
            for name, its in contents.items():
                if isinstance(its, Path):
                    archive.write(its, name)
                else:
                    archive.writestr(name, its, zipfile.ZIP_DEFLATED)

    _replace(path, write)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file.

    Raises
    ------
    ValueError : the file is empty, truncated or not a safetensors file.
    OSError : the file does not exist or cannot be read.
    """
    _check_file(path)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{str(path)!r} is damaged: {error}") from None


def check_tensors(path: Path) -> None:
    """Check that a safetensors file is whole, by its header alone.

    Raises
    ------
    ValueError : the file is empty, truncated or not a safetensors file.
    OSError : the file does not exist or cannot be read.
    """
    _check_file(path)
    try:
        with safe_open(path, framework="pt"):
            pass
    except SafetensorError as error:
        raise ValueError(f"{str(path)!r} is damaged: {error}") from None


def _check_file(path: Path) -> None:
    """Raise what Python raises for a folder, which safetensors calls a missing device."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    ValueError : the file is not JSON, or not a JSON object.
    OSError : the file does not exist or cannot be read.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # not JSON, or not UTF-8
        raise ValueError(f"{str(path)!r} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{str(path)!r} must hold a JSON object, not {json.dumps(values)[:40]}")
    return values


def is_free(folder: Path) -> bool:
    """Whether a folder is missing or empty, apart from temporary files of a killed writer."""
    if not folder.exists():
        return True
    return folder.is_dir() and all(path.name.endswith(".partial") for path in folder.iterdir())


def free_folder(folder: Path) -> Path:
    """Return a folder, with a number behind its name if there is something in it already."""
    if is_free(folder):
        return folder
    return next(
        numbered
        for number in count(2)
        if is_free(numbered := folder.with_name(f"{folder.name}-{number}"))
    )


def folder_size(folder: Path) -> int:
    """Return the total size of the files below a folder, in bytes; 0 if it does not exist."""
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # it is being deleted
                size += (Path(parent) / name).stat().st_size
    return size


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Hold a lock, after the other processes that hold it; the system frees it when one dies.

    Processes on other machines of a shared disk wait as well, if its file system has locks; without
    locks nobody waits.

    Parameters
    ----------
    path : a file for the lock, made if it does not exist.
    """
    with path.open("a") as file:
        if fcntl is not None:
            with suppress(OSError):  # the file system has none
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def atomic_folder(folder: Path) -> Generator[Path]:
    """Yield a temporary folder that replaces `folder` on success and is deleted on error.

    An existing empty folder is filled instead of replaced, since it may be a mount point or the
    working directory of a process; its largest file, which no reader can do without, comes last.
    A folder with contents is replaced as a whole: killed at any moment, it is whole or missing.

    Raises
    ------
    OSError : the folder cannot be written, for instance on a full disk; an older folder is kept.
    """
    is_empty = folder.is_dir() and is_free(folder)
    made = folder / ".partial" if is_empty else folder.with_name(f".{folder.name}.partial")
    old = folder.with_name(f".{folder.name}.old.partial")
    for left in (made, old):  # by a writer that was killed
        shutil.rmtree(left, ignore_errors=True)
    try:
        made.mkdir(parents=True)
        try:
            yield made
        except SafetensorError as error:
            raise _unwrapped(error, folder) from None
        _share(made)
        if is_empty:
            for file in sorted(made.iterdir(), key=lambda file: file.stat().st_size):
                os.replace(file, folder / file.name)
        else:
            if folder.exists():
                os.replace(folder, old)
            os.replace(made, folder)
    finally:
        for left in (made, old):
            shutil.rmtree(left, ignore_errors=True)


def _share(folder: Path) -> None:
    """Give the files of a folder that this process made the folder's own permissions.

    Libraries such as safetensors write them by way of temporary files, which only their owner can
    read. The folder's permissions are those that the umask leaves, which nobody can read without
    setting it for all threads.
    """
    mode = folder.stat().st_mode & 0o666
    for file in filter(Path.is_file, folder.rglob("*")):
        if stat.S_IMODE(file.stat().st_mode) != mode:
            with suppress(OSError):  # a file system without permissions
                file.chmod(mode)


def _unwrapped(error: SafetensorError, path: Path) -> OSError:
    """Return the OSError that safetensors wraps in a text, with its number."""
    number = re.search(r"os error (\d+)", str(error))
    return OSError(int(number[1]) if number else errno.EIO, f"cannot write {str(path)!r}: {error}")


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    partial = path.with_name(path.name + ".partial")
    try:
        write(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)

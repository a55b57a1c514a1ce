"""Files: written whole or not at all, temporary ones, and the cache of downloaded models."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
import tempfile
import weakref
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
except ImportError:  # Windows has no such locks: nothing is guarded, and nothing is cleared
    fcntl = None


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    write_file(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically, and its folder if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, lambda partial: partial.write_bytes(data))


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file atomically; NaN raises, since JSON has no NaN."""
    write_text(path, json.dumps(values, indent=1, allow_nan=False) + "\n")


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a safetensors file atomically.

    Raises:
        OSError: the file cannot be written, for instance on a full disk; an older file is kept.
    """
    # safetensors writes to a file of its own beside its target, which a kill would leave behind.
    folder = path.with_name(f".{path.name}.partial")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with naming(path, folder):
            folder.mkdir()
            save_file(tensors, folder / path.name, metadata={"format": "pt"})
            _share(folder)
            os.replace(folder / path.name, path)
    except SafetensorError as error:
        raise _unwrapped(error, path) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_zip(path: Path, folder: Path) -> None:
    """Write the files of a folder into a zip file atomically, below a folder of the zip's name."""
    write_archive(path, {f"{path.stem}/{file.name}": file for file in sorted(folder.iterdir())})


def write_archive(path: Path, contents: Mapping[str, Path | str]) -> None:
    """Write files and texts into a zip file atomically, by their paths in it; texts are packed."""

    def write(partial: Path) -> None:
        with zipfile.ZipFile(partial, "w") as archive:
            for name, content in contents.items():
                if isinstance(content, Path):
                    archive.write(content, name)
                else:
                    archive.writestr(name, content, zipfile.ZIP_DEFLATED)

    write_file(path, write)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file; ValueError if it is empty, truncated or of another kind."""
    with _naming_faults(path):
        return load_file(path)


def read_tensor(path: Path, name: str) -> Tensor:
    """Read one tensor of a safetensors file."""
    with _naming_faults(path), safe_open(path, framework="pt") as file:
        return file.get_tensor(name)


def check_tensors(path: Path) -> None:
    """Check that a safetensors file is whole, by its header alone; see `read_tensors`."""
    with _naming_faults(path), safe_open(path, framework="pt"):
        pass


@contextmanager
def _naming_faults(path: Path) -> Generator[None]:
    """Raise the errors of reading a safetensors file in words that name it."""
    if path.is_dir():  # which safetensors calls a missing device
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    try:
        yield
    except SafetensorError as error:
        raise ValueError(f"{str(path)!r} is damaged: {error}") from None


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; ValueError if the file holds none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # not JSON, or not UTF-8
        raise ValueError(f"{str(path)!r} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{str(path)!r} must hold a JSON object, not {json.dumps(values)[:40]}")
    return values


FORMAT = 1
"""The version of the files of runs, studies and decisions, as their key ``format``; without it they are of 1."""


class FormatError(ValueError):
    """A file is of a format that this version does not read."""


def check_format(values: dict[str, Any], name: str) -> None:
    """Take the version of its format out of the values of a file; FormatError if a newer program wrote it."""
    version = values.pop("format", FORMAT)
    if type(version) is not int or not 1 <= version <= FORMAT:
        raise FormatError(
            f"{name} has format {version!r}, and this version of olora_viz reads up to format {FORMAT}: "
            "use a newer version"
        )


def is_free(folder: Path) -> bool:
    """Whether a folder is missing or empty, apart from temporary files of a killed writer."""
    if not folder.exists():
        return True
    return folder.is_dir() and all(path.name.endswith(".partial") for path in folder.iterdir())


def free_folder(folder: Path) -> Path:
    """Return a folder, with a number behind its name if there is something in it already."""
    if is_free(folder):
        return folder
    return next(numbered for number in count(2) if is_free(numbered := folder.with_name(f"{folder.name}-{number}")))


def folder_size(folder: Path, *, shared: bool = False) -> int:
    """Return the total size of the files below a folder, in bytes; 0 if it does not exist.

    Args:
        shared: whether a file with several names, see `link_or_copy`, counts in equal shares at each.
    """
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # it is being deleted, or moved
                status = os.stat(f"{parent}/{name}")
                size += status.st_size // (max(1, status.st_nlink) if shared else 1)
    return size


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Generator[None]:
    """Hold a lock, after the other processes that hold it; the system frees it when one dies.

    Processes on other machines of a shared disk wait as well, if its file system has locks; without locks nobody
    waits. The file is made if it does not exist.

    Raises:
        BlockingIOError: another process holds it, and this one does not `wait`.
    """
    with path.open("a") as file:
        _lock(file.fileno(), wait=wait)
        yield


def _lock(file: int, *, wait: bool) -> None:
    """Lock an open file, see `locked`."""
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if isinstance(error, BlockingIOError):
                raise  # any other one says that the file system has no locks


def link_or_copy(file: Path, to: Path) -> None:
    """Give a file another name, or copy it where the file system has no hard links; folders are made."""
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file, to)
    except OSError:
        shutil.copy2(file, to)


@contextmanager
def atomic_folder(folder: Path) -> Generator[Path]:
    """Yield a temporary folder that replaces `folder` on success and is deleted on error.

    An existing empty folder is filled instead of replaced, since it may be a mount point or the working directory of a
    process; its largest file, which no reader can do without, comes last. A folder with contents is replaced as a
    whole: killed at any moment, it is whole or missing.

    Raises:
        OSError: the folder cannot be written, for instance on a full disk; an older folder is kept.
    """
    partial, old = _partial(folder), _old(folder)
    for leftover in (partial, old):  # of a writer that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        with naming(folder, partial):
            partial.mkdir(parents=True)
            yield partial
            _put_in_place(partial, folder)
    except SafetensorError as error:
        raise _unwrapped(error, folder) from None
    finally:
        for leftover in (partial, old):
            shutil.rmtree(leftover, ignore_errors=True)


WRITTEN = "written.txt"
"""The file in the temporary folder of `resumed` for the names of what is written; it is deleted in the end."""

WHOLE = "whole"
"""The key of a record, see `resumed`, that says whether all files are written."""


@contextmanager
def resumed(
    settings: Mapping[str, Any], record: str, folder: Path, beside: Path | None = None
) -> Generator[tuple[Path, Path | None] | None]:
    """Yield a temporary folder that becomes `folder`, with all that a writer of the same settings left in it.

    It stays on any error but a ValueError, which no repetition mends, or a full disk in a repetition. A folder appears
    when all is written.

    Args:
        settings: all that the contents depend on, as values of JSON.
        record: the name of the file in `folder` that has them.
        beside: another folder, which likewise is new and appears just before.

    Yields:
        The temporary folders, the second one for `beside`; None if all is written already.

    Raises:
        ValueError: a folder is not empty, is of other settings, or another process writes it.
    """
    partial, rest = _begun(folder), beside and _begun(beside)
    places = [partial, *([folder] if partial.parent == folder else [])]
    files = (place / record for place in places)
    before = next((read_json_object(file) for file in files if file.is_file()), None)
    is_whole = before is not None and before[WHOLE]
    there = folder / record
    if before is None and there.is_file():
        _check_settings(read_json_object(there), settings, f"{str(folder)!r} is already there, written", "use another")
        if beside and not (beside / record).is_file():
            raise ValueError(f"{str(folder)!r} is already there, but {str(beside)!r} is not: delete it and repeat")
        yield None
        return
    pairs = [(folder, partial), *([(beside, rest)] if beside and rest and not is_whole else [])]
    for end, begun in pairs:
        if not is_free(end) and begun.parent != end:
            raise ValueError(f"{str(end)!r} must be new or empty")
    if before is None:
        for _, begun in pairs:
            shutil.rmtree(begun, ignore_errors=True)
    else:
        _check_settings(before, settings, f"{str(partial)!r} holds the beginning of work", "repeat that")
    settings = {**settings, WHOLE: False}
    for end, begun in pairs:
        with naming(end, begun):
            begun.mkdir(parents=True, exist_ok=True)
    try:
        with naming(folder, partial):
            lock = lock_folder(partial)
    except BlockingIOError:
        raise ValueError(f"another process writes {str(folder)!r} at the moment") from None
    try:
        with naming(folder, partial), naming(beside or folder, rest or partial):
            if is_whole:
                yield None
            else:
                write_json(partial / record, settings)
                yield partial, rest
                write_json(partial / record, {**settings, WHOLE: True})
            for name in (LOCK, WRITTEN):
                (partial / name).unlink(missing_ok=True)
            if beside and rest and rest.is_dir():
                _put_in_place(rest, beside)
            _put_in_place(partial, folder)
    except ValueError as error:
        if before is None or not is_disk_full(error):
            for _, begun in pairs:
                shutil.rmtree(begun, ignore_errors=True)
        raise
    finally:
        os.close(lock)


def _check_settings(before: Mapping[str, Any], settings: Mapping[str, Any], what: str, instead: str) -> None:
    """Check that a folder's contents depend on the same settings; the message begins and ends with words."""
    differing = [key for key in settings if before.get(key) != settings[key]]
    if differing:
        values = [mapping.get(differing[0]) for mapping in (before, settings)]
        words = "{} {!r}, not {!r}" if all(isinstance(v, str | int | float | None) for v in values) else "other {}"
        raise ValueError(f"{what} with {words.format(differing[0], *values)}: {instead}, or delete this folder")


def _begun(folder: Path) -> Path:
    """Return where a folder is written: also one whose files were being put in place when the writer was killed."""
    inside = folder / ".partial"
    return inside if inside.is_dir() else _partial(folder)


def _partial(folder: Path) -> Path:
    """Return the temporary folder of a folder: inside an existing empty one, and beside any other."""
    is_empty = folder.is_dir() and is_free(folder)
    return folder / ".partial" if is_empty else folder.with_name(f".{folder.name}.partial")


def _put_in_place(partial: Path, folder: Path) -> None:
    """Make a folder of its temporary one, see `atomic_folder`."""
    _share(partial)
    if partial.parent == folder:
        for file in sorted(partial.iterdir(), key=lambda file: file.stat().st_size):
            os.replace(file, folder / file.name)
        partial.rmdir()
    else:
        if folder.exists():
            os.replace(folder, _old(folder))
        os.replace(partial, folder)


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old.partial")


def _share(folder: Path) -> None:
    """Give the files of a folder that this process made the folder's own permissions.

    Libraries such as safetensors write them by way of temporary files, which only their owner can read. The folder's
    permissions are those that the umask leaves, which nobody can read without setting it for all threads.
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


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file atomically: `write` gets the path of a temporary one."""
    partial = path.with_name(path.name + ".partial")
    with naming(path, partial):
        try:
            write(partial)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def naming(path: Path, partial: Path | None = None) -> Generator[None]:
    """Name a file or folder in errors that name none, as that of a full disk, or one of its temporary ones."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        for key in ("filename", "filename2"):
            named = getattr(error, key)
            if partial and isinstance(named, str) and Path(named).is_relative_to(partial):
                setattr(error, key, str(path / Path(named).relative_to(partial)))
        raise


def cache_folder() -> Path:
    """Return the cache folder, an existing and writable one.

    It is ``OLORA_VIZ_CACHE`` if that variable is set, else ``olora_viz`` under ``XDG_CACHE_HOME`` or ``~/.cache``.

    Raises:
        ValueError: if the folder cannot be created or written to.
    """
    chosen = os.environ.get("OLORA_VIZ_CACHE", "").strip()
    base = os.environ.get("XDG_CACHE_HOME", "").strip() or "~/.cache"
    try:
        folder = Path(chosen or Path(base) / "olora_viz").expanduser().absolute()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"cannot create the cache folder {chosen or base!r} ({reason(error)}); "
            "set OLORA_VIZ_CACHE to a writable folder"
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"the cache folder {str(folder)!r} is not writable; set OLORA_VIZ_CACHE to a writable folder")
    return folder


def use_writable_caches() -> None:
    """Keep caches in a temporary folder, which ends with the process, if the home is read-only.

    This comes before huggingface_hub is imported, which then looks at ``HF_HOME``.
    """
    names = {"HF_HOME", "OLORA_VIZ_CACHE", "MPLCONFIGDIR"} - set(os.environ)
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        home.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=home).close()
    except (OSError, RuntimeError):
        folder, _ = temporary_folder(use_writable_caches, "caches")
        os.environ |= {name: str(folder / name.lower()) for name in names}


A_PATH = re.compile(r"'?(?<![\w.:/])/(?:[\w.+@~-]+/)+[\w.+@~-]*'?")
"""An absolute path in a sentence, with its quotes."""


def reason(error: BaseException) -> str:
    """Return the first line of an error's message, at most 200 characters."""
    if isinstance(error, KeyError):  # whose message is the key alone
        return f"{error} is missing"
    words = str(getattr(error, "strerror", None) or error).strip()
    return words.splitlines()[0][:200] if words else type(error).__name__


SPARE = 256 * 2**20
"""Bytes of a disk that stay free for what is written next, at most a tenth of the disk."""


class DiskFullError(ValueError):
    """The disk has less room than is needed, in bytes."""

    def __init__(self, sentence: str, needed: int = 0) -> None:
        super().__init__(sentence)
        self.needed = needed


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that the disk has no room left.

    >>> is_disk_full(OSError(errno.ENOSPC, "No space left on device")), is_disk_full(OSError())
    (True, False)
    """
    full = (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, DiskFullError) or getattr(error, "errno", None) in full


def free_disk(folder: Path) -> int:
    """Return how many bytes are free where a folder is, or will be."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free


def has_room(folder: Path, needed: int = 0) -> bool:
    """Whether the disk of a folder has so many bytes free, and the spare ones on top."""
    return free_disk(folder) >= needed + min(SPARE, shutil.disk_usage(folder).total // 10)


def check_free_disk(folder: Path, needed: int, what: str) -> None:
    """Check that so many bytes are free where a folder is, or will be; `what` is the subject of the message.

    Raises:
        DiskFullError: if fewer than ``needed`` bytes are free.
    """
    free = free_disk(folder)
    if free < needed:
        raise DiskFullError(
            f"{what} needs {needed / 1e6:,.0f} MB of disk in {str(folder)!r}, but only {free / 1e6:,.0f} MB are free",
            needed,
        )


TEMPORARY = "olora-viz-"
"""How the names of all our temporary folders begin."""

LOCK = "in-use.lock"
"""The file in a folder that is locked."""


def temporary_folder(owner: object, kind: str = "") -> tuple[Path, Callable[[], Any]]:
    """Make a temporary folder, after deleting those of processes that have ended.

    Args:
        owner: the folder is deleted with this object, at the latest at the end of the process.
        kind: a word for its name.

    Returns:
        The folder, and a function that deletes it.
    """
    clear_dead(Path(tempfile.gettempdir()))
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}{kind}-" if kind else TEMPORARY))
        with suppress(BlockingIOError, FileNotFoundError):
            delete = weakref.finalize(owner, _delete, folder, lock_folder(folder))
            if folder.exists():  # it may have been taken for a dead one before it was locked
                return folder, delete


def _delete(folder: Path, lock: int) -> None:
    os.close(lock)
    shutil.rmtree(folder, ignore_errors=True)


def lock_folder(folder: Path) -> int:
    """Lock a folder for this process; return the file that holds the lock until it is closed.

    Raises:
        BlockingIOError: another process has it.
        OSError: it cannot be written.
    """
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(lock, wait=False)
    except BlockingIOError:
        os.close(lock)
        raise
    return lock


def clear_dead(home: Path) -> None:
    """Delete the temporary folders of our processes that have ended.

    Those of other users are kept, and so are folders with another name or without a lock file.
    """
    if fcntl is None:
        return
    for folder in home.glob(f"{TEMPORARY}*"):
        with suppress(OSError):  # another process deletes it as well, or it is not ours
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)

"""Temporary folders that are deleted with their process, even if it is killed.

Each contains a lock file, and the system releases the lock when its process ends, however it ends.
Whoever makes the next such folder deletes those whose locks are free. A folder without a lock file
belongs to another program.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows has no such locks: nothing is guarded, and nothing is cleared
    fcntl = None

PREFIX = "olora-viz-"
"""How the names of all our temporary folders begin."""

LOCK = "in-use.lock"
"""The file in a folder that is locked."""


def temporary_folder(owner: object, kind: str = "") -> tuple[Path, Callable[[], Any]]:
    """Make a temporary folder, after deleting those of processes that have ended.

    Parameters
    ----------
    owner : the folder is deleted with this object, at the latest at the end of the process.
    kind : a word for its name.

    Returns
    -------
    The folder, and a function that deletes it.
    """
    clear_dead(Path(tempfile.gettempdir()))
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{kind}-" if kind else PREFIX))
        with suppress(BlockingIOError, FileNotFoundError):
            delete = delete_with(owner, folder)
            if folder.exists():  # it may have been taken for a dead one before it was locked
                return folder, delete


def delete_with(owner: object, folder: Path) -> Callable[[], Any]:
    """Mark a temporary folder as in use, and delete it with its owner; see `temporary_folder`."""
    lock = lock_folder(folder)

    def delete() -> None:
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)

    return weakref.finalize(owner, delete)


def lock_folder(folder: Path) -> int:
    """Lock a folder for this process; return the file that holds the lock until it is closed.

    Raises
    ------
    BlockingIOError : another process has it.
    OSError : it cannot be written.
    """
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if fcntl is not None:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise
    except OSError:  # a file system without locks
        pass
    return lock


def clear_dead(home: Path) -> None:
    """Delete the temporary folders of our processes that have ended.

    Those of other users are kept, and so are folders with another name or without a lock file.
    """
    if fcntl is None:
        return
    for folder in home.glob(f"{PREFIX}*"):
        with suppress(OSError):  # another process deletes it as well, or it is not ours
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)

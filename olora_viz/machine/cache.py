"""The cache folder for converted models and computed spectra."""

import errno
import os
import shutil
import tempfile
from pathlib import Path

from olora_viz.machine.temporary import temporary_folder


def cache_folder() -> Path:
    """Return the cache folder; create it if it does not exist.

    The folder is ``OLORA_VIZ_CACHE`` if that variable is set, otherwise ``olora_viz`` under
    ``XDG_CACHE_HOME`` or ``~/.cache``.

    Returns
    -------
    Path
        An existing, writable folder.

    Raises
    ------
    ValueError
        If the folder cannot be created or written to.
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
        raise ValueError(
            f"the cache folder {str(folder)!r} is not writable; "
            "set OLORA_VIZ_CACHE to a writable folder"
        )
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


def reason(error: BaseException) -> str:
    """Return the first line of an error's message, at most 200 characters."""
    if isinstance(error, KeyError):  # whose message is the key alone
        return f"{error} is missing"
    words = str(getattr(error, "strerror", None) or error).strip()
    return words.splitlines()[0][:200] if words else type(error).__name__


SPARE = 256 * 2**20
"""Bytes of a disk that stay free for what is written next, at most a tenth of the disk."""


class DiskFullError(ValueError):
    """The disk has less room than is needed.

    Parameters
    ----------
    sentence : the message.
    needed : bytes.
    """

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
    spare = min(SPARE, shutil.disk_usage(folder).total // 10)
    return free_disk(folder) >= needed + spare


def check_free_disk(folder: Path, needed: int, what: str) -> None:
    """Check that the disk has enough free space.

    Parameters
    ----------
    folder : a folder; it need not exist yet.
    needed : bytes.
    what : subject of the error message.

    Raises
    ------
    DiskFullError
        If fewer than ``needed`` bytes are free.
    """
    free = free_disk(folder)
    if free < needed:
        raise DiskFullError(
            f"{what} needs {needed / 1e6:,.0f} MB of disk in {str(folder)!r}, "
            f"but only {free / 1e6:,.0f} MB are free",
            needed,
        )

"""The folder in which converted models are kept between runs."""

import os
import shutil
from pathlib import Path


def cache_folder() -> Path:
    """Find the cache, and make it where it is not there yet.

    ``OLORA_VIZ_CACHE`` names it; else it is ``olora_viz`` under ``XDG_CACHE_HOME``, or under
    ``~/.cache``.

    Returns
    -------
    Path
        An existing, writable folder.

    Raises
    ------
    ValueError
        The folder cannot be made or written to.
    """
    chosen = os.environ.get("OLORA_VIZ_CACHE", "").strip()
    base = os.environ.get("XDG_CACHE_HOME", "").strip() or "~/.cache"
    try:
        folder = Path(chosen or Path(base) / "olora_viz").expanduser().absolute()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"cannot make the cache folder {chosen or base!r} ({reason(error)}); "
            "set OLORA_VIZ_CACHE to a folder that can be written"
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(
            f"the cache folder {str(folder)!r} is not writable; "
            "set OLORA_VIZ_CACHE to a folder that can be written"
        )
    return folder


def reason(error: BaseException) -> str:
    """Put an error in a few words: its first line, at most 200 characters of it."""
    words = str(getattr(error, "strerror", None) or error).strip()
    return words.splitlines()[0][:200] if words else type(error).__name__


def check_free_disk(folder: Path, needed: int, what: str) -> None:
    """Refuse to begin what the disk has no room for.

    Parameters
    ----------
    folder : an existing folder, or one whose parents exist.
    needed : bytes.
    what : said in the message.

    Raises
    ------
    ValueError
        Fewer than ``needed`` bytes are free.
    """
    there = folder
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if free < needed:
        raise ValueError(
            f"{what} needs {needed / 1e6:,.0f} MB of disk in {str(folder)!r}, "
            f"where only {free / 1e6:,.0f} MB are free"
        )

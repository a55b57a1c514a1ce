"""The folder where the races of a server live, which one server has at a time.

It is ``OLORA_VIZ_RUNS`` if that variable is set, otherwise ``runs`` in the cache folder. Where
neither can be written, or another server has it, a temporary one takes its place.
"""

from __future__ import annotations

import logging
import os
import weakref
from contextlib import suppress
from pathlib import Path

from olora_viz.machine.cache import cache_folder, reason
from olora_viz.machine.temporary import lock_folder, temporary_folder

log = logging.getLogger(__name__)


class RunsFolder:
    """A folder that this server has until `give_back`, or until the server ends.

    Parameters
    ----------
    folder : the one to take; by default the server's own.
    """

    path: Path

    def __init__(self, folder: Path | None = None) -> None:
        for wanted in [folder] if folder else usual():
            try:
                wanted.mkdir(parents=True, exist_ok=True)
                lock = lock_folder(wanted)
            except BlockingIOError:
                log.warning(
                    "another server uses the runs folder %r: the races of this one go to a "
                    "temporary folder, which is deleted with the server",
                    str(wanted),
                )
                break
            except OSError as error:
                log.warning("the runs folder %r cannot be used: %s", str(wanted), reason(error))
            else:
                self.path, self.give_back = wanted, weakref.finalize(self, os.close, lock)
                return
        self.path, self.give_back = temporary_folder(self)


def usual() -> list[Path]:
    """Return the server's own folder, and another one where that cannot be written."""
    folders = []
    if chosen := os.environ.get("OLORA_VIZ_RUNS", "").strip():
        folders.append(Path(os.path.expanduser(chosen)).absolute())
    with suppress(ValueError):
        folders.append(cache_folder() / "runs")
    return folders

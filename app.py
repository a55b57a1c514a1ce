"""The entry of the app, here and on a Hugging Face Space: build the pages, launch."""

import os
import signal
import sys
import tempfile
from pathlib import Path


def writable_caches() -> Path | None:
    """Keep caches in a temporary folder where the home cannot be written; return that folder.

    This comes before everything else: huggingface_hub looks at ``HF_HOME`` when it is imported.
    """
    names = {"HF_HOME", "OLORA_VIZ_CACHE", "MPLCONFIGDIR"} - set(os.environ)
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        cache.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=cache).close()
    except (OSError, RuntimeError):
        folder = Path(tempfile.mkdtemp(prefix="olora-viz-caches-"))
        os.environ |= {name: str(folder / name.lower()) for name in names}
        return folder
    return None


caches = writable_caches()

from olora_viz.machine.temporary import delete_with  # noqa: E402
from olora_viz.web.page import build, launch_options  # noqa: E402

if caches is not None:
    delete_with(build, caches)
demo = build()


def end(*_: object) -> None:
    """End politely, as a container is told to: take no more visitors, then pause the races."""
    if demo.server:
        demo.server.should_exit = True
    sys.exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, end)
    demo.launch(**launch_options())

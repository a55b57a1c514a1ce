"""The page for the owner of a run folder, on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from olora_viz.web.guard.limits import from_environment
from olora_viz.web.page import build, jobs_of, launch_options


def serve(folder: Path, ready: Callable[[str], None]) -> None:
    """Serve the page with a run folder, until it is interrupted.

    The folder is only read, unless the race is unfinished and the page resumes it.

    Parameters
    ----------
    ready : called with the URL that opens the page on the run.

    Raises
    ------
    ValueError : the folder holds no run, or a damaged one.
    OSError : there is no free port.
    """
    limits = from_environment()
    jobs = jobs_of(limits)
    run = jobs.open(folder)
    demo = build(limits, jobs)
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, **launch_options())
    ready(f"{url}?run={run.id}")
    demo.block_thread()

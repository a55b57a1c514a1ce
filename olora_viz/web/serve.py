"""The server of the pages: here, in a network, on a Space, or opened on one's own run."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from olora_viz.web.guard.limits import from_environment
from olora_viz.web.page import build, jobs_of, launch_options


def serve(
    ready: Callable[[str], None],
    *,
    host: str | None = None,
    port: int | None = None,
    share: bool = False,
    folder: Path | None = None,
) -> None:
    """Serve the pages until Ctrl-C or SIGTERM, after which the races are paused.

    Args:
        ready: called with the URL of the pages.
        host: the address to listen on; None: Gradio's variables, 127.0.0.1 and the first free port from 7860.
        port: see `host`.
        share: whether to ask Gradio for a public address as well, which `ready` is then called with.
        folder: a run folder to open the page on; it is only read, unless the race is unfinished and the page resumes
            it.

    Raises:
        ValueError: the folder holds no run, or a damaged one; or the address cannot be listened on.
        OSError: there is no free port.
    """
    check_address(host, port)
    limits = from_environment()
    jobs = jobs_of(limits)
    query = f"?run={jobs.open(folder).id}" if folder else ""
    demo = build(limits, jobs)

    def end(*_: object) -> None:
        """End politely, as a container is told to: no more visitors, then pause the races."""
        if server := getattr(demo, "server", None):  # there is none before the launch
            server.should_exit = True
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    _, local, public = demo.launch(
        server_name=f"[{host}]" if ":" in (host or "") else host,
        server_port=port,
        share=share or None,  # None: as Gradio decides where it runs
        prevent_thread_lock=True,
        quiet=True,
        **launch_options(),
    )
    for url in filter(None, (local, public)):
        ready(f"{url.rstrip('/')}/{query}")
    demo.block_thread()


def check_address(host: str | None, port: int | None) -> None:
    """Check that an address can be listened on: Gradio would try for ever.

    Raises:
        ValueError: it cannot.
    """
    if host is None and port is None:
        return
    host, port = host or "127.0.0.1", port or 0
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family):
            pass
    except (OSError, UnicodeError) as error:
        where = f"port {port} of {host!r}" if port else repr(host)
        why = getattr(error, "strerror", None) or error
        raise ValueError(f"cannot listen on {where}: {why}") from None

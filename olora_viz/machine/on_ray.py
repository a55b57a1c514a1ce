"""The machines of a Ray cluster as a pool: each call is a task."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from typing import Any

RETRIES = 3
"""How often a task is started again whose machine or process is lost."""

GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""What a client of HTTP/2, which Ray speaks, sends first (RFC 9113, section 3.4)."""

FIRST_FRAME = 4
"""The kind of frame, in its fourth byte, that a server of HTTP/2 sends first."""


class RayPool(Executor):
    """Runs calls as Ray tasks, like a pool of processes.

    Args:
        address: of a running cluster, ``HOST:PORT``; ``auto`` for the one of this machine.
        threads: cores that a task takes.
        gpus: GPUs that a task takes.

    Attributes:
        count: the number of tasks at once, by the cores.

    Raises:
        ValueError: Ray is not installed, does not find the cluster, or no machine has the cores.
    """

    def __init__(self, address: str, threads: int, gpus: int = 0) -> None:
        ray = _import_ray()
        self._ray, self._refs = ray, set[Any]()
        self._connected = not ray.is_initialized()
        if self._connected:
            connect(address)
        try:
            self.count = self._places(address, threads)
        except ValueError:
            self.shutdown()
            raise
        self._task = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=RETRIES)(_there)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Start a call on some machine that sees the same files; return its future."""
        future: Future = Future()
        ref = self._task.remote(os.getcwd(), fn, args, kwargs)
        self._refs.add(ref)

        def settle(done: Future) -> None:
            self._refs.discard(ref)
            error = done.exception()
            if not future.set_running_or_notify_cancel():
                return
            if error is None:
                future.set_result(done.result())
            else:
                future.set_exception(_sentence(error))

        ref.future().add_done_callback(settle)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the tasks that still run, and leave the cluster if the pool has joined it."""
        for ref in list(self._refs):
            with suppress(Exception):  # it has just ended, or its machine is gone
                self._ray.cancel(ref, force=True)
        if self._connected:
            self._ray.shutdown()

    def _places(self, address: str, threads: int) -> int:
        """Return the number of tasks at once; a ValueError says that there is none, which Ray would let wait."""
        cores = [int(node["Resources"].get("CPU", 0)) for node in self._ray.nodes() if node["Alive"]]
        most = max(cores, default=0)
        if most < threads:
            raise ValueError(
                f"the work takes {threads} threads at a time, but no machine of the Ray cluster at "
                f"{address!r} has more than {most} cores: give it fewer with --threads"
            )
        return sum(count // threads for count in cores)


def _import_ray() -> Any:
    """Return Ray; a ValueError says that it is not installed."""
    try:
        import ray
    except ImportError:
        raise ValueError("clusters need Ray, which is not installed: pip install ray") from None
    return ray


def connect(address: str) -> Any:
    """Join a cluster, and return Ray, by which it is spoken to.

    Raises:
        ValueError: Ray is not installed, there is no cluster, or it is of another version.
    """
    ray = _import_ray()
    lacks = f"there is no Ray cluster to join at {address!r}: "
    if address == "local":
        raise ValueError(f"{lacks}give the HOST:PORT of one that runs, or auto")
    if address != "auto" and "://" not in address:
        _check_answers(address, lacks)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ImportError, OSError, RuntimeError, ValueError) as error:
        why = str(error).strip().splitlines()[0].rstrip(".:")
        raise ValueError(f"{lacks}{why}") from None
    return ray


def _check_answers(address: str, lacks: str) -> None:
    """Check that something like Ray's head answers; Ray itself would ask for ever.

    Raises:
        ValueError: it does not; the message begins with what is lacking.
    """
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        raise ValueError(f"{lacks}an address is HOST:PORT, such as 10.0.0.1:6379")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=10) as connection:
            if os.environ.get("RAY_USE_TLS", "0") == "1":
                return
            connection.sendall(GREETING)
            answer = connection.recv(4)
    except (OSError, OverflowError) as error:
        raise ValueError(f"{lacks}{getattr(error, 'strerror', None) or error}") from None
    if answer[3:] != bytes([FIRST_FRAME]):
        raise ValueError(f"{lacks}another kind of server answers there")


def _there(home: str, fn: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> Any:
    """Call a function in a working directory, in which relative names are those of the caller."""
    with suppress(OSError):  # absolute names do without
        os.chdir(home)
    return fn(*args, **kwargs)


def _sentence(error: BaseException) -> BaseException:
    """Return the error of a task as it was raised there, or one for a task that was lost."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, Exception):
        return cause
    return ConnectionError(
        f"a task was lost {RETRIES + 1} times with its machine or process "
        f"({type(error).__name__}): the same command goes on from what has ended"
    )

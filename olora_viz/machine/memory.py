"""The memory of a device: what is free, what is used."""

from __future__ import annotations

import ctypes
import gc
import math
import os
import threading
import weakref
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from olora_viz.machine.devices import free_and_total, used_and_peak


class Meter(TorchDispatchMode):
    """Counts the bytes of the live tensors that were created inside this context.

    Memory that an operation allocates and frees internally is not counted.

    Args:
        known: existing tensors, such as a model's weights, which are not counted.

    Attributes:
        live: the bytes of live tensors after each operation, in order.

    >>> with Meter() as meter:
    ...     x = torch.ones(10)
    ...     y = (2 * x).double().sum()
    >>> meter.live
    [40, 80, 160, 128]
    """

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.live: list[int] = []
        self._now = 0
        self._before = {_key(tensor) for tensor in known}
        self._alive: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and count the tensors that it created."""
        result = func(*args, **(kwargs or {}))
        if _allocates(func):
            for leaf in (result,) if isinstance(result, Tensor) else tree_leaves(result):
                if isinstance(leaf, Tensor):
                    self._count(leaf)
        self.live.append(self._now)
        return result

    def _count(self, tensor: Tensor) -> None:
        storage, key = tensor.untyped_storage(), _key(tensor)
        if key in self._alive or key in self._before:
            return
        size = storage.nbytes()
        self._now += size
        self._alive[key] = weakref.ref(storage, partial(self._forget, key, size))

    def _forget(self, key: int, size: int, _: object) -> None:
        del self._alive[key]
        self._now -= size


@cache
def _allocates(func: Any) -> bool:
    """Whether an operation allocates its result, unlike a view or an operation in place."""
    return not any(returned.alias_info for returned in func._schema.returns)


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


PASS_SHARE = 0.5
"""The share of a device's memory that one pass through a model may use, unless `LIMIT` is set."""

LIMIT = "OLORA_VIZ_PASS_MIB"
"""The environment variable that sets it, in MiB."""


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text(encoding="ascii"))
    except (OSError, ValueError):  # no such file, or "max"
        return None


def available_memory(device: torch.device) -> int | None:
    """Return the free memory of a device in bytes.

    On a CPU this is the smaller of the system's available memory and what the container's limit leaves (cgroup v2),
    after this process has returned what it has freed and kept; None if the system does not report it.
    """
    if device.type != "cpu":
        known = free_and_total(device)
        return known and known[0]
    give_back()
    free = _of_system("MemAvailable")
    limit, used = (_number(f"/sys/fs/cgroup/memory.{what}") for what in ("max", "current"))
    if free is None or limit is None or used is None:
        return free
    return max(0, min(free, limit - used))


def pass_limit(device: torch.device, env: Mapping[str, str] = os.environ) -> int | None:
    """Return the memory that one pass may use, in bytes.

    This is half of the device's memory (of the container's limit, if that is smaller), or what `LIMIT` says; None if
    the system does not report it. What is free at the moment does not count, so that a machine always splits the same
    set-up in the same way.

    >>> pass_limit(torch.device("cpu"), {"OLORA_VIZ_PASS_MIB": "2"})
    2097152
    """
    text = env.get(LIMIT, "").strip()
    if text:
        if not (text.isascii() and text.isdecimal() and int(text) > 0):
            raise ValueError(f"{LIMIT} must be a whole number of at least 1, not {text!r}")
        return int(text) * 2**20
    if device.type != "cpu":
        known = free_and_total(device)
        return known and int(PASS_SHARE * known[1])
    total, most = _of_system("MemTotal"), _number("/sys/fs/cgroup/memory.max")
    known = [size for size in (total, most) if size is not None]
    return int(PASS_SHARE * min(known)) if known else None


def of_several_lanes(most: int, device: torch.device) -> int:
    """Return how much a pass of several lanes may use, in bytes: `most`, unless the device has less for a pass."""
    return min(most, pass_limit(device) or most)


def bytes_words(count: float) -> str:
    """Return a number of bytes in words.

    >>> bytes_words(3.14e9), bytes_words(27e6)
    ('3.1 GB', '27 MB')
    """
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{math.ceil(count / 1e6)} MB"


class Memory(NamedTuple):
    """Memory that this process uses on a device, in bytes."""

    now: int
    peak: int
    """The most so far."""

    @property
    def words(self) -> tuple[str, str]:
        """What is used now, and the most so far, rounded so that small changes do not show.

        >>> Memory(612_000_000, 1_340_000_000).words
        ('0.6 GB', '1.3 GB')
        """
        now, peak = (f"{count / 1e9:.1f} GB" for count in self)
        return now, peak


def memory_of(device: torch.device) -> Memory | None:
    """Return the memory that this process uses, of an accelerator or of the system; None if it is not reported."""
    if device.type != "cpu":
        used = used_and_peak(device)
        return used and Memory(*used)
    try:
        import resource  # not on every system

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    except (ImportError, OSError, ValueError, IndexError):
        return None
    now = pages * os.sysconf("SC_PAGE_SIZE")
    return Memory(now, max(now, peak))


def _of_system(name: str) -> int | None:
    """Return an entry of Linux's ``/proc/meminfo``, in bytes."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
    except (OSError, StopIteration):
        return None


def check_memory(needed: int, device: torch.device, what: str) -> None:
    """Check that the device has enough free memory.

    Without this check the operating system would kill the process, and with it the page of every other visitor.

    Args:
        needed: bytes.
        what: subject of the error message.

    Raises:
        ValueError: if less than ``needed`` is free.
    """
    free = available_memory(device)
    if free is not None and needed > free:
        raise ValueError(f"{what} needs {bytes_words(needed)} of memory, but only {bytes_words(free)} are free")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was no memory to allocate, on any device.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("shapes differ"))
    (True, False)
    """
    # Torch has a type for it on accelerators only; on a CPU it names its allocator.
    on_cpu = isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    return on_cpu or isinstance(error, (MemoryError, torch.OutOfMemoryError))


M_ARENA_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD = -8, -3, -1
"""glibc's options: the maximum number of arenas, the size from which a block is mapped by itself, and the free memory
at the end of the heap from which it is returned; see ``man mallopt``."""


def _glibc(name: str, *arguments: int) -> None:
    """Call a function of the C library, where it has one of that name."""
    with suppress(OSError, TypeError, AttributeError):
        getattr(ctypes.CDLL(None), name)(*arguments)


OFTEN = (700, 10, 10)
"""How often Python collects garbage by itself; the command line has it less often, for the time of loading."""


def share_arenas() -> None:
    """Let all threads allocate from two arenas, where the C library is glibc.

    By default glibc makes up to eight arenas per core, and memory that was freed in one is not reused by threads of
    another. Python's threads rarely allocate at the same time.
    """
    _glibc("mallopt", M_ARENA_MAX, 2)


def keep_freed() -> None:
    """Keep freed memory for later blocks of this process, where the C library is glibc.

    By default a large block is mapped when it is allocated and unmapped when it is freed, and the system fills its
    pages with zeros each time: 12% of the time of a race with 64 lanes on glassllm. For processes that only train.
    """
    _glibc("mallopt", M_MMAP_THRESHOLD, 1 << 30)
    _glibc("mallopt", M_TRIM_THRESHOLD, (1 << 31) - 1)


_keeping: list[None] = []
"""An entry for each `keeping_freed` that is entered, in whatever thread."""
_one_at_a_time = threading.Lock()


@contextmanager
def keeping_freed() -> Generator[None]:
    """Keep freed memory as `keep_freed` does while something trains, and return it when the last one ends."""
    with _one_at_a_time:
        _keeping.append(None)
        keep_freed()
    try:
        yield
    finally:
        with _one_at_a_time:
            _keeping.pop()
            if not _keeping:  # the limits up to which glibc adapts its own
                _glibc("mallopt", M_MMAP_THRESHOLD, 1 << 25)
                _glibc("mallopt", M_TRIM_THRESHOLD, 1 << 26)
                give_back()


def give_back() -> None:
    """Return freed memory, which stays in gaps between the blocks in use, to the system, where glibc allocates."""
    _glibc("malloc_trim", 0)


def keep_all() -> None:
    """Let Python's collector of garbage take what is there now for what stays, as the libraries do.

    It would look at all half a million objects of a server at once: for half a second, in which no page is answered,
    and so rarely that the garbage of a hundred visitors lies between what is in use.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # it counts what is left, and comes again after a quarter more
    gc.set_threshold(*OFTEN)

"""Free memory, checked before a model is loaded."""

from pathlib import Path

import torch


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text(encoding="ascii"))
    except (OSError, ValueError):  # no such file, or "max"
        return None


def available_memory(device: torch.device) -> int | None:
    """Return the free memory of a device in bytes.

    On a CPU this is the smaller of the system's available memory and what the container's limit
    leaves (cgroup v2).

    Parameters
    ----------
    device : a CPU or CUDA device.

    Returns
    -------
    int or None
        None if the system does not report it.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if "MemAvailable" in line)
    except (OSError, StopIteration):
        return None
    limit, used = (_number(f"/sys/fs/cgroup/memory.{what}") for what in ("max", "current"))
    return free if limit is None or used is None else max(0, min(free, limit - used))


def check_memory(needed: int, device: torch.device, what: str) -> None:
    """Check that the device has enough free memory.

    Without this check the operating system would kill the process, and with it the page of every
    other visitor.

    Parameters
    ----------
    needed : bytes.
    device : the device to allocate on.
    what : subject of the error message.

    Raises
    ------
    ValueError
        If less than ``needed`` is free.
    """
    free = available_memory(device)
    if free is not None and needed > free:
        raise ValueError(
            f"{what} needs {needed / 1e9:.1f} GB of memory, but only {free / 1e9:.1f} GB are free"
        )

"""Whether a model's weights fit where they shall go, asked before anything is loaded."""

from pathlib import Path

import torch


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text(encoding="ascii"))
    except (OSError, ValueError):  # not there, or "max"
        return None


def available_memory(device: torch.device) -> int | None:
    """Count the bytes that are free on a device.

    On a CPU this is what the system has left, or what the container may still take (cgroup v2),
    whichever is less.

    Parameters
    ----------
    device : a CPU or CUDA device.

    Returns
    -------
    int or None
        None where the system does not say.
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
    """Refuse what the machine cannot hold.

    An operating system answers a process that takes too much memory by ending it, which takes
    every other visitor of a page with it.

    Parameters
    ----------
    needed : bytes.
    device : where they shall live.
    what : said in the message.

    Raises
    ------
    ValueError
        More is needed than is free.
    """
    free = available_memory(device)
    if free is not None and needed > free:
        raise ValueError(
            f"{what} needs {needed / 1e9:.1f} GB of memory, but only {free / 1e9:.1f} GB are free"
        )

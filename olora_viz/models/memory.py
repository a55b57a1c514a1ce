"""Whether a model's weights fit where they shall go, asked before anything is loaded."""

from pathlib import Path

import torch


def _available(device: torch.device) -> int | None:
    """Count the bytes that are free on a device; None where the machine does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if "MemAvailable" in line)
    except (OSError, StopIteration):
        return None


def check_memory(parameters: int, *, dtype: torch.dtype, device: torch.device, what: str) -> None:
    """Refuse to load what the machine cannot hold.

    An operating system answers a process that takes too much memory by ending it, which takes
    every other visitor of a page with it.

    Parameters
    ----------
    parameters : number of weights.
    dtype : their precision.
    device : where they shall live.
    what : the model's name, for the message.

    Raises
    ------
    ValueError
        The weights alone need more than is free.
    """
    needed, free = parameters * dtype.itemsize, _available(device)
    if free is not None and needed > free:
        raise ValueError(
            f"{what!r} needs {needed / 1e9:.1f} GB of memory for its weights in "
            f"{str(dtype).removeprefix('torch.')}, but only {free / 1e9:.1f} GB are free"
        )

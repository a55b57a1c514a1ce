"""The device a model runs on, the dtype of its frozen weights, and the cores that it uses."""

import os

import torch

from olora_viz.machine.naming import unknown
from olora_viz.machine.threads import cores

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float64": torch.float64,
}
DEVICES = ("auto", "cpu", "cuda")


def resolve_device(name: str = "auto") -> torch.device:
    """Return the device of a name and check that it is available.

    Parameters
    ----------
    name : "auto", "cpu" or "cuda"; "auto" is CUDA if available, otherwise the CPU.

    Returns
    -------
    torch.device

    Raises
    ------
    ValueError
        If the name is unknown, or is "cuda" on a machine without CUDA.

    Examples
    --------
    >>> resolve_device("cpu")
    device(type='cpu')
    """
    if name not in DEVICES:
        raise ValueError(unknown("device", name, DEVICES))
    if name == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    if name == "cuda":
        raise ValueError("device 'cuda' is not available: this machine has no CUDA GPU; use 'cpu'")
    return torch.device("cpu")


def resolve_dtype(name: str, device: torch.device | str) -> torch.dtype:
    """Return the dtype of the frozen base weights for a name.

    Parameters
    ----------
    name : "auto", "float32", "bfloat16" or "float64"; "auto" is bfloat16 on CUDA, float32 on a
        CPU.
    device : the device of the weights.

    Returns
    -------
    torch.dtype

    Raises
    ------
    ValueError
        If the name is unknown.

    Examples
    --------
    >>> resolve_dtype("auto", "cpu")
    torch.float32
    """
    if name == "auto":
        return torch.bfloat16 if torch.device(device).type == "cuda" else torch.float32
    if name not in DTYPES:
        raise ValueError(unknown("dtype", name, ("auto", *DTYPES)))
    return DTYPES[name]


def leave_a_core() -> None:
    """Train on all cores but one, unless ``OMP_NUM_THREADS`` says otherwise.

    A server, and often the browser, need one.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, cores() - 1))

"""Where a model runs and in which precision its frozen weights are kept."""

import torch

from olora_viz.machine.naming import unknown

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float64": torch.float64,
}
DEVICES = ("auto", "cpu", "cuda")


def resolve_device(name: str = "auto") -> torch.device:
    """Turn a device's name into a device that is really there.

    Parameters
    ----------
    name : "auto", "cpu" or "cuda"; "auto" takes CUDA where it is there, else the CPU.

    Returns
    -------
    torch.device

    Raises
    ------
    ValueError
        An unknown name, or "cuda" on a machine that has none.

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
        raise ValueError("device 'cuda' asked for, but this machine has no CUDA GPU; use 'cpu'")
    return torch.device("cpu")


def resolve_dtype(name: str, device: torch.device | str) -> torch.dtype:
    """Turn a precision's name into a dtype for the frozen base weights.

    Parameters
    ----------
    name : "auto", "float32", "bfloat16" or "float64"; "auto" is bfloat16 on CUDA, float32 on a
        CPU.
    device : the device that the weights will live on.

    Returns
    -------
    torch.dtype

    Raises
    ------
    ValueError
        An unknown name.

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

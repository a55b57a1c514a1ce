"""The devices that torch computes on here, and one table of what differs from one kind to another."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from olora_viz.machine.checks import unknown

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}
GIB = 2**30


@dataclass(frozen=True)
class DeviceKind:
    """What is particular to a kind of device.

    Attributes:
        dtype: of the frozen base where a set-up says ``auto``.
        has_float64: whether the device computes in float64; where it does not, the CPU does.
        has_own_memory: whether it is a card with memory of its own, which may be expected to be fast.
        lanes: maximum memory of a pass of several lanes, bytes, where the device has enough. What is free does not
            count, so that a race is computed in the same way on all devices of a kind.
        curvature: maximum memory of the Hessian-vector products of several lanes, bytes.
    """

    dtype: torch.dtype = torch.bfloat16
    has_float64: bool = True
    has_own_memory: bool = True
    lanes: int = 24 * GIB
    curvature: int = 40 * GIB


KINDS = {
    "cpu": DeviceKind(dtype=torch.float32, has_own_memory=False, lanes=3 * GIB, curvature=6 * GIB),
    # Apple's shares the memory of the computer.
    "mps": DeviceKind(dtype=torch.float32, has_float64=False, has_own_memory=False, lanes=3 * GIB, curvature=6 * GIB),
    "xpu": DeviceKind(has_own_memory=False, lanes=6 * GIB, curvature=8 * GIB),
}
"""By torch's name of the kind; every other one, such as ``cuda``, is as `DeviceKind` has it."""


def kind_of(device: torch.device) -> DeviceKind:
    """Return what is particular to a device.

    >>> kind_of(torch.device("mps")).has_float64, kind_of(torch.device("cuda", 1)).has_float64
    (False, True)
    """
    return KINDS.get(device.type, DeviceKind())


def accelerator() -> torch.device | None:
    """Return torch's accelerator, if one is here: NVIDIA's and AMD's is ``cuda``, Apple's ``mps``, Intel's ``xpu``."""
    if torch.cuda.is_available():  # also that which ZeroGPU lends, and torch.accelerator does not see
        return torch.device("cuda")
    return torch.accelerator.current_accelerator(check_available=True)


def devices() -> list[str]:
    """Return the names of the devices that are here: ``cpu``, and each accelerator with its number."""
    here = accelerator()
    if here is None:
        return ["cpu"]
    return ["cpu", *(f"{here.type}:{i}" for i in range(max(1, torch.get_device_module(here).device_count())))]


def side_by_side(name: str = "auto") -> list[str]:
    """Return the devices that work can take one each: for ``auto`` the cards with memory of their own, if any.

    >>> side_by_side("cuda:1")
    ['cuda:1']
    """
    cards = [each for each in devices() if kind_of(torch.device(each)).has_own_memory]
    return cards if name == "auto" and cards else [name]


def take_accelerator(number: int) -> None:
    """Let ``auto`` be one of several cards in this thread, the first one again after the last."""
    cards = side_by_side()
    if len(cards) > 1:
        card = torch.device(cards[number % len(cards)])
        torch.get_device_module(card).set_device(card.index)


def check_device(name: str) -> None:
    """Check that a name could be that of a device of torch, on whatever machine.

    Raises:
        ValueError: it could not.

    >>> check_device("cuda:1")
    >>> check_device("gpu")
    Traceback (most recent call last):
    ValueError: unknown device 'gpu': it is auto, cpu, or an accelerator of torch, such as cuda, cuda:1, mps, xpu
    """
    try:
        known = isinstance(name, str) and (name in ("auto", "cpu") or torch.device(name).type not in ("cpu", "meta"))
    except RuntimeError:
        known = False
    if not known:
        raise ValueError(
            f"unknown device {name!r}: it is auto, cpu, or an accelerator of torch, such as cuda, cuda:1, mps, xpu"
        )


def resolve_device(name: str = "auto") -> torch.device:
    """Return the device of a name: ``auto`` is the accelerator, or the CPU where there is none.

    Raises:
        ValueError: the name is unknown, or that of a device which is not here; the sentence names those that are.

    >>> resolve_device("cpu")
    device(type='cpu')
    """
    check_device(name)
    if name in ("auto", "cpu"):
        return (accelerator() if name == "auto" else None) or torch.device("cpu")
    here = devices()
    if name not in here and f"{name}:0" not in here:
        raise ValueError(f"device {name!r} is not available: this machine has {' and '.join(here)}")
    return torch.device(name)


def resolve_dtype(name: str, device: torch.device | str) -> torch.dtype:
    """Return the dtype of the frozen base weights: one of `DTYPES`, or for ``auto`` what `DeviceKind` has.

    Raises:
        ValueError: the name is unknown, or the device does not compute in this dtype.

    >>> resolve_dtype("auto", "cpu"), resolve_dtype("auto", "cuda")
    (torch.float32, torch.bfloat16)
    """
    kind = kind_of(torch.device(device))
    if name == "auto":
        return kind.dtype
    if name not in DTYPES:
        raise ValueError(unknown("dtype", name, ("auto", *DTYPES)))
    if name == "float64" and not kind.has_float64:
        raise ValueError(f"device {str(device)!r} does not compute in float64: use float32, or device cpu")
    return DTYPES[name]


def dtype_name(name: str, device: torch.device | str) -> str:
    """Return the name of `resolve_dtype`.

    >>> dtype_name("auto", "cpu"), dtype_name("bfloat16", "cpu")
    ('float32', 'bfloat16')
    """
    return str(resolve_dtype(name, device)).removeprefix("torch.")


def device_words(device: torch.device) -> str:
    """Return the kind of a device for a reader, and the name of an accelerator's card where torch knows it.

    >>> device_words(torch.device("cpu"))
    'CPU'
    """
    if device.type == "cpu":
        return "CPU"
    named = getattr(torch.get_device_module(device), "get_device_name", None)
    return f"{device.type.upper()}, {named(device)}" if named else device.type.upper()


def in_float64(x: Tensor) -> Tensor:
    """Return x in float64 on its device, or on the CPU where the device has no float64.

    >>> in_float64(torch.ones(1)).dtype
    torch.float64
    """
    return (x if kind_of(x.device).has_float64 else x.cpu()).double()


def lacked_operation(error: BaseException) -> str:
    """Return a sentence on the operation that a device lacks, and what helps; empty if the error is another one.

    >>> lacked_operation(NotImplementedError("The operator 'aten::geqrf' is not implemented for the MPS device."))
    'the device does not compute aten::geqrf: set PYTORCH_ENABLE_MPS_FALLBACK=1 on a Mac, or take device cpu'
    """
    named = re.search(r"'(aten::[\w.]+)'", str(error)) if isinstance(error, NotImplementedError) else None
    help_ = "set PYTORCH_ENABLE_MPS_FALLBACK=1 on a Mac, or take device cpu"
    return f"the device does not compute {named[1]}: {help_}" if named else ""


def wait_for(device: torch.device) -> None:
    """Wait until a device has computed everything that it was given."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()


def free_and_total(device: torch.device) -> tuple[int, int] | None:
    """Return the free and the total memory of an accelerator, bytes; None where it does not say."""
    module = torch.get_device_module(device)
    try:
        if device.type == "mps":
            total = module.recommended_max_memory()
            return max(0, total - module.driver_allocated_memory()), total
        return module.mem_get_info(device)
    except (RuntimeError, AttributeError):  # ZeroGPU's, before a process has it, or a device that does not say
        return None


def used_and_peak(device: torch.device) -> tuple[int, int] | None:
    """Return the memory that this process uses of an accelerator, and the most so far, bytes; None as above."""
    module = torch.get_device_module(device)
    if device.type == "mps":  # it keeps no record of its peak
        now = module.driver_allocated_memory()
        return now, now
    try:
        return module.memory_allocated(device), module.max_memory_allocated(device)
    except AttributeError:
        return None

"""An accelerator that is pretended: tensors that say they are elsewhere, and are computed on the CPU.

What a real one refuses is refused: a tensor of the CPU in an operation with one of its own, its own in NumPy, float64
where it has none, more memory than it has. What a real one waits for is counted: a number that is read, a copy to the
CPU, a shape that depends on values.

There may be several, and tensors of two in one operation are refused. Torch itself knows the first alone: what its own
code makes there is on the current one of the thread, and what autograd's thread makes is on whichever is needed.
"""

from __future__ import annotations

import collections
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import backend_registration
from torch.utils._pytree import tree_leaves

import olora_viz
from olora_viz.lanes import groups
from olora_viz.machine import products
from olora_viz.machine.devices import KINDS, DeviceKind
from olora_viz.races import data

NAME = "pretended"
HOME = str(Path(olora_viz.__file__).parent)
"""The folder of the package."""
MAY_MIX = ("aten::index.Tensor", "aten::index_put", "aten::_index_put", "aten::copy_", "aten::_to_copy", "aten::set_")
"""Operations that take tensors of the CPU beside the device's own, as indices or as what is copied."""
WAITS = {
    "aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::unique_dim", "aten::_unique2",
    "aten::equal", "aten::is_nonzero", "aten::repeat_interleave.Tensor", "aten::bincount", "aten::_linalg_eigh",
    "aten::_linalg_svd", "aten::linalg_qr", "aten::geqrf", "aten::linalg_cholesky_ex",
}  # fmt: skip
"""Operations for whose results the CPU waits."""


class Module:
    """What `torch.cuda` is: the module of the device, and what it lets happen."""

    def __init__(self) -> None:
        self.count, self.has_float64, self.total = 0, True, 1 << 34
        self._of_thread = threading.local()
        self.begin()
        self.waits: collections.Counter[str] = collections.Counter()

    def begin(self) -> None:
        """Forget what is still there of an earlier time."""
        self.used = self.peak = 0
        self.made: collections.Counter[int | None] = collections.Counter()
        """Bytes that each one was given."""
        self.life = object()

    def is_available(self) -> bool:
        return self.count > 0

    def is_initialized(self) -> bool:
        return True

    def device_count(self) -> int:
        return self.count

    def current_device(self) -> int:
        return getattr(self._of_thread, "index", 0)

    def set_device(self, index: int) -> None:
        assert 0 <= index < max(1, self.count)
        self._of_thread.index = index

    def index_of(self, device: torch.device | None) -> int | None:
        """Return the one that is meant by a device; None if only autograd knows."""
        if device is not None and device.index:
            return device.index
        is_autograds = isinstance(threading.current_thread(), threading._DummyThread)
        return None if is_autograds else self.current_device()

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        """Nothing is drawn without a generator."""

    def get_device_name(self, device: torch.device) -> str:
        return "computed on the CPU"

    def synchronize(self) -> None:
        self.wait("synchronize")

    def mem_get_info(self, device: torch.device) -> tuple[int, int]:
        return self.total - self.used, self.total

    def memory_allocated(self, device: torch.device) -> int:
        return self.used

    def max_memory_allocated(self, device: torch.device) -> int:
        return self.peak

    def wait(self, what: str) -> None:
        """Note that the CPU waits, with the innermost function of the package or of transformers that makes it."""
        frame, place = sys._getframe(1), "?"
        while frame := frame.f_back:
            file = frame.f_code.co_filename
            if file.startswith(HOME) or "/transformers/" in file:
                place = f"{Path(file).name}:{frame.f_code.co_name}"
                break
        self.waits[f"{place} ({what})"] += 1

    def allocate(self, tensor: torch.Tensor, index: int | None) -> None:
        """Count a new tensor while it lives."""
        storage = tensor.untyped_storage()
        size = storage.nbytes()
        if self.used + size > self.total:
            raise torch.OutOfMemoryError(f"{NAME} out of memory. Tried to allocate {size} bytes.")
        self.used += size
        self.made[index] += size
        self.peak = max(self.peak, self.used)
        weakref.finalize(storage, self._free, size, self.life)

    def _free(self, size: int, life: object) -> None:
        if life is self.life:
            self.used -= size


DEVICE = Module()
backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=DEVICE)
THERE = torch.device(NAME, 0)


class Elsewhere(torch.Tensor):
    """A tensor of the device; `held` is where its numbers are, and `index` which device it is, if that is known."""

    held: torch.Tensor
    index: int | None

    @staticmethod
    def __new__(cls, held: torch.Tensor, index: int | None) -> Elsewhere:
        if held.dtype == torch.float64 and not DEVICE.has_float64:
            raise TypeError(f"{NAME} does not support float64")
        return torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=THERE,
        )

    def __init__(self, held: torch.Tensor, index: int | None) -> None:
        self.held, self.index = held, index

    @property
    def device(self) -> torch.device:
        return torch.device(NAME, self.index or 0)

    def __repr__(self, **_: Any) -> str:
        return f"Elsewhere({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(function, args, kwargs or {})

    def __deepcopy__(self, memo: dict[int, Any]) -> Elsewhere:
        """Copy it as torch copies what is on a device of its own."""
        if id(self) not in memo:
            memo[id(self)] = copied = self.detach().clone().requires_grad_(self.requires_grad)
            if isinstance(self, torch.nn.Parameter):
                copied._is_param = True
        return memo[id(self)]

    def tolist(self) -> Any:
        DEVICE.wait("tolist")
        return self.held.tolist()

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError(f"can't convert {NAME} tensor to numpy: use Tensor.cpu() first")

    __array__ = numpy

    def data_ptr(self) -> int:
        return self.held.data_ptr()


def is_there(device: Any) -> bool:
    return device is not None and torch.device(device).type == NAME


@cache
def _named(function: Any) -> str:
    schema = function._schema
    return f"{schema.name}.{schema.overload_name}" if schema.overload_name else schema.name


def _held(value: Any) -> Any:
    """Return a value, or what is in a list, with the CPU's tensors in place of the device's."""
    if isinstance(value, (list, tuple)):
        return [_held(each) for each in value]
    return value.held if isinstance(value, Elsewhere) else value


def computed(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Compute an operation on the CPU as the device would, or refuse it."""
    name = _named(function)
    tensors = [leaf for leaf in tree_leaves((*args, *kwargs.values())) if isinstance(leaf, torch.Tensor)]
    own = [each for each in tensors if isinstance(each, Elsewhere)]
    device = kwargs.get("device")
    ends_there = is_there(device) if device is not None else bool(own)
    if own and len(own) < len(tensors) and not name.startswith(MAY_MIX):
        bad = [tuple(each.shape) for each in tensors if not isinstance(each, Elsewhere) and each.dim() > 0]
        if bad:
            raise RuntimeError(f"Expected all tensors to be on the same device: {name} of {bad} on the CPU")
    places = {each.index for each in own} - {None}
    if len(places) > 1 and not name.startswith(("aten::copy_", "aten::_to_copy")):
        raise RuntimeError(f"Expected all tensors to be on the same device: {name} on {places}")
    if own:
        _count(name, args, ends_there=ends_there)
    named = {key: _held(value) for key, value in kwargs.items() if key != "pin_memory"}
    if is_there(device):
        named["device"] = torch.device("cpu")
    result = function(*map(_held, args), **named)
    if not ends_there:
        return result
    asked = device is not None and torch.device(device).index
    index = asked or next(iter(places), DEVICE.index_of(None))
    seen = {each.held.untyped_storage()._cdata for each in own}
    return _back(result, {id(each.held): each for each in own}, seen, index)


def _back(value: Any, known: dict[int, Elsewhere], seen: set[int], index: int | None) -> Any:
    """Return a result as tensors of the device: `known` ones changed in place, views of `seen` ones, and new ones.

    A function of its own, since one that calls itself from within another would keep all of them until Python looks
    for cycles.
    """
    if isinstance(value, (list, tuple)):
        return type(value)(_back(each, known, seen, index) for each in value)
    if not isinstance(value, torch.Tensor) or isinstance(value, Elsewhere):
        return value
    if id(value) in known:
        return known[id(value)]
    if value.untyped_storage()._cdata not in seen:
        DEVICE.allocate(value, index)
    return Elsewhere(value, index)


def _count(name: str, args: Any, *, ends_there: bool) -> None:
    """Note for what the CPU waits."""
    if name in WAITS or not ends_there or (name == "aten::copy_" and not isinstance(args[0], Elsewhere)):
        DEVICE.wait(name)
    elif name.startswith("aten::index.") and any(i is not None and i.dtype == torch.bool for i in args[1]):
        DEVICE.wait(f"{name} by a mask")


_library = torch.library.Library("aten", "IMPL")


def _new(held: torch.Tensor, device: Any) -> Elsewhere:
    made = Elsewhere(held, DEVICE.index_of(device))
    DEVICE.allocate(held, made.index)
    return made


def _empty_strided(size: Any, stride: Any, *, dtype: Any = None, device: Any = None, **_: Any) -> Elsewhere:
    return _new(torch.empty_strided(size, stride, dtype=dtype), device)


def _empty(size: Any, *, dtype: Any = None, device: Any = None, **_: Any) -> Elsewhere:
    return _new(torch.empty(size, dtype=dtype), device)


def _eye(rows: int, columns: int | None = None, *, dtype: Any = None, device: Any = None, **_: Any) -> Elsewhere:
    """Of its own, since torch's makes an empty tensor and resizes it, which the shape of a wrapper does not follow."""
    return _new(torch.eye(rows, rows if columns is None else columns, dtype=dtype), device)


def _copy_from(source: Any, target: Any, non_blocking: bool = False) -> Any:
    if isinstance(source, Elsewhere) and not isinstance(target, Elsewhere):
        DEVICE.wait("copy to the CPU")
    held = [each.held if isinstance(each, Elsewhere) else each for each in (source, target)]
    held[1].copy_(held[0])
    return target


_library.impl("empty_strided", _empty_strided, "PrivateUse1")
_library.impl("empty.memory_format", _empty, "PrivateUse1")
_library.impl("eye", _eye, "PrivateUse1")
_library.impl("eye.m", _eye, "PrivateUse1")
_library.impl("_copy_from", _copy_from, "PrivateUse1")
# Torch writes this one out for devices without their own, and rounds otherwise than the CPU.
_library.impl("silu_backward", lambda *given: computed(torch.ops.aten.silu_backward.default, given, {}), "PrivateUse1")


_PLAIN = torch.Generator


class _Plain(type):
    def __instancecheck__(cls, generator: object) -> bool:
        return isinstance(generator, _PLAIN)


class _Generator(metaclass=_Plain):
    """In the place of `torch.Generator`: that of the device draws on the CPU."""

    def __new__(cls, device: Any = "cpu") -> Any:
        return _PLAIN("cpu" if is_there(device) else device)


KIND = DeviceKind(dtype=torch.float32)


@contextmanager
def as_there(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the CPU compute as it does for any accelerator: padded, all lanes in one pass, without code of its own."""
    monkeypatch.setitem(KINDS, "cpu", replace(KIND, has_own_memory=False))
    monkeypatch.setattr(groups, "is_small", lambda plan: False)
    monkeypatch.setattr(groups, "CACHED", KIND.lanes)
    monkeypatch.setattr(data, "can_unpad", lambda model: False)
    monkeypatch.setattr(products, "_is_for_onednn", lambda dtype, twice: False)
    with sdpa_kernel(SDPBackend.MATH):
        yield


@contextmanager
def pretended(
    *, count: int = 1, has_float64: bool = True, memory: int = 1 << 34, dtype: torch.dtype = torch.float32
) -> Iterator[Module]:
    """Let this machine have so many devices, of so much memory and with or without float64; `dtype` is their auto."""
    KINDS[NAME] = replace(KIND, has_float64=has_float64, dtype=dtype)
    DEVICE.count, DEVICE.has_float64, DEVICE.total = count, has_float64, memory
    DEVICE.waits.clear()
    DEVICE.begin()
    torch.Generator = _Generator  # type: ignore[misc]
    try:
        yield DEVICE
    finally:
        torch.Generator = _PLAIN  # type: ignore[misc]
        DEVICE.count, DEVICE.has_float64, DEVICE.total = 0, True, 1 << 34
        DEVICE.set_device(0)
        del KINDS[NAME]

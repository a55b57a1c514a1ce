"""The memory of a computation, operation by operation."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Meter(TorchDispatchMode):
    """Counts the bytes of the live tensors that were created inside this context.

    Memory that an operation allocates and frees internally is not counted.

    Parameters
    ----------
    known : existing tensors, such as a model's weights, which are not counted.

    Attributes
    ----------
    live : the bytes of live tensors after each operation, in order.

    Examples
    --------
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
        made = func(*args, **(kwargs or {}))
        if _allocates(func):
            for leaf in (made,) if isinstance(made, Tensor) else tree_leaves(made):
                if isinstance(leaf, Tensor):
                    self._count(leaf)
        self.live.append(self._now)
        return made

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
    return not any(its.alias_info for its in func._schema.returns)


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata

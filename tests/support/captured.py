"""Torch's CUDA graphs on a CPU, as documented: a capture computes nothing, a replay repeats its operations in place.

Every operation of a capture is recorded with the memory that it reads and writes; no Python runs in a replay. Reading
a number, or copying from the CPU's own memory, is refused within a capture.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from olora_viz.races import graphed_step

ATEN = torch.ops.aten
READS = {ATEN._local_scalar_dense.default, ATEN.nonzero.default, ATEN.masked_select.default, ATEN.equal.default}
"""Operations whose result the CPU waits for."""

INDEXED = {ATEN.index.Tensor, ATEN.index_put.default, ATEN.index_put_.default}


def waits(operation: Any, arguments: tuple[Any, ...]) -> bool:
    """Whether the CPU waits for the result of an operation on a GPU."""
    by_mask = operation in INDEXED and any(i is not None and i.dtype == torch.bool for i in arguments[1])
    return operation in READS or by_mask


def _memory(value: Any) -> set[int]:
    return {each.untyped_storage()._cdata for each in tree_leaves(value) if isinstance(each, Tensor)}


class Graph(TorchDispatchMode):
    """What `torch.cuda.CUDAGraph` is."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, ...]] = []
        self.own: set[int] = set()
        self.before: list[tuple[Tensor, Tensor]] = []
        self.replays = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        if waits(operation, args) or operation is ATEN.lift_fresh.default:
            raise RuntimeError("operation not permitted when stream is capturing")
        kwargs = kwargs or {}
        for argument, value in zip(operation._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                outer = [each for each in tree_leaves(value) if not _memory(each) & self.own]
                self.before += [(each, each.clone()) for each in outer if isinstance(each, Tensor)]
        result = operation(*args, **kwargs)
        self.own |= _memory(result) - _memory((args, kwargs))
        self.operations.append((operation, args, kwargs, result))
        return result

    def forget(self) -> None:
        """Undo what the capture has computed."""
        with torch.no_grad():
            for tensor, value in reversed(self.before):
                tensor.copy_(value)
            for *_, result in self.operations:
                for each in tree_leaves(result):
                    if _memory(each) & self.own and each.is_floating_point():
                        each.fill_(torch.nan)

    def replay(self) -> None:
        """Repeat the operations."""
        self.replays += 1
        with torch.no_grad():
            for operation, args, kwargs, result in self.operations:
                again = operation(*args, **kwargs)
                for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                    if isinstance(old, Tensor) and not _memory(old) & _memory(new):
                        old.copy_(new)


class _Stream:
    def wait_stream(self, other: object) -> None:
        pass


def on_cpu(patch: pytest.MonkeyPatch, kind: type[Graph] = Graph) -> list[Graph]:
    """Let races on a CPU capture their steps; return the graphs that they make."""
    graphs: list[Graph] = []
    capturing: list[Graph] = []

    class Made(kind):
        def __init__(self) -> None:
            super().__init__()
            graphs.append(self)

    @contextmanager
    def capture(graph: Graph) -> Iterator[None]:
        capturing.append(graph)
        try:
            with graph:
                yield
        finally:
            capturing.clear()
            graph.forget()

    for name, value in {
        "CUDAGraph": Made, "graph": capture, "Stream": _Stream, "current_stream": _Stream,
        "stream": lambda _: nullcontext(), "is_current_stream_capturing": lambda: bool(capturing),
    }.items():  # fmt: skip
        patch.setattr(torch.cuda, name, value)
    patch.setattr(graphed_step, "DEVICE", "cpu")
    patch.setenv(graphed_step.SWITCH, "1")
    return graphs

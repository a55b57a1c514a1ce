"""The tensors of a model's folder, read one by one from its safetensors files: no model is built."""

from __future__ import annotations

import errno
import json
import shutil
import struct
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from olora_viz.machine.files import check_tensors
from olora_viz.machine.process import Progress
from olora_viz.machine.text import listed, rough
from olora_viz.models.folder import weight_files

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""The dtypes of weights that can be read, by their names in safetensors."""

BLOCK = 2**26
"""The bytes that are read at once."""

Report = Callable[[int], object]
"""Called with the number of bytes after each block; an exception raised here ends the work."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a safetensors file, which is read without mapping: mapped pages would count as memory in use."""

    file: Path
    name: str
    kind: str
    """Its dtype, as safetensors names it."""
    shape: tuple[int, ...]
    begin: int
    end: int
    """Where it lies in the file, in bytes."""

    def __getitem__(self, i: int) -> StoredTensor:
        """Return the i-th of the tensors that are stacked in it."""
        size = (self.end - self.begin) // self.shape[0]
        begin = self.begin + i * size
        return replace(self, shape=self.shape[1:], begin=begin, end=begin + size)

    def blocks(self, report: Report = lambda _: None) -> Generator[bytearray]:
        """Read its bytes, block by block; raises as `read` does."""
        for begin in range(self.begin, self.end, BLOCK):
            block = bytearray(min(BLOCK, self.end - begin))
            self._fill(memoryview(block), begin, report)
            yield block

    def read(self, report: Report = lambda _: None) -> Tensor:
        """Read it into memory of its own.

        Raises:
            ValueError: its dtype is none of `DTYPES`.
            OSError: the file is shorter than it was.
        """
        if self.kind not in DTYPES:
            raise ValueError(f"{self.name!r} is stored as {self.kind}; adapters need weights in {listed(DTYPES)}")
        stored = torch.empty(self.end - self.begin, dtype=torch.uint8)
        self._fill(stored.numpy().data, self.begin, report)
        return stored.view(DTYPES[self.kind]).view(self.shape)

    def _fill(self, buffer: memoryview, begin: int, report: Report) -> None:
        """Read the bytes from a position on."""
        with self.file.open("rb") as file:
            file.seek(begin)
            for at in range(0, len(buffer), BLOCK):
                block = buffer[at : at + BLOCK]
                if file.readinto(block) != len(block):
                    raise OSError(errno.EIO, f"it ends within the tensor {self.name!r}:", str(self.file))
                report(len(block))


@dataclass(frozen=True)
class Shard:
    """One safetensors file."""

    file: Path
    header: bytes
    """All that precedes the tensors."""
    tensors: tuple[StoredTensor, ...]
    """In the order of the file, without gaps."""


def read_shards(folder: Path) -> list[Shard]:
    """Read the headers of a folder's safetensors files.

    Raises:
        ValueError: there are none, or one is missing or damaged.
    """
    return [_shard(file) for file in weight_files(folder)]


def _shard(file: Path) -> Shard:
    check_tensors(file)
    with file.open("rb") as opened:
        size = opened.read(8)
        header = size + opened.read(struct.unpack("<Q", size)[0])
    entries: dict[str, Any] = json.loads(header[8:])
    entries.pop("__metadata__", None)
    return _laid_out(file, header, entries)


def _laid_out(file: Path, header: bytes, entries: dict[str, Any]) -> Shard:
    """Return a file by the entries of its header."""
    tensors = [
        StoredTensor(file, name, of["dtype"], tuple(of["shape"]), *(len(header) + at for at in of["data_offsets"]))
        for name, of in entries.items()
    ]
    return Shard(file, header, tuple(sorted(tensors, key=lambda tensor: tensor.begin)))


def new_shard(file: Path, shapes: Mapping[str, tuple[str, tuple[int, ...]]]) -> Shard:
    """Return a file that is to be written.

    Args:
        shapes: dtype, one of `DTYPES`, and shape of each tensor, by its name and in the order of the file.
    """
    entries: dict[str, Any] = {}
    end = 0
    for name, (kind, shape) in shapes.items():
        begin, end = end, end + prod(shape) * DTYPES[kind].itemsize
        entries[name] = {"dtype": kind, "shape": shape, "data_offsets": (begin, end)}
    text = json.dumps({"__metadata__": {"format": "pt"}} | entries).encode()
    text += b" " * (-len(text) % 8)  # the tensors are aligned
    return _laid_out(file, struct.pack("<Q", len(text)) + text, entries)


def bytes_of(tensor: Tensor) -> memoryview:
    """Return the bytes of a tensor as safetensors stores them."""
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().data


Bytes = bytes | bytearray | memoryview

Change = Callable[[Report], Iterable[Bytes]]
"""Yields what becomes of a tensor's bytes."""


def rewrite(
    shards: Iterable[Shard],
    folder: Path | None,
    changes: Mapping[str, Change],
    is_done: Callable[[str], bool] = lambda _: True,
    progress: Progress | None = None,
) -> None:
    """Write safetensors files with the same tensors, some of them changed, from where a killed writer came to.

    Args:
        folder: for the files, with their names; None to write none, and to go through the changes alone.
        changes: by the names of their tensors, each of which keeps its dtype and shape.
        is_done: whether a change, besides these files, is written elsewhere too.
        progress: called after each block; what it raises ends the work.

    Raises:
        OSError: a file cannot be read or written.
    """
    total = done = 0
    todo: list[StoredTensor] = []
    for shard in shards:
        file = folder and folder / shard.file.name
        if file:
            begin(file, shard)
        for tensor in shard.tensors:
            changes_it = tensor.name in changes
            if not (file or changes_it):
                continue
            size = tensor.end - tensor.begin
            total += size
            if (file is None or is_written(file, tensor.end)) and (not changes_it or is_done(tensor.name)):
                done += size
            else:
                todo.append(tensor)
    pace = _Pace(total, done, progress)
    for tensor in todo:
        change = changes.get(tensor.name, tensor.blocks)
        if folder is None:
            deque(change(pace), maxlen=0)
        else:
            write_from(folder / tensor.file.name, tensor.begin, change(pace))


class _Pace:
    """Reports how much is read and written, how fast, and how long the rest takes."""

    def __init__(self, total: int, done: int, progress: Progress | None) -> None:
        self._total, self._done, self._before, self._progress = total, done, done, progress
        self._began = time.monotonic()

    def __call__(self, count: int) -> None:
        """Report that so many bytes more are done."""
        self._done += count
        if self._progress is None:
            return
        speed = (self._done - self._before) / max(time.monotonic() - self._began, 1e-3)
        left = rough((self._total - self._done) / speed)
        words = f"{self._done / 1e9:.1f} of {self._total / 1e9:.1f} GB at {speed / 1e9:.2f} GB/s, {left} left"
        self._progress(self._done / self._total, words)


def begin(file: Path, shard: Shard) -> None:
    """Begin a file of the tensors of a shard, unless it is begun."""
    if not is_written(file, len(shard.header)):
        write_from(file, 0, [shard.header])


def write_from(file: Path, position: int, pieces: Iterable[Bytes]) -> None:
    """Write pieces into a file from a position on; what was behind it is lost.

    A file that is written from its beginning to its end is as far as it is long, whenever the writer is killed.
    """
    with file.open("r+b" if position else "wb") as opened:
        opened.truncate(position)
        opened.seek(position)
        for piece in pieces:
            opened.write(piece)


def is_written(file: Path, end: int) -> bool:
    """Whether a file that `write_from` writes has come so far."""
    return file.is_file() and file.stat().st_size >= end


OTHER_WEIGHTS = (".bin", ".ckpt", ".gguf", ".h5", ".msgpack", ".npz", ".onnx", ".onnx_data", ".pt", ".pth")
"""Endings of weights in formats that are not read here."""


START = "start.json"
"""The file in the folders of an adapter and of its residual model that says how its start was written."""

MERGE = "merge.json"
"""The file in a merged model's folder that says what was merged."""


def copy_settings(folder: Path, to: Path) -> None:
    """Copy all that holds for other weights too: config, tokenizer, templates, code, the index of the shards."""
    for file in folder.rglob("*"):
        name = file.relative_to(folder)
        is_hidden = any(part.startswith(".") for part in name.parts)
        if (
            file.is_file()
            and not is_hidden
            and file.suffix not in (".safetensors", *OTHER_WEIGHTS)
            and file.name not in (START, MERGE)
        ):
            (to / name).parent.mkdir(exist_ok=True, parents=True)
            shutil.copyfile(file, to / name)

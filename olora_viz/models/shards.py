"""The tensors of a model's folder, read one by one from its safetensors files: no model is built."""

from __future__ import annotations

import errno
import json
import os
import shutil
import struct
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from olora_viz.machine.files import check_tensors, naming, read_json_object, write_json, write_text
from olora_viz.machine.four_bit import STATE, TENSORS_BESIDE, dequantized
from olora_viz.machine.process import Progress, StoppedEarlyError
from olora_viz.machine.threads import on_one_core
from olora_viz.machine.wording import listed, rough
from olora_viz.machine.workers import Pool, goes_on, killed
from olora_viz.models.folder import INDEX, weight_files

STORED_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""The dtypes of weights that can be read, by their names in safetensors."""

BYTES_AT_ONCE = 2**26
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
        for begin in range(self.begin, self.end, BYTES_AT_ONCE):
            block = bytearray(min(BYTES_AT_ONCE, self.end - begin))
            self._fill(memoryview(block), begin, report)
            yield block

    def read(self, report: Report = lambda _: None) -> Tensor:
        """Read it into memory of its own.

        Raises:
            ValueError: its dtype is none of `STORED_DTYPES`.
            OSError: the file is shorter than it was.
        """
        if self.kind not in STORED_DTYPES:
            raise ValueError(
                f"{self.name!r} is stored as {self.kind}; adapters need weights in {listed(STORED_DTYPES)}"
            )
        return self.raw(report).view(STORED_DTYPES[self.kind]).view(self.shape)

    def raw(self, report: Report = lambda _: None) -> Tensor:
        """Read its bytes into memory of its own; OSError if the file is shorter than it was."""
        stored = torch.empty(self.end - self.begin, dtype=torch.uint8)
        self._fill(stored.numpy().data, self.begin, report)
        return stored

    def _fill(self, buffer: memoryview, begin: int, report: Report) -> None:
        """Read the bytes from a position on."""
        with self.file.open("rb") as file:
            file.seek(begin)
            for at in range(0, len(buffer), BYTES_AT_ONCE):
                block = buffer[at : at + BYTES_AT_ONCE]
                if file.readinto(block) != len(block):
                    raise OSError(errno.EIO, f"it ends within the tensor {self.name!r}:", str(self.file))
                report(len(block))


@dataclass(frozen=True)
class MovedTensor(StoredTensor):
    """A tensor as it lies in a file that is to be written, and is read from another place."""

    source: StoredTensor

    def __getitem__(self, i: int) -> MovedTensor:
        """Return the i-th of the tensors that are stacked in it."""
        at = super().__getitem__(i)
        return MovedTensor(at.file, at.name, at.kind, at.shape, at.begin, at.end, self.source[i])

    def blocks(self, report: Report = lambda _: None) -> Generator[bytearray]:
        """Read its bytes, block by block."""
        return self.source.blocks(report)

    def raw(self, report: Report = lambda _: None) -> Tensor:
        """Read its bytes."""
        return self.source.raw(report)


@dataclass(frozen=True)
class FourBitTensor(MovedTensor):
    """A matrix that is stored in four bits, and read as bitsandbytes computes with it."""

    parts: Mapping[str, StoredTensor]
    """See `dequantized`."""
    state: Mapping[str, Any]

    def blocks(self, report: Report = lambda _: None) -> Generator[Any]:
        """Read its bytes."""
        yield bytes_of(self.read(report))

    def raw(self, report: Report = lambda _: None) -> Tensor:
        """Read it, and report what it becomes."""
        parts = {name: part.raw() if part.kind == "U8" else part.read() for name, part in self.parts.items()}
        weights = dequantized(self.source.raw(), parts, self.state, STORED_DTYPES[self.kind])
        report(self.end - self.begin)
        return weights.flatten().view(torch.uint8)


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

    Returns:
        The files; of weights in four bits, as the files would be without quantization.

    Raises:
        ValueError: there are none, or one is missing or damaged.
    """
    shards = [read_shard(file) for file in weight_files(folder)]
    stored = {tensor.name: tensor for shard in shards for tensor in shard.tensors}
    states = {name.split(STATE)[0]: name for name in stored if STATE in name}
    return [_dequantized(shard, stored, states) for shard in shards] if states else shards


def four_bit_weights(folder: Path) -> dict[str, Tensor] | None:
    """Read all tensors of a folder that has weights in four bits, as bitsandbytes computes with them; else None."""
    tensors = [tensor for shard in read_shards(folder) for tensor in shard.tensors]
    if not any(isinstance(tensor, FourBitTensor) for tensor in tensors):
        return None
    return {tensor.name: tensor.read() for tensor in tensors}


def _dequantized(shard: Shard, stored: Mapping[str, StoredTensor], states: Mapping[str, str]) -> Shard:
    """Return a file as it would be without quantization to four bits, of which any file may hold the parts.

    Args:
        stored: the tensors of all files.
        states: by the names of weights in four bits, the name of what says how each is stored.
    """
    parts = {weight: [name for part in TENSORS_BESIDE if (name := f"{weight}.{part}") in stored] for weight in states}
    left_out = {*states.values(), *(name for names in parts.values() for name in names)}
    sources = {tensor.name: tensor for tensor in shard.tensors if tensor.name not in left_out}
    settings: dict[str, dict[str, Any]] = {
        name: json.loads(stored[states[name]].raw().numpy().tobytes()) for name in sources.keys() & states.keys()
    }
    kinds = {str(dtype).removeprefix("torch."): kind for kind, dtype in STORED_DTYPES.items()}
    layout: dict[str, tuple[str, Sequence[int], int]] = {}
    for name, tensor in sources.items():
        layout[name] = (tensor.kind, tensor.shape, tensor.end - tensor.begin)
        if name in states:
            kind, shape = kinds[settings[name]["dtype"]], settings[name]["shape"]
            if not (f"{name}.absmax" in stored and f"{name}.quant_map" in stored):
                raise ValueError(f"the files have no absmax or quant_map of {name!r}, which is in four bits")
            if tensor.end - tensor.begin != -(-prod(shape) // 2):
                raise ValueError(f"{name!r} has {tensor.end - tensor.begin} bytes, not four bits for each of {shape}")
            layout[name] = (kind, shape, prod(shape) * STORED_DTYPES[kind].itemsize)
    laid_out = _new_shard(shard.file, layout)
    tensors: list[StoredTensor] = []
    for at in laid_out.tensors:
        moved = MovedTensor(at.file, at.name, at.kind, at.shape, at.begin, at.end, sources[at.name])
        if at.name in states:
            by_name = {part.rpartition(".")[2]: stored[part] for part in parts[at.name]}
            tensors.append(FourBitTensor(**vars(moved), parts=by_name, state=settings[at.name]))
        else:
            tensors.append(moved)
    return replace(laid_out, tensors=tuple(tensors))


def read_shard(file: Path) -> Shard:
    """Read the header of a safetensors file; ValueError if it is damaged."""
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
        shapes: dtype, one of `STORED_DTYPES`, and shape of each tensor, by its name and in the order of the file.
    """
    layout = {name: (kind, of, prod(of) * STORED_DTYPES[kind].itemsize) for name, (kind, of) in shapes.items()}
    return _new_shard(file, layout)


def _new_shard(file: Path, layout: Mapping[str, tuple[str, Sequence[int], int]]) -> Shard:
    """Return a file of tensors with a dtype, a shape and a number of bytes."""
    entries: dict[str, Any] = {}
    end = 0
    for name, (kind, shape, size) in layout.items():
        begin, end = end, end + size
        entries[name] = {"dtype": kind, "shape": shape, "data_offsets": (begin, end)}
    text = json.dumps({"__metadata__": {"format": "pt"}} | entries).encode()
    text += b" " * (-len(text) % 8)  # the tensors are aligned
    return _laid_out(file, struct.pack("<Q", len(text)) + text, entries)


def bytes_of(tensor: Tensor) -> memoryview:
    """Return the bytes of a tensor as safetensors stores them."""
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().data


Bytes = bytes | bytearray | memoryview

Change = Callable[[Report], Iterable[Bytes]]
"""Yields what becomes of a tensor's bytes; it is handed to other processes."""

SHARDS_AHEAD = 2
"""The number of tensors, for each that is computed at the moment, that are handed out."""

KEPT_EVERY = 1.0
"""Seconds between two times that the names of written tensors are kept."""

REPORT_EVERY = 0.1
"""Seconds between two reports of tensors that are computed side by side."""


def rewrite(
    shards: Iterable[Shard],
    folder: Path | None,
    changes: Mapping[str, Change],
    written: Path,
    *,
    beside: Shard | None = None,
    pool: Pool | None = None,
    progress: Progress | None = None,
) -> None:
    """Write safetensors files with the same tensors, some of them changed, from where a killed writer came to.

    Each tensor is computed by one core, and is bitwise the same wherever that is.

    Args:
        folder: for the files, with their names; None to write none, and to go through the changes alone.
        changes: by the names of their tensors, each of which keeps its dtype and shape.
        written: a file with the names of the tensors that are written.
        beside: another new file, into which the changes write.
        pool: computes several tensors at once; None for this process.
        progress: called after each block, of a pool after each tensor; what it raises ends the work.

    Raises:
        OSError: a file cannot be read or written.
        ChildProcessError: a process of the pool was killed.
    """
    files = [beside] if beside else []
    todo: dict[str, _Task] = {}
    for shard in shards:
        if folder:
            files.append(replace(shard, file=folder / shard.file.name))
        todo |= {
            f"{shard.file.name} {tensor.name}": (tensor, changes.get(tensor.name, tensor.blocks), folder)
            for tensor in shard.tensors
            if folder or tensor.name in changes
        }
    sizes = {key: task[0].end - task[0].begin for key, task in todo.items()}
    done: set[str] = set()
    if written.is_file() and all([_is_laid_out(file) for file in files]):
        done = todo.keys() & written.read_text("utf-8").splitlines()
    for file in files:
        _lay_out(file)
    record = _Record(written, done, [file.file for file in files])
    pace = _Pace(sum(sizes.values()), sum(sizes[key] for key in done), progress)
    todo = {key: task for key, task in todo.items() if key not in done}
    with closing(_here(todo, pace) if pool is None else _in_pool(todo, sizes, pace, pool)) as keys:
        try:
            for key in keys:
                record.add(key)
        finally:
            record.keep()


class _Record:
    """The names of the tensors that are written, in a file: only of those that the disk has, also if the power fails.

    Args:
        written: the file, written anew.
        done: the names of those that it has.
        files: what the tensors are written into.
    """

    def __init__(self, written: Path, done: Iterable[str], files: Sequence[Path]) -> None:
        self._written, self._files, self._new = written, files, list[str]()
        write_text(written, "".join(f"{key}\n" for key in done))
        self._due = time.monotonic() + KEPT_EVERY

    def add(self, key: str) -> None:
        """Note a name, which is kept within a second's work."""
        self._new.append(key)
        if time.monotonic() >= self._due:
            self.keep()

    def keep(self) -> None:
        """Write down the names that are new."""
        if self._new:
            for path in self._files:
                with naming(path), path.open("r+b") as file:
                    getattr(os, "fdatasync", os.fsync)(file)
            with naming(self._written), self._written.open("a", encoding="utf-8") as file:
                file.write("".join(f"{key}\n" for key in self._new))
            self._new = []
        self._due = time.monotonic() + KEPT_EVERY


_Task = tuple[StoredTensor, Change, Path | None]
"""A tensor, what becomes of it, and the folder for its file."""


def _here(todo: Mapping[str, _Task], report: Report) -> Generator[str]:
    """Compute and write tensors in this process; yield the name of each."""
    with on_one_core():
        for key, task in todo.items():
            _write(task, report)
            yield key


def _in_pool(todo: Mapping[str, _Task], sizes: Mapping[str, int], report: Report, pool: Pool) -> Generator[str]:
    """Compute and write several tensors at once; yield the name of each."""
    waiting, running = iter(todo.items()), dict[Future, str]()
    try:
        while True:
            for key, task in islice(waiting, SHARDS_AHEAD * pool.count - len(running)):
                running[pool.submit(_write_there, task)] = key
            if not running:
                return
            for future in wait(running, REPORT_EVERY, FIRST_COMPLETED).done:
                future.result()
                key = running.pop(future)
                yield key
                report(sizes[key])
            report(0)
    except BrokenExecutor:
        raise killed() from None
    finally:
        for future in running:
            future.cancel()


def _write_there(task: _Task) -> None:
    """Compute and write a tensor in a process of a pool."""

    def report(_: int) -> None:
        if not goes_on():
            raise StoppedEarlyError

    with on_one_core():
        _write(task, report)


def _write(task: _Task, report: Report) -> None:
    """Compute what becomes of a tensor and write it."""
    tensor, change, folder = task
    if folder is None:
        deque(change(report), maxlen=0)
    else:
        write_at(folder / tensor.file.name, tensor.begin, change(report))


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
        size, unit = next(each for each in UNITS if self._total >= each[0] or each == UNITS[-1])
        words = f"{self._done / size:.1f} of {self._total / size:.1f} {unit}"
        if speed:
            words += f" at {speed / size:.2f} {unit}/s, {rough((self._total - self._done) / speed)} left"
        self._progress(self._done / self._total, words)


UNITS = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


def _lay_out(shard: Shard) -> None:
    """Write a file with the header of a shard and room for its tensors, unless there is one."""
    if not _is_laid_out(shard):
        with naming(shard.file), shard.file.open("wb") as file:
            file.write(shard.header)
            file.truncate(_end_of(shard))


def _is_laid_out(shard: Shard) -> bool:
    return shard.file.is_file() and shard.file.stat().st_size == _end_of(shard)


def _end_of(shard: Shard) -> int:
    return shard.tensors[-1].end if shard.tensors else len(shard.header)


def write_at(file: Path, position: int, pieces: Iterable[Bytes]) -> None:
    """Write pieces into a file that is laid out, from a position on."""
    with naming(file), file.open("r+b") as opened:
        opened.seek(position)
        for piece in pieces:
            opened.write(piece)


OTHER_WEIGHTS = (".bin", ".ckpt", ".gguf", ".h5", ".msgpack", ".npz", ".onnx", ".onnx_data", ".pt", ".pth")
"""Endings of weights in formats that are not read here."""


START = "start.json"
"""The file in the folders of an adapter and of its residual model that says how its start was written."""

MERGE = "merge.json"
"""The file in a merged model's folder that says what was merged."""


def copy_settings(folder: Path, to: Path, shards: Iterable[Shard]) -> None:
    """Copy all that holds for other weights too: config, tokenizer, templates, code, the index of the shards.

    Args:
        shards: the files of the weights, which are not quantized any more.
    """
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
    config = read_json_object(to / "config.json")
    if config.pop("quantization_config", None):
        write_json(to / "config.json", config)
        if (to / INDEX).is_file():
            places = {tensor.name: shard.file.name for shard in shards for tensor in shard.tensors}
            write_json(to / INDEX, {"metadata": {}, "weight_map": places})

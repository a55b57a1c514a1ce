"""What is decided before the first race of a study: its plan, margin and rule, and whether the results keep to it."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from olora_viz.machine.files import write_text
from olora_viz.machine.version import __version__
from olora_viz.studies.statistics import ERROR, LEAST_EXAMPLES, LEAST_SEEDS

if TYPE_CHECKING:
    from olora_viz.studies.study import Row, Study

FILE = "preregistration.toml"

RULE = f"""\
Rates are chosen by the mean loss on the held-out examples; the test examples decide.
Differences are paired by seed and test example, with 95% intervals over both, and p-values adjusted by Holm's method.
better or worse: p < {ERROR}, and the order holds at all rates that the held-out examples cannot tell from the best.
level: the whole interval lies within the margin, a share of the reference's loss reduction.
undecided: all else, and any verdict on fewer than {LEAST_SEEDS} seeds or {LEAST_EXAMPLES} test examples.
"""


def write(study: Study, folder: Path) -> Path:
    """Write the file of a study, whose folder has no race yet; one of the same plan stays as it is.

    Raises:
        ValueError: a race has begun, or the file is there with another plan.
    """
    path, plan = folder / FILE, f"[study]\n{study.to_toml()}"
    if path.exists():
        if path.read_text(encoding="utf-8").endswith(f"\n{plan}"):
            return path
        raise ValueError(f"{str(path)!r} holds another plan: what was decided before stays as it is")
    if any((folder / "runs").glob("*")):
        raise ValueError(f"a race of the study in {str(folder)!r} has begun: decide before the first one")
    rule = "".join(f"# {line}\n" for line in RULE.splitlines())
    now = datetime.now(UTC).isoformat(timespec="seconds")
    about = f'written = "{now}"\nversion = "{__version__}"\n'
    write_text(path, f"# The plan of a study, from before its first race.\n{rule}\n{about}\n{plan}")
    return path


def hash_of(folder: Path) -> str:
    """Return the SHA-256 of a study's file; empty if it has none."""
    path = folder / FILE
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def deviations(study: Study, folder: Path | None, rows: Iterable[Row]) -> list[str] | None:
    """Say in what the results of a study differ from what was decided before; None if nothing was."""
    rows = list(rows)
    hashes = {str(row.get("preregistration") or "") for row in rows}
    now = hash_of(folder) if folder else ""
    if not now and hashes <= {""}:
        return None
    if not now:
        return [f"the file {FILE} is gone"]
    differing = []
    if hashes - {"", now}:
        differing.append(f"{FILE} has changed since the first race")
    if early := sum(not row.get("preregistration") for row in rows):
        differing.append(f"{early} of {len(rows)} runs are from before it was written")
    planned: dict[str, Any] = tomllib.loads((folder / FILE).read_text(encoding="utf-8"))["study"] if folder else {}
    for name, value in asdict(study).items():
        value = list(value) if isinstance(value, tuple) else value
        if name != "threads" and planned.get(name) != value:
            differing.append(f"{name} was planned as {planned.get(name)!r} and is {value!r}")
    return differing


def sentence(differing: list[str] | None, sha256: str) -> str:
    """Say whether the results keep to what was decided before; empty if nothing was."""
    if differing is None:
        return ""
    if differing:
        return f"Not as preregistered: {'; '.join(differing)}."
    return f"As preregistered, before the first race (SHA-256 {sha256[:12]}…)."

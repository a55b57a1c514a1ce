"""One file with everything of a run: its folder, report and adapters, and code that repeats it."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from olora_viz.figures.live.standing_alone import standing_alone
from olora_viz.machine.cache import free_disk
from olora_viz.machine.files import folder_size, read_json_object, write_archive
from olora_viz.views.report import report
from olora_viz.web.export.exports import code, csv, peft_code, words_of
from olora_viz.web.jobs.job import Job

MOST_MIB = 1024
"""The largest such file, in MiB."""

REPORT_MIB = 8
"""What all but the adapters takes at most, about, in MiB."""


def everything_zip(job: Job) -> Path:
    """Zip a run, once, next to it; only its owner may have it.

    Raises
    ------
    ValueError : the race has not ended, or the file would be too large for the server or its disk.
    """
    if not job.complete or not job.steps:
        raise ValueError("the race has not ended yet: everything can be downloaded once it has")
    name = words_of(job.config)
    beside = job.zips or job.folder
    target = beside / f"{name}-everything.zip"
    if target.exists():
        return target
    adapters = job.folder / "adapters"
    size = folder_size(adapters) / 2**20 if adapters.is_dir() else 0.0
    if size + REPORT_MIB > MOST_MIB:
        raise ValueError(
            f"the adapters of this race take {size:.0f} MiB, and one file of everything at most "
            f"{MOST_MIB} MiB: download single adapters instead"
        )
    free = free_disk(job.folder) / 2**20
    if free < size + REPORT_MIB:
        raise ValueError(
            f"everything takes {size + REPORT_MIB:.0f} MiB, and the server's disk has {free:.0f} "
            "MiB free: download single adapters instead"
        )
    beside.mkdir(exist_ok=True)
    write_archive(target, {f"{name}/{path}": its for path, its in _contents(job).items()})
    return target


def _contents(job: Job) -> dict[str, Path | str]:
    """Return the files by their paths: their text, or where they are."""
    folder = job.folder
    found: dict[str, Path | str] = {
        "README.md": _README,
        "config.json": _named(job, folder / "config.json"),
        "steps.jsonl": folder / "steps.jsonl",
        "summary.json": _named(job, folder / "summary.json"),
        "steps.csv": csv(job),
        "report.html": standing_alone(report(job)),
        "repeat.py": code(job),
    }
    with suppress(ValueError):  # PEFT cannot train these lanes
        found["repeat-peft.py"] = peft_code(job)
    if job.own_file is not None:
        found[job.own_file.name] = job.own_file
    adapters = sorted((folder / "adapters").rglob("*"))
    found |= {str(file.relative_to(folder)): file for file in adapters if file.is_file()}
    return {path: its for path, its in found.items() if isinstance(its, str) or its.is_file()}


def _named(job: Job, path: Path) -> str:
    """Return a JSON file of a run folder with the task's name in place of a path of the server."""
    if not path.is_file():
        return "{}\n"
    values: dict[str, Any] = read_json_object(path) | {"task": job.config.task}
    return json.dumps(values, indent=1) + "\n"


_README = """# A race of olora_viz

- `report.html`: the whole race as one page, which opens offline.
- `config.json`, `steps.jsonl`, `summary.json`: the run; `olora_viz.load_run` reads this folder.
- `steps.csv`: every step and lane, for a spreadsheet.
- `adapters/LANE/`: every lane in PEFT's format, each with a README.
- `repeat.py` repeats the race with olora_viz, `repeat-peft.py` trains its lanes with PEFT.
"""

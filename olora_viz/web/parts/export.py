"""Downloads: adapters, numbers, code, and all files of a run."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from olora_viz.background.race import BackgroundRace
from olora_viz.background.record import RaceRecord, start_of, status_of_lanes
from olora_viz.figures.live.serving import charts, script
from olora_viz.figures.live.standing_alone import standing_alone
from olora_viz.lanes.peft import ReadBack
from olora_viz.machine.files import folder_size, free_disk, read_json_object, write_archive, write_zip
from olora_viz.races.config import RaceConfig
from olora_viz.races.fair_rate import found_rates
from olora_viz.races.script import olora_viz_script, peft_script
from olora_viz.races.tables import race_json, steps_csv
from olora_viz.tasks.evaluation import figures_of
from olora_viz.views.reports import report
from olora_viz.web.guard.limits import visitor_of
from olora_viz.web.guard.visitor_files import DOWNLOADS, own_name
from olora_viz.web.jobs.job import own_fields
from olora_viz.web.jobs.pool import Pool, few
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts.card import element, showing, stored


def export(jobs: Jobs, asked: Any) -> dict[str, Any]:
    """Make a file of a run, or return the reason why it is not available.

    A reader may have it too: what quotes a visitor's own file is for the owner alone.

    Args:
        asked: a key of the run, its owner's or its readers', and one of `EXPORTS`.

    Returns:
        ``{"name", "type", "text"}``, or ``{"name", "page"}`` if the browser builds a page from it, see
        `olora_viz.views.reports.report`, or ``{"problem"}``.
    """
    try:
        if not isinstance(asked, list) or len(asked) != 2:
            raise ValueError("an export needs the id of a run and a kind of file")
        name, kind = asked
        if not isinstance(kind, str) or kind not in EXPORTS:
            raise ValueError(f"a run can be exported as {', '.join(EXPORTS)}, not {str(kind)[:40]!r}")
        access = jobs.opened(name)
        if access is None:
            raise ValueError("this race is no longer available: run it again to export it")
        shown = access.record
        content = EXPORTS[kind].make(shown)
        if isinstance(content, dict) and access.race and access.owned:
            content = _with_own_names(content, access.race.own_files.values())
    except ValueError as error:
        return {"problem": str(error)}
    part = "page" if isinstance(content, dict) else "text"
    return {"name": f"{words_of(shown.config)}{EXPORTS[kind].ending}", "type": EXPORTS[kind].type, part: content}


def _with_own_names(page: dict[str, Any], files: Iterable[Path]) -> dict[str, Any]:
    """Return a page for the owner alone, in which own files have the names that they have at home."""
    text = json.dumps(page)
    for path in files:
        text = text.replace(path.name, own_name(path))
    return json.loads(text)


def csv(shown: RaceRecord) -> str:
    """Return a run's steps as a table."""
    return steps_csv(shown.config.labels, list(shown.steps), shown.config, shown.text, start_of(shown)[0])


def _json(shown: RaceRecord) -> str:
    base, tested = shown.baseline, shown.tested
    figures = base and {
        **figures_of(base, 0), **(figures_of(tested.base, 0, "test_") if tested else {}),
        **({"text_loss": shown.text.loss} if shown.text else {}),
    }  # fmt: skip
    summary = {
        "state": shown.state, "recorded": shown.recorded, "device": shown.device, "base": figures,
        "left_out": shown.left_out,
    }  # fmt: skip
    return race_json(
        shown.config, list(shown.steps), summary, tested, status_of_lanes(shown), shown.text, start_of(shown)[0]
    )


def code(shown: RaceRecord) -> str:
    """Return the script that repeats a run."""
    return _own_files(shown.config, own_fields(shown.config)) + olora_viz_script(shown.config)


def peft_code(shown: RaceRecord) -> str:
    """Return the script that trains a run's lanes with PEFT.

    Raises:
        ValueError: see `peft_script`.
    """
    config = found_rates(shown.config, list(shown.steps))
    return _own_files(config, set(own_fields(config)) - {"keep"}) + peft_script(config)


def _own_files(config: RaceConfig, fields: Iterable[str]) -> str:
    """Return comments on a visitor's own files, which a script does not contain."""
    words = {"task": "examples", "keep": "text to keep"}
    line = "# Save your own {} as {} in the folder where you run this script.\n"
    return "".join(line.format(words[name], getattr(config, name)) for name in fields)


class ExportFormat(NamedTuple):
    """One export format."""

    ending: str
    type: str
    make: Callable[[RaceRecord], str | dict[str, Any]]
    """Returns a run as text, or the content of a page for the browser to build."""
    label: str
    title: str


EXPORTS = {
    "csv": ExportFormat(".csv", "text/csv", csv, "CSV", "every step and lane, for a spreadsheet"),
    "json": ExportFormat(".json", "application/json", _json, "JSON", "set-up, steps and results"),
    "code": ExportFormat(".py", "text/x-python", code, "Code (olora_viz)", "a script that repeats this race"),
    "peft": ExportFormat(
        "-peft.py", "text/x-python", peft_code, "Code (peft)", "a script that trains the same lanes with PEFT"
    ),
    "report": ExportFormat(".html", "text/html", report, "Report", "the whole run as one self-contained page"),
}


def words_of(config: RaceConfig) -> str:
    """Name a run after its set-up, in characters that are valid in every file system."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", f"{config.model}-{config.task}").strip("-.")[-80:]


ALL_LANES = "all"
"""Asks for everything, instead of the number of a lane."""

EVERYTHING = (
    f'<button type="button" class="quiet" data-lane="{ALL_LANES}" title="the run, its report, all adapters and the '
    'code that repeats it, in one file" disabled>Everything (zip)</button>'
)

IN_IT = "In it: the run, its report, all adapters, and the code that repeats it."


def adapter_list(jobs: Jobs) -> gr.HTML:
    """Make the card's content; its value is `RaceView.adapters`."""
    pool = Pool(few("exports"))

    async def adapter(request: gr.Request, asked: Any) -> dict[str, Any]:
        return await in_turn(request, find, asked)

    async def taken(request: gr.Request, asked: Any) -> dict[str, Any]:
        return await in_turn(request, export, asked)

    async def in_turn(request: gr.Request, make: Callable[..., Any], asked: Any) -> dict[str, Any]:
        try:
            return await pool.run(visitor_of(request), make, jobs, asked)
        except ValueError as error:
            return {"problem": str(error)}

    buttons = [
        f'<button type="button" class="quiet" data-kind="{kind}" title="{EXPORTS[kind].title}" disabled>'
        f"{EXPORTS[kind].label}</button>"
        for kind in dict.fromkeys(["report", *EXPORTS])
    ]
    buttons.insert(3, EVERYTHING)  # which fills the row on a phone
    return element(
        elem_id="take",
        html_template=(
            f'<h2>Take it with you</h2><div class="exports">{"".join(buttons)}</div>'
            '<div class="adapters" id="adapters"></div><p class="hint" role="status"></p>'
        ),
        js_on_load=script(Path(__file__).parent / "take.js", **charts()),
        server_functions=[adapter, taken],
        held=stored("run"),
    )


def find(jobs: Jobs, asked: Any) -> dict[str, str]:
    """Zip an adapter; return its URL, which expires, and the result of reading it back, or why there is none.

    Args:
        asked: the owner's key of a race, and the number of a lane, or `ALL_LANES` for everything in one file.
    """
    try:
        name, lane = asked
        job = jobs.get(name)
        if job is None:
            raise ValueError("this race is no longer available: run it again for its adapters")
        if lane == ALL_LANES:
            path, remark = everything_zip(job), IN_IT
        else:
            path = adapter_zip(job, int(lane))
            read_back = ReadBack.read(job.run_folder / "adapters" / job.config.labels[int(lane)])
            remark = read_back.sentence if read_back else ""
    except OSError as error:
        what = "everything" if asked[1] == ALL_LANES else "the adapter"
        return {"problem": f"{what} could not be zipped: {error.strerror or error}"}
    except (ValueError, TypeError, OverflowError) as error:
        return {"problem": str(error)}
    return {"url": DOWNLOADS.offer(path), "name": path.name, "found": remark}


def adapter_zip(job: BackgroundRace, k: int) -> Path:
    """Zip lane k's adapter, once, next to the run.

    Raises:
        ValueError: there is no such lane, or its adapter is not written yet.
    """
    labels = job.config.labels
    if not 0 <= k < len(labels):
        raise ValueError(f"lane {k} must be from 0 to {len(labels) - 1}")
    source = job.run_folder / "adapters" / labels[k]
    if job.config.lanes[k].has_own_base:
        raise ValueError(
            f"lane {labels[k]!r} has a base of its own, by start_from, which no adapter holds: race it on the command "
            "line, and `export --form merged` writes it with its base"
        )
    if not job.complete or not source.is_dir():
        raise ValueError(f"lane {labels[k]!r} has no adapter yet: the race has not ended")
    name = f"{job.config.model}-{job.config.task}-{labels[k]}".replace("=", "")
    beside = job.zips or job.run_folder
    beside.mkdir(exist_ok=True)
    target = beside / f"{re.sub(r'[^A-Za-z0-9._+-]', '-', name)}.zip"
    if not target.exists():
        write_zip(target, source)
    return target


TAKE = showing("take", "adapters", build=lambda desk: [adapter_list(desk.jobs)], column="right")


MOST_MIB = 1024

REPORT_MIB = 8
"""What all but the adapters takes at most, about, in MiB."""


def everything_zip(job: BackgroundRace) -> Path:
    """Zip a run, once, next to it; only its owner may have it.

    Raises:
        ValueError: the race has not ended, or the file would be too large for the server or its disk.
    """
    if not job.complete or not job.steps:
        raise ValueError("the race has not ended yet: everything can be downloaded once it has")
    name = words_of(job.config)
    beside = job.zips or job.run_folder
    target = beside / f"{name}-everything.zip"
    if target.exists():
        return target
    adapters = job.run_folder / "adapters"
    size = folder_size(adapters) / 2**20 if adapters.is_dir() else 0.0
    if size + REPORT_MIB > MOST_MIB:
        raise ValueError(
            f"the adapters of this race take {size:.0f} MiB, and one file of everything at most "
            f"{MOST_MIB} MiB: download single adapters instead"
        )
    free = free_disk(job.run_folder) / 2**20
    if free < size + REPORT_MIB:
        raise ValueError(
            f"everything takes {math.ceil(size + REPORT_MIB)} MiB, and the server's disk has {int(free)} MiB free: "
            "download single adapters instead"
        )
    beside.mkdir(exist_ok=True)
    write_archive(target, {f"{name}/{path}": content for path, content in _contents(job).items()})
    return target


def _contents(job: BackgroundRace) -> dict[str, Path | str]:
    """Return the files by their paths: their text, or where they are."""
    folder, record = job.run_folder, job.record()
    contents: dict[str, Path | str] = {
        "README.md": _README,
        "config.json": _named(job, folder / "config.json"),
        "steps.jsonl": folder / "steps.jsonl",
        "summary.json": _named(job, folder / "summary.json"),
        "steps.csv": csv(record),
        "report.html": standing_alone(report(record)),
        "repeat.py": code(record),
    }
    with suppress(ValueError):  # PEFT cannot train these lanes
        contents["repeat-peft.py"] = peft_code(record)
    contents |= {own.name: own for own in job.own_files.values()}
    contents |= {str(path.relative_to(folder)): path for path in sorted((folder / "adapters").rglob("*"))}
    return {path: content for path, content in contents.items() if isinstance(content, str) or content.is_file()}


def _named(job: BackgroundRace, path: Path) -> str:
    """Return a JSON file of a run folder with the names of own files in place of paths of the server."""
    if not path.is_file():
        return "{}\n"
    values: dict[str, Any] = read_json_object(path)
    values |= {name: getattr(job.config, name) for name in job.own_files if name in values}
    return json.dumps(values, indent=1) + "\n"


_README = """# A race of olora_viz

- `report.html`: the whole race as one page, which opens offline.
- `config.json`, `steps.jsonl`, `summary.json`: the run; `olora_viz.load_run` reads this folder.
- `steps.csv`: every step and lane, for a spreadsheet.
- `adapters/LANE/`: every lane in PEFT's format, each with a README.
- `repeat.py` repeats the race with olora_viz, `repeat-peft.py` trains its lanes with PEFT.
"""

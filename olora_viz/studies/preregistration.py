"""What is decided before the first race of a study: set-up, margin and rule, and whether the results keep to it."""

from __future__ import annotations

import hashlib
import json
import shlex
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from olora_viz.initializers import definition_of, remember
from olora_viz.machine.files import FORMAT, is_free, write_text
from olora_viz.machine.version import __version__
from olora_viz.measures.catalogue import measure_definitions
from olora_viz.races.config import STUDY
from olora_viz.studies.definitions import seeds_by_definition, seeds_words
from olora_viz.studies.method import lane_of
from olora_viz.studies.statistics import ERROR, LEAST_EXAMPLES, LEAST_SEEDS

if TYPE_CHECKING:
    from olora_viz.studies.rows import Row
    from olora_viz.studies.study import Study

SETUP = STUDY
"""The file with the set-up."""

DECISION = "decision.json"
"""The file that a decision's folder has beside those of its study: its plan, and what is known."""

FILE = "preregistration.toml"

RULE = f"""\
Rates are chosen by the mean loss on the held-out examples; the test examples decide.
Differences are paired by seed and test example, with 95% intervals over both, and p-values adjusted by Holm's method.
better or worse: p < {ERROR}, and the order holds at all rates that the held-out examples cannot tell from the best.
level: the whole interval lies within the margin, a share of the reference's loss reduction.
undecided: all else, and any verdict on fewer than {LEAST_SEEDS} seeds or {LEAST_EXAMPLES} test examples.
"""


def continued(study: Study, folder: Path) -> Study:
    """Return a study as it runs in its folder: as a new one, or one that goes on with what is there.

    Raises:
        ValueError: the folder holds something else, or a study with runs of another set-up.
    """
    setup = folder / SETUP
    if setup.exists():
        earlier = read_setup(type(study), folder)
        dtype = earlier.race.dtype if study.race.dtype == "auto" else study.race.dtype
        study = study.changed({"dtype": dtype}, threads=study.threads or earlier.threads)
        study.check_grows_from(earlier, repr(str(folder)))
        return study
    if not is_free(folder):
        raise ValueError(f"the folder of a study must be new or empty: {str(folder)!r} is not")
    return study.fixed()


def read_setup(kind: type[Study], folder: Path, **instead: Any) -> Study:
    """Read the study of a folder, whose starts need not be registered if they have run: see `Study.read`."""
    with suppress(OSError, ValueError):  # which `Study.read` says better
        compare = tomllib.loads((folder / SETUP).read_text(encoding="utf-8")).get("compare", ())
        inits = [method.partition(":")[0] for method in compare]
        remember(inits if any((folder / "runs").glob("*.parquet")) else ())
    return kind.read(folder / SETUP, **instead)


def is_decision(folder: Path) -> bool:
    """Whether the folder is that of a decision, whose time is limited."""
    return (folder / DECISION).exists()


def check_is_study(folder: Path) -> None:
    """Raise a ValueError if it is a decision, which runs by its own plan and within its own time."""
    if is_decision(folder):
        raise ValueError(
            f"{str(folder)!r} is the folder of a decision, not of a study: "
            f"python -m olora_viz decide --out {shlex.quote(str(folder))} goes on with it"
        )


def write_setup(study: Study, folder: Path) -> None:
    """Write the set-up of a study into its folder."""
    write_text(folder / SETUP, f"format = {FORMAT}\n{study.to_toml()}")


def preregister(study: Study, folder: Path) -> Path:
    """Write the plan of a study, whose folder has no race yet, and its set-up; the same plan stays as it is.

    Raises:
        ValueError: a race has begun, the file is there with another plan, or the folder holds something else.
    """
    study = continued(study, folder)
    check_is_study(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = _write_plan(study, folder)
    write_setup(study, folder)
    return path


def _write_plan(study: Study, folder: Path) -> Path:
    path, plan = folder / FILE, f"[study]\n{study.to_toml('study')}"
    starts = dict.fromkeys(lane_of(method).init for method in study.compare)
    definitions = {"start": {init: definition_of(init) for init in starts}}
    definitions["measurement"] = measure_definitions()
    if path.exists():
        before = path.read_text(encoding="utf-8")
        same = [tomllib.loads(before).get(what, each) == each for what, each in definitions.items()]
        if all(same) and before.endswith(f"\n{plan}"):
            return path
        raise ValueError(f"{str(path)!r} holds another plan: what was decided before stays as it is")
    if any((folder / "runs").glob("*")):
        raise ValueError(f"a race of the study in {str(folder)!r} has begun: decide before the first one")
    rule = "".join(f"# {line}\n" for line in RULE.splitlines())
    now = datetime.now(UTC).isoformat(timespec="seconds")
    about = f'written = "{now}"\nversion = "{__version__}"\n'
    for what, each in definitions.items():
        lines = (f"{json.dumps(name)} = {json.dumps(definition)}\n" for name, definition in each.items())
        about += f"\n[{what}]\n{''.join(lines)}"
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
    written: dict[str, Any] = tomllib.loads((folder / FILE).read_text(encoding="utf-8")) if folder else {"study": {}}
    for (what, name), by_definition in seeds_by_definition(rows).items():
        known = written.get(what, {}).get(name)
        differing += [
            f"the {what} {name!r} was planned as {known} and ran as {each} with {seeds_words(seeds)}"
            for each, seeds in by_definition.items()
            if known not in (None, each)
        ]
    planned, now = (_flat(each) for each in (written["study"], tomllib.loads(study.to_toml())))
    differing += [
        f"{name} was planned as {planned.get(name)!r} and is {now.get(name)!r}"
        for name in dict.fromkeys((*now, *planned))
        if name != "threads" and planned.get(name) != now.get(name)
    ]
    return differing


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without their tables."""
    within = [each for each in settings.values() if isinstance(each, Mapping)]
    return {name: each for table in (settings, *within) for name, each in table.items() if each not in within}


def sentence(differing: list[str] | None, sha256: str) -> str:
    """Say whether the results keep to what was decided before; empty if nothing was."""
    if differing is None:
        return ""
    if differing:
        return f"Not as preregistered: {'; '.join(differing)}."
    return f"As preregistered, before the first race (SHA-256 {sha256[:12]}…)."

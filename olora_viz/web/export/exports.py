"""The export formats of a run, created on request."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from olora_viz.machine.numbers import finite_or_none
from olora_viz.races.config import RaceConfig
from olora_viz.races.fair_rate import found_rates
from olora_viz.races.script import olora_viz_script, peft_script
from olora_viz.races.summary import figures_of_test
from olora_viz.races.tables import race_json, steps_csv
from olora_viz.tasks import TASKS
from olora_viz.views.race_record import RaceRecord, status_of_lanes
from olora_viz.views.report import report
from olora_viz.web.jobs.queue import Jobs


def export(jobs: Jobs, asked: Any) -> dict[str, Any]:
    """Make a file of a run, or return the reason why it is not available.

    A reader may have it too: what quotes a visitor's own file is for the owner alone.

    Parameters
    ----------
    asked : a key of the run, its owner's or its readers', and one of `KINDS`.

    Returns
    -------
    ``{"name", "type", "text"}``, or ``{"name", "page"}`` if the browser builds a page from it, see
    `olora_viz.views.report.report`, or ``{"problem"}``.
    """
    try:
        if not isinstance(asked, list) or len(asked) != 2:
            raise ValueError("an export needs the id of a run and a kind of file")
        name, kind = asked
        if not isinstance(kind, str) or kind not in KINDS:
            raise ValueError(f"a run can be exported as {', '.join(KINDS)}, not {str(kind)[:40]!r}")
        shown = jobs.shown(name)
        if shown is None:
            raise ValueError("this race is no longer available: run it again to export it")
        ending, media, make = KINDS[kind]
        made = make(shown)
    except ValueError as error:
        return {"problem": str(error)}
    content = {"page": made} if isinstance(made, dict) else {"text": made}
    return {"name": f"{words_of(shown.config)}{ending}", "type": media, **content}


def csv(shown: RaceRecord) -> str:
    """Return a run's steps as a table."""
    return steps_csv(shown.config.labels, list(shown.steps), shown.config)


def _json(shown: RaceRecord) -> str:
    base, tested = shown.baseline, shown.tested
    summary = {
        "state": shown.state,
        "recorded": shown.recorded,
        "device": shown.device,
        "base": base
        and {
            "loss": finite_or_none(base.loss[0]),
            "accuracy": finite_or_none(base.accuracy[0]),
            **(figures_of_test(tested.base, 0) if tested else {}),
        },
        "left_out": shown.left_out,
    }
    steps = list(shown.steps)
    return race_json(shown.config, steps, summary, tested, status_of_lanes(shown))


def code(shown: RaceRecord) -> str:
    """Return the script that repeats a run."""
    return _own_file(shown.config) + olora_viz_script(shown.config)


def peft_code(shown: RaceRecord) -> str:
    """Return the script that trains a run's lanes with PEFT.

    Raises
    ------
    ValueError : see `peft_script`.
    """
    config = found_rates(shown.config, list(shown.steps))
    return _own_file(config) + peft_script(config)


def _own_file(config: RaceConfig) -> str:
    """Return a comment on a visitor's own file, which a script does not contain."""
    if config.task in TASKS:
        return ""
    return f"# Save your own examples as {config.task} in the folder where you run this script.\n"


class Kind(NamedTuple):
    """One export format."""

    ending: str
    """The suffix of the file's name."""
    type: str
    """The file's media type."""
    make: Callable[[RaceRecord], str | dict[str, Any]]
    """Returns a run as text, or the content of a page for the browser to build."""


KINDS = {
    "csv": Kind(".csv", "text/csv", csv),
    "json": Kind(".json", "application/json", _json),
    "code": Kind(".py", "text/x-python", code),
    "peft": Kind("-peft.py", "text/x-python", peft_code),
    "report": Kind(".html", "text/html", report),
}


def words_of(config: RaceConfig) -> str:
    """Name a run after its set-up, in characters that are valid in every file system."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", f"{config.model}-{config.task}").strip("-.")[-80:]

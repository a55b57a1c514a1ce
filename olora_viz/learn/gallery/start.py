"""The recorded measurement of the first race's start, which the page Conditioning begins with: one small JSON file."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from pathlib import Path

from olora_viz.background.measurement import BackgroundMeasurement, rates_in_use, start_config
from olora_viz.figures.theme import start_styles
from olora_viz.learn.gallery.recording import RECORDED_DIGITS, RECORDED_ID, Origin, rounded_all
from olora_viz.machine.files import read_json_object, write_text
from olora_viz.machine.tables import one_line
from olora_viz.measures.conditioning import Conditioning
from olora_viz.races.config import RaceConfig
from olora_viz.races.step import FINISHED

START_FILE = Path(__file__).parent / "start.json"


def measurement(config: RaceConfig) -> BackgroundMeasurement:
    """Return the measurement of a race's start, still to be made."""
    starts = start_config(config)
    return BackgroundMeasurement(
        f"{RECORDED_ID}{START_FILE.stem}", starts, None, start_styles(starts.lanes), rates=rates_in_use(config),
        lanes=len(config.lanes),
    )  # fmt: skip


def write_start(work: BackgroundMeasurement, config: RaceConfig, origin: Origin) -> None:
    """Write the measurement of a race's start, a start per line."""
    assert work.result is not None
    head = {"made": asdict(origin), "config": config.to_json()}
    measured = rounded_all(work.result.to_json(work.config.labels), RECORDED_DIGITS)
    lines = ",\n".join(f'"{label}": {one_line(values)}' for label, values in measured.items())
    parts = [f'"{name}": {one_line(value)}' for name, value in head.items()]
    write_text(START_FILE, "{" + ",\n".join([*parts, f'"starts": {{\n{lines}\n}}']) + "}\n")


@cache
def recorded_start() -> BackgroundMeasurement:
    """Read the recorded measurement, once; without eigenvectors nothing can be sliced."""
    values = read_json_object(START_FILE)
    work, origin = measurement(RaceConfig.from_json(values["config"])), Origin(**values["made"])
    work.state, work.complete, work.recorded = FINISHED, True, f"recorded on {origin.date}"
    work.device = origin.device.split(",")[0]
    work.result = Conditioning.from_json(values["starts"], work.config.labels)
    return work

"""A race written to a run folder: its checkpoint, its adapters, and all of it at once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from olora_viz.lanes.peft_format import write_peft
from olora_viz.lanes.read_back import keep, read_back
from olora_viz.machine.cache import DiskFullError, free_disk
from olora_viz.machine.files import is_free, write_json, write_tensors, write_text
from olora_viz.races.contents import contents_of
from olora_viz.races.model_card import model_card
from olora_viz.races.state import RACING, STOPPED
from olora_viz.races.step import Step

if TYPE_CHECKING:
    from olora_viz.races.race import Race

CHECKPOINT = "checkpoint.safetensors"


def save(racing: Race, folder: str | Path) -> None:
    """Write a race to a new run folder, see `Race.save`."""
    folder, steps = Path(folder), racing.history
    if steps is None:
        raise ValueError(
            f"this race does not know its first {racing.done} steps: it was restored, or its steps "
            "are in a run folder already"
        )
    if not is_free(folder):
        raise ValueError(f"run folder {str(folder)!r} must be new or empty")
    check_space(folder, racing)
    begin(folder, racing)
    lines = (line_of(racing, step) + "\n" for step in steps)
    (folder / "steps.jsonl").write_text("".join(lines), encoding="utf-8")
    write_checkpoint(folder, racing)
    if steps:
        write_adapters(folder, racing)
    if racing.status != RACING:
        write_json(folder / "summary.json", racing.summary())


def begin(folder: Path, racing: Race) -> None:
    """Write the set-up of a race, and what else it depends on."""
    values = racing.config.to_json()
    contents = contents_of(racing.config, racing.task if racing.has_own_task else None)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", values | contents)


def line_of(racing: Race, step: Step) -> str:
    """Return a step's line in ``steps.jsonl``."""
    return json.dumps(step.to_json(racing.lanes.labels), allow_nan=False)


def write_checkpoint(folder: Path, racing: Race) -> None:
    """Write everything needed to resume bitwise, atomically."""
    write_tensors(folder / CHECKPOINT, racing.snapshot())


def write_adapters(folder: Path, racing: Race) -> None:
    """Write the adapter of every lane with a finite ΔW, and read it back.

    Who stops a race does not wait for that: those adapters are not read back.
    """
    lanes, out, summary = racing.lanes, racing.state.out, racing.summary()
    progress, is_stopped = racing.afterwards, racing.status == STOPPED
    for k, label in enumerate(lanes.labels):
        progress(k / lanes.count, "writing the adapters")
        its = folder / "adapters" / label
        layers = lanes.plan.layers_of(k)
        if out[k] and not all(lanes.delta(name, k).isfinite().all() for name in layers):
            shutil.rmtree(its, ignore_errors=True)
        else:
            write_peft(lanes, k, its, form="lora")
            if not is_stopped:
                keep(read_back(lanes, k, its), its)
            write_text(its / "README.md", model_card(racing.config, k, summary))


def check_space(folder: Path, racing: Race) -> None:
    """Check that the disk has room for two checkpoints and the adapters."""
    matrix = racing.lanes.theta.numel() * racing.lanes.theta.element_size()
    checkpoint = 3 * matrix + racing.config.keep_best * matrix
    need = 2 * checkpoint + 2 * matrix + 2**20
    free = free_disk(folder)
    if free < need:
        raise DiskFullError(
            f"the run needs {need / 2**20:.0f} MiB on disk, and {str(folder)!r} has "
            f"{free / 2**20:.0f} MiB free",
            need,
        )

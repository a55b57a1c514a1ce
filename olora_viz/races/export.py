"""What is written of a race: its adapters, merged models, and the files of its run folder."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from olora_viz.lanes import peft
from olora_viz.lanes.peft import ReadBack, read_back, read_back_merged, write_merged, write_peft
from olora_viz.machine.files import FORMAT, DiskFullError, free_disk, is_free, write_json, write_tensors, write_text
from olora_viz.races.data import DEFINITIONS, contents_of, definitions_of
from olora_viz.races.model_card import model_card
from olora_viz.races.step import RACING, STOPPED, Step

if TYPE_CHECKING:
    from olora_viz.races.race import Race


MERGED_FORM = "merged"

EXPORT_FORMS = (*peft.FORMS, MERGED_FORM)


@dataclass(frozen=True)
class Exported:
    """What was written, and whether another library runs it."""

    label: str
    form: str
    """One of `EXPORT_FORMS`."""
    folder: Path
    step: int
    """The step that the adapter is from."""
    check: ReadBack

    @property
    def sentence(self) -> str:
        """Where it lies and the step that it is from."""
        what = f"the model with {self.label}" if self.form == MERGED_FORM else f"the adapter of {self.label}"
        return f"{what}, from step {self.step}, is in {self.folder}"


def export_lane(race: Race, k: int | str, folder: str | Path, form: str = "lora") -> Exported:
    """Write one lane into a new folder, and read it back.

    An adapter has a README with the lane's set-up and results.

    Args:
        folder: new or empty.
        form: ``lora`` or ``olora``, see `write_peft`; ``merged`` for the base model with W + ΔW, and its tokenizer.

    Raises:
        ValueError: the folder is not empty, the form is unknown or does not suit the lane, or the lane does not exist
            or is not finite.
    """
    if form not in EXPORT_FORMS:
        raise ValueError(f"form must be one of {', '.join(EXPORT_FORMS)}, not {form!r}")
    if not is_free(Path(folder)):
        raise ValueError(f"folder {str(folder)!r} must be new or empty")
    lanes, folder = race.lanes, Path(folder)
    k = lanes.number(k)
    label, summary = lanes.labels[k], race.summary()
    results = summary["lanes"][label]
    if race.status == RACING:  # before the end a lane has its present adapter, not its best one
        results["adapter_step"] = results.get("stopped_at") or race.updates
        results |= {"best_step": None, "best_loss": None}
    if form == MERGED_FORM:
        write_merged(lanes, k, race.tokenizer, folder)
        check = read_back_merged(lanes, k, folder)
    else:
        write_peft(lanes, k, folder, form=form)
        check = read_back(lanes, k, folder)
        write_text(folder / "README.md", model_card(race.config, k, summary, folder))
    return Exported(label, form, folder, results.get("adapter_step", race.updates), check)


CHECKPOINT = "checkpoint.safetensors"

PAST = "past.safetensors"
"""The file of a run's `Past`, if its lanes do not start from the model itself."""


def save(racing: Race, folder: str | Path) -> None:
    """Write a race to a new run folder, see `Race.save`."""
    folder, steps = Path(folder), racing.steps
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
    write_text(folder / "steps.jsonl", "".join(lines))
    write_tensors(folder / CHECKPOINT, racing.snapshot())
    if steps:
        write_adapters(folder, racing)
    if racing.status != RACING:
        write_json(folder / "summary.json", racing.summary())


def begin(folder: Path, racing: Race) -> None:
    """Write the set-up of a race, and what else it depends on."""
    values = racing.config.to_json() | {"epochs": racing.epochs}
    contents = contents_of(racing.config, racing.task if racing.has_own_task else None)
    folder.mkdir(parents=True, exist_ok=True)
    definitions = {DEFINITIONS: definitions_of(racing.config)}
    if racing.lanes.past is not None:
        racing.lanes.past.write(folder / PAST)
    write_json(folder / "config.json", {"format": FORMAT} | values | contents | definitions)


def line_of(racing: Race, step: Step) -> str:
    """Return a step's line in ``steps.jsonl``."""
    return json.dumps(step.to_json(racing.lanes.labels), allow_nan=False)


def write_adapters(folder: Path, racing: Race) -> None:
    """Write the adapter of every lane with a finite ΔW and the base of all lanes, and read it back.

    The adapters of a race that is stopped are not read back, so that nobody waits for that.
    """
    lanes, out, summary = racing.lanes, racing.state.out, racing.summary()
    progress, is_stopped = racing.afterwards, racing.status == STOPPED
    for k, label in enumerate(lanes.labels):
        progress(k / lanes.count, "writing the adapters")
        adapter = folder / "adapters" / label
        layers = lanes.plan.layers_of(k)
        is_lost = out[k] and not all(lanes.delta(name, k).isfinite().all() for name in layers)
        if is_lost or k in lanes.plan.on_own_base:
            shutil.rmtree(adapter, ignore_errors=True)
        else:
            write_peft(lanes, k, adapter, form="lora")
            if not is_stopped:
                read_back(lanes, k, adapter).write(adapter)
            write_text(adapter / "README.md", model_card(racing.config, k, summary, adapter))


def check_space(folder: Path, racing: Race) -> None:
    """Check that the disk has room for two checkpoints and the adapters."""
    matrix = racing.lanes.theta.numel() * racing.lanes.theta.element_size()
    checkpoint = 3 * matrix + racing.config.keep_best * matrix
    past = racing.lanes.past
    need = 2 * checkpoint + 2 * matrix + 2**20 + (0 if past is None else past.bytes)
    free = free_disk(folder)
    if free < need:
        needs, has = math.ceil(need / 2**20), free // 2**20  # never the same number
        raise DiskFullError(f"the run needs {needs} MiB on disk, and {str(folder)!r} has {has} MiB free", need)

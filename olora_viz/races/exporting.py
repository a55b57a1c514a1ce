"""One lane of a race written as an adapter or as a whole model, and read back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from olora_viz.lanes import peft_format
from olora_viz.lanes.merged_format import write_merged
from olora_viz.lanes.peft_format import write_peft
from olora_viz.lanes.read_back import ReadBack, read_back, read_back_merged
from olora_viz.machine.files import is_free, write_text
from olora_viz.races.model_card import model_card
from olora_viz.races.state import RACING

if TYPE_CHECKING:
    from olora_viz.races.race import Race

MERGED = "merged"

FORMS = (*peft_format.FORMS, MERGED)


@dataclass(frozen=True)
class Exported:
    """What was written, and whether another library runs it."""

    label: str
    """Of the lane."""
    form: str
    """One of `FORMS`."""
    folder: Path
    step: int
    """The step that the adapter is from."""
    found: ReadBack

    @property
    def sentence(self) -> str:
        """Where it lies and the step that it is from."""
        what = (
            f"the model with {self.label}"
            if self.form == MERGED
            else f"the adapter of {self.label}"
        )
        return f"{what}, from step {self.step}, is in {self.folder}"


def export_lane(race: Race, k: int, folder: str | Path, form: str = "lora") -> Exported:
    """Write one lane into a new folder, and read it back.

    An adapter has a README with the lane's set-up and results.

    Parameters
    ----------
    race : not in the middle of a step.
    k : the lane to write.
    folder : new or empty.
    form : ``lora`` or ``olora``, see `write_peft`; ``merged`` for the base model with W + ΔW, and
        its tokenizer.

    Raises
    ------
    ValueError : the folder is not empty, the form is unknown or does not suit the lane, or the lane
        does not exist or is not finite.
    OSError : the folder cannot be written, for instance on a full disk.
    """
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, not {form!r}")
    if not is_free(Path(folder)):
        raise ValueError(f"folder {str(folder)!r} must be new or empty")
    lanes, folder = race.lanes, Path(folder)
    lanes.check_lane(k)
    label, summary = lanes.labels[k], race.summary()
    its = summary["lanes"][label]
    if race.status == RACING:  # before the end a lane has its present adapter, not its best one
        its |= {"adapter_step": its.get("stopped_at") or race.updates}
        its |= {"best_step": None, "best_loss": None}
    if form == MERGED:
        write_merged(lanes, k, race.tokenizer, folder)
        found = read_back_merged(lanes, k, folder)
    else:
        write_peft(lanes, k, folder, form=form)
        found = read_back(lanes, k, folder)
        write_text(folder / "README.md", model_card(race.config, k, summary))
    return Exported(label, form, folder, its.get("adapter_step", race.updates), found)

"""A lane merged into its base model, as a Hugging Face folder."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from olora_viz.lanes.adapters import Lanes
from olora_viz.lanes.layers import named_layers, weight_of
from olora_viz.machine.files import atomic_folder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def write_merged(
    lanes: Lanes, k: int, tokenizer: PreTrainedTokenizerBase, folder: str | Path
) -> Path:
    """Write the model with W + ΔW of lane k in its layers, and its tokenizer.

    Parameters
    ----------
    lanes, k : the lane to merge.
    tokenizer : the base model's.
    folder : written atomically.

    Raises
    ------
    ValueError : the lane does not exist or is not finite.
    OSError : the folder cannot be written, for instance on a full disk.
    """
    merged: Any = lanes.merge(k)
    layers = named_layers(merged)
    for name in lanes.plan.layers_of(k):
        if not weight_of(layers[name]).isfinite().all():
            raise ValueError(f"lane {lanes.labels[k]!r} holds NaN or infinity in layer {name!r}")
    with atomic_folder(Path(folder)) as made, _without_bars():
        merged.save_pretrained(made)
        try:
            tokenizer.save_pretrained(made)
        except Exception as error:  # `tokenizers` has no exception type for a full disk
            raise OSError(f"cannot write the tokenizer into {str(folder)!r}: {error}") from error
    return Path(folder)


@contextmanager
def _without_bars() -> Generator[None]:
    """Silence transformers' progress bars, which would precede an error message."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()

"""What a race leaves to the next one on the same model."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, TypeVar

from olora_viz.machine.device import resolve_device, resolve_dtype
from olora_viz.machine.progress import Progress
from olora_viz.models import load_model
from olora_viz.races.config import RaceConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Found = TypeVar("Found")


class Kept:
    """The model of the latest of some races, one after the other, and what was found out about it.

    Detached lanes leave a model bitwise unchanged. So it is loaded once, and what does not depend
    on lanes is computed once: tokens, its own results on held-out examples, starts without a seed.
    """

    def __init__(self) -> None:
        self._key: Hashable = None
        self._loaded: Any = None
        self._found: dict[Hashable, Any] = {}
        self._used: set[Hashable] = set()

    def load(
        self, config: RaceConfig, progress: Progress | None = None
    ) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """Return the model and the tokenizer of a set-up; other ones are forgotten before.

        Raises
        ------
        ValueError : see `load_model`.
        """
        device = resolve_device(config.device)
        dtype = resolve_dtype(config.dtype, device)
        key = (config.model, device, dtype)
        if key != self._key:
            self.clear()
            self._loaded = load_model(config.model, device=device, dtype=dtype, progress=progress)
            self._key = key
        return self._loaded

    def get(self, key: Hashable, find: Callable[[], Found]) -> Found:
        """Return what was found under a key, after finding it the first time."""
        if key not in self._found:
            self._found[key] = find()
        self._used.add(key)
        return self._found[key]

    def rest(self) -> None:
        """Forget what no race has used since the last call, and everything on a GPU."""
        if self._loaded is not None and self._loaded[0].device.type != "cpu":
            self.clear()
        self.forget_unused()

    def forget_unused(self) -> None:
        """Forget what no race has used since the last call; the model stays where it is."""
        self._found = {key: self._found[key] for key in self._used if key in self._found}
        self._used = set()

    def clear(self) -> None:
        """Forget everything."""
        self._key = self._loaded = None
        self._found = {}

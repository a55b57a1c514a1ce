"""An exported lane read back from disk, and its logits compared with the lane's."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from olora_viz.lanes.adapters import Lanes
from olora_viz.lanes.eval_mode import EvalMode
from olora_viz.lanes.first_pass import logits_of, sample
from olora_viz.lanes.layers import target_name
from olora_viz.lanes.peft_experts import INNER
from olora_viz.lanes.peft_format import read_peft
from olora_viz.lanes.stored_adapter import read_config
from olora_viz.machine.cache import reason
from olora_viz.machine.files import read_json_object, write_json
from olora_viz.models.folder import load_folder

FILE = "read_back.json"
"""The file in an adapter's folder with the result."""

OURS = "olora_viz"

MERGED = "export it with --form merged"

DIVERGED = "the lane diverged: its own logits are not finite, and no form of its adapter is usable"

UNCHECKED = (
    "not checked with PEFT, which is not installed and does not run adapters of every model: "
    "install it and export again"
)


@dataclass(frozen=True)
class ReadBack:
    """The result of loading an export again."""

    by: str
    """The library that loaded it, with its version."""
    difference: float | None
    """The largest difference between its logits and the lane's; None if it could not be loaded."""
    problem: str = ""
    """Why it does not compute the same as the lane; empty if it does."""
    by_ours: bool = False
    """If there is a problem: whether `read_peft` loads it with the lane's logits."""

    @property
    def sentence(self) -> str:
        """The result in words."""
        if self.problem:
            return self.warning
        near = f"within {self.difference:.1g}" if self.difference else "exactly"
        found = f"{self.by} reads it back with the lane's logits, {near}"
        return f"{found}; {self.warning}" if self.warning else found

    @property
    def warning(self) -> str:
        """Why it may not work elsewhere, for people; empty if PEFT, or transformers, runs it."""
        if self.problem == DIVERGED:
            return DIVERGED
        if self.problem:
            ours = ", or load it with olora_viz.read_peft, which gives the lane's logits"
            return f"{self.by} {self.problem}: {MERGED}{ours * self.by_ours}"
        return UNCHECKED if self.by.startswith(OURS) else ""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


class _RefusedError(Exception):
    """The loader rejects the export, or adapts other layers."""


def read_back(lanes: Lanes, k: int, folder: str | Path) -> ReadBack:
    """Load lane k's adapter again, with PEFT if it is installed, and compare logits.

    The loaded model shares the weights that the adapter does not change with the base model, so
    little memory is needed.

    Parameters
    ----------
    lanes, k : the lane, on a language model.
    folder : written by `write_peft`.
    """
    folder = Path(folder)
    changes_base = read_config(folder)["init_lora_weights"] == "olora"
    base = lanes.base(shared=not changes_base)
    peft = find_spec("peft")
    if not (peft and peft.origin):  # a folder of that name has a spec too, but no origin
        return _compare(lanes, k, OURS, lambda: read_peft(base, folder).model)
    by = f"PEFT {version('peft')}"
    trained = {target_name(name, lanes.plan.layers[name]) for name in lanes.plan.layers_of(k)}
    found = _compare(lanes, k, by, lambda: _by_peft(base, folder, trained))
    if not found.problem:
        return found
    fresh = lanes.base(shared=True)
    ours = _compare(lanes, k, OURS, lambda: read_peft(fresh, folder).model)
    return replace(found, by_ours=not ours.problem)


def read_back_merged(lanes: Lanes, k: int, folder: str | Path) -> ReadBack:
    """Load the model that `write_merged` wrote, and compare logits."""
    weight = next(lanes.model.parameters())

    def load() -> nn.Module:
        model, _ = load_folder(Path(folder), dtype=weight.dtype, device=weight.device)
        return nn.Module.to(model, weight.device).eval()

    return _compare(lanes, k, f"transformers {version('transformers')}", load)


def keep(found: ReadBack, folder: Path) -> None:
    """Write the result into an adapter's folder."""
    write_json(folder / FILE, found.to_json())


def kept(folder: Path) -> ReadBack | None:
    """Read what `keep` wrote; None for an adapter that was never read back."""
    path = folder / FILE
    return ReadBack(**read_json_object(path)) if path.is_file() else None


def _by_peft(base: nn.Module, folder: Path, trained: set[str]) -> nn.Module:
    from peft import PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer

    with warnings.catch_warnings():  # of missing keys, where it adapts other layers
        warnings.simplefilter("ignore")
        PeftModel.from_pretrained(base, str(folder))  # puts its layers into the base
    tuners = {n: its for n, its in base.named_modules() if isinstance(its, BaseTunerLayer)}
    differing = sorted({_adapted(name, its) for name, its in tuners.items()} ^ trained)
    if differing:
        raise _RefusedError(f"adapts other layers than those trained, such as {differing[0]!r}")
    return base.eval()


def _adapted(name: str, tuner: object) -> str:
    """Name the layer that one of PEFT's layers adapts, or the 3-D parameter."""
    parameter = getattr(tuner, "parameter_name", None)
    return f"{name.removesuffix(INNER)}.{parameter}" if parameter else name


def _compare(lanes: Lanes, k: int, by: str, load: Callable[[], nn.Module]) -> ReadBack:
    ids = sample(lanes.model)
    with closing(EvalMode(lanes.model)), lanes.only(k):
        wanted = logits_of(lanes.model, ids)
    if not wanted.isfinite().all():
        return ReadBack(by, None, DIVERGED)
    try:
        found = logits_of(load(), ids)
    except _RefusedError as error:
        return ReadBack(by, None, str(error))
    except Exception as error:  # a loader can fail anywhere
        return ReadBack(by, None, f"rejects it ({reason(error).split('. ')[0]})")
    difference = float((found - wanted).abs().max())
    if not math.isfinite(difference):
        return ReadBack(by, None, "cannot be compared: the logits are not finite")
    rounding = torch.finfo(wanted.dtype).eps ** 0.5 * float(wanted.abs().max())
    wrong = not difference <= rounding
    return ReadBack(
        by, difference, f"gives logits that differ by {difference:.1g}" if wrong else ""
    )

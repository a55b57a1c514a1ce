"""Names that older versions wrote into run folders; nothing writes them any more."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_CONFIG = {"trace_every": "spectra_every"}
_STEP = {"trace": "update_spectra"}
_LANE = {"turned": "max_principal_angle", "defect": "orthogonality_error"}


def config_of(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a ``config.json`` under today's names."""
    return _renamed(values, _CONFIG)


def step_of(line: dict[str, Any]) -> dict[str, Any]:
    """Return a line of ``steps.jsonl`` under today's names."""
    line = _renamed(line, _STEP)
    spectra = line.get("update_spectra")
    if spectra is None:
        return line
    lanes = {label: _renamed(lane, _LANE) for label, lane in spectra["lanes"].items()}
    return {**line, "update_spectra": {**spectra, "lanes": lanes}}


def checkpoint_of(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint with those of today; what was not kept is NaN."""
    if "last_loss" not in tensors:
        return tensors
    return {"last_grad_norm": torch.full_like(tensors["last_loss"], torch.nan, dtype=torch.float64), **tensors}


def _renamed(values: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {names.get(key, key): value for key, value in values.items()}

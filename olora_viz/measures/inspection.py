"""What any PEFT adapter does to its base model, layer by layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from olora_viz.initializers import Start
from olora_viz.lanes.peft_format import read_config, read_peft
from olora_viz.machine.progress import Progress
from olora_viz.measures.spectra import (
    effective_rank,
    moved_factors,
    product_singular_values,
    stable_rank,
)
from olora_viz.measures.truncation import Weight, intruder_dimensions


@dataclass(frozen=True)
class LayerInspection:
    """What an adapter does to one layer."""

    layer: str
    rank: int
    """Maximum rank of ΔW: the adapter's r, or 2r if it did not start from zero."""
    sigma: np.ndarray
    """Singular values of ΔW, descending."""
    norm: float
    """‖ΔW‖, Frobenius."""
    relative_norm: float
    """‖ΔW‖ / ‖W‖."""
    effective_rank: float
    """exp of the entropy of σ / Σσ, from 1 to the rank; 0 if ΔW is zero."""
    stable_rank: float
    """Σσ² / σ₁²."""
    intruders: int
    """Number of leading singular vectors of W + ΔW that resemble none of W's."""
    similarity: np.ndarray
    """For each leading vector, the largest |cosine| with a singular vector of W."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "layer": self.layer,
            "rank": self.rank,
            "sigma": self.sigma.tolist(),
            "effective_rank": self.effective_rank,
            "stable_rank": self.stable_rank,
            "norm": self.norm,
            "relative_norm": self.relative_norm,
            "intruders": self.intruders,
            "similarity": self.similarity.tolist(),
        }


def inspect_adapter(
    model: nn.Module,
    folder: str | Path,
    *,
    top: int = 10,
    threshold: float = 0.5,
    progress: Progress | None = None,
) -> list[LayerInspection]:
    """Measure what an adapter on disk does to each layer of its base model.

    If the adapter's initialization changed the base weights (OLoRA, exact PiSSA), B⁰A⁰ is
    recomputed from the base model and subtracted, so that only the change from training is
    measured.

    Parameters
    ----------
    model : the base model, unchanged afterwards.
    folder : with ``adapter_config.json`` and ``adapter_model.safetensors``.
    top, threshold : of `intruder_dimensions`.

    Raises
    ------
    ValueError : from `read_peft`.
    """
    lanes = read_peft(model, folder)
    try:
        return [
            _inspect(lanes, layer, i / len(lanes.layers), top, threshold, progress)
            for i, layer in enumerate(lanes.layers)
        ]
    finally:
        lanes.detach()


def base_of(folder: str | Path) -> str:
    """Return the name of the base model that an adapter was made for.

    Raises
    ------
    ValueError : the folder is not an adapter, or its config does not name a base model.
    """
    base = read_config(Path(folder)).get("base_model_name_or_path")
    if not base or not isinstance(base, str):
        raise ValueError(
            f"the adapter in {str(folder)!r} does not name its base model: pass --model"
        )
    return base


def _inspect(
    lanes: Any, layer: str, done: float, top: int, threshold: float, progress: Progress | None
) -> LayerInspection:
    if progress:
        progress(done, layer)
    now, start = _precise(lanes.factors(layer, 0)), _precise(lanes.start_factors(layer, 0))
    moved = moved_factors(now, start) if start.B.any() else now
    moved = Start(A=moved.A, B=float(lanes.scale[0]) * moved.B)
    rank = min(moved.A.shape[0], moved.A.shape[1], moved.B.shape[0])
    sigma = product_singular_values(moved.B, moved.A)[:rank]
    W = Weight(lanes.plan.weight(layer))
    found = intruder_dimensions(W, moved, top=top, threshold=threshold)
    norm = float(torch.linalg.vector_norm(sigma))
    return LayerInspection(
        layer=layer,
        rank=rank,
        sigma=sigma.cpu().numpy(),
        norm=norm,
        relative_norm=norm / float(torch.linalg.vector_norm(W.sigma)) if norm else 0.0,
        effective_rank=float(effective_rank(sigma)),
        stable_rank=float(stable_rank(sigma)),
        intruders=found.count,
        similarity=found.similarity.cpu().numpy(),
    )


def _precise(factors: Start) -> Start:
    return Start(A=factors.A.double(), B=factors.B.double())


def total_norm(rows: list[LayerInspection]) -> float:
    """Return ‖ΔW‖ over all layers."""
    return math.sqrt(sum(row.norm**2 for row in rows))

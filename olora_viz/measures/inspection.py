"""What any PEFT adapter does to its base model, layer by layer, and how two of them agree."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from olora_viz.initializers import Start
from olora_viz.lanes.layers import named_layers
from olora_viz.lanes.stored_adapter import AdaptedLayer, StoredAdapter, read_adapter, read_config
from olora_viz.lanes.stored_weights import Read
from olora_viz.machine.devices import in_float64
from olora_viz.machine.process import LazyMapping, Progress
from olora_viz.measures.spectra import effective_rank, moved_factors, product_singular_values, product_svd, stable_rank
from olora_viz.measures.truncation import Weight, intruder_dimensions

DORA = (
    "DoRA's ΔW = m (W + sBA) / ‖W + sBA‖ − W has no low rank and is computed from W; ‖sBA‖ is the "
    "norm of its low-rank part, and Δm / m the relative change of the magnitudes m from ‖W‖"
)
"""A note on the numbers of a DoRA adapter."""


@dataclass(frozen=True)
class LayerUpdate:
    """The ΔW of one layer."""

    layer: str
    rank: int
    """Maximum rank of ΔW: the adapter's r, 2r if it did not start from zero, or min(out, in) for DoRA."""
    sigma: np.ndarray
    """Singular values of ΔW, descending."""
    effective_rank: float
    """exp of the entropy of σ / Σσ, from 1 to the rank; 0 if ΔW is zero."""
    stable_rank: float
    """Σσ² / σ₁²."""
    norm: float
    """‖ΔW‖, Frobenius."""
    relative_norm: float
    """‖ΔW‖ / ‖W‖."""
    direction_norm: float | None = field(default=None, kw_only=True)
    """‖sBA‖ of a DoRA adapter; None for LoRA, whose ΔW it is."""
    magnitude_change: float | None = field(default=None, kw_only=True)
    """Relative change of the magnitudes of a DoRA adapter, ‖m − ‖W‖‖ / ‖W‖; None for LoRA."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields that are there as plain values."""
        return {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in vars(self).items()
            if value is not None
        }


@dataclass(frozen=True)
class LayerInspection(LayerUpdate):
    """What an adapter does to one layer.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> import olora_viz as ov
        >>> model, tokenizer = ov.load_model("glassllm")
        >>> config = ov.RaceConfig(lanes=(ov.Lane("olora", r=2),), steps=1, eval_size=4)
        >>> race = ov.race(config)
        >>> step = next(race)
        >>> with TemporaryDirectory() as folder:
        ...     layers = ov.inspect_adapter(model, ov.write_peft(race.lanes, 0, folder))
        >>> layers[0].layer, layers[0].rank, layers[0].norm > 0
        ('model.layers.0.self_attn.q_proj', 4, True)
        >>> layers[0].intruders, layers[0].similarity.shape
        (0, (10,))
    """

    intruders: int
    """Number of leading singular vectors of W + ΔW that resemble none of W's."""
    similarity: np.ndarray
    """For each leading vector, the largest |cosine| with a singular vector of W."""


@dataclass(frozen=True)
class LayerComparison:
    """What two adapters do to one layer, and how much they agree.

    All but the name is None or 0 where one of them leaves the layer out or its ΔW is zero.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> import olora_viz as ov
        >>> model, tokenizer = ov.load_model("glassllm")
        >>> lanes = ov.Lane("lora"), ov.Lane("pissa")
        >>> config = ov.RaceConfig(lanes=lanes, steps=1, eval_size=4)
        >>> race = ov.race(config)
        >>> step = next(race)
        >>> with TemporaryDirectory() as folder:
        ...     adapters = [ov.write_peft(race.lanes, k, f"{folder}/{k}") for k in range(2)]
        ...     layers = ov.compare_adapters(model, *adapters)
        >>> layers[0].layer, layers[0].first.rank, layers[0].second.rank
        ('model.layers.0.self_attn.q_proj', 8, 16)
        >>> 0 < layers[0].chance < layers[0].left_overlap < 1
        True
    """

    layer: str
    first: LayerUpdate | None
    second: LayerUpdate | None
    cosine: float | None = None
    """⟨ΔW₁, ΔW₂⟩ / (‖ΔW₁‖ ‖ΔW₂‖), with the Frobenius inner product: 1 for the same direction."""
    leading: int = 0
    """k, the number of leading singular vectors that are compared: the smaller effective rank, rounded up."""
    left_overlap: float | None = None
    """‖U₁ᵀU₂‖² / k of the k leading left singular vectors: 0 if orthogonal, 1 for the same span."""
    right_overlap: float | None = None
    """The same of the right singular vectors."""
    chance: float | None = None
    """The mean overlap, left and right, of random subspaces of these sizes: k / out and k / in."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values, the layer's name once."""
        both = {
            name: {key: value for key, value in update.to_json().items() if key != "layer"} if update else None
            for name, update in (("first", self.first), ("second", self.second))
        }
        return vars(self) | both


def inspect_adapter(
    model: nn.Module, folder: str | Path, *, top: int = 10, threshold: float = 0.5, progress: Progress | None = None
) -> list[LayerInspection]:
    """Measure what an adapter on disk does to each layer of its base model.

    If the adapter's initialization changed the base weights (OLoRA, exact PiSSA), B⁰A⁰ is recomputed from the base
    model and subtracted, so that only the change from training is measured. Of a DoRA adapter, ΔW is computed from the
    base weights. A warning names the tensors that are no update of a linear layer, such as a trained embedding, and
    says if the base model is the residual one of a start on a folder, as B⁰A⁰ is a part of ΔW then.

    Args:
        model: the base model, unchanged afterwards.
        folder: with ``adapter_config.json`` and ``adapter_model.safetensors``.
        top: of `intruder_dimensions`.
        threshold: see `top`.

    Raises:
        ValueError: from `read_adapter` and `StoredAdapter.on`.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> import olora_viz as ov
        >>> model, tokenizer = ov.load_model("glassllm")
        >>> config = ov.RaceConfig(lanes=(ov.Lane("olora", r=2),), steps=1, eval_size=4)
        >>> race = ov.race(config)
        >>> step = next(race)
        >>> with TemporaryDirectory() as folder:
        ...     layers = ov.inspect_adapter(model, ov.write_peft(race.lanes, 0, folder))
        >>> len(layers), layers[0].layer, layers[0].intruders
        (28, 'model.layers.0.self_attn.q_proj', 0)
    """
    adapter = _read_with_warning(folder)
    return inspected(model, adapter, top=top, threshold=threshold, progress=progress)


def inspected(
    model: nn.Module,
    adapter: StoredAdapter,
    *,
    top: int = 10,
    threshold: float = 0.5,
    read: Read | None = None,
    progress: Progress | None = None,
) -> list[LayerInspection]:
    """Measure an adapter that has been read, like `inspect_adapter`; `read` is of a skeleton, see `model_of`."""
    inspections = []
    adapted = _on(model, adapter, read)
    for i, (name, layer) in enumerate(adapted.items()):
        if progress:
            progress(i / len(adapted), name)
        low, moved = _moved(name, layer)
        intruders = intruder_dimensions(Weight(layer.W), moved, top=top, threshold=threshold)
        update, similarity = _update(name, layer, low, moved), intruders.similarity.cpu().numpy()
        inspections.append(LayerInspection(**vars(update), intruders=intruders.count, similarity=similarity))
    return inspections


def compare_adapters(
    model: nn.Module, folder: str | Path, other: str | Path, *, progress: Progress | None = None
) -> list[LayerComparison]:
    """Compare what two adapters on disk do to each layer of their base model.

    Everything is computed from the factors of ΔW, without forming it, except for DoRA's. A warning names tensors that
    are left out, see `inspect_adapter`.

    Args:
        model: the base model of both, unchanged afterwards.
        folder: the adapters.
        other: see `folder`.

    Raises:
        ValueError: from `read_adapter` and `StoredAdapter.on`.

    References:
        Hu et al. 2021, arXiv 2106.09685, section 7.2 (the overlap of subspaces).

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> import olora_viz as ov
        >>> model, tokenizer = ov.load_model("glassllm")
        >>> lanes = ov.Lane("lora"), ov.Lane("pissa")
        >>> config = ov.RaceConfig(lanes=lanes, steps=1, eval_size=4)
        >>> race = ov.race(config)
        >>> step = next(race)
        >>> with TemporaryDirectory() as folder:
        ...     adapters = [ov.write_peft(race.lanes, k, f"{folder}/{k}") for k in range(2)]
        ...     layers = ov.compare_adapters(model, *adapters)
        >>> len(layers), all(-1 < layer.cosine < 1 for layer in layers)
        (28, True)
    """
    both = _read_with_warning(folder), _read_with_warning(other)
    return compared(model, *both, progress=progress)


def _on(model: nn.Module, adapter: StoredAdapter, read: Read | None) -> Mapping[str, AdaptedLayer]:
    """Fit an adapter to its model, see `StoredAdapter.on`; each layer of a skeleton is read when it is looked up."""
    adapted = adapter.on(model)
    return LazyMapping(list(adapted), lambda name: replace(adapted[name], W=read(name))) if read else adapted


def adapted_layers(adapters: Iterable[StoredAdapter], model: nn.Module) -> dict[str, nn.Module]:
    """Return the layers of a model that any of some adapters adapts; raises as `StoredAdapter.on`."""
    names = {name for adapter in adapters for name in adapter.on(model)}
    return {name: layer for name, layer in named_layers(model).items() if name in names}


def compared(
    model: nn.Module,
    first: StoredAdapter,
    second: StoredAdapter,
    *,
    read: Read | None = None,
    progress: Progress | None = None,
) -> list[LayerComparison]:
    """Compare two adapters that have been read, like `compare_adapters`; `read` is of a skeleton, see `model_of`."""
    sides = _on(model, first, read), _on(model, second, read)
    names = [name for name in named_layers(model) if any(name in side for side in sides)]
    comparisons = []
    for i, name in enumerate(names):
        if progress:
            progress(i / len(names), name)
        pair = [side.get(name) for side in sides]
        parts = [(layer, *_moved(name, layer)) if layer else None for layer in pair]
        updates = [part and _update(name, *part) for part in parts]
        of_first, of_second = updates
        if not (of_first and of_second and of_first.norm and of_second.norm):
            comparisons.append(LayerComparison(name, of_first, of_second))
            continue
        left, right = (part[2] for part in parts if part)
        k = math.ceil(min(of_first.effective_rank, of_second.effective_rank) - 1e-9)
        U, _, V = product_svd(left.B, left.A)
        P, _, Q = product_svd(right.B, right.A)
        inner = float(((left.B.mT @ right.B) * (left.A @ right.A.mT)).sum())
        comparisons.append(
            LayerComparison(
                name,
                of_first,
                of_second,
                cosine=inner / (of_first.norm * of_second.norm),
                leading=k,
                left_overlap=_overlap(U, P, k),
                right_overlap=_overlap(V, Q, k),
                chance=(k / len(U) + k / len(V)) / 2,
            )
        )
    return comparisons


def base_of(folder: str | Path) -> str:
    """Return the name of the base model that an adapter was made for.

    Raises:
        ValueError: the folder is not an adapter, or its config does not name a base model.
    """
    base = read_config(Path(folder)).get("base_model_name_or_path")
    if not base or not isinstance(base, str):
        raise ValueError(f"the adapter in {str(folder)!r} does not name its base model: pass --model")
    return base


def common_base(folders: Sequence[str | Path]) -> str:
    """Return the name of the base model of all adapters.

    Raises:
        ValueError: from `base_of`, or they were made for different models.
    """
    bases = [base_of(folder) for folder in folders]
    for folder, base in zip(folders, bases, strict=True):
        if base != bases[0]:
            raise ValueError(
                f"the adapter in {str(folders[0])!r} was made for {bases[0]!r}, and that in {str(folder)!r} for "
                f"{base!r}: only adapters of one model can be compared; pass --model if both are names of it"
            )
    return bases[0]


def total_norm(rows: Sequence[LayerUpdate | None]) -> float:
    """Return ‖ΔW‖ over all layers."""
    return math.sqrt(sum(row.norm**2 for row in rows if row))


def total_cosine(rows: Sequence[LayerComparison]) -> float | None:
    """Return the cosine of the ΔW of all layers together; None if one of them is zero."""
    norms = total_norm([row.first for row in rows]) * total_norm([row.second for row in rows])
    inner = sum(
        row.cosine * row.first.norm * row.second.norm
        for row in rows
        if row.cosine is not None and row.first and row.second
    )
    return inner / norms if norms else None


def _read_with_warning(folder: str | Path) -> StoredAdapter:
    adapter = read_adapter(folder)
    for note in adapter.notes:
        warnings.warn(f"{str(folder)!r}: {note}", stacklevel=3)
    return adapter


def _moved(name: str, layer: AdaptedLayer) -> tuple[Start, Start]:
    """Return the factors of s (BA − B⁰A⁰), and those of ΔW, which is more for DoRA."""
    now, start = _precise(layer.now, layer.W), _precise(layer.start, layer.W)
    low = moved_factors(now, start) if start.B.any() else now
    if layer.magnitude is None:
        return low, low
    W = in_float64(layer.W)
    direction = W + low.B @ low.A
    norms = torch.linalg.vector_norm(direction, dim=1)
    if not norms.all():
        row = int((norms == 0).nonzero()[0])
        raise ValueError(f"row {row} of W + sBA of layer {name!r} is zero: DoRA cannot scale it")
    update = (layer.magnitude.to(W) / norms)[:, None] * direction - W
    identity = torch.eye(min(W.shape)).to(W)
    return low, Start(identity, update) if W.shape[0] > W.shape[1] else Start(update, identity)


def _update(name: str, layer: AdaptedLayer, low: Start, moved: Start) -> LayerUpdate:
    rank = min(moved.A.shape[0], moved.A.shape[1], moved.B.shape[0])
    sigma = product_singular_values(moved.B, moved.A)[:rank]
    norm, size = _norm(sigma), _norm(in_float64(layer.W))
    dora: dict[str, float] = {}
    if layer.magnitude is not None:
        magnitudes = torch.linalg.vector_norm(in_float64(layer.W), dim=1)
        dora["direction_norm"] = _norm(product_singular_values(low.B, low.A))
        dora["magnitude_change"] = _norm(layer.magnitude.to(magnitudes) - magnitudes) / size
    return LayerUpdate(
        layer=name,
        rank=rank,
        sigma=sigma.cpu().numpy(),
        norm=norm,
        relative_norm=norm / size if norm else 0.0,
        effective_rank=float(effective_rank(sigma)),
        stable_rank=float(stable_rank(sigma)),
        **dora,
    )


def _norm(values: Tensor) -> float:
    return float(torch.linalg.vector_norm(values))


def _overlap(U: Tensor, P: Tensor, k: int) -> float:
    return float((U[:, :k].mT @ P[:, :k]).square().sum()) / k


def _precise(factors: Start, W: Tensor) -> Start:
    return Start(A=in_float64(factors.A.to(W.device)), B=in_float64(factors.B.to(W.device)))

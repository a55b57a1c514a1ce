"""A PEFT adapter as it is stored: its settings and its factors."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from olora_viz.initializers import INITIALIZERS, Start, precise
from olora_viz.lanes.layers import check_finite, expert_layers, named_layers, target_name, weight_of
from olora_viz.machine.checks import described
from olora_viz.machine.files import read_json_object, read_tensors
from olora_viz.machine.wording import listed
from olora_viz.models.shards import START

INNER = ".base_layer"
"""Suffix of an inner wrapper's name in PEFT, once for each wrapper around it."""


def stacked(factors: Mapping[str, Start]) -> dict[str, Start]:
    """Stack the factors of experts as PEFT stores them, by the name of the wrapper.

    Args:
        factors: of every matrix of some 3-D parameters, by the layer's name and in order.
    """
    experts: dict[str, list[Start]] = {}
    for name, pair in factors.items():
        experts.setdefault(name.rpartition(".")[0], []).append(pair)
    wrappers = wrappers_of(list(experts))
    return {
        wrappers[parameter]: Start(
            A=torch.cat([pair.A for pair in pairs]),  # (experts · r, in)
            B=torch.stack([pair.B for pair in pairs], dim=2).flatten(1),  # (out, r · experts)
        )
        for parameter, pairs in experts.items()
    }


def unstacked(model: nn.Module, factors: Mapping[str, Start], config: dict[str, Any]) -> dict[str, Start]:
    """Return the factors of an adapter by layer, with those of experts separated.

    Raises:
        ValueError: the adapter targets a parameter that does not hold experts, or its rank is not the same for every
            expert.
    """
    wanted = tuple(f".{name}" for name in config.get("target_parameters") or ())
    experts = {target_name(*item) for item in expert_layers(model).items()}
    parameters = [name for name, _ in model.named_parameters() if f".{name}".endswith(wanted)]
    for name in parameters:
        if name not in experts:
            raise ValueError(
                f"the adapter changes the parameter {name!r}; among parameters, only those of "
                "experts can have adapters"
            )
    wrapped = {wrapper: name for name, wrapper in wrappers_of(parameters).items()}
    by_layer: dict[str, Start] = {}
    for name, pair in factors.items():
        if name not in wrapped:
            by_layer[name] = pair
            continue
        parameter = wrapped[name]
        count = len(model.get_parameter(parameter))
        if pair.A.shape[0] % count:
            raise ValueError(f"{parameter!r} has {count} experts, which cannot share {pair.A.shape[0]} rows of A")
        A = pair.A.unflatten(0, (count, -1))
        B = pair.B.unflatten(1, (-1, count))
        by_layer |= {f"{parameter}.{e}": Start(A=A[e], B=B[:, :, e]) for e in range(count)}
    return by_layer


def wrappers_of(parameters: Sequence[str]) -> dict[str, str]:
    """Name the wrapper of each parameter; the last one in a module has the outermost wrapper."""
    modules: dict[str, list[str]] = {}
    for name in parameters:
        modules.setdefault(name.rpartition(".")[0], []).append(name)
    return {
        name: module + INNER * depth for module, names in modules.items() for depth, name in enumerate(reversed(names))
    }


KEY_PREFIX = "base_model.model."
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

MAGNITUDE = "lora_magnitude_vector"
"""PEFT's name of DoRA's m."""

BASE_UNCHANGED = ("true", "false", "none", "gaussian", "orthogonal", "eva", "mica")
"""PEFT's initializations that keep the base weights. OLoRA and exact PiSSA subtract a product that can be recomputed
from the base; all others subtract one that depends on random numbers or data."""


@dataclass(frozen=True)
class StoredAdapter:
    """An adapter that `read_adapter` has read: finite, and of matching shapes."""

    folder: Path
    config: dict[str, Any]
    init: str
    """The initialization whose B⁰A⁰ was subtracted from the base: ``lora`` if none was."""
    factors: Mapping[str, Start]
    """A and B in float32, by the layer's name in PEFT."""
    magnitudes: Mapping[str, Tensor]
    """DoRA's m (out), likewise; empty for LoRA."""
    others: tuple[str, ...]
    """The names of all other tensors: modules and embeddings that were trained in full, biases."""

    @property
    def base(self) -> str:
        """The name or folder of its base model; empty if it names none."""
        return str(self.config.get("base_model_name_or_path") or "")

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what its ΔW has in it and what not; none for most adapters."""
        return tuple(filter(None, [self.left_out, self.of_residual]))

    @property
    def of_residual(self) -> str:
        """A sentence if its base model is known to hold W − s B⁰A⁰; else empty."""
        if not self.base or not (Path(self.base) / START).is_file():
            return ""
        return f"its base model {self.base!r} holds W − s B⁰A⁰, so that ΔW is s B⁰A⁰ and what was learned together"

    @property
    def left_out(self) -> str:
        """A sentence on the other tensors, which no ΔW of a layer has in it; empty for none."""
        if not self.others:
            return ""
        names = listed(name.removeprefix(KEY_PREFIX) for name in self.others)
        return f"left out, since they are no low-rank update of a linear layer: {names}"

    def on(self, model: nn.Module) -> dict[str, AdaptedLayer]:
        """Fit the adapter to its base model, by layer and in the model's order.

        Raises:
            ValueError: a layer that the model does not have, that has another shape, or whose weight is not finite; a
                rank other than that of the config.
        """
        factors = unstacked(model, self.factors, self.config)
        modules = named_layers(model)
        for name, pair in factors.items():
            if name not in modules:
                raise ValueError(f"the model has no layer {name!r}, which the adapter needs")
            if getattr(getattr(modules[name], "weight", None), "ndim", 0) != 2:
                raise ValueError(f"{name!r} is no linear layer of the model, as the adapter needs")
            shape = tuple(weight_of(modules[name]).shape)
            wanted = (pair.B.shape[0], pair.A.shape[1])
            if shape != wanted:
                raise ValueError(f"layer {name!r} is {shape} in the model, {wanted} in the adapter")
        layers = {name: module for name, module in modules.items() if name in factors}
        check_finite(layers)
        return {name: self._fitted(name, layers[name], factors[name]) for name in layers}

    def _fitted(self, name: str, layer: nn.Module, factors: Start) -> AdaptedLayer:
        target = target_name(name, layer)
        r = _by_pattern(self.config.get("rank_pattern"), target, self.config["r"])
        alpha = _by_pattern(self.config.get("alpha_pattern"), target, self.config["lora_alpha"])
        if factors.A.shape[0] != r:
            raise ValueError(
                f"layer {name!r} has rank {factors.A.shape[0]} in {str(self.folder / WEIGHTS)!r}, "
                f"but {r} in its {CONFIG}"
            )
        scale = alpha / (math.sqrt(r) if self.config.get("use_rslora") else r)
        W, magnitude = weight_of(layer).detach(), self.magnitudes.get(name)
        if magnitude is not None and magnitude.numel() != W.shape[0]:
            raise ValueError(f"{MAGNITUDE} of layer {name!r} has {magnitude.numel()} values for {W.shape[0]} outputs")
        return AdaptedLayer(W, factors, scale, self.init, magnitude)


@dataclass(frozen=True)
class AdaptedLayer:
    """One layer of a model with an adapter from disk."""

    W: Tensor
    """(out, in), a view."""
    factors: Start
    scale: float
    init: str
    magnitude: Tensor | None

    def __reduce__(self) -> tuple[Any, ...]:
        """Hand it to other processes without W, and as arrays: torch has shared memory for tensors, which is short."""
        m = None if self.magnitude is None else self.magnitude.numpy()
        return _without_weight, (self.factors.A.numpy(), self.factors.B.numpy(), self.scale, self.init, m)

    @property
    def now(self) -> Start:
        """A and s B."""
        return Start(self.factors.A, self.scale * self.factors.B)

    @property
    def start(self) -> Start:
        """A⁰ and s B⁰, whose product was subtracted from the base; zero if none was."""
        if self.init == "lora":
            return Start(torch.zeros_like(self.factors.A), torch.zeros_like(self.factors.B))
        start = INITIALIZERS[self.init].start(precise(self.W), self.factors.A.shape[0], s=self.scale)
        return Start(start.A, self.scale * start.B)


def _without_weight(A: np.ndarray, B: np.ndarray, scale: float, init: str, m: np.ndarray | None) -> AdaptedLayer:
    factors = Start(torch.from_numpy(A), torch.from_numpy(B))
    return AdaptedLayer(torch.empty(0, 0), factors, scale, init, None if m is None else torch.from_numpy(m))


def read_adapter(folder: str | Path) -> StoredAdapter:
    """Read an adapter and check all that can be checked without its base model.

    Raises:
        ValueError: not a LoRA or DoRA adapter; pickled weights; an initialization that changed the base and cannot be
            recomputed; a tensor that is not finite, or not of its kind or shape.
    """
    folder = Path(folder)
    config = read_config(folder)
    init = _start_named(config, folder)
    tensors = read_tensors(folder / WEIGHTS)
    pairs: dict[str, dict[str, Tensor]] = {}
    magnitudes: dict[str, Tensor] = {}
    others: list[str] = []
    for key, tensor in tensors.items():
        layer, kind = _part_of(key)
        if kind in ("A", "B"):
            pairs.setdefault(layer, {})[kind] = tensor
        elif kind and config.get("use_dora"):
            magnitudes[layer] = tensor.flatten()
        else:
            others.append(key)
    others += [f"{KEY_PREFIX}{layer}.{MAGNITUDE}" for layer in magnitudes if layer not in pairs]
    _check_values(tensors, folder)
    factors: dict[str, Start] = {}
    for layer, tensors_of_layer in pairs.items():
        lacking = [f"lora_{kind}" for kind in "AB" if kind not in tensors_of_layer]
        if config.get("use_dora") and layer not in magnitudes:
            lacking.append(MAGNITUDE)
        if lacking:
            raise ValueError(f"the adapter in {str(folder)!r} lacks {lacking[0]} of layer {layer!r}")
        A, B = tensors_of_layer["A"], tensors_of_layer["B"]
        if not (A.ndim == B.ndim == 2 and A.shape[0] == B.shape[1] > 0):
            raise ValueError(
                f"A {tuple(A.shape)} and B {tuple(B.shape)} of layer {layer!r} are not the factors "
                "(r, in) and (out, r) of an update"
            )
        factors[layer] = Start(A.float(), B.float())
    if not factors:
        holds = listed(others) if others else "no tensors"
        raise ValueError(f"the adapter in {str(folder)!r} has no A and B of any layer: {holds}")
    magnitudes = {layer: m for layer, m in magnitudes.items() if layer in factors}
    return StoredAdapter(folder, config, init, factors, magnitudes, tuple(others))


def read_config(folder: Path) -> dict[str, Any]:
    """Read and check an adapter's ``adapter_config.json``.

    Raises:
        ValueError: the folder is not an adapter, not of the type LORA, or has no safetensors; a value is of another
            kind.
    """
    path = folder / CONFIG
    if not folder.is_dir():
        raise ValueError(f"{str(folder)!r} is not a folder on this machine")
    if not path.is_file():
        raise ValueError(f"{str(folder)!r} is not an adapter: it has no {CONFIG}")
    config = read_json_object(path)
    if config.get("peft_type") != "LORA":
        raise ValueError(unsupported(folder, config.get("peft_type")))
    ranks, alphas = (config.get(f"{kind}_pattern") or {} for kind in ("rank", "alpha"))
    for key, patterns in (("rank_pattern", ranks), ("alpha_pattern", alphas)):
        if not isinstance(patterns, dict):
            raise ValueError(f"{key} in {str(path)!r} must be a JSON object, not {described(patterns)}")
    for key, value in (("r", config.get("r")), *ranks.items()):
        if type(value) is not int or value < 1:
            raise ValueError(f"{key} in {str(path)!r} must be a number from 1, not {described(value)}")
    for key, value in (("lora_alpha", config.get("lora_alpha")), *alphas.items()):
        if isinstance(value, bool) or not (isinstance(value, (int, float)) and math.isfinite(value)):
            raise ValueError(f"{key} in {str(path)!r} must be a number, not {described(value)}")
    for pattern in (*ranks, *alphas):
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} in {str(path)!r} is no pattern: {error}") from None
    targets = config.get("target_parameters") or []
    if not (isinstance(targets, list) and all(isinstance(name, str) for name in targets)):
        raise ValueError(f"target_parameters in {str(path)!r} must be a list of names")
    if not (folder / WEIGHTS).is_file():
        pickled = (folder / "adapter_model.bin").exists()
        why = ": pickled weights (.bin) are never loaded" if pickled else ""
        raise ValueError(f"{str(folder)!r} has no {WEIGHTS}{why}")
    return config


def unsupported(folder: Path, kind: object) -> str:
    """Return the message on an adapter of another type."""
    return f"{str(folder)!r} is an adapter of type {kind!r}; only LORA is supported"


def _start_named(config: dict[str, Any], folder: Path) -> str:
    """Return the initialization whose B⁰A⁰ was subtracted from the base: ``lora`` if none was."""
    init = str(config.get("init_lora_weights", True)).lower()
    if init in ("olora", "pissa"):
        return init
    if init in BASE_UNCHANGED:
        return "lora"
    raise ValueError(
        f"the adapter in {str(folder)!r} started as {config['init_lora_weights']!r}, which changed "
        "the base model in a way that its files do not record; export it as plain LoRA first"
    )


def _part_of(key: str) -> tuple[str, str]:
    """Return the layer of a tensor, and whether it is its A, B or magnitude; both may be empty."""
    match = re.fullmatch(rf"{re.escape(KEY_PREFIX)}(.+)\.(?:lora_([AB])\.weight|({MAGNITUDE})(?:\.weight)?)", key)
    return (match[1], match[2] or match[3]) if match else ("", "")


def _check_values(tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Check that all values are finite floating-point numbers; name the first tensor if not."""
    wrong: list[str] = []
    for key, tensor in tensors.items():
        layer, kind = _part_of(key)
        part = kind if kind == MAGNITUDE else f"lora_{kind}"
        name = f"{part} of layer {layer!r}" if layer else repr(key)
        if not tensor.is_floating_point():
            if not layer:  # nothing reads it
                continue
            dtype = str(tensor.dtype).removeprefix("torch.")
            raise ValueError(f"{name} in {str(folder)!r} is of {dtype}, not of floating-point numbers")
        count = int((~tensor.float().isfinite()).sum())
        if count:
            wrong.append(f"{name} in {str(folder)!r} has {count} of {tensor.numel()} values that are NaN or infinite")
    if wrong:
        rest = len(wrong) - 1
        more = f", and {rest} more tensor{' has' if rest == 1 else 's have'} such values"
        raise ValueError(wrong[0] + more * (rest > 0))


def _by_pattern(patterns: Mapping[str, float] | None, layer: str, otherwise: float) -> float:
    for pattern, value in (patterns or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", layer):
            return value
    return otherwise

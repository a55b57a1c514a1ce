"""Starts of ours in a model that PEFT has adapted, for any trainer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from olora_viz.initializers import INITIALIZERS, Calibration, Start, precise
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.layers import is_transposed, weight_of
from olora_viz.lanes.peft import adapter_config, write_adapter
from olora_viz.lanes.plan import start_of
from olora_viz.machine.checks import expect, unknown

SUBTRACT, KEEP = "subtract", "keep"
RESIDUALS = (SUBTRACT, KEEP)
"""What becomes of W: W − s B⁰A⁰, as in PEFT's own starts, or W itself."""

KEEPS_BASE = (True, False, "gaussian", "eva", "orthogonal", "mica")
"""Those of PEFT's ``init_lora_weights`` that leave W as it is, or subtract nothing from it."""


class StartedPeft:
    """A model of PEFT with a start of ours; made by `start_peft`.

    Attributes:
        model: the model, to be trained by any trainer.
        init: the name of the initialization.
        residual: what became of W, one of `RESIDUALS`.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> import peft
        >>> import olora_viz as ov
        >>> model, tokenizer = ov.load_model("glassllm")
        >>> model = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=["q_proj"]))
        >>> started = ov.start_peft(model, "pissa")
        >>> with TemporaryDirectory() as folder:
        ...     lanes = ov.read_peft(ov.load_model("glassllm")[0], started.write(folder))
        >>> lanes.rank  # A − A⁰ and B − B⁰ take rows and columns of their own
        8
    """

    def __init__(self, model: nn.Module, init: str, residual: str, adapter: str, starts: dict[str, Start]) -> None:
        self.model, self.init, self.residual = model, init, residual
        self._adapter, self._starts = adapter, starts

    def __repr__(self) -> str:
        """Return what was started, and how."""
        return f"<{type(self.model).__name__} started by {self.init}: {len(self._starts)} layers, W: {self.residual}>"

    @torch.no_grad()
    def write(self, folder: str | Path) -> Path:
        """Write ΔW as a plain LoRA adapter of the untouched base model, which PEFT and `read_peft` load.

        Where B⁰A⁰ was subtracted from W, its rank is 2r, see `write_peft`: the adapter that ``save_pretrained`` writes
        belongs to the changed W instead.

        Args:
            folder: written atomically; an existing adapter is replaced.

        Raises:
            ValueError: A or B is not finite.
        """
        factors: dict[str, Start] = {}
        layers = _layers(self.model, self._adapter)
        for name, start in self._starts.items():
            layer = layers[name]
            A, B = (_weight(layer, letter, self._adapter).detach().cpu() for letter in "AB")
            A, B = A.to(start.A), B.to(start.B)
            if self.residual == SUBTRACT:
                A, B = torch.cat([A, A - start.A]), torch.cat([B - start.B, start.B], 1)
            if not (A.isfinite().all() and B.isfinite().all()):
                raise ValueError(f"the adapter of layer {name!r} holds NaN or infinity")
            factors[name] = Start(A, B * layer.scaling[self._adapter])
        rank = max(len(each.A) for each in factors.values())
        padded = {name: _padded(each, rank) for name, each in factors.items()}
        base = _config(self.model, self._adapter).base_model_name_or_path
        transposed = any(is_transposed(layers[name].get_base_layer()) for name in factors)
        config = adapter_config(base, rank, float(rank), list(factors), transposed=transposed)
        return write_adapter(Path(folder), padded, config)


def start_peft(
    model: nn.Module,
    init: str = "olora",
    *,
    residual: str = SUBTRACT,
    seed: int = 0,
    calibration: Mapping[str, Calibration] | None = None,
    adapter: str = "default",
) -> StartedPeft:
    """Set A and B of a model that PEFT has adapted to a start of ours; any trainer can train it then.

    Rank, alpha and layers are PEFT's, as they are in its ``LoraConfig``.

    Args:
        model: as ``peft.get_peft_model`` returns it, with LoRA adapters that have not been trained.
        init: name of an initialization, a key of `INITIALIZERS`.
        residual: ``subtract``: W becomes W − s B⁰A⁰, so that the model's function is unchanged, as PEFT's own OLoRA
            and PiSSA do; ``keep``: W stays, and the function changes where B⁰A⁰ is not zero.
        seed: of a random start.
        calibration: by layer, for the initializations that need a gradient or inputs; see `attach`.
        adapter: PEFT's name of the adapter.

    Raises:
        ValueError: an unknown name, a model without such adapters or one whose base was changed by another start, a
            layer that is quantized or no matrix, or a rank above min(out, in).

    Examples:
        >>> import peft
        >>> import olora_viz as ov
        >>> model, tokenizer = ov.load_model("glassllm")
        >>> model = peft.get_peft_model(model, peft.LoraConfig(r=8, target_modules=["q_proj", "v_proj"]))
        >>> started = ov.start_peft(model, "olora")
        >>> started
        <PeftModel started by olora: 8 layers, W: subtract>

        After training by any trainer, ``started.write("my-adapter")`` writes an adapter of the base model.
    """
    expect(model, nn.Module, "a model that PEFT has adapted, such as peft.get_peft_model(model, config)")
    if init not in INITIALIZERS:
        raise ValueError(unknown("initialization", str(init), INITIALIZERS))
    if residual not in RESIDUALS:
        raise ValueError(unknown("residual", str(residual), RESIDUALS))
    entry, layers = INITIALIZERS[init], _layers(model, adapter)
    if entry.dense:
        raise ValueError(f"{init} has no A and B that PEFT could train")
    config = _config(model, adapter)
    before = config.init_lora_weights
    if before not in KEEPS_BASE:
        raise ValueError(
            f"the model was started by {before!r}, which changed its base: make it with init_lora_weights=True"
        )
    for name, layer in layers.items():
        weight = getattr(layer.get_base_layer(), "weight", None)
        if weight is None or weight.ndim != 2 or not weight.is_floating_point():
            raise ValueError(f"{name!r} has no floating-point matrix W: a start cannot be computed from it")
    subtracts = residual == SUBTRACT and entry.keeps_function and not entry.zero_product
    starts: dict[str, Start] = {}
    with torch.no_grad():
        for name, layer in layers.items():
            W, s = weight_of(layer.get_base_layer()), layer.scaling[adapter]
            lane = Lane(init, r=layer.r[adapter], alpha=s * layer.r[adapter], seed=seed)
            starts[name] = start_of(name, precise(W), lane, (calibration or {}).get(name))
        for name, layer in layers.items():
            start, W, s = starts[name], weight_of(layer.get_base_layer()), layer.scaling[adapter]
            for letter, values in (("A", start.A), ("B", start.B)):
                _weight(layer, letter, adapter).copy_(values)
            _weight(layer, "B", adapter).requires_grad_(not entry.frozen_B)
            if subtracts:
                W.copy_(precise(W) - s * (start.B @ start.A))
                # Not a word of PEFT's: what it saves is of the changed base, and is not loaded on another by mistake.
                config.init_lora_weights = f"{init} of olora_viz"
            starts[name] = Start(start.A.cpu(), start.B.cpu())
    return StartedPeft(model, init, SUBTRACT if subtracts else KEEP, adapter, starts)


def _layers(model: nn.Module, adapter: str) -> dict[str, Any]:
    """Return the layers with a LoRA adapter of some name, by their names in the base model."""
    base: Any = model.get_base_model() if hasattr(model, "get_base_model") else model  # pyrefly: ignore[not-callable]
    layers = {
        name: layer
        for name, layer in base.named_modules()
        if adapter in getattr(layer, "lora_A", {}) and hasattr(layer, "get_base_layer")
    }
    if not layers:
        raise ValueError(f"the model has no LoRA adapter {adapter!r} on its layers: make it with peft.get_peft_model")
    return layers


def _config(model: Any, adapter: str) -> Any:
    """Return PEFT's set-up of an adapter."""
    return model.peft_config[adapter]


def _weight(layer: Any, letter: str, adapter: str) -> Tensor:
    return getattr(layer, f"lora_{letter}")[adapter].weight


def _padded(factors: Start, rank: int) -> Start:
    """Return factors padded with zeros to a rank."""
    more = rank - len(factors.A)
    return Start(nn.functional.pad(factors.A, (0, 0, 0, more)), nn.functional.pad(factors.B, (0, more)))

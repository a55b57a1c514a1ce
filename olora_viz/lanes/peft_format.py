"""PEFT's adapter format: `adapter_config.json` and `adapter_model.safetensors`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from olora_viz.initializers.start import Start
from olora_viz.lanes.adapters import Lanes
from olora_viz.lanes.experts import ExpertLinear
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.layers import is_transposed, target_name
from olora_viz.lanes.peft_experts import stacked
from olora_viz.lanes.plan import AdapterPlan
from olora_viz.lanes.stored_adapter import CONFIG, PREFIX, WEIGHTS, read_adapter, unsupported
from olora_viz.machine.files import atomic_folder, is_free, write_json, write_tensors
from olora_viz.machine.naming import expect

FORMS = ("lora", "olora")


def write_peft(lanes: Lanes, k: int, folder: str | Path, form: str = "lora") -> Path:
    """Write lane k in PEFT's adapter format; `read_back` checks whether PEFT runs it.

    Parameters
    ----------
    lanes, k : the lane to write.
    folder : written atomically; an existing adapter is replaced.
    form : ``lora`` writes ΔW = s (B A − B⁰A⁰) as a plain LoRA adapter, whose loader need not know
        the initialization: of rank 2r, from [A; A − A⁰] and [B − B⁰, B⁰], or of rank r if A⁰ or B⁰
        is zero; the ΔW of full fine-tuning has the largest min(out, in) of its layers as its rank.
        ``olora`` writes only A and B, of rank r, with ``init_lora_weights="olora"``; PEFT then
        subtracts B⁰A⁰ from the base at load. Adapters on experts have the form of PEFT's
        ``target_parameters``.

    Raises
    ------
    ValueError : an unknown form; a lane that does not exist or is not finite; form ``olora`` of a
        lane with another initialization, on GPT-2's `Conv1D` layers, for which PEFT's OLoRA is
        wrong, or on experts, for which it has none.
    """
    expect(lanes, Lanes, "Lanes, such as race.lanes")
    if form not in FORMS:
        raise ValueError(f"form must be {' or '.join(FORMS)}, not {form!r}")
    lanes.check_lane(k)
    lane = lanes.lanes[k]
    layers = {name: lanes.plan.layers[name] for name in lanes.plan.layers_of(k)}
    transposed = any(map(is_transposed, layers.values()))
    if form == "olora" and lane.init != "olora":
        raise ValueError(f"form 'olora' needs a lane initialized by olora, not by {lane.init}")
    if form == "olora" and transposed:
        raise ValueError("form 'olora' is not possible on Conv1D layers; PEFT misreads them")
    experts = {n: m for n, m in layers.items() if isinstance(m, ExpertLinear)}
    if form == "olora" and experts:
        raise ValueError("form 'olora' is not possible on experts; PEFT cannot start them by OLoRA")
    starts = [lanes.start_factors(name, k) for name in layers]
    from_zero = not any(start.A.any() and start.B.any() for start in starts)
    factors: dict[str, Start] = {}
    rank, widest = lane.r, max(min(lanes.plan.shapes[name]) for name in layers)
    for name in layers:
        now, start = lanes.factors(name, k), lanes.start_factors(name, k)
        A, B = now.A, now.B
        if k in lanes.plan.dense:
            A, B = _as_factors(now.A, widest)
        elif form == "lora" and not from_zero:
            A, B = torch.cat([A, A - start.A]), torch.cat([B - start.B, start.B], 1)
        rank = A.shape[0]
        if not (A.isfinite().all() and B.isfinite().all()):
            raise ValueError(f"lane {lanes.labels[k]!r} holds NaN or infinity in layer {name!r}")
        factors[name] = Start(A, B)
    linear = {name: its for name, its in factors.items() if name not in experts}
    tensors: dict[str, Tensor] = {}
    for name, its in (linear | stacked({name: factors[name] for name in experts})).items():
        tensors[f"{PREFIX}{name}.lora_A.weight"] = its.A.cpu().contiguous().clone()
        tensors[f"{PREFIX}{name}.lora_B.weight"] = its.B.cpu().contiguous().clone()
    rslora = lane.rslora and rank == lane.r and not lane.is_dense
    alpha = lane.scale * (math.sqrt(rank) if rslora else rank)
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": getattr(lanes.model, "name_or_path", "") or None,
        "r": rank,
        "lora_alpha": int(alpha) if float(alpha).is_integer() else alpha,
        "use_rslora": rslora,
        "target_modules": list(linear),
        "init_lora_weights": "olora" if form == "olora" else True,
        "fan_in_fan_out": transposed,
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
    }
    if experts:
        config["target_parameters"] = list(
            dict.fromkeys(target_name(*it) for it in experts.items())
        )
    return _replace(Path(folder), config, tensors)


def read_peft(model: nn.Module, folder: str | Path) -> Lanes:
    """Attach an adapter from disk to its base model, as one lane.

    Reads adapters of `write_peft`, and PEFT's LoRA adapters of any rank and alpha, also per layer
    (``rank_pattern``, ``alpha_pattern``, rsLoRA), with any initialization that keeps the base
    weights, and with OLoRA and exact PiSSA. Weights are read from safetensors only.

    Parameters
    ----------
    model : the base model; its weights stay as they are.
    folder : with ``adapter_config.json`` and ``adapter_model.safetensors``.

    Returns
    -------
    Lanes
        One lane on the model, whose alpha is its rank: each layer's scaling is in its B.

    Raises
    ------
    ValueError : not an adapter; pickled weights; a layer that the model does not have or that has
        another shape; an initialization that changed the base and cannot be recomputed; NaN or
        infinity; tensors that no lane can hold, such as DoRA's or an embedding's.
    """
    adapter = read_adapter(folder)
    if adapter.config.get("use_dora"):
        raise ValueError(unsupported(adapter.folder, "DORA"))
    if adapter.others:
        raise ValueError(
            f"{str(folder)!r} holds {adapter.others[0]!r}, which is not part of a LoRA adapter"
        )
    adapted = adapter.on(model)
    rank = max(one.factors.A.shape[0] for one in adapted.values())
    lane = Lane(adapter.init, r=rank)  # alpha = r: B holds each layer's scaling
    layers = {name: one.layer for name, one in adapted.items()}
    plan = AdapterPlan(model, layers, (lane,), chosen={None: layers})
    lanes = Lanes(plan, lambda name, W, _: adapted[name].start)
    for name, one in adapted.items():
        lanes.put(name, 0, one.now)
    return lanes


def _as_factors(update: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return ΔW (out, in) as A (rank, in) and B (out, rank) with ΔW = B A.

    One of them is the identity, of the smaller side of ΔW, padded with zeros: PEFT then needs one
    rank alone for all layers.
    """
    (out, into), least = update.shape, min(update.shape)
    A, B = update.new_zeros(rank, into), update.new_zeros(out, rank)
    identity = torch.eye(least, dtype=update.dtype, device=update.device)
    A[:least], B[:, :least] = (update, identity) if out == least else (identity, update)
    return A, B


def _replace(folder: Path, config: dict[str, Any], tensors: dict[str, Tensor]) -> Path:
    """Write the adapter atomically, replacing an existing one."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{str(folder)!r} is a file, not a folder for an adapter")
    if not is_free(folder) and not (folder / CONFIG).exists():
        raise ValueError(f"{str(folder)!r} holds something that is not an adapter")
    with atomic_folder(folder) as made:
        write_tensors(made / WEIGHTS, tensors)
        write_json(made / CONFIG, config)
    return folder

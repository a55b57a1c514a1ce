"""Adapters in PEFT's format and merged models: written, and read back to compare."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from olora_viz.initializers import Start
from olora_viz.lanes.adapters import Lanes
from olora_viz.lanes.experts import ExpertLinear
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.layers import is_transposed, named_layers, target_name, weight_of
from olora_viz.lanes.passes import EvalMode, logits_of, sample
from olora_viz.lanes.plan import AdapterPlan
from olora_viz.lanes.stored_adapter import (
    CONFIG,
    INNER,
    KEY_PREFIX,
    MAGNITUDE,
    WEIGHTS,
    read_adapter,
    read_config,
    stacked,
)
from olora_viz.machine.checks import expect
from olora_viz.machine.files import atomic_folder, is_free, read_json_object, reason, write_json, write_tensors
from olora_viz.machine.four_bit import FourBitLayer
from olora_viz.models.folder import load_folder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


FORMS = ("lora", "olora")


def write_peft(lanes: Lanes, k: int | str, folder: str | Path, form: str = "lora") -> Path:
    """Write lane k in PEFT's adapter format; `read_back` checks whether PEFT runs it.

    Args:
        k: the lane's number, or its label.
        folder: written atomically; an existing adapter is replaced.
        form: ``lora`` writes ΔW = s (B A − B⁰A⁰) as a plain LoRA adapter, whose loader need not know the
            initialization: of rank 2r, from [A; A − A⁰] and [B − B⁰, B⁰], or of rank r if A⁰ or B⁰ is zero; the ΔW of
            full fine-tuning has the largest min(out, in) of its layers as its rank. ``olora`` writes only A and B, of
            rank r, with ``init_lora_weights="olora"``; PEFT then subtracts B⁰A⁰ from the base at load. Adapters on
            experts have the form of PEFT's ``target_parameters``. A lane with DoRA has ``use_dora`` and m, one with
            `Lane.rank_by` ``rank_pattern``, and an ``alpha_pattern`` with which the scaling is the same in all layers.

    Raises:
        ValueError: an unknown form; a lane that does not exist or is not finite; form ``olora`` of a lane with another
            initialization, on GPT-2's `Conv1D` layers, for which PEFT's OLoRA is wrong, or on experts, for which it
            has none.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> import olora_viz as ov
        >>> lanes = ov.attach(ov.load_model("glassllm")[0], [ov.Lane("olora")])
        >>> with TemporaryDirectory() as folder:
        ...     adapter = ov.write_peft(lanes, 0, folder)
        ...     files = sorted(path.name for path in adapter.iterdir())
        >>> files
        ['adapter_config.json', 'adapter_model.safetensors']
    """
    expect(lanes, Lanes, "Lanes, such as race.lanes")
    if form not in FORMS:
        raise ValueError(f"form must be {' or '.join(FORMS)}, not {form!r}")
    k = lanes.number(k)
    lane = lanes.lanes[k]
    layers = {name: lanes.plan.layers[name] for name in lanes.plan.layers_of(k)}
    transposed = any(map(is_transposed, layers.values()))
    if form == "olora" and lane.init != "olora":
        raise ValueError(f"form 'olora' needs a lane initialized by olora, not by {lane.init}")
    if form == "olora" and transposed:
        raise ValueError("form 'olora' is not possible on Conv1D layers; PEFT misreads them")
    if form == "olora" and lanes.past is not None:
        raise ValueError("form 'olora' is not possible after a merge: PEFT would start it from the weights before")
    if form == "olora" and any(isinstance(layer, FourBitLayer) for layer in layers.values()):
        raise ValueError("form 'olora' is not possible on a base in four bits: PEFT would round W − B⁰A⁰ anew")
    if k in lanes.plan.on_own_base:
        raise ValueError(
            f"lane {lanes.labels[k]!r} has a base of its own, by start_from={lane.start_from}, which no adapter "
            f"holds: {MERGED}"
        )
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
        elif lanes.past is not None:
            whole = lanes.merged_factors(name, k)
            A, B = whole.A, whole.B / lane.scale
        elif form == "lora" and not from_zero:
            A, B = torch.cat([A, A - start.A]), torch.cat([B - start.B, start.B], 1)
        rank = A.shape[0]
        if k in lanes.plan.ranked:
            rank = lane.r * rank // now.A.shape[0]
        if not (A.isfinite().all() and B.isfinite().all()):
            raise ValueError(f"lane {lanes.labels[k]!r} holds NaN or infinity in layer {name!r}")
        factors[name] = Start(A, B)
    linear = {name: pair for name, pair in factors.items() if name not in experts}
    rslora = lane.rslora and rank == lane.r and not lane.is_dense
    alpha = lane.scale * (math.sqrt(rank) if rslora else rank)
    base: Any = getattr(lanes.model, "name_or_path", "")
    init = "olora" if form == "olora" else True
    config = adapter_config(base, rank, alpha, list(linear), init=init, rslora=rslora, transposed=transposed)
    own = {name: len(pair.A) for name, pair in linear.items() if len(pair.A) != rank}
    if own:
        scaled = {name: lane.scale * (math.sqrt(r) if rslora else r) for name, r in own.items()}
        config |= {"rank_pattern": own, "alpha_pattern": scaled}
    magnitudes = {name: m for name in layers if (m := lanes.magnitude(name, k)) is not None}
    if not all(m.isfinite().all() for m in magnitudes.values()):
        raise ValueError(f"lane {lanes.labels[k]!r} holds NaN or infinity in DoRA's m")
    config |= {"use_dora": True} if magnitudes else {}
    if experts:
        config["target_parameters"] = list(dict.fromkeys(target_name(*it) for it in experts.items()))
    adapter = linear | stacked({name: factors[name] for name in experts})
    return write_adapter(Path(folder), adapter, config, magnitudes)


def adapter_config(
    base: str | None,
    rank: int,
    alpha: float,
    targets: list[str],
    *,
    init: str | bool = True,
    rslora: bool = False,
    transposed: bool = False,
) -> dict[str, Any]:
    """Return the set-up of an adapter in PEFT's format.

    Args:
        base: the name of the base model, or its path; may be empty.
        targets: the names of the adapted layers.
        init: PEFT's ``init_lora_weights``.
        transposed: whether the layers store W as (in, out).
    """
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base or None,
        "r": rank,
        "lora_alpha": int(alpha) if float(alpha).is_integer() else alpha,
        "use_rslora": rslora,
        "target_modules": targets,
        "init_lora_weights": init,
        "fan_in_fan_out": transposed,
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
    }


def write_adapter(
    folder: Path, factors: Mapping[str, Start], config: dict[str, Any], magnitudes: Mapping[str, Tensor] | None = None
) -> Path:
    """Write the factors of layers, DoRA's m and a set-up as an adapter in PEFT's format, see `write_peft`."""
    tensors = {f"{KEY_PREFIX}{name}.{MAGNITUDE}": m.cpu().clone() for name, m in (magnitudes or {}).items()}
    for name, pair in factors.items():
        tensors[f"{KEY_PREFIX}{name}.lora_A.weight"] = pair.A.cpu().contiguous().clone()
        tensors[f"{KEY_PREFIX}{name}.lora_B.weight"] = pair.B.cpu().contiguous().clone()
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{str(folder)!r} is a file, not a folder for an adapter")
    if not is_free(folder) and not (folder / CONFIG).exists():
        raise ValueError(f"{str(folder)!r} holds something that is not an adapter")
    with atomic_folder(folder) as partial:
        write_tensors(partial / WEIGHTS, tensors)
        write_json(partial / CONFIG, config)
    return folder


def read_peft(model: nn.Module, folder: str | Path) -> Lanes:
    """Attach an adapter from disk to its base model, as one lane.

    Reads adapters of `write_peft`, and PEFT's LoRA and DoRA adapters of any rank and alpha, also per layer
    (``rank_pattern``, ``alpha_pattern``, rsLoRA), with any initialization that keeps the base weights, and with OLoRA
    and exact PiSSA. Weights are read from safetensors only.

    Args:
        model: the base model; its weights stay as they are.
        folder: with ``adapter_config.json`` and ``adapter_model.safetensors``.

    Returns:
        Lanes
            One lane on the model, whose alpha is its rank: each layer's scaling is in its B.

    Raises:
        ValueError: not an adapter; pickled weights; a layer that the model does not have or that has another shape; an
            initialization that changed the base and cannot be recomputed; NaN or infinity; tensors that no lane can
            hold, such as an embedding's.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> import olora_viz as ov
        >>> lanes = ov.attach(ov.load_model("glassllm")[0], [ov.Lane("olora", r=4)])
        >>> with TemporaryDirectory() as folder:
        ...     adapter = ov.write_peft(lanes, 0, folder, form="olora")
        ...     lane = ov.read_peft(ov.load_model("glassllm")[0], adapter)
        >>> lane
        <Lanes on LlamaForCausalLM: olora; 28 layers>
    """
    adapter = read_adapter(folder)
    if adapter.others:
        raise ValueError(f"{str(folder)!r} holds {adapter.others[0]!r}, which is not part of a LoRA adapter")
    adapted = adapter.on(model)
    rank = max(layer.factors.A.shape[0] for layer in adapted.values())
    lane = Lane(adapter.init, r=rank, dora=bool(adapter.magnitudes))  # alpha = r: B holds each layer's scaling
    layers = {name: layer for name, layer in named_layers(model).items() if name in adapted}
    plan = AdapterPlan(model, layers, (lane,), chosen={None: layers})
    lanes = Lanes(plan, lambda name, W, _: adapted[name].start)
    for name, layer in adapted.items():
        lanes.put(name, 0, layer.now)
        m = lanes.magnitude(name, 0)
        if m is not None and layer.magnitude is not None:
            m.copy_(layer.magnitude)
    return lanes


def _as_factors(update: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return ΔW (out, in) as A (rank, in) and B (out, rank) with ΔW = B A.

    One of them is the identity, of the smaller side of ΔW, padded with zeros: PEFT then needs one rank alone for all
    layers.
    """
    (out, into), least = update.shape, min(update.shape)
    A, B = update.new_zeros(rank, into), update.new_zeros(out, rank)
    identity = torch.eye(least, dtype=update.dtype, device=update.device)
    A[:least], B[:, :least] = (update, identity) if out == least else (identity, update)
    return A, B


def write_merged(lanes: Lanes, k: int | str, tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> Path:
    """Write the model with W + ΔW of lane k in its layers, and its tokenizer."""
    k = lanes.number(k)
    merged: Any = lanes.merge(k)
    layers = named_layers(merged)
    for name in lanes.plan.layers_of(k):
        if not weight_of(layers[name]).isfinite().all():
            raise ValueError(f"lane {lanes.labels[k]!r} holds NaN or infinity in layer {name!r}")
    with atomic_folder(Path(folder)) as partial, _without_bars():
        merged.save_pretrained(partial)
        try:
            tokenizer.save_pretrained(partial)
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


READ_BACK = "read_back.json"
"""The file in an adapter's folder with the result."""

OWN_NAME = "olora_viz"

MERGED = "export it with --form merged"

WHY_DIVERGED = "the lane diverged: its own logits are not finite, and no form of its adapter is usable"

UNCHECKED = (
    "not checked with PEFT, which runs adapters of most models: it is not installed; "
    "to check, pip install peft and export again"
)


@dataclass(frozen=True)
class ReadBack:
    """The result of loading an export again.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> import olora_viz as ov
        >>> lanes = ov.attach(ov.load_model("glassllm")[0], [ov.Lane("lora")])
        >>> with TemporaryDirectory() as folder:
        ...     result = ov.read_back(lanes, 0, ov.write_peft(lanes, 0, folder))
        >>> result.problem, result.difference < 1e-4
        ('', True)
        >>> print(result.sentence)  # doctest: +ELLIPSIS
        PEFT ... reads it back with the lane's logits, ...
    """

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
        agrees = f"{self.by} reads it back with the lane's logits, {near}"
        return f"{agrees}; {self.warning}" if self.warning else agrees

    @property
    def warning(self) -> str:
        """Why it may not work elsewhere, for people; empty if PEFT, or transformers, runs it."""
        if self.problem == WHY_DIVERGED:
            return WHY_DIVERGED
        if self.problem:
            ours = ", or load it with olora_viz.read_peft, which gives the lane's logits"
            return f"{self.by} {self.problem}: {MERGED}{ours * self.by_ours}"
        return UNCHECKED if self.by.startswith(OWN_NAME) else ""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)

    def write(self, folder: Path) -> None:
        """Write it into an adapter's folder."""
        write_json(folder / READ_BACK, self.to_json())

    @classmethod
    def read(cls, folder: Path) -> ReadBack | None:
        """Read what `write` wrote; None for an adapter that was never read back."""
        path = folder / READ_BACK
        return cls(**read_json_object(path)) if path.is_file() else None


class _RefusedError(Exception):
    """The loader rejects the export, or adapts other layers."""


def read_back(lanes: Lanes, k: int | str, folder: str | Path) -> ReadBack:
    """Load lane k's adapter again, with PEFT if it is installed, and compare logits.

    The loaded model shares the weights that the adapter does not change with the base model, so little memory is
    needed.

    Args:
        lanes: the lane, on a language model.
        k: see `lanes`.
        folder: written by `write_peft`.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> import olora_viz as ov
        >>> lanes = ov.attach(ov.load_model("glassllm")[0], [ov.Lane("lora")])
        >>> with TemporaryDirectory() as folder:
        ...     result = ov.read_back(lanes, 0, ov.write_peft(lanes, 0, folder))
        >>> result.problem or "the same logits"
        'the same logits'
    """
    folder, k = Path(folder), lanes.number(k)
    changes_base = read_config(folder)["init_lora_weights"] == "olora"
    base = lanes.base(shared=not changes_base)
    peft = find_spec("peft")
    if not (peft and peft.origin):  # a folder of that name has a spec too, but no origin
        return _compare(lanes, k, OWN_NAME, lambda: read_peft(base, folder).model)
    by = f"PEFT {version('peft')}"
    trained = {target_name(name, lanes.plan.layers[name]) for name in lanes.plan.layers_of(k)}
    result = _compare(lanes, k, by, lambda: _by_peft(base, folder, trained))
    if not result.problem:
        return result
    fresh = lanes.base(shared=True)
    ours = _compare(lanes, k, OWN_NAME, lambda: read_peft(fresh, folder).model)
    return replace(result, by_ours=not ours.problem)


def read_back_merged(lanes: Lanes, k: int, folder: str | Path) -> ReadBack:
    """Load the model that `write_merged` wrote, and compare logits."""
    weight = next(lanes.model.parameters())

    def load() -> nn.Module:
        model, _ = load_folder(Path(folder), dtype=weight.dtype, device=weight.device)
        return nn.Module.to(model, weight.device).eval()

    return _compare(lanes, k, f"transformers {version('transformers')}", load)


def _by_peft(base: nn.Module, folder: Path, trained: set[str]) -> nn.Module:
    from peft import PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer

    with warnings.catch_warnings():  # of missing keys, where it adapts other layers
        warnings.simplefilter("ignore")
        PeftModel.from_pretrained(base, str(folder))  # puts its layers into the base
    adapted = {_adapted(n, module) for n, module in base.named_modules() if isinstance(module, BaseTunerLayer)}
    differing = sorted(adapted ^ trained)
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
        return ReadBack(by, None, WHY_DIVERGED)
    try:
        loaded = logits_of(load(), ids)
    except _RefusedError as error:
        return ReadBack(by, None, str(error))
    except Exception as error:  # a loader can fail anywhere
        return ReadBack(by, None, f"rejects it ({reason(error).split('. ')[0]})")
    difference = float((loaded - wanted).abs().max())
    if not math.isfinite(difference):
        return ReadBack(by, None, "cannot be compared: the logits are not finite")
    rounding = torch.finfo(wanted.dtype).eps ** 0.5 * float(wanted.abs().max())
    wrong = not difference <= rounding
    return ReadBack(by, difference, f"gives logits that differ by {difference:.1g}" if wrong else "")

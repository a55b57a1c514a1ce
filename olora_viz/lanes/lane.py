"""A lane: one contender of a race."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from olora_viz.initializers import INITIALIZERS
from olora_viz.machine.checking import check_whole
from olora_viz.machine.naming import unknown
from olora_viz.machine.showing import call, changed

MAX_LANES = 64
"""Maximum lanes of one race."""

FAIR = "fair"
"""The word for a learning rate that the race computes."""

MAX_LABEL = 48
"""The longest label, in characters: it also names a folder."""

TARGET = r"[A-Za-z0-9_.*?![\]-]+"
"""The form of a name among a lane's target modules."""

Targets = tuple[str, ...] | None
"""The target modules of a lane, see `Lane.targets`."""


@dataclass(frozen=True, repr=False)
class Lane:
    """One contender: an initialization with its rank, alpha, learning rate and seed.

    Parameters
    ----------
    init : name of an initialization, a key of `INITIALIZERS`.
    lr : learning rate at the peak of the schedule, > 0.
    r : rank of the adapter, >= 1; it and `alpha` do not matter to full fine-tuning, see `is_dense`.
    alpha : numerator of the scaling; ``None`` means `r`, that is a scaling of 1.
    seed : seed of the initialization, >= 0, and of the order of the batches if the race uses
        ``batches="by-seed"``.
    weight_decay : decoupled weight decay of AdamW on A and B, >= 0.
    clip : maximum norm of the lane's gradient, > 0; ``None`` disables clipping.
    rslora : scale by alpha / sqrt(r) (Kalajdzievski 2023, arXiv 2312.03732) instead of alpha / r.
    label : the lane's name; None for an automatic one, see `labels.labels`.
    fair : whether a race replaces `lr` by the fair rate, see `fair_rate`; ``lr=fair`` in a SPEC.
    beta1, beta2 : decay rates of Adam's moments, in [0, 1), with beta1² < beta2: otherwise the
        length of a step is unbounded.
    lora_plus : learning rate of B as a multiple of that of A, > 0, as in LoRA+ (Hayou et al. 2024,
        arXiv 2402.12354); `lr` is that of A. PEFT's ``loraplus_lr_ratio``.
    dropout : probability that an input of the adapter is zero in a training step, in [0, 1), as
        PEFT's ``lora_dropout``. The base, for OLoRA or PiSSA W − s B⁰A⁰, reads all inputs.
    targets : the target modules of the lane, as in `RaceConfig`: suffixes of their names, with the
        wildcards ``*``, ``?`` and ``[…]``, such as ``("q_proj", "v_proj")`` or
        ``("layers.0.*",)``. None for those of the race. In a SPEC, ``targets=q_proj+v_proj``.

    >>> Lane("olora", lr=3e-4, r=16, alpha=32).scale
    2.0
    """

    init: str
    lr: float = 1e-3
    r: int = 8
    alpha: float | None = None
    seed: int = 0
    weight_decay: float = 0.0
    clip: float | None = None
    rslora: bool = False
    label: str | None = None
    fair: bool = False
    beta1: float = 0.9
    beta2: float = 0.999
    lora_plus: float = 1.0
    dropout: float = 0.0
    targets: Targets = None

    def __post_init__(self) -> None:
        """Check every value."""
        if not isinstance(self.init, str):
            raise ValueError(f"an initialization must be a name, not {self.init!r}")
        if self.init not in INITIALIZERS:
            raise ValueError(unknown("initialization", self.init, INITIALIZERS))
        if self.lr == FAIR:
            raise ValueError(
                f"learning rate must be a positive number, not {FAIR!r}: for a rate that the race "
                f"computes, use Lane({self.init!r}, fair=True)"
            )
        _positive("learning rate", self.lr)
        check_whole("rank", self.r, least=1)
        check_whole("seed", self.seed, least=0)
        if self.alpha is not None:
            _positive("alpha", self.alpha)
        if self.clip is not None:
            _positive("clip", self.clip)
        _positive("lora_plus", self.lora_plus)
        for name in ("beta1", "beta2", "dropout"):
            value = getattr(self, name)
            if not (_is_number(value) and 0 <= value < 1):
                raise ValueError(f"{name} must be a number from 0 to below 1, not {value!r}")
        if not self.beta1**2 < self.beta2:
            raise ValueError(
                f"the square of beta1 {self.beta1} must be below beta2 {self.beta2}: otherwise the "
                "length of Adam's steps is unbounded"
            )
        if self.dropout and self.is_dense:
            raise ValueError(
                f"dropout {self.dropout:g} is not possible for {self.init}, which has no adapter "
                "whose inputs it could drop: set it to 0"
            )
        if not (_is_number(self.weight_decay) and 0 <= self.weight_decay < math.inf):
            raise ValueError(f"weight_decay must be a number >= 0, not {self.weight_decay!r}")
        for name in ("rslora", "fair"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False, not {getattr(self, name)!r}")
        if self.label is not None:
            _check_label(self.label)
        if self.targets is not None:
            object.__setattr__(self, "targets", _target_names(self.targets))

    def __repr__(self) -> str:
        """Return the call that makes it, without default values."""
        words = changed(self)
        return call(self, words.pop("init"), **words)

    @property
    def is_dense(self) -> bool:
        """Whether the lane trains the whole ΔW in place of A and B, see `Initializer.dense`."""
        return self.init in INITIALIZERS and INITIALIZERS[self.init].dense

    @property
    def scale(self) -> float:
        """The scaling s of the adapter: alpha / r, or alpha / sqrt(r) with `rslora`."""
        if self.is_dense:
            return 1.0
        alpha = self.r if self.alpha is None else self.alpha
        return float(alpha / (math.sqrt(self.r) if self.rslora else self.r))


def label_number(value: float) -> str:
    """Write a number of an automatic label.

    Labels name the files of a run folder, so these never change; `numbers.compact`, which is for
    readers, writes 0.02 as ``2e-2``.

    >>> label_number(0.0003), label_number(0.00125), label_number(16.0)
    ('3e-4', '1.25e-3', '16')
    """
    if value == 0 or 0.01 < abs(value) < 1e4:
        return f"{value:g}"
    mantissa, exponent = f"{value:.6e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def check_count(count: int, most: int = MAX_LANES) -> None:
    """Check how many lanes a race has.

    Raises
    ------
    ValueError : none, or more than `most`.
    """
    if not 1 <= count <= most:
        raise ValueError(f"a race takes 1 to {most} lanes, not {count}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _positive(what: str, value: Any) -> None:
    if not (_is_number(value) and 0 < value < math.inf):
        raise ValueError(f"{what} must be a positive number, not {value!r}")


def _target_names(targets: Any) -> tuple[str, ...]:
    names = () if isinstance(targets, str) or not isinstance(targets, Iterable) else tuple(targets)
    if not names:
        raise ValueError(f"targets must be a sequence of names of layers, not {targets!r}")
    for name in names:
        if not (isinstance(name, str) and re.fullmatch(TARGET, name)):
            raise ValueError(
                f"a lane's target must be of letters, digits and . _ - * ? ! [ ], not {name!r}"
            )
    return names


def _check_label(label: Any) -> None:
    if not isinstance(label, str):
        raise ValueError(f"a label must be a string, not {label!r}")
    if len(label) > MAX_LABEL or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ._+@=,#-]*", label):
        raise ValueError(
            f"label {label!r} must be 1 to {MAX_LABEL} characters, begin with a letter or a digit "
            "and hold only letters, digits, spaces and . _ + @ = , # -"
        )

"""A lane: an initialization with its rank, alpha, rate and seed; its label and its name."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from markupsafe import Markup

from olora_viz.initializers import check_name, freezes_B, is_dense, iterates, keeps_function, label_of, starts_at_zero
from olora_viz.lanes.alpha import Alpha, alpha_at, alpha_word
from olora_viz.lanes.optimizers import OF_OPTIMIZERS, OPTIMIZERS
from olora_viz.lanes.ranks import RANKED_BY
from olora_viz.lanes.schedule import SCHEDULES
from olora_viz.lanes.targets import Targets, short_targets, target_names
from olora_viz.machine.checks import check_whole, suggesting, unknown
from olora_viz.machine.tables import call, changed, table
from olora_viz.machine.wording import and_, compact, exact

MAX_LANES = 64
"""Maximum lanes of one race."""

FAIR = "fair"
"""The word for a learning rate that the race computes."""

MAX_LABEL = 48
"""The longest label, in characters: it also names a folder."""

AGAINST_DIM = {
    "params": "both say how many numbers the lane trains",
    "lora_plus": "a direction moves A and B alike",
    "fair": "the fair rate is for the curvature along every entry",
    "opt": "the other optimizers move A and B",
    "dora": "a direction moves A and B alone",
}
"""The keys that a lane with `Lane.dim` cannot have, and why."""

ADVANTAGES = ("mean", "normalized")
"""What is an advantage of a reward over the mean one of a prompt, see `Lane`."""

BASE, FULL, RESIDUAL = STARTED_FROM = ("base", "full", "residual")
"""The weights that a lane's start reads on a base in four bits, see `Lane`."""

REPLAYED_FROM = ("text", "base")
"""What a lane replays: the text to keep itself, or samples that the base model draws in its place."""

NAMES_ELSEWHERE = {"rank": "r", "learning_rate": "lr", "target_modules": "targets"}
"""Keys by their names in other libraries, where those are not similar."""


@suggesting("lane key", NAMES_ELSEWHERE)
@dataclass(frozen=True, repr=False)
class Lane:
    """One contender: an initialization with its rank, alpha, learning rate and seed.

    Args:
        init: name of an initialization, a key of `INITIALIZERS`.
        lr: learning rate at the peak of the schedule, > 0.
        r: rank of the adapter, >= 1; it and `alpha` do not matter to full fine-tuning, see `is_dense`.
        alpha: numerator of the scaling; ``None`` means `r`, that is a scaling of 1. A number, or as a text a
            multiple of the rank or of its root: ``2r``, ``r/4``, ``sqrt(r)*4``.
        seed: seed of the initialization, >= 0, and of the order of the batches if the race uses ``batches="by-seed"``.
        weight_decay: decoupled weight decay of AdamW on A and B, >= 0.
        clip: maximum norm of the lane's gradient, > 0; ``None`` disables clipping.
        rslora: scale by alpha / sqrt(r) (Kalajdzievski 2023, arXiv 2312.03732) instead of alpha / r.
        label: the lane's name; None for an automatic one, see `labels`. Lanes may share it that differ only in their
            seed.
        fair: whether a race replaces `lr` by the fair rate, see `fair_rate`; ``lr=fair`` in a SPEC.
        beta1, beta2: decay rates of Adam's moments, in [0, 1), with beta1² < beta2: otherwise the length of a step is
            unbounded.
        lora_plus: learning rate of B as a multiple of that of A, > 0, as in LoRA+ (Hayou et al. 2024, arXiv
            2402.12354); `lr` is that of A. PEFT's ``loraplus_lr_ratio``.
        dropout: probability that an input of the adapter is zero in a training step, in [0, 1), as PEFT's
            ``lora_dropout``. The base, for OLoRA or PiSSA W − s B⁰A⁰, reads all inputs.
        targets: the target modules of the lane, as in `RaceConfig`: suffixes of their names, with the wildcards ``*``,
            ``?`` and ``[…]``, such as ``("q_proj", "v_proj")`` or ``("layers.0.*",)``, or a family, ``attention``,
            ``mlp`` or ``all``. None for those of the race. In a SPEC, ``targets=q_proj+v_proj``.
        schedule: how the lane's rate changes after its warm-up: ``constant``, ``linear`` or ``cosine``. None for the
            race's.
        warmup: steps over which the lane's rate rises to its peak, fewer than the race has, or as a number with a
            point their share of all steps, such as 0.1. None for the race's.
        params: the number of parameters to train, such as 200_000 or ``200k``, in place of `r`: on a model the lane
            has the rank that comes nearest, so that lanes of different targets can be compared. None for `r`.
        dim: the number d of directions to train along, drawn at random by `seed`, in place of every entry of A and B,
            see `Subspace`: the lane trains d numbers v, and its gradient norm, its clipping and its weight decay are
            those of v. The least d that still learns a task is its intrinsic dimension. None for every entry.
        replay: the share p of the text to keep in the lane's loss, in [0, 1): it trains on (1 − p) × the task's loss +
            p × the loss on passages of the text, none of which is among those measured, see `Replay`. The losses that
            are reported, the curvature and the fair rates are those of the task alone.
        replay_from: what is replayed: ``text``, the text itself, or ``base``, the base model's own samples in its
            place. Matters with `replay` or `keep_kl` only.
        keep_kl: weight, >= 0, of KL(base‖lane) on the replayed passages, nats per token, added to the loss: it holds
            the predictions there. In a chain it is that from the model which the first link began with.
        beta: of the objective ``dpo``, > 0: how sharply the loss asks for a difference between two answers.
        kl: of the objective ``reinforce``: weight, >= 0, of KL(lane‖lane before its first step) on the answers that it
            draws, nats per token, added to the loss.
        advantage: of the objective ``reinforce``: ``mean``, the reward minus the mean one of the same prompt's
            answers, or ``normalized``, that divided by their standard deviation.
        opt: the optimizer, of `OPTIMIZERS`: ``adamw``, ``sgd``, ``muon``, ``riemannian`` or ``lora_fa``. Weight
            decay is decoupled with each.
        momentum: of the optimizers ``sgd`` and ``muon``, in [0, 1): what is left of a step's gradient in the next one.
            None for 0.9 and 0.95.
        damping: of the optimizer ``riemannian``, > 0: the δ in (BᵀB + δI)⁻¹ and (AAᵀ + δI)⁻¹, PEFT's ``reg``.
        start_from: on a base in four bits, the weights from which A⁰ and B⁰ are made: ``base``, those of the base, as
            PEFT does; ``full``, those before they were rounded; ``residual``, these too, and the lane's own base is
            W − s B⁰A⁰ in four bits, as in QPiSSA and LoftQ, so that the lane does not begin as the base of all lanes.
        iterations: of the start ``loftq``, >= 1: how often base and adapter take turns, PEFT's ``loftq_iter``.
        rank_by: by what the layers have ranks of their own, with as many parameters in all as `r` gives, see
            `ranks_within`: ``energy``, the singular values of W, ``gradient``, those of its gradient on the first
            batches, or ``eva``, the variance of its inputs, as EVA does. The scaling is that of `r` in all layers.
            None for `r` in each.
        dora: whether the norms m of the rows of W + ΔW are trained too, as in DoRA (Liu et al. 2024, arXiv 2402.09353)
            and by PEFT's ``use_dora``: W' = m ⊙ (W + ΔW) / ‖W + ΔW‖, where no gradient goes through the norm. With
            weight decay m shrinks as well, as under torch's AdamW; with `lora_plus` it has the rate of B. With
            `dropout` the base reads the dropped inputs wherever m differs from the norm.

    Examples:
        >>> import olora_viz as ov
        >>> lane = ov.Lane("olora", lr=3e-4, r=16, alpha=32)
        >>> lane.scale
        2.0
        >>> lane
        Lane('olora', lr=0.0003, r=16, alpha=32)
        >>> ov.Lane("olora", r=16, alpha="r/4").lora_alpha
        4.0
    """

    init: str
    lr: float = 1e-3
    r: int = 8
    alpha: Alpha = None
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
    schedule: str | None = None
    warmup: int | float | None = None
    params: int | str | None = None
    dim: int | None = None
    replay: float = 0.0
    replay_from: str = REPLAYED_FROM[0]
    keep_kl: float = 0.0
    beta: float = 0.1
    kl: float = 0.0
    advantage: str = ADVANTAGES[0]
    opt: str = "adamw"
    momentum: float | None = None
    damping: float = 0.01
    start_from: str = BASE
    iterations: int = 1
    rank_by: str | None = None
    dora: bool = False

    def __post_init__(self) -> None:
        """Check every value."""
        if not isinstance(self.init, str):
            raise ValueError(f"an initialization must be a name, not {self.init!r}")
        check_name(self.init)
        if self.lr == FAIR:
            raise ValueError(
                f"learning rate must be a positive number, not {FAIR!r}: for a rate that the race "
                f"computes, use Lane({self.init!r}, fair=True)"
            )
        _positive("learning rate", self.lr)
        check_whole("rank", self.r, least=1)
        check_whole("seed", self.seed, least=0)
        alpha_at(self.alpha, self.r)
        if self.clip is not None:
            _positive("clip", self.clip)
        _positive("lora_plus", self.lora_plus)
        _positive("beta", self.beta)
        _positive("damping", self.damping)
        for name in ("beta1", "beta2", "dropout", "replay", "momentum"):
            value = 0 if (given := getattr(self, name)) is None else given
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
        for name in ("weight_decay", "keep_kl", "kl"):
            value = getattr(self, name)
            if not (_is_number(value) and 0 <= value < math.inf):
                raise ValueError(f"{name} must be a number >= 0, not {value!r}")
        if self.replay_from not in REPLAYED_FROM:
            raise ValueError(unknown("replay_from", str(self.replay_from), REPLAYED_FROM))
        if self.advantage not in ADVANTAGES:
            raise ValueError(unknown("advantage", str(self.advantage), ADVANTAGES))
        for name in ("rslora", "fair", "dora"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False, not {getattr(self, name)!r}")
        if self.start_from not in STARTED_FROM:
            raise ValueError(unknown("start_from", str(self.start_from), STARTED_FROM))
        if self.start_from != BASE and (self.fair or not keeps_function(self.init)):
            other = "a fair rate" if self.fair else f"{self.init}, which changes the base's function,"
            raise ValueError(f"start_from={self.start_from} and {other} do not go together")
        if self.start_from == RESIDUAL and self.dora:
            raise ValueError("start_from=residual and dora do not go together: each lane would have norms of its own")
        check_whole("iterations", self.iterations, least=1)
        if self.iterations != Lane.iterations and not iterates(self.init):
            raise ValueError(f"iterations {self.iterations} is not a key of {self.init}: it goes with loftq")
        if self.label is not None:
            _check_label(self.label)
        if self.targets is not None:
            object.__setattr__(self, "targets", target_names(self.targets))
        if self.schedule is not None and self.schedule not in SCHEDULES:
            raise ValueError(unknown("schedule", str(self.schedule), SCHEDULES))
        if isinstance(self.warmup, float):
            _positive("warmup as a share of all steps", self.warmup)
        elif self.warmup is not None:
            check_whole("warmup", self.warmup, least=0)
        if self.params is not None:
            count = read_count(self.params) if isinstance(self.params, str) else self.params
            check_whole("params", count, least=1)
            object.__setattr__(self, "params", count)
            if self.r != Lane.r:
                raise ValueError(f"r {self.r} and params {count} both say how large the lane is: give one")
            if self.is_dense:
                raise ValueError(f"params {count} is not possible for {self.init}, which trains every weight")
        if self.dim is not None:
            check_whole("dim", self.dim, least=1)
            for name, why in AGAINST_DIM.items():
                if getattr(self, name) != getattr(Lane, name):
                    raise ValueError(f"dim {self.dim} and {name} {getattr(self, name)} do not go together: {why}")
        if self.rank_by is not None:
            if self.rank_by not in RANKED_BY:
                raise ValueError(unknown("rank_by", str(self.rank_by), RANKED_BY))
            if self.is_dense or self.init == "orthogonal":
                why = "has no rank" if self.is_dense else "needs even ranks"
                raise ValueError(f"rank_by={self.rank_by} is not possible for {self.init}, which {why}")
        self._check_optimizer()
        if self.replays and self.fair:
            raise ValueError(
                f"{self.replay_words} and a fair rate do not go together: it is for the task's loss alone"
            )

    def _check_optimizer(self) -> None:
        if self.opt not in OPTIMIZERS:
            raise ValueError(unknown("optimizer", str(self.opt), OPTIMIZERS))
        its, opt = OPTIMIZERS[self.opt], f"opt {self.opt}"
        for name in OF_OPTIMIZERS:
            value = getattr(self, name)
            if value != getattr(Lane, name) and name not in its.keys:
                having = and_([other for other, each in OPTIMIZERS.items() if name in each.keys])
                raise ValueError(f"{name} {value:g} is not a key of {opt}: it goes with {having}")
        if self.dora and (self.is_dense or its.direction):
            raise ValueError(
                f"dora is not possible for {self.init}, which has no A and B" if self.is_dense
                else f"dora trains a vector beside A and B, which {opt} cannot: it goes with adamw and sgd"
            )  # fmt: skip
        if self.is_dense and not its.takes_dense:
            raise ValueError(f"{opt} is not possible for {self.init}, which has no A and B")
        if its.freezes_A and freezes_B(self.init):
            raise ValueError(f"{opt} trains B alone, and {self.init} A alone: nothing would be trained")
        if self.fair and self.opt != Lane.opt:
            raise ValueError(f"{opt} and a fair rate do not go together: the fair rate is for {Lane.opt}")

    def __repr__(self) -> str:
        """Return the call that makes it, without default values."""
        values = changed(self)
        return call(self, values.pop("init"), **values)

    def replace(self, **keys: Any) -> Lane:
        """Return the lane with other values of some keys.

        Examples:
            >>> import olora_viz as ov
            >>> ov.Lane("olora", alpha="2r").replace(r=16)
            Lane('olora', r=16, alpha='2r')
        """
        return replace(self, **keys)

    def at_rank(self, r: int) -> Lane:
        """Return the lane with another rank and the same scaling."""
        return self if r == self.r else replace(self, r=r, alpha=self.scale * r, rslora=False)

    @property
    def is_dense(self) -> bool:
        """Whether the lane trains the whole ΔW in place of A and B, see `Initializer.dense`."""
        return is_dense(self.init)

    @property
    def momentum_used(self) -> float:
        """The key `momentum`, or what its optimizer has in its place; 0 of one without momentum.

        Examples:
            >>> import olora_viz as ov
            >>> ov.Lane("lora", opt="muon").momentum_used, ov.Lane("lora", opt="sgd", momentum=0.5).momentum_used
            (0.95, 0.5)
        """
        return (OPTIMIZERS[self.opt].momentum or 0.0) if self.momentum is None else self.momentum

    @property
    def has_own_base(self) -> bool:
        """Whether the lane's base in four bits is that of its own start, so that it does not begin as the others."""
        return self.start_from == RESIDUAL and not starts_at_zero(self.init)

    @property
    def keeps_function(self) -> bool:
        """Whether the lane begins as the base of all lanes."""
        return keeps_function(self.init) and not self.has_own_base

    @property
    def replays(self) -> bool:
        """Whether the lane reads the text to keep in its training steps."""
        return bool(self.replay or self.keep_kl)

    @property
    def replay_words(self) -> str:
        """The keys with which it does, as they are written."""
        return self.words("replay", "replay_from", "keep_kl")

    def words(self, *keys: str) -> str:
        """Return some of the lane's keys as they are written, without default values.

        Examples:
            >>> import olora_viz as ov
            >>> ov.Lane("lora", opt="muon", momentum=0.8).words("opt", "momentum", "damping")
            'opt=muon, momentum=0.8'
        """
        given = [(key, getattr(self, key)) for key in keys if getattr(self, key) != getattr(Lane, key)]
        return ", ".join(f"{key}={value if isinstance(value, str) else f'{value:g}'}" for key, value in given)

    @property
    def scale(self) -> float:
        """The scaling s of the adapter: alpha / r, or alpha / sqrt(r) with `rslora`."""
        if self.is_dense:
            return 1.0
        return float(self.lora_alpha / (math.sqrt(self.r) if self.rslora else self.r))

    @property
    def lora_alpha(self) -> float:
        """The number that `alpha` means at the lane's rank, PEFT's ``lora_alpha``."""
        return alpha_at(self.alpha, self.r)


def read_count(text: str) -> int:
    """Read a number of parameters.

    Raises:
        ValueError: it is none.

    >>> read_count("200k"), read_count("1.5M"), read_count("4096")
    (200000, 1500000, 4096)
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([kM]?)", text)
    count = float(match[1]) * {"": 1, "k": 1e3, "M": 1e6}[match[2]] if match else math.nan
    if not count.is_integer():
        raise ValueError(f"params must be a whole number, such as 200000 or 200k, not {text[:40]!r}")
    return int(count)


def label_number(value: float) -> str:
    """Write a number of an automatic label.

    Labels name the files of a run folder, so these never change; `compact`, which is for readers, writes 0.02
    as ``2e-2``.

    >>> label_number(0.0003), label_number(0.00125), label_number(16.0)
    ('3e-4', '1.25e-3', '16')
    """
    if value == 0 or 0.01 < abs(value) < 1e4:
        return f"{value:g}"
    mantissa, exponent = f"{value:.6e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def check_count(count: int, most: int = MAX_LANES) -> None:
    """Check how many lanes a race has."""
    if not 1 <= count <= most:
        raise ValueError(f"a race takes 1 to {most} lanes, not {count}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _positive(what: str, value: Any) -> None:
    if not (_is_number(value) and 0 < value < math.inf):
        raise ValueError(f"{what} must be a positive number, not {value!r}")


def _check_label(label: Any) -> None:
    if not isinstance(label, str):
        raise ValueError(f"a label must be a string, not {label!r}")
    if len(label) > MAX_LABEL or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ._+@=,#-]*(?<! )", label):
        raise ValueError(
            f"label {label!r} must be 1 to {MAX_LABEL} characters, begin with a letter or a digit, "
            "not end in a space, and hold only Latin letters without accents, digits, spaces and . _ + @ = , # -"
        )


SHOWN_NAMES = {
    "lr": "", "r": "r", "alpha": "α/r", "seed": "seed", "lora_plus": "LoRA+", "dropout": "dropout", "beta1": "β₁",
    "beta2": "β₂", "targets": "", "schedule": "", "warmup": "warm-up", "params": "params", "dim": "dim",
    "replay": "replay", "replay_from": "", "keep_kl": "keep KL", "rslora": "rsLoRA",
    "beta": "β", "kl": "KL", "advantage": "", "opt": "", "momentum": "momentum", "damping": "δ",
    "start_from": "", "iterations": "iterations",
    "rank_by": "ranks by",
    "dora": "DoRA",
}  # fmt: skip
"""What a display name calls a key of a lane, if not by its own name; rates, targets and schedules need none."""

KEYS_OF_RACE = ("targets", "schedule", "warmup")
"""The keys with which None means the race's own value; no name says so."""

SHOWN = (*SHOWN_NAMES, *(f.name for f in fields(Lane) if f.name not in (*SHOWN_NAMES, "init", "label", "fair")))
"""The keys by which a display name distinguishes lanes of one initialization: all that can differ."""


def labels(lanes: Sequence[Lane]) -> tuple[str, ...]:
    """Return distinct labels: the initialization, and the settings that differ if it repeats.

    A label that lanes of several seeds share has the seed after it.

    >>> labels([Lane("lora"), Lane("olora", lr=1e-3), Lane("olora", lr=3e-3)])
    ('lora', 'olora@lr=1e-3', 'olora@lr=3e-3')
    """
    names = [lane.label for lane in lanes if lane.label is not None]
    chosen = {name: [lane for lane in lanes if lane.label == name] for name in names}
    for label, group in chosen.items():
        if len({replace(lane, seed=0) for lane in group}) > 1 or len({lane.seed for lane in group}) < len(group):
            raise ValueError(
                f"two lanes are labelled {label!r}; labels must differ, unless their lanes differ in the seed alone"
            )
    distinct: list[str] = []
    for lane in lanes:
        if lane.label is None:
            distinct.append(_numbered(_automatic_label(lane, lanes), [*distinct, *chosen], "#"))
        else:
            seed = f"{',' if '@' in lane.label else '@'}seed={lane.seed}" * (len(chosen[lane.label]) > 1)
            distinct.append(_numbered(lane.label + seed, distinct, "#"))
    return tuple(distinct)


def _numbered(name: str, taken: Sequence[str], mark: str) -> str:
    """Return a name, with the lowest number from 2 after a mark if it is taken."""
    numbered = (f"{name}{mark}{copy}" for copy in itertools.count(2))
    return next(each for each in itertools.chain([name], numbered) if each not in taken)


def display_names(lanes: Sequence[Lane], names: Sequence[str | None] = ()) -> tuple[str, ...]:
    """Return display names: the label, or else the initialization and the settings that differ within the race.

    Args:
        lanes: the lanes of one race, in order.
        names: a name per lane in place of its own, or None.

    >>> display_names([Lane("lora", lr=1e-3), Lane("olora", lr=3e-3)])
    ('LoRA 1e-3', 'OLoRA 3e-3')
    >>> display_names([Lane("lora", label="mine"), Lane("lora", label="mine", seed=1)])
    ('mine seed 0', 'mine seed 1')
    """
    seeds = {lane.label: {other.seed for other in lanes if other.label == lane.label} for lane in lanes}
    unnamed = [lane for lane in lanes if lane.label is None]
    words_of = {field: _words(field, {setting(lane, field) for lane in unnamed}) for field in differing(unnamed)}
    distinct: list[str] = []
    for lane, name in itertools.zip_longest(lanes, names):
        if name is None and lane.label is not None:
            name = lane.label + f" seed {lane.seed}" * (len(seeds[lane.label]) > 1)
        if name is None:
            words = [label_of(lane.init), *(of[setting(lane, field)] for field, of in words_of.items())]
            name = " ".join(filter(None, words))
        distinct.append(_numbered(name, distinct, " #"))
    return tuple(distinct)


def differing(lanes: Sequence[Lane]) -> list[str]:
    """Return the settings of `SHOWN` that are not the same in all lanes."""
    return [field for field in SHOWN if len({setting(lane, field) for lane in lanes if _has(lane, field)}) > 1]


def setting(lane: Lane, field: str) -> Any:
    """Return the value of one of `SHOWN`: the ratio to the rank for alpha, a text for targets.

    The rate of a fair lane is the word, until its race has found the number. Full fine-tuning has neither rank nor
    scaling, which is written as 0; so is a lane without clipping.
    """
    if not _has(lane, field):
        return 0
    if field == "lr" and lane.fair:
        return FAIR
    if field == "alpha":
        return lane.lora_alpha / lane.r
    value = getattr(lane, field)
    if field in KEYS_OF_RACE:
        return "" if value is None else "+".join(value) if isinstance(value, tuple) else value
    return value or 0


def _has(lane: Lane, field: str) -> bool:
    return not (lane.is_dense and field in ("r", "alpha", "rslora"))


def _words(field: str, values: Collection[Any]) -> dict[Any, str]:
    """Return each value of a key in words: short ones, unless two values would have the same."""
    short, whole = ({value: _value(field, value, is_short) for value in values} for is_short in (True, False))
    return short if len(set(short.values())) == len(values) else whole


def _value(field: str, value: Any, is_short: bool) -> str:
    """Return a value in words, with its key's name."""
    if field in ("r", "alpha", "params", "dim", "rank_by") and not value:
        return ""
    if field in ("start_from", "iterations") and value == getattr(Lane, field):
        return ""
    name = SHOWN_NAMES.get(field, field.replace("_", " "))
    if isinstance(getattr(Lane, field), bool):
        return name * value
    if field == "clip" and not value:
        return "no clip"
    if isinstance(value, str):
        value = {"replay_from": "from ", "start_from": "from ", "rank_by": f"{name} "}.get(field, "") + value
        return short_targets(value) if field == "targets" and value and is_short else value
    if field == "params":
        return params_words(value)
    number = exact(value) if not is_short else compact(value) if field == "lr" else f"{value:g}"
    return f"{name} {number}".lstrip()


def params_words(count: int) -> str:
    """Return a number of parameters with its unit.

    >>> params_words(74_000), params_words(3_752), params_words(1_500_000)
    ('74k params', '3752 params', '1.5M params')
    """
    for each, unit in ((1_000_000, "M"), (1000, "k")):
        if count >= each and count % (each // 10) == 0:
            return f"{count / each:g}{unit} params"
    return f"{count} params"


def _automatic_label(lane: Lane, lanes: Sequence[Lane]) -> str:
    family = [other for other in lanes if other.init == lane.init and other.label is None]
    parts = [
        f"{field.name}={label_word(field.name, getattr(lane, field.name))}"
        for field in fields(Lane)
        if field.name not in ("init", "label")
        and not (field.name in KEYS_OF_RACE and getattr(lane, field.name) is None)
        and len({getattr(other, field.name) for other in family}) > 1
    ]
    return f"{lane.init}@{','.join(parts)}" if parts else lane.init


def label_word(key: str, value: Any) -> str:
    """Write the value of a key in an automatic label."""
    value = alpha_word(value) if key == "alpha" else value
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return short_targets("+".join(value))
    return label_number(value) if isinstance(value, float) else str(value).lower()


def lanes_table(lanes: Sequence[Lane], caption: str = "") -> Markup:
    """Return a row for each lane."""
    rows = [
        (label, label_of(lane.init), FAIR if lane.fair else compact(lane.lr), lane.r, f"{lane.scale:g}", lane.seed)
        for label, lane in zip(labels(lanes), lanes, strict=True)
    ]
    return table(["lane", "initialization", "learning rate", "rank", "scale s", "seed"], rows, caption)


def runs_of_seeds(lanes: Sequence[Lane]) -> list[list[Lane]]:
    """Split lanes where neighbours differ in more than their seed, or repeat a lane.

    >>> [len(group) for group in runs_of_seeds([*(Lane("olora", seed=seed) for seed in range(3)), Lane("lora")])]
    [3, 1]
    """
    groups: list[list[Lane]] = []
    for lane in lanes:
        last = groups[-1] if groups else []
        if last and replace(lane, seed=last[0].seed) == last[0] and lane not in last:
            last.append(lane)
        else:
            groups.append([lane])
    return groups

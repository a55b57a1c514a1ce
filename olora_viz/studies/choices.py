"""What each choice of a study is worth: how a method differs from the reference, and what that makes of the loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from olora_viz.initializers import label_of
from olora_viz.lanes.lane import SHOWN, Lane, params_words, setting
from olora_viz.lanes.recipes import RECIPE_NAME
from olora_viz.lanes.targets import ATTENTION, MLP, short_targets
from olora_viz.machine.wording import and_, compact, nats
from olora_viz.studies.axes import plain
from olora_viz.studies.method import lane_of, method_name, own_rate, shipped
from olora_viz.studies.statistics import BETTER, LEVEL, WORSE
from olora_viz.studies.study import Cell, Study
from olora_viz.studies.verdicts import Verdict, Verdicts

SIZES = ("r", "params")
"""The keys of a lane that say how many parameters of its targets it trains."""

START, RECIPE, SEVERAL, DENSE = "init", "recipe", "several", "dense"
"""Keys of what differs, beside those of a lane: another start, a recipe, several keys, or all weights trained."""

GROUPS = {
    START: "start", "targets": "target modules", "r": "rank", "params": "number of parameters", "alpha": "scaling",
    "rslora": "scaling", "lora_plus": "rates of A and B", "dropout": "regularization",
    "weight_decay": "regularization", "lr": "rate", "clip": "optimizer", "beta1": "optimizer", "beta2": "optimizer",
    "schedule": "schedule", "warmup": "schedule", "dim": "number of directions", "replay": "what is kept",
    "replay_from": "what is kept", "keep_kl": "what is kept", "beta": "objective",
    "kl": "objective", "advantage": "objective", "opt": "optimizer",
    "momentum": "optimizer", "damping": "optimizer", "start_from": "start", "iterations": "start",
    "rank_by": "ranks of layers", "dora": "DoRA", DENSE: "all weights", RECIPE: "recipes", SEVERAL: "several",
}  # fmt: skip
"""What a figure calls the setting that differs, by its key."""

IN_A_SENTENCE = {
    START: "the start", "targets": "the target modules", "r": "the rank", "params": "the number of parameters",
    "alpha": "alpha", "rslora": "rsLoRA", "lora_plus": "LoRA+", "dropout": "dropout", "weight_decay": "weight decay",
    "lr": "a rate of its own",
    "clip": "clipping", "beta1": "beta1", "beta2": "beta2", "warmup": "the warm-up", "dim": "the number of directions",
    "replay": "replay", "replay_from": "what is replayed", "keep_kl": "holding the predictions",
    "beta": "beta", "kl": "the penalty to the start", "opt": "the optimizer", "start_from": "the weights read",
    "rank_by": "the ranks of the layers", "dora": "DoRA",
    DENSE: "training all weights", RECIPE: "the recipes",
}  # fmt: skip
"""What a sentence calls it, if not *the* and its key."""


@dataclass(frozen=True)
class MethodChoice:
    """A method that differs from the reference of its study: in what, in words, and its verdict."""

    key: str
    """Of `GROUPS`."""
    words: str
    verdict: Verdict

    @property
    def group(self) -> str:
        """What a figure calls the setting."""
        return GROUPS[self.key]

    @property
    def size(self) -> float:
        """How far the test loss moves, each at its best; infinitely little where that is not known."""
        mean = abs(self.verdict.interval.mean)
        return mean if math.isfinite(mean) else -math.inf


def choices(verdicts: Verdicts, cell: Cell) -> list[MethodChoice]:
    """Return the choices that a study compares in a cell, grouped by what differs, the farthest from level first."""
    study = verdicts.study
    made = [_choice(study, each) for each in verdicts.of(cell) if each.method != study.reference]
    farthest = {group: max(choice.size for choice in made if choice.group == group) for group in GROUPS.values()
                if any(choice.group == group for choice in made)}  # fmt: skip
    return sorted(made, key=lambda each: (-farthest[each.group], each.group, -each.size, each.words))


def compares_more_than_starts(study: Study) -> bool:
    """Whether some method of a study differs from its reference in anything but the start."""
    cell = study.cells()[0]
    return any(differing(study, cell, method) != START for method in study.compare[1:])


def differing(study: Study, cell: Cell, method: str) -> str:
    """Return in what a method differs from the reference of a study: a key of `GROUPS`.

    A size that goes with other targets, so that as many parameters are trained, is a part of that choice.

    >>> study = Study(compare=("lora", "olora", "lora:alpha=2r", "olora:dropout=0.1", "full", "lora:r=21,targets=mlp"))
    >>> [differing(study, study.cells()[0], method) for method in study.compare[1:]]
    ['init', 'alpha', 'several', 'dense', 'targets']
    """
    if method.startswith(RECIPE_NAME):
        return RECIPE
    lane, reference = (study.lane_in(cell, each) for each in (method, study.reference))
    # Those that only are written otherwise, as alpha=r where that is usual, differ in how they are written.
    keys = _differing(lane, reference, _value) or _differing(lane, reference, getattr)
    keys = [key for key in keys if "targets" not in keys or key not in SIZES]
    keys += ["lr"] * (own_rate(method) != own_rate(study.reference))
    return keys[0] if len(keys) == 1 else SEVERAL


def _differing(lane: Lane, other: Lane, value: Callable[[Lane, str], Any]) -> list[str]:
    """Return the keys of `GROUPS` in which two lanes differ; what rsLoRA adds to another alpha is one scaling."""
    own = [each.name for each in fields(Lane) if each.name not in ("lr", "seed", "label", "fair")]
    keys = [key for key in own if value(lane, key) != value(other, key)]
    if lane.is_dense != other.is_dense:
        keys = [DENSE, *(key for key in keys if key not in (START, "r", "alpha", "rslora", "params"))]
    return [key for key in keys if key != "rslora" or "alpha" not in keys]


def _value(lane: Lane, key: str) -> Any:
    return setting(lane, key) if key in SHOWN else getattr(lane, key)


def _choice(study: Study, verdict: Verdict) -> MethodChoice:
    key = differing(study, verdict.cell, verdict.method)
    lane, reference = (study.lane_in(verdict.cell, each) for each in (verdict.method, study.reference))
    words = _words(lane, key, verdict.method)
    if key == "targets":
        sizes = [size_words(lane, each) for each in _differing(lane, reference, _value) if each in SIZES]
        words = " at ".join([words, *sizes])
    return MethodChoice(key, words, verdict)


def _words(lane: Lane, key: str, method: str) -> str:
    """Return what a method chooses, in few words."""
    if key == RECIPE:
        return f"{lane_of(method).label or method_name(method)}{'' if shipped(method) else ' tuned'}"
    if key == SEVERAL:
        return method_name(method)
    if key in (START, DENSE):
        return label_of(lane.init)
    if key in ("alpha", "rslora"):
        alpha = f"alpha {'r' if lane.alpha is None else plain(lane.alpha)}"
        words = ["rsLoRA" if lane.rslora else "no rsLoRA"] if key == "rslora" else [alpha, "rsLoRA" * lane.rslora]
        return ", ".join(filter(None, words))
    if key == "lr":
        rate = own_rate(method)
        return "rate tuned" if rate is None else f"rate {compact(rate)}"
    value = getattr(lane, key)
    if key == "targets":
        own = short_targets(plain(value)) if value else "the race's"
        return f"{own} alone" if value in ((ATTENTION,), (MLP,)) else own
    without = {"clip": "no clipping", "dim": "every entry trained", "rank_by": "one rank for all"}
    if value is None and key in without:
        return without[key]
    if key == "dora":
        return "DoRA" if value else "no DoRA"
    if key == "schedule":
        return value or "the race's"
    if key in SIZES:
        return size_words(lane, key)
    names = {"lora_plus": "LoRA+", "warmup": "warm-up", "keep_kl": "keep KL", "kl": "KL", "rank_by": "ranks by"}
    return f"{names.get(key, key.replace('_', ' '))} {plain(value)}"


def size_words(lane: Lane, key: str) -> str:
    """Return the rank of a lane, or the number of its parameters, in words; `key` is of `SIZES`."""
    if key == "r":
        return f"rank {lane.r}"
    return params_words(lane.params) if isinstance(lane.params, int) else "no number of parameters"


def worth_of_choices(verdicts: Verdicts) -> dict[str, str]:
    """Return `choices_words` of every cell that has run, by its name; none if a study compares starts alone."""
    if not compares_more_than_starts(verdicts.study):
        return {}
    return {cell.words(): choices_words(verdicts, cell) for cell in verdicts.study.cells() if verdicts.rows_of(cell)}


def choices_words(verdicts: Verdicts, cell: Cell) -> str:
    """Say in a cell which choices matter, which are level and which are not decided, by their verdicts alone.

    One matters most only if all of its interval is farther from zero than that of every other one that matters. A
    second sentence names those that only matter at one shared rate.
    """
    made = choices(verdicts, cell)
    decided = [each for each in made if each.verdict.verdict in (BETTER, WORSE)]
    mattering = _by_name(decided)
    others = {name: its for name, its in _by_name(made).items() if name not in mattering}
    level = [name for name, its in others.items() if all(each.verdict.verdict == LEVEL for each in its)]
    open_ = [name for name in others if name not in level]
    parts = [_mattering(mattering)] if mattering else []
    tuned = and_([{"lr": "rate"}.get(name, name.replace("_", " ")) for name, values in verdicts.study.tune.items()
                  if len(values) > 1])  # fmt: skip
    if level:
        once = f" once the {tuned} {'are' if ' and ' in tuned else 'is'} tuned" if tuned else ""
        parts.append(f"{and_(level)} {_are(level)} level{once}")
    if open_:
        parts.append(f"{and_(open_)} {_are(open_)} not decided")
    sentence = "; ".join(parts)
    disguised = [
        each.words for each in made
        if each.verdict.verdict == LEVEL and each.verdict.verdict_shared_rate in (BETTER, WORSE)
    ]  # fmt: skip
    shared = made[0].verdict.shared_lr
    more = ""
    if disguised and shared is not None:
        verb = "does" if len(disguised) == 1 else "do"
        more = f" At one shared rate, {compact(shared)}, {and_(disguised)} {verb} matter: a rate in disguise."
    return f"{sentence[:1].upper()}{sentence[1:]}.{more}"


def _by_name(made: Iterable[MethodChoice]) -> dict[str, list[MethodChoice]]:
    """Put choices together by what a sentence calls their setting, in their order; several keys each apart."""
    named: dict[str, list[MethodChoice]] = {}
    for each in sorted(made, key=lambda each: (-each.size, each.words)):
        named.setdefault(each.words if each.key == SEVERAL else in_a_sentence(each.key), []).append(each)
    return named


def in_a_sentence(key: str) -> str:
    """Return what a sentence calls a setting.

    >>> in_a_sentence("targets"), in_a_sentence("batch_size")
    ('the target modules', 'the batch size')
    """
    return IN_A_SENTENCE.get(key, f"the {key.replace('_', ' ')}")


def _mattering(mattering: dict[str, list[MethodChoice]]) -> str:
    """Say what matters, with the farthest choice of each setting."""
    (first, its), *rest = mattering.items()
    far = [each for of_name in mattering.values() for each in of_name[:1]]
    ends = [sorted(map(abs, each.verdict.interval[1:3])) for each in far]
    most = len(far) > 1 and all(ends[0][0] > end for _, end in ends[1:])
    named = [f"{name} ({_worth(of_name[0])})" for name, of_name in rest]
    if most:
        return f"{first} {_matters(first)} most ({_worth(its[0])}), then {and_(named)}"
    every = [f"{first} ({_worth(its[0])})", *named]
    return f"{and_(every)} {'matter' if rest else _matters(first)}"


def _worth(choice: MethodChoice) -> str:
    mean = choice.verdict.interval.mean
    return f"{choice.words} {'costs' if mean > 0 else 'gains'} {nats(abs(mean))} {choice.verdict.unit}"


def _matters(name: str) -> str:
    return "matter" if _is_plural(name) else "matters"


def _are(names: Sequence[str]) -> str:
    return "are" if len(names) > 1 or _is_plural(names[0]) else "is"


def _is_plural(name: str) -> bool:
    return name in (IN_A_SENTENCE["targets"], IN_A_SENTENCE["rank_by"], IN_A_SENTENCE[RECIPE])

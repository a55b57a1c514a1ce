"""One step of a race: the measurements and the status of every lane; and which step its adapter is from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from markupsafe import Markup

from olora_viz.lanes.lane import Lane
from olora_viz.machine.tables import call, finite_or_none, lane_table, table
from olora_viz.machine.wording import nats, percent, sparkline
from olora_viz.measures.catalogue import MEASURES
from olora_viz.measures.curvature import Curvature
from olora_viz.measures.factors import Factors
from olora_viz.measures.forgetting import AboutText
from olora_viz.measures.gradients import Gradients
from olora_viz.measures.measure import Record, by_label, of_label
from olora_viz.measures.training import Examples
from olora_viz.measures.update_spectra import UpdateSpectra

if TYPE_CHECKING:
    from olora_viz.races.config import RaceConfig

RACING, FINISHED, STOPPED, DIVERGED = "racing", "finished", "stopped", "diverged"
"""The statuses of a lane, and of a race whose lanes all have it."""

STOPPED_EARLY = "stopped early"
"""The status of a lane that trains no more, see `RaceConfig.patience`."""


NOT_FINITE = "loss or gradient was no longer finite"
NO_GRADIENT = "gradient was exactly zero for two steps, with a loss above the base model's"
"""Why a lane diverged: what became of its own."""


def why_out(last_grad_norm: float) -> str:
    """Return why a lane diverged, from the norm of its gradient in the step before."""
    return NO_GRADIENT if last_grad_norm == 0 else NOT_FINITE


def statuses(out: np.ndarray, race: str = RACING, early: np.ndarray | None = None) -> tuple[str, ...]:
    """Return every lane's status: the race's, or that of a lane that trains no more.

    Args:
        race: status of the race: ``racing``, ``finished`` or ``stopped``.
        early: (K,) which lanes have stopped early; by default none.
    """
    early = np.zeros_like(out) if early is None else early
    return tuple(
        DIVERGED if has_diverged else STOPPED_EARLY if has_stopped else race
        for has_diverged, has_stopped in zip(out, early, strict=True)
    )


BESIDE = ("step", "seconds", "tokens", "diverged", "stopped_early")
"""Keys of a step's JSON that are not measurements."""


@dataclass(frozen=True, eq=False, repr=False)
class Step(Record):
    """The measurements of K lanes in one step; lane k is entry k of every array.

    `loss` and `grad_norm` are those of the step's batch before the update; everything else is measured after it. A
    diverged lane has NaN. Steps are compared bit for bit, without `seconds`.

    Examples:
        >>> import olora_viz as ov
        >>> recording = ov.load_recording("one-rate")
        >>> step = recording.steps[-1]
        >>> step.step, step.status[0]
        (120, 'racing')
        >>> dict(zip(recording.config.labels, step.eval_loss.round(2).tolist()))
        {'lora': 0.49, 'olora': 0.44, 'pissa': 0.44, 'milora': 0.49}
        >>> sorted(step.measures)[:4]
        ['eval_accuracy', 'eval_examples', 'eval_loss', 'grad_norm']
    """

    step: int
    """1 for the first."""
    measures: Mapping[str, Any]
    """Measurements by the keys of `MEASURES`: (K,), or a record."""
    seconds: float = field(compare=False)
    """Time spent on the race so far, without pauses."""
    tokens: int
    """Training tokens of each lane so far, without padding; the mean over the lanes if their batches differ."""
    status: tuple[str, ...]
    """(K) ``racing``, ``diverged`` or ``stopped early``."""

    def __post_init__(self) -> None:
        """Make the measurements read-only."""
        object.__setattr__(self, "measures", MappingProxyType(dict(self.measures)))
        for value in self.measures.values():
            if isinstance(value, np.ndarray):
                value.setflags(write=False)

    def __repr__(self) -> str:
        """Return a few numbers of every measurement of one number per lane; name the others."""
        per_lane = _per_lane(self.measures)
        words = call(self, self.step, **per_lane)
        others = [name for name in self.measures if name not in per_lane]
        return f"{words[:-1]}, with {', '.join(others)})" if others else words

    def _repr_html_(self) -> str:
        return lane_table(_per_lane(self.measures), f"Step {self.step}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle `measures` as a dict: a read-only mapping cannot be pickled."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return type(self), tuple((values | {"measures": dict(self.measures)}).values())

    def without_measure(self, key: str) -> Step:
        """Return the step without a measurement."""
        if key not in self.measures:
            return self
        return replace(self, measures={name: value for name, value in self.measures.items() if name != key})

    @property
    def loss(self) -> np.ndarray:
        """(K,) training loss, nats per supervised token; of an answer, its end token is one."""
        return self.measures["loss"]

    @property
    def grad_norm(self) -> np.ndarray:
        """(K,) Euclidean norm of the gradient over the lane's A and B, before clipping."""
        return self.measures["grad_norm"]

    @property
    def lr(self) -> np.ndarray:
        """(K,) learning rate of this step's update."""
        return self.measures["lr"]

    @property
    def eval_loss(self) -> np.ndarray | None:
        """(K,) held-out loss, nats per token of the answer or text, without its end token and what else all answers
        share; None if not evaluated. See docs/VERDICTS.md."""
        return self.measures.get("eval_loss")

    @property
    def eval_accuracy(self) -> np.ndarray | None:
        """(K,) held-out accuracy, in [0, 1]; None if not evaluated."""
        return self.measures.get("eval_accuracy")

    @property
    def eval_examples(self) -> Examples | None:
        """Held-out results by example; None if not evaluated."""
        return self.measures.get("eval_examples")

    @property
    def text_loss(self) -> np.ndarray | None:
        """(K,) loss on the text to keep, nats per token; None if not measured."""
        return self.measures.get("text_loss")

    @property
    def drift(self) -> np.ndarray | None:
        """(K,) KL(base‖lane) on the text to keep, nats per token; None if not measured."""
        return self.measures.get("drift")

    @property
    def margin(self) -> np.ndarray | None:
        """(K,) by how much chosen answers have gained on rejected ones since the start, nats; None without pairs."""
        return self.measures.get("margin")

    @property
    def preferred(self) -> np.ndarray | None:
        """(K,) share of the step's pairs in which the chosen answer has gained; None without pairs."""
        return self.measures.get("preferred")

    @property
    def reward(self) -> np.ndarray | None:
        """(K,) mean reward of the answers drawn in the step; None without rewards."""
        return self.measures.get("reward")

    @property
    def differing(self) -> np.ndarray | None:
        """(K,) share of prompts whose answers differ in reward; None without rewards."""
        return self.measures.get("differing")

    @property
    def entropy(self) -> np.ndarray | None:
        """(K,) entropy of the predictions on the answers drawn, nats per token; None without rewards."""
        return self.measures.get("entropy")

    @property
    def kl_to_start(self) -> np.ndarray | None:
        """(K,) KL(lane‖lane before its first step) on the answers drawn, nats per token; None without rewards."""
        return self.measures.get("kl_to_start")

    @property
    def eval_sampled(self) -> np.ndarray | None:
        """(K,) mean probability of the right held-out answers; None without rewards, and where not evaluated."""
        return self.measures.get("eval_sampled")

    @property
    def update_spectra(self) -> UpdateSpectra | None:
        """Spectra of ΔW in every lane and layer; None if not measured."""
        return self.measures.get("update_spectra")

    @property
    def curvature(self) -> Curvature | None:
        """Extreme eigenvalues of the Hessian on the first batch; None if not measured."""
        return self.measures.get("curvature")

    @property
    def gradients(self) -> Gradients | None:
        """Norms of gradients and updates by layer; None if not measured."""
        return self.measures.get("gradients")

    @property
    def factors(self) -> Factors | None:
        """Pictures of A and B, of some lanes and layers; None if none were taken."""
        return self.measures.get("factors")

    @property
    def out(self) -> np.ndarray:
        """(K,) which lanes have diverged."""
        return np.array([status == DIVERGED for status in self.status], dtype=bool)

    @property
    def early(self) -> np.ndarray:
        """(K,) which lanes have stopped early."""
        return np.array([status == STOPPED_EARLY for status in self.status], dtype=bool)

    def to_json(self, labels: Sequence[str]) -> dict[str, Any]:
        """Return the step as a line of ``steps.jsonl``: numbers by label, NaN as null."""
        line: dict[str, Any] = {"step": self.step}
        for key, value in self.measures.items():
            known = MEASURES.get(key)
            line[key] = known.to_json(value, labels) if known else by_label(value, labels)
        line["seconds"], line["tokens"] = round(self.seconds, 4), self.tokens
        line["diverged"] = [label for label, out in zip(labels, self.out, strict=True) if out]
        if self.early.any():
            line["stopped_early"] = [label for label, early in zip(labels, self.early, strict=True) if early]
        return line

    @classmethod
    def from_json(cls, values: dict[str, Any], labels: Sequence[str]) -> Step:
        """Read back what `to_json` wrote; a key that is not registered now holds (K,)."""
        measures: dict[str, Any] = {}
        for key, value in values.items():
            if key not in BESIDE:
                known = MEASURES.get(key)
                measures[key] = known.from_json(value, labels) if known else of_label(value, labels)
        rows = values.get("eval_examples", {})
        if any(row.get("deciding_loss") is not None for row in rows.values()):
            # Of an earlier version, whose held-out loss had the boilerplate.
            measures["eval_loss"] = of_label({label: row["deciding_loss"] for label, row in rows.items()}, labels)
        return cls(
            step=values["step"],
            measures=measures,
            seconds=values["seconds"],
            tokens=values["tokens"],
            status=statuses(
                np.array([label in values["diverged"] for label in labels]),
                early=np.array([label in values.get("stopped_early", ()) for label in labels]),
            ),
        )


def _per_lane(measures: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {key: value for key, value in measures.items() if isinstance(value, np.ndarray)}


def held_out_count(steps: Sequence[Step]) -> int:
    """Return on how many examples the lanes are evaluated; 0 while unknown."""
    return next((s.eval_examples.loss.shape[1] for s in steps if s.eval_examples is not None), 0)


def held_out_at_start(keep: Sequence[bool], base: float | None) -> np.ndarray:
    """Return the lanes' held-out results at step 0, (K,): the base model's, or NaN if not known.

    Args:
        keep: whether each lane keeps the model's function at the start.
        base: the base model's result; None while unknown.
    """
    known = np.nan if base is None else base
    return np.where(keep, known, np.nan)


def held_out_losses(
    lanes: Sequence[Lane], steps: Sequence[Step], base: float | None = None
) -> tuple[list[int], np.ndarray]:
    """Return the steps of the evaluations and the lanes' held-out losses there, (E, K); NaN where there is none.

    Args:
        lanes, steps: of a race.
        base: the base model's loss, which puts step 0 first; None while unknown, or to leave it out.
    """
    at = [step.step for step in steps if step.eval_loss is not None]
    losses = np.array([step.eval_loss for step in steps if step.eval_loss is not None]).reshape(-1, len(lanes))
    losses = np.where(np.isfinite(losses), losses, np.nan)
    if base is None or not steps or steps[0].step != 1:
        return at, losses
    return [0, *at], np.vstack([held_out_at_start([lane.keeps_function for lane in lanes], base), losses])


def whys_out(steps: Sequence[Step], K: int) -> list[str]:
    """Return why each of K lanes diverged, see `why_out`; empty for a lane that has not."""
    before = dict(zip((step.step for step in steps[1:]), steps, strict=False))
    return [
        why_out(before[at].grad_norm[k] if at in before else np.nan) if at else ""
        for k, at in enumerate(out_at(steps, K))
    ]


def out_at(steps: Sequence[Step], K: int) -> list[int]:
    """Return the step at which each of K lanes diverged, 0 for a lane that has not."""
    return _first_with(DIVERGED, steps, K)


def stopped_at(steps: Sequence[Step], K: int) -> list[int]:
    """Return the step at which each of K lanes stopped early, 0 for a lane that has not."""
    return _first_with(STOPPED_EARLY, steps, K)


def _first_with(status: str, steps: Sequence[Step], K: int) -> list[int]:
    """Return the first step of each lane's last status, 0 for a lane that has another one."""
    last = steps[-1].status if steps else ("",) * K
    return [
        next(step.step for step in steps if step.status[k] == status) if last[k] == status else 0 for k in range(K)
    ]


class AdapterOrigin(NamedTuple):
    """Where the adapter of a lane is from."""

    step: int
    """0 before the first step."""
    loss: float | None
    """Its held-out loss at that step; None if it was not evaluated there."""
    stopped_at: int
    """The step at which the lane stopped early; 0 if it has not."""
    text_loss: float | None
    """Its loss on the text to keep at that step, nats per token; None if that was not measured there."""
    drift: float | None
    """Its drift there, nats per token; None like `text_loss`."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        of_adapter = {f"adapter_{name}": getattr(self, name) for name in ("step", "loss", "text_loss", "drift")}
        return of_adapter | {"stopped_at": self.stopped_at or None}


def adapter_origins(
    config: RaceConfig, steps: Sequence[Step], text: AboutText | None = None, start_loss: float | None = None
) -> list[AdapterOrigin]:
    """Return where the adapters of a race's lanes are from, by the steps it has made.

    With ``keep_best`` that is the first of its lowest held-out losses, otherwise its last step. If the lanes may
    forget only so much, evaluations with more do not count, and the start does, as step 0.

    Args:
        text: about the text to keep; without it the limit is unknown, and the last step is taken.
        start_loss: held-out loss of the base model, nats; None while unknown.
    """
    evaluated = [step for step in steps if step.eval_loss is not None]
    forgotten = {step.step: (step.text_loss, step.drift) for step in steps}
    if text is not None:
        forgotten[0] = np.array(text.start_loss), np.array(text.start_drift)
    most = np.inf if config.forget is None else np.nan if text is None else text.loss + config.forget
    origins = []
    for k, stopped in enumerate(stopped_at(steps, len(config.lanes))):
        at_start = {0: np.inf if start_loss is None else start_loss} if config.forget is not None and text else {}
        losses = at_start | {
            step.step: float(step.eval_loss[k])
            for step in evaluated
            if step.eval_loss is not None and (most == np.inf or _text_loss(step, k) <= most)
        }
        finite = {number: loss for number, loss in losses.items() if np.isfinite(loss) or not number}
        last = stopped or (steps[-1].step if steps else 0)
        at = min(finite, key=finite.__getitem__) if config.keep_best and finite else last
        of_text = (None if values is None else finite_or_none(values[k]) for values in forgotten.get(at, (None, None)))
        origins.append(AdapterOrigin(at, finite_or_none(finite.get(at, np.nan)), stopped, *of_text))
    return origins


def _text_loss(step: Step, k: int) -> float:
    return np.nan if step.text_loss is None else float(step.text_loss[k])


OF_BEST = ("eval_loss", "eval_accuracy", "text_loss", "drift")
"""What `with_best_results` replaces beside the results by example."""


def with_best_results(
    config: RaceConfig, steps: Sequence[Step], text: AboutText | None = None, start_loss: float | None = None
) -> Sequence[Step]:
    """Return the steps, the last evaluation with the results of the adapters that are kept.

    With ``keep_best`` these are of each lane's best evaluation, chosen on the same examples, which flatters them; a
    diverged lane has none. Otherwise the steps are as they were.

    Args:
        text, start_loss: see `adapter_origins`. A lane of which the start is kept has no results by example.
    """
    evaluated = {step.step: step for step in steps if step.eval_loss is not None}
    if not config.keep_best or not evaluated:
        return steps
    last = evaluated[max(evaluated)]
    start = _start_of(last, text, start_loss)
    origins = zip(adapter_origins(config, steps, text, start_loss), steps[-1].out, strict=True)
    best = [last if out else evaluated.get(origin.step, last if origin.step else start) for origin, out in origins]
    keys = set(OF_BEST) & set(last.measures)
    chosen = {key: np.stack([step.measures[key][k] for k, step in enumerate(best)]) for key in keys}
    measures = {**last.measures, **chosen}
    examples = [step.eval_examples for step in best]
    if all(isinstance(of_step, Examples) for of_step in examples):
        measures["eval_examples"] = Examples(
            *(np.stack([getattr(e, each.name)[k] for k, e in enumerate(examples)]) for each in fields(Examples))
        )
    return [replace(step, measures=measures) if step is last else step for step in steps]


def _start_of(like: Step, text: AboutText | None, start_loss: float | None) -> Step:
    """Return what is known of the lanes before the first step, in the form of a later one."""
    unknown = np.full(len(like.loss), np.nan)
    measures: dict[str, Any] = dict.fromkeys(OF_BEST, unknown)
    if start_loss is not None:
        measures["eval_loss"] = np.full(len(unknown), start_loss)
    if text is not None:
        measures |= {"text_loss": np.array(text.start_loss), "drift": np.array(text.start_drift)}
    if (examples := like.eval_examples) is not None:
        shapes = (getattr(examples, each.name).shape for each in fields(Examples))
        measures["eval_examples"] = Examples(*(np.full(shape, np.nan) for shape in shapes))
    return replace(like, measures=measures)


def results_html(
    results: Mapping[str, Mapping[str, Any]],
    base: Mapping[str, Any],
    curves: Sequence[Sequence[float]],
    at: int,
    caption: str,
) -> Markup:
    """Return the results of a race's lanes so far, each with its curve, below those of the base model.

    Args:
        results: of each lane by its label, see `RaceState.of_lanes`.
        base: of the base model.
        curves: the training losses of each lane.
        at: the step of the last evaluation.
    """
    rows = [
        (label, sparkline(curve), nats(each["final_loss"]), percent(each["final_accuracy"]), each["status"])
        for (label, each), curve in zip(results.items(), curves, strict=True)
    ]
    start = ("base model", "", nats(base["loss"]), percent(base["accuracy"]), "")
    head = ["", "training loss", f"held-out loss at step {at}, nats", "held-out accuracy", "status"]
    return table(head, [start, *rows], caption)


def latest_factors(steps: Sequence[Step], upto: float | None = None) -> Step | None:
    """Return the last step with pictures, up to one; None before the first."""
    seen = (step for step in reversed(steps) if upto is None or step.step <= upto)
    return next((step for step in seen if step.factors is not None), None)

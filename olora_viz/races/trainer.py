"""Training of a race's lanes: gradients, updates, evaluation, and the best adapters."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from olora_viz.lanes.adapters import Lanes
from olora_viz.lanes.linear import Dropout
from olora_viz.lanes.memory import Footprint, pass_groups
from olora_viz.lanes.optimizer import MOMENTS, LaneOptimizer
from olora_viz.machine.process import Progress
from olora_viz.measures.gradients import GradientRecorder, without_gradient
from olora_viz.measures.training import Examples, Trained
from olora_viz.races.config import RaceConfig
from olora_viz.races.data import RaceData
from olora_viz.races.state import RaceState
from olora_viz.races.step import Step, stopped_at
from olora_viz.tasks import Batch
from olora_viz.tasks.batches import Size
from olora_viz.tasks.evaluation import Evaluation

BEST = "best_theta"
"""The parameters at the best evaluations, among the tensors of a checkpoint."""


class BestAdapters:
    """Rows of `theta` at the lanes' best evaluations.

    At the end of a race, `show` exchanges them with those of the last step; `hide` undoes it. The best evaluation of a
    lane may be that of the last step, whose rows need not be kept.

    Args:
        theta: (K, P), see `Lanes`; changed in place.
    """

    def __init__(self, theta: Tensor) -> None:
        self._theta, self._best = theta.detach(), torch.zeros_like(theta.detach())
        self._shown: Tensor | None = None

    def keep(self, lanes: np.ndarray) -> None:
        """Keep the present rows of some lanes, (K,) bool."""
        rows = self._mask(lanes)
        self._best[rows] = self._theta[rows]

    def show(self, lanes: np.ndarray) -> None:
        """Put the kept rows of some lanes, (K,) bool, into `theta`."""
        if self._shown is None:
            self._shown = self._mask(lanes)
            self._exchange(self._shown)

    def hide(self) -> None:
        """Put the rows of the last step back."""
        if self._shown is not None:
            self._exchange(self._shown)
            self._shown = None

    def snapshot(self) -> dict[str, Tensor]:
        """Return the rows of the last step and the kept ones, on the CPU."""
        theta, best = self._theta.cpu().clone(), self._best.cpu().clone()
        if self._shown is not None:
            rows = self._shown.cpu()
            theta[rows], best[rows] = best[rows], theta[rows]
        return {"theta": theta, BEST: best}

    def restore(self, best: Tensor) -> None:
        """Restore the kept rows; `theta` has those of the last step."""
        self._best.copy_(best)
        self._shown = None

    def _exchange(self, rows: Tensor) -> None:
        self._theta[rows], self._best[rows] = self._best[rows], self._theta[rows]

    def _mask(self, lanes: np.ndarray) -> Tensor:
        return torch.from_numpy(lanes).to(self._theta.device)


class AdapterOrigin(NamedTuple):
    """Where the adapter of a lane is from."""

    step: int
    """0 before the first step."""
    loss: float | None
    """Its held-out loss at that step; None if it was not evaluated there."""
    stopped_at: int
    """The step at which the lane stopped early; 0 if it has not."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"adapter_step": self.step, "adapter_loss": self.loss, "stopped_at": self.stopped_at or None}


def adapter_origins(config: RaceConfig, steps: Sequence[Step]) -> list[AdapterOrigin]:
    """Return where the adapters of a race's lanes are from, by the steps it has made.

    With ``keep_best`` that is the first of its lowest held-out losses, otherwise its last step.
    """
    evaluated = [(step.step, step.eval_loss) for step in steps if step.eval_loss is not None]
    origins = []
    for k, stopped in enumerate(stopped_at(steps, len(config.lanes))):
        losses = {number: float(loss[k]) for number, loss in evaluated}
        finite = {number: loss for number, loss in losses.items() if np.isfinite(loss)}
        last = stopped or (steps[-1].step if steps else 0)
        at = min(finite, key=finite.__getitem__) if config.keep_best and finite else last
        origins.append(AdapterOrigin(at, finite.get(at), stopped))
    return origins


def with_best_results(config: RaceConfig, steps: Sequence[Step]) -> Sequence[Step]:
    """Return the steps, the last evaluation with the results of the adapters that are kept.

    With ``keep_best`` these are of each lane's best evaluation, chosen on the same examples, which flatters them; a
    diverged lane has none. Otherwise the steps are as they were.
    """
    evaluated = {step.step: step for step in steps if step.eval_loss is not None}
    if not config.keep_best or not evaluated:
        return steps
    last = evaluated[max(evaluated)]
    origins = zip(adapter_origins(config, steps), steps[-1].out, strict=True)
    best = [last if out else evaluated.get(origin.step, last) for origin, out in origins]
    keys = {"eval_loss", "eval_accuracy"} & set(last.measures)
    chosen = {key: np.stack([step.measures[key][k] for k, step in enumerate(best)]) for key in keys}
    measures = {**last.measures, **chosen}
    examples = [step.eval_examples for step in best]
    if all(isinstance(of_step, Examples) for of_step in examples):
        measures["eval_examples"] = Examples(
            *(np.stack([getattr(e, each.name)[k] for k, e in enumerate(examples)]) for each in fields(Examples))
        )
    return [replace(step, measures=measures) if step is last else step for step in steps]


def backward(
    lanes: Lanes,
    data: RaceData,
    number: int,
    orders: Sequence[int],
    footprint: Footprint,
    recorder: GradientRecorder | None = None,
) -> Float[Tensor, " K"]:
    """Put the gradient of every lane's loss into ``lanes.theta.grad``, and return the losses.

    The loss of a batch is the mean over its supervised tokens. If its examples are read in several parts, each part is
    weighted by its share of those tokens, so that loss and gradient are those of the whole batch up to rounding.

    Args:
        number: of the step, 1 for the first.
        orders: the seed of each lane's order of examples.
        footprint: memory of a lane's tokens, which determines the groups of lanes.
        recorder: records the gradients at the layers' inputs.
    """
    parts = {order: data.parts(number, order) for order in dict.fromkeys(orders)}
    tokens = {order: sum(part.size.supervised for part in of_order) for order, of_order in parts.items()}
    every = [part for of_order in parts.values() for part in of_order]
    each = footprint.training.bytes(Size.covering(part.size for part in every))
    lanes.theta.grad = None
    losses = []
    for rows in pass_groups(lanes.plan, each):
        total = lanes.theta.new_zeros(rows.stop - rows.start)
        for i in range(len(every) // len(parts)):
            batches = [parts[order][i] for order in orders[rows]]
            sizes = [batch.size for batch in batches]
            share = total.new_tensor([n.supervised / tokens[o] for n, o in zip(sizes, orders[rows], strict=True)])
            shapes = [(size.rows, size.width) for size in sizes]
            wholes = [_whole(parts[order], i) for order in orders[rows]]
            dropout = Dropout(lanes.lanes[rows], (number, i), shapes, wholes)
            with lanes.some(rows, dropout), recorder.inputs(rows) if recorder else nullcontext():
                loss = data.losses(batches) * share
                loss.sum().backward()
            total += loss.detach()
        losses.append(total)
    return torch.cat(losses)


def _whole(parts: Sequence[Batch], i: int) -> tuple[int, int, int]:
    """Return the rows of a batch before its part i, and all its rows and tokens."""
    rows = [part.size.rows for part in parts]
    return sum(rows[:i]), sum(rows), max(part.size.width for part in parts)


SILENT = "without_gradient"
"""Among the tensors of a snapshot: which layers had no gradient, see `Trainer`."""


class Trainer:
    """Trains and evaluates the lanes of a race, in groups that fit into memory.

    Args:
        config: of the race.
        lanes: see `config`.
        data: see `config`.
        footprint: memory of one lane.
        baseline: the base model's held-out results.

    Attributes:
        without_gradient: the layers whose adapters received no gradient in any lane, in the first step that is known;
            None before it.
    """

    def __init__(
        self, config: RaceConfig, lanes: Lanes, data: RaceData, footprint: Footprint, baseline: Evaluation
    ) -> None:
        self._base_loss = float(baseline.loss[0])
        self._config, self._lanes, self._data = config, lanes, data
        self._footprint = footprint
        self._optimizer = LaneOptimizer(lanes.theta, lanes.lanes, lanes.sizes, lanes.frozen)
        self._recorder = GradientRecorder(lanes)
        self.without_gradient: list[str] | None = None
        self._best = BestAdapters(lanes.theta) if config.keep_best else None

    def update(self, number: int, state: RaceState) -> Trained:
        """Train the lanes that still train by one step, and record it in the race's state."""
        config, lanes = self._config, self._lanes
        orders = [config.order(lane) for lane in config.lanes]
        recorder = self._recorder if config.is_due("gradients", number) else None
        losses = backward(lanes, self._data, number, orders, self._footprint, recorder)
        assert lanes.theta.grad is not None
        if self.without_gradient is None:
            self.without_gradient = without_gradient(lanes)
        norms = torch.linalg.vector_norm(lanes.theta.grad, dim=1)
        loss, norm = torch.stack([losses, norms]).double().cpu().numpy()
        state.trained(number, loss, norm, self._base_loss)
        if recorder:
            recorder.before_update()
        overflown = self._optimizer.step(config.rates(number), norms, state.resting)
        state.lose(overflown, number)
        read = {order: self._data.tokens(number, order) for order in set(orders)}
        state.tokens += round(sum(read[order] for order in orders) / len(orders))
        return Trained(loss, norm, recorder.after_update() if recorder else None)

    def evaluate(self, progress: Progress, *, test: bool = False) -> Evaluation:
        """Evaluate all lanes on the held-out or the test examples.

        Args:
            progress: called several times in every pass; raises to stop.
        """
        each = self._footprint.evaluation.bytes(self._data.judged_size)
        what = "test" if test else "held-out"
        words = f"evaluating {len(self._data.judged(test))} {what} examples"
        parts = []
        for rows in pass_groups(self._lanes.plan, each):
            count = rows.stop - rows.start

            def report(part: float, first: int = rows.start, count: int = count) -> None:
                progress((first + part * count) / self._lanes.count, words)

            with self._lanes.some(rows):
                parts.append(self._data.evaluate(count, test=test, report=report))
        return Evaluation.joined(parts)

    def keep_best(self, state: RaceState, number: int) -> None:
        """Keep the adapters of the lanes that the evaluation of a step found best so far."""
        if self._best is not None and state.best is not None:
            self._best.keep(state.best.step == number)

    def show_best(self, state: RaceState, number: int) -> None:
        """Give the lanes their best adapters, if they are kept.

        Args:
            number: the step of the latest update: a lane that is best there stays as it is.
        """
        if self._best is not None and state.best is not None:
            self._best.show((state.best.step > 0) & (state.best.step < number))

    def hide_best(self) -> None:
        """Give the lanes the adapters of the latest update again."""
        if self._best is not None:
            self._best.hide()

    def check(self, snapshot: dict[str, Tensor], state: RaceState) -> None:
        """Check that the tensors of a `snapshot` and of a race's state have the right form.

        Raises:
            ValueError: they are of another race.
        """
        whole = tuple(self._lanes.theta.shape)
        shapes = {"theta": whole, "step": whole[:1], **dict.fromkeys(MOMENTS, whole)}
        shapes |= {BEST: whole} if self._best is not None else {}
        known = state.to_tensors()
        shapes |= {name: tuple(tensor.shape) for name, tensor in known.items()}
        integers = {"step"} | {n for n, tensor in known.items() if not tensor.is_floating_point()}
        for name, shape in shapes.items():
            actual = tuple(snapshot[name].shape) if name in snapshot else "missing"
            if actual != shape:
                raise ValueError(f"{name!r} is {actual} in the snapshot, {shape} in this race")
            if name not in integers and not snapshot[name].is_floating_point():
                dtype = str(snapshot[name].dtype).removeprefix("torch.")
                raise ValueError(f"{name!r} is of {dtype} in the snapshot, not of real numbers")

    def snapshot(self) -> dict[str, Tensor]:
        """Return the parameters and the optimizer's state, on the CPU."""
        theta = {"theta": self._lanes.theta.detach().cpu().clone()}
        if self._best is not None:
            theta = self._best.snapshot()
        if (names := self.without_gradient) is not None:
            theta[SILENT] = torch.tensor([layer in names for layer in self._lanes.layers])
        return {**theta, **self._optimizer.state()}

    @torch.no_grad()
    def restore(self, snapshot: dict[str, Tensor], state: RaceState, number: int) -> None:
        """Restore a `snapshot`.

        Args:
            state: the race's state that goes with it, and the step of the latest update.
            number: see `state`.
        """
        self._lanes.theta.copy_(snapshot["theta"])
        self._optimizer.restore(snapshot)
        if SILENT in snapshot:
            layers = zip(self._lanes.layers, snapshot[SILENT].tolist(), strict=True)
            self.without_gradient = [layer for layer, is_silent in layers if is_silent]
        if self._best is not None:
            self._best.restore(snapshot[BEST])
            self.keep_best(state, number)

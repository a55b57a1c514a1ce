"""Training of a race's lanes: their state, gradients, updates and evaluation, and the two parts of a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from olora_viz.lanes.adapters import Lanes
from olora_viz.lanes.groups import as_base, by_group, groups_of, on_a_core
from olora_viz.lanes.linear import Dropout
from olora_viz.lanes.memory import Footprint
from olora_viz.lanes.optimizer import ALONG, BEST, MOMENTS, BeforeUpdate, BestAdapters, LaneOptimizer
from olora_viz.lanes.subspace import subspaces
from olora_viz.machine.process import Progress
from olora_viz.machine.tables import finite_or_none
from olora_viz.measures.forgetting import Forgotten
from olora_viz.measures.gradients import GradientRecorder, without_gradient
from olora_viz.measures.training import Trained
from olora_viz.races.config import RaceConfig
from olora_viz.races.data import RaceData
from olora_viz.races.objectives import OBJECTIVES, Imitation
from olora_viz.races.replay import Replay
from olora_viz.races.step import Step, statuses, why_out
from olora_viz.tasks.batches import Batch, Size
from olora_viz.tasks.evaluation import Evaluation, figures_of

R = TypeVar("R")

BEST_TEXT = "best_text"
"""Among the tensors of a checkpoint: the results on the text to keep when each lane was best."""


@dataclass
class BestSoFar:
    """When each of K lanes was best, and which have stopped early; part of `RaceState`."""

    loss: np.ndarray
    """(K,) the lowest held-out loss, infinite before the first evaluation."""
    step: np.ndarray
    """(K,) the step of its first occurrence, 0 before."""
    waited: np.ndarray
    """(K,) evaluations since then."""
    stopped_at: np.ndarray
    """(K,) the step at which a lane stopped early, 0 if it has not."""
    forgotten: Forgotten | None = None
    """The results on the text to keep at that of `step`; None without a text."""

    @classmethod
    def at_start(cls, K: int, forgotten: Forgotten | None, start_loss: np.ndarray | None) -> BestSoFar:
        """Return the state before the first evaluation.

        Args:
            forgotten: the results on the text to keep.
            start_loss: (K,) of the lanes, if the start counts as an evaluation.
        """
        loss = np.full(K, np.inf) if start_loss is None else start_loss.copy()
        return cls(loss, *np.zeros((3, K), dtype=np.int64), forgotten=forgotten)

    def evaluated(
        self, number: int, loss: np.ndarray, out: np.ndarray, patience: int, forgotten: Forgotten | None = None
    ) -> None:
        """Record the evaluation of a step.

        Args:
            loss: infinite where the step does not count.
            patience: evaluations without a lower loss after which a lane stops; 0 for never.
        """
        racing = ~out & (self.stopped_at == 0)
        better = racing & (loss < self.loss)
        if self.forgotten is not None and forgotten is not None:
            pairs = zip(forgotten, self.forgotten, strict=True)
            self.forgotten = Forgotten(*(np.where(better, now, before) for now, before in pairs))
        self.loss = np.where(better, loss, self.loss)
        self.step = np.where(better, number, self.step)
        self.waited = np.where(better, 0, self.waited + racing)
        if patience:
            self.stopped_at[racing & (self.waited >= patience)] = number

    def of_lane(self, k: int) -> dict[str, Any]:
        """Return what is known of lane k as plain values."""
        known = bool(np.isfinite(self.loss[k]))
        return {
            "best_loss": float(self.loss[k]) if known else None,
            "best_step": int(self.step[k]) if known else None,
            "stopped_at": int(self.stopped_at[k]) or None,
        }

    def to_tensors(self) -> dict[str, Tensor]:
        """Return it as (4, K), and the results on the text to keep as (2, K)."""
        clock = {"best": torch.tensor(np.stack([self.loss, self.step, self.waited, self.stopped_at]))}
        return clock if self.forgotten is None else clock | {BEST_TEXT: torch.tensor(np.stack(self.forgotten))}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> BestSoFar | None:
        """Read back what `to_tensors` returned; None if it is not among the tensors."""
        if "best" not in tensors:
            return None
        loss, *counts = tensors["best"].numpy().copy()
        forgotten = Forgotten(*tensors[BEST_TEXT].numpy().copy()) if BEST_TEXT in tensors else None
        return cls(loss, *(each.astype(np.int64) for each in counts), forgotten=forgotten)


STATE_OF_LANES = ("diverged_at", "last_loss", "first_grad_norm", "last_grad_norm")
"""The arrays of `RaceState`, and their names in a checkpoint."""


@dataclass
class RaceState:
    """The clock of a race and the last results of its K lanes."""

    diverged_at: np.ndarray
    """(K,) the step at which a lane diverged, 0 if it has not."""
    last_loss: np.ndarray
    """(K,) the last finite training loss."""
    first_grad_norm: np.ndarray
    """(K,) the gradient's norm at the first step."""
    last_grad_norm: np.ndarray
    """(K,) the gradient's norm at the last step before the lane diverged."""
    last_eval: Evaluation
    """The last held-out results, NaN for a lane that had diverged."""
    last_eval_step: int = 0
    done: int = 0
    seconds: float = 0.0
    tokens: int = 0
    best: BestSoFar | None = None
    """When each lane was best; None if the race does not follow it."""

    @classmethod
    def at_start(
        cls,
        evaluation: Evaluation,
        *,
        follows_best: bool = False,
        forgotten: Forgotten | None = None,
        limited: bool = False,
    ) -> RaceState:
        """Return the state before the first step, from the lanes' held-out results.

        Args:
            follows_best: whether the race follows when each lane is best.
            forgotten: the lanes' results on the text to keep.
            limited: whether they may forget only so much, so that the start counts as an evaluation.
        """
        K = len(evaluation.loss)
        return cls(
            diverged_at=np.zeros(K, dtype=np.int64),
            last_loss=np.full(K, np.nan),
            first_grad_norm=np.full(K, np.nan),
            last_grad_norm=np.full(K, np.nan),
            last_eval=evaluation,
            best=BestSoFar.at_start(K, forgotten, evaluation.loss if limited else None) if follows_best else None,
        )

    def copy(self) -> RaceState:
        """Return a copy, which changes alone."""
        return deepcopy(self)

    @property
    def out(self) -> np.ndarray:
        """(K,) which lanes have diverged."""
        return self.diverged_at > 0

    @property
    def early(self) -> np.ndarray:
        """(K,) which lanes have stopped early."""
        return np.zeros_like(self.out) if self.best is None else self.best.stopped_at > 0

    @property
    def resting(self) -> np.ndarray:
        """(K,) which lanes train no more."""
        return self.out | self.early

    def lose(self, lanes: np.ndarray, number: int) -> None:
        """Mark lanes (K,) as diverged at a step, unless they train no more."""
        self.diverged_at[lanes & ~self.resting] = number

    def trained(self, number: int, loss: np.ndarray, norm: np.ndarray, untrained: float) -> None:
        """Record a step's losses and gradient norms.

        A lane diverges if they are not finite, or if it cannot learn any more: its gradient, which was not zero at the
        start, is exactly zero for two steps, and its loss is above that of one untrained. A lane that has learned
        everything has a gradient of zero and a lower loss.

        Args:
            untrained: the loss of a lane that has learned nothing, see `Imitation.of_untrained`.
        """
        self.lose(~(np.isfinite(loss) & np.isfinite(norm)), number)
        silent = (norm == 0) & (self.last_grad_norm == 0) & (self.first_grad_norm > 0)
        self.lose(silent & (np.minimum(loss, self.last_loss) > untrained), number)
        if number == 1:
            self.first_grad_norm = norm
        self.last_loss = np.where(self.out, self.last_loss, loss)
        self.last_grad_norm = np.where(self.out, self.last_grad_norm, norm)

    def evaluated(
        self,
        number: int,
        evaluation: Evaluation,
        patience: int = 0,
        forgotten: Forgotten | None = None,
        most: float = np.inf,
    ) -> None:
        """Record a step's held-out results; a lane diverges if its loss is not finite.

        Args:
            forgotten: its results on the text to keep.
            most: the highest loss there with which the evaluation counts as a lane's best.
        """
        self.lose(~np.isfinite(evaluation.loss), number)
        evaluation.lose(self.out)
        self.last_eval, self.last_eval_step = evaluation, number
        if self.best is not None:
            within = True if forgotten is None else forgotten.text_loss <= most
            self.best.evaluated(number, np.where(within, evaluation.loss, np.inf), self.out, patience, forgotten)

    def of_lanes(self, labels: Sequence[str], status: str) -> dict[str, dict[str, Any]]:
        """Return each lane's results as plain values; diverged lanes have no final results."""
        of_lanes = statuses(self.out, status, self.early)
        return {
            label: {
                "status": of_lanes[k],
                **figures_of(None if out else self.last_eval, k, "final_"),
                "final_loss_step": None if out else self.last_eval_step,
                "train_loss": finite_or_none(self.last_loss[k]),
                "first_grad_norm": finite_or_none(self.first_grad_norm[k]),
                "diverged_at": int(self.diverged_at[k]) or None,
                "diverged_why": why_out(self.last_grad_norm[k]) if out else None,
                **({} if self.best is None else self.best.of_lane(k)),
            }
            for k, (label, out) in enumerate(zip(labels, self.out, strict=True))
        }

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the state as tensors."""
        clock = [self.done, self.seconds, self.tokens, self.last_eval_step]
        return {
            **{name: torch.tensor(getattr(self, name)) for name in STATE_OF_LANES},
            "last_eval": torch.tensor(np.stack([self.last_eval.loss, self.last_eval.accuracy])),
            "clock": torch.tensor(clock, dtype=torch.float64),
            **({} if self.best is None else self.best.to_tensors()),
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> RaceState:
        """Read back what `to_tensors` returned."""
        done, seconds, tokens, last_eval_step = tensors["clock"].tolist()
        return cls(
            **{name: tensors[name].numpy().copy() for name in STATE_OF_LANES},
            last_eval=Evaluation.of_totals(*tensors["last_eval"].numpy().copy()),
            last_eval_step=int(last_eval_step),
            done=int(done),
            seconds=seconds,
            tokens=int(tokens),
            best=BestSoFar.from_tensors(tensors),
        )


def backward(
    lanes: Lanes,
    data: RaceData,
    number: int,
    orders: Sequence[int],
    footprint: Footprint,
    recorder: GradientRecorder | None = None,
    groups: int = 1,
    replay: Replay | None = None,
    objective: Imitation | None = None,
) -> Float[Tensor, " K"]:
    """Put the gradient of every lane's loss into ``lanes.theta.grad``, and return the losses on the task.

    The loss of a batch is the mean over its supervised tokens. If its examples are read in several parts, each part is
    weighted by its share of those tokens, so that loss and gradient are those of the whole batch up to rounding.

    Args:
        orders: the seed of each lane's order of examples.
        footprint: memory of a lane's tokens, which determines the groups of lanes.
        groups: their least number.
        replay: what lanes replay of the text to keep, which is part of their gradients and not of the losses.
        objective: what they learn from; by default right answers.
    """
    objective = objective or Imitation(RaceConfig(lanes=lanes.lanes), data, lanes)
    parts = objective.parts(number, orders)
    every = [part for of_lane in {id(of_lane): of_lane for of_lane in parts}.values() for part in of_lane]
    each = footprint.training.bytes(Size.covering(part.size for part in every))
    gradient = torch.empty_like(lanes.theta)

    def run(rows: slice, theta: Tensor, _: Progress) -> Tensor:
        total = theta.new_zeros(len(orders[rows]))
        for i in range(len(parts[0])):
            batches = [of_lane[i] for of_lane in parts[rows]]
            shapes = [(batch.size.rows, batch.size.width) for batch in batches]
            share = objective.shares(parts[rows], i)
            # Before the forward pass, on whose end a copy to a GPU would wait.
            weights = total.new_tensor(share) if any(part != 1.0 for part in share) else 1.0
            wholes = [_whole(of_lane, i) for of_lane in parts[rows]]
            kept = total.new_tensor([1.0 - lane.replay for lane in lanes.lanes[rows]]) if replay else 1.0
            positions = data.positions(batches)
            dropout = Dropout(lanes.lanes[rows], (number, i), shapes, wholes, positions)
            with lanes.some(rows, dropout), recorder.inputs(rows) if recorder else nullcontext():
                loss = objective.losses(rows, i, batches) * weights
                (loss * kept).sum().backward()
            total += loss.detach()
        if theta is not lanes.theta and theta.grad is not None:
            gradient[rows] = theta.grad
        return total

    lanes.theta.grad = None
    losses = torch.cat(by_group(lanes, each, run, least=groups))
    if lanes.theta.grad is None:
        lanes.theta.grad = gradient
    if replay is not None:
        replay.backward(lanes, number, orders, footprint, recorder)
    return objective.reported(losses)


def _whole(parts: Sequence[Batch], i: int) -> tuple[int, int, int]:
    """Return the rows of a batch before its part i, and all its rows and tokens."""
    rows = [part.size.rows for part in parts]
    return sum(rows[:i]), sum(rows), max(part.size.width for part in parts)


def judged(
    lanes: Lanes, data: RaceData, footprint: Footprint, progress: Progress, *, test: bool = False, groups: int = 1
) -> Evaluation:
    """Evaluate all lanes on the held-out or the test examples, in at least so many groups."""
    words = f"evaluating {len(data.judged(test))} {'test' if test else 'held-out'} examples"
    each, run = footprint.evaluation.bytes(data.judged_size), partial(data.evaluate, test=test)
    return Evaluation.joined(_in_groups(lanes, each, run, progress, words, groups))


def _in_groups(
    lanes: Lanes, each: float, run: Callable[..., R], progress: Progress, words: str, groups: int
) -> list[R]:
    """Return what `run` returns for each group of lanes whose passes, of so many bytes a lane, fit into memory."""

    def evaluated(rows: slice, _: Tensor, tell: Progress) -> R:
        return run(rows.stop - rows.start, report=lambda part: tell(part, words))

    return by_group(lanes, each, evaluated, progress, least=groups)


SILENT = "without_gradient"
"""Among the tensors of a snapshot: which layers had no gradient, see `Trainer`."""

RANKS = "ranks"
"""Among the tensors of a snapshot: the rank of each lane by layer, if a lane has `Lane.rank_by`."""


class Trainer:
    """Trains and evaluates the lanes of a race, in groups that fit into memory.

    Attributes:
        without_gradient: the layers whose adapters received no gradient in any lane, in the first step that is known;
            None before it.
        before: what `undo` puts back, from before the latest update until the race has recorded it.
    """

    def __init__(
        self, config: RaceConfig, lanes: Lanes, data: RaceData, footprint: Footprint, baseline: Evaluation,
        progress: Progress | None = None,
    ) -> None:  # fmt: skip
        self._config, self._lanes, self._data = config, lanes, data
        self._footprint = footprint
        self._groups = groups_of(lanes.plan, footprint.training.bytes(data.trained_with(config.prompts_in_pass)))
        spaces = subspaces(lanes.plan, lanes.theta, lanes.frozen)
        self._optimizer = LaneOptimizer(lanes.theta, lanes.lanes, lanes.plan.layout, lanes.frozen, spaces)
        self._recorder = GradientRecorder(lanes)
        self._replay = Replay.of(config, data, lanes, progress)
        self._objective = OBJECTIVES[config.objective](config, data, lanes)
        base_loss = data.about_held_out.supervised_loss(baseline.loss, baseline.boilerplate_loss)[0]
        self._untrained = self._objective.of_untrained(float(base_loss))
        self.without_gradient: list[str] | None = None
        self.before: BeforeUpdate | None = None
        self._best = BestAdapters(lanes.theta) if config.keep_best else None

    def update(self, number: int, state: RaceState) -> Trained:
        """Train the lanes that still train by one step, and record it in the race's state."""
        config, lanes = self._config, self._lanes
        self._recorder.begin()
        orders = [config.order(lane) for lane in config.lanes]
        read = {order: self._data.tokens(number, order) for order in set(orders)}
        state.tokens += round(sum(read[order] for order in orders) / len(orders))
        recorder = self._recorder if config.is_due("gradients", number) else None
        losses = backward(
            lanes, self._data, number, orders, self._footprint, recorder, self._groups, self._replay, self._objective
        )
        return on_a_core(lanes.plan, lambda _: self._move(number, state, losses, recorder))

    def _move(self, number: int, state: RaceState, losses: Tensor, recorder: GradientRecorder | None) -> Trained:
        """Update the lanes by the gradients of a step."""
        config, lanes = self._config, self._lanes
        assert lanes.theta.grad is not None
        if self.without_gradient is None:
            self.without_gradient = without_gradient(lanes)
        norms = self._optimizer.norms()
        loss, norm = torch.stack([losses, norms]).cpu().double().numpy()
        state.trained(number, loss, norm, self._untrained)
        if recorder:
            recorder.before_update()
        self.before = before = self._optimizer.before_update()
        state.lose(self._optimizer.step(config.rates(number), norms, state.resting, before), number)
        return Trained(loss, norm, recorder.after_update() if recorder else None, self._objective.measurements())

    def undo(self, *, keeps_gradient: bool) -> None:
        """Undo an update that was cut short, or not recorded; it may be called again if it was cut short itself."""
        if self.before is not None:
            self._optimizer.undo(self.before)
            self.before = None
        if not keeps_gradient:
            self._lanes.theta.grad = None

    def evaluate(self, progress: Progress, *, test: bool = False) -> Evaluation:
        """Evaluate all lanes on the held-out or the test examples."""
        return judged(self._lanes, self._data, self._footprint, progress, test=test, groups=self._groups)

    def forgotten(self, progress: Progress) -> Forgotten:
        """Measure all lanes on the text to keep."""
        data, words = self._data, "reading the text to keep"
        each = self._footprint.evaluation.bytes(data.text_with(data.text_rows))
        return Forgotten.joined(_in_groups(self._lanes, each, data.forgotten, progress, words, self._groups))

    def task_drift(self, progress: Progress) -> np.ndarray:
        """Return the mean KL(base‖lane) at the right held-out answers, (K,), nats per token."""
        data, words = self._data, "reading the held-out answers"
        read = as_base(self._lanes, lambda _: data.predicted_answers(), progress)
        each = self._footprint.evaluation.bytes(data.judged_with(data.judged_rows))
        of_groups = _in_groups(self._lanes, each, partial(data.forgotten, read=read), progress, words, self._groups)
        return Forgotten.joined(of_groups).drift

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
            self._best.show(np.isfinite(state.best.loss) & (state.best.step < number))

    def hide_best(self) -> None:
        """Give the lanes the adapters of the latest update again."""
        if self._best is not None:
            self._best.hide()

    @property
    def _ranks(self) -> list[list[int]]:
        return [list(of_lanes) for of_lanes in self._lanes.plan.ranks.values()]

    def check(self, snapshot: dict[str, Tensor], state: RaceState) -> None:
        """Check that the tensors of a `snapshot` and of a race's state have the right form."""
        whole = tuple(self._lanes.theta.shape)
        shapes = {"theta": whole, "step": whole[:1], **dict.fromkeys(MOMENTS, whole)}
        shapes |= {BEST: whole} if self._best is not None else {}
        dims = [lane.dim for lane in self._lanes.lanes if lane.dim is not None]
        shapes |= {ALONG: (sum(dims),)} if dims else {}
        known = state.to_tensors()
        shapes |= {name: tuple(tensor.shape) for name, tensor in known.items()}
        integers = {"step"} | {n for n, tensor in known.items() if not tensor.is_floating_point()}
        if self._lanes.plan.ranked and snapshot.get(RANKS, torch.empty(0)).tolist() != self._ranks:
            raise ValueError("the ranks by layer come out otherwise here than where the race began")
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
        if self._lanes.plan.ranked:
            theta[RANKS] = torch.tensor(self._ranks)
        return {**theta, **self._optimizer.state()}

    @torch.no_grad()
    def restore(self, snapshot: dict[str, Tensor], state: RaceState, number: int) -> None:
        """Restore a `snapshot`.

        Args:
            state, number: the race's state that goes with it, and the step of the latest update.
        """
        self._lanes.theta.copy_(snapshot["theta"])
        self._optimizer.restore(snapshot)
        if SILENT in snapshot:
            layers = zip(self._lanes.layers, snapshot[SILENT].tolist(), strict=True)
            self.without_gradient = [layer for layer, is_silent in layers if is_silent]
        if self._best is not None:
            self._best.restore(snapshot[BEST])
            self.keep_best(state, number)


FORGOTTEN = "forgotten"
"""Among the tensors of a snapshot: the latest results on the text to keep."""

SHORTER = "shorter_"
"""How the names of the state begin from which a race of more steps goes on: that before the last evaluation, if this
is made only because the race ends."""


@dataclass(frozen=True)
class Reached:
    """How far a race is.

    Attributes:
        state: the clock and the state of every lane.
        forgotten: the latest results on the text to keep; None without one.
        updated: loss and gradients of a step whose evaluation is still to be made.
        shorter: the state from which a race of more steps goes on, see `SHORTER`.
        unseen: a step that is complete, but its loop was interrupted.
    """

    state: RaceState
    forgotten: Forgotten | None
    updated: Trained | None = None
    shorter: RaceState | None = None
    unseen: Step | None = None

    def to_tensors(self) -> dict[str, Tensor]:
        """Return it as tensors, without a step that is unseen."""
        tensors = self.state.to_tensors() | (self.updated.to_tensors() if self.updated else {})
        if self.forgotten is not None:
            tensors[FORGOTTEN] = torch.tensor(np.stack(self.forgotten))
        if self.shorter is not None:
            tensors |= {SHORTER + name: tensor for name, tensor in self.shorter.to_tensors().items()}
        return tensors

    def restored(self, tensors: dict[str, Tensor], layers: tuple[str, ...], steps: int) -> Reached:
        """Read back what `to_tensors` returned, in a race that is to have so many steps."""
        state = RaceState.from_tensors(tensors)
        shorter = {name.removeprefix(SHORTER): each for name, each in tensors.items() if name.startswith(SHORTER)}
        before = RaceState.from_tensors(shorter) if shorter else None
        if before is not None and state.done < steps:
            state, before = before, None
        forgotten = Forgotten(*tensors[FORGOTTEN].numpy().copy()) if FORGOTTEN in tensors else self.forgotten
        return Reached(state, forgotten, Trained.from_tensors(tensors, layers), before)


class StepTransaction:
    """Keeps what a part of a step, its update or what is measured after it, has changed, or undoes it.

    Attributes:
        now: how far the race is; within a part, with what it has staged.
        whole: the same after the latest part that is complete.
        torn: whether a part is halfway, so that parameters and clock may not belong together.
    """

    def __init__(self, trainer: Trainer, start: Reached) -> None:
        self._trainer, self.torn = trainer, False
        self.now = self.whole = start

    def begin(self) -> RaceState:
        """Begin a part, and return a copy of the state, which it may change."""
        self.torn = True
        return self.now.state.copy()

    def stage(self, **changes: Any) -> None:
        """Show fields of `Reached` as a part has them."""
        self.now = replace(self.now, **changes)

    def commit(self, **changes: Any) -> None:
        """End a part, and keep what it has staged and other changes."""
        now = replace(self.now, **changes)
        # In one statement, within which no interrupt is handled.
        self.now, self.whole, self._trainer.before, self.torn = now, now, None, False

    def undo(self) -> None:
        """Undo what a part that was cut short has left; it may be cut short and called again."""
        if self.torn:
            self._trainer.undo(keeps_gradient=self.whole.updated is not None)
            self.now, self.torn = self.whole, False

    def restore(self, snapshot: dict[str, Tensor], layers: tuple[str, ...], steps: int) -> None:
        """Go on from the tensors of a snapshot."""
        self.torn = True
        now = self.now.restored(snapshot, layers, steps)
        self._trainer.restore(snapshot, now.state, now.state.done + (now.updated is not None))
        self.stage(**vars(now))
        self.commit()

"""Training of a race's lanes: updates, evaluation, and the parameters and moments for resuming."""

from __future__ import annotations

import torch
from torch import Tensor

from olora_viz.lanes.adapters import Lanes
from olora_viz.lanes.chunks import pass_groups
from olora_viz.lanes.footprint import Footprint
from olora_viz.lanes.optimizer import MOMENTS, LaneOptimizer
from olora_viz.machine.progress import Progress
from olora_viz.measures.gradients import GradientRecorder, without_gradient
from olora_viz.measures.training import Trained
from olora_viz.races.backward import backward
from olora_viz.races.best import BEST, BestAdapters
from olora_viz.races.config import RaceConfig
from olora_viz.races.data import RaceData
from olora_viz.races.state import RaceState
from olora_viz.tasks.evaluation import Evaluation

SILENT = "without_gradient"
"""Among the tensors of a snapshot: which layers had no gradient, see `Trainer`."""


class Trainer:
    """Trains and evaluates the lanes of a race, in groups that fit into memory.

    Parameters
    ----------
    config, lanes, data : of the race.
    footprint : memory of one lane.
    baseline : the base model's held-out results.

    Attributes
    ----------
    without_gradient : the layers whose adapters received no gradient in any lane, in the first step
        that is known; None before it.
    """

    def __init__(
        self,
        config: RaceConfig,
        lanes: Lanes,
        data: RaceData,
        footprint: Footprint,
        baseline: Evaluation,
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

        Parameters
        ----------
        progress : called several times in every pass; raises to stop.
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

        Parameters
        ----------
        number : the step of the latest update: a lane that is best there stays as it is.
        """
        if self._best is not None and state.best is not None:
            self._best.show((state.best.step > 0) & (state.best.step < number))

    def hide_best(self) -> None:
        """Give the lanes the adapters of the latest update again."""
        if self._best is not None:
            self._best.hide()

    def check(self, snapshot: dict[str, Tensor], state: RaceState) -> None:
        """Check that the tensors of a `snapshot` and of a race's state have the right form.

        Raises
        ------
        ValueError : they are of another race.
        """
        whole = tuple(self._lanes.theta.shape)
        shapes = {"theta": whole, "step": whole[:1], **dict.fromkeys(MOMENTS, whole)}
        shapes |= {BEST: whole} if self._best is not None else {}
        known = state.to_tensors()
        shapes |= {name: tuple(tensor.shape) for name, tensor in known.items()}
        integers = {"step"} | {n for n, tensor in known.items() if not tensor.is_floating_point()}
        for name, shape in shapes.items():
            found = tuple(snapshot[name].shape) if name in snapshot else "missing"
            if found != shape:
                raise ValueError(f"{name!r} is {found} in the snapshot, {shape} in this race")
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

        Parameters
        ----------
        state, number : the race's state that goes with it, and the step of the latest update.
        """
        self._lanes.theta.copy_(snapshot["theta"])
        self._optimizer.restore(snapshot)
        if SILENT in snapshot:
            layers = zip(self._lanes.layers, snapshot[SILENT].tolist(), strict=True)
            self.without_gradient = [layer for layer, is_silent in layers if is_silent]
        if self._best is not None:
            self._best.restore(snapshot[BEST])
            self.keep_best(state, number)

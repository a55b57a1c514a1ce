"""The training step of a race as one CUDA graph: forward and backward passes and the update, without the CPU.

This has not been run on a GPU yet; `SWITCH` turns it on. Its logic is tested on a CPU, with a stand-in for torch's
capture that records the operations of a step and repeats them.

The first step with a number above 1 that needs no measurement within it is made as always. Then the step is captured
with the batch of the step before, replayed from the same state with its own, and compared. What cannot be captured, or
differs beyond rounding, is dropped with a warning, and the race goes on as without the switch.

Results are those of the ordinary step up to rounding: batches are padded to one size, and learning rates are float32.
Of the race's laws on bits, these hold with a graph: the same set-up gives the same steps on the same device, also
across pauses, interrupts and repeated steps of one race, and lanes cannot touch each other. A race that goes on from a
checkpoint begins with an ordinary step, so from there on its steps are the same up to rounding only.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from olora_viz.lanes.adapters import Lanes
from olora_viz.lanes.experts import unrolled
from olora_viz.lanes.optimizer import BeforeUpdate, LaneOptimizer
from olora_viz.machine.files import reason
from olora_viz.races.config import RaceConfig
from olora_viz.tasks.batches import Batch, Size

if TYPE_CHECKING:
    from olora_viz.races.data import RaceData

SWITCH = "OLORA_VIZ_CUDA_GRAPH"
"""The environment variable that turns graphs on, with 1. Not a field of `RaceConfig`: like the memory of a pass, it
changes what a race computes by rounding only, so a race is the same with and without it."""

DEVICE = "cuda"
"""The type of the devices that capture."""

IGNORED = -100
"""The target of padding, which `cross_entropy` ignores."""


def is_on(env: Mapping[str, str] = os.environ) -> bool:
    """Whether the switch is on.

    >>> is_on({}), is_on({"OLORA_VIZ_CUDA_GRAPH": "1"})
    (False, True)
    """
    text = env.get(SWITCH, "").strip()
    if text not in ("", "0", "1"):
        raise ValueError(f"{SWITCH} must be 0 or 1, not {text!r}")
    return text == "1"


def may_capture(config: RaceConfig, lanes: Lanes) -> bool:
    """Whether the switch is on and nothing prevents a graph; a warning says what does."""
    why = obstacle(config, lanes) if is_on() else ""
    if why:
        _warn(why)
    return is_on() and not why


def _warn(why: str) -> None:
    warnings.warn(f"the step of the race is not a CUDA graph: {why}", stacklevel=2)


def obstacle(config: RaceConfig, lanes: Lanes) -> str:
    """Return why the step of a race cannot be captured; empty if nothing is known to prevent it."""
    plan = lanes.plan
    hooks = [
        (getattr(hook, "__module__", None) or "").split(".")[0]
        for module in plan.model.modules()
        for of_kind in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
        for hook in of_kind.values()
    ]
    if any(lane.dropout for lane in plan.lanes):
        return "the masks of dropout are drawn from seeds that the CPU sets in every step"
    if plan.dense:
        return "full fine-tuning copies its list of lanes to the GPU in every layer"
    if unrolled(plan.layers):
        return "how many tokens an expert reads depends on the data"
    if config.accumulate > 1:
        return f"a batch is computed in {config.accumulate} parts"
    if config.gradients_every == 1:
        return "gradients are measured within every step"
    if not {"olora_viz", "transformers"}.issuperset(hooks):
        return "the model has hooks of its own"
    if plan.device.type != DEVICE:
        return f"the race computes on {plan.device.type.upper()}, not on {DEVICE.upper()}"
    return ""


class FixedBatches:
    """The batches of a step in buffers of one size, in the place of `RaceData` for the training step.

    A batch is padded with rows, with tokens at the right of every row, and with supervised tokens that count nothing:
    no supervised token attends to padding, so losses and gradients are those of the batch, up to rounding.

    Args:
        size: of the largest batch.
        orders: the seed of each lane's order of examples.
    """

    unpads = False
    """The buffers keep their size."""

    def __init__(self, data: RaceData, size: Size, orders: Sequence[int], device: torch.device) -> None:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.int64, device=device)

        self._data = data
        self._batches = {
            order: Batch(zeros(size.rows, size.width), *(zeros(size.supervised) for _ in range(3)))
            for order in dict.fromkeys(orders)
        }

    def write(self, number: int) -> None:
        """Copy the batches of a step into the buffers."""
        for order, fixed in self._batches.items():
            (batch,) = self._data.parts(number, order)
            (rows, width), n = batch.input_ids.shape, len(batch.index)
            fixed.input_ids.zero_()[:rows, :width] = batch.input_ids
            fixed.index.zero_()[:n] = batch.index // width * fixed.input_ids.shape[1] + batch.index % width
            fixed.targets.fill_(IGNORED)[:n] = batch.targets

    def parts(self, number: int, order: int) -> list[Batch]:
        """Return the buffers of an order, whatever the number of the step."""
        return [self._batches[order]]

    def losses(self, batches: Sequence[Batch]) -> Tensor:
        """Return the losses (K,) of the active lanes: means over the supervised tokens without padding."""
        counts = torch.stack([(batch.targets != IGNORED).sum() for batch in batches])
        return self._data.losses(batches) * (len(batches[0].targets) / counts)


class GraphedStep:
    """A step as a CUDA graph, once it has been captured and compared with an ordinary step.

    Args:
        gradients: puts the gradients of all lanes on given batches into ``theta.grad``, and returns the losses (K,).

    Attributes:
        proved: whether `run` may be called.
    """

    def __init__(
        self,
        config: RaceConfig,
        lanes: Lanes,
        data: RaceData,
        optimizer: LaneOptimizer,
        gradients: Callable[[FixedBatches], Tensor],
    ) -> None:
        self._config, self._lanes, self._optimizer, self._gradients = config, lanes, optimizer, gradients
        self.proved = False
        theta, orders = lanes.theta, [config.order(lane) for lane in config.lanes]
        self._batches = FixedBatches(data, data.trained_with(config.prompts_in_pass), orders, theta.device)
        self._rates = theta.new_zeros(lanes.count, dtype=torch.float32)  # as torch's kernel reads them
        self._results = theta.new_zeros(2, lanes.count, dtype=torch.float64)

    def run(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Update all lanes by a step, and return their losses and gradient norms before it, (K,) each."""
        self._write(number)
        self._graph.replay()
        self._lanes.theta.grad = self._gradient
        loss, norm = self._results.cpu().numpy()  # the one copy to the CPU, after the step
        return loss, norm

    def prove(self, number: int, before: BeforeUpdate, loss: np.ndarray, norm: np.ndarray) -> bool:
        """Capture a step that has been made, and compare; it leaves everything as the ordinary step has left it.

        Args:
            before: the state before the step.
            loss, norm: (K,) the results of the ordinary step.

        Returns:
            Whether the graph computes the same up to rounding; a warning says why it does not.
        """
        theta, optimizer = self._lanes.theta, self._optimizer
        gradient, after = theta.grad, optimizer.before_update()
        try:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):  # an ordinary step on padded batches
                optimizer.undo(before)
                self._write(number)
                self._work()
            torch.cuda.current_stream().wait_stream(side)
            eager = [self._results.clone(), *self._moved(before)]
            self._write(number - 1)
            self._rates.zero_()  # a graph that kept the numbers of its capture would differ
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._work()
            self._gradient = theta.grad
            optimizer.undo(before)
            results, plain = np.stack(self.run(number)), np.stack([loss, norm])
            replayed = [self._results, *self._moved(before)]
            dtypes = next(self._lanes.model.parameters()).dtype, torch.float32  # as models round within
            rounding = max(torch.finfo(dtype).eps for dtype in dtypes) ** 0.5
            finite = np.isfinite(plain)  # a lane that diverges may overflow elsewhere
            padded = np.allclose(results[finite], plain[finite], rtol=rounding, atol=rounding)
            # Where a gradient is about zero, its rounding decides about the sign of Adam's update.
            pairs = zip(replayed, eager, (rounding, rounding**0.5, rounding, rounding), strict=True)
            self.proved = padded and all(alike(*pair) for pair in pairs)
            if not self.proved:
                _warn("its first replay differs from the ordinary step beyond rounding")
        except Exception as error:  # torch refuses a capture in many ways
            _warn(f"capturing it fails: {reason(error)}")
        finally:
            optimizer.undo(after)
            theta.grad = gradient
        return self.proved

    def _work(self) -> None:
        """Make a step of all lanes on what the buffers hold: the operations of the graph."""
        losses = self._gradients(self._batches)
        gradient = self._lanes.theta.grad
        assert gradient is not None
        norms = torch.linalg.vector_norm(gradient, dim=1)
        self._results.copy_(torch.stack([losses, norms]))
        self._optimizer.step_all(self._rates, norms)

    def _write(self, number: int) -> None:
        """Copy the batches and the rates of a step into the buffers."""
        self._batches.write(number)
        self._rates.copy_(torch.from_numpy(self._config.rates(number)))

    def _moved(self, before: BeforeUpdate) -> list[Tensor]:
        """Return the update of theta and the moments, (K, P) each."""
        now = self._optimizer.before_update()
        return [now.theta - before.theta, *now.moments.values()]


def alike(one: Tensor, other: Tensor, rounding: float) -> bool:
    """Whether every row of a matrix is as far from the other's as rounding explains, relative to its norm.

    Where the other is not finite, as in a lane that diverges, anything is.

    >>> one = torch.tensor([[3.0, 4.0], [torch.nan, 5.0]])
    >>> alike(one + 1e-4, one, 1e-3), alike(one + 1e-2, one, 1e-3)
    (True, False)
    """
    finite = other.isfinite()
    gap = (one - other).masked_fill(~finite, 0.0).norm(dim=1)
    return bool((gap <= rounding * other.masked_fill(~finite, 0.0).norm(dim=1)).all())

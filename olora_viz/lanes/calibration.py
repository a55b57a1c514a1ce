"""Calibration: gradients and input statistics of each layer over the first batches of a race."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from olora_viz.initializers import Calibration, precise
from olora_viz.lanes.experts import ExpertLinear, unrolling
from olora_viz.lanes.plan import AdapterPlan
from olora_viz.machine.memory import check_memory
from olora_viz.machine.process import Progress
from olora_viz.tasks import Batch
from olora_viz.tasks.losses import lane_losses

CALIBRATION_BATCHES = 8
"""Number of batches that a race reads for calibration. With 16 prompts each, these are 128 examples, of the order of
magnitude used in the papers, at the cost of as many steps of one lane."""


def check_calibration(plan: AdapterPlan, name: str) -> None:
    """Check that the calibration data fits into memory; `name` is the base model's in the message."""
    *others, last = (f"the {need}" for need in sorted(plan.needs))
    what = f"{', '.join(others)} and {last}" if others else last
    what = f"a start from {what} of every layer of {name}"
    check_memory(calibration_bytes(plan), plan.device, what)


def calibration_bytes(plan: AdapterPlan) -> int:
    """Return the memory of the calibration data, and of what one batch adds to one layer."""
    needs = plan.needs
    sizes = [
        out * into * ("gradient" in needs) + into**2 * ("inputs" in needs) + out * ("outputs" in needs)
        for out, into in (plan.shapes[name] for name in plan.calibrated)
    ]
    return (sum(sizes) + 2 * max(sizes, default=0)) * plan.dtype.itemsize


def gather(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    batches: Sequence[Sequence[Batch]],
    needs: frozenset[str],
    examples: int = 0,
    progress: Progress | None = None,
) -> dict[str, Calibration]:
    """Run batches through a model and gather the calibration data `needs` of some layers.

    The gradient is the mean over the batches of the gradient of each batch's loss, which is the mean over its
    supervised tokens. The statistics of inputs and outputs weight all tokens except padding equally. The squares of
    outputs are of the gradient of the mean loss of each row, so they do not depend on the size of a batch; G is
    computed anyway, so they cost nothing. The model is unchanged afterwards, and its weights never get gradients: `G =
    dYᵀ X` is computed from a layer's inputs X and the gradient dY of its outputs, and accumulated in float32 or better
    as soon as dY is known. The same batches give bitwise the same result.

    Args:
        batches: on the model's device, each in parts, which are read one after another.
        needs: see `AdapterPlan.needs`; not empty.

    Raises:
        ValueError: a loss is not finite, or no batch reaches a layer.
    """
    recorder = _Recorder(layers, needs)
    trainable = [p for p in model.parameters() if p.requires_grad]
    model.requires_grad_(False)
    try:
        for i, part, share in _shares(batches):
            if progress:
                progress(i / len(batches), "reading the first batches")
            with recorder.listening(part, share), torch.set_grad_enabled("gradient" in needs):
                loss = share * lane_losses(model, part, 1).sum()
                if not loss.isfinite():
                    raise ValueError(
                        f"the loss of the first batches is {loss.item()} before any training: the "
                        "model's weights must be damaged"
                    )
                if "gradient" in needs:
                    loss.backward()
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
    return recorder.calibration(len(batches), examples)


def _shares(batches: Sequence[Sequence[Batch]]) -> Iterator[tuple[int, Batch, float]]:
    """Yield each part, with its batch's index and its share of that batch's supervised tokens."""
    for i, parts in enumerate(batches):
        total = sum(part.size.supervised for part in parts)
        for part in parts:
            yield i, part, part.size.supervised / total


def real_tokens(batch: Batch) -> Bool[Tensor, "rows tokens"]:
    """Return the mask of non-padding tokens: each row's last one predicts a supervised token.

    >>> from olora_viz.tasks import Encoded, collate
    >>> batch = collate([Encoded((5, 6, 7, 8), 2), Encoded((8, 9), 1)], pad_id=0)
    >>> real_tokens(batch).int().tolist()
    [[1, 1, 1], [1, 0, 0]]
    """
    rows, width = batch.input_ids.shape
    last = batch.index.new_zeros(rows)
    last = last.scatter_reduce(0, batch.index // width, batch.index % width, "amax")
    return torch.arange(width, device=last.device) <= last[:, None]


def rows_over_batch(batch: Batch, share: float) -> Float[Tensor, " rows"]:
    """Return the factors from the gradient of a batch's loss to that of each row's own mean loss.

    Args:
        share: the part of the batch's supervised tokens that these rows have.

    >>> from olora_viz.tasks import Encoded, collate
    >>> batch = collate([Encoded((5, 6, 7, 8), 2), Encoded((8, 9), 1)], pad_id=0)
    >>> rows_over_batch(batch, share=0.5)  # 3 of 6 supervised tokens
    tensor([3., 6.])
    """
    rows, width = batch.input_ids.shape
    each = torch.bincount(batch.index // width, minlength=rows)
    return batch.index.numel() / share / each


class _Inputs:
    """Running mean and scatter of rows that arrive in batches.

    Batches are combined as in Chan, Golub, LeVeque 1983 (The American Statistician 37), without differences of large
    sums, so float32 is enough.
    """

    def __init__(self, X: Float[Tensor, "n in"]) -> None:
        self.count = len(X)
        self.mean = X.mean(0)
        self.scatter = (X - self.mean).mT @ (X - self.mean)

    def join(self, other: _Inputs) -> None:
        """Add the rows of another one."""
        count = self.count + other.count
        apart = other.mean - self.mean
        self.scatter += other.scatter
        self.scatter.addr_(apart, apart, alpha=self.count * other.count / count)
        self.mean += apart * (other.count / count)
        self.count = count


class _Recorder:
    """The calibration data read so far, of some layers of a model."""

    def __init__(self, layers: Mapping[str, nn.Module], needs: frozenset[str]) -> None:
        self._layers, self._needs = layers, needs
        self._gradients: dict[str, Tensor] = {}
        self._inputs: dict[str, _Inputs] = {}
        self._shared: dict[str, str] = {}
        self._squares: dict[str, tuple[int, Tensor]] = {}
        self._last: tuple[Tensor, str] | None = None
        self._real = self._factors = torch.empty(0)

    @contextmanager
    def listening(self, batch: Batch, share: float) -> Generator[None]:
        """Read the layers' inputs and output gradients for a share of one batch."""
        self._real = real_tokens(batch).flatten()
        factors = rows_over_batch(batch, share)
        self._factors = factors.repeat_interleave(batch.input_ids.shape[1])
        hooks = []
        for name, layer in self._layers.items():
            hooks.append(layer.register_forward_pre_hook(partial(self._enter, name)))
            if "gradient" in self._needs:
                hooks.append(layer.register_forward_hook(partial(self._leave, name)))
        try:
            with unrolling(self._layers):
                yield
        finally:
            self._last = None
            for hook in hooks:
                hook.remove()

    def calibration(self, count: int, examples: int) -> dict[str, Calibration]:
        """Return the calibration data of `count` batches."""
        by_layer: dict[str, Calibration] = {}
        covariances = {name: seen.scatter / seen.count for name, seen in self._inputs.items()}
        squares = {name: total / tokens for name, (tokens, total) in self._squares.items()}
        for name in self._layers:
            gradient, reader = self._gradients.get(name), self._shared.get(name, name)
            lacks_gradient = "gradient" in self._needs and gradient is None
            if lacks_gradient or ("inputs" in self._needs and reader not in self._inputs):
                raise ValueError(f"no token of the first batches reaches layer {name!r}")
            by_layer[name] = Calibration(
                gradient=None if gradient is None else gradient.div_(count),
                mean=self._inputs[reader].mean if "inputs" in self._needs else None,
                covariance=covariances.get(reader),
                squares=squares.get(name),
                examples=examples,
            )
        return by_layer

    def _enter(self, name: str, layer: nn.Module, inputs: tuple[Any, ...]) -> Any:
        X = inputs[0]
        if "inputs" in self._needs:
            self._read(name, X, self._of_rows(layer, self._real))
        if "gradient" in self._needs and not X.requires_grad:
            # Nothing below this layer has a gradient: start one here, so that its output has one.
            return (X.detach().requires_grad_(), *inputs[1:])
        return None

    def _of_rows(self, layer: nn.Module, tokens: Tensor) -> Tensor:
        """Return what is known of all tokens, of those that a layer reads."""
        return tokens[layer.experts.tokens] if isinstance(layer, ExpertLinear) else tokens

    def _read(self, name: str, X: Tensor, real: Tensor) -> None:
        """Add one layer's inputs; query, key and value share a tensor, which is read once."""
        if self._last is not None and self._last[0] is X:
            self._shared[name] = self._last[1]
            return
        self._last = (X, name)
        if not real.any():
            return
        read = _Inputs(precise(X.flatten(0, -2)[real]))
        if name in self._inputs:
            self._inputs[name].join(read)
        else:
            self._inputs[name] = read

    def _leave(self, name: str, layer: nn.Module, inputs: tuple[Any, ...], Y: Tensor) -> None:
        X = inputs[0].detach()
        real, factors = (self._of_rows(layer, tokens) for tokens in (self._real, self._factors))

        def add(dY: Tensor) -> None:
            # Padding comes after all supervised tokens, so its rows of dY are zero.
            dY = precise(dY.flatten(0, -2))
            G = dY.mT @ precise(X.flatten(0, -2))
            known = self._gradients.get(name)
            self._gradients[name] = G if known is None else known.add_(G)
            if "outputs" in self._needs:
                count, total = self._squares.get(name, (0, 0))
                own = (factors[:, None] * dY).square().sum(0)
                self._squares[name] = count + int(real.sum()), total + own

        Y.register_hook(add)

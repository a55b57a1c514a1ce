"""The gradient of a step, from one pass or, to save memory, from several over parts of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from jaxtyping import Float
from torch import Tensor

from olora_viz.lanes.adapters import Lanes
from olora_viz.lanes.chunks import pass_groups
from olora_viz.lanes.dropout import Dropout
from olora_viz.lanes.footprint import Footprint
from olora_viz.measures.gradients import GradientRecorder
from olora_viz.races.data import RaceData
from olora_viz.tasks import Batch
from olora_viz.tasks.batches import Size


def backward(
    lanes: Lanes,
    data: RaceData,
    number: int,
    orders: Sequence[int],
    footprint: Footprint,
    recorder: GradientRecorder | None = None,
) -> Float[Tensor, " K"]:
    """Put the gradient of every lane's loss into ``lanes.theta.grad``, and return the losses.

    The loss of a batch is the mean over its supervised tokens. If its examples are read in several
    parts, each part is weighted by its share of those tokens, so that loss and gradient are those
    of the whole batch up to rounding.

    Parameters
    ----------
    number : of the step, 1 for the first.
    orders : the seed of each lane's order of examples.
    footprint : memory of a lane's tokens, which determines the groups of lanes.
    recorder : records the gradients at the layers' inputs.
    """
    parts = {order: data.parts(number, order) for order in dict.fromkeys(orders)}
    tokens = {order: sum(map(_supervised, its)) for order, its in parts.items()}
    every = [part for its in parts.values() for part in its]
    each = footprint.training.bytes(Size.covering(part.size for part in every))
    lanes.theta.grad = None
    losses = []
    for rows in pass_groups(lanes.plan, each):
        total = lanes.theta.new_zeros(rows.stop - rows.start)
        for i in range(len(every) // len(parts)):
            its = [parts[order][i] for order in orders[rows]]
            share = total.new_tensor(
                [_supervised(parts[order][i]) / tokens[order] for order in orders[rows]]
            )
            shapes = [(len(part.input_ids), part.input_ids.shape[1]) for part in its]
            wholes = [_whole(parts[order], i) for order in orders[rows]]
            dropout = Dropout(lanes.lanes[rows], (number, i), shapes, wholes)
            with lanes.some(rows, dropout), recorder.inputs(rows) if recorder else nullcontext():
                loss = data.losses(its) * share
                loss.sum().backward()
            total += loss.detach()
        losses.append(total)
    return torch.cat(losses)


def _whole(parts: Sequence[Batch], i: int) -> tuple[int, int, int]:
    """Return the rows of a batch before its part i, and all its rows and tokens."""
    rows = [part.size.rows for part in parts]
    return sum(rows[:i]), sum(rows), max(part.size.width for part in parts)


def _supervised(part: Batch) -> int:
    return part.index.numel()

"""The memory of lanes in a pass, and of their adapters."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Hashable
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from olora_viz.initializers import Start
from olora_viz.lanes.adapters import Lanes
from olora_viz.lanes.groups import on_a_core
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.linear import Dropout
from olora_viz.lanes.past import Past
from olora_viz.lanes.plan import AdapterPlan
from olora_viz.machine.memory import Meter, check_memory
from olora_viz.machine.process import Progress
from olora_viz.machine.wording import counted
from olora_viz.tasks.batches import Batch, Size
from olora_viz.tasks.losses import context_of, lane_losses, supervised_logits, token_losses

PROBE_SIZES = (Size(2, 4, 2), Size(2, 8, 2), Size(2, 12, 2), Size(4, 4, 4))
"""The sizes of the tiny passes."""

OVERHEAD = 1.6
"""Memory that a pass takes at most, relative to its tensors: allocators keep some of what was freed, and operations
have memory of their own. ``benchmarks/memory.py`` measures up to 1.5."""

WINDOWS = 50
"""Parts in which passes of different numbers of operations are compared."""

LAYERS_KEPT = 64

_KNOWN: dict[Hashable, PassCost] = {}


@dataclass(frozen=True, eq=False)
class PassCost:
    """The memory of one kind of pass, as a function of its size.

    Every operation leaves alive a number of bytes that is a constant, plus one per token (activations), per token and
    length (attention), and per supervised token (logits). Passes of all sizes run the same operations, so a few tiny
    ones determine these numbers.
    """

    factors: np.ndarray
    """(operations, 4) bytes: constant, per token, per token and length, per supervised token."""

    @classmethod
    def of(cls, run: Callable[[Batch], object], model: nn.Module) -> PassCost:
        """Measure a pass.

        Args:
            run: makes the pass over a batch, and keeps none of its tensors.
            model: what it runs; the tiny batches are within its context.
        """
        unit = max(2, min(PROBE_SIZES[0].width, (context_of(model) or 2**31) // 3))
        sizes = [probe._replace(width=probe.width * unit // PROBE_SIZES[0].width) for probe in PROBE_SIZES]
        live = _aligned([_metered(run, model, size) for size in sizes])
        factors = np.linalg.solve(np.array([_terms(size) for size in sizes]), live).T
        return cls(np.unique(factors.round(2), axis=0))

    def bytes(self, size: Size) -> float:
        """Return the most memory that a pass of a size takes."""
        return OVERHEAD * max(0.0, float((self.factors @ _terms(size)).max()))


@dataclass(frozen=True)
class Footprint:
    """The memory of one lane in the passes of a race."""

    training: PassCost
    evaluation: PassCost

    @classmethod
    def of(cls, plan: AdapterPlan, *, branching: bool = False, lanes: Lanes | None = None) -> Footprint:
        """Measure a lane of the largest rank of a plan.

        Args:
            branching: that of `evaluate`.
            lanes: those on the model; None if it has none yet.
        """

        def run(lanes: Lanes, batch: Batch) -> None:
            _evaluate(lanes, batch.as_branching() if branching else batch)

        kind = "branches" if branching else "evaluation"
        return cls(known_cost("training", plan, _train, lanes), known_cost(kind, plan, run, lanes))


def known_cost(
    kind: str, plan: AdapterPlan, run: Callable[[Lanes, Batch], object], lanes: Lanes | None = None
) -> PassCost:
    """Return the cost of one lane's pass; each kind is measured once for each model and rank.

    Args:
        lanes: those on the model; None if there are none, to measure a lane of the plan's largest rank or somewhat
            above it, or a dense lane if there is one.
    """
    rank = _measured_rank(plan) if lanes is None else plan.rank
    key = (kind, *_shape_of(plan), rank)
    if key not in _KNOWN:
        while len(_KNOWN) >= LAYERS_KEPT:
            del _KNOWN[next(iter(_KNOWN))]

        def measured(_: Progress) -> PassCost:
            trial = _trial(plan, rank) if lanes is None else nullcontext(lanes)
            with trial as attached, attached.some(_largest(attached.plan)):
                return PassCost.of(partial(run, attached), plan.model)

        _KNOWN[key] = on_a_core(plan, measured)
    return _KNOWN[key]


def _largest(plan: AdapterPlan) -> slice:
    """Return the lane whose passes take the most memory: a dense one, if there is any."""
    k = min(plan.dense, default=0)
    return slice(k, k + 1)


def _train(lanes: Lanes, batch: Batch) -> None:
    dropped = Dropout((Lane("lora", dropout=0.5),), (1, 0))
    has_dropout = any(lane.dropout for lane in lanes.lanes)
    with lanes.some(_largest(lanes.plan), dropped if has_dropout else None):
        torch.autograd.grad(lane_losses(lanes.model, batch, 1).sum(), lanes.parts())


@torch.no_grad()
def _evaluate(lanes: Lanes, batch: Batch) -> None:
    logits = supervised_logits(lanes.model, batch, 1)
    token_losses(logits, batch).cpu().double()
    (logits.argmax(-1) != batch.targets).cpu().double()


@contextmanager
def _trial(plan: AdapterPlan, rank: int) -> Generator[Lanes]:
    """Attach a lane with a rank in every layer, and a dense one if the plan has any."""
    dropout = max(lane.dropout for lane in plan.lanes)
    lanes = [Lane("lora", r=rank, dropout=dropout, dora=bool(plan.dora))] if rank else []
    lanes += [Lane(plan.lanes[k].init) for k in plan.dense[:1]]
    alone = replace(plan, lanes=tuple(lanes), chosen={None: tuple(plan.layers)}, ranked={})
    attached = Lanes(alone, lambda _, W, lane: Start(W.new_ones(lane.r, W.shape[1]), W.new_ones(W.shape[0], lane.r)))
    try:
        yield attached
    finally:
        attached.detach()


def _shape_of(plan: AdapterPlan) -> tuple[Hashable, ...]:
    """Return what the memory of a pass depends on."""
    model = plan.model
    config: Any = getattr(model, "config", None)
    return (
        type(model),
        config and config.to_json_string(use_diff=False),
        getattr(config, "_attn_implementation", None),
        tuple((name, tuple(p.shape), p.dtype, p.device) for name, p in model.named_parameters()),
        tuple(plan.layers),
        any(lane.dropout for lane in plan.lanes),
        bool(plan.dense),
        bool(plan.dora),
    )


def _measured_rank(plan: AdapterPlan) -> int:
    """Return a rank at or above that of a plan, the same for several, so that few are measured."""
    if not plan.rank:
        return 0
    most = min(min(shape) for shape in plan.shapes.values())
    return max(plan.rank, min(most, max(8, 1 << (plan.rank - 1).bit_length())))


def _terms(size: Size) -> np.ndarray:
    tokens = size.rows * size.width
    return np.array([1.0, tokens, tokens * size.width, size.supervised])


def _metered(run: Callable[[Batch], object], model: nn.Module, size: Size) -> np.ndarray:
    """Return the bytes alive after each operation of a pass over a batch of one repeated token.

    The router of a mixture of experts sends all of them the same way, so that passes of all sizes run the same
    operations.
    """
    device = next(model.parameters()).device
    each = size.supervised // size.rows
    at = torch.arange(size.width - each, size.width, device=device)
    index = (torch.arange(size.rows, device=device)[:, None] * size.width + at).flatten()
    ids = torch.zeros(size.rows, size.width, dtype=torch.int64, device=device)
    targets = torch.zeros_like(index)
    with Meter((*model.parameters(), *model.buffers())) as meter:
        run(Batch(input_ids=ids, index=index, targets=targets, sequence=targets))
    return np.array(meter.live, dtype=float)


def _aligned(traces: list[np.ndarray]) -> np.ndarray:
    """Stack the traces of passes; by windows if their numbers of operations differ."""
    if len({len(trace) for trace in traces}) == 1:
        return np.stack(traces)
    return np.stack([[part.max() for part in np.array_split(trace, WINDOWS)] for trace in traces])


COPIES = 10
"""Matrices (K, P) of a race: theta, its start, the gradient, two moments, theta before an update (if that is
measured), copies of theta and the moments during an update, and a temporary one."""

ROWS_OF_DIM = 4
"""Rows of such a matrix that a lane with `Lane.dim` has beside them: its start, its signs and, twice as wide, its
columns."""


def check_adapters(plan: AdapterPlan, name: str, more: int = 0, past: Past | None = None) -> None:
    """Check that the lanes fit into memory; otherwise the system would kill the process.

    Args:
        plan: the layers and lanes; its base model is called `name` in the message.
        more: copies of the adapters that the race keeps.
        past: what was merged into the lanes' bases before; a race holds it twice, apart and stacked.
    """
    K, dense = len(plan.lanes), len(plan.dense)
    ranks = f" of rank up to {plan.rank}" if dense < K else ""
    trained = f", {dense} of full fine-tuning," if dense else ""
    what = f"{K} lane{'s' * (K > 1)}{ranks}{trained} on {name}"
    if past is not None:
        what += f", after {counted(past.links, 'merged race')},"
    own = sum(math.prod(plan.shapes[name]) for k in plan.on_own_base for name in plan.layers_of(k))
    beside = (0 if past is None else 2 * past.bytes) + own * plan.dtype.itemsize
    check_memory(adapter_bytes(plan, more) + beside, plan.device, what)


def adapter_bytes(plan: AdapterPlan, more: int = 0) -> int:
    """Return the memory of the lanes' adapters and their optimizer, and of more copies."""
    rows = (COPIES + more) * len(plan.lanes) + ROWS_OF_DIM * sum(lane.dim is not None for lane in plan.lanes)
    return rows * plan.layout.width * plan.dtype.itemsize

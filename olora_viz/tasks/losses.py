"""Losses at the supervised tokens only."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from olora_viz.machine.threads import before_forward
from olora_viz.tasks.batches import Batch, collate_examples, rows_of
from olora_viz.tasks.encoding import Encoded
from olora_viz.tasks.unpadded import Unpadded, needed

WORTH = 0.75
"""Examples share rows with their choices if that leaves at most this share of the tokens."""


def context_of(model: nn.Module) -> int | None:
    """Return the context length of a model; None if it has no limit or its config names none."""
    length = getattr(model.config, "max_position_embeddings", None)
    return length if length and length > 0 else None  # XLNet's -1 means no limit


@contextmanager
def head_at(model: nn.Module, index: Tensor) -> Generator[None]:
    """Make the model compute logits only at the given positions of (rows · tokens)."""
    head = model.get_output_embeddings()  # pyrefly: ignore[not-callable]
    with before_forward([(head, lambda _, given: (given[0].flatten(0, -2)[index],))]):
        yield


def supervised_logits(model: nn.Module, batch: Batch, K: int) -> Float[Tensor, "K n V"]:
    """Return each lane's logits at the batch's n supervised positions, in float32 or better.

    Every lane reads the same rows. Without branches there is no attention mask: padding follows the supervised tokens,
    and attention is causal.
    """
    input_ids = batch.input_ids.repeat(K, 1)
    lanes = torch.arange(K, device=input_ids.device)[:, None] * batch.input_ids.numel()
    with head_at(model, (lanes + batch.index).flatten()):
        logits = model(input_ids=input_ids, **_branches(model, batch, K), use_cache=False).logits
    logits = logits.unflatten(0, (K, -1))
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


@contextmanager
def before_blocks(model: nn.Module, call: Callable[[], None]) -> Generator[None]:
    """Call a function before every block of a model: what it raises ends a long pass halfway."""

    def before(*_: object) -> None:
        call()

    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    with before_forward((block, before) for blocks in lists for block in blocks):
        yield


def _branches(model: nn.Module, batch: Batch, K: int) -> dict[str, Tensor]:
    """Return what a model has to know about rows that branch; nothing if they do not."""
    if batch.positions is None or batch.seen is None:
        return {}
    dtype = next(model.parameters()).dtype
    mask = torch.zeros(batch.seen.shape, dtype=dtype, device=batch.seen.device)
    mask.masked_fill_(~batch.seen, torch.finfo(dtype).min)
    return {"position_ids": batch.positions.repeat(K, 1), "attention_mask": mask[:, None].repeat(K, 1, 1, 1)}


@torch.no_grad()
def can_branch(model: nn.Module, examples: Sequence[Encoded], pad_id: int) -> bool:
    """Whether to read each example with its choices as one row that branches.

    It has to save tokens, and the model has to compute the same for the longest row: one that counts positions itself,
    or looks back a few tokens only, does not.
    """
    apart, together = ([rows_of(e, branching=b) for e in examples] for b in (False, True))
    longest = max(range(len(examples)), key=lambda i: together[i])
    saves = sum(map(sum, together)) <= WORTH * sum(map(sum, apart))
    if not saves or together[longest][0] > (context_of(model) or math.inf):
        return False
    device, example = next(model.parameters()).device, examples[longest]
    batches = [collate_examples([example], pad_id, branching=b) for b in (False, True)]
    try:
        alone, shared = (supervised_logits(model, to_device(b, device), 1) for b in batches)
    except Exception:  # a model of unknown origin can fail anywhere
        return False
    eps = torch.finfo(next(model.parameters()).dtype).eps
    return bool((shared - alone).abs().max() <= eps**0.5 * alone.abs().max())


def token_losses(logits: Float[Tensor, "K n V"], batch: Batch) -> Float[Tensor, "K n"]:
    """Return the cross-entropy of every supervised token, in nats."""
    K = logits.shape[0]
    flat = F.cross_entropy(logits.flatten(0, 1), batch.targets.repeat(K), reduction="none")
    return flat.unflatten(0, (K, -1))


def lane_losses(model: nn.Module, batch: Batch, K: int) -> Float[Tensor, " K"]:
    """Return each lane's mean loss over the supervised tokens, with its graph.

    The lanes share no parameter, so the gradient of the sum holds each lane's own gradient.
    """
    return token_losses(supervised_logits(model, batch, K), batch).mean(1)


def own_losses(
    model: nn.Module, batches: Sequence[Batch], pad_id: int, *, without_padding: bool = False
) -> Float[Tensor, " K"]:
    """Return each lane's mean loss over its own batch, with its graph; see `lane_losses` and `own_logits`."""
    logits = own_logits(model, batches, pad_id, without_padding=without_padding)
    lost = F.cross_entropy(logits, torch.cat([batch.targets for batch in batches]), reduction="none")
    return torch.stack([losses.mean() for losses in lost.split([len(batch.targets) for batch in batches])])


def own_logits(
    model: nn.Module, batches: Sequence[Batch], pad_id: int, *, without_padding: bool = False
) -> Float[Tensor, "n V"]:
    """Return the logits at the supervised positions of each lane's own batch, lane after lane, in float32 or better.

    Args:
        batches: one per lane; they may differ in rows, lengths and supervised tokens.
        pad_id: any token. It pads lengths and rows; no supervised token attends to it.
        without_padding: whether the model, for which `can_unpad` holds, does not see it.
    """
    K, shapes = len(batches), [batch.input_ids.shape for batch in batches]
    rows, tokens = (max(sizes) for sizes in zip(*shapes, strict=True))
    ids = batches[0].input_ids.new_full((K, rows, tokens), pad_id)
    for k, (batch, shape) in enumerate(zip(batches, shapes, strict=True)):
        ids[k, : shape[0], : shape[1]] = batch.input_ids
    at = [_widened(b.index, b, tokens) + k * rows * tokens for k, b in enumerate(batches)]
    index = torch.cat(at)
    if without_padding:
        positions = {id(batch): _widened(needed(batch), batch, tokens) for batch in batches}
        first = _first(batches, rows, tokens) if any(batch.first is not None for batch in batches) else None
        unpadded = Unpadded((K, rows, tokens), [positions[id(batch)] for batch in batches], first=first)
        with head_at(model, unpadded.sources[index]):
            logits = unpadded.logits(model, ids.flatten(1))
    else:
        with head_at(model, index):
            logits = model(input_ids=ids.flatten(0, 1), use_cache=False).logits
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _widened(index: Tensor, batch: Batch, tokens: int) -> Tensor:
    """Return positions in a batch's flattened rows as those in rows of so many tokens."""
    width = batch.input_ids.shape[1]
    return index // width * tokens + index % width


def _first(batches: Sequence[Batch], rows: int, tokens: int) -> Tensor:
    """Return `Batch.first` of each batch, in so many rows of so many tokens: (K, rows · tokens)."""
    first = torch.arange(rows * tokens, device=batches[0].index.device).view(rows, tokens).repeat(len(batches), 1, 1)
    for own, batch in zip(first, batches, strict=True):
        if batch.first is not None:
            own[: len(batch.first), : batch.first.shape[1]] = _widened(batch.first, batch, tokens)
    return first.flatten(1)


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Move a batch to a device."""
    moved: list[Any] = [None if tensor is None else tensor.to(device) for tensor in vars(batch).values()]
    return Batch(*moved)

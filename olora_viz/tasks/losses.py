"""Losses at the supervised tokens only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from olora_viz.tasks.batches import Batch


def context_of(model: nn.Module) -> int | None:
    """Return the context length of a model; None if it has no limit or its config names none."""
    length = getattr(model.config, "max_position_embeddings", None)
    return length if length and length > 0 else None  # XLNet's -1 means no limit


@contextmanager
def head_at(model: nn.Module, index: Tensor) -> Iterator[None]:
    """Make the model compute logits only at the given positions of (rows · tokens)."""
    head = model.get_output_embeddings()  # pyright: ignore[reportCallIssue]
    hook = head.register_forward_pre_hook(lambda _, given: (given[0].flatten(0, -2)[index],))
    try:
        yield
    finally:
        hook.remove()


def supervised_logits(model: nn.Module, batch: Batch, K: int) -> Float[Tensor, "K n V"]:
    """Return each lane's logits at the batch's n supervised positions, in float32 or better.

    Every lane reads the same rows. There is no attention mask: padding follows the supervised
    tokens, and attention is causal.
    """
    input_ids = batch.input_ids.repeat(K, 1)
    lanes = torch.arange(K, device=input_ids.device)[:, None] * batch.input_ids.numel()
    with head_at(model, (lanes + batch.index).flatten()):
        logits = model(input_ids=input_ids, use_cache=False).logits
    logits = logits.unflatten(0, (K, -1))
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


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


def own_losses(model: nn.Module, batches: Sequence[Batch], pad_id: int) -> Float[Tensor, " K"]:
    """Return each lane's mean loss over its own batch, with its graph; see `lane_losses`.

    Parameters
    ----------
    batches : one per lane; they may differ in rows, lengths and supervised tokens.
    pad_id : any token. It pads lengths and rows; no supervised token attends to it.
    """
    shapes = [batch.input_ids.shape for batch in batches]
    rows, tokens = (max(sizes) for sizes in zip(*shapes, strict=True))
    ids = batches[0].input_ids.new_full((len(batches), rows, tokens), pad_id)
    places = []
    for k, (batch, shape) in enumerate(zip(batches, shapes, strict=True)):
        ids[k, : shape[0], : shape[1]] = batch.input_ids
        row, place = batch.index // shape[1], batch.index % shape[1]
        places.append((k * rows + row) * tokens + place)
    with head_at(model, torch.cat(places)):
        logits = model(input_ids=ids.flatten(0, 1), use_cache=False).logits
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    targets = torch.cat([batch.targets for batch in batches])
    lost = F.cross_entropy(logits, targets, reduction="none")
    return torch.stack([its.mean() for its in lost.split([len(p) for p in places])])


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Move a batch to a device."""
    return Batch(
        input_ids=batch.input_ids.to(device),
        index=batch.index.to(device),
        targets=batch.targets.to(device),
        sequence=batch.sequence.to(device),
    )

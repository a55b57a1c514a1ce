"""What lanes are trained on and judged by: losses at the supervised tokens alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from olora_viz.tasks.batches import Batch, Encoded, collate


@dataclass(frozen=True)
class Evaluation:
    """How K lanes do on held-out examples."""

    loss: np.ndarray
    """(K,) mean cross-entropy of the supervised tokens, nats per token."""
    accuracy: np.ndarray
    """(K,) share of right answers, from 0 to 1 (of right tokens, for plain text)."""


@contextmanager
def head_at(model: nn.Module, index: Tensor) -> Iterator[None]:
    """Let the model compute logits at the given positions of (rows · tokens) alone."""
    head = model.get_output_embeddings()  # pyright: ignore[reportCallIssue]
    hook = head.register_forward_pre_hook(lambda _, given: (given[0].flatten(0, -2)[index],))
    try:
        yield
    finally:
        hook.remove()


def supervised_logits(model: nn.Module, batch: Batch, K: int) -> Float[Tensor, "K n V"]:
    """Return each lane's logits at the batch's n supervised positions, in float32 or better.

    Every lane reads the same rows. There is no attention mask: padding stands behind what is
    supervised, and causal attention does not look ahead.
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


@torch.no_grad()
def evaluate(
    model: nn.Module,
    encoded: Sequence[Encoded],
    K: int,
    *,
    pad_id: int,
    batch_size: int,
    plain_text: bool = False,
) -> Evaluation:
    """Judge K lanes by held-out examples.

    An open answer is right when each of its tokens is the likeliest one, given those before it.
    Where there are choices, the one with the highest likelihood is taken as the answer (the sum
    of its tokens' log-probabilities).
    """
    loss = torch.zeros(K, dtype=torch.float64)
    right = torch.zeros(K, dtype=torch.float64)
    tokens = judged = 0
    device = next(model.parameters()).device
    for some in _chunks(encoded, batch_size):
        batch = to_device(collate(some, pad_id), device)
        logits = supervised_logits(model, batch, K)
        loss += token_losses(logits, batch).double().sum(1).cpu()
        tokens += batch.targets.numel()
        hits = logits.argmax(-1) == batch.targets
        if plain_text:
            right += hits.double().sum(1).cpu()
            judged += batch.targets.numel()
            continue
        whole = torch.ones(K, len(some), dtype=torch.bool, device=device)
        misses = (~hits).nonzero()
        whole[misses[:, 0], batch.row[misses[:, 1]]] = False
        open_ended = torch.tensor([not e.choices for e in some], device=device)
        right += (whole & open_ended).double().sum(1).cpu()
        judged += len(some)
        right += _chosen_rightly(model, [e for e in some if e.choices], K, pad_id, batch_size)
    return Evaluation((loss / tokens).numpy(), (right / judged).numpy())


def _chosen_rightly(
    model: nn.Module, encoded: Sequence[Encoded], K: int, pad_id: int, batch_size: int
) -> Tensor:
    """Count the examples whose right choice is each lane's likeliest, (K,) on the CPU."""
    rows = [choice for e in encoded for choice in e.choices]
    if not rows:
        return torch.zeros(K, dtype=torch.float64)
    device = next(model.parameters()).device
    scores = []
    for some in _chunks(rows, batch_size):
        batch = to_device(collate(some, pad_id), device)
        losses = token_losses(supervised_logits(model, batch, K), batch)
        score = torch.zeros(K, len(some), dtype=losses.dtype, device=device)
        scores.append(score.index_add_(1, batch.row, -losses))
    likelihood = torch.cat(scores, 1).cpu()
    right, at = torch.zeros(K, dtype=torch.float64), 0
    for example in encoded:
        own = likelihood[:, at : at + len(example.choices)]
        right += own.argmax(1) == example.correct
        at += len(example.choices)
    return right


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Move a batch."""
    return Batch(
        input_ids=batch.input_ids.to(device),
        index=batch.index.to(device),
        targets=batch.targets.to(device),
        row=batch.row.to(device),
    )


def _chunks(items: Sequence[Encoded], size: int) -> Iterator[Sequence[Encoded]]:
    for at in range(0, len(items), size):
        yield items[at : at + size]

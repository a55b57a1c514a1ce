"""The batches of a race for a training loop of one's own, in the form that transformers' models take."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from olora_viz.lanes.generation import ends_of
from olora_viz.lanes.lane import Lane
from olora_viz.races.config import RaceConfig
from olora_viz.races.data import chat_of, drawn_size, learned, reward_of, task_of
from olora_viz.races.fields import DPO, REINFORCE
from olora_viz.tasks import Encoded, batch_indices, encode, losses
from olora_viz.tasks.files import Own
from olora_viz.tasks.preferences import pair_of

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase


def training_batches(
    config: RaceConfig,
    tokenizer: PreTrainedTokenizerBase,
    lane: Lane | None = None,
    task: Own | None = None,
    model: nn.Module | None = None,
) -> Iterator[BatchEncoding]:
    """Yield the batch of every step of a race, in the form that transformers' models take.

    With the objective ``imitation``, ``model(**batch).loss`` is the loss that the race reports, up to rounding. With
    ``dpo``, each chosen answer is followed by the rejected one. With ``reinforce`` the batch has what answers are
    drawn to, in the form that ``model.generate`` takes.

    Args:
        config: the set-up; the race itself need not exist.
        tokenizer: of its model.
        lane: the one that reads them, which matters with ``batches="by-seed"``.
        task: used instead of loading ``config.task``, as in `race`.
        model: where ``config.truncate`` cuts examples to its context, without a ``config.max_length``, and where it
            limits what is drawn.

    Yields:
        BatchEncoding
            ``input_ids``, ``attention_mask`` and ``labels``, each (batch_size, tokens), or twice as many rows for
            ``dpo``, padded at the right; labels are -100 where a token is not supervised. On the CPU. For
            ``reinforce`` there are no labels, prompts are padded at the left, and beside them are ``examples``;
            ``metric``, the reward, see `Example.score`; ``lengths``, the most tokens of an answer to each; ``ends``,
            the tokens that end one before.

    Raises:
        ValueError: the length to which examples are cut is not known, or see `race`.

    Examples:
        >>> import olora_viz as ov
        >>> config = ov.RaceConfig(lanes=(ov.Lane("lora"),), batch_size=4, steps=2)
        >>> model, tokenizer = ov.load_model("glassllm")
        >>> for batch in ov.training_batches(config, tokenizer):
        ...     print(batch["input_ids"].shape[0], round(model(**batch).loss.item(), 1))
        4 5.6
        4 5.3
    """
    from transformers import BatchEncoding

    if config.truncate and config.max_length is None and model is None:
        raise ValueError("truncate without max_length cuts to the model's context: pass the model")
    examples = learned(config, task_of(config, task))
    chat = chat_of(config, examples, tokenizer, config.model)
    context = (model and losses.context_of(model)) or sys.maxsize
    train = encode(
        examples.train,
        tokenizer,
        max_length=config.max_length,
        context=context,
        ends=examples.ends,
        plain_text=examples.plain_text,
        choices=config.objective == DPO,
        truncate=config.truncate,
        chat=chat,
    )
    order = config.seed if lane is None else config.order(lane)
    pad_id: Any = tokenizer.pad_token_id or 0
    for step in range(config.with_steps(len(train.kept)).steps):
        chosen = batch_indices(len(train.kept), config.batch_size, order, step)
        encoded = [train.kept[i] for i in chosen]
        if config.objective == REINFORCE:
            most = drawn_size(train.kept, train.ends, context)[1]
            rights = [len(each.ids) - each.supervised_from for each in encoded]
            drawing = {
                "examples": [train.examples[i] for i in chosen],
                "metric": reward_of(config, examples),
                "lengths": [most if train.ends else min(right, most) for right in rights],
                "ends": ends_of(tokenizer, chat) if train.ends else (),
            }
            yield BatchEncoding(_prompts(encoded, pad_id) | drawing)
            continue
        if config.objective == DPO:
            encoded = [answer for each in encoded for answer in pair_of(each)]
        yield BatchEncoding(_rows(encoded, pad_id))


def _rows(encoded: Sequence[Encoded], pad_id: int) -> dict[str, Any]:
    """Return examples as a model takes them, with their labels."""
    rows = [torch.tensor(each.ids) for each in encoded]
    labels = [row.clone() for row in rows]
    for each, label in zip(encoded, labels, strict=True):
        label[: each.supervised_from] = -100
    return _padded(rows, pad_id, "right") | {"labels": pad_sequence(labels, True, -100)}


def _prompts(encoded: Sequence[Encoded], pad_id: int) -> dict[str, Any]:
    """Return the prompts of examples as a model takes them that goes on from their ends."""
    return _padded([torch.tensor(each.ids[: each.supervised_from]) for each in encoded], pad_id, "left")


def _padded(rows: list[Tensor], pad_id: int, side: str) -> dict[str, Any]:
    """Return rows of tokens, padded on a side, and where they have one."""
    read = [torch.ones_like(row) for row in rows]
    return {
        "input_ids": pad_sequence(rows, True, pad_id, padding_side=side),
        "attention_mask": pad_sequence(read, True, padding_side=side),
    }

"""Answers of the base model and the lanes to held-out prompts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from olora_viz.lanes.adapters import Lanes
from olora_viz.tasks.encoding import Encoded
from olora_viz.tasks.losses import context_of, head_at

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


MORE = 8
"""How many tokens a wrong answer may be longer than the right one, to end its word."""


@dataclass(frozen=True)
class Answer:
    """One held-out prompt and the answers to it."""

    prompt: str
    expected: str
    """The correct answer."""
    base: str
    """The answer of the base model, as truncated by `said`."""
    lanes: tuple[str, ...]
    """The answer of each lane, truncated likewise."""


def ask(
    lanes: Lanes,
    tokenizer: PreTrainedTokenizerBase,
    encoded: Sequence[Encoded],
    *,
    plain_text: bool = False,
) -> list[Answer]:
    """Return greedy answers of the base model and every lane.

    A plain text is split in the middle: the first half is the prompt, the second the answer.
    """
    borders = [len(e.ids) // 2 if plain_text else e.supervised_from for e in encoded]
    prompts = [e.ids[:at] for e, at in zip(encoded, borders, strict=True)]
    wanted = [e.ids[at:] for e, at in zip(encoded, borders, strict=True)]
    if not prompts:
        return []
    count = max(map(len, wanted)) + MORE
    pad_id = int(tokenizer.pad_token_id or 0)  # pyright: ignore[reportArgumentType]
    ends = tokenizer.eos_token_id
    with lanes.off():
        base = greedy(lanes.model, prompts, count, 1, pad_id)[0]
    each = greedy(lanes.model, prompts, count, lanes.count, pad_id)

    def text(ids: Sequence[int]) -> str:
        return str(tokenizer.decode(list(ids), skip_special_tokens=True))

    def cut(ids: Sequence[int], right: Sequence[int]) -> str:
        return said(ids, right, text, ends if isinstance(ends, int) else None)

    return [
        Answer(
            prompt=text(prompt),
            expected=text(right).strip(),
            base=cut(base[i], right),
            lanes=tuple(cut(lane[i], right) for lane in each),
        )
        for i, (prompt, right) in enumerate(zip(prompts, wanted, strict=True))
    ]


def said(
    ids: Sequence[int],
    right: Sequence[int],
    decode: Callable[[Sequence[int]], str],
    ends: int | None = None,
) -> str:
    """Return the answer part of a continuation, in whole words.

    An answer is correct if it begins with the tokens of the correct one, as in accuracy: few tasks
    teach the model to stop, so what follows is neither judged nor shown. A wrong answer has as many
    tokens as the correct one, extended to the end of its word, and ends earlier with the text or
    the line. An ellipsis marks a truncated number or word.

    Parameters
    ----------
    ids : the continuation in tokens, with up to `MORE` behind the length of the right answer.
    right : the right answer in tokens.
    decode : from tokens to text, without special tokens.
    ends : the end-of-text token.

    Examples
    --------
    >>> def letters(ids):
    ...     return "".join(map(chr, ids))
    >>> said(b" fifty-nine, and", b" six", letters)
    'fifty-nine'
    >>> said(b" sixty", b" six", letters)
    'six'
    >>> said(b" 788888", b" 6", letters)
    '7…'
    """
    if tuple(ids[: len(right)]) == tuple(right):
        return decode(right).strip()
    ids = list(ids[: len(right) + MORE])
    ended = ends in ids
    if ended:
        ids = ids[: ids.index(ends)]
    whole, begun = decode(ids), decode(ids[: len(right)])
    stop = len(begun)
    while within_word(whole, stop) and not whole[stop - 1].isdigit():
        stop += 1
    on = within_word(whole, stop) or (not ended and len(begun) < stop == len(whole))
    answer = whole[:stop].strip()
    if "\n" not in decode(right) and "\n" in answer:
        return answer.partition("\n")[0].strip()
    return answer + ("…" if on else "")


def within_word(text: str, at: int) -> bool:
    """Say whether a place in a text, from 1, lies between letters or digits of one word."""
    before, behind = text[at - 1 : at], text[at : at + 2]
    joined = behind[:1] in ("-", "'", "’") and behind[1:].isalnum()
    return (before.isalnum() or before in ("-", "'", "’")) and (behind[:1].isalnum() or joined)


@torch.no_grad()
def greedy(
    model: nn.Module, prompts: Sequence[Sequence[int]], count: int, K: int, pad_id: int
) -> list[list[list[int]]]:
    """Continue each prompt greedily, for all lanes at once.

    Parameters
    ----------
    prompts : n prompts in tokens, of any lengths >= 1.
    count : how many tokens to add; fewer where the model's context ends before.

    Returns
    -------
    For each lane, for each prompt, the tokens added.
    """
    device = next(model.parameters()).device
    context, n = context_of(model) or math.inf, len(prompts)
    lengths = torch.tensor([len(p) for p in prompts])
    # The last token is not read any more, so it may stand behind the context.
    counts = torch.tensor([int(max(0, min(count, context + 1 - len(p)))) for p in prompts])
    ids = torch.full((K * n, int(lengths.max()) + count), pad_id, dtype=torch.int64, device=device)
    for i, prompt in enumerate(prompts):
        ids[i::n, : len(prompt)] = torch.tensor(prompt, device=device)
    for added in range(int(counts.max())):
        going = counts > added
        used = int(lengths[going].max()) + added
        here = (
            (lengths + added).clamp(max=used).repeat(K)
        )  # a prompt that is through stays anywhere
        with head_at(model, (torch.arange(K * n) * used + here - 1).to(device)):
            likeliest = model(input_ids=ids[:, :used], use_cache=False).logits.argmax(-1)
        rows = going.repeat(K).nonzero()[:, 0]
        ids[rows.to(device), here[rows].to(device)] = likeliest[rows.to(device)]
    ends = zip(lengths.tolist(), (lengths + counts).tolist(), strict=True)
    spans = list(ends) * K
    texts = [ids[i, begin:end].tolist() for i, (begin, end) in enumerate(spans)]
    return [texts[k * n : (k + 1) * n] for k in range(K)]

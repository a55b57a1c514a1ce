"""What the base model and the lanes say to held-out prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from olora_viz.adapters import Lanes
from olora_viz.losses import context_of, head_at
from olora_viz.tasks.encoding import Encoded

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Answer:
    """One held-out prompt, and what everybody says to it."""

    prompt: str
    expected: str
    """The right answer."""
    base: str
    """What the base model says, cut to the length of the right answer in tokens. An ellipsis stands
    behind a wrong answer that was cut within a word."""
    lanes: tuple[str, ...]
    """What each lane says, cut likewise."""


def ask(
    lanes: Lanes,
    tokenizer: PreTrainedTokenizerBase,
    encoded: Sequence[Encoded],
    *,
    plain_text: bool = False,
) -> list[Answer]:
    """Let the base model and every lane answer prompts, each token the likeliest one.

    A plain text is cut in the middle: its first half is the prompt, its second the answer.
    """
    borders = [len(e.ids) // 2 if plain_text else e.supervised_from for e in encoded]
    prompts = [e.ids[:at] for e, at in zip(encoded, borders, strict=True)]
    wanted = [e.ids[at:] for e, at in zip(encoded, borders, strict=True)]
    if not prompts:
        return []
    count = max(map(len, wanted)) + 1
    pad_id = int(tokenizer.pad_token_id or 0)  # pyright: ignore[reportArgumentType]
    with lanes.off():
        base = greedy(lanes.model, prompts, count, 1, pad_id)[0]
    each = greedy(lanes.model, prompts, count, lanes.count, pad_id)

    def text(ids: Sequence[int]) -> str:
        return str(tokenizer.decode(list(ids), skip_special_tokens=True))

    def said(ids: list[int], right: tuple[int, ...]) -> str:
        n = len(right)
        cut, longer = text(ids[:n]), text(ids[: n + 1])
        goes_on = longer[len(cut) : len(cut) + 1]
        within_word = cut[-1:].isalnum() and (goes_on.isalnum() or goes_on == "-")
        return cut.strip() + ("…" if within_word and tuple(ids[:n]) != right else "")

    return [
        Answer(
            prompt=text(prompt),
            expected=text(right).strip(),
            base=said(base[i], right),
            lanes=tuple(said(lane[i], right) for lane in each),
        )
        for i, (prompt, right) in enumerate(zip(prompts, wanted, strict=True))
    ]


@torch.no_grad()
def greedy(
    model: nn.Module, prompts: Sequence[Sequence[int]], count: int, K: int, pad_id: int
) -> list[list[list[int]]]:
    """Continue each prompt by its likeliest tokens, for all lanes at once.

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

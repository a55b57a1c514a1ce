"""Greedy answers of the base model and of every lane."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import signature
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from olora_viz.lanes.adapters import Lanes
from olora_viz.lanes.groups import as_base, by_group
from olora_viz.lanes.memory import PassCost, known_cost
from olora_viz.lanes.plan import AdapterPlan
from olora_viz.machine.memory import pass_limit
from olora_viz.machine.process import Progress
from olora_viz.machine.tables import table
from olora_viz.models.folder import quiet
from olora_viz.tasks.batches import Batch, Size
from olora_viz.tasks.chat import Chat
from olora_viz.tasks.encoding import Encoded, encode_prompt
from olora_viz.tasks.losses import before_blocks, context_of, head_at

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


TOKENS_BEYOND = 8
"""Maximum tokens of a wrong answer beyond those of the right one, to complete its word."""


@dataclass(frozen=True)
class Answer:
    """One prompt and the answers to it."""

    prompt: str
    """As the model reads it, with its own token, such as ``<unk>``, for what it does not know."""
    expected: str
    """The correct answer; empty if nobody knows it."""
    base: str
    """The answer of the base model, as truncated by `answer_text`."""
    lanes: tuple[str, ...]
    """The answer of each lane, truncated likewise."""
    step: int | None = None
    """The step after which they were given; None if it was not noted."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Answer:
        """Read one back from its fields in JSON."""
        answers: dict[str, Any] = {**values, "lanes": tuple(values["lanes"])}
        return cls(**answers)


def ask(
    lanes: Lanes,
    tokenizer: PreTrainedTokenizerBase,
    encoded: Sequence[Encoded],
    progress: Progress,
    *,
    plain_text: bool = False,
    chat: Chat | None = None,
) -> list[Answer]:
    """Return greedy answers of the base model and every lane.

    A plain text is split in the middle: the first half is the prompt, the second the answer.
    """
    borders = [len(e.ids) // 2 if plain_text else e.supervised_from for e in encoded]
    prompts = [e.ids[:at] for e, at in zip(encoded, borders, strict=True)]
    wanted = [e.ids[at:] for e, at in zip(encoded, borders, strict=True)]
    if not prompts:
        return []
    base, each = _continued(lanes, prompts, max(map(len, wanted)) + TOKENS_BEYOND, tokenizer, progress)
    text, ends = _decoder(tokenizer), ends_of(tokenizer, chat)
    return [
        Answer(
            prompt=encoded[i].prompt or _as_read(tokenizer, prompt),
            expected=text(right).strip(),
            base=answer_text(base[i], right, text, ends),
            lanes=tuple(answer_text(lane[i], right, text, ends) for lane in each),
        )
        for i, (prompt, right) in enumerate(zip(prompts, wanted, strict=True))
    ]


def written(
    lanes: Lanes,
    tokenizer: PreTrainedTokenizerBase,
    encoded: Sequence[Encoded],
    progress: Progress,
    *,
    chat: Chat | None = None,
    stops: bool = True,
) -> list[list[str]]:
    """Return greedy answers as texts: of the base model, then of every lane, to each prompt.

    Args:
        stops: whether the right answers end with an end token. An answer then ends with its own, or after
            `TOKENS_BEYOND` tokens more than the longest right one; else it is truncated by `answer_text`.
    """
    prompts, right = [e.ids[: e.supervised_from] for e in encoded], [e.ids[e.supervised_from :] for e in encoded]
    base, each = _continued(lanes, prompts, max(map(len, right)) + TOKENS_BEYOND, tokenizer, progress)
    text, ends = _decoder(tokenizer), ends_of(tokenizer, chat)

    def said(ids: Sequence[int], wanted: Sequence[int]) -> str:
        if not stops:
            return answer_text(ids, wanted, text, ends).removesuffix("…")
        return text(list(takewhile(lambda token: token not in ends, ids))).strip()

    return [[said(*pair) for pair in zip(answers, right, strict=True)] for answers in (base, *each)]


def covering(encoded: Sequence[Encoded], count: int) -> list[Encoded]:
    """Return `count` examples that have as many different right answers as they can, the first one first."""
    firsts: dict[tuple[int, ...], Encoded] = {}
    for each in encoded:
        firsts.setdefault(each.ids[each.supervised_from :], each)
    others = (each for each in encoded if firsts[each.ids[each.supervised_from :]] is not each)
    return [*firsts.values(), *others][:count]


def ask_own(
    lanes: Lanes,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    length: int,
    progress: Progress,
    *,
    chat: Chat | None = None,
    limit: float = math.inf,
) -> Answer:
    """Return greedy answers of the base model and every lane to a prompt of the user's own.

    Args:
        prompt: read as it is, without spaces at its end, which would belong to the answer.
        length: tokens of an answer, which is extended to the end of its word.
        chat: the template that formats the prompt, as a message of the user.
        limit: maximum tokens of prompt and answer, to which a longer prompt is cut at its left.

    Raises:
        ValueError: the prompt is empty, or leaves no room for an answer in the model's context.
    """
    context = context_of(lanes.model) or math.inf
    if not prompt.strip():
        raise ValueError("the prompt is empty")
    read = encode_prompt(prompt.rstrip(" "), tokenizer, chat=chat, limit=limit - length)
    if len(read.ids) + length > context:
        raise ValueError(
            f"the prompt is {len(read.ids)} tokens long, and with {length} for the answer more than "
            f"the model's context, {context}"
        )
    base, each = _continued(lanes, [read.ids], length + TOKENS_BEYOND, tokenizer, progress)
    text, ends = _decoder(tokenizer), ends_of(tokenizer, chat)
    of_base, *of_lanes = (in_whole_words(ids[0], length, text, ends) for ids in (base, *each))
    return Answer(read.prompt or _as_read(tokenizer, read.ids), "", of_base, tuple(of_lanes))


def _decoder(tokenizer: PreTrainedTokenizerBase) -> Callable[[Sequence[int]], str]:
    return lambda ids: str(tokenizer.decode(list(ids), skip_special_tokens=True))


def _as_read(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """Return a prompt as text, without special tokens but with that of unknown characters.

    Without it, the prompt would seem to lack the characters that the model does not know.
    """
    added = tokenizer.added_tokens_decoder
    hidden = {token for token, content in added.items() if content.special}
    if tokenizer.unk_token_id != tokenizer.eos_token_id:
        hidden.discard(tokenizer.unk_token_id)
    return str(tokenizer.decode([token for token in ids if token not in hidden]))


def ends_of(tokenizer: PreTrainedTokenizerBase, chat: Chat | None) -> tuple[int, ...]:
    """Return the tokens that end an answer: end of text, if there is one, and of a chat's turn."""
    eos = tokenizer.eos_token_id
    return ((eos,) if isinstance(eos, int) else ()) + ((chat.end,) if chat else ())


def _continued(
    lanes: Lanes,
    prompts: Sequence[tuple[int, ...]],
    count: int,
    tokenizer: PreTrainedTokenizerBase,
    progress: Progress,
) -> tuple[list[list[int]], list[list[list[int]]]]:
    """Continue each prompt greedily, by the base model and by every lane.

    Lanes, and prompts if one lane does not fit into memory with all of them, are asked in groups.

    Returns:
        For the base model, and for each lane, for each prompt: the tokens added.
    """
    pad_id: Any = tokenizer.pad_token_id or 0
    device, longest = lanes.theta.device, max(map(len, prompts)) + count
    cost = answer_cost(lanes.plan, lanes)
    limit, together = pass_limit(device) or math.inf, len(prompts)
    while together > 1 and cost.bytes(Size(together, longest, together)) > limit:
        together = math.ceil(together / 2)

    parts = [prompts[i : i + together] for i in range(0, len(prompts), together)]

    def answered(K: int, tell: Callable[[float], None]) -> list[list[list[int]]]:
        answers: list[list[list[int]]] = [[] for _ in range(K)]
        for part in parts:
            with before_blocks(lanes.model, lambda: tell(len(answers[0]) / len(prompts))):
                each = greedy(lanes.model, part, count, K, pad_id)
            for k in range(K):
                answers[k] += each[k]
        return answers

    words, all_asked = "generating answers", 1 + lanes.count

    def of_lanes(rows: slice, _: Tensor, tell: Progress) -> list[list[list[int]]]:
        return answered(rows.stop - rows.start, lambda part: tell(part, words))

    bytes_each = cost.bytes(Size(together, longest, together))
    with quiet():  # here as well, since the threads of groups would restore each other's settings
        (base,) = as_base(lanes, lambda tell: answered(1, lambda part: tell(part / all_asked, words)), progress)
        groups = by_group(
            lanes, bytes_each, of_lanes, lambda part, _: progress((1 + part * lanes.count) / all_asked, words)
        )
    return base, [answers for group in groups for answers in group]


def answer_cost(plan: AdapterPlan, lanes: Lanes | None = None) -> PassCost:
    """Return the memory of one lane's answers: the tokens of a row are its prompt and its answer."""

    def answer(lanes: Lanes, batch: Batch) -> None:
        _generate(lanes.model, batch.input_ids.tolist(), 1, 1, 0)

    return known_cost("answers", plan, answer, lanes)


def answer_text(
    ids: Sequence[int], right: Sequence[int], decode: Callable[[Sequence[int]], str], ends: Collection[int] = ()
) -> str:
    """Return the answer part of a continuation, in whole words.

    An answer is correct if it begins with the tokens of the correct one, as in accuracy: few tasks teach the model to
    stop, so what follows is neither judged nor shown. A wrong answer has as many tokens as the correct one, extended
    to the end of its word, and ends earlier with the text or the line. An ellipsis marks a truncated number or word.

    Args:
        ids: the continuation in tokens, with up to `TOKENS_BEYOND` beyond the length of the right answer.
        decode: from tokens to text, without special tokens.

    Examples:
        >>> def letters(ids):
        ...     return "".join(map(chr, ids))
        >>> answer_text(b" fifty-nine, and", b" six", letters)
        'fifty-nine'
        >>> answer_text(b" sixty", b" six", letters)
        'six'
        >>> answer_text(b" 788888", b" 6", letters)
        '7…'
    """
    if tuple(ids[: len(right)]) == tuple(right):
        return decode(right).strip()
    return in_whole_words(ids, len(right), decode, ends, lines="\n" in decode(right))


def in_whole_words(
    ids: Sequence[int],
    length: int,
    decode: Callable[[Sequence[int]], str],
    ends: Collection[int] = (),
    *,
    lines: bool = False,
) -> str:
    """Return the first tokens of a continuation, extended to the end of a word, see `answer_text`.

    Args:
        ids: with up to `TOKENS_BEYOND` tokens beyond `length`.
        lines: whether it may have several lines; otherwise it ends with the first one.
    """
    read = ids[: length + TOKENS_BEYOND]
    ids = list(takewhile(lambda token: token not in ends, read))
    ended = len(ids) < len(read)
    whole, begun = decode(ids), decode(ids[:length])
    stop = len(begun)
    while within_word(whole, stop) and not whole[stop - 1].isdigit():
        stop += 1
    on = within_word(whole, stop) or (not ended and len(begun) < stop == len(whole))
    answer = whole[:stop].strip()
    if not lines and "\n" in answer:
        return answer.partition("\n")[0].strip()
    return answer + ("…" if on else "")


def within_word(text: str, at: int) -> bool:
    """Whether a position in a text, from 1, lies between letters or digits of one word."""
    before, behind = text[at - 1 : at], text[at : at + 2]
    joined = behind[:1] in ("-", "'", "’") and behind[1:].isalnum()
    return (before.isalnum() or before in ("-", "'", "’")) and (behind[:1].isalnum() or joined)


def greedy(
    model: nn.Module, prompts: Sequence[Sequence[int]], count: int, K: int, pad_id: int
) -> list[list[list[int]]]:
    """Continue each prompt greedily, for all lanes at once, with `model.generate`.

    Args:
        prompts: n prompts in tokens, of any lengths >= 1.
        count: number of tokens to add; fewer if the model's context ends before.

    Returns:
        For each lane, for each prompt, the tokens added.
    """
    context = context_of(model) or math.inf
    # The last token is not read any more, so it may lie beyond the context.
    counts = [int(max(0, min(count, context + 1 - len(prompt)))) for prompt in prompts]
    added: list[list[list[int]]] = [[[] for _ in prompts] for _ in range(K)]
    for more in sorted(set(counts) - {0}):  # a call adds as many tokens to each of its prompts
        those = [i for i, n in enumerate(counts) if n == more]
        tokens_of_rows = _generate(model, [prompts[i] for i in those], more, K, pad_id).tolist()
        for row, tokens in enumerate(tokens_of_rows):
            lane, place = divmod(row, len(those))
            added[lane][those[place]] = tokens
    return added


@torch.no_grad()
def drawn(
    model: Any,
    prompts: Sequence[Sequence[int]],
    count: int,
    seeds: Sequence[int],
    pad_id: int,
    width: int = 0,
    samples: int = 1,
) -> list[list[int]]:
    """Return so many tokens after each prompt, drawn from the model's predictions.

    Args:
        prompts: those of K lanes, if these are active, lane after lane.
        seeds: one for each prompt, or for as many prompts in a row as there are to one seed.
        width: least number of tokens to which prompts are padded.
        samples: how often each prompt is continued, one after the other.

    The token with the largest sum of logit and Gumbel noise is a draw from the softmax (Maddison et al. 2014, arXiv
    1411.0030), so no other random number is touched.
    """
    from transformers import LogitsProcessorList

    generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def noisy(_: Tensor | None, scores: Tensor) -> Tensor:
        shape = len(scores) // len(seeds), scores.shape[1]
        waits = [torch.empty(shape).exponential_(generator=generator) for generator in generators]
        return scores - torch.cat(waits).log().to(scores)

    takes = signature(model.forward).parameters
    cached = next((name for name in ("cache", "past_key_values") if name in takes), None)  # as it was called before
    if samples > 1 and cached and "position_ids" in takes and not getattr(model, "_is_stateful", True):
        padded = _padded(model, prompts, pad_id, width)
        return _branched(model, *padded, count, samples, partial(noisy, None), cached).tolist()
    prompts = [prompt for prompt in prompts for _ in range(samples)]
    return _generate(model, prompts, count, 1, pad_id, LogitsProcessorList([noisy]), width).tolist()


def _branched(
    model: Any, ids: Tensor, read: Tensor, count: int, samples: int, noisy: Callable[[Tensor], Tensor], cached: str
) -> Int[Tensor, "rows count"]:
    """Continue each prompt so many times by the largest of `noisy` logits; the prompt itself is read once.

    Args:
        ids, read: see `_padded`.
        cached: the name of the model's argument that takes keys and values.
    """
    from transformers import DynamicCache

    (rows, width), cache = ids.shape, DynamicCache(config=model.config)
    going: Any = {cached: cache, "use_cache": True}
    places = (read.cumsum(1) - 1).clamp(min=0)
    with head_at(model, torch.arange(1, rows + 1, device=ids.device) * width - 1):
        logits = model(input_ids=ids, attention_mask=read, position_ids=places, **going).logits
    logits = logits.repeat_interleave(samples, 0)
    cache.batch_repeat_interleave(samples)
    place, read = places[:, -1:].repeat_interleave(samples, 0), read.repeat_interleave(samples, 0)
    tokens: list[Tensor] = []
    while True:
        tokens.append(noisy(logits.to(torch.promote_types(logits.dtype, torch.float32))).argmax(-1, keepdim=True))
        if len(tokens) == count:
            return torch.cat(tokens, 1)
        place, read = place + 1, torch.cat([read, torch.ones_like(place)], 1)
        logits = model(input_ids=tokens[-1], attention_mask=read, position_ids=place, **going).logits[:, -1]


def _generate(
    model: Any, prompts: Sequence[Sequence[int]], count: int, K: int, pad_id: int, noise: Any = None, width: int = 0
) -> Int[Tensor, "rows count"]:
    """Return `count` tokens for each prompt, lane after lane; prompts are padded on the left."""
    ids, read = _padded(model, prompts, pad_id, width)
    with quiet():
        continued = model.generate(
            ids.repeat(K, 1), attention_mask=read.repeat(K, 1),
            max_new_tokens=count, pad_token_id=pad_id, eos_token_id=None, do_sample=False,
            num_beams=1, repetition_penalty=1.0, temperature=None, top_p=None, top_k=None, logits_processor=noise,
        )  # fmt: skip
    return continued[:, ids.shape[1] :]


def _padded(model: nn.Module, prompts: Sequence[Sequence[int]], pad_id: int, width: int) -> tuple[Tensor, Tensor]:
    """Return prompts, padded on the left to at least so many tokens, and 1 where there is one, else 0."""
    width, device = max(width, *map(len, prompts)), next(model.parameters()).device
    # The operations do not depend on the number of prompts, as the estimate of memory expects.
    ids = torch.tensor([[pad_id] * (width - len(prompt)) + list(prompt) for prompt in prompts])
    read = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return ids.to(device), read.to(device)


class Answers(list[Answer]):
    """Answers of the base model and K lanes."""

    def __init__(self, answers: Iterable[Answer], labels: Sequence[str]) -> None:
        super().__init__(answers)
        self.labels = tuple(labels)

    def __repr__(self) -> str:
        """Return each prompt with its right answer, and below it the answers."""
        lines = []
        for answer in self:
            lines += [f"{answer.prompt.strip()} → {answer.expected}", f"  base model: {answer.base}"]
            lines += [f"  {label}: {words}" for label, words in zip(self.labels, answer.lanes, strict=True)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = [(each.prompt, each.expected, each.base, *each.lanes) for each in self]
        return table(["prompt", "right answer", "base model", *self.labels], rows)

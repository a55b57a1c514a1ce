"""An example's tokens as text, as a reader wants to see them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

from olora_viz.tasks.chat import Chat
from olora_viz.tasks.encoding import encode, text_of
from olora_viz.tasks.task import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Piece(NamedTuple):
    """A token of an example."""

    text: str
    """What it stands for; empty for the later tokens of a character that takes several."""
    supervised: bool
    """Whether the loss is computed on it."""


def pieces_of(
    example: Example,
    tokenizer: PreTrainedTokenizerBase,
    *,
    ends: bool = False,
    chat: Chat | None = None,
) -> list[Piece]:
    """Return the tokens that a race reads of an example, each with its part of the text.

    Special tokens, and the token of unknown characters, have their own names as text. The texts of
    the others join to ``prompt + answer``, since each one starts where the last one ends. With a
    chat template, all of them join to what it writes.

    Parameters
    ----------
    example : prompt and answer
    tokenizer : a fast tokenizer, with offsets
    ends : whether the end-of-text token is supervised too
    chat : the template that formats the example

    Raises
    ------
    ValueError
        If the example is a single token, or the template does not fit.
    """
    (encoded,) = encode(
        [example], tokenizer, context=sys.maxsize, ends=ends, choices=False, chat=chat
    ).kept
    prompt, (answer,), *_ = text_of(example, chat)
    text = prompt + answer
    read = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    inner, offsets = read["input_ids"], read["offset_mapping"]
    after = int(ends and not chat and isinstance(tokenizer.eos_token_id, int))
    before = len(encoded.ids) - len(inner) - after
    texts = [str(tokenizer.convert_ids_to_tokens(token)) for token in encoded.ids]
    reached = 0
    for at, (token, (_, stop)) in enumerate(zip(inner, offsets, strict=True), start=before):
        if token != tokenizer.unk_token_id:
            texts[at] = text[reached:stop]
        reached = max(reached, stop)
    return [Piece(text, at >= encoded.supervised_from) for at, text in enumerate(texts)]

"""A visitor's own examples as a model reads them: their tokens, and what is supervised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from olora_viz.tasks import Example
from olora_viz.tasks.chat import Chat, unused_template
from olora_viz.tasks.pieces import Piece, pieces_of
from olora_viz.views import html as fragments

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SHOWN = 3
"""Number of examples."""

FIRST, LAST = 14, 8
"""Tokens shown of a longer prompt or answer: the first and the last ones."""

CHARACTERS = 60
"""The longest text of a token, or of a prompt or answer's beginning or end where there are none."""


def preview(
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase | None,
    *,
    model: str,
    longest: int,
    chat: bool = False,
    truncate: bool = False,
) -> Markup:
    """Return the first examples of a file, token by token, with the supervised ones highlighted.

    What makes a chat template unusable is said in place of them.

    Parameters
    ----------
    examples : those of a task whose answers end with the end-of-text token
    tokenizer : that of the model; without one, the texts are shown whole
    model : its name
    longest : tokens of the longest example that a race keeps
    chat : whether the model's chat template formats them
    truncate : whether the prompts of longer examples are cut
    """
    first = sorted(examples, key=lambda example: example.line)[:SHOWN]
    try:
        template = Chat(tokenizer, model) if tokenizer and chat else None
        shown = [_example(each, tokenizer, longest, template, truncate) for each in first]
    except ValueError as error:
        return fragments.problem(f"{error}.")
    read = f"as {model} reads them, token by token" if tokenizer else "as text"
    missing = "" if tokenizer else f" Tokens are shown once {model} is on this server."
    unused = "" if chat else unused_template(tokenizer, model)
    legend = Markup(
        '<p class="hint">Your first examples {}. <mark>Highlighted</mark>: what the loss is '
        "computed on.{}{}</p>"
    ).format(read, missing, unused and f" {unused}.")
    more = Markup("<details><summary>{} more of them</summary>{}</details>").format(
        len(shown) - 1, Markup("").join(shown[1:])
    )
    return Markup('<div class="own-examples">{}{}{}</div>').format(legend, shown[0], more)


def _example(
    example: Example,
    tokenizer: PreTrainedTokenizerBase | None,
    longest: int,
    chat: Chat | None,
    truncate: bool,
) -> Markup:
    if tokenizer is None:
        pieces = [Piece(example.prompt, False), Piece(example.answer, True)]
        count = ""
    else:
        pieces = pieces_of(example, tokenizer, ends=True, chat=chat)
        supervised = sum(piece.supervised for piece in pieces)
        count = f": {len(pieces)} tokens, {supervised} supervised"
        if len(pieces) > longest and truncate and supervised < longest:
            count += f"; a race cuts its prompt at the left to {longest} tokens in all"
        elif len(pieces) > longest:
            count += f"; a race leaves out examples of more than {longest}"
        elif any(piece.text == tokenizer.unk_token != tokenizer.eos_token for piece in pieces):
            count += f"; {tokenizer.unk_token}: a character that the model does not know"
    prompt, answer = ([p for p in pieces if p.supervised == which] for which in (False, True))
    text = _part(prompt, "span") + _part(answer, "mark")
    return Markup('<p class="tokens{}">{}</p><p class="hint">Line {}{}</p>').format(
        "" if tokenizer else " whole", text, example.line, count
    )


def _part(pieces: Sequence[Piece], tag: str) -> Markup:
    """Return the tokens of a prompt or an answer, without those in the middle if it is long."""
    boxes = [
        Markup("<{0}>{1}</{0}>").format(tag, _short(piece.text).replace("\n", "↵\n") or "·")
        for piece in pieces
    ]
    left_out = len(boxes) - FIRST - LAST
    if left_out > 1:
        boxes[FIRST:-LAST] = [Markup("<i> … {} more … </i>").format(left_out)]
    return Markup("").join(boxes)


def _short(text: str) -> str:
    left_out = len(text) - 2 * CHARACTERS
    return f"{text[:CHARACTERS]} … {text[-CHARACTERS:]}" if left_out > 3 else text

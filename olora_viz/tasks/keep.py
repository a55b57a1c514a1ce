"""Texts to keep: what a model should not lose while it learns a task."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from olora_viz.machine.checks import unknown
from olora_viz.tasks import TASKS, load_task
from olora_viz.tasks.chat import Chat
from olora_viz.tasks.encoding import Encoded, Encoding, encode, front_of
from olora_viz.tasks.files import TASK_ENDINGS, is_plain, read_examples, read_text
from olora_viz.tasks.rows import all_answers
from olora_viz.tasks.task import AUTO, NONE, Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

V = TypeVar("V")

PASSAGES, TOKENS_A_PASSAGE = 8, 64
"""The passages of a text that are measured, evenly spread over it, and the tokens of each."""

MOST_EXAMPLES = 64
"""Maximum examples of a task that are measured."""

MOST_REPLAYED = 64
"""Maximum passages or examples, beside those that are measured, that lanes may replay."""

LEAST_PREDICTED = 8
"""Minimum tokens that a passage to replay predicts."""

LEAST_TOKENS = 200
"""Minimum tokens of a text to keep."""

MOST_CHARACTERS = 200_000
"""Characters of a text file that are read; what comes after them is not measured."""


@dataclass(frozen=True)
class TextToKeep:
    """A text that should not be lost, as tokens of a model."""

    name: str
    """What it is: ``plain English``, or the name of a task or a file."""
    encoded: tuple[Encoded, ...]
    """Passages, of which every token is supervised, or examples, of which the answers are."""
    bytes: int
    """Length of what is supervised in UTF-8."""
    to_replay: tuple[Encoded, ...] = ()
    """What lanes may replay: passages that share no token with the measured ones, or other examples of the task."""

    @property
    def tokens(self) -> int:
        """The number of supervised tokens."""
        return sum(len(each.ids) - each.supervised_from for each in self.encoded)


def text_to_keep(
    keep: str,
    model: str,
    tokenizer: PreTrainedTokenizerBase,
    *,
    context: int,
    train: Sequence[Example],
    split_seed: int = 0,
    chat: Chat | None = None,
) -> TextToKeep | None:
    """Read a text to keep.

    Args:
        keep: `AUTO`, `NONE`, the name of a task, or the path of a file: a task file by its ending, else plain text.
        model: its name decides which text of the package is taken.
        context: maximum tokens of the model.
        train: the examples that a race trains on; none if they are unknown.
        split_seed: of a named task, whose held-out examples are the first that are taken.
        chat: the template that formats the prompts of a task.

    Returns:
        TextToKeep | None
            Up to `PASSAGES` passages of `TOKENS_A_PASSAGE` tokens, or up to `MOST_EXAMPLES` examples; None for
            `NONE`, and for `AUTO` if the package has no text for the model.

    Raises:
        ValueError: an unknown name, an invalid file, a text of less than `LEAST_TOKENS` tokens, or one with all
            training examples.
    """
    if not has_text(keep, model):
        return None
    if keep == AUTO:
        return _passages(*OF_PACKAGE[model], tokenizer, context)
    path = Path(keep).expanduser()
    is_name = keep in TASKS or not (path.suffix or "/" in keep or path.exists())
    if is_name and keep not in TASKS:
        raise ValueError(f"{unknown('text to keep', keep, (AUTO, NONE, *TASKS))} (or pass a text file or a task file)")
    if is_name or path.suffix.lower() in TASK_ENDINGS:
        task = load_task(keep, split_seed) if is_name else None
        examples = task.held_out + task.test + task.train if task else read_examples(path)
        texts = {_normalized(example) for example in all_answers(examples)}
        read = _examples(
            keep if task else path.name, examples, tokenizer, context, chat,
            plain_text=is_plain(examples, repr(keep)), ends=task is None or task.ends,
        )  # fmt: skip
        has_all = bool(train) and all(_normalized(example) in texts for example in train)
        length = sum(len(each.ids) for each in read.encoded)
    else:
        text = read_text(path, "a text to keep is a file")[:MOST_CHARACTERS]
        read = _passages(path.name, text, tokenizer, context)
        words = " ".join(text.split())
        has_all = bool(train) and all(_normalized(example) in words for example in train)
        length = len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    if length < LEAST_TOKENS:
        raise ValueError(f"the text to keep, {keep!r}, has {length} tokens: at least {LEAST_TOKENS} are needed")
    if has_all:
        raise ValueError(f"the text to keep, {keep!r}, has all training examples: name a text that is not trained on")
    return read


def _passages(name: str, text: str, tokenizer: PreTrainedTokenizerBase, context: int) -> TextToKeep:
    """Cut a text into passages, evenly spread over it, each of which the model reads from its own first token."""
    read = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids, offsets, front = read["input_ids"], read["offset_mapping"], front_of(tokenizer)
    before = 0 if front else 1  # the first token of a passage is not predicted, unless one stands in front of the text
    width = max(1, min(TOKENS_A_PASSAGE, context - len(front), len(ids) - before))
    room = len(ids) - before - width
    count = max(1, min(PASSAGES, (len(ids) - before) // width))
    starts = [room * i // max(1, count - 1) for i in range(count)]
    encoded = tuple(Encoded(front + tuple(ids[at : at + before + width]), len(front) + before) for at in starts)
    spans = ((offsets[at + before][0], offsets[at + before + width - 1][1]) for at in starts)
    borders = [0, *(border for at in starts for border in (at, at + before + width)), len(ids)]
    others = [
        front + tuple(ids[a:b])
        for gap in zip(borders[::2], borders[1::2], strict=True)
        for a, b in _cut(*gap, width + before)
    ]
    replayed = tuple(Encoded(each, len(front) + before) for each in _spread(others))
    return TextToKeep(name, encoded, sum(len(text[a:b].encode()) for a, b in spans), replayed)


def _cut(a: int, b: int, most: int) -> Iterator[tuple[int, int]]:
    """Cut what lies between two measured passages into the fewest even parts of at most so many tokens.

    >>> list(_cut(100, 200, most=64)), list(_cut(100, 105, most=64))
    ([(100, 150), (150, 200)], [])
    """
    count = math.ceil((b - a) / most)
    borders = [a + i * (b - a) // max(1, count) for i in range(count + 1)]
    return (part for part in pairwise(borders) if part[1] - part[0] > LEAST_PREDICTED)


def _spread(parts: Sequence[V]) -> Sequence[V]:
    """Return at most `MOST_REPLAYED` of some parts, evenly spread."""
    count = min(len(parts), MOST_REPLAYED)
    return [parts[i * len(parts) // count] for i in range(count)]


def _examples(
    name: str, examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, context: int, chat: Chat | None,
    *, plain_text: bool, ends: bool,
) -> TextToKeep:  # fmt: skip
    def encoded(examples: Sequence[Example]) -> Encoding:
        return encode(
            examples, tokenizer, context=context, ends=ends, plain_text=plain_text, choices=False, truncate=True,
            chat=None if plain_text else chat,
        )  # fmt: skip

    measured = {*map(_normalized, examples[:MOST_EXAMPLES])}
    others = [each for each in all_answers(examples[MOST_EXAMPLES:]) if _normalized(each) not in measured]
    read, replayed = encoded(examples[:MOST_EXAMPLES]), encoded(_spread(others)).kept if others else ()
    return TextToKeep(name, read.kept, sum(len(example.answer.encode()) for example in read.examples), replayed)


def _normalized(example: Example) -> str:
    return " ".join(f"{example.prompt}{example.answer}".split())


def bits_per_byte(nats: float, tokens: int, size: int) -> float:
    """Return a loss in nats per token in bits per byte, which compares models of different tokenizers.

    Args:
        tokens, size: of the text, the size in bytes.

    >>> bits_per_byte(math.log(2), tokens=8, size=4)
    2.0
    """
    return nats * tokens / size / math.log(2)


ENGLISH = """\
One morning the little girl sat by the window and looked at the garden. It had been raining all night, and the grass
was wet, and there was nobody to play with. “I wonder what the flowers say to each other when nobody is there,” she
said to herself. “I should think they say very little, for they have such small heads.”

Just then a large white bird came down upon the gate. It had a golden key in its mouth, and it looked at her with one
eye, as if it wanted to ask her something. She opened the door very softly and went out. “If you please,” she said,
“is that the key of our house?” The bird put the key down on a stone. “It was the key of a house,” it said, in rather
a sad voice, “but the house has gone away, and now I do not know what to do with it.”

“Houses do not go away,” said the little girl. “They have no feet.”

“That is all you know about it,” the bird replied. “Mine had four of them, and it could run much faster than you.” And
it began to cry so loud that the old gardener came round the corner to see what was the matter.

Now the gardener was a very tall man, and he always spoke as if he were half asleep. “I saw a house go by this
morning,” he said. “It went over the hill and down to the river. It asked me the way to the sea, and I told it to turn
to the left, and then it thanked me and shut its door.”

“Then we must go after it at once!” cried the little girl, and she took the key in her hand, and ran down the road as
fast as she could.

They had not gone very far when they met a hen, who was sitting on a chair in the middle of the road and reading a
book. “Have you seen a house?” asked the bird. “I have seen a great many,” said the hen, without looking up, “and I
did not like one of them. Please go away. I have come to the end of my story, and I want to know whether the queen
will marry the king or not.”

“But this house had feet,” the little girl began.

“Ah!” said the hen, and she shut the book. “Then it is quite another thing. It is under that tree, and it is eating my
dinner.”

And there it was, a small red house with a green door. It looked very tired, and one of its windows was broken. The
little girl put the key into the door and turned it round, and the house gave a long sigh, and sat down on the grass.
“Thank you,” it said. “I could not remember where I lived. It is a hard thing to be a house, and to have nobody at
home.” The bird flew in at the window, and soon there was a light in every room, and they all had tea together, and
the hen was allowed to pour it out.
"""

PORTUGUESE = """\
Uma manhã, estava eu á janella quando vi passar um homem que levava uma porta ás costas. Não era uma porta grande, mas
pareceu-me pesada, porque elle parava a cada passo e olhava para o céu, como quem pede alguma cousa. Desci á rua e
perguntei-lhe para onde ia com ella. --Não sei, disse elle; a casa ficou velha e cahiu, e eu só pude salvar a porta.
Agora procuro uma parede que a queira.

Achei graça, mas não ri. O homem tinha os olhos tristes, e eu tambem já perdi algumas cousas na vida. Convidei-o a
entrar, dei-lhe uma cadeira e uma chicara de café, e elle encostou a porta á parede da sala. Minha mãe veiu ver quem
era, e ficou a olhar para a porta sem dizer nada.

--É uma boa porta, disse ella depois de algum tempo. Não abre para lugar nenhum, mas fecha muito bem.

O homem ficou contente com essas palavras. Contou-nos então que a porta era de seu avô, que a fizera com as proprias
mãos no anno em que se casou, e que toda a familia tinha passado por ella: os noivos, os filhos, os amigos, e por fim
os mortos. --Quando alguem batia, disse elle, eu sabia logo quem era, antes de abrir. Uma porta conhece a gente.

Conversámos até á noite. Quando elle quiz sair, a chuva era tanta que minha mãe não o deixou ir. Deu-lhe o quarto dos
fundos, que não tinha porta desde o tempo de meu pae. O homem olhou para o quarto, olhou para a porta, e não disse
nada; mas eu vi que as mãos lhe tremiam. Na manhã seguinte acordei com o barulho de um martello. A porta estava no seu
lugar, e parecia que nunca tinha estado em outro.

Isto foi ha muitos annos. O homem ficou comnosco alguns mezes, e depois foi-se embora, porque era dos que não podem
ficar. Deixou a porta. Ás vezes, de noite, ouço bater tres vezes, muito de leve, e sei que não é o vento. Levanto-me,
vou até lá, e digo em voz baixa: Pode entrar. Ninguem entra, é verdade; mas volto para a cama com o coração mais
leve, e durmo até de manhã.
"""

OF_PACKAGE = {
    **dict.fromkeys(("glassllm", "glassllm-sentiment", "smollm2-135m", "smollm2-360m"), ("plain English", ENGLISH)),
    "glassllm-pt": ("plain Portuguese", PORTUGUESE),
}
"""The texts that come with the package, with their names, by model."""


def has_text(keep: str, model: str) -> bool:
    """Whether something is measured: neither is it `NONE`, nor `AUTO` for a model without a text in the package."""
    return keep != NONE and (keep != AUTO or model in OF_PACKAGE)

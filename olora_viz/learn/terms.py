"""Terms and formulas: the glossary, and the words that open it."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import NamedTuple

from latex2mathml.converter import convert
from markupsafe import Markup

from olora_viz.initializers import INITIALIZERS

INLINE = re.compile(r"\$([^$]+)\$")
"""A formula inside a sentence, between two dollar signs."""


@cache
def formula(latex: str) -> Markup:
    r"""Return a display formula.

    >>> "<msup><mi>B</mi><mn>0</mn></msup>" in formula(r"B^0")
    True
    """
    return _math(latex, "block")


def sentence(text: str) -> Markup:
    """Return a sentence as HTML: text escaped, formulas between dollar signs rendered.

    >>> sentence("2 < 3")
    Markup('2 &lt; 3')
    """
    parts = INLINE.split(text)
    return Markup("").join(_math(part, "inline") if i % 2 else part for i, part in enumerate(parts))


def plain(text: str) -> str:
    """Return a sentence without its dollar signs, for places that cannot render formulas.

    >>> plain("of $B$ and $A$")
    'of B and A'
    """
    return INLINE.sub(r"\1", text)


def _math(latex: str, display: str) -> Markup:
    return Markup(convert(latex, display=display))  # noqa: S704 (MathML escapes its text)


class Term(NamedTuple):
    """A term and its meaning; formulas are in LaTeX between dollar signs."""

    word: str
    meaning: str
    source: str = ""


GLOSSARY = (
    Term("adapter", "Two thin matrices, $A$ and $B$, next to a frozen weight. Only they are trained.",
         INITIALIZERS["lora"].source),
    Term("alpha", r"The scaling hyperparameter: the adapter's product is multiplied by $\alpha / r$."),
    Term("base model", "The pretrained language model that the adapters modify. It is frozen: no race changes it."),
    Term("certainty", "How sure a verdict is. Clear: from three seeds or more, and beyond 95% intervals that allow "
         "for the number of comparisons. Level: any difference is too small to matter. Open: it may be chance. One "
         "run: a single seed, which cannot tell."),
    Term("chain", "Races on several tasks, one after the other: after each, every lane's product is merged into the "
         "weights that its next race begins with."),
    Term("claim", "A statement of a paper, together with the measurement that decides it."),
    Term("diverged", "A lane whose loss or gradient is no longer finite, or whose gradient is exactly zero for two "
         "steps while its loss is above the base model's. It stops; the other lanes continue."),
    Term("drift", "How far a lane's predictions are from the base model's on a text to keep: their Kullback-Leibler "
         "divergence, in nats per token. Zero before the first step."),
    Term("effective rank", "The number of directions a matrix effectively uses: the exponential of "
         "the entropy of its normalized singular values.", "Roy and Vetterli 2007"),
    Term("energy", r"The sum of the squared singular values, $\|W\|_F^2$. The energy of a start is "
         "the share of it that the start captures."),
    Term("fair rate", "A learning rate that suits an initialization, so that only the initialization is compared: the "
         "best rate of a sweep, or plain LoRA's rate scaled by the curvature."),
    Term("gradient norm", "The Euclidean norm of a lane's gradient, over all its parameters and "
         "before clipping: how steep the loss is."),
    Term("held-out loss", "The loss on examples that no lane trained on, in nats per answer token. Lower is better."),
    Term("Hessian eigenvalue", r"The curvature of the loss along one direction. The largest, "
         r"$\lambda_{\max}$, bounds the rate of plain gradient descent by $2 / \lambda_{\max}$."),
    Term("initialization", "The values of $A$ and $B$ before the first step, also called the "
         "start. A race compares initializations."),
    Term("intrinsic dimension", "The least number of random directions along which a lane learns a task nearly as "
         "well as along every entry of $A$ and $B$. With the key dim a lane trains along so many.",
         "Li et al. 2018, arXiv 1804.08838"),
    Term("keep KL", "A key of a lane: the weight in its loss of the Kullback-Leibler divergence between the base "
         "model's predictions and its own, on the passages that it replays. It holds them there."),
    Term("lane", "One contender of a race: an initialization with its rank, alpha, learning rate and seed."),
    Term("LoRA", r"Plain low-rank adaptation: $A$ random, $B$ zero.",
         INITIALIZERS["lora"].source),
    Term("nat", "The unit of the loss: one nat less multiplies the probability of the correct token by $e$."),
    Term("OLoRA", "The initialization $B = Q_r$ and $A = R_r$, from the QR factors of $W$.",
         INITIALIZERS["olora"].source),
    Term("PiSSA", "The initialization from the largest singular triplets of $W$.",
         INITIALIZERS["pissa"].source),
    Term("principal angle", "A measure of the angle between two subspaces, one for each dimension: zero for a shared "
         "direction, a right angle for a direction orthogonal to the other subspace."),
    Term("race", "Several lanes that train in lockstep on one frozen model. Lanes with the same "
         "seed see the same batches."),
    Term("rank", "The number $r$ of columns of $B$ and rows of $A$: how thin the adapter is."),
    Term("recorded race", "A race that was computed earlier and ships with the program. It can be "
         "viewed without loading a model."),
    Term("replay", "A key of a lane: the share of its loss that is on passages of the text to keep, or on samples "
         "that the base model draws in their place. None of them is among those that are measured."),
    Term("scaling", r"The factor $s$ in front of the adapter's product, $\alpha / r$, or with "
         r"rsLoRA $\alpha / \sqrt{r}$.", "Kalajdzievski 2023, arXiv 2312.03732"),
    Term("seed", "The seed of all random numbers of a lane or a race. The same seed repeats the "
         "result; several seeds show how much of it is chance."),
    Term("singular value", "How much a matrix stretches along one of its singular directions. The "
         "largest comes first."),
    Term("study", "Many races that answer one question: several rates, seeds, tasks, models or ranks."),
    Term("target modules", "The layers that get adapters. Default: all linear layers inside the transformer blocks."),
    Term("text to keep", "A text that a race does not train on, and whose loss and drift show what the lanes forget."),
)  # fmt: skip


MARKED = (
    "alpha", "diverged", "drift", "effective rank", "energy", "fair rate", "gradient norm", "held-out loss",
    "Hessian eigenvalue", "intrinsic dimension", "keep KL", "nat", "principal angle", "rank", "replay", "scaling",
    "seed", "singular value", "target modules", "text to keep",
)  # fmt: skip
"""The terms that `with_terms` looks for: those whose meaning a reader cannot guess."""

_KNOWN = {term.word.lower(): term.word for term in GLOSSARY}
_WORDS = "|".join(map(re.escape, sorted(MARKED, key=len, reverse=True)))
_FOUND = re.compile(rf"\b({_WORDS})(s?)\b([).,;:]*)", re.IGNORECASE)
_PARTS = re.compile(r"<(math|a|button|summary|h2|code|strong)\b.*?</\1>|<[^>]+>|[^<]+", re.DOTALL)
"""The parts of HTML: an element in which no term is looked for, a tag, or text."""

_CERTAINTY = re.compile(r'(<span class="reason">)(clear|level|open|one run)\b')
"""How sure a verdict is, in its line."""


def slug(word: str) -> str:
    """Return a term's name in ids.

    >>> slug("effective rank")
    'effective-rank'
    """
    return word.lower().replace(" ", "-")


def term(word: str, shown: str = "") -> Markup:
    """Return the button of a term of the glossary, whose text is by default the word.

    >>> term("rank")
    Markup('<button type="button" class="term" data-term="rank">rank</button>')
    """
    return Markup('<button type="button" class="term" data-term="{}">{}</button>').format(
        slug(_KNOWN[word.lower()]), shown or word
    )


@lru_cache(maxsize=16)
def with_terms(html: Markup) -> Markup:
    """Return a text in which the first mention of every term of `MARKED` is its button.

    >>> with_terms(Markup("<p><a>Rank</a> 2, of ranks and rank</p>")).count("<button")
    1
    >>> with_terms(Markup("(one seed).")).endswith("</button>).</span>")
    True
    """
    text = _CERTAINTY.sub(lambda match: match[1] + str(term("certainty", match[2])), html)
    seen: set[str] = set()

    def marked(match: re.Match[str]) -> str:
        word = match[1].lower()
        if word in seen:
            return match[0]
        seen.add(word)
        button = term(word, match[1] + match[2])
        return f'<span class="word">{button}{match[3]}</span>' if match[3] else str(button)

    parts = (part[0] for part in _PARTS.finditer(text))
    marked_parts = (part if part.startswith("<") else _FOUND.sub(marked, part) for part in parts)
    return Markup("").join(map(Markup, marked_parts))

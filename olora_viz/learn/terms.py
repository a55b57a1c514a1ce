"""Terms of the glossary in the texts of a page, each a button that shows its entry beside it."""

from __future__ import annotations

import re

from markupsafe import Markup

from olora_viz.learn.glossary import GLOSSARY

MARKED = (
    "alpha", "diverged", "effective rank", "energy", "fair rate", "gradient norm", "held-out loss",
    "Hessian eigenvalue", "nat", "principal angle", "rank", "scaling", "seed", "singular value",
    "target modules",
)  # fmt: skip
"""The terms that `with_terms` looks for: those whose meaning a reader cannot guess."""

_KNOWN = {term.word.lower(): term.word for term in GLOSSARY}
_WORDS = "|".join(map(re.escape, sorted(MARKED, key=len, reverse=True)))
_FOUND = re.compile(rf"\b({_WORDS})(s?)\b", re.IGNORECASE)
_PARTS = re.compile(r"<(math|a|button|summary|h2|code)\b.*?</\1>|<[^>]+>|[^<]+", re.DOTALL)
"""The parts of HTML: an element in which no term is looked for, a tag, or text."""


def slug(word: str) -> str:
    """Return a term's name in ids.

    >>> slug("effective rank")
    'effective-rank'
    """
    return word.lower().replace(" ", "-")


def term(word: str, shown: str = "") -> Markup:
    """Return the button of a term.

    Parameters
    ----------
    word : of the glossary.
    shown : the button's text, by default the word.

    >>> term("rank")
    Markup('<button type="button" class="term" data-term="rank">rank</button>')
    """
    return Markup('<button type="button" class="term" data-term="{}">{}</button>').format(
        slug(_KNOWN[word.lower()]), shown or word
    )


def with_terms(html: Markup) -> Markup:
    """Return a text in which the first mention of every term of `MARKED` is its button.

    >>> with_terms(Markup("<p><a>Rank</a> 2, of ranks and rank</p>")).count("<button")
    1
    """
    seen: set[str] = set()

    def marked(match: re.Match[str]) -> str:
        word = match[1].lower()
        if word in seen:
            return match[0]
        seen.add(word)
        return str(term(word, match[0]))

    parts = (part[0] for part in _PARTS.finditer(html))
    made = (part if part.startswith("<") else _FOUND.sub(marked, part) for part in parts)
    return Markup("").join(map(Markup, made))

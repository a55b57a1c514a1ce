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
_MARKUP = re.compile(r"(<math.*?</math>|<[^>]+>)", re.DOTALL)


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

    >>> with_terms(Markup("<p>Rank 2, of ranks</p>")).count("button")
    2
    """
    seen: set[str] = set()

    def marked(match: re.Match[str]) -> str:
        word = match[1].lower()
        if word in seen:
            return match[0]
        seen.add(word)
        return str(term(word, match[0]))

    parts = _MARKUP.split(html)
    parts[::2] = [_FOUND.sub(marked, part) for part in parts[::2]]
    return Markup("").join(map(Markup, parts))

"""Metrics of generated answers: what an answer is worth, from 0 to 1, given a right one."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from olora_viz.machine.checks import unknown
from olora_viz.tasks.task import AUTO, NONE

if TYPE_CHECKING:
    from olora_viz.tasks.task import Example

Metric = str | Callable[[str, str], float]
"""A name of `METRICS`, or a function of an answer and a right answer that returns a number from 0 to 1."""

PYTHON = "python:"
"""What is written before the name of a function in files, from which nothing reads the function itself."""

MOST_SCORED = 128
"""Maximum number of test examples whose answers are generated and scored, the first ones."""

_NUMBER = re.compile(r"-?\d+(?:,\d{3})+(?:\.\d+)?|-?\d+(?:\.\d+)?|-?\.\d+")


def exact(answer: str, right: str) -> float:
    """Return 1 for the same text, up to white space.

    >>> exact("big  garden", "big garden"), exact("Big garden", "big garden")
    (1.0, 0.0)
    """
    return float(answer.split() == right.split())


def first_word(answer: str, right: str) -> float:
    """Return 1 if the first words are the same, whatever their case and the punctuation around them.

    >>> first_word("Yes, since it is.", "yes"), first_word("", "yes")
    (1.0, 0.0)
    """
    words = [next(iter(re.findall(r"\w+(?:[-'’.]\w+)*", text.casefold())), None) for text in (answer, right)]
    return float(words[0] == words[1] is not None)


def number(answer: str, right: str, tolerance: float = 1e-9) -> float:
    """Return 1 if the first number of an answer is that of the right one, up to a share of it.

    >>> number("about 3.1 m", "3.14"), number("about 3.1 m", "3.14", 0.02), number("none", "3.14")
    (0.0, 1.0, 0.0)
    """
    found = [_NUMBER.search(text) for text in (answer, right)]
    values = [float(match[0].replace(",", "")) for match in found if match]
    return float(len(values) == 2 and abs(values[0] - values[1]) <= tolerance * abs(values[1]))


def spans_of(answer: str) -> Counter[tuple[str, str]]:
    """Return the entities of an answer such as ``Ana: person; Lisbon: place``, with their kinds.

    >>> sorted(spans_of("Ana: person; Lisbon: place"))
    [('Ana', 'person'), ('Lisbon', 'place')]
    """
    pairs = (span.rpartition(":") for span in re.split(r"[;\n]", answer))
    return Counter((" ".join(name.split()), kind.strip(" .")) for name, _, kind in pairs if name.strip())


def f1(answer: str, right: str) -> float:
    """Return the F1 over entities: the harmonic mean of the shares of named ones that are right, and of right ones.

    >>> f1("Ana: person; Lisbon: person", "Ana: person; Lisbon: place")
    0.5
    """
    named, wanted = spans_of(answer), spans_of(right)
    count = named.total() + wanted.total()
    return 2 * (named & wanted).total() / count if count else 1.0


def chrf(answer: str, right: str, order: int = 6, beta: float = 2.0) -> float:
    """Return chrF: the F score of the n-grams of characters, white space apart, of up to six.

    References:
        Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation"; as in sacrebleu (Post 2018).

    >>> chrf("the door was opened", "the door was opened"), round(chrf("the door", "the doors"), 3)
    (1.0, 0.831)
    """
    texts = ["".join(text.split()) for text in (answer, right)]
    precisions, recalls = [], []
    for n in range(1, order + 1):
        said, wanted = (Counter(text[i : i + n] for i in range(len(text) - n + 1)) for text in texts)
        if said and wanted:
            both = (said & wanted).total()
            precisions.append(both / said.total())
            recalls.append(both / wanted.total())
    precision, recall = (sum(shares) / max(1, len(shares)) for shares in (precisions, recalls))
    weighted = beta**2 * precision + recall
    return (1 + beta**2) * precision * recall / weighted if weighted else 0.0


METRICS: MappingProxyType[str, Callable[[str, str], float]] = MappingProxyType(
    {"exact": exact, "first-word": first_word, "number": number, "f1": f1, "chrf": chrf}
)
"""The metrics by name."""


def metric_of(metric: Metric) -> Callable[[str, str], float]:
    """Return the function of a metric; ``number:0.01`` is a number within a hundredth of the right one.

    Raises:
        ValueError: the name is unknown or of a function that is gone, or the tolerance is no number of at least 0.
    """
    if callable(metric):
        return metric
    name, colon, given = metric.partition(":") if isinstance(metric, str) else (str(metric), "", "")
    if name + colon == PYTHON:
        raise ValueError(
            f"the metric {given!r} was a Python function, and only its name is kept: pass it again, on the command "
            f"line as --metric FILE.py:{given}, in Python as metric={given}"
        )
    if name not in METRICS or (colon and name != "number"):
        raise ValueError(f"{unknown('metric', str(metric), (AUTO, NONE, *METRICS))}, or number:TOLERANCE")
    if not colon:
        return METRICS[name]
    try:
        tolerance = float(given)
    except ValueError:
        tolerance = math.nan
    if not 0 <= tolerance < math.inf:
        raise ValueError(f"the tolerance of a number is a share of at least 0, such as number:0.01, not {given!r}")
    return lambda answer, right: number(answer, right, tolerance)


def check_metric(metric: Any, *, scores: bool = False) -> None:
    """Check a name or a function; ValueError for anything else.

    Args:
        scores: whether it is about to score, for which the name of a function that is gone is not enough.
    """
    if metric not in (AUTO, NONE) and (scores or not str(metric).startswith(PYTHON)):
        metric_of(metric)


def metric_name(metric: Metric) -> str:
    """Return the name of a metric, also of one that is or was a function.

    >>> metric_name("chrf"), metric_name(exact), metric_name("python:score")
    ('chrf', 'exact', 'score')
    """
    name = metric if isinstance(metric, str) else getattr(metric, "__name__", type(metric).__name__)
    return name.removeprefix(PYTHON)


def plain_metric(metric: Metric) -> str:
    """Return a metric as it is written; of a function the name alone.

    >>> plain_metric("chrf"), plain_metric(exact)
    ('chrf', 'python:exact')
    """
    return f"{PYTHON}{metric_name(metric)}" if callable(metric) else metric


def mean_score(metric: Metric, examples: Sequence[Example], said: Sequence[str]) -> float:
    """Return the mean score of answers to examples, each by the right answer that is nearest to it.

    Raises:
        ValueError: the metric raised, or returned something else than a number from 0 to 1.
    """
    function, name, scores = metric_of(metric), metric_name(metric), []
    for example, answer in zip(examples, said, strict=True):
        right = (example.answer.strip(), *example.others)
        scores.append(max(_score(function, name, example.prompt, answer, each) for each in right))
    return sum(scores) / len(scores)


def _score(function: Callable[[str, str], float], name: str, prompt: str, answer: str, right: str) -> float:
    where = f"the metric {name!r}, on the answer {_short(answer)} to {_short(prompt)},"
    try:
        value: Any = function(answer, right)
    except Exception as error:  # a function of the user's can fail anywhere
        raise ValueError(f"{where} raised {type(error).__name__}: {error}") from error
    try:
        score = math.nan if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        score = math.nan
    if not 0 <= score <= 1:
        raise ValueError(f"{where} must return a number from 0 to 1, not {_short(value)}")
    return score


def _short(value: object) -> str:
    written = repr(value)
    return written if len(written) <= 60 else written[:59] + "…"

"""What pages show of rows of lanes, set-ups, earlier runs, tasks and own examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from markupsafe import Markup

from olora_viz.background.record import RaceRecord
from olora_viz.figures.race import NamedRun
from olora_viz.figures.theme import lane_styles
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.lane_spec import write_lanes
from olora_viz.machine.tables import folded
from olora_viz.machine.wording import counted, listed, nats
from olora_viz.models import MODELS
from olora_viz.models.loading import is_here
from olora_viz.races.config import RaceConfig, setup_facts
from olora_viz.races.tables import differing
from olora_viz.studies.contest import seed_groups
from olora_viz.studies.ranking import standings
from olora_viz.tasks import Example, TaskCard
from olora_viz.tasks.chat import Chat, unused_template
from olora_viz.tasks.encoding import Piece, pieces_of
from olora_viz.tasks.task import conversations
from olora_viz.views import html as fragments
from olora_viz.views.html import remark, table
from olora_viz.views.results import group_styles

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


Mark = dict[str, str]
"""``{"init", "dash", "wrong"}``: colour and dash of a row's mark, and its error, empty if valid."""


def lane_marks(rows: Sequence[Sequence[Lane] | str]) -> list[Mark]:
    """Return the mark of every row.

    Args:
        rows: the lanes that each row makes, or the sentence on what is wrong with it.

    >>> [mark["init"] for mark in lane_marks([[Lane("olora")], "no rank"])]
    ['olora', 'mute']
    """
    valid = [lanes for lanes in rows if not isinstance(lanes, str)]
    repeated = any(len(lanes) > 1 for lanes in valid)  # then the charts show a curve for all seeds
    styles = iter(lane_styles([replace(lanes[0], seed=0) if repeated else lanes[0] for lanes in valid]))
    marks = []
    for row in rows:
        style = None if isinstance(row, str) else next(styles)
        init, dash = (style.init, style.dash) if style else ("mute", "unknown")
        marks.append({"init": init, "dash": dash, "wrong": row if isinstance(row, str) else ""})
    return marks


def named_run(name: str, record: RaceRecord) -> NamedRun:
    """Return a run to overlay, with the curves that it has alone: one for all seeds of a lane."""
    groups = seed_groups(record.config.lanes)
    styles, seeds = group_styles(groups, record.styles), [group.lanes for group in groups]
    return NamedRun(name, styles, list(record.steps), record.config.steps, seeds)


TO_DOWNLOAD = " · to download"
"""Stands in a list behind what is not on this machine yet; whether it can be had is known when it is tried."""


def model_choices(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return the words and the names of models, as a list of a page offers them."""
    return [(model_words(name), name) for name in names]


def model_words(name: str) -> str:
    """Return a model's name, its parameters in millions, and whether it is not on this machine yet.

    >>> model_words("glassllm"), model_words("gpt2").removesuffix(" · to download")
    ('glassllm · 0.85M', 'gpt2 · 124M')
    """
    card = MODELS[name]
    millions = card.parameters / 1e6
    size = f"{millions:.2f}M" if millions < 10 else f"{millions:.0f}M"
    return f"{name} · {size}{'' if is_here(name) else TO_DOWNLOAD}"


OVERLAID = 6
"""Maximum number of runs in one chart: the number of dash styles."""


def run_words(run: RaceRecord) -> str:
    """Return a run in a line: its state, its steps, and the range of its held-out losses."""
    rows = standings(list(run.steps), len(run.styles))
    losses = [row.loss for row in rows if math.isfinite(row.loss)]
    ends = dict.fromkeys(nats(end(losses)) for end in (min, max)) if losses else ()
    loss = f"held-out loss {' to '.join(ends)}" if losses else ""
    return " · ".join(part for part in (run.state, f"{len(run.steps)} steps", loss) if part)


def setup_words(config: RaceConfig) -> str:
    """Return the set-up of a race in two lines: its settings, and its lanes as on the command line."""
    facts = ", ".join(f"{name} {value}" for name, value in setup_facts(config).items())
    return f"{facts}\nlanes {'; '.join(write_lanes(config.lanes))}"


def unraced(raced: RaceConfig, now: RaceConfig) -> Markup:
    """Say in which settings a set-up differs from that of the results shown; empty if in none."""
    parts = [
        "other lanes" if name == "lanes" else f"{name} {value} (these results: {before})"
        for name, (before, value) in differing([raced, now])
    ]
    return remark(f"Not yet raced: {', '.join(parts)}.") if parts else Markup("")


def differences(setups: Sequence[tuple[str, RaceConfig]]) -> Markup:
    """Return a table of what differs in the set-ups of runs, which have names."""
    rows = differing([config for _, config in setups])
    if not rows:
        return remark("Their set-ups are the same.")
    head = ("", *(name for name, _ in setups))
    cells = [(name, *(value or "–" for value in values)) for name, values in rows]
    title = Markup('<h2>What differs <span class="hint">in their set-ups; + marks lanes of one run only</span></h2>')
    return title + table(head, cells, kind="standing differences", scrolls=True)


def task_sample(card: TaskCard) -> Markup:
    """Return an example of a task; of one without an example, its summary."""
    if not card.prompt:
        return Markup('<p class="hint sample">{}</p>').format(card.summary)
    words = card.summary, card.prompt.strip(), card.answer.strip()
    return Markup('<p class="hint sample" title="{}">“{}” → “{}”</p>').format(*words)


RUNS_SHOWN = 3

FIRST_TOKENS, LAST_TOKENS = 14, 8
"""Tokens shown of a longer prompt or answer: the first and the last ones."""

MOST_CHARACTERS = 60
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

    Args:
        examples: of a task whose answers end with the end-of-text token.
        tokenizer: without one, the texts are shown whole.
        model: its name.
        longest: tokens of the longest example that a race keeps.
        chat: whether the model's chat template formats them.
        truncate: whether the prompts of longer examples are cut.
    """
    first = sorted(examples, key=lambda example: example.line)[:RUNS_SHOWN]
    try:
        template = Chat(tokenizer, model) if tokenizer and chat else None
        shown = [_example(each, tokenizer, longest, template, truncate) for each in first]
    except ValueError as error:
        return fragments.problem(f"{error}.")
    read = f"as {model} reads them, token by token" if tokenizer else "as text"
    missing = "" if tokenizer else f" Tokens are shown once {model} is on this server."
    unused = "" if chat else unused_template(tokenizer, model)
    n = len(conversations(examples))
    turns = f" {counted(n, 'conversation')}, {len(examples):,} examples: all answers are learned, or the last judged."
    legend = Markup(
        '<p class="hint">Your first examples {}. <mark>Highlighted</mark>: what is trained.{}{}{}</p>'
    ).format(read, turns * (n < len(examples)), missing, unused and f" {unused}.")
    more = folded(f"{len(shown) - 1} more of them", Markup("").join(shown[1:]))
    return Markup('<div class="own-examples">{}{}{}</div>').format(legend, shown[0], more)


def _example(
    example: Example, tokenizer: PreTrainedTokenizerBase | None, longest: int, chat: Chat | None, truncate: bool
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
    if example.others:
        count += f"; a metric also accepts {listed([f'“{_short(other)}”' for other in example.others], 3)}"
    prompt, answer = ([p for p in pieces if p.supervised == which] for which in (False, True))
    text = _part(prompt, "span") + _part(answer, "mark")
    return Markup('<p class="tokens{}">{}</p><p class="hint">Line {}{}</p>').format(
        "" if tokenizer else " whole", text, example.line, count
    )


def _part(pieces: Sequence[Piece], tag: str) -> Markup:
    """Return the tokens of a prompt or an answer, without those in the middle if it is long."""
    boxes = [Markup("<{0}>{1}</{0}>").format(tag, _short(piece.text).replace("\n", "↵\n") or "·") for piece in pieces]
    left_out = len(boxes) - FIRST_TOKENS - LAST_TOKENS
    if left_out > 1:
        boxes[FIRST_TOKENS:-LAST_TOKENS] = [Markup("<i> … {} more … </i>").format(left_out)]
    return Markup("").join(boxes)


def _short(text: str) -> str:
    return text if len(text) <= 2 * MOST_CHARACTERS + 3 else f"{text[:MOST_CHARACTERS]} … {text[-MOST_CHARACTERS:]}"

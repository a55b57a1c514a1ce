"""Small pieces of the pages' HTML, made of numbers and escaped text; pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from olora_viz.figures.theme import LaneStyle
from olora_viz.lanes.generation import Answer
from olora_viz.machine.numbers import nats, number, percent
from olora_viz.studies.story import Place, Sentence
from olora_viz.tasks import TaskCard

FEW_ANSWERS = 8
"""Number of answers to one prompt above which some are folded."""


def mark(style: LaneStyle) -> str:
    """Return the lane's mark: its colour, filled for a solid line, else with the line's dash."""
    return f'<span class="mark {style.dash}" style="--lane:var(--{escape(style.init)})"></span>'


def name(style: LaneStyle) -> str:
    """Return the lane's label, which breaks between its words and never inside a rate."""
    return " ".join(f'<span class="word">{escape(word)}</span>' for word in style.label.split())


def status(state: str, *parts: str, progress: float | None = None) -> str:
    """Return the top bar's line: the state in a word, then where the race is."""
    words = " · ".join(parts)
    width = "" if progress is None else f' style="--done:{100 * progress:.1f}%"'
    return (
        f'<div class="status {escape(state)}"{width}>'
        # A screen reader speaks the state when it changes, not the steps that are counted.
        f'<span class="state" role="status">{escape(state)}</span>'
        f"{' ' if words else ''}{words}</div>"
    )


def sentences(told: Sequence[Sentence], foot: str = "") -> str:
    """Return the sentences on a run, with their heading."""
    small = f'<p class="foot">{escape(foot)}</p>' if foot else ""
    return f"<h2>What you are seeing</h2>{said(told)}{small}"


def said(told: Sequence[Sentence]) -> str:
    """Return sentences as one paragraph, with their leads in bold."""
    words = " ".join(
        f"<b>{escape(sentence.lead)}</b> {escape(sentence.rest)}" if sentence.lead
        else escape(sentence.rest)
        for sentence in told
    )  # fmt: skip
    return f'<p class="say">{words}</p>'


def recorded(title: str, sentence: str, made: str, query: str) -> str:
    """Return the introduction of a recorded race.

    Parameters
    ----------
    title, sentence : what it is, and what to look for.
    made : when and on what it was recorded.
    query : of the link that opens the same set-up; "" outside the page.
    """
    link = (
        f'<p><a href="?{escape(query)}">Use the set-up of this race</a>, or press Race for the '
        "set-up on the left.</p>"
        if query
        else ""
    )
    return (
        f'<div class="recorded"><h2>{escape(title)} <span class="badge">recorded</span></h2>'
        f"<p>{escape(sentence)} {escape(made)}</p>{link}</div>"
    )


def story_before() -> str:
    """Return the placeholder of the story."""
    return (
        "<h2>What you are seeing</h2>"
        '<p class="say"><b>All lanes train side by side on one frozen model.</b> They start as '
        "the same function and see the same batches. Only the initialization and the settings of "
        "their adapters differ.</p>"
    )


def answers_before() -> str:
    """Return the placeholder of the answers."""
    return (
        '<h2>Answers on held-out prompts</h2><p class="hint">After the race the base model and '
        "every lane answer the same held-out prompts.</p>"
    )


def problem(sentence: str) -> str:
    """Return an error message."""
    return f'<p class="problem" role="alert">{escape(sentence)}</p>'


def remark(sentence: str) -> str:
    """Return a note, for instance on a parameter that was ignored."""
    return f'<p class="hint remark">{escape(sentence)}</p>'


def results(
    styles: Sequence[LaneStyle],
    rows: Sequence[Place],
    step: int = 0,
    base: tuple[float | None, float | None] = (None, None),
    plain_text: bool = False,
) -> str:
    """Return the table of results, the best lane first.

    Parameters
    ----------
    styles, rows : of lanes, or of groups of lanes that differ in their seed alone.
    step : of the latest evaluation, 0 before the first.
    base : held-out loss and accuracy of the base model, None while unknown.
    plain_text : every token is judged, not an answer alone.
    """
    body = "".join(
        f'<tr><th scope="row">{mark(styles[row.lane])}{name(styles[row.lane])}</th>'
        + (
            f'<td colspan="2" class="no">{_departure(row)}</td>'
            if row.out_at
            else f"<td>{nats(row.loss)}{_spread(row)}</td><td>{percent(row.accuracy)}</td>"
        )
        + f"<td>{number(row.first_grad_norm, '.2g')}</td></tr>"
        for row in rows
    )
    if base[0] is not None and base[1] is not None:
        body += (
            f'<tr class="base"><th scope="row">before the race</th><td>{nats(base[0])}</td>'
            f"<td>{percent(base[1])}</td><td></td></tr>"
        )
    title = f"Results at step {step}" if step else "Results"
    what, token = ("text", "token") if plain_text else ("prompts", "answer token")
    return (
        f'<h2>{title} <span class="hint">on held-out {what}</span></h2>'
        '<div class="standing-frame"><table class="standing">'
        f'<thead><tr><th scope="col">lane</th><th scope="col" title="nats per {token}">loss'
        '</th><th scope="col">accuracy</th><th scope="col" title="norm of the first gradient">'
        f"first ‖∇‖</th></tr></thead><tbody>{body}</tbody></table></div>"
    )


def answers(
    styles: Sequence[LaneStyle], order: Sequence[int], asked: Sequence[Answer], plain_text: bool
) -> str:
    """Return the answers of the base model and the lanes to the same prompts, right or wrong.

    Lanes with the same answer are grouped; the best lane comes first, the base model last. Many
    lanes are shown by their marks only, with names in tooltips and for screen readers. Of many
    answers a few are shown, with the correct one; the others are folded.
    """
    kind = "all-asked" + (" long" if plain_text else "") + (" many" if len(order) > 8 else "")
    blocks = []
    for answer in asked:
        said: dict[str, list[str]] = {}
        for k in order:
            who = f'{mark(styles[k])}<span class="name">{name(styles[k])}</span>'
            words = f'<span title="{escape(styles[k].label)}">{who}</span>'
            said.setdefault(answer.lanes[k].strip(), []).append(words)
        said.setdefault(answer.base.strip(), []).append("<span>base model</span>")
        first = [right] if (right := answer.expected.strip()) in said else []
        lines = [
            f"<li>{_verdict(what, answer.expected, plain_text)}"
            f'<span class="who">{"".join(said[what])}</span></li>'
            for what in dict.fromkeys([*first, *said])
        ]
        wanted = "goes on:" if plain_text else "→"
        blocks.append(
            f'<div class="asked"><p><span class="prompt">{escape(answer.prompt.strip())}</span> '
            f"{wanted} <b>{escape(answer.expected)}</b></p>{_folded(lines)}</div>"
        )
    return f'<h2>Answers on held-out prompts</h2><div class="{kind}">{"".join(blocks)}</div>'


def _folded(lines: Sequence[str]) -> str:
    """Return a list of the first few lines and the last one, with the others to be unfolded."""
    few, others = lines[: FEW_ANSWERS - 1], lines[FEW_ANSWERS - 1 : -1]
    if len(others) < 2:
        return f"<ul>{''.join(lines)}</ul>"
    return (
        f"<ul>{''.join(few)}</ul><details><summary>{len(others)} other answers</summary>"
        f"<ul>{''.join(others)}</ul></details><ul>{lines[-1]}</ul>"
    )


def sample(card: TaskCard) -> str:
    """Return a task's example line."""
    if not card.prompt:
        return f'<p class="hint sample">{escape(card.summary)}</p>'
    prompt, answer = escape(card.prompt.strip()), escape(card.answer.strip())
    return f'<p class="hint sample" title="{escape(card.summary)}">“{prompt}” → “{answer}”</p>'


def _verdict(what: str, expected: str, plain_text: bool) -> str:
    shown = escape(what) if what else "(nothing)"
    if plain_text:
        return f'<span></span><span class="said">{shown}</span>'
    sign, kind, word = ("✓", "ok", "right") if what == expected.strip() else ("✗", "no", "wrong")
    return (
        f'<span class="{kind}" role="img" title="{word}" aria-label="{word}">{sign}</span>'
        f'<span class="said {kind}">{shown}</span>'
    )


def _departure(row: Place) -> str:
    who = f"{row.lost} of {row.seeds} seeds " if row.seeds > 1 else ""
    return f"{who}DNF at step {row.out_at}"


def _spread(row: Place) -> str:
    if not math.isfinite(row.spread):
        return ""
    title = f"standard deviation over {row.seeds} seeds"
    return f' <span class="hint" title="{title}">± {nats(row.spread)}</span>'

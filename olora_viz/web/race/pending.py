"""What follows a change of the set-up: its link, its bet, how long it takes, and what of it is not yet raced."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from filecmp import cmp
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from olora_viz.background.pace import Speeds
from olora_viz.background.record import FAILED, READY
from olora_viz.lanes.lane import Lane, display_names, runs_of_seeds
from olora_viz.lanes.lane_spec import write_seeds
from olora_viz.races.config import KEPT, RaceConfig
from olora_viz.races.fields import FIELDS
from olora_viz.tasks import TASKS
from olora_viz.views.bet import ask, question_of
from olora_viz.views.html import duration_words, is_refusal, remark, status
from olora_viz.web.guard.config import OwnFiles
from olora_viz.web.parts.card import UNQUEUED, Desk, on_changes
from olora_viz.web.parts.setup import SetUp, SetUpControls, setup_of
from olora_viz.web.race.controls import LATER
from olora_viz.web.race.stream import view_of

MOST_NAMED = 3
"""More lanes or settings than these are counted, not named."""


def keep_current(desk: Desk, controls: SetUpControls, link: gr.HTML, files: OwnFiles, stream: Any) -> None:
    """Whenever the set-up changes, update its link and its bet, say how long it takes and what is not raced.

    What was refused, or failed before its first step, is no longer said once the set-up is another, valid one.

    Args:
        stream: the event by which the page follows a race; after it the race's own time is known.
    """

    def timed(*values: Any) -> Markup:
        try:
            config = SetUp.from_controls(desk.limits, values, files).to_config(desk.limits, files)
        except ValueError:
            return Markup("")
        return time_words(desk.jobs.speeds, config, desk.limits.max_seconds)

    def written(_: gr.Request, run: Any, line: Any, *values: Any) -> dict[Any, Any]:
        try:
            setup = SetUp.from_controls(desk.limits, values, files)
        except ValueError:
            return {left: "", estimate: ""}
        shown = desk.jobs.opened(run)
        raced = setup_of(desk.limits, shown) if shown else None
        config = setup.to_config(desk.limits, files)
        not_raced = Markup("")
        if shown and raced:
            others = other_files(shown.race.own_files, config) if shown.race and shown.owned else ()
            not_raced = pending(raced, setup, owned=shown.owned, others=others)
        changed = {
            link: setup.to_query(), bet: ask(question_of(setup.lanes, setup.steps)), left: not_raced,
            estimate: time_words(desk.jobs.speeds, config, desk.limits.max_seconds),
        }  # fmt: skip
        never_began = shown is not None and shown.record.state == FAILED and not shown.record.steps
        if is_refusal(line) or never_began:
            ready = shown is None or (never_began and not_raced)
            changed[status_line] = status(READY) if ready else view_of(shown).status
        return changed

    bet, status_line, left, estimate = (desk.parts[name] for name in ("bet", "status", "pending", "estimate"))
    inputs = [desk.run, status_line, *controls]
    # After the stream for controls that were changed while its last update was on its way.
    on_changes([desk.run, *controls], written, inputs, [link, bet, status_line, left, estimate], after=stream)
    estimate.select(timed, controls, estimate, **UNQUEUED)


def time_words(speeds: Speeds, config: RaceConfig, most: float) -> Markup:
    """Say how long a race takes, or that it will be said; see `duration_words`."""
    forecast = speeds.forecast(config)
    return LATER if forecast is None and speeds.timing else duration_words(forecast, most)


def other_files(raced: Mapping[str, Path], now: RaceConfig) -> list[str]:
    """Return the fields of a set-up whose own file has another content than that of a run.

    Args:
        raced: the run's own files by field.
    """
    pairs = ((name, file, Path(getattr(now, name))) for name, file in raced.items())
    return [name for name, old, new in pairs if old.is_file() and new.is_file() and not cmp(old, new, shallow=False)]


def pending(raced: SetUp, now: SetUp, *, owned: bool = True, others: Collection[str] = ()) -> Markup:
    """Say whose results are shown and what is not yet raced; empty if the set-ups are the same.

    Args:
        owned: whether the results are of a run of the reader's own, whose files are then theirs.
        others: see `other_files`.
    """
    of_task, of_text = ("another file of yours" if name in others else "" for name in ("task", "keep"))
    whose = "your file" if owned else "its owner's file"
    facts = _facts(raced, now, of_task or whose)
    pairs = [pair for pair in (*facts, _lanes(raced.lanes, now.lanes)) if pair]
    pairs += _settings(raced, now, of_text or whose)
    if not pairs:
        return Markup("")
    of_results, of_now = (", ".join(filter(None, words)) for words in zip(*pairs, strict=True))
    those = f"These are the results {'of ' + of_results if of_results else 'without these lanes'}"
    return remark(f"{those}; not yet raced: {of_now or 'the lanes that are left'}.")


def _facts(raced: SetUp, now: SetUp, own: str) -> list[tuple[str, str]]:
    """Return the plain fields that differ, in words; `own` is what a file of the first one is called."""
    words = {
        "model": "{}", "task": "{}", "steps": "{} steps", "batch": "{} prompts per step", "seed": "seed {}",
        "curvature": "curvature every {} steps",
    }  # fmt: skip
    pairs = []
    for name, text in words.items():
        values = getattr(raced, name), getattr(now, name)
        if name == "task":
            values = _own_words(values, TASKS, own)
        if values[0] != values[1]:
            first, second = (text.format(each) if each or name != "curvature" else "no curvature" for each in values)
            pairs.append((first, second))
    return pairs


def _lanes(raced: Sequence[Lane], now: Sequence[Lane]) -> tuple[str, str] | None:
    """Return the rows of lanes that only one of the set-ups has, in words; None if there are none."""
    both = [
        {replace(group[0], seed=0): write_seeds([lane.seed for lane in group]) for group in runs_of_seeds(lanes)}
        for lanes in (raced, now)
    ]
    every = list(dict.fromkeys(lane for rows in both for lane in rows))
    names = dict(zip(every, display_names(every), strict=True))
    words = []
    for rows, others in (both, reversed(both)):
        only = [
            names[lane] + f" from seeds {seeds}" * (lane in others)
            for lane, seeds in rows.items()
            if others.get(lane) != seeds
        ]
        words.append(", ".join(only) if len(only) <= MOST_NAMED else f"{len(only)} other lanes")
    return (words[0], words[1]) if any(words) else None


def _own_words(values: Sequence[str], names: Collection[str], own: str) -> tuple[str, ...]:
    """Replace a file in one of both set-ups, whose value is none of the `names`, by words."""
    return tuple(value if value in names else word for value, word in zip(values, (own, "your file"), strict=True))


def _settings(raced: SetUp, now: SetUp, own: str) -> list[tuple[str, str]]:
    """Return the settings that differ, in words."""
    before, after = raced.settings.values(), now.settings.values()
    pairs = []
    for each in FIELDS:
        values = before[each.name], after[each.name]
        values = _own_words(values, KEPT, own) if each.name == "keep" else values
        if values[0] != values[1]:
            first, second = (each.choices.get(text, text) or each.empty for text in values)
            pairs.append((f"{each.label.lower()}: {first}", f"{each.label.lower()}: {second}"))
    return pairs if len(pairs) <= MOST_NAMED else [("other settings", f"{len(pairs)} settings")]

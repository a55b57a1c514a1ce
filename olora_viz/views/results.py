"""The results of a race in tables, its verdict with the next steps, and its curves of rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from olora_viz.background.record import FAILED, LOADING, PAUSED, READY, WAITING, RaceRecord, start_of
from olora_viz.figures.layout import Figure
from olora_viz.figures.rates import curve_styles, rate_figure, reward_by_rate_figure
from olora_viz.figures.theme import LaneStyle, lane_styles
from olora_viz.lanes.lane import MAX_LANES, Lane
from olora_viz.machine.tables import folded
from olora_viz.machine.wording import Sentence, and_, compact, counted, nats, percent
from olora_viz.measures.training import Examples, loss_unit
from olora_viz.races.fair_rate import found_rates
from olora_viz.races.fields import REINFORCE
from olora_viz.races.step import DIVERGED, NO_GRADIENT, RACING, STOPPED, adapter_origins, held_out_count
from olora_viz.studies.contest import Metric, SeedGroup, Setting, scores_of, seed_groups
from olora_viz.studies.ranking import Place, group_places
from olora_viz.studies.sentences import departure
from olora_viz.studies.statistics import share_interval
from olora_viz.studies.story import (
    WHICH_RESULT,
    RateCurve,
    Reach,
    describe_rates,
    describe_reach,
    is_sweep,
    rate_curves,
    steps_to_reach,
)
from olora_viz.studies.verdict_line import VerdictLine
from olora_viz.tasks.batches import Epochs
from olora_viz.tasks.evaluation import Evaluation, Tested
from olora_viz.views import html as fragments
from olora_viz.views.html import TableCell, remark, table, unbroken

LOSS_WORDS = {"final": "final loss", "best": "best loss of the run"}


@dataclass(frozen=True)
class RatesView:
    """Loss against rate as a figure, and its conclusions."""

    measure: str
    figure: Figure
    words: Markup


def rates_view(record: RaceRecord, measure: object = None, *, run: str | None = None) -> RatesView | None:
    """Show a race as a sweep, by one of `WHICH_RESULT`; None if it is not a sweep, or before the first step."""
    steps = list(record.steps)
    lanes = found_rates(record.config, steps).lanes
    if not steps or not is_sweep(lanes):
        return None
    run = record.name if run is None else run
    named = measure if isinstance(measure, str) and measure in WHICH_RESULT else "final"
    start, _ = start_of(record)
    curves = rate_curves(lanes, steps, named)
    text, examples = record.plain_text, held_out_count(steps)
    if record.config.objective == REINFORCE:
        drawn = reward_by_rate_figure(lanes, steps, f"{run} {named}")
    else:
        drawn = rate_figure(curves, named, start_loss=start, plain_text=text, examples=examples, run=f"{run} {named}")
    meta = drawn["layout"]["meta"]
    meta["race"] = f"{run} rates"  # its curves are starts, not lanes
    meta["recall"] = {"race": run, "curves": recalled(curves, lanes, record.styles)}
    reached = steps_to_reach(lanes, steps, start)
    ended = record.complete or len(steps) >= record.config.steps
    sentences = describe_rates(lanes, steps, plain_text=text, ended=ended, held_out=record.held_out)
    words = fragments.paragraphs(sentences) + reach(reached, curve_styles(curves))
    return RatesView(named, drawn, words)


def recalled(curves: Sequence[RateCurve], lanes: Sequence[Lane], styles: Sequence[LaneStyle]) -> list[dict[str, Any]]:
    """Return the runs behind the points of curves, for the handle on their axis.

    Args:
        lanes: all of the race, as their `styles`.

    Returns:
        Of each curve its label, best rate and rates; of each rate its loss in words, and the names of its lanes in
        charts: their own, and that of their seeds' group.
    """
    groups = seed_groups(lanes)
    names = {k: [styles[k].label] for k in range(len(lanes))}
    for group, style in zip(groups, group_styles(groups, styles), strict=True):
        for k in group.lanes:
            names[k].append(style.label)
    return [
        {
            "label": curve.label,
            "best": (curve.optimum or curve.points[0]).lr,
            "rates": [point.lr for point in curve.points],
            "words": [f"{nats(point.mean)} at {compact(point.lr)}" for point in curve.points],
            "lanes": [sorted({name for k in point.lanes for name in names[k]}) for point in curve.points],
        }
        for curve in curves
    ]


def group_styles(groups: Sequence[SeedGroup], styles: Sequence[LaneStyle]) -> tuple[LaneStyle, ...]:
    """Return the style of every group of lanes: its lane's if no seed is repeated, otherwise a new one."""
    if len(groups) == len(styles):
        return tuple(styles)
    return lane_styles([replace(group.lane, seed=0) for group in groups])


def reach(reached: Sequence[Reach], styles: Mapping[str, LaneStyle]) -> Markup:
    """Return the table of steps to reach plain LoRA's final loss, or a sentence without LoRA."""
    if not reached:
        return Markup('<p class="hint">Without a plain LoRA lane that is still racing there is no loss to reach.</p>')
    spread = any(len(row.each) > 1 for row in reached)
    several = len({row.target for row in reached}) > 1
    caption = Markup(
        "Steps to reach plain LoRA's final loss{} "
        '<span class="hint">each seed that of LoRA\'s same seed, LoRA at its best rate; every start at the rate that '
        "gets there first, interpolated between evaluations</span>"
    ).format("" if several else f" ({nats(reached[0].target)})")
    rows = []
    for row in reached:
        goal = Markup(' <span class="hint">to {}</span>').format(nats(row.target)) if several else ""
        rows.append((fragments.lane(styles[row.curve.label]) + goal, *describe_reach(row)))
    head = ("start", "rate", "steps, median" if spread else "steps", "of the seeds" if spread else "")
    return table(head, rows, kind="reach", caption=caption)


Intervals = Sequence[tuple[float, float] | None]
"""The 95% interval of every group's accuracy; None for a group with a diverged lane."""


def verdict_html(verdict: VerdictLine, keep_best: bool, next_step: str = "") -> Markup:
    """Return the line: the verdict, how sure it is, and the leader's colour at its side.

    Args:
        next_step: what is offered beside the line, see `VerdictLine.next_step`.
    """
    sentences = list(verdict.sentences)
    if keep_best:
        flattered = "choosing it on these examples flatters it."
        sentences.append(Sentence("Each lane counts at its lowest held-out loss:", flattered))
    chosen = f"; the rates were chosen on the other {verdict.basis.chosen_on}" * bool(verdict.basis.chosen_on)
    sure = Markup(
        '<strong class="certainty {}" title="by 95% intervals that allow for the number of comparisons{}">{}</strong>'
    ).format(verdict.certainty.replace(" ", "-"), chosen, verdict.tag)
    below = Markup('{} <button type="button" class="as-link why-button">{}</button>').format(
        verdict.question if next_step else "", "why, and how sure"
    )
    reason = Markup(' <span class="reason">{}</span>').format(verdict.reason)
    return _line(verdict.headline, below, sentences, reason, sure, verdict.leader, next_step)


def _line(
    headline: str,
    below: Markup | str = "",
    sentences: Sequence[Sentence] = (),
    reason: Markup | str = "",
    sure: Markup | str = "",
    leader: str = "",
    next_step: str = "",
) -> Markup:
    leads = (Markup("<b>{}</b> ").format(unbroken(each.lead)) if each.lead else "" for each in sentences)
    words = Markup(" ").join(
        Markup("<span>{}{}</span>").format(lead, unbroken(each.rest))
        for lead, each in zip(leads, sentences, strict=True)
    )
    why = Markup('<p class="why">{}{}</p>').format(words, reason) if sentences else ""
    color = Markup(' style="--lane:var(--{})"').format(leader) if leader else ""
    line = Markup(
        '<div class="verdict" data-next="{}"{}><p role="status"><strong>{}</strong></p> {}'
        ' <p class="below">{}</p> {}</div>'
    )
    return line.format(next_step, color, unbroken(headline), sure, below, why)


def without_verdict(race: RaceRecord, styles: Sequence[LaneStyle], places: Sequence[Place]) -> Markup:
    """Return what the line says while there are no results, or nothing to compare, of groups of lanes."""
    sentence = _without(race, styles, places)
    return _line(sentence.lead, sentence.rest)


def _without(race: RaceRecord, styles: Sequence[LaneStyle], places: Sequence[Place]) -> Sentence:
    config, state = race.config, race.state
    every = config.eval_every or config.steps
    if state == READY:
        return Sentence(
            "Which start learns faster?", f"Press Race: {counted(len(config.lanes), 'lane')}, {config.steps} steps."
        )
    if state in (FAILED, DIVERGED):
        return Sentence("No lane has a result to compare.", "The ranking says why.")
    if len(race.steps) < every:
        if state == STOPPED:
            return Sentence("Stopped", f"before the first held-out results, at step {every}.")
        doing = {WAITING: "Waiting.", LOADING: "Loading.", PAUSED: "Paused.", RACING: "Training."}
        return Sentence(doing.get(state, "At the start."), f"The first held-out results come at step {every}.")
    out = [styles[place.lane].label for place in places if place.out_at]
    left = [styles[place.lane].label for place in places if not place.out_at]
    if out and len(left) == 1:
        gone = f"{and_(out)} {'are' if len(out) > 1 else 'is'} out of the race."
        return Sentence(f"Only {left[0]} is left.", f"{gone} The ranking says why.")
    if out and left:
        gone = f"{counted(len(out), 'lane')} {'are' if len(out) > 1 else 'is'} out of the race."
        return Sentence("None of those left can be compared.", f"{gone} The ranking shows how far each came.")
    if out:
        return Sentence("Nobody is left to compare.", "The ranking says why.")
    if len(seed_groups(config.lanes)) > 1:
        return Sentence("No two lanes can be compared.", "The ranking shows how far each came.")
    return Sentence("One lane alone has no rival.", "Add a second one to compare them.")


def story_before() -> Markup:
    """Return the placeholder of the story."""
    return Markup(
        "<h2>What you are seeing</h2>"
        '<p class="say"><b>All lanes train side by side on one frozen model.</b> Lanes with the same seed see the '
        "same batches. What differs is the initialization and the settings of their adapters.</p>"
    )


@dataclass(frozen=True)
class Ranked:
    """A race with the ranking of its groups of lanes that differ only in their seed."""

    race: RaceRecord
    styles: Sequence[LaneStyle]
    """Of the groups."""
    places: Sequence[Place]
    """Of the groups, the best one first."""
    rows: Sequence[Place] = ()
    """Of the lanes."""
    groups: Sequence[SeedGroup] = ()
    examples: Examples | None = None
    """The results by example that the places rest on; None while unknown."""
    metric: Metric | None = None
    """What the places are sorted by."""
    chosen_on: int = 0
    """The number of examples on which the verdict chose rates, and did not compare."""


def results_of(ranked: Ranked) -> Markup:
    """Return the tables of a race, with remarks on the data and the lanes."""
    race, parts = ranked.race, [results(ranked)]
    if race.tested is not None:
        parts.append(_results_of_test(ranked, race.tested))
    elif race.held_out and race.held_out.test and _goes_on(race):
        what = _examples("test", race.held_out.test, race.plain_text)
        parts.append(Markup('<p class="hint later">Test on {}: once, at the end</p>').format(what))
    return Markup("").join([*parts, best_adapters(race), _remarks(race)])


def best_adapters(race: RaceRecord) -> Markup:
    """Return the folded table of where the adapters are from, if the race follows the best ones."""
    if not race.config.follows_best or not race.steps:
        return Markup("")
    adapters = adapter_origins(race.config, race.steps, race.text, start_of(race)[0])
    early = sum(adapter.stopped_at > 0 for adapter in adapters)
    stopped = Markup(' <span class="hint">stopped early</span>')
    what = "best evaluation of each lane" if race.config.keep_best else "last step of each lane"
    rows = [
        (fragments.lane(style), str(adapter.step) + (stopped if adapter.stopped_at else ""), nats(adapter.loss))
        for style, adapter in zip(race.styles, adapters, strict=True)
    ]
    return folded(
        f"Adapters: {what}" + (f"; {early} of {len(adapters)} stopped early" if early else ""),
        table(("lane", "step", "held-out loss"), rows, kind="standing", scrolls=True),
    )


def results(ranked: Ranked) -> Markup:
    """Return the table of results, the best lane first."""
    race, places, metric = ranked.race, ranked.places, ranked.metric
    held_out, text = race.held_out, race.plain_text
    step = max((step.step for step in race.steps if step.eval_loss is not None), default=0)
    what = _examples("held-out", held_out.examples if held_out else None, text)
    if step:
        what += f", {_seeds(places, fewest_runs(ranked.groups, ranked.examples))}"
        what += f"; sorted {metric.order}" if metric and len(places) > 1 else ""
        if metric and list(places) != sorted(places, key=lambda place: place.rank(metric.by_loss)):
            what += ", but first what the verdict names first"
        what += f". The verdict chose rates on {ranked.chosen_on} of them" * bool(ranked.chosen_on)
    beside = _untrained(race.baseline, (held_out.guess_words, held_out.guess) if held_out else None)
    at = "each lane's best evaluation" if race.config.keep_best else f"step {step}"
    title = f"Ranking at {at}" if step else "Ranking"
    heading = Markup('<h2>{} <span class="hint">on {}</span></h2>').format(title, what)
    return heading + _ranking(ranked, places, intervals(ranked.groups, ranked.examples, text), beside)


def forgotten_table(ranked: Ranked) -> Markup:
    """Return the table of what the lanes learned and forgot at the last measurement; empty without one."""
    race, places, groups = ranked.race, ranked.places, ranked.groups
    measured = next((step for step in reversed(race.steps) if step.drift is not None), None)
    text = race.text
    if measured is None or text is None:
        return Markup("")
    rows = []
    for place in places:
        lanes = list(groups[place.lane].lanes)
        task, loss, drift = (
            math.nan if values is None else float(np.mean(values[lanes]))
            for values in (measured.eval_loss, measured.text_loss, measured.drift)
        )
        cells = nats(task), nats(loss), nats(text.bits_per_byte(loss)), nats(drift)
        rows.append((fragments.lane(ranked.styles[place.lane]), *cells))
    head = (
        "lane", TableCell("task", f"held-out {loss_unit(race.plain_text)}"), TableCell("text", "nats per token"),
        TableCell("bits/byte", "of the text: compares models of different tokenizers"),
        TableCell("drift", "KL(base‖lane) on the text, nats per token"),
    )  # fmt: skip
    base = [("base model", nats(start_of(race)[0]), nats(text.loss), nats(text.bits_per_byte(text.loss)), nats(0.0))]
    seeds = max(len(groups[place.lane].lanes) for place in places)
    means = f", means over {seeds} seeds" if seeds > 1 else ""
    heading = Markup(
        '<h2>Learned and forgotten in numbers <span class="hint">at step {}{}; the text to keep: {}, {:,} '
    )
    heading += Markup("tokens</span></h2>")
    return heading.format(measured.step, means, text.name, text.tokens) + table(
        head, rows, kind="standing", base=base, scrolls=True
    )


def _untrained(base: Evaluation | None, guess: tuple[str, float | None] | None) -> list[tuple[object, ...]]:
    """Return the rows of the base model and of guessing, as far as they are known."""
    rows: list[tuple[object, ...]] = []
    if base is not None:
        rows.append(("base model", percent(base.accuracy[0]), nats(base.loss[0]), nats(base.boilerplate_loss[0])))
    if guess and guess[1] is not None:
        rows.append((guess[0], percent(guess[1]), "", ""))
    return rows


def _ranking(
    ranked: Ranked, rows: Sequence[Place], intervals: Intervals, base: Sequence[Sequence[object]],
    scored: Tested | None = None,
) -> Markup:  # fmt: skip
    """Return the table of accuracies and losses; its columns name the kind of their uncertainty, if they show one."""
    race, order = ranked.race, ranked.places
    between, spread = any(intervals), any(math.isfinite(row.spread) for row in rows)
    share = f"share of right answers{', with its 95% interval' * between}"
    loss = f"{loss_unit(race.plain_text)}{', ± standard deviation over seeds' * spread}"
    head = ["lane", TableCell(f"accuracy{', 95%' * between}", share), TableCell(f"loss{' ± SD' * spread}", loss)]
    if race.held_out and (apart := race.held_out.boilerplate_name):
        head.append(TableCell(apart, f"nats per token of the {apart}, which is trained and not part of the loss"))
    places, width = {row.lane: row for row in rows}, len(head)
    cells = [_row(ranked.styles, places[place.lane], intervals, width) for place in order]
    base = [row[:width] for row in base]
    groups = seed_groups(race.config.lanes)
    if scored is not None and race.held_out:
        head.insert(1, TableCell(race.held_out.metric, "mean score of the generated answers, from 0 to 1"))
        scores = [float(np.mean(scored.lanes.score[list(groups[place.lane].lanes)])) for place in order]
        cells = [(row[0], nats(score), *row[1:]) for row, score in zip(cells, scores, strict=True)]
        base = [(row[0], nats(scored.base.score[0]) if i == 0 else "", *row[1:]) for i, row in enumerate(base)]
    if len(set(race.parameters)) > 1:
        head.append(TableCell("trained", "the number of parameters that a lane trains"))
        counts = [f"{race.parameters[groups[place.lane].lanes[0]]:,}" for place in order]
        cells = [(*row, count) for row, count in zip(cells, counts, strict=True)]
        base = [(*row, "") for row in base]
    return table(head, cells, kind="standing", base=base, scrolls=True)


def _results_of_test(ranked: Ranked, tested: Tested) -> Markup:
    """Return the folded table of a finished race on its test examples, in the results' order."""
    race, groups, lanes = ranked.race, ranked.groups, tested.lanes
    held_out, text = race.held_out, race.plain_text
    of_test = [
        replace(
            row, loss=float(lanes.loss[k]), accuracy=float(lanes.accuracy[k]),
            boilerplate=float(lanes.boilerplate_loss[k]),
        )
        for row in ranked.rows
        for k in [row.lane]
    ]  # fmt: skip
    examples = Examples.of(lanes)
    guess = (held_out.test_guess_words, held_out.test_guess) if held_out else None
    between = intervals(groups, examples, text)
    scored = [tested] if held_out and held_out.metric else []
    ranking = _ranking(ranked, group_places(of_test, groups), between, _untrained(tested.base, guess), *scored)
    adapters = ", with each lane's best adapter" if race.config.keep_best else ""
    what = _examples("test", examples.loss.shape[1], text)
    return folded(f"Test on {what}, once, at the end{adapters}", ranking)


def intervals(groups: Sequence[SeedGroup], examples: Examples | None, plain_text: bool) -> Intervals:
    """Return the 95% interval of every group's accuracy; none without answers by example."""
    if examples is None or plain_text:
        return ()
    return [
        share_interval(scores) if np.isfinite(scores.loss).all() else None
        for scores in (scores_of(group.lanes, examples) for group in groups)
    ]


def _goes_on(race: RaceRecord) -> bool:
    """Return whether later steps than those shown bring a test."""
    ended = race.state in (STOPPED, DIVERGED, FAILED) and not race.recorded
    return not ended and (not race.complete or len(race.steps) < race.config.steps)


def _examples(part: str, count: int | None, plain_text: bool) -> str:
    """Return the examples of a part in words, with their number if it is known."""
    what = f"{part} {'text' if plain_text else 'prompt'}"
    return f"{what}s" if count is None else f"{count} {what}{'s' * (count != 1)}"


def _row(styles: Sequence[LaneStyle], row: Place, intervals: Intervals, width: int) -> tuple[object, ...]:
    """Return the first cells of a lane's accuracy and losses, or one with the step at which it diverged."""
    who = fragments.lane(styles[row.lane])
    if row.out_at:
        departed = departure(row.left) + ": gradient zero" * (row.why_out == NO_GRADIENT)
        return who, TableCell(departed, f"its {row.why_out}", kind="no", columns=width - 1)
    between = spread = Markup("")
    interval = intervals[row.lane] if intervals else None
    if interval and math.isfinite(row.accuracy):
        words = Markup(' <span class="hint" title="95% interval">{:.0f}–{:.0f}</span>')
        between = words.format(*(100 * end for end in interval))
    if math.isfinite(row.spread):
        words = Markup(' <span class="hint" title="standard deviation over {} seeds">± {}</span>')
        spread = words.format(row.seeds, nats(row.spread))
    return (who, percent(row.accuracy) + between, nats(row.loss) + spread, nats(row.boilerplate))[:width]


def fewest_runs(groups: Sequence[SeedGroup], examples: Examples | None) -> int:
    """Return the fewest independent runs of those groups in which seeds repeat a run; 0 for none.

    A start without random numbers repeats it where the batches do not vary either.
    """
    if examples is None:
        return 0
    runs = {g: len(scores_of(g.lanes, examples).runs) for g in groups}
    return min((count for group, count in runs.items() if count < len(group.lanes)), default=0)


def _seeds(rows: Sequence[Place], fewest: int) -> str:
    """Return the number of seeds of every row, in words, and how few runs they may be."""
    counts = sorted({row.seeds for row in rows})
    if counts == [1]:
        return "one seed"
    few = f", of some lanes {'one run' if fewest == 1 else f'{fewest} runs'}" if fewest else ""
    return f"{' or '.join(map(str, counts))} seeds{few}"


def _remarks(race: RaceRecord) -> Markup:
    """Return the folded remarks on the data and the lanes; what is left out stays in sight."""
    held_out = race.held_out
    seen = [_left_out(race), *(held_out.cuts if held_out else ())]
    hidden = [held_out.parts, _epochs(race), held_out.boilerplate] if held_out else []
    hidden += [f"{words[0].upper()}{words[1:]}." for words in (race.adapted, race.in_parts) if words]
    if len(set(race.parameters)) == 1:
        hidden.append(f"Every lane trains {race.parameters[0]:,} parameters.")
    hidden = [words for words in hidden if words]
    remarks = Markup("").join(map(remark, filter(None, seen)))
    return remarks + (folded("Data and layers", Markup("").join(map(remark, hidden))) if hidden else "")


def _epochs(race: RaceRecord) -> str:
    """Return how much of the training rows a lane sees in all steps, in words; empty if it is unknown."""
    config, rows = race.config, race.held_out.train if race.held_out else 0
    words = Epochs(config.steps * config.batch_size, rows).words
    return f"A lane sees {words}." if words else ""


def _left_out(race: RaceRecord) -> str:
    """Return the number of examples of each part that are too long, in words; empty for none."""
    about = race.held_out
    counts = {"training": race.left_out}
    if about:
        counts |= {"held-out": about.held_out_left_out, "test": about.test_left_out}
    parts = [counted(n, f"{part} example") for part, n in counts.items() if n]
    if not parts:
        return ""
    without = about and about.longest
    longest = f"{without} tokens without the prompt" if without else f"{race.config.max_length} tokens"
    return f"Left out, as longer than {longest}: {and_(parts)}."


SUGGESTED_SEEDS = 5
"""Seeds of a race that is repeated."""

HIGHEST_RATE = 1e3
"""From this learning rate on, no higher one is suggested."""


def repeated(lanes: Sequence[Lane], most: int = MAX_LANES) -> tuple[Lane, ...]:
    """Return every lane with the seeds 0, 1, …; lanes that differ only in their seed count once.

    Raises:
        ValueError: the result has more lanes than `most`.
    """
    own = list(dict.fromkeys(replace(lane, seed=0) for lane in lanes))
    count = len(own) * SUGGESTED_SEEDS
    _check(most, count, f"{len(own)} lanes with {SUGGESTED_SEEDS} seeds each are {count}")
    return tuple(replace(lane, seed=seed) for lane in own for seed in range(SUGGESTED_SEEDS))


def higher(lanes: Sequence[Lane], most: int = MAX_LANES) -> tuple[Lane, ...]:
    """Return lanes in which all starts race at the same rates, up to half a decade above these.

    A start gets the rates of all others with its settings, such as its rank.

    Raises:
        ValueError: the result has more lanes than `most`, or a rate is `HIGHEST_RATE` already.

    >>> lanes = higher([Lane("lora", lr=1e-3), Lane("lora", lr=3e-3), Lane("olora", lr=3e-3)])
    >>> [(lane.init, lane.lr) for lane in lanes]  # doctest: +NORMALIZE_WHITESPACE
    [('lora', 0.001), ('lora', 0.003), ('lora', 0.01),
     ('olora', 0.003), ('olora', 0.001), ('olora', 0.01)]
    """
    new: list[Lane] = []
    groups: dict[Lane, list[Lane]] = {}
    tried: dict[Setting, set[float]] = {}
    for lane in lanes:
        groups.setdefault(replace(lane, lr=1.0, seed=0), []).append(lane)
        if not lane.fair:
            tried.setdefault(Setting.of(lane), set()).add(lane.lr)
    for group in groups.values():
        new += group
        if group[0].fair:
            continue
        rates = sorted(tried[Setting.of(group[0])])
        if rates[-1] >= HIGHEST_RATE:
            raise ValueError(f"a learning rate of {rates[-1]:g} is high enough: try lower ones")
        top = max(lane.lr for lane in group)
        repeated_at = [lane for lane in group if lane.lr == top]
        missing = [rate for rate in rates if all(lane.lr != rate for lane in group)]
        new += [replace(lane, lr=rate) for rate in (*missing, _half_a_decade_above(rates[-1])) for lane in repeated_at]
    _check(most, len(new), f"with higher rates the race has {len(new)} lanes")
    return tuple(new)


def _half_a_decade_above(rate: float) -> float:
    """Return the next of …, 1e-3, 3e-3, 1e-2, ….

    >>> _half_a_decade_above(1e-3), _half_a_decade_above(3e-3), _half_a_decade_above(4e-3)
    (0.003, 0.01, 0.01)
    """
    place = round(2 * math.log10(rate)) + 1
    return float(f"{10 ** (place / 2):.0e}")


def _check(most: int, count: int, words: str) -> None:
    if count > most:
        raise ValueError(f"{words}; a race takes at most {most}: remove some lanes first")


class NextStep(NamedTuple):
    """A next step: a button that changes the lanes or the steps, and races them."""

    name: str
    """See `VerdictLine.next_step`."""
    label: str
    title: str
    change: Callable[[Sequence[Lane], int], Sequence[Lane]] = lambda lanes, _: lanes
    longer: int = 1
    """By what the steps are multiplied."""


NEXT_STEPS = (
    NextStep(
        "seeds",
        f"Repeat with {SUGGESTED_SEEDS} seeds",
        "Every lane is repeated with each seed. A seed sets the random numbers of the start and the order of the "
        "batches; lanes with the same seed see the same batches.",
        repeated,
    ),
    NextStep(
        "rates",
        "Try higher rates",
        "All starts race at the same learning rates, up to half a decade above the highest.",
        higher,
    ),
    NextStep(
        "steps",
        "Train twice as long",
        "The same lanes, with twice the steps: where nothing is learned yet, more seeds tell nothing more.",
        longer=2,
    ),
)

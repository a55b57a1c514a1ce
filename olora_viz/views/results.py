"""The results of a race in tables, and its curves of rates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from markupsafe import Markup

from olora_viz.background.record import FAILED, LOADING, PAUSED, READY, WAITING, RaceRecord, start_of
from olora_viz.figures.layout import Figure
from olora_viz.figures.rates import curve_styles, rate_figure
from olora_viz.figures.theme import LaneStyle
from olora_viz.machine.text import nats, percent
from olora_viz.measures.training import Examples, loss_unit
from olora_viz.races.config import RaceConfig
from olora_viz.races.fair_rate import found_rates
from olora_viz.races.race import Tested
from olora_viz.races.step import DIVERGED, NO_GRADIENT, STOPPED, held_out_count
from olora_viz.races.trainer import adapter_origins
from olora_viz.studies.contest import Metric, Place, SeedGroup, group_places, is_guessing, scores_of, seed_groups
from olora_viz.studies.sentences import Sentence, and_, departure
from olora_viz.studies.statistics import share_interval
from olora_viz.studies.story import (
    MEASURES,
    Reach,
    describe_rates,
    describe_reach,
    is_sweep,
    rate_curves,
    steps_to_reach,
)
from olora_viz.studies.verdict_line import VerdictLine
from olora_viz.tasks.evaluation import HeldOut
from olora_viz.views import html as fragments
from olora_viz.views.html import TableCell, lane, remark, table, unbroken

WORDS = {"final": "final loss", "best": "best loss of the run"}
"""Display names of the measures."""


@dataclass(frozen=True)
class RatesView:
    """Loss against rate as a figure, and its conclusions."""

    measure: str
    figure: Figure
    words: Markup


def rates_view(record: RaceRecord, measure: object = None, *, run: str | None = None) -> RatesView | None:
    """Show a race as a sweep; None if it is not a sweep, or before the first step.

    Args:
        measure: one of `olora_viz.studies.story.MEASURES`; otherwise ``final``.
        run: see `race_view`.
    """
    steps = list(record.steps)
    lanes = found_rates(record.config, steps).lanes
    if not steps or not is_sweep(lanes):
        return None
    run = record.name if run is None else run
    named = measure if isinstance(measure, str) and measure in MEASURES else "final"
    start, _ = start_of(record)
    curves = rate_curves(lanes, steps, named)
    drawn = rate_figure(
        curves, named, start_loss=start, plain_text=record.plain_text,
        examples=held_out_count(steps), run=f"{run} {named}",
    )  # fmt: skip
    drawn["layout"]["meta"]["race"] = f"{run} rates"  # its curves are starts, not lanes
    reached = steps_to_reach(lanes, steps, start)
    sentences = describe_rates(
        lanes, steps, plain_text=record.plain_text,
        ended=record.complete or len(steps) >= record.config.steps,
        guessing=is_guessing(lanes, steps, record.held_out),
    )  # fmt: skip
    words = fragments.paragraphs(sentences) + reach(reached, curve_styles(curves))
    return RatesView(named, drawn, words)


def reach(reached: Sequence[Reach], styles: Mapping[str, LaneStyle]) -> Markup:
    """Return the table of steps to reach plain LoRA's final loss, or a sentence without LoRA.

    Args:
        styles: styles of the curves by label, see `curve_styles`.
    """
    if not reached:
        return Markup('<p class="hint">Without a plain LoRA lane that is still racing there is no loss to reach.</p>')
    spread = any(len(row.each) > 1 for row in reached)
    several = len({row.target for row in reached}) > 1
    caption = Markup(
        "Steps to reach plain LoRA's final loss{} "
        '<span class="hint">each seed that of LoRA\'s same seed, LoRA at its best rate; every '
        "start at the rate that gets there first, interpolated between evaluations</span>"
    ).format("" if several else f" ({nats(reached[0].target)})")
    goal = Markup(' <span class="hint">to {}</span>')
    rows = [
        (lane(styles[row.curve.label]) + (goal.format(nats(row.target)) if several else ""), *describe_reach(row))
        for row in reached
    ]
    head = ("start", "rate", "steps, median" if spread else "steps", "of the seeds" if spread else "")
    return table(head, rows, kind="reach", caption=caption)


Intervals = Sequence[tuple[float, float] | None]
"""The 95% interval of every group's accuracy; None for a group with a diverged lane."""


FLATTERED = Sentence("Each lane counts at its lowest held-out loss:", "choosing it on these examples flatters it.")
"""Said with ``keep_best``."""

SURE = "by 95% intervals that allow for the number of comparisons"


def verdict_html(verdict: VerdictLine, config: RaceConfig, next_step: str = "") -> Markup:
    """Return the line: the verdict, how sure it is, and the leader's colour at its side.

    Args:
        config: of the race.
        next_step: what is offered beside the line, see `VerdictLine.next_step`.
    """
    sentences = (*verdict.sentences, FLATTERED) if config.keep_best else verdict.sentences
    kind = verdict.certainty.replace(" ", "-")
    sure = Markup('<span class="certainty {}" title="{}">{}</span>').format(kind, SURE, verdict.reason)
    return _line(sentences, sure, verdict.leader, next_step)


def _line(sentences: tuple[Sentence, ...], sure: Markup | str = "", leader: str = "", next_step: str = "") -> Markup:
    first, *more = sentences
    words = Markup("<b>{}</b> {}").format(unbroken(first.lead), unbroken(first.rest))
    words += Markup("").join(Markup(" <span>{}</span>").format(unbroken(str(sentence))) for sentence in more)
    color = Markup(' style="--lane:var(--{})"').format(leader) if leader else ""
    line = Markup('<div class="verdict" data-next="{}"{}><p role="status">{}</p>{}</div>')
    return line.format(next_step, color, words, sure)


def without_verdict(
    state: str, config: RaceConfig, done: int, styles: Sequence[LaneStyle], places: Sequence[Place]
) -> Markup:
    """Return what the line says while there are no results, or nothing to compare.

    Args:
        state: of the race.
        config: see `state`.
        done: number of steps so far.
        styles: of the lanes, those that differ in their seed alone as one.
        places: see `styles`.
    """
    return _line((_without(state, config, done, styles, places),))


def _without(
    state: str, config: RaceConfig, done: int, styles: Sequence[LaneStyle], places: Sequence[Place]
) -> Sentence:
    every = config.eval_every or config.steps
    if state == READY:
        lanes = f"{len(config.lanes)} lane{'s' * (len(config.lanes) > 1)}"
        return Sentence("Which start learns faster?", f"Press Race: {lanes}, {config.steps} steps.")
    if state in (FAILED, DIVERGED):
        return Sentence("No lane has a result to compare.", "The ranking says why.")
    if done < every:
        if state == STOPPED:
            return Sentence("Stopped", f"before the first held-out results, at step {every}.")
        doing = {WAITING: "Waiting.", LOADING: "Loading.", PAUSED: "Paused."}
        return Sentence(doing.get(state, "Training."), f"The first held-out results come at step {every}.")
    out = [styles[place.lane].label for place in places if place.out_at]
    left = [styles[place.lane].label for place in places if not place.out_at]
    if out and len(left) == 1:
        gone = f"{and_(out)} {'are' if len(out) > 1 else 'is'} out of the race."
        return Sentence(f"Only {left[0]} is left.", f"{gone} The ranking says why.")
    if out:
        return Sentence("No two starts are left to compare.", "The ranking says why.")
    if len(seed_groups(config.lanes)) > 1:
        return Sentence("No two lanes can be compared.", "The ranking shows how far each came.")
    return Sentence("One lane alone has no rival.", "Add a second one to compare them.")


def story_before() -> Markup:
    """Return the placeholder of the story."""
    return Markup(
        "<h2>What you are seeing</h2>"
        '<p class="say"><b>All lanes train side by side on one frozen model.</b> Lanes with the '
        "same seed see the same batches. What differs is the initialization and the settings of "
        "their adapters.</p>"
    )


def results_of(
    race: RaceRecord,
    styles: Sequence[LaneStyle],
    places: Sequence[Place],
    rows: Sequence[Place],
    groups: Sequence[SeedGroup],
    examples: Examples | None,
    metric: Metric,
) -> Markup:
    """Return the tables of a race, with remarks on the data and the lanes.

    Args:
        styles: of the groups, the best one first.
        places: see `styles`.
        rows: of the lanes, and of those that differ only in their seed.
        groups: see `rows`.
        examples: the results by example that the places rest on; None while unknown.
        metric: what the places are sorted by.
    """
    held = max((step.step for step in race.steps if step.eval_loss is not None), default=0)
    base, text, best = start_of(race), race.plain_text, race.config.keep_best
    between, runs = intervals(groups, examples, text), fewest_runs(groups, examples)
    parts = [results(styles, places, held, base, text, race.held_out, between, best, runs, metric)]
    if race.tested is not None:
        parts.append(results_of_test(styles, places, rows, groups, race.tested, text, race.held_out, best))
    elif race.held_out and race.held_out.test and _goes_on(race):
        what = _examples("test", race.held_out.test, text)
        parts.append(Markup('<p class="hint later">Test on {}: once, at the end</p>').format(what))
    return Markup("").join([*parts, best_adapters(race), _remarks(race)])


def best_adapters(race: RaceRecord) -> Markup:
    """Return the folded table of where the adapters are from, if the race follows the best ones."""
    if not race.config.follows_best or not race.steps:
        return Markup("")
    adapters = adapter_origins(race.config, race.steps)
    early = sum(adapter.stopped_at > 0 for adapter in adapters)
    mark = Markup(' <span class="hint">stopped early</span>')
    what = "best evaluation of each lane" if race.config.keep_best else "last step of each lane"
    rows = [
        (lane(style), Markup("{}{}").format(adapter.step, mark if adapter.stopped_at else ""), nats(adapter.loss))
        for style, adapter in zip(race.styles, adapters, strict=True)
    ]
    return fragments.fold(
        f"Adapters: {what}" + (f"; {early} of {len(adapters)} stopped early" if early else ""),
        table(("lane", "step", "held-out loss"), rows, kind="standing", scrolls=True),
    )


def results(
    styles: Sequence[LaneStyle],
    rows: Sequence[Place],
    step: int = 0,
    base: tuple[float | None, float | None] = (None, None),
    plain_text: bool = False,
    held_out: HeldOut | None = None,
    intervals: Intervals = (),
    best: bool = False,
    runs: int = 0,
    metric: Metric | None = None,
) -> Markup:
    """Return the table of results, the best lane first.

    Args:
        styles: of lanes, or of groups of lanes that differ only in their seed.
        rows: see `styles`.
        step: of the latest evaluation, 0 before the first.
        base: held-out loss and accuracy of the base model, None while unknown.
        plain_text: whether every token is supervised instead of an answer.
        held_out: number of examples and accuracy of guessing; None while unknown.
        intervals: one per row of `styles`; none while unknown.
        best: whether the results are those of each lane's best evaluation.
        runs: see `fewest_runs`.
        metric: what the rows are sorted by, if it is to be said.
    """
    count = held_out.examples if held_out else None
    what = _examples("held-out", count, plain_text)
    if step:
        what += f", {_seeds(rows, runs)}"
    if step and metric and len(rows) > 1:
        what += f"; sorted {metric.order}"
    beside: list[tuple[object, ...]] = []
    if base[0] is not None and base[1] is not None:
        beside.append(("base model", percent(base[1]), nats(base[0])))
    if held_out and held_out.guess is not None:
        beside.append((held_out.guess_words, percent(held_out.guess), ""))
    at = "each lane's best evaluation" if best else f"step {step}"
    title = f"Ranking at {at}" if step else "Ranking"
    heading = Markup('<h2>{} <span class="hint">on {}</span></h2>').format(title, what)
    return heading + _ranking(styles, rows, rows, intervals, beside, plain_text)


def _ranking(
    styles: Sequence[LaneStyle],
    order: Sequence[Place],
    rows: Sequence[Place],
    intervals: Intervals,
    base: Sequence[Sequence[object]],
    plain_text: bool,
) -> Markup:
    """Return the table of accuracies and losses; its columns name the kind of their uncertainty, if they show one."""
    between, spread = any(intervals), any(math.isfinite(row.spread) for row in rows)
    share = f"share of right answers{', with its 95% interval' * between}"
    loss = f"{loss_unit(plain_text)}{', ± standard deviation over seeds' * spread}"
    head = ("lane", TableCell(f"accuracy{', 95%' * between}", share), TableCell(f"loss{' ± SD' * spread}", loss))
    places = {row.lane: row for row in rows}
    cells = [_row(styles, places[place.lane], intervals) for place in order]
    return table(head, cells, kind="standing", base=base, scrolls=True)


def results_of_test(
    styles: Sequence[LaneStyle],
    order: Sequence[Place],
    rows: Sequence[Place],
    groups: Sequence[SeedGroup],
    tested: Tested,
    plain_text: bool = False,
    held_out: HeldOut | None = None,
    best: bool = False,
) -> Markup:
    """Return the folded table of a finished race on its test examples, in the results' order.

    Args:
        styles: of the groups.
        order: see `styles`.
        rows: of the lanes, and of those that differ only in their seed.
        groups: see `rows`.
        held_out: with the accuracy of guessing on the test; None while unknown.
        best: whether each lane was tested with its best adapter.
    """
    loss, accuracy, base = tested.lanes.loss, tested.lanes.accuracy, tested.base
    of_test = [replace(row, loss=float(loss[row.lane]), accuracy=float(accuracy[row.lane])) for row in rows]
    examples = Examples.of(tested.lanes)
    between = intervals(groups, examples, plain_text)
    what = _examples("test", examples.loss.shape[1], plain_text)
    beside = [("base model", percent(float(base.accuracy[0])), nats(float(base.loss[0])))]
    if held_out and held_out.test_guess is not None:
        beside.append((held_out.test_guess_words, percent(held_out.test_guess), ""))
    adapters = ", with each lane's best adapter" if best else ""
    ranking = _ranking(styles, order, group_places(of_test, groups), between, beside, plain_text)
    return fragments.fold(f"Test on {what}, once, at the end{adapters}", ranking)


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
    if race.state in (STOPPED, DIVERGED, FAILED) and not race.recorded:
        return False
    return not race.complete or len(race.steps) < race.config.steps


def _examples(part: str, count: int | None, plain_text: bool) -> str:
    """Return the examples of a part in words, with their number if it is known."""
    what = f"{part} {'text' if plain_text else 'prompt'}"
    return f"{what}s" if count is None else f"{count} {what}{'s' * (count != 1)}"


def _row(styles: Sequence[LaneStyle], row: Place, intervals: Intervals) -> tuple[object, ...]:
    """Return the cells of a lane's accuracy and loss, or one with the step at which it diverged."""
    who = lane(styles[row.lane])
    if row.out_at:
        departed = departure(row.left) + ": gradient zero" * (row.why_out == NO_GRADIENT)
        return who, TableCell(departed, f"its {row.why_out}", kind="no", columns=2)
    between = spread = Markup("")
    interval = intervals[row.lane] if intervals else None
    if interval and math.isfinite(row.accuracy):
        words = Markup(' <span class="hint" title="95% interval">{:.0f}–{:.0f}</span>')
        between = words.format(*(100 * end for end in interval))
    if math.isfinite(row.spread):
        words = Markup(' <span class="hint" title="standard deviation over {} seeds">± {}</span>')
        spread = words.format(row.seeds, nats(row.spread))
    return who, percent(row.accuracy) + between, nats(row.loss) + spread


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
    runs = "one run" if fewest == 1 else f"{fewest} runs"
    few = f", of some lanes {runs}" if fewest else ""
    return f"{' or '.join(map(str, counts))} seeds{few}"


def _remarks(race: RaceRecord) -> Markup:
    """Return the folded remarks on the data and the lanes; what is left out stays in sight."""
    held_out = race.held_out
    seen = [_left_out(race), *(held_out.cuts if held_out else ())]
    folded = [held_out.parts, held_out.boilerplate] if held_out else []
    folded += [f"{words[0].upper()}{words[1:]}." for words in (race.adapted, race.in_parts) if words]
    folded = [words for words in folded if words]
    remarks = Markup("").join(map(remark, filter(None, seen)))
    return remarks + (fragments.fold("Data and layers", Markup("").join(map(remark, folded))) if folded else "")


def _left_out(race: RaceRecord) -> str:
    """Return the number of examples of each part that are too long, in words; empty for none."""
    about = race.held_out
    counts = {"training": race.left_out}
    if about:
        counts |= {"held-out": about.held_out_left_out, "test": about.test_left_out}
    parts = [f"{n:,} {part} example{'s' * (n != 1)}" for part, n in counts.items() if n]
    if not parts:
        return ""
    longest = f"{race.config.max_length} tokens"
    if about and about.longest:
        longest = f"{about.longest} tokens without the prompt"
    return f"Left out, as longer than {longest}: {and_(parts)}."

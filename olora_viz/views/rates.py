"""A race as a sweep: held-out loss against the learning rate, and steps to reach LoRA's loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from olora_viz.figures.layout import Figure
from olora_viz.figures.rates import curve_styles, rate_figure
from olora_viz.figures.theme import LaneStyle
from olora_viz.machine.numbers import nats
from olora_viz.races.fair_rate import found_rates
from olora_viz.races.step import held_out_count
from olora_viz.studies.rate_story import describe_rates, describe_reach
from olora_viz.studies.rate_sweep import MEASURES, Reach, is_sweep, rate_curves, steps_to_reach
from olora_viz.studies.remarks import is_guessing
from olora_viz.studies.seed_groups import group_places, seed_groups
from olora_viz.studies.standings import standings
from olora_viz.views import html as fragments
from olora_viz.views.html import table
from olora_viz.views.race_record import RaceRecord, start_of

WORDS = {"final": "final loss", "best": "best loss of the run"}
"""Display names of the measures."""


@dataclass(frozen=True)
class RatesView:
    """Loss against rate as a figure, and its conclusions."""

    measure: str
    figure: Figure
    words: Markup


def rates_view(
    record: RaceRecord, measure: object = None, *, run: str | None = None
) -> RatesView | None:
    """Show a race as a sweep; None if it is not a sweep, or before the first step.

    Parameters
    ----------
    measure : one of `olora_viz.studies.rate_sweep.MEASURES`; otherwise ``final``.
    run : see `race_view`.
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
    rows = group_places(standings(steps, len(lanes)), seed_groups(lanes))
    said = describe_rates(
        lanes, steps, plain_text=record.plain_text,
        ended=record.complete or len(steps) >= record.config.steps,
        guessing=is_guessing(rows, record.held_out),
    )  # fmt: skip
    words = fragments.said(said) + reach(reached, curve_styles(curves))
    return RatesView(named, drawn, words)


def reach(reached: Sequence[Reach], styles: Mapping[str, LaneStyle]) -> Markup:
    """Return the table of steps to reach plain LoRA's final loss, or a sentence without LoRA.

    Parameters
    ----------
    styles : styles of the curves by label, see `curve_styles`.
    """
    if not reached:
        return Markup(
            '<p class="hint">Without a plain LoRA lane that is still racing there is no loss to '
            "reach.</p>"
        )
    spread = any(len(one.each) > 1 for one in reached)
    several = len({one.target for one in reached}) > 1
    caption = Markup(
        "Steps to reach plain LoRA's final loss{} "
        '<span class="hint">each seed that of LoRA\'s same seed, LoRA at its best rate; every '
        "start at the rate that gets there first, interpolated between evaluations</span>"
    ).format("" if several else f" ({nats(reached[0].target)})")
    goal = Markup(' <span class="hint">to {}</span>')
    return table(
        ("start", "rate", "steps, median" if spread else "steps", "of the seeds" if spread else ""),
        [
            (
                fragments.lane(styles[one.curve.label])
                + (goal.format(nats(one.target)) if several else ""),
                *describe_reach(one),
            )
            for one in reached
        ],
        kind="reach",
        caption=caption,
    )

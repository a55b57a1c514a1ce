"""The results of a learning-rate sweep, as sentences and table rows."""

from __future__ import annotations

from collections.abc import Sequence

from olora_viz.lanes.lane import Lane
from olora_viz.machine.numbers import compact, nats
from olora_viz.races.step import Step
from olora_viz.studies.comparison import fields_of
from olora_viz.studies.contest import latest_examples
from olora_viz.studies.matches import compared, of_every_lane
from olora_viz.studies.metric import metric_of
from olora_viz.studies.rate_sweep import Reach, rate_curves
from olora_viz.studies.story import told_of_match
from olora_viz.studies.words import Sentence, listed


def describe_rates(
    lanes: Sequence[Lane],
    steps: Sequence[Step],
    *,
    plain_text: bool = False,
    ended: bool = True,
    guessing: bool = False,
) -> list[Sentence]:
    """Describe how the starts compare at their best rates, and name the rates that diverged.

    Parameters
    ----------
    lanes, steps : of a race with results by example.
    plain_text : whether every token is judged, so that the loss decides; else accuracy does.
    ended : whether the last step is that of the race: if all starts are right nearly everywhere by
        then, the loss decides.
    guessing : whether no lane does better than guessing; the loss decides then at the end.
    """
    examples, said = latest_examples(steps), []
    if examples is not None:
        by_loss = metric_of(
            lanes, examples, plain_text=plain_text, ended=ended, guessing=guessing
        ).by_loss
        fields = [field for field in fields_of(lanes) if len(field.starts) > 1]
        told = compared(fields[:1], examples, by_loss=by_loss)
        every = None if fields else of_every_lane(lanes, examples, by_loss=by_loss)
        best = told[0].best if told else every
        said = told_of_match(best) if best and len(best.names) > 1 else []
    lost = [
        f"{curve.label} at {compact(point.lr)}"
        for curve in rate_curves(lanes, steps)
        for point in curve.points
        if point.diverged
    ]
    if lost:
        said = [*said, Sentence("", f"Diverged: {listed(lost)}.")]
    return said


def describe_reach(reach: Reach) -> tuple[str, str, str]:
    """Return a table row: the rate, the steps of the median seed, and their interval.

    Parameters
    ----------
    reach : when one start reached the target.
    """
    if reach.lr is None:
        return "–", "never", "a seed diverged at every rate"
    rate = compact(reach.lr)
    if not any(step is not None for step in reach.each):
        return rate, "never", f"reached {nats(reach.closest)}"
    return rate, "never" if reach.steps is None else f"{reach.steps:.0f}", reach.spread

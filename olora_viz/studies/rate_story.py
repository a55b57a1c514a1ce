"""The results of a learning-rate sweep, as sentences and table rows."""

from __future__ import annotations

from collections.abc import Sequence

from olora_viz.lanes.lane import Lane
from olora_viz.machine.numbers import compact, nats
from olora_viz.races.step import Step
from olora_viz.studies.comparison import fields_of
from olora_viz.studies.contest import latest_examples
from olora_viz.studies.matches import at_best_rates
from olora_viz.studies.rate_sweep import Reach, rate_curves
from olora_viz.studies.story import told_of_match
from olora_viz.studies.words import Sentence, listed


def describe_rates(
    lanes: Sequence[Lane], steps: Sequence[Step], *, plain_text: bool = False
) -> list[Sentence]:
    """Describe how the starts compare at their best rates, and name the rates that diverged.

    Parameters
    ----------
    lanes, steps : of a race with results by example.
    plain_text : whether every token is judged, so that the loss decides; else accuracy does.
    """
    field, examples = fields_of(lanes)[0], latest_examples(steps)
    best = at_best_rates(field, examples, plain_text=plain_text) if examples else None
    said = told_of_match(best)
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
    """Return a table row: the rate, the steps, and a note on the seeds.

    Parameters
    ----------
    reach : when one start reached the target.
    """
    if reach.lr is None:
        return "–", "never", "a seed diverged at every rate"
    rate = compact(reach.lr)
    seeds = len(reach.each)
    found = [n for n in reach.each if n is not None]
    if not found:
        return rate, "never", f"reached {nats(reach.closest)}"
    steps = "never" if reach.steps is None else f"{reach.steps:.0f}"
    if seeds == 1:
        return rate, steps, ""
    never = f", {seeds - len(found)} of {seeds} never" if len(found) < seeds else ""
    ends = list(dict.fromkeys(f"{end(found):.0f}" for end in (min, max)))
    return rate, steps, f"{' to '.join(ends)}{never}"

"""The results of a race in sentences.

Pure functions of lanes and steps. Every number comes from the run; who is ahead of whom is decided
by `olora_viz.studies.decision` alone, among lanes that may be compared, and worded by
`olora_viz.studies.who_leads`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from olora_viz.initializers import label_of
from olora_viz.lanes.lane import Lane
from olora_viz.machine.numbers import nats, percent
from olora_viz.measures.examples import Examples
from olora_viz.races.step import Step
from olora_viz.studies.comparison import Field, differences, fields_of
from olora_viz.studies.contest import latest_examples
from olora_viz.studies.matches import Match, Told, compared, of_every_lane
from olora_viz.studies.metric import metric_of
from olora_viz.studies.remarks import departures, is_guessing, no_better_than_guessing
from olora_viz.studies.seed_groups import group_places, seed_groups
from olora_viz.studies.setting_words import at_setting, setting_of
from olora_viz.studies.standings import Place, standings
from olora_viz.studies.words import Sentence, and_, listed, times
from olora_viz.tasks.held_out import HeldOut

AT_LENGTH = 3
"""Most settings, such as ranks, of which the story compares the starts one by one."""

SAME_LOSS = 0.02
"""Losses of the first batch within this many nats come from the same function."""

SAME_NORM = 1.1
"""Gradient norms within this factor are about equally large."""


def tell(
    lanes: Sequence[Lane],
    names: Sequence[str],
    steps: Sequence[Step],
    *,
    plain_text: bool = False,
    held_out: HeldOut | None = None,
    ended: bool = False,
) -> list[Sentence]:
    """Return sentences on the results so far.

    Parameters
    ----------
    lanes, names : one each per lane, see `display_names`.
    steps : what was measured so far, from the first step on.
    plain_text, ended : see `metric_of`.
    """
    examples = latest_examples(steps)
    rows = standings(steps, len(lanes))
    places = group_places(rows, seed_groups(lanes))
    metric = metric_of(
        lanes, examples, plain_text=plain_text, ended=ended,
        guessing=is_guessing(places, held_out),
    )  # fmt: skip
    fields = [field for field in fields_of(lanes) if len(field.starts) > 1]
    if examples is None:
        said = _without_examples(rows, names, steps)
    elif fields:
        shown = fields[:AT_LENGTH]
        at = [at_setting(field, lanes) for field in shown] if len(fields) > 1 else []
        found = compared(shown, examples, by_loss=metric.by_loss, at=at)
        said = [sentence for one in found for sentence in told_of(one)]
    else:
        said = _every_lane(lanes, examples, metric.by_loss)
    if metric.why and said:
        said.append(Sentence("", metric.why))
    if fields and len(fields) == 1:
        said = _scope(fields[0], lanes) * bool(said) + said + _first_gradients(fields[0], steps[0])
    return said + no_better_than_guessing(places, held_out) + departures(rows, names)


def _without_examples(
    rows: Sequence[Place], names: Sequence[str], steps: Sequence[Step]
) -> list[Sentence]:
    """Report the start, or results that were not kept by example and cannot be compared."""
    known = [row for row in rows if math.isfinite(row.loss)]
    if not known:
        return _same_function(steps[0]) if steps else []
    each = [f"{names[row.lane]} {nats(row.loss)}" for row in sorted(known, key=lambda r: r.lane)]
    rest = f"The held-out loss is {listed(each)} nats. Results by example were not kept"
    return [Sentence("", f"{rest}, so the lanes are not compared.")]


def _same_function(first: Step) -> list[Sentence]:
    """Report the loss of the first batch before any update, the same in every lane."""
    losses = [float(loss) for loss in first.loss if math.isfinite(loss)]
    if not losses or max(losses) - min(losses) >= SAME_LOSS:
        return []
    rest = f"on the first batch the loss is {losses[0]:.2f} nats."
    return [Sentence("Before training, every lane answers exactly as the base model:", rest)]


def told_of(one: Told) -> list[Sentence]:
    """Tell of the starts of a field: at their best rates, and at those that the main two share."""
    main = [one.main.sentence] if one.main else []
    return told_of_match(one.best) + main + ([one.shared.sentence] if one.shared else [])


def told_of_match(match: Match) -> list[Sentence]:
    """Tell of a match, and of a best rate at the end of those tried."""
    return [match.statement.sentence, *match.turned, *match.few, *match.beyond]


def _every_lane(lanes: Sequence[Lane], examples: Examples, by_loss: bool) -> list[Sentence]:
    """Compare all lanes, of which no two starts may be compared; seeds are one contender."""
    match = of_every_lane(lanes, examples, by_loss=by_loss)
    if match is None:
        return []
    held = match.held
    if len(match.names) == 1:
        n = held.examples
        score = f"accuracy {percent(held.accuracy[0])}, " * (not by_loss)
        loss = f"{held.loss_name} {nats(held.loss[0])}"
        rest = f"{score}{loss} ({n} held-out example{'s' * (n > 1)})."
        return [Sentence(f"{match.names[0]}:", rest)]
    seeds = {tuple(sorted(lanes[k].seed for k in group.lanes)) for group in seed_groups(lanes)}
    apart = [what for what in differences(lanes) if what != "seed" or len(seeds) > 1]
    what = Sentence("", f"The lanes differ in {and_(apart)}.") if apart else None
    return [*told_of_match(match), *filter(None, [what])]


def _scope(field: Field, lanes: Sequence[Lane]) -> list[Sentence]:
    """Report which lanes are compared, if not all are."""
    if field.size == len(lanes):
        return []
    apart = and_(differences([lanes[k] for one in field.contenders for k in one.lanes]))
    named = and_(setting_of(field, lanes))
    rest = f"Compared here: the lanes with {named}, which differ only in {apart}."
    return [Sentence("", rest)]


def _first_gradients(field: Field, first: Step) -> list[Sentence]:
    """Compare the norms of the first gradients, which do not depend on the learning rate."""
    means = {init: float(first.grad_norm[field.lanes_of(init)].mean()) for init in field.roles}
    if not all(0 < mean < math.inf for mean in means.values()):
        return []
    small, large = sorted(means, key=lambda init: means[init])
    ratio = means[large] / means[small]
    much, little = label_of(large), label_of(small)
    if ratio < SAME_NORM:
        rest = f"The first gradients of {much} and {little} are about equally large."
        return [Sentence("", rest)]
    return [Sentence("", f"{much}'s first gradient is {times(ratio)} {little}'s.")]

"""The results of a race: a ranking of the lanes, and sentences that explain it.

Pure functions of lanes and steps. Every number comes from the run, and one start is called ahead of
another only among lanes that otherwise differ in the learning rate alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from olora_viz.initializers import label_of
from olora_viz.lanes.lane import Lane
from olora_viz.machine.numbers import compact, nats, rounded
from olora_viz.races.step import Step, out_at
from olora_viz.studies.comparison import Field, Result, differences, fair_field, repeats, results_of

LEVEL = 1.1
"""Losses, norms and rates within this factor of each other count as level."""

FAR = 1.5
"""From this factor on, one lane is called far ahead of the other."""

NAMED = 3
"""Maximum number of diverged lanes to name; the others are counted."""

TINY = 0.02
"""Differences below this many nats are level, whatever their factor."""


@dataclass(frozen=True)
class Sentence:
    """A sentence with its message in the lead."""

    lead: str
    rest: str = ""

    def __str__(self) -> str:
        """Return the whole sentence."""
        return f"{self.lead} {self.rest}".strip()


@dataclass(frozen=True)
class Place:
    """The result of a lane, or of a group of lanes that differ only in their seed."""

    lane: int
    """Index of the lane, or of the group."""
    loss: float
    """Held-out loss at the latest evaluation, nats; NaN if there is none."""
    accuracy: float
    """Held-out accuracy, NaN if there is none."""
    first_grad_norm: float
    out_at: int
    """The step at which it diverged, the first of a group; 0 if it has not."""
    seeds: int = 1
    """The number of lanes; loss, accuracy and norm are their means."""
    spread: float = math.nan
    """Standard deviation of the losses over the seeds; NaN with one seed."""
    lost: int = 0
    """The number of diverged seeds of a group."""


def standings(steps: Sequence[Step], lanes: int) -> list[Place]:
    """Order the lanes by held-out loss, the best first and the diverged ones last."""
    newest = next((step for step in reversed(steps) if step.eval_loss is not None), None)
    nothing = [math.nan] * lanes
    loss = nothing if newest is None or newest.eval_loss is None else newest.eval_loss
    share = nothing if newest is None or newest.eval_accuracy is None else newest.eval_accuracy
    left_at = out_at(steps, lanes)
    rows = [
        Place(
            lane=k,
            loss=float(loss[k]),
            accuracy=float(share[k]),
            first_grad_norm=float(steps[0].grad_norm[k]) if steps else math.nan,
            out_at=left_at[k],
        )
        for k in range(lanes)
    ]
    return sorted(rows, key=lambda row: (row.out_at > 0, _last_if_nan(row.loss), row.lane))


def tell(lanes: Sequence[Lane], names: Sequence[str], steps: Sequence[Step]) -> list[Sentence]:
    """Return sentences on the results so far.

    Parameters
    ----------
    lanes, names : one each per lane, see `display_names`.
    steps : what was measured so far, from the first step on.
    """
    rows = standings(steps, len(lanes))
    at = max((step.step for step in steps if step.eval_loss is not None), default=0)
    losses = {row.lane: row.loss for row in rows if not row.out_at and math.isfinite(row.loss)}
    field = fair_field(lanes)
    results = results_of(field, losses)
    starts = {result.init for result in results} if losses else set(field.starts)
    said = [] if at else _same_function(steps[0])
    if len(starts) > 1 or field.size == len(lanes):
        compared = [
            *_at_shared_rate(field, results, at),
            *_at_best_rates(field, results),
            *_one_start(field, results, at),
            *_first_gradients(field, steps[0]),
        ]
        said += _scope(field, lanes) * bool(compared) + compared
    else:
        said += _lowest(lanes, names, losses, at)
    return said + _departures(rows, names)


def caveat(lanes: Sequence[Lane]) -> str:
    """Return a sentence on the reliability of the results."""
    counts = repeats(lanes)
    fewest = "one seed" if counts[0] == 1 else f"{counts[0]} seeds"
    runs = f"{fewest} each" if counts[0] == counts[-1] else f"for some lanes {fewest} only"
    return f"Computed from this run, {runs}. Repeat it with more seeds before you rely on it."


def _same_function(first: Step) -> list[Sentence]:
    """Report the loss of the first batch before any update, the same in every lane."""
    losses = [float(loss) for loss in first.loss if math.isfinite(loss)]
    if not losses or max(losses) - min(losses) >= TINY:
        return []
    rest = f"on the first batch the loss is {losses[0]:.2f} nats."
    return [Sentence("Every lane starts from the same function:", rest)]


def _scope(field: Field, lanes: Sequence[Lane]) -> list[Sentence]:
    """Report which lanes are compared, if not all are, and what was averaged."""
    said: list[Sentence] = []
    if field.size < len(lanes):
        setting, clip = field.setting, field.setting.clip
        words = {
            "rank": f"rank {setting.r}",
            "scaling": f"scaling {compact(setting.scale)}",
            "weight decay": f"weight decay {compact(setting.weight_decay)}",
            "clipping": "no clipping" if clip is None else f"clipping at {compact(clip)}",
            "seed": f"seed{'s' * (len(field.seeds) > 1)} {_and([str(s) for s in field.seeds])}",
        }
        named = _and([words[name] for name in differences(lanes) if name in words])
        apart = _and(differences([lanes[k] for one in field.contenders for k in one.lanes]))
        rest = f"Compared here: the lanes with {named}, which differ only in {apart}."
        said.append(Sentence("", rest))
    if len(field.seeds) > 1:
        said.append(Sentence("", f"Losses and gradients are means over {len(field.seeds)} seeds."))
    return said


def _at_shared_rate(field: Field, results: Sequence[Result], at: int) -> list[Sentence]:
    """Compare the two at the lowest rate that both race at, then the rival at a higher one."""
    mine, theirs = ({x.lr: x.loss for x in results if x.init == init} for init in field.roles)
    shared = sorted(mine.keys() & theirs.keys())
    if len(set(field.roles)) < 2 or not shared:
        return []
    lr = shared[0]
    hero, rival = map(label_of, field.roles)
    verdict = compare(mine[lr], theirs[lr])
    lead = f"At one shared rate ({compact(lr)}) {hero} is {verdict} {rival}:"
    rest = f"held-out loss {nats(mine[lr])} against {nats(theirs[lr])} at step {at}."
    said = [Sentence(lead, rest)]
    higher = sorted(rate for rate in theirs if LEVEL * lr < rate <= 100 * lr)
    if higher and "ahead" in verdict:
        faster = theirs[higher[0]]
        outcome = {"level with": "keeps up", "ahead of": "overtakes it"}.get(
            compare(faster, mine[lr]).removeprefix("far "), "still trails"
        )
        lead = f"With {times(higher[0] / lr)} the rate, {rival} {outcome}"
        said.append(Sentence(lead, f"({nats(faster)})."))
    return said


def _at_best_rates(field: Field, results: Sequence[Result]) -> list[Sentence]:
    """Compare the two best starts, each at the best of the rates that were tried."""
    best = {result.init: result for result in reversed(results)}
    if len(best) < 2:
        return []
    first, second = sorted(best.values(), key=lambda result: result.loss)[:2]
    losses = f"{nats(first.loss)} against {nats(second.loss)}."
    is_to, names = compare(first.loss, second.loss), (label_of(first.init), label_of(second.init))
    counts = [len(field.rates(result.init)) for result in (first, second)]
    if max(counts) == 1 and first.lr == second.lr:
        if {first.init, second.init} == set(field.roles):
            return []  # the sentence about the shared rate has said it
        lead = f"{names[0]} is {is_to} {names[1]}, the next best:"
        return [Sentence(lead, f"held-out loss {losses}")]
    each = "Each at the best rate tried" if max(counts) > 1 else "Each at its only rate"
    at = [
        f"{compact(result.lr)}{', its only rate' if count == 1 < max(counts) else ''}"
        for result, count in zip((first, second), counts, strict=True)
    ]
    lead = f"{each}, {names[0]} ({at[0]}) is {is_to} {names[1]} ({at[1]}):"
    edge = [result for result in (first, second) if _wants_more(field, results, result)]
    return [Sentence(lead, losses), *_edge(edge)]


def _one_start(field: Field, results: Sequence[Result], at: int) -> list[Sentence]:
    """Compare the best two rates of the only start without divergence."""
    if len({result.init for result in results}) != 1:
        return []
    best, name = results[0], label_of(results[0].init)
    if len(results) == 1:
        return [Sentence("", f"{name}'s held-out loss is {nats(best.loss)} at step {at}.")]
    other, rate = results[1], compact(best.lr)
    against = f"held-out loss {nats(best.loss)} against {nats(other.loss)} at step {at}."
    if compare(best.loss, other.loss) == "level with":
        lead = f"{name} does as well at the rate {rate} as at {compact(other.lr)}:"
        return [Sentence(lead, against)]
    lead = f"{name} does better at the rate {rate} than at {compact(other.lr)}:"
    return [Sentence(lead, against), *_edge([best] * _wants_more(field, results, best))]


def _wants_more(field: Field, results: Sequence[Result], best: Result) -> bool:
    """Whether a start does best at the largest rate tried, and clearly so."""
    others = [x.loss for x in results if x.init == best.init and x.lr != best.lr]
    if not others or best.lr < field.rates(best.init)[-1]:
        return False
    return compare(best.loss, min(others)) != "level with"


def _edge(edge: Sequence[Result]) -> list[Sentence]:
    if not edge:
        return []
    who = "Both do" if len(edge) > 1 else f"{label_of(edge[0].init)} does"
    return [Sentence("", f"{who} best at the largest rate tried: a larger one may do better.")]


def _lowest(
    lanes: Sequence[Lane], names: Sequence[str], losses: dict[int, float], at: int
) -> list[Sentence]:
    """Name the two lowest losses and how their lanes differ, if no two starts are comparable."""
    ranked = sorted(losses, key=lambda k: losses[k])[:2]
    if not ranked:
        return []
    best, loss = names[ranked[0]], losses[ranked[0]]
    if len(ranked) == 1:
        return [Sentence("", f"The held-out loss of {best} is {nats(loss)} at step {at}.")]
    other = ranked[1]
    what = _and(differences([lanes[k] for k in ranked])) or "nothing"
    rest = f"{nats(loss)} against {nats(losses[other])} at step {at}. The two differ in {what}."
    lead = f"{best} has the lowest held-out loss, then {names[other]}:"
    return [Sentence(lead, rest)]


def _first_gradients(field: Field, first: Step) -> list[Sentence]:
    """Compare the norms of the first gradients, which do not depend on the learning rate."""
    if len(field.starts) < 2:
        return []
    means = {init: float(first.grad_norm[field.lanes_of(init)].mean()) for init in field.roles}
    if not all(0 < mean < math.inf for mean in means.values()):
        return []
    small, large = sorted(means, key=lambda init: means[init])
    ratio = means[large] / means[small]
    much, little = label_of(large), label_of(small)
    if ratio < LEVEL:
        rest = f"The first gradients of {much} and {little} are about equally large."
        return [Sentence("", rest)]
    return [Sentence("", f"{much}'s first gradient is {times(ratio)} {little}'s.")]


def _departures(rows: Sequence[Place], names: Sequence[str]) -> list[Sentence]:
    """Name the diverged lanes, the earliest first."""
    out = sorted((row for row in rows if row.out_at), key=lambda row: row.out_at)
    if not out:
        return []
    gone = [f"{names[row.lane]} (step {row.out_at})" for row in out]
    if len(gone) > NAMED:
        gone[NAMED:] = [f"{len(gone) - NAMED} more"]
    verb, whose = ("is", "its") if len(out) == 1 else ("are", "their")
    others = "The others are not affected." if len(out) < len(rows) else "No lane is left."
    rest = f"{whose} loss or gradient was no longer finite. {others}"
    return [Sentence(f"{_and(gone)} {verb} out of the race:", rest)]


def compare(mine: float, theirs: float) -> str:
    """Compare a loss with another one, in words.

    >>> compare(0.3, 0.9), compare(0.5, 0.6), compare(1.0, 1.05), compare(2.0, 1.0)
    ('far ahead of', 'ahead of', 'level with', 'far behind')
    """
    low, high = sorted((mine, theirs))
    if high - low < TINY or high < LEVEL * low:
        return "level with"
    far = "far " if high >= FAR * low else ""
    return f"{far}{'ahead of' if mine < theirs else 'behind'}"


def times(ratio: float) -> str:
    """Write a factor in two digits, or in words where it has one.

    >>> times(3.0), times(28.8), times(1234.0)
    ('three times', '29 times', '1200 times')
    """
    digits = compact(rounded(ratio, 2))
    words = {"2": "twice", "3": "three times", "5": "five times", "10": "ten times"}
    return words.get(digits, f"{digits} times")


def _and(words: Sequence[str]) -> str:
    """Join words as a sentence does.

    >>> _and(["rank", "scaling", "seed"])
    'rank, scaling and seed'
    """
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _last_if_nan(value: float) -> float:
    return value if math.isfinite(value) else math.inf

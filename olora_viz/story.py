"""What a race says so far: who stands where, and the sentences that a teacher would say.

Pure functions of lanes and steps. Every number in a sentence is one of the run's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from olora_viz.step import Step
from olora_viz.theme import LaneLike, Look, compact, label

LEVEL = 1.1
"""Held-out losses within this factor are called level."""

FAR = 1.5
"""From this factor on, one lane is called far ahead of the other."""

NAMED = 4
"""The most starts whose best losses are listed, beside the two that are compared."""

TINY = 0.02
"""Differences below this many nats are level, whatever their factor."""


@dataclass(frozen=True)
class Sentence:
    """A sentence whose beginning carries the message."""

    lead: str
    rest: str = ""

    def __str__(self) -> str:
        """Return the whole sentence."""
        return f"{self.lead} {self.rest}".strip()


@dataclass(frozen=True)
class Standing:
    """Where a lane stands."""

    lane: int
    """Its place in the race's list."""
    loss: float
    """Held-out loss at the newest evaluation, nats; NaN where it has none."""
    accuracy: float
    """Share of right held-out answers, NaN where it has none."""
    first_grad_norm: float
    out_at: int
    """The step at which it diverged, 0 while it is racing."""


def standings(steps: Sequence[Step], lanes: int) -> list[Standing]:
    """Order the lanes by held-out loss, the best first and the diverged ones last."""
    newest = next((step for step in reversed(steps) if step.eval_loss is not None), None)
    nothing = [math.nan] * lanes
    loss = nothing if newest is None or newest.eval_loss is None else newest.eval_loss
    share = nothing if newest is None or newest.eval_accuracy is None else newest.eval_accuracy
    rows = [
        Standing(
            lane=k,
            loss=float(loss[k]),
            accuracy=float(share[k]),
            first_grad_norm=float(steps[0].grad_norm[k]) if steps else math.nan,
            out_at=next((step.step for step in steps if not math.isfinite(step.loss[k])), 0),
        )
        for k in range(lanes)
    ]
    return sorted(rows, key=lambda row: (row.out_at > 0, _last_if_nan(row.loss), row.lane))


def tell(lanes: Sequence[LaneLike], looks: Sequence[Look], steps: Sequence[Step]) -> list[Sentence]:
    """Say what the race shows so far.

    Parameters
    ----------
    lanes, looks : one each per lane.
    steps : what was measured so far, at least one step.
    """
    rows = standings(steps, len(lanes))
    racing = {row.lane: row for row in rows if not row.out_at and math.isfinite(row.loss)}
    hero, rival = _leading_roles(lanes)
    sentences: list[Sentence] = []
    if racing:
        at = max(step.step for step in steps if step.eval_loss is not None)
        sentences += _at_shared_rate(lanes, racing, hero, rival, at)
        sentences += _at_best_rates(lanes, looks, racing, hero, rival)
    else:
        sentences.append(
            Sentence(
                "Every lane starts from the same function:",
                f"on the first batch each loses {steps[0].loss[0]:.2f} nats.",
            )
        )
    sentences += _first_gradients(lanes, steps, hero, rival)
    for row in rows:
        if row.out_at:
            name = looks[row.lane].label
            rest = "its loss was no longer a finite number. The others go on."
            sentences.append(Sentence(f"{name} is out of the race at step {row.out_at}:", rest))
    return sentences


def caveat(lanes: Sequence[LaneLike]) -> str:
    """Say how far the sentences can be trusted."""
    seeds = len({lane.seed for lane in lanes})
    runs = "one seed" if seeds == 1 else f"{seeds} seeds"
    return f"Computed from this run, {runs}. Repeat it with other seeds before you believe it."


def _leading_roles(lanes: Sequence[LaneLike]) -> tuple[str, str]:
    """Choose whom to compare: OLoRA with LoRA where both race, else the first two starts."""
    inits = list(dict.fromkeys(lane.init for lane in lanes))
    rival = "lora" if "lora" in inits else inits[0]
    others = [init for init in inits if init != rival]
    hero = "olora" if "olora" in others else (others[0] if others else rival)
    return hero, rival


def _best(
    lanes: Sequence[LaneLike], racing: dict[int, Standing], init: str, lr: float | None = None
) -> Standing | None:
    found = [
        row
        for k, row in racing.items()
        if lanes[k].init == init and (lr is None or lanes[k].lr == lr)
    ]
    return min(found, key=lambda row: row.loss, default=None)


def _at_shared_rate(
    lanes: Sequence[LaneLike], racing: dict[int, Standing], hero: str, rival: str, at: int
) -> list[Sentence]:
    """Compare the two at the lowest rate that both race at, then the rival at a higher one."""
    rates = [{lane.lr for lane in lanes if lane.init == init} for init in (hero, rival)]
    shared = sorted(rates[0] & rates[1])
    if hero == rival or not shared:
        return []
    lr = shared[0]
    mine, theirs = _best(lanes, racing, hero, lr), _best(lanes, racing, rival, lr)
    if mine is None or theirs is None:
        return []
    verdict = _compare(mine.loss, theirs.loss)
    lead = f"At one shared rate ({compact(lr)}) {label(hero)} is {verdict} {label(rival)}:"
    rest = f"held-out loss {mine.loss:.2f} against {theirs.loss:.2f} at step {at}."
    said = [Sentence(lead, rest)]
    higher = sorted(rate for rate in rates[1] if lr < rate <= 100 * lr)
    faster = _best(lanes, racing, rival, higher[0]) if higher else None
    if faster is not None and "ahead" in verdict:
        outcome = {"level with": "keeps up", "ahead of": "overtakes it"}.get(
            _compare(faster.loss, mine.loss).removeprefix("far "), "still trails"
        )
        lead = f"With {_times(higher[0] / lr)} the rate, {label(rival)} {outcome}"
        said.append(Sentence(lead, f"({faster.loss:.2f})."))
    return said


def _at_best_rates(
    lanes: Sequence[LaneLike],
    looks: Sequence[Look],
    racing: dict[int, Standing],
    hero: str,
    rival: str,
) -> list[Sentence]:
    """Compare every start at the best of the rates that were tried."""
    inits = list(dict.fromkeys((hero, rival, *(lane.init for lane in lanes))))
    found = [(init, _best(lanes, racing, init)) for init in inits]
    best = [(init, row) for init, row in found if row is not None]
    best.sort(key=lambda pair: pair[1].loss)
    if len({lane.lr for lane in lanes}) == 1 or not best:
        return _leader(looks, racing)
    losses = ", ".join(
        f"{label(init)} {row.loss:.2f} (at {compact(lanes[row.lane].lr)})"
        for place, (init, row) in enumerate(best)
        if place < NAMED or init in (hero, rival)
    )
    edge = [
        init
        for init, row in best[:2]
        if lanes[row.lane].lr == max(lane.lr for lane in lanes if lane.init == init)
        and len({lane.lr for lane in lanes if lane.init == init}) > 1
    ]
    more = ""
    if edge:
        names = " and ".join(label(init) for init in edge)
        verb = "do" if len(edge) > 1 else "does"
        more = (
            f" {names} {verb} best at the largest rate tried, so a larger one may do better still."
        )
    if len(best) == 1:
        return [Sentence(f"{label(best[0][0])} at the best rate tried:", f"{losses}.{more}")]
    (first, top), (second, next_) = best[:2]
    verdict = _compare(top.loss, next_.loss)
    lead = f"Each at the best rate tried, {label(first)} is {verdict} {label(second)}:"
    return [Sentence(lead, f"{losses}.{more}")]


def _leader(looks: Sequence[Look], racing: dict[int, Standing]) -> list[Sentence]:
    ranked = sorted(racing.values(), key=lambda row: row.loss)
    if len(ranked) < 2:
        return []
    first, second = ranked[:2]
    verdict = _compare(first.loss, second.loss)
    names = looks[first.lane].label, looks[second.lane].label
    rest = f"held-out loss {first.loss:.2f} against {second.loss:.2f}."
    return [Sentence(f"{names[0]} is {verdict} {names[1]}, the next best:", rest)]


def _first_gradients(
    lanes: Sequence[LaneLike], steps: Sequence[Step], hero: str, rival: str
) -> list[Sentence]:
    """Compare the norms of the very first gradients, which no learning rate has touched."""
    first = {
        init: next(steps[0].grad_norm[k] for k, lane in enumerate(lanes) if lane.init == init)
        for init in (hero, rival)
    }
    if hero == rival or not (first[rival] > 0 and math.isfinite(first[hero])):
        return []
    ratio = first[hero] / first[rival]
    return [Sentence("", f"{label(hero)}'s first gradient is {ratio:.1f} times {label(rival)}'s.")]


def _compare(mine: float, theirs: float) -> str:
    """Say how a loss stands to another one.

    >>> _compare(0.3, 0.9), _compare(0.5, 0.6), _compare(1.0, 1.05), _compare(2.0, 1.0)
    ('far ahead of', 'ahead of', 'level with', 'far behind')
    """
    low, high = sorted((mine, theirs))
    if high - low < TINY or high < LEVEL * low:
        return "level with"
    far = "far " if high >= FAR * low else ""
    return f"{far}{'ahead of' if mine < theirs else 'behind'}"


def _times(ratio: float) -> str:
    """Write a factor in words where it has one.

    >>> _times(3.0), _times(2.5)
    ('three times', '2.5 times')
    """
    words = {"2": "twice", "3": "three times", "5": "five times", "10": "ten times"}
    return words.get(f"{ratio:.3g}", f"{ratio:.3g} times")


def _last_if_nan(value: float) -> float:
    return value if math.isfinite(value) else math.inf

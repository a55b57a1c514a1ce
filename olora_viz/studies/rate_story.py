"""The results of a learning-rate sweep, as sentences and table rows."""

from __future__ import annotations

from collections.abc import Sequence

from olora_viz.machine.numbers import compact, nats
from olora_viz.studies.rate_sweep import Curve, Point, Reach
from olora_viz.studies.story import Sentence


def describe_rates(curves: Sequence[Curve]) -> list[Sentence]:
    """Report the best start and rate, whether the seeds separate them, and what is missing.

    Parameters
    ----------
    curves : of `rate_sweep.rate_curves`; they are compared within one setting.
    """
    ranked = _ranked(curves)
    said = [_first_two(*ranked[:2])] if len(ranked) > 1 else [_alone(*one) for one in ranked]
    edges = [
        f"{curve.label} ({'lowest' if curve.points[0] == best else 'highest'})"
        for curve, best in ranked[:2]
        if curve.is_at_edge
    ]
    if edges:
        rest = f"at the edge of the sweep: {' and '.join(edges)}. The optimum may lie outside it."
        said.append(Sentence("", f"The best is {rest}"))
    lost = [
        f"{curve.label} at {compact(point.lr)}"
        for curve in curves
        for point in curve.points
        if point.diverged
    ]
    if lost:
        named = ", ".join(lost[:3]) + (f" and {len(lost) - 3} more" if len(lost) > 3 else "")
        said.append(Sentence("", f"Diverged: {named}."))
    return said


def describe_reach(reach: Reach) -> tuple[str, str, str]:
    """Return a row of the table: the rate, the steps, and what the seeds say of them.

    Parameters
    ----------
    reach : of one start.
    """
    if reach.lr is None:
        return "–", "never", "a seed diverged at every rate"
    rate = compact(reach.lr)
    seeds = len(reach.each)
    if reach.steps is None:
        return rate, "never", f"reached {nats(reach.closest)}"
    steps = f"{reach.steps:.0f}"
    if seeds == 1:
        return rate, steps, ""
    found = [n for n in reach.each if n is not None]
    never = f", {seeds - len(found)} of {seeds} never" if len(found) < seeds else ""
    ends = list(dict.fromkeys(f"{end(found):.0f}" for end in (min, max))) if found else []
    return rate, steps, f"{' to '.join(ends)}{never}" if ends else never[2:]


def _ranked(curves: Sequence[Curve]) -> list[tuple[Curve, Point]]:
    """Return the curves that may be compared with their optima, those to speak of first.

    They are of one setting: that of plain LoRA and OLoRA if both are there, else the one with the
    most starts. Of them OLoRA and LoRA come first, or else the two best.
    """
    known = [(curve, best) for curve in curves if (best := curve.optimum) is not None]
    settings = {curve.setting: {c.lane.init for c, _ in known if c.setting == curve.setting}
                for curve, _ in known}  # fmt: skip
    if not settings:
        return []
    chosen = max(settings, key=lambda s: ({"lora", "olora"} <= settings[s], len(settings[s])))
    alike = [pair for pair in known if pair[0].setting == chosen]
    pair = {"lora", "olora"} if {"lora", "olora"} <= settings[chosen] else settings[chosen]
    return sorted(alike, key=lambda one: (one[0].lane.init not in pair, one[1].mean))


def _first_two(first: tuple[Curve, Point], second: tuple[Curve, Point]) -> Sentence:
    (a, best), (b, other) = first, second
    lead = f"{a.label} does best at {compact(best.lr)}, {b.label} at {compact(other.lr)}:"
    if best.lr == other.lr:
        lead = f"{a.label} and {b.label} do best at the same rate, {compact(best.lr)}:"
    losses = f"held-out loss {nats(best.mean)} against {nats(other.mean)}"
    seeds = min(len(best.lanes), len(other.lanes))
    if seeds == 1:
        return Sentence(lead, f"{losses}. One seed gives no estimate of the uncertainty.")
    apart = max(best.known) < min(other.known)
    words = "their seeds do not overlap" if apart else "their seeds overlap"
    return Sentence(lead, f"{losses}; {words}.")


def _alone(curve: Curve, best: Point) -> Sentence:
    lead = f"{curve.label} does best at {compact(best.lr)}:"
    return Sentence(lead, f"held-out loss {nats(best.mean)}.")

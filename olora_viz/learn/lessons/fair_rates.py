"""Lesson: the race at fair rates."""

from __future__ import annotations

from olora_viz.initializers import label_of
from olora_viz.learn.gallery import Recording
from olora_viz.learn.lessons.lesson import Lesson
from olora_viz.learn.lessons.recorded import Recorded
from olora_viz.machine.numbers import compact, nats
from olora_viz.studies.rate_story import describe_rates
from olora_viz.studies.rate_sweep import rate_curves, steps_to_reach
from olora_viz.studies.story import compare


def lesson(race: Recording) -> Lesson:
    """Write the lesson from its recorded race."""
    read, lanes = Recorded(race), race.config.lanes
    inits = list(dict.fromkeys(lane.init for lane in lanes))
    seeds = len({lane.seed for lane in lanes})
    low = read.rates("lora")[0]
    mine, plain = read.loss("olora", low), read.loss("lora", low)
    slow = compare(mine, plain)
    best = {init: read.best(init) for init in ("lora", "olora")}
    fair = compare(best["olora"].mean, best["lora"].mean)
    told = " ".join(map(str, describe_rates(rate_curves(lanes, race.steps))))
    reached = ", ".join(
        f"{label_of(one.curve.lane.init)} after {one.steps:.0f} steps"
        if one.steps is not None
        else f"{label_of(one.curve.lane.init)} never"
        for one in steps_to_reach(lanes, race.steps, read.base_loss)
    )
    return Lesson(
        name="fair-rates",
        title="The race at fair rates",
        minutes=5,
        paragraphs=(
            f"Here {len(inits)} initializations race at {len(read.rates('lora'))} learning rates "
            f"with {seeds} seeds each: {len(lanes)} lanes in one race, on the same batches. Each "
            "initialization is judged at its own best rate, so that only the initialization is "
            "compared.",
            told,
            f"At the lowest rate tried, {compact(low)}, OLoRA is {slow} LoRA: {nats(mine)} against "
            f"{nats(plain)}, a factor of {plain / mine:.2f}. At the best rate of each, OLoRA is "
            f"{fair} LoRA: {nats(best['olora'].mean)} against {nats(best['lora'].mean)}, a factor "
            f"of {best['lora'].mean / best['olora'].mean:.2f}. The conclusion depends on which of "
            "the two comparisons is reported.",
            "Speed can be measured fairly too: count the steps to reach plain LoRA's final loss at "
            f"LoRA's best rate, each at the rate that gets there first. Here: {reached}.",
            "OLoRA and PiSSA depend on $W$ alone, so all their seeds start the same, and in this "
            "race they see the same batches: their seeds coincide. The missing band does not mean "
            "that the result is certain.",
        ),
        formulas=(
            r"\min_{\eta}\; L_{\mathrm{held\,out}}(\mathrm{start}, \eta) \quad"
            r"\text{instead of}\quad L_{\mathrm{held\,out}}(\mathrm{start}, \eta_0)",
        ),
        do="Find the chart of held-out loss against the learning rate, below the curves.",
        see="The marked minimum of each curve. Compare the gap between the minima with the gap at "
        "the left edge.",
        recording=race.name,
        picture="rates",
        where="rates-figure",
    )

"""Lesson: the race at fair rates."""

from __future__ import annotations

from olora_viz.initializers import label_of
from olora_viz.learn.gallery import Recording
from olora_viz.learn.lessons.lesson import Lesson
from olora_viz.learn.lessons.recorded import Recorded, compact, compare, nats
from olora_viz.studies.rate_story import tell_rates
from olora_viz.studies.rate_sweep import rate_curves, steps_to_reach


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
    told = " ".join(map(str, tell_rates(rate_curves(lanes, race.steps))))
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
            f"Here {len(inits)} starts race at {len(read.rates('lora'))} rates and with {seeds} "
            f"seeds each: {len(lanes)} lanes in one race, on the same batches. Every start may "
            "choose its own best rate. Only then is the start alone compared.",
            told,
            f"At the lowest rate tried, {compact(low)}, OLoRA is {slow} LoRA: {nats(mine)} against "
            f"{nats(plain)}, a factor of {plain / mine:.2f}. Each at its best rate, OLoRA is "
            f"{fair} LoRA: {nats(best['olora'].mean)} against {nats(best['lora'].mean)}, a factor "
            f"of {best['lora'].mean / best['olora'].mean:.2f}. Which of the two pairs is printed "
            "decides what a reader believes.",
            "Speed has a fair measure too: the steps until a start has plain LoRA's final loss at "
            f"LoRA's best rate, each start at the rate that gets there first. Here: {reached}.",
            "OLoRA and PiSSA start from $W$ alone, so their seeds start alike, and in this race "
            "they see the same batches: their seeds draw one line. That it has no band does not "
            "make it certain.",
        ),
        formulas=(
            r"\min_{\eta}\; L_{\mathrm{held\,out}}(\mathrm{start}, \eta) \quad"
            r"\text{instead of}\quad L_{\mathrm{held\,out}}(\mathrm{start}, \eta_0)",
        ),
        do="Find the chart of held-out loss against the learning rate, below the curves.",
        see="The lowest point of each curve, marked: how far apart they are there, and how far "
        "apart at the left edge.",
        recording=race.name,
        picture="rates",
        where="rates-figure",
    )

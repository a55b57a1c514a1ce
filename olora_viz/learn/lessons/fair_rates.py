"""Lesson: the race at fair rates."""

from __future__ import annotations

from olora_viz.initializers import label_of
from olora_viz.learn.lessons.lesson import Lesson, RaceNumbers
from olora_viz.machine.text import compact, nats
from olora_viz.studies.story import steps_to_reach


def lesson(race: RaceNumbers) -> Lesson:
    """Write the lesson from its recorded race."""
    lanes = race.recording.config.lanes
    inits = list(dict.fromkeys(lane.init for lane in lanes))
    seeds = len({lane.seed for lane in lanes})
    low, high = race.rates("lora")[0], race.rates("lora")[-1]
    reached = ", ".join(
        f"{label_of(reach.curve.lane.init)} after {reach.steps:.0f} steps ({reach.spread})"
        if reach.steps is not None
        else f"{label_of(reach.curve.lane.init)} never"
        for reach in steps_to_reach(lanes, race.recording.steps, race.base_loss)
    )
    return Lesson(
        name="fair-rates",
        title="The race at fair rates",
        minutes=5,
        idea="Compare initializations each at its own best learning rate, chosen from the same rates.",
        paragraphs=(
            f"Here {len(inits)} initializations race at {len(race.rates('lora'))} learning rates with {seeds} seeds "
            f"each: {len(lanes)} lanes in one race. Each initialization is judged at its own best rate, so that only "
            "the initialization is compared.",
            race.sentences,
            f"{race.verdict(f'At the lowest rate tried, {compact(low)},', 'olora', 'lora', low)} The mean held-out "
            f"losses there are {nats(race.loss('lora', low))} nats with LoRA and {nats(race.loss('olora', low))} with "
            f"OLoRA; at the best rate of each they are {nats(race.best('lora').mean)} and "
            f"{nats(race.best('olora').mean)}. How large the gap is depends on which of the two is reported.",
            "Speed can be measured fairly too: count the steps to reach plain LoRA's final loss at "
            "LoRA's best rate, every seed against LoRA's run of the same seed, each start at the "
            f"rate that gets there first. Medians in this race: {reached} ({race.basis}).",
            "OLoRA and PiSSA depend on $W$ alone, so all their seeds start the same. On the same "
            "batches they would be one run, counted three times. Therefore the batches vary by "
            "seed here: each seed is a run of its own, and all starts share the batches of a seed.",
        ),
        formulas=(
            r"\min_{\eta}\; L_{\mathrm{held\,out}}(\mathrm{start}, \eta) \qquad "
            r"\text{instead of} \qquad L_{\mathrm{held\,out}}(\mathrm{start}, \eta_0)",
        ),
        do="Under Rates, find the chart of held-out loss against the learning rate.",
        see="The marked minimum of each curve. Compare the gap between the minima with the gap at the left edge.",
        ask=f"Suppose one start has its lowest loss at {compact(high)}, the highest rate tried. "
        "May it be compared with the others there?",
        options=(
            "Not yet: its best rate may be higher than all that were tried.",
            "Yes: every start could choose from the same rates.",
            "Yes, if it leads there with every seed.",
        ),
        answer="Not yet. Its curve is still falling where the rates end, so its best rate may be higher and its best "
        "loss lower. Add higher rates, for every start, until each curve rises on both sides of its minimum. "
        "Otherwise the list of rates decides the comparison, as a single rate does.",
        recording=race.recording.name,
        picture="rates",
        where="rates-figure",
    )

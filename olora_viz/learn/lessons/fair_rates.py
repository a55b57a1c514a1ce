"""Lesson: the race at fair rates."""

from __future__ import annotations

import math

from olora_viz.initializers import label_of
from olora_viz.learn.lessons.lesson import Awaited, Choice, GuideStep, Lesson, RaceNumbers
from olora_viz.machine.wording import compact, nats, percent
from olora_viz.studies.story import steps_to_reach

NEAR_SHARE = 0.1
"""Of a rate: tenfold is 1."""


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
            "the initialization is compared. Below, $L$ is the loss and $\\eta$ the learning rate.",
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
        do="Under Rates, drag the blue handle on the chart's axis to the lowest rate, then press “Each at its best”.",
        see="All charts show the runs at the chosen rates alone. Compare the gap at the lowest rate with the gap "
        "between the minima of the curves.",
        ask=f"Suppose one start has its lowest loss at {compact(high)}, the highest rate tried. "
        "May it be compared with the others there?",
        choices=(
            Choice(
                "Yes: all starts were tried at the same rates, which is fair.",
                "The same list may end too early for one of them. Its best rate may lie beyond.",
            ),
            Choice("Not yet: first add higher rates, for every start."),
            Choice(
                "Yes, if the others are taken at this rate too.",
                "Then the rate decides again who is ahead, as in the lesson before.",
            ),
        ),
        answer="Not yet. Its curve is still falling where the rates end, so its best rate may be higher and its best "
        "loss lower. Add higher rates, for every start, until each curve rises on both sides of its minimum. "
        "Otherwise the list of rates decides the comparison, as a single rate does.",
        recording=race.recording.name,
        picture="rates",
        where="rates-figure",
        waits=Awaited(
            "value",
            "the lowest rate",
            of="#rates-figure input[type=range]",
            low=math.log10(low) - NEAR_SHARE,
            high=math.log10(low) + NEAR_SHARE,
        ),
        outcome=(1, 2, 3),
        by_hand=GuideStep(
            "If chance alone decided, the names OLoRA and LoRA could as well be exchanged within a seed.",
            "Choose a rate, and exchange names until you know whether its gap was luck.",
            Awaited("pressed", "an exchange", of="#lesson-hand :is([data-every], [data-shuffle], .seeds button)"),
            f"With {seeds} seeds chance alone comes as far in {percent(2 / 2**seeds)} of all races, even where all "
            "seeds agree. The verdict of a race also looks at every held-out example. More seeds make both surer.",
        ),
    )

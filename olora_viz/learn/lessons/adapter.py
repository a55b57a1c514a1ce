"""Lesson: what an adapter is."""

from __future__ import annotations

from olora_viz.learn.gallery import Recording
from olora_viz.learn.lessons.lesson import Lesson
from olora_viz.learn.lessons.recorded import Recorded, nats, percent
from olora_viz.models import MODELS

SIDE = 576
"""Inputs, and outputs, of a square layer of SmolLM2-135M."""


def lesson(race: Recording) -> Lesson:
    """Write the lesson from its recorded race."""
    read = Recorded(race)
    first = race.steps[0].loss
    apart = float(first.max() - first.min())
    same = "the same, digit for digit" if apart == 0 else f"the same to within {apart:.1g} nats"
    best = min(race.config.lanes, key=lambda lane: read.loss(lane.init, lane.lr))
    millions = MODELS[race.config.model].parameters / 1e6
    r = race.config.lanes[0].r
    whole, thin = SIDE * SIDE, r * (SIDE + SIDE)
    return Lesson(
        name="adapter",
        title="What an adapter is",
        minutes=3,
        paragraphs=(
            "A language model is mostly large matrices. To teach it something new you could change "
            "every number in them. LoRA (Hu et al.) leaves each matrix $W$ as it is and puts a "
            "thin product beside it: $A$ squeezes the input down to $r$ numbers, $B$ spreads them "
            "out again. Only $A$ and $B$ are trained. They are the adapter, and $r$ is its rank.",
            f"It is small. A layer of {SIDE} inputs and {SIDE} outputs has {whole:,} weights; an "
            f"adapter of rank {r} for it has {thin:,}, which is {percent(thin / whole)}.",
            "Here $A^0$ and $B^0$ are what the adapter starts from, and their product is taken "
            "off, so that the model answers at first exactly as it did before, whichever start was "
            f"chosen. In the recorded race {len(race.config.lanes)} adapters train on one frozen "
            f"model of {millions:.0f} million weights, and on the first batch their losses are "
            f"{same}: {nats(float(first[0]))} nats.",
            f"Then they learn. The model began with {percent(read.base_accuracy)} of the held-out "
            f"answers right; after {read.steps} steps the adapter with the lowest held-out loss "
            f"has {percent(read.accuracy(best.init, best.lr))}, and not one weight of the model "
            "itself has moved.",
        ),
        formulas=(r"W \;+\; s\,(B A - B^0 A^0), \qquad s = \frac{\alpha}{r}",),
        do="Drag the slider under the charts to its very left, then slowly to the right.",
        see="All curves leave from one point: one model, one function. They part only because "
        "their adapters start and learn differently.",
        recording=race.name,
        where="scrubber",
    )

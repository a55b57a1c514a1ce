"""Lesson: what an adapter is."""

from __future__ import annotations

from olora_viz.initializers import label_of
from olora_viz.learn.lessons.lesson import Awaited, Choice, Lesson, RaceNumbers
from olora_viz.machine.wording import nats, percent
from olora_viz.models import MODELS

LAYER_SIDE = 576
"""Inputs, and outputs, of a square layer of SmolLM2-135M."""


def lesson(race: RaceNumbers) -> Lesson:
    """Write the lesson from its recorded race."""
    first = race.recording.steps[0].loss
    apart = float(first.max() - first.min())
    same = "identical to the last digit" if apart == 0 else f"equal to within {apart:.1g} nats"
    millions = MODELS[race.recording.config.model].parameters / 1e6
    lanes = race.recording.config.lanes
    r = lanes[0].r
    whole, thin = LAYER_SIDE * LAYER_SIDE, r * (LAYER_SIDE + LAYER_SIDE)
    return Lesson(
        name="adapter",
        title="What an adapter is",
        minutes=3,
        idea="An adapter is a small trained product beside a frozen matrix. Before training it changes nothing.",
        paragraphs=(
            "A language model consists mostly of large matrices. Full fine-tuning changes every number in them. LoRA "
            "(Hu et al.) freezes each matrix $W$ and adds a low-rank product: $A$ maps the input to $r$ numbers, and "
            "$B$ maps them to the output. Only $A$ and $B$ are trained. They are the adapter, and $r$ is its rank.",
            f"An adapter is small. A layer with {LAYER_SIDE} inputs and {LAYER_SIDE} outputs has {whole:,} "
            f"weights; its adapter of rank {r} has {thin:,}, which is {percent(thin / whole)}.",
            "$A^0$ and $B^0$ are the initial values of the adapter. Their product is subtracted, so at first the "
            "model answers exactly as before, for every initialization. The scaling $s$ weighs what is added; "
            r"$\alpha$ is a number to choose.",
            f"In the recorded race {len(lanes)} adapters train on one frozen model of {millions:.0f} million weights. "
            f"On the first batch their losses are {same}: {nats(float(first[0]))} nats.",
            f"Then they learn. At first the model gets {percent(race.base_accuracy)} of the "
            f"held-out answers right, and after {race.steps} steps {race.accuracies}, depending on "
            f"the adapter ({race.basis}). The weights of the model itself have not changed.",
        ),
        formulas=(r"W \;+\; s\,(B A - B^0 A^0), \qquad s = \frac{\alpha}{r}",),
        do="Drag the slider below the first chart to the far left, then slowly to the right.",
        see="All curves start at the same point: one model, one function. They separate only "
        "because their adapters start and learn differently.",
        ask="OLoRA's two matrices are not zero at the start, yet its curve begins at the same "
        "point as plain LoRA's. Why? Where would it begin if $B^0 A^0$ were not subtracted?",
        choices=(
            Choice(
                "Its product is too small to be seen in the loss, with or without the subtraction.",
                "$B^0 A^0$ holds whole columns of $W$. Without the subtraction the loss would be another one at once.",
            ),
            Choice("Its initial product is subtracted. Without that, its curve would begin at another loss."),
            Choice(
                "The model's own weights make up for it, so that the subtraction is not needed.",
                "The weights of the model never change. What makes up for $B^0 A^0$ is the subtraction alone.",
            ),
        ),
        answer="Before training $B A$ equals $B^0 A^0$, so the difference is zero for every initialization. Without "
        "the subtraction OLoRA would begin with the weight $W + s B^0 A^0$, which is another function, so its curve "
        "would begin at another loss. Plain LoRA's would begin where it does now: its $B^0$ is zero. The control "
        f"“{label_of('olora_unsubtracted')}” lets you see it in a race.",
        recording=race.recording.name,
        where="scrubber",
        outcome=(3, 4),
        waits=Awaited("step", "the first step", high=0.0),
    )

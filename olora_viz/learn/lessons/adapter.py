"""Lesson: what an adapter is."""

from __future__ import annotations

from olora_viz.learn.lessons.lesson import END, Awaited, Choice, GuideStep, Lesson, RaceNumbers
from olora_viz.machine.wording import nats, percent
from olora_viz.models import MODELS

LAYER_SIDE = 576
"""Inputs, and outputs, of a square layer of SmolLM2-135M."""

FIGURE = "adapter-figure"
"""Where the lesson plays: the first race's recording has its adapters."""


def lesson(race: RaceNumbers) -> Lesson:
    """Write the lesson from its recorded race."""
    config, first = race.recording.config, race.recording.steps[0].loss
    one_seed = [loss for loss, lane in zip(first.tolist(), config.lanes, strict=True) if lane.seed == config.seed]
    apart = max(one_seed) - min(one_seed)
    same = "identical to the last digit" if apart == 0 else f"equal to within {apart:.1g} nats"
    millions = MODELS[config.model].parameters / 1e6
    r = config.lanes[0].r
    whole, thin = LAYER_SIDE * LAYER_SIDE, r * (LAYER_SIDE + LAYER_SIDE)
    side = 2 * r
    asked, other = side * side, r * (side + side)
    do, see = (
        "Drag the slider below the first chart slowly to the far right.",
        "Of each start the square ΔW was empty, and has filled: it is all that training adds. W stays as it was.",
    )
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
            f"weights; its adapter of rank {r} has {thin:,}, which is {percent(thin / whole)}. The product $B A$ is "
            f"as large as $W$, but it is a sum of {r} parts of rank one: each a column of $B$ times a row of $A$.",
            "$A^0$ and $B^0$ are the initial values of the adapter. Their product is subtracted, so at first the "
            "model answers exactly as before, for every initialization. The scaling $s$ weighs what is added; "
            r"$\alpha$ is a number to choose.",
            f"In the recorded race {len(config.lanes)} adapters train on one frozen model of {millions:.2g} million "
            f"weights. Those of one seed see the same first batch, and their losses on it are {same}: "
            f"{nats(one_seed[0])} nats.",
            f"Then they learn. At first the model gets {percent(race.base_accuracy)} of the "
            f"held-out answers right, and after {race.steps} steps {race.accuracies}, depending on "
            f"the adapter ({race.basis}). The weights of the model itself have not changed.",
        ),
        formulas=(r"\Delta W \;=\; s\,(B A - B^0 A^0), \qquad s = \frac{\alpha}{r}",),
        do=do,
        see=see,
        ask=f"A layer has {side} inputs and {side} outputs. How many trained numbers has its adapter of rank {r}, and "
        f"is it small there?",
        choices=(
            Choice(
                f"{r * side}: one row of $A$ for each rank.",
                f"$A$ has {r} rows of {side} numbers, and $B$ has as many columns of as many.",
            ),
            Choice(f"{other}, as many as the layer has weights: here an adapter is not small."),
            Choice(
                f"{r}: its rank.",
                "The rank is the number of rows of $A$ and of columns of $B$, each as long as a side of the layer.",
            ),
        ),
        answer=f"$A$ has {r} × {side} numbers and $B$ has {side} × {r}, together {other}; the layer has "
        f"{side} × {side}, which is {asked}. The size of an adapter grows with a side of the layer, that of the layer "
        f"with its square: of {LAYER_SIDE} inputs and outputs it is {percent(thin / whole)}.",
        recording=race.recording.name,
        where=FIGURE,
        plays=(
            GuideStep(
                "W is one weight of the model: large, frozen, the same for all. Beside it each start has two thin "
                "matrices, B and A: they are its adapter.",
                "Look at W, then at B and A.",
                where=FIGURE,
                opens="rewind",
            ),
            GuideStep("Now only B and A are trained.", do, END, see, where=FIGURE),
            GuideStep(
                "ΔW is as large as W, but made of few numbers.",
                "Point at a row of {lora}'s A, and press it.",
                Awaited("pressed", "a row of A", of=f"#{FIGURE} .of-a"),
                "Its row of A and its column of B make this part of ΔW, of rank one. All rows together make all.",
                where=FIGURE,
            ),
        ),
    )

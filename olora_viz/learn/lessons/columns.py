"""Lesson: what OLoRA takes from W, and from the order of its columns."""

from __future__ import annotations

from olora_viz.learn.gallery import Recording
from olora_viz.learn.lessons.lesson import Lesson
from olora_viz.learn.lessons.recorded import Recorded, compact, compare, nats


def lesson(race: Recording) -> Lesson:
    """Write the lesson from its recorded race."""
    read = Recorded(race)
    mine, plain = read.loss("olora"), read.loss("lora")
    pivoted, sketch = read.loss("olora_pivoted"), read.loss("sketch")
    random = read.loss("random_orthonormal")
    moral = (
        "So in this race the first columns did better than a mixture of all of them"
        if "behind" in compare(sketch, mine)
        else "So in this race the first columns are nothing special: a mixture of all does as well"
    )
    (lr,) = {lane.lr for lane in race.config.lanes}
    seeds = len({lane.seed for lane in race.config.lanes})
    return Lesson(
        name="columns",
        title="What OLoRA takes from W",
        minutes=4,
        paragraphs=(
            "$Q_r$ spans the first $r$ columns of $W$, and a column of $W$ belongs to an input "
            "feature. Which features come first is an accident of how the model was trained: "
            "number them in another order, everywhere, and the model is the same, but OLoRA starts "
            "elsewhere. What is good about its start can hardly lie in that order.",
            "So let others race beside it. Pivoted QR chooses the columns itself, always the one "
            "of which most is left. A sketch mixes all columns at random and takes a basis of the "
            "mixtures. A random basis knows nothing of $W$ at all; only its $A$ does.",
            f"All of them at one rate, {compact(lr)}, held-out loss after {read.steps} steps: "
            f"OLoRA {nats(mine)}, pivoted {nats(pivoted)}, sketch {nats(sketch)}, random basis "
            f"{nats(random)}, plain LoRA {nats(plain)}. OLoRA is {compare(mine, plain)} LoRA, the "
            f"sketch is {compare(sketch, mine)} OLoRA, and the random basis is "
            f"{compare(random, plain)} LoRA.",
            f"{moral}. But this is one task, one small model and {seeds} seed"
            f"{'s' * (seeds > 1)}: a hint, not a law.",
        ),
        formulas=(
            r"B^0 A^0 = Q_r Q_r^{\top} W, \qquad "
            r"\mathrm{span}(Q_r) = \mathrm{span}\{w_1, \ldots, w_r\}",
        ),
        do="Click OLoRA's name at the end of its curve to hide it, then look at the others.",
        see="Where the curves of the controls lie: the pivoted QR and the sketch use all of W's "
        "columns, the random basis none.",
        recording=race.name,
        where="loss-figure",
    )

"""Lesson: the race at one learning rate."""

from __future__ import annotations

from olora_viz.learn.gallery import Recording
from olora_viz.learn.lessons.lesson import Lesson
from olora_viz.learn.lessons.recorded import Recorded, compact, compare, nats
from olora_viz.studies.story import times


def lesson(race: Recording) -> Lesson:
    """Write the lesson from its recorded race."""
    read = Recorded(race)
    (lr,) = {lane.lr for lane in race.config.lanes}
    mine, plain = read.loss("olora"), read.loss("lora")
    pissa, milora = read.loss("pissa"), read.loss("milora")
    steep = read.first_gradient("olora") / read.first_gradient("lora")
    return Lesson(
        name="one-rate",
        title="The race at one learning rate",
        minutes=4,
        paragraphs=(
            "This is how starts are often compared: choose a learning rate, give it to everybody, "
            "look who is lower. It looks fair, for everything but the start is the same.",
            f"At {compact(lr)}, after {read.steps} steps, OLoRA is {compare(mine, plain)} LoRA: "
            f"held-out loss {nats(mine)} against {nats(plain)}. PiSSA, which starts from the "
            f"largest singular triplets, comes to {nats(pissa)}, and MiLoRA, which starts from the "
            f"smallest, to {nats(milora)}.",
            "Now look at the size of the very first gradient. Plain LoRA starts with $B^0$ equal "
            "to zero, so nothing reaches $A$ in the first step. OLoRA starts with two factors that "
            f"are not zero, and its first gradient is {times(steep)} LoRA's. Larger factors also "
            "move $W$ further for the same change of $A$ and $B$. To get further in the same "
            "number of steps is what a larger learning rate does as well.",
            "So the picture does not say whether the start is better or the rate was chosen to its "
            "taste. Whoever reads of a race at a single rate should ask for the others. The next "
            "lesson does.",
        ),
        formulas=(
            r"\frac{\partial L}{\partial A} = s\, B^{\top} G, \qquad "
            r"\frac{\partial L}{\partial B} = s\, G A^{\top}, \qquad "
            r"G = \frac{\partial L}{\partial W}",
        ),
        do="Compare the first points of the gradient norms, then the ends of the loss curves.",
        see="Which lanes begin steep, and whether just those are ahead in the end.",
        recording=race.name,
        where="gradient-figure",
    )

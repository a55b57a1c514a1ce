"""Lesson: gradients and curvature."""

from __future__ import annotations

from olora_viz.learn.gallery import Recording
from olora_viz.learn.lessons.lesson import Lesson
from olora_viz.learn.lessons.recorded import Recorded, compact, nats
from olora_viz.studies.story import times


def lesson(race: Recording) -> Lesson:
    """Write the lesson from its recorded race."""
    read = Recorded(race)
    low, high = read.rates("olora")[0], read.rates("olora")[-1]
    mine, plain = read.curvature("olora", low), read.curvature("lora", low)
    gradients = read.first_gradient("olora") / read.first_gradient("lora")
    more = mine > plain
    opposite = (
        "The OLoRA paper speaks of well-conditioned starts and healthy gradients. What is measured "
        "here points the other way: steeper and more curved"
        if more and gradients > 1
        else "Here OLoRA's start is neither steeper nor more curved than LoRA's throughout"
    )
    return Lesson(
        name="curvature",
        title="Gradients and curvature",
        minutes=5,
        paragraphs=(
            "The gradient says how steep the loss is, the Hessian's largest eigenvalue "
            r"$\lambda_{\max}$ how sharply it bends. Plain gradient descent with a rate above "
            r"$2/\lambda_{\max}$ jumps across the valley, higher up the other side each time. That "
            "is why a sharper start may want a smaller rate.",
            f"In the recorded race OLoRA's first gradient is {times(gradients)} LoRA's. At step "
            f"{read.first_look}, at the rate {compact(low)}, its largest eigenvalue is {mine:.2g}, "
            f"LoRA's {plain:.2g}. At the end they are {read.curvature('olora', low, True):.2g} and "
            f"{read.curvature('lora', low, True):.2g}. {opposite}.",
            "And yet it trains well, for steep is not bad. AdamW divides each step by the size of "
            "the gradients it has seen, so a large gradient does not make a large step, and the "
            f"bound above is not Adam's. At {compact(high)} OLoRA comes to "
            f"{nats(read.loss('olora', high))} nats, at {compact(low)} to "
            f"{nats(read.loss('olora', low))}: curvature alone does not choose the rate.",
        ),
        formulas=(
            r"H = \nabla^2 L(\theta), \qquad \lambda_{\max} = \max_{v}\frac{v^{\top} H v}"
            r"{v^{\top} v}, \qquad \eta < \frac{2}{\lambda_{\max}}",
        ),
        do="On the Conditioning page, scroll to “During a race” and follow one start's two curves.",
        see="Which starts lie higher, whether the curves rise or fall, and where the rate stands "
        "beside the bound.",
        recording=race.name,
        page="conditioning",
        picture="curvature",
        where="sharpness-figure",
    )

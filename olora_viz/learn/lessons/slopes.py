"""Lesson: gradients and curvature."""

from __future__ import annotations

from olora_viz.learn.lessons.lesson import Awaited, Choice, Lesson, RaceNumbers
from olora_viz.machine.wording import compact, nats, times
from olora_viz.measures.curvature import CURVATURE


def lesson(race: RaceNumbers) -> Lesson:
    """Write the lesson from its recorded race."""
    low, high = race.rates("olora")[0], race.rates("olora")[-1]
    mine, plain = race.curvature("olora", low), race.curvature("lora", low)
    gradients = race.first_gradient("olora") / race.first_gradient("lora")
    more = mine > plain
    opposite = (
        "The OLoRA paper claims stable gradients and a well-behaved loss at the start. Here OLoRA "
        "starts steeper and more curved. Both are scales; conditioning would be a ratio"
        if more and gradients > 1
        else "Here OLoRA's start is not both steeper and more curved than LoRA's"
    )
    return Lesson(
        name="curvature",
        title="Gradients and curvature",
        minutes=5,
        idea="A start can be steeper and more curved than another and still train well: with "
        "AdamW, curvature alone does not determine the learning rate.",
        paragraphs=(
            r"The gradient measures how steep the loss is; the largest eigenvalue of the Hessian, $\lambda_{\max}$, "
            r"measures how curved it is. Gradient descent with a learning rate above $2/\lambda_{\max}$ overshoots "
            "further with every step. So a more curved start may need a smaller rate.",
            f"In the recorded race OLoRA's first gradient is {times(gradients)} LoRA's. At step "
            f"{race.first_measured}, at the rate {compact(low)}, its largest eigenvalue is {mine:.2g}, LoRA's is "
            f"{plain:.2g}. At the end they are {race.curvature('olora', low, True):.2g} and "
            f"{race.curvature('lora', low, True):.2g}. {opposite}.",
            "Yet OLoRA trains well. AdamW normalizes each step by the magnitude of past gradients, so a large "
            f"gradient does not cause a large step, and the bound above does not apply to AdamW. At {compact(high)} "
            f"OLoRA reaches {nats(race.loss('olora', high))} nats, and {nats(race.loss('olora', low))} at "
            f"{compact(low)} ({race.basis}): curvature alone does not determine the rate.",
        ),
        formulas=(
            r"H = \nabla^2 L(\theta), \qquad \lambda_{\max} = \max_{v}\frac{v^{\top} H v}"
            r"{v^{\top} v}, \qquad \eta < \frac{2}{\lambda_{\max}}",
        ),
        do=f"In the chart “{CURVATURE.title}” hide all but one start's two curves: click the names at the ends of the "
        "others.",
        see="Which curves lie higher, and do they rise or fall? In the chart beside it: is the learning rate above or "
        "below the bound?",
        ask=r"Multiply a loss by ten. What happens to its gradient, to $\lambda_{\max}$, to the "
        r"bound $2/\lambda_{\max}$ of gradient descent, and to the steps of AdamW?",
        choices=(
            Choice(r"The gradient and $\lambda_{\max}$ become ten times as large, the bound a tenth. The steps stay."),
            Choice(
                r"The gradient and $\lambda_{\max}$ become ten times as large, the bound a tenth, the steps ten times "
                "as large.",
                "Those of gradient descent would be. AdamW divides by the magnitude of past gradients, and the factor "
                "cancels.",
            ),
            Choice(
                "All four become ten times as large.",
                r"The bound is $2/\lambda_{\max}$: where the loss is more curved, it is lower.",
            ),
        ),
        answer=r"The gradient and $\lambda_{\max}$ become ten times as large, the bound a tenth. "
        r"AdamW's steps stay the same, apart from its tiny $\epsilon$: it divides the mean of past "
        "gradients by their magnitude, so the factor cancels. A rule that sets AdamW's rate from "
        r"$\lambda_{\max}$ alone would give another rate for the same training.",
        recording=race.recording.name,
        page="conditioning",
        picture="curvature",
        where="sharpness-figure",
        waits=Awaited("hidden", "a hidden lane"),
    )

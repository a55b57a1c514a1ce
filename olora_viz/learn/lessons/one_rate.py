"""Lesson: the race at one learning rate."""

from __future__ import annotations

from olora_viz.learn.lessons.lesson import Awaited, Choice, GuideStep, Lesson, RaceNumbers
from olora_viz.machine.wording import compact, percent, times


def lesson(race: RaceNumbers) -> Lesson:
    """Write the lesson from its recorded race."""
    (lr,) = {lane.lr for lane in race.recording.config.lanes}
    pissa, milora = race.accuracy("pissa"), race.accuracy("milora")
    steep = race.first_gradient("olora") / race.first_gradient("lora")
    return Lesson(
        name="one-rate",
        title="The race at one learning rate",
        minutes=4,
        idea="A result at a single learning rate mixes two causes: the initialization, and how "
        "well the rate suits it.",
        paragraphs=(
            "Initializations are often compared like this: choose one learning rate for all, and "
            "see which loss is lowest. It looks fair, since only the initialization differs. But the first step "
            "depends on the gradients, and these on the factors. $L$ is the loss, $G$ its gradient for all of $W$.",
            f"{race.verdict(f'After {race.steps} steps at {compact(lr)}', 'olora', 'lora', lr)} PiSSA, which starts "
            f"from the largest singular triplets, answers {percent(pissa)} of the held-out prompts, and MiLoRA, which "
            f"starts from the smallest, {percent(milora)}.",
            "Now compare the first gradients. Plain LoRA starts with $B^0$ equal to zero, so the "
            "first gradient of $A$ is zero. OLoRA starts with two non-zero factors, and its first "
            f"gradient is {times(steep)} LoRA's. Larger factors also move $W$ further for the same "
            "change of $A$ and $B$. A larger learning rate has the same effect.",
            "So this race does not show whether the initialization is better or the rate suits it better. A result at "
            "a single rate needs the other rates too. The next lesson adds them.",
        ),
        formulas=(
            r"\frac{\partial L}{\partial A} = s\, B^{\top} G, \qquad \frac{\partial L}{\partial B} = s\, G A^{\top}, "
            r"\qquad G = \frac{\partial L}{\partial W}",
        ),
        do="Under Gradients, compare the first points of the gradient norms. Then, under Loss, "
        "compare the ends of the curves.",
        see="Do the lanes that start with a large gradient end with a low loss?",
        ask="At one learning rate, start X ends with a clearly lower loss than start Y. A colleague concludes that X "
        "is the better initialization. What would you measure, and which result would refute the conclusion?",
        choices=(
            Choice(
                "The same race with more seeds. If the gap is not there with them, the conclusion is refuted.",
                "That asks whether the gap is luck. If it is not, this rate may still just suit X better.",
            ),
            Choice(
                "The same race for longer. If Y catches up, the conclusion is refuted.",
                "If Y does not, nothing is known: the rate may suit X better. Only other rates tell the two causes "
                "apart.",
            ),
            Choice("Both at other rates too. If Y's best is as low as X's, the conclusion is refuted."),
        ),
        answer="Race both at lower and higher rates too, and compare each at its own best rate. If Y's best is as low "
        "as X's, or lower, the conclusion is refuted: the first rate happened to suit X. More seeds or more examples "
        "at the one rate would not settle it. They only measure the same mixture more precisely.",
        recording=race.recording.name,
        where="gradient-figure",
        outcome=(1, 2, 3),
        by_hand=GuideStep(
            "The scaling $s$ makes a start steeper or flatter, as its factors do.",
            "Drag α to the right until the first gradients are alike. The link below the bars races it live.",
            Awaited("value", "a smaller α", of="#lesson-hand input[type=range]", low=2, high=9),
            "With AdamW the steps of $A$ and $B$ stay as they are, but they move $W$ by $s$ times as much: a smaller "
            "α is much like a smaller learning rate.",
        ),
        waits=Awaited("pressed", "Loss", of="[data-tab-name=loss]"),
    )

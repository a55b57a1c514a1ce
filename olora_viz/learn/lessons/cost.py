"""Lesson: what a race cost on a text to keep."""

from __future__ import annotations

from olora_viz.initializers import label_of
from olora_viz.learn.lessons.lesson import Awaited, Choice, Lesson, RaceNumbers
from olora_viz.machine.wording import compact, nats, times

COSTED_STARTS = ("lora", "olora")


def lesson(race: RaceNumbers) -> Lesson:
    """Write the lesson from its recorded race."""
    text = race.recording.text
    assert text is not None
    low, high = race.rates("lora")
    rates = [
        f"{label_of(init)} ends at {compact(low)} with a held-out loss of {nats(race.loss(init, low))} nats and a "
        f"drift of {nats(race.drift(init, low))}, and at {compact(high)} with {nats(race.loss(init, high))} and "
        f"{nats(race.drift(init, high))}"
        for init in COSTED_STARTS
    ]
    paid = [
        label_of(init)
        for init in COSTED_STARTS
        if race.loss(init, high) < race.loss(init, low) and race.drift(init, high) > race.drift(init, low)
    ]
    dearer = " and ".join(paid) or "no start"
    apart = race.drift("olora", high) / race.drift("lora", high)
    return Lesson(
        name="cost",
        title="What did it cost?",
        minutes=5,
        idea="Training changes more than the task. Compare what lanes learned together with what they forgot for it.",
        paragraphs=(
            "An adapter changes the whole model: every sentence passes through it, also those that have nothing to do "
            "with the task. So a race can have a text to keep, which no lane trains on. Two numbers are measured on "
            "its $T$ tokens: the loss, and the drift, which is how far a lane's predictions $q_t$ are from the base "
            "model's $p_t$. Before the first step the drift is zero.",
            f"Here two starts learn a task at two learning rates. The text to keep is {text.name}, on which the base "
            f"model has a loss of {nats(text.loss)} nats per token. {'. '.join(rates)}. With the higher rate "
            f"{dearer} learned more, and forgot more.",
            f"Now compare the two starts. {race.verdict(f'At {compact(high)},', 'olora', 'lora', high)} Their drifts "
            f"are {nats(race.drift('lora', high))} and {nats(race.drift('olora', high))} nats: OLoRA's is "
            f"{times(apart)} LoRA's. On the text itself LoRA's loss is {nats(race.text_loss('lora', high))} now, and "
            f"OLoRA's {nats(race.text_loss('olora', high))}. Whoever looks at the task alone sees none of this.",
            "Which one is better? That depends on what the model is for. If it will only do this task, the drift "
            "costs nothing. If it must still do other things, decide first how much may be lost, and choose the best "
            "lane within this limit. Along each path, fewer steps forget less and learn less.",
        ),
        formulas=(r"\mathrm{drift} = \frac{1}{T} \sum_{t=1}^{T} \mathrm{KL}(p_t \,\|\, q_t)",),
        do="Watch the paths under Forgotten, and drag the step below the first chart back to the first half, then to "
        "the end again.",
        see="Each step learns, and forgets. Does a path climb faster near its end, where the last bit of the task is "
        "learned? Of two ends, one above the other, the lower one paid less for the same.",
        ask=f"At {compact(high)} OLoRA drifted {times(apart)} as far as LoRA. A colleague concludes that OLoRA "
        "forgets more than LoRA. What would you compare instead of the drifts at one rate?",
        choices=(
            Choice(
                "The drifts at the best rate of each.",
                "There one may have learned more than the other, and whoever learns more usually drifts further.",
            ),
            Choice(
                "The drifts at a lower rate, the same for both.",
                "At any one rate the start with larger factors takes larger steps, and goes further on the same way.",
            ),
            Choice("The drifts at rates at which both have learned the same."),
        ),
        answer="The drifts at equal learning. At one rate a start with larger factors takes larger steps, so it may "
        "simply have gone further on the same way. Race both at several rates, find for each start the rate at which "
        "it ends with the same held-out loss, and compare the drifts there: on the chart, one above the other. Only a "
        "start that is the higher one there forgets more for what it learns.",
        recording=race.recording.name,
        picture="forgotten",
        where="forgotten-figure",
        waits=Awaited("step", "a step of the first half", low=0.01, high=0.5),
        outcome=(1, 2),
    )

"""Lesson: what a chain of trainings keeps."""

from __future__ import annotations

import numpy as np

from olora_viz.initializers import label_of
from olora_viz.lanes.lane import Lane
from olora_viz.learn.gallery.chain import RATES, recorded_chain
from olora_viz.learn.lessons.lesson import Choice, Lesson
from olora_viz.machine.wording import and_, compact, nats, percent, times
from olora_viz.races.chain import Chain, Kept, kept


def lesson() -> Lesson:
    """Write the lesson from the recorded chain."""
    return of_chain(recorded_chain())


def of_chain(chain: Chain) -> Lesson:
    """Write the lesson from a chain of the starts and rates that it compares."""
    methods = {(each.lane.init, each.lane.lr): each for each in kept(chain)}
    low, high = RATES["olora"]
    lora, careful, fast = methods["lora", high], methods["olora", low], methods["olora", high]
    ((init, lr),) = (key for key in methods if key[0] == "full")
    full = methods[init, lr]
    tasks = and_([task.replace("-", " ") for task in chain.tasks])
    moved = _moved(chain)
    by_learned = min(methods.values(), key=lambda each: np.mean(each.learned) + (each is full))
    by_end = min((lora, careful, fast), key=lambda each: np.mean(each.at_end))
    return Lesson(
        name="again",
        title="Train it again",
        minutes=4,
        idea="How much a chain of trainings keeps follows how far each of them moves the weights. Choose a rate by "
        "the loss on all tasks at the end.",
        paragraphs=(
            "An adapter can be merged: $W + \\Delta W$ is a weight like any other, and a new adapter can start from "
            "it. So a model is trained on one task, merged, trained on the next, and so on. In a chain of trainings "
            "every lane has a base of its own. After $k$ links it is $W_k$, and OLoRA takes the QR factors of $W_k$ "
            "for the next one.",
            f"Here lanes learned {tasks}, one after the other. The picture has a table for each method: a row for "
            "each link, a column for each task, and the held-out loss in the cells. A column falls in the link of its "
            "own task. What it rises by in later links has been forgotten.",
            f"{_said(lora)} {_said(fast)} At the same rate OLoRA learned more, and forgot "
            f"{times(float(np.mean(fast.forgotten) / np.mean(lora.forgotten)))} as much. {_said(careful)} At this "
            "lower rate, where it learns nearly as much as LoRA, it also forgets about as much.",
            f"The sum of all updates, as a share of $\\|W\\|$, is {moved[lora.lane]} for LoRA, and for OLoRA "
            f"{moved[fast.lane]} and {moved[careful.lane]} at the lower rate: who moves far forgets much. "
            f"{_said(full)} It moved {moved[full.lane]}, and every weight has a part in it. Papers report of larger "
            "models and longer chains that full fine-tuning forgets more: run a chain on your own tasks.",
        ),
        formulas=(r"W_k = W_{k-1} + \Delta W_k, \qquad \Delta W_k = s\,(B A - B^0 A^0)",),
        do="Read the first column of each table from top to bottom.",
        see="It falls in its first link, and rises in each of the next ones. Compare by how much, and what else the "
        "same table has learned.",
        ask="A model has to learn these tasks in turn, with OLoRA or LoRA, and to know all of them afterwards. By "
        "what do you choose the learning rate?",
        choices=(
            Choice(
                "The loss on each task, right after it was learned.",
                f"That chooses {_named(by_learned)}, which has learned most and ends with a mean loss of "
                f"{nats(float(np.mean(by_learned.at_end)))} nats.",
            ),
            Choice(
                "The loss on the last task, at the end.",
                "The last task is the one that nothing came after: it says nothing of what was forgotten.",
            ),
            Choice("The mean loss over all tasks, at the end."),
        ),
        answer=f"The mean loss over all tasks after the last link. Of the lanes here with an adapter that chooses "
        f"{_named(by_end)}, with {nats(float(np.mean(by_end.at_end)))} nats. A study of a chain chooses its rates so, "
        "and says what each link alone would have chosen.",
        page="learn",
        picture="chain",
        where="lesson-figure",
    )


def _moved(chain: Chain) -> dict[Lane, str]:
    """Return the size of all updates of each method after the last link, as a share of its weights'."""
    shares: dict[Lane, list[float]] = {}
    for lane, label in zip(chain.config.lanes, chain.labels, strict=True):
        shares.setdefault(lane.replace(seed=0), []).append(chain.links[-1]["lanes"][label]["moved"]["all_updates"])
    return {lane: percent(float(np.mean(of_lanes))) for lane, of_lanes in shares.items()}


def _named(method: Kept) -> str:
    return f"{label_of(method.lane.init)} at {compact(method.lane.lr)}"


def _said(method: Kept) -> str:
    """Say what a method has learned and forgotten."""
    learned, forgotten, at_end = (
        nats(float(np.mean(each))) for each in (method.learned, method.forgotten, method.at_end)
    )
    return (
        f"{_named(method)} had a mean loss of {learned} nats right after each link. On the earlier tasks it has risen "
        f"by {forgotten} since, and over all tasks the mean is {at_end}."
    )

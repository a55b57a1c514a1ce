"""Lesson: export an adapter and use it."""

from __future__ import annotations

from olora_viz.initializers import label_of
from olora_viz.learn.gallery import Recording
from olora_viz.learn.lessons.lesson import Lesson
from olora_viz.learn.lessons.recorded import Recorded, percent


def lesson(race: Recording) -> Lesson:
    """Write the lesson from its recorded race."""
    read = Recorded(race)
    best = min(race.config.lanes, key=lambda lane: read.loss(lane.init, lane.lr))
    r = best.r
    return Lesson(
        name="export",
        title="Export it and use it",
        minutes=4,
        paragraphs=(
            "A race ends with something you can keep. Press Race, wait for the end, and each lane "
            "becomes a PEFT adapter: two small matrices a layer and a page of settings, which "
            "load beside the same base model anywhere.",
            "One thing needs care. An adapter file holds a product that is added to $W$, and ours "
            "begins by taking a product off. So both go into it, side by side. That is a plain "
            f"LoRA adapter of twice the rank: of lanes of rank {r} it has rank {2 * r}, and no "
            "loader needs to know how the adapter started.",
            "Other ways of storing OLoRA change the base weight instead. Then a loader has to "
            "change it in the same way before the adapter fits, and switching the adapter off does "
            "not give the old model back.",
            f"In the recorded race {label_of(best.init)} has the lowest held-out loss, and "
            f"{percent(read.accuracy(best.init, best.lr))} of its held-out answers are right. "
            "Read its answers below the charts before you take it home: a low loss is not yet a "
            "good answer.",
        ),
        formulas=(
            r"s\,(B A - B^0 A^0) = s \begin{pmatrix} B & -B^0 \end{pmatrix} "
            r"\begin{pmatrix} A \\ A^0 \end{pmatrix}",
        ),
        do="Press Code (peft) under “Take it with you”; then race it live, and download a lane.",
        see="The script repeats this race with PEFT alone. The adapter comes as a zip for "
        "peft.PeftModel.from_pretrained.",
        recording=race.name,
        where="take",
    )

"""Lesson: what OLoRA takes from W, and from the order of its columns."""

from __future__ import annotations

from olora_viz.learn.lessons.lesson import Awaited, Choice, Lesson, RaceNumbers
from olora_viz.machine.wording import compact


def lesson(race: RaceNumbers) -> Lesson:
    """Write the lesson from its recorded race."""
    (lr,) = {lane.lr for lane in race.recording.config.lanes}
    return Lesson(
        name="columns",
        title="What OLoRA takes from W",
        minutes=4,
        idea="OLoRA takes the first columns of $W$, although their order is arbitrary. Controls "
        "that use all columns, or none, show whether this matters.",
        paragraphs=(
            "$Q_r$ spans the first $r$ columns of $W$. Each column of $W$ belongs to an input feature, and the order "
            "of the features is arbitrary: permute them consistently, and the model is the same, but OLoRA starts "
            "differently. The order can hardly be what makes OLoRA work.",
            "The race adds controls. Pivoted QR picks the columns itself, always the one with the "
            "largest residual. A sketch mixes all columns at random and takes a basis of the "
            "mixtures. A random basis does not depend on $W$ at all; only its $A$ does.",
            f"All race at one rate, {compact(lr)}, for {race.steps} steps. {race.sentences}",
            " ".join(
                (race.verdict("At the end", "olora", "lora", lr), race.verdict("", "random_orthonormal", "lora", lr))
            ),
            "Are the first columns special? Compare OLoRA with the sketch of all columns. "
            f"{race.verdict('At the end', 'olora', 'sketch', lr)} This is one task and one small "
            "model: a hint, not a law.",
        ),
        formulas=(r"B^0 A^0 = Q_r Q_r^{\top} W, \qquad \mathrm{span}(Q_r) = \mathrm{span}\{w_1, \ldots, w_r\}",),
        do="Click OLoRA's name at the end of its curve to hide it, then look at the others.",
        see="The pivoted QR and the sketch use all columns of W, the random basis uses none. How far apart do "
        "their curves end?",
        ask="Permute the columns of $W$. Which of these starts keep their $B^0$: OLoRA, pivoted "
        "QR, the sketch, the random basis? What does that tell you about the race?",
        choices=(
            Choice("Pivoted QR and the random basis."),
            Choice(
                "OLoRA and pivoted QR: both are a QR of the same columns.",
                "OLoRA takes the columns that come first, and after the permutation others do. Pivoted QR finds its "
                "columns wherever they stand.",
            ),
            Choice(
                "The sketch and the random basis: chance does not know the order.",
                "The sketch gives each place a random weight, and now other columns stand there. Only the random "
                "basis does not look at $W$.",
            ),
        ),
        answer="Pivoted QR and the random basis. Pivoted QR finds the same columns wherever they "
        "stand, and the random basis does not look at $W$. OLoRA takes the columns that now come "
        "first, and the sketch gives its random weights to other columns, so both get another "
        "$B^0$. If the first columns were special, the controls would lose to OLoRA.",
        recording=race.recording.name,
        where="loss-figure",
        outcome=(2, 3, 4),
        waits=Awaited("hidden", "a hidden lane"),
    )

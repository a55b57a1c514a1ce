"""Lesson: export an adapter and use it."""

from __future__ import annotations

from olora_viz.learn.lessons.lesson import Awaited, Choice, Lesson, RaceNumbers


def lesson(race: RaceNumbers) -> Lesson:
    """Write the lesson from its recorded race."""
    (r,) = {lane.r for lane in race.recording.config.lanes}
    return Lesson(
        name="export",
        title="Export it and use it",
        minutes=4,
        idea="A trained lane becomes a plain LoRA adapter of at most twice the rank, which any "
        "loader can add to the unchanged base model.",
        paragraphs=(
            "Press Race and wait for the end. Each lane then becomes a PEFT adapter: two small "
            "matrices per layer and a configuration file. It is loaded again at once, on the same "
            "base model, and its logits are compared with the lane's.",
            "One detail matters. An adapter file holds a product that is added to $W$, but here a product is also "
            f"subtracted. The file stores both as one plain LoRA adapter of twice the rank: a lane of rank {r} "
            f"becomes an adapter of rank {2 * r}. The loader does not need to know the initialization.",
            "The original form of OLoRA changes the base weight instead. A loader has to make the same change before "
            "the adapter fits, and disabling the adapter does not restore the original model.",
            f"In the recorded race the lanes end at a held-out loss of {race.losses}, and answer "
            f"{race.accuracies} of the prompts right ({race.basis}). Read a lane's answers "
            "before you export it: a low loss does not guarantee good answers.",
        ),
        formulas=(
            r"s\,(B A - B^0 A^0) = s \begin{pmatrix} B - B^0 & B^0 \end{pmatrix} "
            r"\begin{pmatrix} A \\ A - A^0 \end{pmatrix}",
        ),
        do="Press Code (peft) under “Take it with you”. Then race it live and download a lane.",
        see="The script trains the same lanes with PEFT; olora_viz loads the model and the data, and computes the "
        "starts that PEFT lacks. The adapter is a zip file for peft.PeftModel.from_pretrained.",
        ask=f"Which lane of this race needs an adapter of rank {r} only, not {2 * r}? Why do the "
        "others need twice the rank?",
        choices=(
            Choice(
                "OLoRA's: its columns are orthonormal, so half of them do.",
                "Orthonormal columns are as many as others. What takes twice the rank is the product that is "
                "subtracted.",
            ),
            Choice("Plain LoRA's: nothing is subtracted."),
            Choice(
                "None: the file of every lane holds both products.",
                "Where $B^0$ is zero, the second product is zero too, and need not be stored.",
            ),
        ),
        answer="Plain LoRA's. Its $B^0$ is zero, so nothing is subtracted, and $s B A$ is all that training changed. "
        "The others start with a product that is not zero. To represent the difference of two products, the file "
        "needs twice the columns and rows: those of $B - B^0$ and $B^0$, and those of $A$ and $A - A^0$.",
        recording=race.recording.name,
        where="take",
        outcome=(3,),
        waits=Awaited("pressed", "Code (peft)", of="#take [data-kind=peft]"),
    )

"""Lesson: what the singular values really do."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from olora_viz.initializers.olora import olora
from olora_viz.learn.lessons.lesson import Awaited, Choice, Lesson, RaceNumbers

W = torch.tensor([[1.0, 1.0], [0.0, 1.0]], dtype=torch.float64)

LENGTHS = (1, 5, 3)
"""The lengths of the orthogonal columns in the check question: the first is the shortest."""


def lesson(race: RaceNumbers) -> Lesson:
    """Write the lesson from its recorded race and the smallest counterexample."""
    start = olora(W, 1)
    sigma = torch.linalg.svdvals(W).tolist()
    first_of_product = float(torch.linalg.svdvals(start.B @ start.A)[0])
    belongs = min(abs(first_of_product - value) for value in sigma) < 1e-9
    verdict = "which is one of them" if belongs else "which is neither of them, but no larger than the first"
    rank = len(LENGTHS) - 1
    orthogonal = olora(torch.diag(torch.tensor(LENGTHS, dtype=torch.float64)), rank)
    values = torch.linalg.svdvals(orthogonal.B @ orthogonal.A)[:rank].tolist()
    first, every = [round(value) for value in values], sorted(LENGTHS, reverse=True)
    (left,) = set(every) - set(first)
    r = race.recording.config.lanes[race.lanes("olora")[0]].r
    mine, plain = (race.of_spectra("effective_rank", init) for init in ("olora", "lora"))
    return Lesson(
        name="singular-values",
        title="What the singular values really do",
        minutes=5,
        idea="The singular values of OLoRA's start are at most those of $W$, index by index, but "
        "they need not be among them.",
        paragraphs=(
            "The OLoRA paper says that the singular values of $Q_r R_r$ are a subset of those of "
            "$W$. They are not. $Q_r R_r$ is the projection of $W$ onto the span of its first $r$ "
            "columns. A projection can make singular values smaller, and need not preserve any.",
            "A two-by-two matrix shows it: the rows of $W$ are $(1, 1)$ and $(0, 1)$. Its singular values are "
            f"{sigma[0]:.3f} and {sigma[1]:.3f}. With rank {start.B.shape[1]}, $Q_r R_r$ has {first_of_product:.3f}, "
            f"{verdict}. In a large matrix the values are so dense that some value of $W$ is always close. So compare "
            "by index: the first with the first, the second with the second.",
            "The trained update is different. It has rank up to $2r$, since the initial product is "
            f"subtracted. In the recorded race the adapters have rank {r}. At the end the update "
            f"of a layer has effective rank {mine:.1f} with OLoRA and {plain:.1f} with LoRA, "
            "averaged over the layers. A higher effective rank is not better in itself.",
        ),
        formulas=(
            r"\sigma_i(Q_r R_r) = \sigma_i(Q_r Q_r^{\top} W) \;\le\; \sigma_i(W)",
            r"\Delta W = s\,(B A - B^0 A^0), \qquad \mathrm{rank}\,\Delta W \le 2r",
        ),
        do="On the Spectrum page choose the counterexample, under “my own matrix”.",
        see="OLoRA's point lies below the first singular value of W and above the second. The "
        "verdict on the right says bounded, and not a subset.",
        ask=f"The columns of a matrix are orthogonal, with the lengths {_listed(LENGTHS)} in this order. Which "
        f"singular values does $Q_r R_r$ have at rank {rank}? Does the paper's sentence hold for this matrix?",
        choices=(
            Choice(
                f"{_listed(every[:rank])}, the largest ones. The sentence holds here.",
                "OLoRA does not look for the largest: it takes the columns that come first.",
            ),
            Choice(f"{_listed(first)}, of the first columns. The sentence holds here."),
            Choice(
                "Others than those of $W$. The sentence does not hold here either.",
                "In general, yes. But columns that are orthogonal lose nothing by the projection on the first of "
                "them, and their lengths are singular values.",
            ),
        ),
        answer=f"{_listed(first)}, the lengths of the first {rank} columns: lengths of orthogonal "
        f"columns are singular values. $W$ has {_listed(every)}, so here the sentence holds. But "
        "the columns of a trained weight are not orthogonal. And even here OLoRA does not keep "
        f"the {rank} largest values: {left} is left out, since its column comes last.",
        recording=race.recording.name,
        page="spectrum",
        picture="spectrum",
        where="matrix-source",
        waits=Awaited("pressed", "my own matrix", of="#matrix-source label:last-of-type"),
    )


def _listed(numbers: Sequence[float]) -> str:
    *others, last = map(str, numbers)
    return f"{', '.join(others)} and {last}"

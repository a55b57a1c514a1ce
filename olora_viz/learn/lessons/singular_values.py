"""Lesson: what the singular values really do."""

from __future__ import annotations

import torch

from olora_viz.initializers.olora import olora
from olora_viz.learn.gallery import Recording
from olora_viz.learn.lessons.lesson import Lesson
from olora_viz.learn.lessons.recorded import Recorded

W = torch.tensor([[1.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
"""The smallest counterexample."""


def lesson(race: Recording) -> Lesson:
    """Write the lesson from its recorded race and the smallest counterexample."""
    read = Recorded(race)
    start = olora(W, 1)
    sigma = torch.linalg.svdvals(W).tolist()
    kept = float(torch.linalg.svdvals(start.B @ start.A)[0])
    belongs = min(abs(kept - one) for one in sigma) < 1e-9
    verdict = (
        "which is one of them"
        if belongs
        else "which is neither of them, but no larger than the first"
    )
    r = race.config.lanes[read.lanes("olora")[0]].r
    mine, plain = (read.of_spectra("effective_rank", init) for init in ("olora", "lora"))
    return Lesson(
        name="singular-values",
        title="What the singular values really do",
        minutes=5,
        paragraphs=(
            "The OLoRA paper says that the singular values of $Q_r R_r$ are a subset of those of "
            "$W$. They are not. $Q_r R_r$ is the projection of $W$ onto the span of its first $r$ "
            "columns. A projection can make singular values smaller, and need not preserve any.",
            rf"A two-by-two matrix shows it: the rows of $W$ are $(1, 1)$ and $(0, 1)$. Its "
            f"singular values are {sigma[0]:.3f} and {sigma[1]:.3f}. With rank "
            f"{start.B.shape[1]}, $Q_r R_r$ has {kept:.3f}, {verdict}. In a large matrix the "
            "values are so dense that some value of $W$ is always close. So compare by index: the "
            "first with the first, the second with the second.",
            "The trained update is different. It has rank up to $2r$, since the initial product is "
            f"subtracted. In the recorded race the adapters have rank {r}. At the end the update "
            f"of a layer has effective rank {mine:.1f} with OLoRA and {plain:.1f} with LoRA, "
            "averaged over the layers. A higher effective rank is not better in itself.",
        ),
        formulas=(
            r"\sigma_i(Q_r R_r) = \sigma_i(Q_r Q_r^{\top} W) \;\le\; \sigma_i(W)",
            r"\Delta W = s\,(B A - B^0 A^0), \qquad \mathrm{rank}\,\Delta W \le 2r",
        ),
        do="On the Spectrum page choose “my own matrix”: it contains the counterexample.",
        see="OLoRA's point lies below the first singular value of W and above the second. The "
        "verdict on the right says bounded, and not a subset.",
        recording=race.name,
        page="spectrum",
        picture="spectrum",
        where="matrix-source",
    )

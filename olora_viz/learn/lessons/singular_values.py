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
        "and it is one of them"
        if belongs
        else "which is neither of them, only no larger than the first"
    )
    r = race.config.lanes[read.lanes("olora")[0]].r
    mine, plain = (read.of_spectra("effective_rank", init) for init in ("olora", "lora"))
    return Lesson(
        name="singular-values",
        title="What the singular values really do",
        minutes=5,
        paragraphs=(
            "The OLoRA paper says that the singular values of $Q_r R_r$ are a subset of those of "
            "$W$. They are not. $Q_r R_r$ is $W$ projected on the span of its first $r$ columns, "
            "and a projection can make singular values smaller. It need not keep any of them.",
            rf"Two by two is enough: the rows of $W$ are $(1, 1)$ and $(0, 1)$. Its singular "
            f"values are {sigma[0]:.3f} and {sigma[1]:.3f}. With rank {start.B.shape[1]}, "
            f"$Q_r R_r$ has {kept:.3f}, {verdict}. In a large matrix the values lie so close that "
            "some value of $W$ is always near: compare the first with the first, the second with "
            "the second.",
            "What training adds is another matter. The change of $W$ has rank up to $2r$, for the "
            f"start was taken off. In the recorded race the adapters have rank {r}; at the end the "
            f"change of a layer uses {mine:.1f} directions under OLoRA and {plain:.1f} under LoRA, "
            "measured as effective rank and averaged over the layers. More directions is not "
            "better by itself.",
        ),
        formulas=(
            r"\sigma_i(Q_r R_r) = \sigma_i(Q_r Q_r^{\top} W) \;\le\; \sigma_i(W)",
            r"\Delta W = s\,(B A - B^0 A^0), \qquad \mathrm{rank}\,\Delta W \le 2r",
        ),
        do="On the Spectrum page choose “my own matrix”: the counterexample is already there.",
        see="The point of OLoRA lies below the first singular value of W and above the second. The "
        "verdict at the right says bounded, and not a subset.",
        recording=race.name,
        page="spectrum",
        picture="spectrum",
        where="matrix-source",
    )

"""The words of the field as this program uses them, with a source where one is due."""

from __future__ import annotations

from typing import NamedTuple


class Term(NamedTuple):
    """A word and what it means; formulas stand between dollar signs."""

    word: str
    meaning: str
    source: str = ""
    """Authors, year and arXiv id."""


GLOSSARY = (
    Term("adapter", "Two thin matrices, $A$ and $B$, beside a frozen weight. Only they are "
         "trained.",
         "Hu et al. 2021, arXiv 2106.09685"),
    Term("alpha", "The number that sets how loudly an adapter speaks: its product is multiplied by "
         r"$\alpha / r$."),
    Term("base model", "The pretrained language model under the adapters. It is frozen: no race "
         "changes it."),
    Term("claim", "A sentence of a paper together with the measurement that decides it."),
    Term("diverged", "Said of a lane whose loss or gradient is no longer a finite number. It is "
         "out of the race; the others go on."),
    Term("effective rank", "How many directions a matrix really uses: the exponential of the "
         "entropy of its singular values, taken as shares of their sum.", "Roy and Vetterli 2007"),
    Term("energy", r"The sum of the squared singular values, $\|W\|_F^2$. The share of it that a "
         "start holds says how much of $W$ it takes along."),
    Term("fair rate", "A learning rate that suits a start, so that the start alone is compared: "
         "the best of a sweep, or one in proportion to plain LoRA's, from the curvature."),
    Term("gradient norm", "The length of the loss's gradient over all parameters of a lane, before "
         "clipping: how steep the loss is there."),
    Term("held-out loss", "The loss on examples that no lane trained on, in nats per answer token. "
         "Lower is better."),
    Term("Hessian eigenvalue", r"How sharply the loss bends along one direction. The largest, "
         r"$\lambda_{\max}$, bounds the rate of plain gradient descent by $2 / \lambda_{\max}$."),
    Term("initialization", "How $A$ and $B$ start, before the first step. That is what is raced "
         "here."),
    Term("lane", "One contender of a race: a start with its rank, alpha, learning rate and seed."),
    Term("LoRA", r"Plain low-rank adaptation: $A$ random, $B$ zero.",
         "Hu et al. 2021, arXiv 2106.09685"),
    Term("nat", "The unit of the loss: one nat less multiplies the probability of the right token "
         "by $e$."),
    Term("OLoRA", "The start with $B = Q_r$ and $A = R_r$, from the QR factors of $W$.",
         "Büyükakyüz 2024, arXiv 2406.01775"),
    Term("PiSSA", "The start from the largest singular triplets of $W$.",
         "Meng et al. 2024, arXiv 2404.02948"),
    Term("principal angle", "The angle between two subspaces, direction by direction: zero where "
         "they share a direction, a right angle where one has a direction that the other lacks "
         "altogether."),
    Term("race", "Several lanes that train in lock-step, on the same batches, on one frozen "
         "model."),
    Term("rank", "The number $r$ of columns of $B$ and rows of $A$: how thin the adapter is."),
    Term("recorded race", "A race that was computed earlier and comes with the program, so that "
         "there is something to see before anything is loaded."),
    Term("scaling", r"The factor $s$ in front of the adapter's product, $\alpha / r$, or with "
         r"rsLoRA $\alpha / \sqrt{r}$.", "Kalajdzievski 2023, arXiv 2312.03732"),
    Term("seed", "The number from which all chance of a lane or a race comes. The same seed "
         "repeats it; several seeds say how much of a result was chance."),
    Term("singular value", "How much a matrix stretches along one of its own directions. The "
         "largest comes first."),
    Term("study", "Many races that answer one question: several rates, seeds, tasks, models or "
         "ranks."),
    Term("target modules", "The layers that get adapters. Here all linear layers inside the "
         "transformer's blocks, unless said otherwise."),
)  # fmt: skip
"""All terms, in the order of the alphabet."""

"""The glossary: terms as this program uses them, with references."""

from __future__ import annotations

from typing import NamedTuple

from olora_viz.initializers import INITIALIZERS


class Term(NamedTuple):
    """A term and its meaning; formulas are in LaTeX between dollar signs."""

    word: str
    meaning: str
    source: str = ""
    """Authors, year and arXiv id."""


GLOSSARY = (
    Term("adapter", "Two thin matrices, $A$ and $B$, next to a frozen weight. Only they are "
         "trained.",
         INITIALIZERS["lora"].source),
    Term("alpha", "The scaling hyperparameter: the adapter's product is multiplied by "
         r"$\alpha / r$."),
    Term("base model", "The pretrained language model that the adapters modify. It is frozen: no "
         "race changes it."),
    Term("claim", "A statement of a paper, together with the measurement that decides it."),
    Term("diverged", "A lane whose loss or gradient is no longer finite, or whose gradient is "
         "exactly zero for two steps while its loss is above the base model's. It stops; the other "
         "lanes continue."),
    Term("effective rank", "The number of directions a matrix effectively uses: the exponential of "
         "the entropy of its normalized singular values.", "Roy and Vetterli 2007"),
    Term("energy", r"The sum of the squared singular values, $\|W\|_F^2$. The energy of a start is "
         "the share of it that the start captures."),
    Term("fair rate", "A learning rate that suits an initialization, so that only the "
         "initialization is compared: the best rate of a sweep, or plain LoRA's rate scaled by the "
         "curvature."),
    Term("gradient norm", "The Euclidean norm of a lane's gradient, over all its parameters and "
         "before clipping: how steep the loss is."),
    Term("held-out loss", "The loss on examples that no lane trained on, in nats per answer token. "
         "Lower is better."),
    Term("Hessian eigenvalue", r"The curvature of the loss along one direction. The largest, "
         r"$\lambda_{\max}$, bounds the rate of plain gradient descent by $2 / \lambda_{\max}$."),
    Term("initialization", "The values of $A$ and $B$ before the first step, also called the "
         "start. A race compares initializations."),
    Term("lane", "One contender of a race: an initialization with its rank, alpha, learning rate "
         "and seed."),
    Term("LoRA", r"Plain low-rank adaptation: $A$ random, $B$ zero.",
         INITIALIZERS["lora"].source),
    Term("nat", "The unit of the loss: one nat less multiplies the probability of the correct "
         "token by $e$."),
    Term("OLoRA", "The initialization $B = Q_r$ and $A = R_r$, from the QR factors of $W$.",
         INITIALIZERS["olora"].source),
    Term("PiSSA", "The initialization from the largest singular triplets of $W$.",
         INITIALIZERS["pissa"].source),
    Term("principal angle", "A measure of the angle between two subspaces, one for each dimension: "
         "zero for a shared direction, a right angle for a direction orthogonal to the other "
         "subspace."),
    Term("race", "Several lanes that train in lockstep on one frozen model. Lanes with the same "
         "seed see the same batches."),
    Term("rank", "The number $r$ of columns of $B$ and rows of $A$: how thin the adapter is."),
    Term("recorded race", "A race that was computed earlier and ships with the program. It can be "
         "viewed without loading a model."),
    Term("scaling", r"The factor $s$ in front of the adapter's product, $\alpha / r$, or with "
         r"rsLoRA $\alpha / \sqrt{r}$.", "Kalajdzievski 2023, arXiv 2312.03732"),
    Term("seed", "The seed of all random numbers of a lane or a race. The same seed repeats the "
         "result; several seeds show how much of it is chance."),
    Term("singular value", "How much a matrix stretches along one of its singular directions. The "
         "largest comes first."),
    Term("study", "Many races that answer one question: several rates, seeds, tasks, models or "
         "ranks."),
    Term("target modules", "The layers that get adapters. Default: all linear layers inside the "
         "transformer blocks."),
)  # fmt: skip
"""All terms, in alphabetical order."""

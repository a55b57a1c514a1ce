"""Lesson: QR in pictures."""

from __future__ import annotations

import torch
from torch import Tensor

from olora_viz.initializers.olora import olora
from olora_viz.learn.lessons.lesson import Awaited, Choice, GuideStep, Lesson, example_matrix
from olora_viz.machine.wording import compact, percent

NO_BREAK = "\N{NO-BREAK SPACE}"

BY_HAND = torch.tensor([[3.0, 5.0], [4.0, 0.0]], dtype=torch.float64)
"""The matrix of the check question: its first column has a whole number as its length."""


def lesson() -> Lesson:
    """Write the lesson, with numbers computed from the example matrix."""
    W = example_matrix()
    out, features = W.shape
    start = olora(W, 2)
    product = start.B @ start.A
    exact = float((product - W)[:, :2].abs().max()) < 1e-6
    columns = "are reproduced exactly" if exact else "are nearly reproduced"
    energy = float(product.square().sum() / W.square().sum())
    straight = float((start.B.T @ start.B - torch.eye(2)).abs().max())
    right_angles = "orthogonal" if straight < 1e-6 else "nearly orthogonal"
    hand = olora(BY_HAND, 1)
    rest = BY_HAND - hand.B @ hand.A
    first, second = (_vector(column) for column in BY_HAND.T)
    share = compact(round(float(hand.A[0, 1] / hand.A[0, 0]), 6))
    q, length, along = (_vector(hand.B[:, 0]), compact(float(hand.A[0, 0])), compact(float(hand.A[0, 1])))
    return Lesson(
        name="qr",
        title="QR in pictures",
        minutes=3,
        idea="OLoRA keeps the first columns of $W$ exactly, and of the others only the part that these columns span.",
        paragraphs=(
            f"The picture shows a matrix $W$ with {out} outputs and {features} inputs. Go through its columns from "
            "the left. The first column gives a direction. From each further column, take the part orthogonal to the "
            f"directions so far. Normalized, these directions are the columns of $Q$. They are {right_angles}. $R$ "
            "holds the coefficients of every column of $W$ in these directions.",
            f"Keep the first $r$ directions. With rank {start.B.shape[1]}, the first {start.B.shape[1]} columns of "
            f"$W$ {columns}; of the others, only the part in the same plane is kept. The remainder is called rest in "
            f"the picture. Here $Q_r R_r$ captures {percent(energy)} of $\\|W\\|^2$, the sum of the "
            "squares of all numbers in $W$.",
            "OLoRA (Büyükakyüz) initializes the adapter with these factors: $B^0$ is $Q_r$, $A^0$ "
            "is $R_r$. This does not need the full factorization: the thin QR of the first $r$ "
            "columns is enough, and $R_r$ is $Q_r^{\\top} W$.",
        ),
        formulas=(r"W = Q R, \qquad B^0 = Q_r, \qquad A^0 = R_r = Q_r^{\top} W",),
        do="Move the rank slider below the picture to the right.",
        see="With every rank, one more column of the rest becomes zero, from the left: that column "
        "is now exact. The other columns lose only their component in the new direction.",
        ask=f"By hand: the columns of a matrix are {first} and {second}. What are $Q_r$ and $R_r$ "
        "at rank one, and what is the rest of each column?",
        choices=(
            Choice(
                f"$Q_r$ is {first} and $R_r$ is ({compact(1.0)}, {share}); the rests are zero and "
                f"{_vector(rest[:, 1])}.",
                f"The columns of $Q$ have length one. Divide by the length, {length}, which then stands in $R$.",
            ),
            Choice(
                f"$Q_r$ is {q} and $R_r$ is ({length}, {along}); the rests are zero and {second}, the whole column.",
                "A column is left whole only if it is orthogonal to $Q_r$. Of this one, the part along $Q_r$ is kept.",
            ),
            Choice(f"$Q_r$ is {q} and $R_r$ is ({length}, {along}); the rests are zero and {_vector(rest[:, 1])}."),
        ),
        answer=f"$Q_r$ is the first column divided by its length, {length}: {q}. $R_r$ is "
        f"({length}, {along}): the length of the first column, and how far the second reaches in "
        f"that direction. The rest of the first column is zero. The rest of the second is {second} "
        f"− {along} · {q} = {_vector(rest[:, 1])}, which is orthogonal to $Q_r$.",
        page="learn",
        picture="qr",
        waits=Awaited("value", "a higher rank", of="#lesson-rank input[type=range]", low=3, high=9),
        by_hand=GuideStep(
            "Below are two columns in the plane, and the QR of their matrix.",
            "Drag the tip of an arrow, or move it with the arrow keys. Then press “Flip the columns”.",
            Awaited("pressed", "Flip the columns", of="#lesson-hand [data-flip]"),
            "The same columns in another order: OLoRA starts elsewhere, although the model is the same.",
        ),
    )


def _vector(values: Tensor) -> str:
    numbers = (compact(round(value, 6)).replace("-", "−") for value in values.tolist())
    return f"({f',{NO_BREAK}'.join(numbers)})"

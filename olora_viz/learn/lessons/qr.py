"""Lesson: QR in pictures."""

from __future__ import annotations

import torch

from olora_viz.initializers.olora import olora
from olora_viz.learn.lessons.example import example_matrix
from olora_viz.learn.lessons.lesson import Lesson
from olora_viz.learn.lessons.recorded import percent


def lesson() -> Lesson:
    """Write the lesson, its numbers computed from the matrix of the picture."""
    W = example_matrix()
    out, features = W.shape
    start = olora(W, 2)
    kept = start.B @ start.A
    exact = float((kept - W)[:, :2].abs().max()) < 1e-6
    columns = "come back exactly" if exact else "come back nearly"
    energy = float(kept.square().sum() / W.square().sum())
    straight = float((start.B.T @ start.B - torch.eye(2)).abs().max())
    right_angles = "at right angles" if straight < 1e-6 else "nearly at right angles"
    return Lesson(
        name="qr",
        title="QR in pictures",
        minutes=3,
        paragraphs=(
            f"The picture shows a matrix $W$ of {out} outputs and {features} inputs. Walk along "
            "its columns from the left. The first column gives a direction; of the second, take "
            "what points elsewhere; of the third, what points elsewhere again. Scaled to length "
            f"one, these directions are the columns of $Q$. They stand {right_angles} to each "
            "other. $R$ says how much of each direction every column of $W$ holds.",
            f"Keep the first $r$ of them. With a rank of {start.B.shape[1]}, the first "
            f"{start.B.shape[1]} columns of $W$ {columns}, and of the others only the part that "
            f"lies in the same plane. What is missing is the rest. Here $Q_r R_r$ holds "
            f"{percent(energy)} of the squared size of $W$.",
            "OLoRA (Büyükakyüz) starts its adapter there: $B^0$ is $Q_r$, $A^0$ is $R_r$. Nothing "
            "of this needs the whole factorization: the thin one of the first $r$ columns is "
            "enough, and $R_r$ is $W$ seen through them.",
        ),
        formulas=(r"W = Q R, \qquad B^0 = Q_r, \qquad A^0 = R_r = Q_r^{\top} W",),
        do="Move the slider of the rank below the picture.",
        see="With every rank, one more column of the rest goes blank, from the left: that column "
        "is now held exactly. The others lose only what they share with it.",
        page="learn",
        picture="qr",
    )
